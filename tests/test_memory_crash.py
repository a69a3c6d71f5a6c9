"""The store under `kill -9`, several processes, a full disk, and files that are not what they should be."""

import json
import os
import random
import shutil
import sqlite3
import stat
import subprocess
import threading
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from hashlib import sha256
from pathlib import Path

import pytest

from memory import errors
from memory.engine import APPLICATION_ID, wal_is_safe
from memory.process import identity, is_alive, own_identity
from memory.records import Noted, RunEnded, Stop
from memory.store import Store
from tests.store_kit import TASK, integrity, start

APPENDS_FOREVER = """
import sys
from pathlib import Path
from memory.records import Noted, Task
from memory.store import Store
store = Store.open(Path(sys.argv[1]))
run_id = store.start_run(Task(id="t", prompt="p", repo=sys.argv[2]))
store.claim_repo(sys.argv[2], run_id)
print(run_id, 1, flush=True)
while True:
    event = store.append(run_id, Noted(text="x" * 3000))
    store.put_artifact(b"%d" % event.seq)
    print(run_id, event.seq, flush=True)
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


def test_kill_9_at_random_loses_nothing_that_was_acknowledged(tmp_path: Path) -> None:
    path, dice = tmp_path / "adi.db", random.Random(20261123)
    acknowledged: dict[str, int] = {}
    for number in range(10):
        with start(APPENDS_FOREVER, str(path), f"/repo{number}") as child:
            assert child.stdout is not None
            first = child.stdout.readline()
            timer = threading.Timer(dice.uniform(0.0, 0.25), child.kill)
            timer.start()
            for line in (first, *child.stdout):
                if line.endswith("\n"):
                    run_id, seq = line.split()
                    acknowledged[run_id] = int(seq)
            timer.join()
    assert integrity(path) == "ok"
    with Store.open(path) as store:
        for run_id, seq in acknowledged.items():
            events = store.events(run_id)
            assert [event.seq for event in events] == list(range(1, len(events) + 1))
            assert len(events) in (seq, seq + 1)  # the last one may have been written and not yet told
            if seq > 2:
                store.artifact(sha256(b"%d" % (seq - 1)).hexdigest())
            run = store.run(run_id)
            assert (run.alive, run.ended, run.stop) == (False, "", None)
            mine = store.start_run(TASK)
            store.claim_repo(run.repo, mine)  # a dead holder gives way
    assert len(acknowledged) == 10


def test_four_processes_append_and_claim_without_a_lost_event_or_a_lock_error(
    place: Path | str, tmp_path: Path
) -> None:
    count = 25
    with Store.open(place) as store:
        shared = store.start_run(TASK)
        arguments = (str(place), shared, str(count), str(tmp_path / "held"))
        children = [start(APPENDS_AND_CLAIMS, *arguments) for _ in range(4)]
        for child in children:
            assert child.stdout is not None
            assert child.stdout.readline() == "ready\n"
        reports = []
        for child in children:
            assert child.stdin is not None
            child.stdin.write("go\n")
            child.stdin.flush()
        for child in children:
            output, _ = child.communicate()
            assert child.returncode == 0
            reports.append(json.loads(output))
        events = store.events(shared)[1:]
        store.claim_repo("/r", store.start_run(TASK))  # nothing was left claimed
    assert [event.seq for event in events] == list(range(2, 2 + 4 * count))
    texts = [event.payload.text for event in events if isinstance(event.payload, Noted)]
    for run_id, _ in reports:
        assert [text for text in texts if text.startswith(run_id)] == [f"{run_id} {n}" for n in range(count)]
    assert sum(held for _, held in reports) > 0


def test_threads_share_a_store(place: Path | str) -> None:
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


def test_a_full_disk_is_named_keeps_what_was_written_and_recovers(tmp_path: Path) -> None:
    path = tmp_path / "adi.db"
    with Store.open(path) as store:
        run_id = store.start_run(TASK)
        (pages,) = store._backend.connection.execute("PRAGMA page_count").fetchone()
        store._backend.connection.execute(f"PRAGMA max_page_count={pages + 2}")
        with pytest.raises(errors.StoreFull, match="no space left") as full:
            store.append(run_id, Noted(text="x" * 100_000))
        assert full.value.hint == "adi doctor"
        with pytest.raises(errors.StoreFull):
            store.put_artifact(b"x" * 100_000)
        assert len(store.events(run_id)) == 1
        store._backend.connection.execute(f"PRAGMA max_page_count={pages + 1000}")
        assert store.append(run_id, Noted(text="x" * 100_000)).seq == 2
    assert integrity(path) == "ok"


@pytest.mark.skipif(not shutil.which("mount") or os.geteuid() != 0, reason="mounting a filesystem needs root")
def test_a_read_only_or_full_filesystem_is_named(tmp_path: Path) -> None:
    disk = tmp_path / "disk"
    disk.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=400k", "tmpfs", str(disk)], capture_output=True, text=True
    )
    if mounted.returncode:
        pytest.skip(f"this root may not mount: {mounted.stderr.strip()}")
    try:
        path = disk / "adi.db"
        with Store.open(path) as store:
            run_id = store.start_run(TASK)
            fill = (store.append(run_id, Noted(text="x" * 10_000)) for _ in range(100))
            with pytest.raises(errors.StoreFull):
                list(fill)
            kept = store.runs()
        subprocess.run(["mount", "-o", "remount,ro", str(disk)], check=True)
        with pytest.raises(errors.StoreReadOnly, match="cannot be written"):
            Store.open(disk / "sub" / "new.db")
        with Store.open(path) as store:
            assert [run.id for run in store.runs()] == [run.id for run in kept]
            with pytest.raises(errors.StoreReadOnly, match="cannot be written"):
                store.append(run_id, RunEnded(stop=Stop.ERROR, exit_code=1))
    finally:
        subprocess.run(["umount", str(disk)], check=True)


def test_a_file_that_is_no_database_is_refused_and_kept(tmp_path: Path) -> None:
    path = tmp_path / "adi.db"
    path.write_bytes(b"my precious notes\n" * 500)
    with pytest.raises(errors.StoreCorrupt, match="left as it is"):
        Store.open(path)
    assert path.read_bytes() == b"my precious notes\n" * 500


def test_a_database_of_another_program_is_refused_and_kept(tmp_path: Path) -> None:
    path = tmp_path / "adi.db"
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("CREATE TABLE run (id)")
    before = path.read_bytes()
    with pytest.raises(errors.StoreCorrupt, match="not one of ADI's"):
        Store.open(path)
    assert path.read_bytes() == before


def test_a_damaged_page_is_named_and_the_file_kept(tmp_path: Path) -> None:
    path = tmp_path / "adi.db"
    with Store.open(path) as store:
        run_id = store.start_run(TASK)
        for _ in range(100):
            store.append(run_id, Noted(text="x" * 3000))
    content = bytearray(path.read_bytes())
    content[4096 * 3 :] = random.Random(1).randbytes(len(content) - 4096 * 3)
    path.write_bytes(content)
    with pytest.raises(errors.StoreCorrupt), Store.open(path) as store:
        store.events(run_id)
    assert path.stat().st_size == len(content)


def test_an_event_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    path = tmp_path / "adi.db"
    with Store.open(path) as store:
        run_id = store.start_run(TASK)
        with closing(sqlite3.connect(path)) as other:
            other.execute("""UPDATE event SET payload = '{"kind": "unheard-of"}'""")
            other.commit()
        with pytest.raises(errors.StoreCorrupt, match=f"event 1 of run {run_id}"):
            store.events(run_id)
        with closing(sqlite3.connect(path)) as other:
            other.execute("UPDATE event SET version = 99")
            other.commit()
        with pytest.raises(errors.SchemaTooNew, match="newer ADI"):
            store.events(run_id)


def test_a_file_replaced_under_a_live_store_is_detected(tmp_path: Path) -> None:
    path = tmp_path / "adi.db"
    with Store.open(path) as store:
        run_id = store.start_run(TASK)
        path.rename(tmp_path / "moved.db")
        with pytest.raises(errors.StoreReplaced):
            store.append(run_id, Noted(text="into the void"))
        Store.open(path).close()
        with pytest.raises(errors.StoreReplaced):
            store.append(run_id, Noted(text="into the void"))


def test_the_file_is_the_owners_only_and_marked(tmp_path: Path) -> None:
    path = tmp_path / "deep" / "adi.db"
    with Store.open(path):
        pass
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert int.from_bytes(path.read_bytes()[68:72], "big") == APPLICATION_ID


@pytest.mark.parametrize(
    ("version", "safe"),
    [
        ((3, 40, 1), False),
        ((3, 44, 5), False),
        ((3, 44, 6), True),
        ((3, 45, 0), False),
        ((3, 50, 6), False),
        ((3, 50, 7), True),
        ((3, 51, 2), False),
        ((3, 51, 3), True),
        ((3, 53, 0), True),
    ],
)
def test_wal_is_used_only_where_it_is_safe(version: tuple[int, int, int], safe: bool) -> None:
    assert wal_is_safe(version) is safe


def test_the_journal_is_the_one_for_this_sqlite(tmp_path: Path) -> None:
    with Store.open(tmp_path / "adi.db") as store:
        (journal,) = store._backend.connection.execute("PRAGMA journal_mode").fetchone()
    assert journal == ("wal" if wal_is_safe(sqlite3.sqlite_version_info) else "persist")


@pytest.mark.skipif(wal_is_safe(sqlite3.sqlite_version_info), reason="this SQLite may use WAL")
def test_a_file_left_in_wal_by_another_sqlite_is_brought_back(tmp_path: Path) -> None:
    path = tmp_path / "adi.db"
    with Store.open(path) as store:
        run_id = store.start_run(TASK)
    with closing(sqlite3.connect(path)) as other:
        assert other.execute("PRAGMA journal_mode=WAL").fetchone() == ("wal",)
    with Store.open(path) as store:
        assert store._backend.connection.execute("PRAGMA journal_mode").fetchone() == ("persist",)
        assert store.append(run_id, Noted(text="x")).seq == 2


def test_a_process_is_known_by_more_than_its_number() -> None:
    assert is_alive(os.getpid(), own_identity())
    with start("import sys; sys.stdin.read()") as child:
        known = identity(child.pid)
        assert is_alive(child.pid, known)
        assert not is_alive(child.pid, own_identity())  # the number was given to another process
        child.kill()
        os.waitid(os.P_PID, child.pid, os.WEXITED | os.WNOWAIT)
        assert not is_alive(child.pid, known)  # not yet reaped, yet dead
    assert not is_alive(child.pid, known)
    assert not is_alive(os.getpid(), "")
