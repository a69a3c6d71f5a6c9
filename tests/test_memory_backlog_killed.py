"""Workers of a backlog that are killed with -9, wherever they are, lose no item and repeat no ended one."""

import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

from memory.backlog import Backlog
from memory.backlog_records import BacklogEvent, BacklogLimits, Outcome, State
from memory.store import Store
from tests.queue_kit import WORKER, claim_again, new
from tests.store_kit import ROOT, start

SOLVED = Outcome(state="solved", detail="it passes")
KILLED_AT_EACH_STATEMENT = """
import os, shutil, signal, sys
from pathlib import Path
from sqlalchemy import event
from memory.backlog import Backlog
from memory.backlog_records import Outcome
from memory.store import Store

folder = Path(sys.argv[1])

def work(path, last):
    count = 0
    def dies(*_):
        nonlocal count
        count += 1
        if count == last:
            os.kill(os.getpid(), signal.SIGKILL)
    with Store.open(path) as store:
        backlog = Backlog.find(store, "team")
        for moment in ("before_cursor_execute", "after_cursor_execute", "commit"):
            event.listen(store._backend.engine, moment, dies)
        lease = backlog.claim("w", 0.01)
        backlog.beat(lease, seconds=1.0)
        backlog.settle(lease, Outcome(state="solved", detail="it passes", seconds=2.0))

for last in range(1, 1000):
    path = folder / f"killed{last}.db"
    shutil.copyfile(folder / "adi.db", path)
    child = os.fork()
    if child == 0:
        work(path, last)
        os._exit(0)
    if os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0:
        print(last - 1)
        break
"""


@pytest.fixture
def backlog(place: Path | str) -> Iterator[Backlog]:
    with Store.open(place) as store:
        yield Backlog.create(store, "team")


def test_workers_that_are_killed_at_any_moment_lose_and_repeat_nothing(
    backlog: Backlog, place: Path | str
) -> None:
    backlog.set_limits(BacklogLimits(item_tries=0))
    backlog.add(new(f"k{number}") for number in range(60))
    command = [sys.executable, "-c", WORKER, str(place), "team"]
    for kill in range(3):
        workers = [
            subprocess.Popen([*command, f"w{kill}-{one}", "0.5"], cwd=ROOT, stdout=subprocess.PIPE, text=True)
            for one in range(2)
        ]
        for number, worker in enumerate(workers):
            assert worker.stdout is not None
            for _ in range(2 + 3 * kill + number):
                worker.stdout.readline()
            time.sleep(0.003 * kill)
            worker.kill()
        for worker in workers:
            worker.communicate()
    while backlog.status().counts[State.SOLVED] < 60:
        with start(WORKER, str(place), "team", "last", "5") as child:
            child.communicate()
        assert child.returncode == 0
    kinds = Counter((event.key, event.kind) for event in every_event(backlog))
    assert {kinds[f"k{number}", "settled"] for number in range(60)} == {1}
    assert sum(count for (_, kind), count in kinds.items() if kind == "stale") == 0


def every_event(backlog: Backlog) -> Iterator[BacklogEvent]:
    after = 0
    while page := backlog.events(after=after):
        yield from page
        after = page[-1].id


def test_a_worker_that_is_killed_at_each_statement_leaves_the_item_before_or_after_it(tmp_path: Path) -> None:
    with Store.open(tmp_path / "adi.db") as store:
        Backlog.create(store, "team").add([new("a")])
    script = [sys.executable, "-c", KILLED_AT_EACH_STATEMENT, str(tmp_path)]
    kills = int(subprocess.run(script, cwd=ROOT, capture_output=True, text=True, check=True).stdout)
    assert kills > 20
    seen = []
    for number in range(1, kills + 2):
        with Store.open(tmp_path / f"killed{number}.db") as store:
            backlog = Backlog.find(store, "team")
            item, info = backlog.item("a"), backlog.info()
            kinds = [event.kind for event in backlog.events()]
            seen.append((str(item.state), item.attempts, item.seconds, *kinds))
            assert (info.tries, info.seconds) == (item.attempts, item.seconds)
            if item.state != State.SOLVED:
                assert backlog.settle(claim_again(backlog, "next"), SOLVED).item.state == State.SOLVED
    assert list(dict.fromkeys(seen)) == [
        ("queued", 0, 0.0),
        ("running", 1, 0.0, "claimed"),
        ("running", 1, 1.0, "claimed"),
        ("solved", 1, 2.0, "claimed", "settled"),
    ]
