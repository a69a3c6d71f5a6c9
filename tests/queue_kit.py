"""What tests of the backlog's queue share: items, workers in processes of their own, and patience."""

import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

from memory.backlog import Backlog
from memory.backlog_records import Idle, Lease, NewItem
from tests.store_kit import ROOT

Found = TypeVar("Found")
FORKED = """
import os, sys, time
from memory.backlog import Backlog
from memory.backlog_records import Idle, Outcome
from memory.store import Store

place, name, count, folder = sys.argv[1], sys.argv[2], int(sys.argv[3]), sys.argv[4]

def work(number):
    {work}

children = []
for number in range(count):  # forked, because to import all of it takes longer than the work
    child = os.fork()
    if child == 0:
        try:
            work(number)
        except BaseException as error:
            print(f"worker {{number}}: {{error!r}}", file=sys.stderr, flush=True)
            os._exit(1)
        os._exit(0)
    children.append(child)
print(sum(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) != 0 for child in children))
"""
"""Workers: `work` is the body of a function that each of them runs. Prints how many ended badly."""

WORKER = """
import os, sys
from memory.backlog import Backlog
from memory.backlog_records import Idle, Outcome
from memory.store import Store

place, name, worker, lease_s = sys.argv[1], sys.argv[2], sys.argv[3], float(sys.argv[4])
with Store.open(place) as store:
    backlog = Backlog.find(store, name)
    while not isinstance(lease := backlog.claim(worker, lease_s), Idle):
        print(lease.item.key, flush=True)
        if lease.item.key.startswith("poison"):
            os.kill(os.getpid(), 9)
        if lease.item.key.startswith("hold"):
            sys.stdin.readline()
        backlog.settle(lease, Outcome(state="solved", detail=f"by {worker}"))
"""
"""Works off what there is; dies of an item named `poison`, waits for a line with one named `hold`."""


def fork(place: Path | str, name: str, count: int, folder: Path, work: str) -> None:
    """Run `work` (see FORKED) in that many processes; all must end well."""
    script = FORKED.format(work=work.strip().replace("\n", "\n    "))
    command = [sys.executable, "-c", script, str(place), name, str(count), str(folder)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False, timeout=200)
    assert (done.stdout, done.stderr) == ("0\n", "")


def new(key: str, body: str = "b", **more: object) -> NewItem:
    return NewItem.model_validate({"key": key, "title": key, "body": body, "repo": "/r", **more})


def took(found: Lease | Idle) -> Lease:
    """The lease that a claim must have given."""
    assert isinstance(found, Lease), found
    return found


def idle(found: Lease | Idle) -> Idle:
    """The reason that a claim must have given."""
    assert isinstance(found, Idle), found
    return found


def until(ask: Callable[[], Found | None], seconds: float = 20.0) -> Found:
    """Ask until there is an answer."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        if found := ask():
            return found
        time.sleep(0.02)
    raise AssertionError("it did not happen")


def claim_again(backlog: Backlog, worker: str, seconds: float = 20.0) -> Lease:
    """Claim as soon as there is something."""

    def ask() -> Lease | None:
        found = backlog.claim(worker, 60.0)
        return found if isinstance(found, Lease) else None

    return until(ask, seconds)
