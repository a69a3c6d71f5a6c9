"""What the HTTP front asks of an engine in its own process, and what comes back.

The front (model/front.py) knows HTTP and OpenAI's dialect, the engine knows tensors; this page is all that
they know of each other. Ids are token ids of the served model. Nothing here imports torch.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Literal, Protocol

from memory.records import Message

Reason = Literal["stop", "length", "error"]
"""Why an answer ended: by itself or at a stop text, at its limit of tokens, because the engine failed."""


@dataclass(frozen=True, slots=True)
class Draw:
    """How tokens are drawn, row by row. Temperature 0 is greedy."""

    max_tokens: int
    temperature: float = 0.0
    top_p: float = 1.0
    """Smallest set of the likeliest tokens with at least this probability; 1 keeps all."""
    top_k: int = 0
    """0 keeps all."""
    min_p: float = 0.0
    """Least probability relative to the likeliest token; 0 keeps all."""
    seed: int = 0
    """Of the first answer; answer `index` draws with `seed + index`, whatever shares its batch."""
    logprobs: int | None = None
    """Alternatives told for each token, 0 for the drawn one alone; None tells nothing."""


@dataclass(frozen=True, slots=True)
class Grammar:
    """What an answer must look like."""

    kind: Literal["json_schema", "json_object", "regex", "gbnf", "lark"]
    text: str = ""
    """The schema as JSON, the expression, or the rules; empty for `json_object`."""


@dataclass(frozen=True, slots=True)
class Job:
    """One request: a prompt and `n` answers to it."""

    ids: tuple[int, ...]
    draw: Draw
    n: int = 1
    stop: tuple[str, ...] = ()
    """An answer ends before the first of these texts."""
    stop_ids: tuple[int, ...] = ()
    """An answer ends before one of these tokens; the model's own ends need not be named."""
    grammar: Grammar | None = None
    adapter: str = ""
    """Empty means the base model."""
    client: str = ""
    """Whom it is for: turns are taken between clients, not between jobs."""


@dataclass(frozen=True, slots=True)
class Drawn:
    """One token with its log-probability under the model, before temperature, masks and cuts."""

    id: int
    data: bytes
    """The token's bytes, which may be a part of a character."""
    logprob: float
    top: tuple[tuple[int, bytes, float], ...] = ()
    """The likeliest tokens, as (id, bytes, log-probability)."""


@dataclass(frozen=True, slots=True)
class Piece:
    """More of answer `index`: whole characters only, and never a text that may begin a stop text."""

    index: int
    text: str
    drawn: tuple[Drawn, ...] = ()
    """The tokens behind it. With Draw.logprobs None only `id` and `data` of them are filled in."""


@dataclass(frozen=True, slots=True)
class Cost:
    """What one request took. Times in milliseconds."""

    prompt_tokens: int = 0
    cached_tokens: int = 0
    """Of the prompt, those whose keys and values were there already."""
    completion_tokens: int = 0
    """Of this answer, the ending token included."""
    queue_ms: float = 0.0
    first_ms: float = 0.0
    """From submission to the first token."""
    decode_ms: float = 0.0
    """From the first token to the last."""
    drafted: int = 0
    accepted: int = 0
    """Tokens that were guessed by n-grams, and how many of them the model agreed with."""
    grammar_us: float = 0.0
    """Microseconds spent on masks."""


@dataclass(frozen=True, slots=True)
class Ended:
    """Answer `index` is whole; nothing of it follows."""

    index: int
    reason: Reason
    cost: Cost
    error: str = ""
    """With reason `error`: what happened, in one sentence."""


Event = Piece | Ended
Deliver = Callable[[Event], None]
"""Called on the engine's thread; must not block and must not raise."""


class Running(Protocol):
    """A submitted job."""

    def cancel(self) -> None:
        """Give it up, from any thread; no event follows once the engine has noticed. Idempotent."""
        ...


@dataclass(frozen=True, slots=True)
class Adapter:
    """A loaded LoRA adapter."""

    name: str
    path: str
    sha256: str
    """Of its weights file."""
    rank: int


@dataclass(frozen=True, slots=True)
class About:
    """What is served."""

    model: str
    """The name clients ask for."""
    fingerprint: str
    """Names weights, data type and quantisation; changes when answers may."""
    n_ctx: int
    """Tokens of one request, prompt and answer together."""
    vocabulary: int
    """Number of token ids."""
    infill: bool
    device: str
    dtype: str


@dataclass(frozen=True, slots=True)
class Stats:
    """Counters since the start, and what is going on now."""

    running: int = 0
    """Answers being written."""
    waiting: int = 0
    requests: int = 0
    refused: int = 0
    failed: int = 0
    cancelled: int = 0
    prompt_tokens: int = 0
    cached_tokens: int = 0
    completion_tokens: int = 0
    drafted: int = 0
    accepted: int = 0
    grammar_us: float = 0.0
    busy_s: float = 0.0
    """Seconds in which the model computed."""
    extra: dict[str, float] = field(default_factory=dict)
    """Engine-specific numbers by metric name, such as graphs captured or bytes of memory."""


class Backend(Protocol):
    """An engine. All calls may come from any thread. Errors are those of model/errors.py."""

    @property
    def about(self) -> About: ...

    def chat_ids(self, messages: Sequence[Message]) -> list[int]:
        """Ids of a chat up to where the answer begins; no text of a message becomes a control token."""
        ...

    def text_ids(self, text: str) -> list[int]:
        """Ids of a text in which nothing is a control token, the beginning-of-text token in front if any."""
        ...

    def infill_ids(self, prefix: str, suffix: str, context: str = "") -> list[int]:
        """Ids of a gap. Raises Unsupported when the model has no fill-in-the-middle tokens."""
        ...

    def infill_stops(self) -> tuple[int, ...]:
        """Token ids that end a gap beside the model's own ends."""
        ...

    def decode(self, ids: Sequence[int]) -> str:
        """The text of ids, control tokens written out; bytes that are no text become U+FFFD."""
        ...

    def submit(self, job: Job, deliver: Deliver) -> Running:
        """Queue a job; events follow, for each answer pieces and one Ended.

        Raises PromptTooLong when prompt and answer cannot fit, RequestRefused for a grammar that does not
        compile or an adapter that is not loaded, Overloaded when the queue is full. Nothing was queued then.
        """
        ...

    def stats(self) -> Stats: ...

    def adapters(self) -> Sequence[Adapter]: ...

    def load_adapter(self, name: str, path: str) -> Adapter:
        """Load or replace; running answers of the replaced one end first. Raises RequestRefused."""
        ...

    def unload_adapter(self, name: str) -> None:
        """Raises RequestRefused when it is not loaded."""
        ...

    def close(self) -> None:
        """End the engine; what runs ends with reason `error`."""
        ...
