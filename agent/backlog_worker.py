"""A worker: takes items of a backlog one after the other, holds each while it works on it, says how it ended.

It runs in a process of its own, so that an item that brings it down takes nothing else along. A thread beats
for the item; it breaks the work off when the item is no longer this worker's, when nobody wants it any more,
when a budget is spent, and when the worker is told to stop. Then the item is given back.
"""

import contextlib
import os
import signal
import socket
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from hashlib import sha256
from types import FrameType
from typing import Any, Final, Literal, TypeVar

from agent.backlog_attempt import Bench, attempt
from agent.backlog_watch import Watch
from agent.errors import Terminated
from memory import errors
from memory.backlog import Backlog
from memory.backlog_records import Idle, Lease, Outcome
from memory.records import Event
from sandbox.owner import host_key, process_start

Tell = Callable[[dict[str, Any]], object]
Why = Literal["stop", "lost", "withdrawn", "budget"]
T = TypeVar("T")

LEASE_S: Final = 60.0
NAP_S: Final = 2.0
"""Longest sleep between two looks at the backlog."""
PATIENCE_S: Final = 600.0
"""How long a store that went away is waited for."""
CALM_S: Final = 60.0
"""Longest rest after infra errors in a row: what is missing is missing for the next item too."""


class BrokenOff(KeyboardInterrupt):
    """The work on an item ends here, on purpose; unwinds like Ctrl-C, so that everything is closed."""


@dataclass(slots=True)
class Control:
    """What a worker was told, by whatever thread or signal."""

    draining: threading.Event = field(default_factory=threading.Event)
    stopping: threading.Event = field(default_factory=threading.Event)
    why: Why | None = None
    """Why the present item is broken off."""
    armed: bool = False
    """The main thread works on an item and may be broken off."""

    def install(self) -> None:
        """Let other threads break off what the main thread does; it must be called there."""
        signal.signal(signal.SIGUSR1, self._arrived)

    def drain(self) -> None:
        """Finish the present item, begin none."""
        self.draining.set()

    def stop(self) -> None:
        """Give the present item back, now."""
        self.draining.set()
        self.stopping.set()
        self.break_off("stop")

    def break_off(self, why: Why) -> None:
        """End the work on the present item; the first reason stays."""
        self.why = self.why or why
        if self.armed:
            signal.pthread_kill(threading.main_thread().ident or 0, signal.SIGUSR1)

    @contextlib.contextmanager
    def breakable(self) -> Iterator[None]:
        """Inside, the work can be broken off. Raises BrokenOff."""
        self.why, self.armed = "stop" if self.stopping.is_set() else None, True
        try:
            if self.why:
                raise BrokenOff(self.why)
            yield
        finally:
            self.armed = False

    def _arrived(self, _number: int, _frame: FrameType | None) -> None:
        if self.armed:
            self.armed = False
            raise BrokenOff(self.why or "stop")


def worker_name() -> str:
    """This process: the machine, a mark of its boot, the process id and when it began."""
    mark = sha256(host_key().encode()).hexdigest()[:8]
    return f"{socket.gethostname()}:{mark}:{os.getpid()}:{process_start(os.getpid())}"


def is_dead(worker: str) -> bool:
    """True for a worker of this machine, since its last start, whose process is gone."""
    host, _, rest = worker.partition(":")
    mark, _, rest = rest.partition(":")
    pid, _, began = rest.partition(":")
    here = (socket.gethostname(), sha256(host_key().encode()).hexdigest()[:8])
    return (host, mark) == here and pid.isdigit() and process_start(int(pid)) != began


@dataclass(slots=True)
class Worker:
    """Works on one backlog until nothing is left to do."""

    backlog: Backlog
    bench: Bench
    control: Control
    tell: Tell
    name: str = field(default_factory=worker_name)
    lease_s: float = LEASE_S
    one_per_repo: bool = False
    only: str = ""
    """Key of the one item to work on, once; empty means whatever comes next."""
    tell_events: bool = False
    failures: int = 0
    """Infra errors in a row."""

    def work(self) -> str:
        """Take items until there are none, or until told to leave; the reason for leaving."""
        while not self.control.draining.is_set():
            found = self.patient(self._claim)
            if found is None:
                break
            if isinstance(found, Lease):
                self.one(found)
                if self.only:
                    return "done"
                self._rest()
                continue
            self.tell({"kind": "idle", "reason": found.reason, "detail": found.detail})
            if self.only or found.reason in ("done", "budget", "cancelled"):
                return found.reason
            self.control.draining.wait(min(max(found.again_s, 0.05), NAP_S))
        return "stopped" if self.control.stopping.is_set() else "drained"

    def _claim(self) -> Lease | Idle:
        return self.backlog.claim(self.name, self.lease_s, one_per_repo=self.one_per_repo, only=self.only)

    def _rest(self) -> None:
        """After infra errors, wait before the next item: the backlog must not be burnt through."""
        if self.failures:
            self.control.draining.wait(min(2.0 ** (self.failures - 1), CALM_S))

    def one(self, lease: Lease) -> None:
        """Work on one item and record how that ended."""
        item = lease.item
        self.tell(
            {
                "kind": "claimed", "key": item.key, "item": item.id, "title": item.title,
                "attempt": item.attempts, "fence": lease.fence,
            }
        )  # fmt: skip
        watch = Watch(
            on_step=lambda step, tests: self._step(lease, step, tests), on_run=self._run_event(lease)
        )
        began = time.monotonic()
        outcome: Outcome | None = None
        with beating(self.backlog, lease, self.control, watch, began):
            try:
                with self.control.breakable():
                    outcome = attempt(self.bench, lease, watch)
            except KeyboardInterrupt as told:
                if not isinstance(told, BrokenOff):  # a signal of the system's to this very process
                    self.control.draining.set()
                    self.control.why = "stop"
                if isinstance(told, Terminated):
                    self.control.stopping.set()
            self._end(lease, outcome, watch, time.monotonic() - began)

    def _end(self, lease: Lease, outcome: Outcome | None, watch: Watch, seconds: float) -> None:
        why = None if outcome else self.control.why
        if why == "lost":
            self._told(lease, "lost", detail="the lease ran out, another worker has it")
            return
        spent = self.patient(lambda: self.backlog.status().spent) or "" if self._over(outcome, why) else ""
        if why == "stop" or spent:
            with contextlib.suppress(errors.LeaseLost):
                self.patient(lambda: self.backlog.release(lease, spent or "the worker was stopped"))
            self._told(lease, "released", detail=spent)
            return
        outcome = outcome or _broken(why, watch)
        outcome = outcome.model_copy(update={"seconds": seconds})
        settled = self.patient(lambda: self.backlog.settle(lease, outcome))
        if settled is None:
            self._told(lease, "lost", detail="the store went away, and the result with it")
            return
        self.failures = self.failures + 1 if outcome.state == "infra-error" and not why else 0
        state = settled.item.state if settled.applied else "stale"
        self._told(
            lease, "settled", state=str(state), outcome=outcome.state, detail=outcome.detail,
            run_id=outcome.run_id, seconds=seconds, tokens=outcome.tokens, retry_at=settled.retry_at,
            tests=watch.tests,
        )  # fmt: skip

    def _over(self, outcome: Outcome | None, why: Why | None) -> bool:
        """True when a budget ended it: whose, the item's or that of all, decides what becomes of it."""
        return why == "budget" or bool(outcome and outcome.result.get("stop") == "budget")

    def _step(self, lease: Lease, step: str, tests: str) -> None:
        self._told(lease, "step", step=step, tests=tests)

    def _run_event(self, lease: Lease) -> Callable[[Event], object]:
        def tell(event: Event) -> None:
            if self.tell_events:
                self._told(lease, "run", event=event.model_dump(mode="json"))

        return tell

    def _told(self, lease: Lease, kind: str, **more: object) -> None:
        self.tell({"kind": kind, "key": lease.item.key, "item": lease.item.id, **more})

    def patient(self, ask: Callable[[], T]) -> T | None:
        """Ask the store; while it is away or busy ask again. None when it stays away or this is to stop."""
        deadline, pause = time.monotonic() + PATIENCE_S, 0.1
        while True:
            try:
                return ask()
            except (errors.StoreUnavailable, errors.StoreBusy) as error:
                if time.monotonic() > deadline:
                    raise
                self.tell({"kind": "store-away", "detail": str(error)})
            if self.control.stopping.wait(pause):
                return None
            pause = min(pause * 2, 10.0)


def _broken(why: Why | None, watch: Watch) -> Outcome:
    if why == "budget":
        return Outcome(
            state="unsolved", run_id=watch.run_id, detail="the item's budget is spent",
            tokens=watch.usage.completion_tokens,
        )  # fmt: skip
    return Outcome(state="infra-error", run_id=watch.run_id, detail="broken off: nobody wants it any more")


@contextlib.contextmanager
def beating(backlog: Backlog, lease: Lease, control: Control, watch: Watch, began: float) -> Iterator[None]:
    """Hold the item in a thread while the body works on it."""
    done = threading.Event()

    def beat() -> None:
        while not done.wait(lease.lease_s / 3):
            try:
                now = backlog.beat(
                    lease, seconds=time.monotonic() - began, tokens=watch.usage.completion_tokens
                )
            except errors.LeaseLost:
                control.break_off("lost")
                return
            except errors.StoreError:  # it may come back before the lease runs out
                continue
            if now.item.withdrawn:
                control.break_off("withdrawn")
            elif now.seconds_left == 0 or now.tokens_left == 0:
                control.break_off("budget")

    thread = threading.Thread(target=beat, name="adi-beat", daemon=True)
    thread.start()
    try:
        yield
    finally:
        done.set()
        thread.join()


__all__ = ["LEASE_S", "BrokenOff", "Control", "Idle", "Worker", "beating", "is_dead", "worker_name"]
