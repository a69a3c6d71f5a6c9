"""The process of one worker: `python -P -m agent.backlog_child`, started by agent/backlog_run.py.

The first line on its input tells what to do (JSON); later ones are `drain` and `stop`. When its input ends,
whoever started it is gone: it gives its item back and leaves. It says what happens as JSON, a line each.
"""

import contextlib
import faulthandler
import json
import os
import sys
import threading
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Final, TextIO

from agent.backlog_attempt import Bench, Open
from agent.backlog_worker import Control, Worker
from agent.errors import exit_code_of, render
from agent.interrupts import INTERRUPTS
from agent.percolate import Listener
from agent.person import Person
from agent.session import Session, open_session
from agent.settings import Settings, directories, load, store_place
from memory.backlog import Backlog
from memory.backlog_records import Lease
from memory.store import Store

MODULE: Final = "agent.backlog_child"
Flags = Mapping[str, Mapping[str, object]]


def rooms() -> Path:
    """Where the private copies of this machine's workers are."""
    return directories().data / "backlog" / "rooms"


def opener(flags: Flags) -> Open:
    """Opens real sessions on copies, with the settings that hold there."""

    @contextlib.contextmanager
    def opened(repo: Path, person: Person, listeners: Sequence[Listener], lease: Lease) -> Iterator[Session]:
        settings = within(load(repo, flags).settings, lease)
        with open_session(settings, repo, person, listeners) as session:
            yield session

    return opened


def within(settings: Settings, lease: Lease) -> Settings:
    """The settings with no more to spend than the lease leaves."""
    run, changed = settings.run, {}
    if lease.seconds_left is not None:
        changed["wall_s"] = min(run.wall_s or lease.seconds_left, max(lease.seconds_left, 1.0))
    if lease.tokens_left is not None:
        changed["completion_tokens"] = min(
            run.completion_tokens or lease.tokens_left, max(lease.tokens_left, 1)
        )
    return settings.model_copy(update={"run": run.model_copy(update=changed)})


def serve(told: Mapping[str, Any], lines: TextIO, output: TextIO, bench: Bench | None = None) -> str:
    """Work as told until nothing is left to do; why it leaves. `bench` is another in tests."""
    flags: Flags = told["flags"]
    saying = threading.Lock()

    def tell(what: dict[str, Any]) -> None:
        with saying, contextlib.suppress(OSError, ValueError):  # whoever listened is gone
            output.write(json.dumps(what) + "\n")
            output.flush()

    control = Control()
    control.install()
    threading.Thread(target=_obey, args=(lines, control), name="adi-orders", daemon=True).start()
    with Store.open(store_place(load(None, flags).settings)) as store:
        worker = Worker(
            Backlog(store, told["backlog"]),
            replace(bench or Bench(rooms(), opener(flags)), branches=bool(told["branches"])),
            control,
            tell,
            lease_s=float(told["lease_s"]),
            one_per_repo=bool(told["one_per_repo"]),
            only=str(told["only"]),
            tell_events=bool(told["events"]),
        )
        tell({"kind": "ready", "name": worker.name, "pid": os.getpid()})
        return worker.work()


def _obey(lines: TextIO, control: Control) -> None:
    for line in lines:
        if line.strip() == "drain":
            control.drain()
        elif line.strip() == "stop":
            control.stop()
    control.stop()


def main(bench: Bench | None = None) -> int:
    """The process; its exit code."""
    faulthandler.enable()
    # What else writes to standard output must not end up between the lines that are read.
    output = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)
    try:
        INTERRUPTS.install()
        told = json.loads(sys.stdin.readline())
        why = serve(told, sys.stdin, output, bench)
        output.write(json.dumps({"kind": "left", "reason": why}) + "\n")
        output.flush()
        return 0
    except BrokenPipeError:
        return 1
    except BaseException as error:  # noqa: BLE001 - the one place where this process ends
        sys.stderr.write("\n".join(render(error)) + "\n")
        return exit_code_of(error)


if __name__ == "__main__":
    code = main()
    sys.stderr.flush()
    os._exit(code)  # the thread that waits for orders holds its input's lock
