"""A tiny engine `torch` in the test's process, and what it answers."""

import random
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import torch
from transformers import AutoModelForCausalLM, AutoTokenizer, PreTrainedModel

from model.backend import About, Draw, Drawn, Ended, Event, Job, Piece
from model.tiny_torch import write_tiny_torch
from model.torch_batch import BatchLane, BatchSizes
from model.torch_engine import Limits, TorchEngine
from model.torch_row import Row
from model.torch_text import Text

torch.set_num_threads(1)

SIZES = BatchSizes(rows=8, step_tokens=64, cache_tokens=4096)
N_CTX = 2048


@cache
def tiny_model(kind: Any = "qwen2") -> tuple[PreTrainedModel, Text]:
    """The tiny random model and its texts; tests must not change it."""
    with TemporaryDirectory() as folder:
        path = write_tiny_torch(Path(folder), kind=kind, n_ctx=N_CTX)
        model = AutoModelForCausalLM.from_pretrained(path, dtype=torch.float32).eval()
        tokenizer = AutoTokenizer.from_pretrained(path)
    return model, Text(tokenizer, None, ends=frozenset({model.config.eos_token_id}))


def prompt(length: int, seed: int = 0) -> tuple[int, ...]:
    """Ids of ordinary tokens."""
    return tuple(random.Random(f"{seed}:{length}").choices(range(256), k=length))


def generated(ids: Sequence[int], count: int, kind: str = "qwen2") -> list[int]:
    """What transformers' own greedy generation writes, the ending token included."""
    model, _ = tiny_model(kind)
    out = model.generate(torch.tensor([ids]), max_new_tokens=count, do_sample=False)
    return [int(token) for token in out[0, len(ids) :]]


class Heard:
    """Collects the events of a job."""

    def __init__(self) -> None:
        self.events: list[Event] = []
        self._done = threading.Condition()

    def __call__(self, event: Event) -> None:
        with self._done:
            self.events.append(event)
            self._done.notify_all()

    def ended(self, count: int = 1, timeout: float = 30) -> list[Ended]:
        """The ends of all answers, by index."""
        with self._done:
            assert self._done.wait_for(lambda: len(self._ends()) >= count, timeout), self.events
            return sorted(self._ends(), key=lambda end: end.index)

    def begun(self, timeout: float = 30) -> None:
        """Wait for the first piece."""
        with self._done:
            assert self._done.wait_for(lambda: self.events, timeout)

    def _ends(self) -> list[Ended]:
        return [event for event in self.events if isinstance(event, Ended)]

    def pieces(self, index: int = 0) -> list[Piece]:
        return [event for event in self.events if isinstance(event, Piece) and event.index == index]

    def text(self, index: int = 0) -> str:
        return "".join(piece.text for piece in self.pieces(index))

    def drawn(self, index: int = 0) -> list[Drawn]:
        return [drawn for piece in self.pieces(index) for drawn in piece.drawn]

    def ids(self, index: int = 0) -> list[int]:
        return [drawn.id for drawn in self.drawn(index)]


def lane(sizes: BatchSizes = SIZES, **kwargs: Any) -> BatchLane:
    """The batch lane of the tiny model, stepped by the test."""
    return BatchLane(tiny_model()[0], sizes, lambda _: None, **kwargs)


def rows(job: Job, heard: Heard | None = None) -> list[Row]:
    return [Row(job, index, tiny_model()[1], heard or Heard()) for index in range(job.n)]


def job(ids: Sequence[int], count: int = 8, **kwargs: Any) -> Job:
    """Greedy unless a `draw` says otherwise."""
    return Job(tuple(ids), kwargs.pop("draw", Draw(max_tokens=count)), **kwargs)


def run(lane: BatchLane) -> int:
    """Step until nothing is left; the number of steps."""
    before = lane.steps
    while lane.step():
        pass
    return lane.steps - before


def about(kind: str = "qwen2") -> About:
    model, _ = tiny_model(kind)
    return About("tiny", "tiny-fp32", N_CTX, model.config.vocab_size, False, "cpu", "float32")


@contextmanager
def engine(
    model: PreTrainedModel | None = None,
    sizes: BatchSizes | None = SIZES,
    limits: Limits | None = None,
    **kwargs: Any,
) -> Iterator[TorchEngine]:
    """An engine that is closed at the end."""
    tiny, text = tiny_model()
    served = TorchEngine(model or tiny, text, about(), sizes=sizes, limits=limits, **kwargs)
    try:
        yield served
    finally:
        served.close()
