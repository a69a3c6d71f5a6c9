"""Group I: the store under `kill -9`, several processes, a full disk, forks and threads."""

import json
import os
import shutil
import subprocess
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from hashlib import sha256
from pathlib import Path

import pytest

from agent.errors import ENVIRONMENT, exit_code_of
from memory import errors
from memory.backup import backup
from memory.records import Noted, RunEnded, Stop
from memory.sqlite import Sqlite
from memory.store import Store
from memory.tables import TombstoneRow
from tests.store_kit import NEW_SQLITE, OLD_SQLITE, TASK, integrity, start

pytestmark = pytest.mark.containment

FORKS_WRITERS = """
import os, random, signal, sys, time
from pathlib import Path
from memory.records import Noted, Task
from memory.sqlite import Sqlite
from memory.store import Store

path, rounds, writers, version = Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3]), eval(sys.argv[4])

def write(name):
    store = Store(Sqlite(path, version=version))
    run_id = store.start_run(Task(id="t", prompt="p", repo=name))
    store.claim_repo(name, run_id)
    seq = 1
    while True:
        os.write(1, f"{run_id} {seq}\\n".encode())
        if seq == 2:
            os.write(at_work, b"1")
        seq = store.append(run_id, Noted(text="x" * 3000)).seq
        store.put_artifact(b"%d" % seq)

Store(Sqlite(path, version=version)).close()
dice = random.Random(20261123)
for number in range(rounds):
    children = []
    begun, at_work = os.pipe()
    for writer in range(writers):
        child = os.fork()
        if child == 0:
            write(f"/repo{number}-{writer}")
        children.append(child)
    for _ in children:
        os.read(begun, 1)
    os.close(begun), os.close(at_work)
    for child in children:
        time.sleep(dice.uniform(0.0, 0.1))
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
"""
"""Writers by fork, because starting Python takes longer than a round."""

COUNTS = """
import sys
from memory.store import Store
from memory.tables import TombstoneRow
with Store.open(sys.argv[1]) as store:
    print("ready", flush=True)
    sys.stdin.readline()
    for number in range(int(sys.argv[2])):
        with store.writing() as session:
            row = session.get_one(TombstoneRow, "counter")
            row.removed = {"n": row.removed["n"] + 1}
"""

APPENDS_AND_CLAIMS = """
import json, sys
from pathlib import Path
from memory.errors import RepoBusy
from memory.records import Noted, Task
from memory.store import Store
shared, count, mark = sys.argv[2], int(sys.argv[3]), Path(sys.argv[4])
held = []
with Store.open(sys.argv[1]) as store:
    mine = store.start_run(Task(id="t", prompt="p", repo="/r"))
    print("ready", flush=True)
    sys.stdin.readline()
    for number in range(count):
        store.append(shared, Noted(text=f"{mine} {number}"))
        try:
            store.claim_repo("/r", mine)
        except RepoBusy:
            continue
        mark.touch(exist_ok=False)  # fails when another process holds it too
        mark.unlink()
        held.append(number)
        store.release("/r", mine)
print(json.dumps([mine, len(held)]))
"""

FORKS = """
import gc, os, sys
from memory.errors import Forked
from memory.records import Noted, Task
from memory.store import Store
with Store.open(sys.argv[1]) as store:
    run_id = store.start_run(Task(id="t", prompt="p", repo="/r"))
    child = os.fork()
    if child == 0:
        refused = 0
        for call in (lambda: store.append(run_id, Noted(text="x")), store.runs, lambda: store.events(run_id)):
            try:
                call()
            except Forked:
                refused += 1
        store.close()
        del store
        gc.collect()
        os._exit(refused)
    print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
    print(store.append(run_id, Noted(text="from the parent")).seq)
    with Store.open(sys.argv[1]) as other:
        print(len(other.events(run_id)))
"""


def go(children: list[subprocess.Popen[str]]) -> list[str]:
    """Let processes that are ready work at the same time; what each of them printed."""
    for child in children:
        assert child.stdout is not None
        assert child.stdout.readline() == "ready\n"
    for child in children:
        assert child.stdin is not None
        child.stdin.write("go\n")
        child.stdin.flush()
    outputs = [child.communicate()[0] for child in children]
    assert [child.returncode for child in children] == [0] * len(children)
    return outputs


@pytest.mark.parametrize(
    ("rounds", "writers", "version"),
    [
        pytest.param(14, 2, OLD_SQLITE, id="rollback"),
        pytest.param(16, 1, NEW_SQLITE, id="wal"),
        pytest.param(60, 3, OLD_SQLITE, marks=pytest.mark.slow, id="rollback-long"),
        pytest.param(100, 1, NEW_SQLITE, marks=pytest.mark.slow, id="wal-long"),
    ],
)
def test_memory_i01_kill_9_under_load_loses_nothing_that_was_acknowledged(
    tmp_path: Path, rounds: int, writers: int, version: tuple[int, int, int]
) -> None:
    path = tmp_path / "adi.db"
    output, _ = start(FORKS_WRITERS, str(path), str(rounds), str(writers), repr(version)).communicate()
    acknowledged: dict[str, int] = {}
    for line in output.splitlines():
        run_id, seq = line.split()
        acknowledged[run_id] = int(seq)
    assert integrity(path) == "ok"
    with Store.open(path) as store:
        for run_id, seq in acknowledged.items():
            events = store.events(run_id)
            assert [event.seq for event in events] == list(range(1, len(events) + 1))
            assert len(events) in (seq, seq + 1)  # the last one may have been written and not yet told
            if seq > 1:
                store.artifact(sha256(b"%d" % seq).hexdigest())
            run = store.run(run_id)
            assert (run.alive, run.ended, run.stop) == (False, "", None)
        store.claim_repo(run.repo, store.start_run(TASK))  # a dead holder gives way
    assert len(acknowledged) == rounds * writers
    assert sum(acknowledged.values()) > 3 * rounds * writers


def test_memory_i02_four_processes_that_read_and_then_write_lose_no_update(place: Path | str) -> None:
    with Store.open(place) as store, store.writing() as session:
        session.add(TombstoneRow(id="counter", kind="run", at="", reason="", removed={"n": 0}))
    go([start(COUNTS, str(place), "25") for _ in range(4)])
    with Store.open(place) as store, store.reading() as session:
        assert session.get_one(TombstoneRow, "counter").removed == {"n": 100}


def test_memory_i02_four_processes_append_and_claim_without_a_lock_error(
    place: Path | str, tmp_path: Path
) -> None:
    count = 25
    with Store.open(place) as store:
        shared = store.start_run(TASK)
        arguments = (str(place), shared, str(count), str(tmp_path / "held"))
        reports = [json.loads(told) for told in go([start(APPENDS_AND_CLAIMS, *arguments) for _ in range(4)])]
        events = store.events(shared)[1:]
        store.claim_repo("/r", store.start_run(TASK))  # nothing was left claimed
    assert [event.seq for event in events] == list(range(2, 2 + 4 * count))
    texts = [event.payload.text for event in events if isinstance(event.payload, Noted)]
    for run_id, _ in reports:
        assert [text for text in texts if text.startswith(run_id)] == [f"{run_id} {n}" for n in range(count)]
    assert sum(held for _, held in reports) > 0


@pytest.mark.parametrize("version", [OLD_SQLITE, NEW_SQLITE], ids=["rollback", "wal"])
def test_memory_i03_a_full_file_is_named_keeps_what_was_written_and_recovers(
    tmp_path: Path, version: tuple[int, int, int]
) -> None:
    backend = Sqlite(tmp_path / "adi.db", version=version)
    with Store(backend) as store:
        run_id = store.start_run(TASK)
        (pages,) = backend.connection.execute("PRAGMA page_count").fetchone()
        backend.connection.execute(f"PRAGMA max_page_count={pages + 2}")
        with pytest.raises(errors.StoreFull, match="no space left") as full:
            store.append(run_id, Noted(text="x" * 100_000))
        assert (full.value.hint, exit_code_of(full.value)) == ("adi doctor", ENVIRONMENT)
        with pytest.raises(errors.StoreFull):
            store.put_artifact(b"x" * 100_000)
        assert len(store.events(run_id)) == 1
        backend.connection.execute(f"PRAGMA max_page_count={pages + 1000}")
        assert store.append(run_id, Noted(text="x" * 100_000)).seq == 2
    assert integrity(tmp_path / "adi.db") == "ok"


@contextmanager
def small_disk(folder: Path, size: str) -> Iterator[Path]:
    """A filesystem of its own size."""
    if os.geteuid() != 0 or not shutil.which("mount"):
        pytest.skip("mounting a filesystem needs root")
    folder.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", str(folder)]
    done = subprocess.run(mount, capture_output=True, text=True, check=False)
    if done.returncode:
        pytest.skip(f"this root may not mount: {done.stderr.strip()}")
    try:
        yield folder
    finally:
        subprocess.run(["umount", str(folder)], check=True)


def test_memory_i03_a_full_disk_in_the_middle_of_a_transaction(tmp_path: Path) -> None:
    with small_disk(tmp_path / "disk", "400k") as disk:
        path = disk / "adi.db"
        with Store.open(path) as store:
            run_id = store.start_run(TASK)
            fill = (store.append(run_id, Noted(text="x" * 10_000)) for _ in range(100))
            with pytest.raises(errors.StoreFull, match="no space left"):
                list(fill)
            kept = len(store.events(run_id))
            assert kept > 3
            with pytest.raises(errors.StoreFull):
                backup(path, disk / "copy.db")
            assert not [entry.name for entry in disk.iterdir() if "copy" in entry.name]
            subprocess.run(["mount", "-o", "remount,size=4m", str(disk)], check=True)
            assert store.append(run_id, Noted(text="x" * 10_000)).seq == kept + 1
            store.append(run_id, RunEnded(stop=Stop.ERROR, exit_code=6))
        assert integrity(path) == "ok"


def test_memory_i04_a_filesystem_that_became_read_only(tmp_path: Path) -> None:
    with small_disk(tmp_path / "disk", "1m") as disk:
        with Store.open(disk / "adi.db") as store:
            run_id = store.start_run(TASK)
        subprocess.run(["mount", "-o", "remount,ro", str(disk)], check=True)
        with pytest.raises(errors.StoreReadOnly, match="cannot be written"):
            Store.open(disk / "sub" / "new.db")
        with Store.open(disk / "adi.db") as store:
            assert [run.id for run in store.runs()] == [run_id]
            with pytest.raises(errors.StoreReadOnly, match="cannot be written"):
                store.append(run_id, RunEnded(stop=Stop.ERROR, exit_code=1))


def test_memory_i08_a_forked_child_is_refused_and_takes_nothing_from_the_parent(place: Path | str) -> None:
    child = start(FORKS, str(place))
    assert child.communicate()[0] == "3\n2\n2\n"


def test_memory_i08_threads_share_a_store(place: Path | str) -> None:
    with Store.open(place) as store:
        run_id = store.start_run(TASK)

        def work() -> None:
            for _ in range(20):
                store.append(run_id, Noted(text="t"))
                store.runs()

        with ThreadPoolExecutor(4) as pool:
            for done in [pool.submit(work) for _ in range(4)]:
                done.result()
        assert [event.seq for event in store.events(run_id)] == list(range(1, 82))
