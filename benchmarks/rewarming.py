"""Continued training of a tiny model: a learning rate that is warmed up again, repeated passes, replay.

Run: python -m benchmarks.rewarming OUT [--seeds 3] [--scale 1.0]

A byte-level Qwen2 of two layers learns Python's standard library, its learning rate warmed up and taken down
to a tenth. Then it goes on with the code of this repository, each way from the same weights:

- re-warmed and re-decayed, against the tenth from the first step to the last (2308.04014, 2403.08763);
- one to four passes over a quarter of the code, against one pass over all of it (2305.16264);
- 0, 5 and 20% of the tokens from the standard library again (2403.08763);
- LionW instead of AdamW (2302.06675), at a third of the rate.

Rows, schedules and optimizer are those of `adi learn --corpus` (model/train_corpus.py, train_sft.py). What is
reported are losses in nats a token on files of both kinds that were never trained on. OUT gets
`rewarming.json` and `rewarming.png`; the table is printed as Markdown. A seed decides the weights, the order,
and which code is the quarter.
"""

import argparse
import json
import random
import subprocess
import sys
import sysconfig
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Final

import numpy as np
import torch
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from scipy import stats
from transformers import Qwen2Config, Qwen2ForCausalLM, get_scheduler

from model.tiny_torch import write_tiny_torch
from model.torch_text import Text
from model.torch_weights import load
from model.train_corpus import mixed
from model.train_job import Corpus
from model.train_lion import LionW
from model.train_rows import Document, Row
from model.train_sft import Padded, schedule

RATE: Final = 3e-3
BLOCK, BATCH = 128, 8
WARMUP: Final = 0.05
BYTES = {"library": 400_000, "own": 200_000, "held": 60_000}
"""Of the first training, of the second one, and of the files of each kind that are kept out."""
LEFT_OUT: Final = {"site-packages", "test", "encodings"}
"""Folders below the library; the last one holds tables of characters, each like the next."""
CHARACTERS: Final = 4_000
"""Of a file that are read, so that the kept-out part is many files."""
POINTS, SAMPLE = 10, 64
"""Measurements along a training, and the rows of each; before and after it all rows are measured."""


@dataclass(frozen=True, slots=True)
class Way:
    """One way to go on."""

    name: str
    corpus: Corpus
    quarter: bool = False


PLAIN = Corpus(lr=RATE, infill=0.0, replay=0.0, block=BLOCK)
WAYS: Final = (
    Way("re-warmed, all code once", PLAIN),
    Way("a tenth throughout, all code once", PLAIN.model_copy(update={"schedule": "constant"})),
    Way("re-warmed, LionW", PLAIN.model_copy(update={"optimizer": "lion", "lr": RATE / 3})),
    *(
        Way(
            f"re-warmed, a quarter, {n} pass{'es' if n > 1 else ''}",
            PLAIN.model_copy(update={"epochs": n}),
            True,
        )
        for n in (1, 2, 3, 4)
    ),
    Way("re-warmed, 5% replay", PLAIN.model_copy(update={"replay": 0.05})),
    Way("re-warmed, 20% replay", PLAIN.model_copy(update={"replay": 0.2})),
)


@dataclass(frozen=True, slots=True)
class Texts:
    """Files of both kinds, to train on and kept out."""

    library: Sequence[Document]
    own: Sequence[Document]
    held: dict[str, Sequence[Document]]


def texts(scale: float, dice: random.Random) -> Texts:
    """So much of each as BYTES says; the same files are kept out whatever the scale."""
    root = Path(sysconfig.get_paths()["stdlib"])
    library = sorted(path for path in root.rglob("*.py") if not LEFT_OUT & set(path.parts))
    listed = subprocess.run(["git", "ls-files", "*.py"], capture_output=True, text=True, check=True).stdout
    own = [Path(name) for name in listed.splitlines()]
    found = dict[str, tuple[list[Document], list[Document]]]()
    for kind, paths in (("library", library), ("own", own)):
        random.Random(kind).shuffle(paths)
        held = _read(paths, BYTES["held"])
        rest = paths[len(held) :]
        dice.shuffle(rest)
        found[kind] = held, _read(rest, int(BYTES[kind] * scale))
    return Texts(found["library"][1], found["own"][1], {kind: held for kind, (held, _) in found.items()})


def _read(paths: Sequence[Path], size: int) -> list[Document]:
    found, left = list[Document](), size
    for path in paths:
        if left <= 0:
            break
        found.append(Document(path.read_text("utf-8", errors="replace")[:CHARACTERS]))
        left -= len(found[-1].text)
    return found


@dataclass(slots=True)
class Losses:
    """On the files of one kind that are kept out, nats a token."""

    before: float
    after: float = 0.0
    curve: list[tuple[int, float]] = field(default_factory=list)
    """Step, and the loss on the first SAMPLE rows."""


class Bench:
    """A model of one seed, its texts as rows, and its losses."""

    def __init__(self, text: Text, end: int, given: Texts, seed: int) -> None:
        """`end` is the token after each text."""
        self._text, self._given, self.seed = text, given, seed
        self._end = end
        self._held = {kind: self.rows(held, PLAIN) for kind, held in given.held.items()}
        torch.manual_seed(seed)
        self._config = Qwen2Config(
            vocab_size=text.vocabulary, hidden_size=64, intermediate_size=192, num_hidden_layers=2,
            num_attention_heads=4, num_key_value_heads=4, max_position_embeddings=BLOCK,
            tie_word_embeddings=True,
        )  # fmt: skip
        self._began: dict[str, torch.Tensor] | None = None

    def rows(self, documents: Sequence[Document], corpus: Corpus) -> Sequence[Row]:
        return mixed(documents, self._text, self._end, corpus, self.seed).rows

    def learn_library(self) -> None:
        """The first training; its end is where each way begins."""
        model, _ = self._trained(self.rows(self._given.library, PLAIN), PLAIN)
        self._began = {name: weight.clone() for name, weight in model.state_dict().items()}

    def go_on(self, way: Way) -> dict[str, Losses]:
        """Losses by the kind of files, along the steps."""
        own = self._given.own[: max(1, len(self._given.own) // 4)] if way.quarter else self._given.own
        replay = self._given.library if way.corpus.replay else ()
        general = [replace(one, general=True) for one in replay]
        return self._trained(self.rows([*own, *general], way.corpus), way.corpus)[1]

    def _trained(self, rows: Sequence[Row], corpus: Corpus) -> tuple[Any, dict[str, Losses]]:
        model = Qwen2ForCausalLM(self._config)
        if self._began is not None:
            model.load_state_dict(self._began)
        batches = [rows[at : at + BATCH] for at in range(0, len(rows), BATCH)]
        told = schedule(corpus, corpus.lr)
        kind = LionW if corpus.optimizer == "lion" else torch.optim.AdamW
        optimizer = kind(model.parameters(), lr=told["learning_rate"], weight_decay=0.1)
        warmup = told.get("warmup_steps", int(WARMUP * len(batches)))
        rate = get_scheduler(
            told["lr_scheduler_type"], optimizer, warmup, len(batches),
            scheduler_specific_kwargs=told.get("lr_scheduler_kwargs"),
        )  # fmt: skip
        losses = {held: Losses(self._loss(model, held)) for held in self._held}
        every = max(1, len(batches) // POINTS)
        for step, batch in enumerate(batches, 1):
            model(**_batch(batch)).loss.backward()
            torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
            optimizer.step()
            optimizer.zero_grad()
            rate.step()
            if step % every == 0:
                for held, found in losses.items():
                    found.curve.append((step, self._loss(model, held, SAMPLE)))
        for held, found in losses.items():
            found.after = self._loss(model, held)
        return model, losses

    @torch.inference_mode()
    def _loss(self, model: Any, held: str, most: int | None = None) -> float:
        """Nats a token, over the files of a kind that are kept out, or the first rows of them."""
        total, count = 0.0, 0
        rows = self._held[held][:most]
        for at in range(0, len(rows), 4 * BATCH):
            given = _batch(rows[at : at + 4 * BATCH])
            learned = int((given["labels"][:, 1:] != -100).sum())
            total += float(model(**given).loss) * learned
            count += learned
        return total / count


def _batch(rows: Sequence[Row]) -> dict[str, torch.Tensor]:
    made = Padded(0)([{"input_ids": row.ids, "labels": row.labels, "weight": 1.0} for row in rows])
    return {name: value for name, value in made.items() if name != "weight"}


Runs = Sequence[dict[str, dict[str, Losses]]]
"""A seed each: name of the way -> kind of files -> losses."""


def interval(values: Sequence[float]) -> str:
    """Mean, and half of its 95% interval by Student's t."""
    mean, half = float(np.mean(values)), float("nan")
    if len(values) > 1:
        half = float(stats.t.ppf(0.975, len(values) - 1) * stats.sem(values))
    return f"{mean:.3f} ± {half:.3f}"


def table(runs: Runs) -> list[str]:
    """Losses at the end, and paired differences to the first way."""
    first = WAYS[0].name
    lines = [
        "| way | own code | library | own code, to the first way | library, to the first way |",
        "|" + " --- |" * 5,
    ]
    for name in ("before", *(way.name for way in WAYS)):
        cells = []
        for held in ("own", "library"):
            own = [run[first if name == "before" else name][held] for run in runs]
            ends = [one.before if name == "before" else one.after for one in own]
            apart = [end - run[first][held].after for end, run in zip(ends, runs, strict=True)]
            cells.append((interval(ends), "" if name == first else interval(apart)))
        lines.append(f"| {name} | {cells[0][0]} | {cells[1][0]} | {cells[0][1]} | {cells[1][1]} |")
    return lines


def picture(runs: Runs) -> Figure:
    """Held-out losses along the steps, the mean of all seeds."""
    figure = Figure(figsize=(12, 5), layout="constrained")
    FigureCanvasAgg(figure)
    for axis, held in zip(figure.subplots(1, 2), ("own", "library"), strict=True):
        for way in WAYS:
            lines = [run[way.name][held].curve for run in runs]
            size = min(map(len, lines))
            mean = np.mean([[loss for _, loss in line[:size]] for line in lines], axis=0)
            axis.plot([step for step, _ in lines[0][:size]], mean, label=way.name)
        axis.set(title=f"files kept out: {held}", xlabel="step", ylabel="loss (nats a token)")
        axis.legend(fontsize=7)
    return figure


def told(runs: Runs) -> list[Any]:
    """The same for JSON."""
    return [
        {way: {held: asdict(one) for held, one in kinds.items()} for way, kinds in run.items()}
        for run in runs
    ]


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("out", type=Path)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--scale", type=float, default=1.0, help="share of the bytes that are trained on")
    given = parser.parse_args()
    given.out.mkdir(parents=True, exist_ok=True)
    began, runs = time.process_time(), []
    with TemporaryDirectory() as folder:
        base = load(write_tiny_torch(Path(folder) / "tiny"), device="cpu", cache=Path(folder))
        for seed in range(given.seeds):
            text = Text(base.tokenizer, None, ends=frozenset(base.ends))
            end = base.tokenizer.convert_tokens_to_ids("<|endoftext|>")
            bench = Bench(text, end, texts(given.scale, random.Random(seed)), seed)
            bench.learn_library()
            runs.append({way.name: bench.go_on(way) for way in WAYS})
            sys.stderr.write(f"seed {seed}: {time.process_time() - began:.0f} s of processor time\n")
            (given.out / "rewarming.json").write_text(json.dumps(told(runs)), "utf-8")
    picture(runs).savefig(given.out / "rewarming.png", dpi=120)
    sys.stdout.write("\n".join(table(runs)) + "\n")


if __name__ == "__main__":
    main()
