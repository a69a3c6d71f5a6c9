"""What a training is asked to do, what it tells while it runs, and what it says of itself at the end.

Defaults are those of LoRA fine-tuning as published: all linear layers, rank 16, alpha twice that, a learning
rate of 2e-4 that warms up over 5% of the steps and falls along a cosine to 0 ("LoRA Learns Less and Forgets
Less", arXiv 2405.09673; TRL's "LoRA Without Regret"). Preferences follow with a rate some forty times lower
and one pass (KTO, 2402.01306; DPO, 2305.18290). Continued training on code warms the rate up again and lets
it fall to a tenth (2308.04014, 2403.08763), goes at most four times over the same texts (2305.16264), cuts
half of them for filling in the middle (2207.14255), and mixes in what shall not be forgotten.
"""

from pathlib import Path
from typing import Annotated, Final, Literal

from pydantic import Field, TypeAdapter

from memory.checks import Record
from model.catalogue import FimTokens

Stage = Literal["corpus", "sft", "kto", "dpo"]
Optimizer = Literal["adamw", "lion"]
RATES: Final[dict[Optimizer, float]] = {"adamw": 2e-4, "lion": 4e-5}
"""Learning rates of LoRA. LionW wants one that is 3 to 10 times lower (2302.06675)."""
MOST_EPOCHS: Final = 4
"""Passes over the same texts that are worth nearly as much as new ones (2305.16264)."""


class Preference(Record):
    """How answers are compared."""

    lr: float = Field(5e-6, gt=0)
    beta: float = Field(0.1, gt=0)
    """How strongly the model is held to what it was before."""
    epochs: int = Field(1, ge=1)


class Corpus(Record):
    """How the texts of a corpus are learned."""

    lr: float = Field(0.0, ge=0)
    """The top of the learning rate; 0 takes that of the optimizer in RATES."""
    schedule: Literal["rewarm", "constant"] = "rewarm"
    """`constant`: a tenth of the rate from the first step to the last, as a finished training left it."""
    optimizer: Optimizer = "adamw"
    epochs: int = Field(1, ge=1, le=MOST_EPOCHS)
    infill: float = Field(0.5, ge=0, le=1)
    """Share of the texts that are cut for filling in the middle; 0 where the model has no tokens for it."""
    replay: float = Field(0.05, ge=0, lt=1)
    """Share of the tokens that are of general texts, where such are given."""
    block: int = Field(1024, ge=16)
    """Tokens of a row, which holds as many texts as fit."""


class Settings(Record):
    """How to train. All of it goes into the facts of the adapter."""

    rank: int = Field(16, ge=1, le=1024)
    alpha: int = Field(32, ge=1)
    dropout: float = Field(0.0, ge=0, lt=1)
    lr: float = Field(0.0, ge=0)
    """0 takes that of the optimizer in RATES."""
    optimizer: Optimizer = "adamw"
    weight_decay: float = Field(0.0, ge=0)
    epochs: int = Field(3, ge=1)
    warmup: float = Field(0.05, ge=0, lt=1)
    """Share of the steps in which the rate rises."""
    batch_rows: int = Field(8, ge=1)
    """Rows of one step, over all processes."""
    micro_rows: int = Field(1, ge=1)
    """Rows that are computed at once by one process; the others of a step follow. KTO takes at least two."""
    max_length: int = Field(4096, ge=2)
    """Tokens; longer rows are left out, never cut."""
    max_left_out: float = Field(0.05, ge=0, le=1)
    """Share of the rows that may be left out for their length; above it the job is refused."""
    corpus: Corpus = Corpus()
    kto: Preference = Preference()
    dpo: Preference = Preference()
    checkpointing: bool = False
    """Compute activations twice instead of keeping them: less memory for about a third more time."""
    save_every: int = Field(20, ge=1)
    """Steps between two checkpoints."""
    seed: int = 0
    device: str = "auto"
    dtype: str = "auto"
    """Of the frozen weights; the adapter's are fp32. On a CPU auto is fp32 up to 1 GiB of weights, else bf16,
    which halves the memory and is slow where the CPU has no instructions for it."""
    threads: int = Field(0, ge=0)
    """0: all cores."""
    processes: int = Field(1, ge=0)
    """Over which `accelerate` spreads each step, started by torch's launcher; 0: one for each GPU."""

    def rate(self) -> float:
        return self.lr or RATES[self.optimizer]


class Job(Record):
    """One training."""

    base: Path
    """The frozen base: a folder of safetensors, or the GGUF file that is served."""
    out: Path
    """The folder that is made: `adapter/`, `training.json`, `curves.json`, `curves.png`."""
    work: Path
    """Where checkpoints and the log are while it runs; a job that is started there again goes on."""
    cache: Path
    """Where converted weights and hashes are kept."""
    settings: Settings = Settings()
    fim: FimTokens | None = None
    """The base's tokens for filling in the middle, of its family in the catalogue."""


class Began(Record):
    """A stage starts, or goes on from a checkpoint."""

    kind: Literal["began"] = "began"
    stage: Stage
    step: int
    """Steps that a checkpoint had done."""
    of: int
    """Steps of the stage."""
    rows: int
    left_out: int
    """Rows too long."""
    tokens: int
    trained: int
    """Tokens that are learned, one pass."""


class Progressed(Record):
    """One step was made."""

    kind: Literal["progressed"] = "progressed"
    stage: Stage
    step: int
    of: int
    loss: float
    rate: float
    """The learning rate of this step."""
    tokens_s: float
    """Tokens a second over the steps so far, context included, all processes together."""
    eta_s: float
    """Seconds that the rest of the stage will take at this speed."""


class Saved(Record):
    """A checkpoint is whole on the disk."""

    kind: Literal["saved"] = "saved"
    stage: Stage
    step: int


class StageDone(Record):
    """A stage is over."""

    kind: Literal["stage-done"] = "stage-done"
    stage: Stage
    first_loss: float
    last_loss: float


class Finished(Record):
    """The output folder is there."""

    kind: Literal["finished"] = "finished"
    adapter: Path
    sha256: str
    """Of adapter_model.safetensors."""


class Failed(Record):
    """Training ended without an adapter."""

    kind: Literal["failed"] = "failed"
    error: str
    """Name of the class in model/train_errors.py or model/errors.py."""
    message: str
    hint: str = ""


Event = Began | Progressed | Saved | StageDone | Finished | Failed
EVENTS: Final[TypeAdapter[Event]] = TypeAdapter(Annotated[Event, Field(discriminator="kind")])


class StageFacts(Record):
    """What one stage was given and did."""

    stage: Stage
    rows: int
    left_out: int
    lengths: tuple[int, int, int]
    """Tokens of all rows: median, 95th percentile, longest."""
    tokens: int
    trained: int
    steps: int
    first_loss: float
    last_loss: float
    seconds: float
    """Of the process that ended it."""
    tokens_s: float
    weights: tuple[float, float] = (1.0, 1.0)
    """How much a good and a bad answer counted (KTO)."""


class Facts(Record):
    """Where an adapter comes from, as training knows it."""

    base: str
    """Name of the base."""
    fingerprint: str
    """Names weights, data type and quantisation of the base."""
    rows_sha256: str
    settings: Settings
    stages: tuple[StageFacts, ...]
    adapter_sha256: str
    rank: int
    parameters: int
    """That were trained."""
    device: str
    dtype: str
    processes: int
    resumed: int
    """Times it went on from a checkpoint."""
    memory_bytes: int
    """Most that was held: on a GPU by torch, else by the process."""
    versions: dict[str, str]
