"""Decisions of a page, carried out one after the other in one thread, so that no page waits for a check."""

import queue
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from time import monotonic
from typing import Final

from agent.display_lines import outcome
from agent.inert import inert_line
from agent.review_queue import Settled
from memory.records import CheckRan, Event, Noted

LINES: Final = 200
"""Lines of progress that are kept of one decision."""


@dataclass(slots=True)
class Job:
    """A decision that waits for its turn, is being carried out, or is done."""

    run_id: str
    what: str
    """Such as `accept`, for a person."""
    work: Callable[[], Settled]
    patch: str = ""
    """The person's edited text, as the page sent it."""
    lines: list[str] = field(default_factory=list)
    done: threading.Event = field(default_factory=threading.Event)
    settled: Settled | None = None
    error: Exception | None = None
    began: float = field(default_factory=monotonic)

    @property
    def seconds(self) -> float:
        """Since it was asked for."""
        return monotonic() - self.began


class Jobs:
    """The decisions of one server; the last one of each run is remembered."""

    def __init__(self) -> None:
        self._queue: queue.SimpleQueue[Job | None] = queue.SimpleQueue()
        self._last: dict[str, Job] = {}
        self._now: Job | None = None
        self._lock = threading.Lock()
        self._thread = threading.Thread(target=self._carry_out, name="adi-review", daemon=True)

    def start(self, job: Job) -> Job:
        """Put it in line. While one is under way for the same run, that one is given back instead."""
        with self._lock:
            last = self._last.get(job.run_id)
            if last is not None and not last.done.is_set():
                return last
            self._last[job.run_id] = job
            if not self._thread.is_alive():
                self._thread.start()
        self._queue.put(job)
        return job

    def last(self, run_id: str) -> Job | None:
        """The newest decision on a run that this page was asked for."""
        with self._lock:
            return self._last.get(run_id)

    def forget(self, run_id: str) -> None:
        """Its outcome was seen and is of no more use."""
        with self._lock:
            self._last.pop(run_id, None)

    def on_event(self, event: Event) -> None:
        """A listener of the sessions: checks and notes become lines of progress."""
        job, payload = self._now, event.payload
        if job is None or len(job.lines) >= LINES:
            return
        if isinstance(payload, CheckRan):
            job.lines.append(inert_line(f"{payload.result.check}: {outcome(payload.result)}"))
        elif isinstance(payload, Noted):
            job.lines.append(inert_line(payload.text))

    def close(self, patience_s: float | None = None) -> bool:
        """Take no more, and wait for what is under way; False when it takes longer than `patience_s`."""
        self._queue.put(None)
        if self._thread.is_alive():
            self._thread.join(patience_s)
        return not self._thread.is_alive()

    def _carry_out(self) -> None:
        while (job := self._queue.get()) is not None:
            self._now = job
            try:
                job.settled = job.work()
            except Exception as error:  # noqa: BLE001 - shown on the page, which is where it was asked for
                job.error = error
            finally:
                self._now = None
                job.done.set()
