"""`adi backlog run` and `resume` from an open store to an exit code: look, work, show, report."""

import contextlib
import json
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, TextIO

from agent.backlog_child import rooms
from agent.backlog_copy import sweep
from agent.backlog_report import Told, gathered, post_all, write
from agent.backlog_results import SCHEMA_VERSION, exit_code, report, totals
from agent.backlog_run import Orders, Signals, Supervisor
from agent.display import make_console
from agent.display_board import Board
from agent.display_wrap import tell
from agent.errors import ACCEPTED, DISK_ERRNOS, ENVIRONMENT, EnvironmentMissing, exit_code_of, sentence
from agent.inert import inert_line
from agent.output import Format
from agent.settings import Settings, directories
from memory.backlog import Backlog
from memory.backlog_records import State
from memory.store import Store

REPORT_S: Final = 10.0
"""Shortest time between two writings of the results folder while workers work."""
SHARE: Final = 20
"""A writing that takes a second is not repeated before so many have passed."""
NOTHING: Final = "There is nothing to do: the source holds no open issue."


@dataclass(frozen=True, slots=True)
class Job:
    """How a backlog is worked off and told."""

    orders: Orders
    settings: Settings
    out: Path
    form: Format = "text"
    comment: bool = False
    parked: bool = False
    """Try parked items again, too."""
    ready: Callable[[Settings], object] = lambda settings: look(settings)
    """Raises what is missing of the environment."""


def look(settings: Settings) -> None:
    """Raise what every item would miss: no Docker, no model. It would make an error of each of them."""
    from agent.models import choice_of
    from model.connect import connect
    from sandbox.client import connect as engine

    engine().close()
    connect(choice_of(settings, directories()), lambda line: tell(line, sys.stderr)).close()


class Results:
    """The results folder, kept up to date while workers work."""

    def __init__(self, store: Store, backlog: Backlog, out: Path) -> None:
        self._store, self._backlog, self._out = store, backlog, out
        self._next = 0.0
        self._changed = True
        self._failed = ""

    def changed(self) -> None:
        """Something ended."""
        self._changed = True

    def tick(self) -> None:
        """Write when it is time. A disk that is full is told once, and the work goes on."""
        now = time.monotonic()
        if not self._changed or now < self._next:
            return
        self._changed = False
        try:
            write(self._store, gathered(self._store, self._backlog), self._out)
            self._failed = ""
        except OSError as error:
            if not self._failed:
                self._failed = str(error)
                tell(f"warning: the results cannot be written to {self._out}: {error.strerror}", sys.stderr)
        self._next = time.monotonic() + max(REPORT_S, SHARE * (time.monotonic() - now))


@dataclass(slots=True)
class Stream:
    """Standard output; its reader may leave."""

    form: Format
    stdout: TextIO = field(default_factory=lambda: sys.stdout)
    gone: bool = False

    def event(self, told: Mapping[str, Any]) -> None:
        """One line, with `stream-json`."""
        if self.form == "stream-json":
            self.write({"type": "event", "schema_version": SCHEMA_VERSION, **told})

    def write(self, value: Mapping[str, Any]) -> None:
        """One object, ASCII, a line."""
        self.text(json.dumps(value, ensure_ascii=True))

    def text(self, line: str) -> None:
        """One line."""
        if not self.gone:
            try:
                self.stdout.write(f"{line}\n")
                self.stdout.flush()
            except BrokenPipeError:
                self.gone = True


def work(store: Store, backlog: Backlog, job: Job) -> int:
    """Work the backlog off; the exit code."""
    stream, missing, stopped = Stream(job.form), "", 0
    swept = sweep(rooms(), store)
    if swept:
        tell(f"removed {len(swept)} copies of workers that died", sys.stderr)
    again(backlog, parked=job.parked)
    try:
        if _waiting(backlog):
            job.ready(job.settings)
            stopped, missing = _workers(store, backlog, job, stream)
    except Exception as error:
        if exit_code_of(error) == ENVIRONMENT:
            tell_results(store, backlog, job, stream, sentence(error))
        raise
    return stopped or tell_results(store, backlog, job, stream, missing)


def _waiting(backlog: Backlog) -> bool:
    counts = backlog.status().counts
    return bool(counts[State.QUEUED] or counts[State.RUNNING])


def again(backlog: Backlog, *, parked: bool) -> int:
    """Queue what the environment ended, with all its tries; parked items only where that is asked for."""
    if backlog.info().state != "open":
        return 0
    states = [State.INFRA_ERROR, *([State.PARKED] if parked else [])]
    ended = [item.key for item in backlog.each(states=states) if not item.withdrawn]
    return sum(backlog.reopen(key) for key in dict.fromkeys(ended))


def _workers(store: Store, backlog: Backlog, job: Job, stream: Stream) -> tuple[int, str]:
    """Exit code of a signal, 0 without one; and why no worker could work, empty when they could."""
    results = Results(store, backlog, job.out)
    console = make_console(sys.stderr, job.settings.ui.color)

    def counts() -> Mapping[str, int]:
        with contextlib.suppress(Exception):  # the board is no reason to end
            return {str(state): count for state, count in backlog.status().counts.items()}
        return {}

    with Signals() as signals, Board(console, counts) as board:

        def hear(told: dict[str, Any]) -> None:
            stream.event(told)
            board.on_event(told)
            if told["kind"] in ("settled", "died"):
                results.changed()

        def tick() -> None:
            board.tick()
            results.tick()

        supervisor = Supervisor(backlog, job.orders, directories().logs / "backlog", hear)
        supervisor.run(signals, tick)
    if signals.number:
        tell_results(store, backlog, job, stream, "")
    return signals.exit_code, supervisor.given_up


def tell_results(
    store: Store, backlog: Backlog, job: Job, stream: Stream | None = None, missing: str = ""
) -> int:
    """Write and tell the results; the exit code that they mean."""
    stream = stream or Stream(job.form)
    told = gathered(store, backlog, environment_missing=missing)
    lost = _written(store, told, job)
    for problem in post_all(backlog, told, lambda line: tell(line, sys.stderr)) if job.comment else ():
        tell(f"warning: {problem}", sys.stderr)
    code = code_of(told)
    if stream.form == "text":
        for line in summary(told, backlog.info().name):
            stream.text(inert_line(line))
        if not lost:
            stream.text(inert_line(f"results: {job.out}"))
    else:
        stream.write(json.loads(report(told.results, told.head)) | {"exit_code": code})
    if lost:
        raise EnvironmentMissing(
            f"the results cannot be written to {job.out}: {lost}",
            f"free some space, then: adi backlog report {backlog.info().name} --out DIR",
        )
    return code


def _written(store: Store, told: Told, job: Job) -> str:
    """Why the folder could not be written; empty when it could."""
    try:
        write(store, told, job.out)
    except OSError as error:
        return f"{error.strerror}{' (disk full)' if error.errno in DISK_ERRNOS else ''}"
    return ""


def code_of(told: Told) -> int:
    """The exit code; a source without anything in it leaves nothing to prove."""
    head = told.head
    if not told.results and not head.waiting and not head.bad and not head.environment_missing:
        return ACCEPTED
    return exit_code(told.results, head)


def summary(told: Told, name: str) -> Iterator[str]:
    """How the backlog stands, in lines for a person."""
    sums = totals(told.results, told.head)
    states = ", ".join(f"{count} {state}" for state, count in reversed(sums["states"].items()) if count)
    if not told.results and not told.head.waiting:
        yield NOTHING
    else:
        yield f"{name}: {states or 'nothing ended yet'}" + (
            f", {told.head.waiting} waiting (adi backlog resume {name})" if told.head.waiting else ""
        )
    if told.head.bad:
        yield f"{len(told.head.bad)} rows of the source are no items, such as {told.head.bad[0].where}"
    for sentence_ in (told.head.budget_spent, told.head.environment_missing):
        if sentence_:
            yield sentence_
