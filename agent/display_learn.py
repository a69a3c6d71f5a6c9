"""How a training looks: a bar with the live loss at a terminal, a line now and then elsewhere."""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Final, TextIO

from agent.display import make_console
from agent.inert import inert_line
from model.train_job import Began, Event, Finished, Progressed, StageDone

if TYPE_CHECKING:
    from rich.progress import Progress, TaskID

PLAIN_S: Final = 10.0
"""Without a terminal a training says how far it is this often, in seconds."""
Tell = Callable[[Event], None]
Say = Callable[[str], None]
NAMES: Final = {"corpus": "your code", "sft": "answers", "kto": "verdicts", "dpo": "preferences"}


@contextmanager
def shown(stream: TextIO, clock: Callable[[], float] = time.monotonic) -> Iterator[tuple[Tell, Say]]:
    """What hears of a training, and what says a line in between."""
    console = make_console(stream)
    if not console.is_terminal:
        yield _Plain(stream, clock).tell, lambda line: _line(stream, line)
        return
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    columns = (
        TextColumn("{task.description}", markup=False),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("{task.fields[told]}", markup=False),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=console) as bar:
        yield _Bar(bar).tell, lambda line: bar.console.print(inert_line(line), markup=False, highlight=False)


class _Bar:
    """One bar a stage."""

    def __init__(self, bar: "Progress") -> None:
        self._bar = bar
        self._stages = dict[str, TaskID]()

    def tell(self, event: Event) -> None:
        match event:
            case Began():
                self._at(event.stage, event.step, event.of, "")
            case Progressed():
                self._at(event.stage, event.step, event.of, said(event))
            case StageDone() | Finished():
                self._bar.console.print(ended(event), markup=False, highlight=False)

    def _at(self, stage: str, step: int, of: int, told: str) -> None:
        if stage not in self._stages:
            self._stages[stage] = self._bar.add_task(NAMES[stage], total=of or None, told="")
        self._bar.update(self._stages[stage], completed=step, total=of or None, told=told)


class _Plain:
    """A line at the beginning and the end of each stage, and now and then."""

    def __init__(self, stream: TextIO, clock: Callable[[], float]) -> None:
        self._stream, self._clock, self._last = stream, clock, float("-inf")

    def tell(self, event: Event) -> None:
        match event:
            case Began():
                _line(
                    self._stream,
                    f"{NAMES[event.stage]}: {event.rows} rows, {event.tokens:,} tokens, "
                    f"{event.trained:,} learned, {event.left_out} left out as too long",
                )
            case Progressed() if self._clock() - self._last >= PLAIN_S or event.step == event.of:
                self._last = self._clock()
                _line(self._stream, f"{NAMES[event.stage]}: step {event.step} of {event.of}, {said(event)}")
            case StageDone() | Finished():
                _line(self._stream, ended(event))


def said(event: Progressed) -> str:
    """The numbers of a step."""
    return f"loss {event.loss:.3f}, {event.tokens_s:.0f} tokens/s"


def ended(event: StageDone | Finished) -> str:
    """How a stage, or all of it, ended."""
    if isinstance(event, Finished):
        return inert_line(f"trained: {event.adapter}")
    return f"{NAMES[event.stage]}: loss {event.first_loss:.3f} at first, {event.last_loss:.3f} at last"


def _line(stream: TextIO, line: str) -> None:
    stream.write(f"{inert_line(line)}\n")
    stream.flush()
