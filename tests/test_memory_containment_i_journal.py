"""Group I: backups during heavy writes, long readers, and which journal is safe."""

import sqlite3
from collections import defaultdict
from contextlib import closing
from pathlib import Path

import pytest

from agent.doctor import Subject, check_sqlite
from agent.settings import directories, load
from memory import errors
from memory.backup import backup, restore
from memory.engine import wal_is_safe
from memory.records import Noted
from memory.sqlite import Sqlite, side
from memory.store import Store
from tests.store_kit import NEW_SQLITE, OLD_SQLITE, TASK, integrity, start

pytestmark = pytest.mark.containment

WRITES_ON = """
import sys
from memory.records import Noted, Task
from memory.store import Store
with Store.open(sys.argv[1]) as store:
    run_id = store.start_run(Task(id="t", prompt="p", repo="/r"))
    print(run_id, 1, flush=True)
    while True:
        print(run_id, store.append(run_id, Noted(text="x" * 2000)).seq, flush=True)
"""


def test_memory_i09_a_backup_during_heavy_writes_is_one_state_and_comes_back(tmp_path: Path) -> None:
    path, copies = tmp_path / "adi.db", [tmp_path / f"copy{number}.db" for number in range(5)]
    Store.open(path).close()
    children = [start(WRITES_ON, str(path)) for _ in range(2)]
    before: dict[str, int] = defaultdict(int)
    for child in children:
        assert child.stdout is not None
        for _ in range(5):
            run_id, seq = child.stdout.readline().split()
            before[run_id] = int(seq)
    made = [backup(path, copy) for copy in copies]
    for child in children:
        child.kill()
        child.communicate()
    told = [[(run.id, numbers(copy, run.id)) for run in Store.open(copy).runs()] for copy in reversed(copies)]
    with Store.open(path) as store:
        assert {run.id for run in store.runs()} == set(before)
    sizes = [counts.rows["event"] for counts in made]
    assert sizes == sorted(sizes)
    assert sizes[0] >= sum(before.values())
    assert sizes[-1] > sizes[0], "nobody wrote while the copies were made"
    assert [sum(len(seqs) for _, seqs in one) for one in reversed(told)] == sizes
    for seqs in (seqs for one in told for _, seqs in one):
        assert seqs == list(range(1, len(seqs) + 1))
    restore(copies[0], path)
    with closing(
        sqlite3.connect(f"file:{path}?immutable=1", uri=True)
    ) as alone:  # no other file is looked at
        assert alone.execute("SELECT count(*) FROM event").fetchone() == (sizes[0],)
    assert integrity(path) == "ok"


def numbers(path: Path, run_id: str) -> list[int]:
    with Store.open(path) as store:
        return [event.seq for event in store.events(run_id)]


def test_memory_i09_a_long_reader_cannot_make_the_log_grow_without_end(tmp_path: Path) -> None:
    path, tell, cap = tmp_path / "adi.db", 200_000, 600_000
    log = side(path, "-wal")
    with Store(Sqlite(path, version=NEW_SQLITE, log_tell=tell, log_cap=cap)) as store:
        run_id = store.start_run(TASK)
        with closing(sqlite3.connect(path)) as export:
            export.execute("BEGIN")
            export.execute("SELECT count(*) FROM event").fetchone()
            fill = (store.append(run_id, Noted(text="x" * 10_000)).seq for _ in range(200))
            with pytest.raises(errors.StoreBusy, match="nothing more is written until it ends"):
                written = list(fill)
            (warning,) = store.warnings
            assert f"{log} has grown to 0." in warning or f"{log} has grown to 1 MB" in warning
            assert cap <= log.stat().st_size < cap + 100_000
            written = store.events(run_id)
        assert store.append(run_id, Noted(text="x")).seq == len(written) + 1
        assert store.warnings == ()
        assert log.stat().st_size < tell
    assert integrity(path) == "ok"


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
def test_memory_i10_an_affected_sqlite_keeps_a_rollback_journal(
    tmp_path: Path, version: tuple[int, int, int], safe: bool
) -> None:
    assert wal_is_safe(version) is safe
    path, backend = tmp_path / "adi.db", Sqlite(tmp_path / "adi.db", version=version)
    with Store(backend) as store:
        assert backend.connection.execute("PRAGMA journal_mode").fetchone() == ("wal" if safe else "persist",)
        run_id = store.start_run(TASK)
    # a file that another build left in WAL is brought back by one that must not use it
    with closing(sqlite3.connect(path)) as other:
        assert other.execute("PRAGMA journal_mode=WAL").fetchone() == ("wal",)
    backend = Sqlite(path, version=OLD_SQLITE)
    with Store(backend) as store:
        assert backend.connection.execute("PRAGMA journal_mode").fetchone() == ("persist",)
        assert store.append(run_id, Noted(text="x")).seq == 2


def test_memory_i10_the_journal_is_the_one_for_this_sqlite_and_doctor_names_it(tmp_path: Path) -> None:
    safe = wal_is_safe(sqlite3.sqlite_version_info)
    backend = Sqlite(tmp_path / "adi.db")
    with closing(backend):
        (journal,) = backend.connection.execute("PRAGMA journal_mode").fetchone()
    assert journal == ("wal" if safe else "persist")
    told = check_sqlite(Subject(load(None).settings, directories())).detail
    assert ("WAL" if safe else "rollback journal (this build's WAL has a bug)") in told


def test_memory_i10_a_process_that_writes_with_the_log_keeps_others_from_the_journal(tmp_path: Path) -> None:
    """Two programs on one file, one of them with an affected SQLite: that one is refused."""
    path = tmp_path / "adi.db"
    with Store(Sqlite(path, version=NEW_SQLITE)) as store:
        run_id = store.start_run(TASK)
        with pytest.raises(errors.StoreBusy):
            Sqlite(path, version=OLD_SQLITE)
        assert store.append(run_id, Noted(text="x")).seq == 2
