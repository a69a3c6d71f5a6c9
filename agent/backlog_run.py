"""Runs the workers of one machine: starts them, starts dead ones anew, drains or stops them when told.

Everything that counts is in the store; this process may be killed at any time. Its workers notice, give
their items back and leave, and the next `adi backlog resume` goes on.
"""

import contextlib
import json
import queue
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import FrameType
from typing import Any, Final

from agent.backlog_worker import LEASE_S, is_dead
from memory import errors
from memory.backlog import Backlog
from memory.backlog_records import Lease, Outcome, State

OnEvent = Callable[[dict[str, Any]], object]

COMMAND: Final = (sys.executable, "-P", "-m", "agent.backlog_child")
TICK_S: Final = 0.2
STILLBORN: Final = 3
"""Workers in a row that die before they took an item: more of them would, too."""
LOG_TAIL: Final = 2_000
_END: Final = {"kind": "gone"}


@dataclass(frozen=True, slots=True)
class Orders:
    """How workers are to work."""

    jobs: int = 1
    one_per_repo: bool = False
    branches: bool = False
    events: bool = False
    """Tell every event of every run."""
    only: str = ""
    """Key of the one item to work on; empty means all."""
    lease_s: float = LEASE_S
    flags: Mapping[str, Mapping[str, object]] = field(default_factory=dict)
    command: Sequence[str] = COMMAND


@dataclass(slots=True)
class Child:
    """A worker as its parent sees it."""

    number: int
    process: "subprocess.Popen[str]"
    log: Path
    worker: str = ""
    item: int = 0
    """Id of the item that it works on."""
    key: str = ""
    took: bool = False

    def order(self, word: str) -> None:
        """Tell it to `drain` or `stop`."""
        with contextlib.suppress(OSError, ValueError):
            assert self.process.stdin is not None
            self.process.stdin.write(f"{word}\n")
            self.process.stdin.flush()


class Signals:
    """Counts Ctrl-C and requests to end while workers run, instead of breaking off what the parent does."""

    def __init__(self) -> None:
        self.count = 0
        self.number = 0

    def __enter__(self) -> "Signals":
        self._before = {}
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            if signal.getsignal(number) is not signal.SIG_IGN:
                self._before[number] = signal.signal(number, self._arrived)
        return self

    def __exit__(self, *_: object) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def _arrived(self, number: int, _frame: FrameType | None) -> None:
        self.arrived(number)

    def arrived(self, number: int) -> None:
        """Count one."""
        self.count += 1
        self.number = self.number or number

    @property
    def exit_code(self) -> int:
        """128 and the signal that came first; 0 when none did."""
        return 128 + self.number if self.number else 0


class Supervisor:
    """The workers of one run."""

    def __init__(self, backlog: Backlog, orders: Orders, logs: Path, on_event: OnEvent) -> None:
        self._backlog = backlog
        self._orders = orders
        self._logs = logs
        self._on_event = on_event
        self._told: queue.Queue[tuple[Child, dict[str, Any]]] = queue.Queue()
        self._children: list[Child] = []
        self._stillborn = 0
        self._leaving = False
        self.given_up = ""
        """Why no worker is started any more; empty while they are."""

    def run(self, signals: Signals, on_tick: Callable[[], object] = lambda: None) -> None:
        """Until every worker has left. A signal drains, a second stops, a third kills them."""
        self.take_back()
        for number in range(1, self._orders.jobs + 1):
            self._start(number)
        heard = 0
        try:
            while self._children:
                if signals.count > heard:
                    heard = min(heard + 1, 3)
                    self._interrupt(heard)
                with contextlib.suppress(queue.Empty):
                    self._hear(*self._told.get(timeout=TICK_S))
                on_tick()
        finally:
            self._kill()

    def take_back(self) -> None:
        """End the leases of dead workers of this machine: nobody needs to wait until they run out."""
        for item in self._backlog.each(states=(State.RUNNING,)):
            if is_dead(item.owner):
                self._end_lease(item.key, item.id, "its worker died")

    def _start(self, number: int) -> None:
        self._logs.mkdir(parents=True, exist_ok=True)
        log = self._logs / f"{self._backlog.id}-{number}.log"
        with log.open("a") as stderr:
            process = subprocess.Popen(
                self._orders.command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=stderr,
                text=True, encoding="utf-8", errors="replace",
                start_new_session=True,  # Ctrl-C at the terminal is the parent's
            )  # fmt: skip
        child = Child(number, process, log)
        orders = self._orders
        child.order(
            json.dumps(
                {
                    "backlog": self._backlog.id, "flags": orders.flags, "branches": orders.branches,
                    "one_per_repo": orders.one_per_repo, "events": orders.events, "lease_s": orders.lease_s,
                    "only": orders.only,
                }
            )
        )  # fmt: skip
        self._children.append(child)
        threading.Thread(target=self._listen, args=(child,), name=f"adi-worker-{number}", daemon=True).start()

    def _listen(self, child: Child) -> None:
        assert child.process.stdout is not None
        with child.process.stdout as lines:
            for line in lines:
                with contextlib.suppress(ValueError):
                    self._told.put((child, json.loads(line)))
        child.process.wait()
        self._told.put((child, _END))

    def _hear(self, child: Child, told: dict[str, Any]) -> None:
        kind = told["kind"]
        if kind == "gone":
            self._gone(child)
            return
        if kind == "ready":
            child.worker = str(told["name"])
        elif kind == "claimed":
            child.item, child.key, child.took, self._stillborn = told["item"], told["key"], True, 0
        elif kind in ("settled", "released", "lost"):
            child.item, child.key = 0, ""
        self._on_event({**told, "worker": child.number})

    def _gone(self, child: Child) -> None:
        self._children.remove(child)
        if child.process.stdin is not None:
            with contextlib.suppress(OSError):
                child.process.stdin.close()
        code = child.process.returncode
        if code == 0:
            return
        how = _how(code)
        if child.item:
            how = f"{how} while it worked on {child.key}"
            self._end_lease(child.key, child.item, f"the worker's process {_how(code)}")
        told = {"kind": "died", "worker": child.number, "key": child.key, "item": child.item, "detail": how}
        self._on_event({**told, "log": str(child.log), "tail": _tail(child.log)})
        self._stillborn = 0 if child.took else self._stillborn + 1
        if self._stillborn >= STILLBORN:
            self.given_up = f"{STILLBORN} workers in a row {how} before they took an item, see {child.log}"
            self._leave("drain")
        elif not self._leaving:
            self._start(child.number)

    def _end_lease(self, key: str, item_id: int, why: str) -> None:
        """Take an item back from a dead worker: it counts as a try, and the last try parks it."""
        with contextlib.suppress(errors.StoreError):  # then the lease runs out by itself
            lease = lease_of(self._backlog, key, item_id)
            if lease is None:
                return
            tries = self._backlog.info().limits.item_tries
            if tries and lease.item.attempts >= tries:
                self._backlog.beat(lease.model_copy(update={"lease_s": 0.001}))
            else:
                self._backlog.settle(lease, Outcome(state="infra-error", detail=why))

    def _interrupt(self, count: int) -> None:
        words = {1: "drain", 2: "stop"}
        self._on_event({"kind": {1: "draining", 2: "stopping"}.get(count, "killing"), "worker": 0})
        if count in words:
            self._leave(words[count])
        else:
            self._kill()

    def _leave(self, word: str) -> None:
        self._leaving = True
        for child in self._children:
            child.order(word)

    def _kill(self) -> None:
        self._leaving = True
        for child in self._children:
            child.process.kill()


def lease_of(backlog: Backlog, key: str, item_id: int) -> Lease | None:
    """The lease of a running item, as its last claim made it; None when it does not run."""
    item = next((each for each in backlog.items(key=key) if each.id == item_id), None)
    if item is None or item.state != State.RUNNING:
        return None
    fence = 0
    for event in _events(backlog, key):
        if event.item_id == item_id and event.kind == "claimed":
            fence = int(str(event.content["fence"]))
    return Lease(
        backlog_id=backlog.id, item=item, worker=item.owner, fence=fence, lease_s=1.0, until=item.until
    )


def _events(backlog: Backlog, key: str) -> Iterator[Any]:
    after = 0
    while page := backlog.events(key=key, after=after):
        yield from page
        after = page[-1].id


def _how(code: int) -> str:
    if code >= 0:
        return f"left with exit code {code}"
    try:
        return f"died of {signal.Signals(-code).name}"
    except ValueError:
        return f"died of signal {-code}"


def _tail(log: Path) -> str:
    try:
        with log.open("rb") as file:
            file.seek(max(0, log.stat().st_size - LOG_TAIL))
            return file.read().decode("utf-8", "replace").strip()
    except OSError:
        return ""


__all__ = ["COMMAND", "Orders", "Signals", "Supervisor", "lease_of"]
