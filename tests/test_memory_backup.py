"""Copies of the store are whole, come back, and never cost what was there."""

import os
import random
import shutil
import sqlite3
import stat
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest
import typer
from typer.testing import CliRunner

from agent import cli_memory_store
from agent.settings import directories
from memory import errors
from memory.backup import backup, restore
from memory.lessons import Lessons
from memory.records import Noted, RunEnded, Stop
from memory.salvage import salvage
from memory.sqlite import SIDES, Sqlite, side
from memory.store import Store
from tests.store_kit import NEW_SQLITE, TASK, integrity, start

HOLDS = """
import sys
from memory.records import Task
from memory.store import Store
store = Store.open(sys.argv[1])
if sys.argv[2] == "run":
    run_id = store.start_run(Task(id="t", prompt="p", repo="/r"))
    store.claim_repo("/r", run_id)
    store.close()
elif sys.argv[2] == "lock":
    with store.writing():
        print("held", flush=True)
        sys.stdin.readline()
print("held", flush=True)
sys.stdin.readline()
"""


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """A store with three runs and 60 events, one artifact of each run."""
    path = tmp_path / "home" / "adi.db"
    with Store.open(path) as store:
        fill(store)
    return path


def fill(store: Store, runs: int = 3, events: int = 20) -> list[str]:
    ids = []
    for number in range(runs):
        ids.append(store.start_run(TASK, "qwen"))
        for _ in range(events - 2):
            store.append(ids[-1], Noted(text=f"{number} " + "x" * 700))
        store.append(ids[-1], RunEnded(stop=Stop.FAILED, exit_code=3))
        store.put_artifact(random.Random(number).randbytes(9000))
    return ids


def counts(path: Path) -> tuple[int, int]:
    with closing(sqlite3.connect(path)) as connection:
        ask = connection.execute
        return (
            ask("SELECT count(*) FROM run").fetchone()[0],
            ask("SELECT count(*) FROM event").fetchone()[0],
        )


def names(folder: Path) -> set[str]:
    """Files, but for journals without content, which SQLite leaves for the next time."""
    return {
        entry.name
        for entry in folder.iterdir()
        if not (entry.name.endswith("-journal") and not any(entry.read_bytes()[:28]))
    }


@pytest.mark.parametrize("version", [(3, 40, 1), NEW_SQLITE], ids=["rollback", "wal"])
def test_a_backup_needs_no_other_file_and_is_the_owners_only(
    tmp_path: Path, version: tuple[int, int, int]
) -> None:
    path, target = tmp_path / "adi.db", tmp_path / "away" / "copy.db"
    with Store(Sqlite(path, version=version)) as store:
        ids = fill(store)
        made = backup(path, target)
        store.append(ids[0], Noted(text="later"))
    assert (made.rows["run"], made.rows["event"], made.rows["artifact"], made.rows["lesson"]) == (3, 60, 3, 0)
    assert str(made) == "3 runs, 60 events, 3 artifacts, 0 lessons"
    assert made.size == target.stat().st_size
    assert names(target.parent) == {"copy.db"}
    assert stat.S_IMODE(target.stat().st_mode) == 0o600
    assert target.read_bytes()[18:20] == b"\1\1"  # no log is expected beside it
    assert (counts(target), integrity(target)) == ((3, 60), "ok")
    with Store.open(target) as copy:
        assert [len(copy.events(run_id)) for run_id in ids] == [20, 20, 20]


def test_a_backup_overwrites_nothing_unless_told(path: Path, tmp_path: Path) -> None:
    target = tmp_path / "notes.txt"
    target.write_text("mine")
    with pytest.raises(errors.TargetExists, match="there already") as refused:
        backup(path, target)
    assert refused.value.hint
    assert target.read_text() == "mine"
    backup(path, target, overwrite=True)
    assert counts(target) == (3, 60)
    (tmp_path / "link").symlink_to(path)
    for itself in (path, tmp_path / "link", tmp_path):
        with pytest.raises(errors.TargetExists):
            backup(path, itself, overwrite=True)
    assert counts(path) == (3, 60)
    assert names(tmp_path) == {"home", "notes.txt", "link"}


def test_a_backup_of_nothing_of_something_else_and_of_a_damaged_store_is_refused(
    path: Path, tmp_path: Path
) -> None:
    target = tmp_path / "copy.db"
    with pytest.raises(errors.StoreUnavailable, match="no store at"):
        backup(tmp_path / "none.db", target)
    assert not (tmp_path / "none.db").exists()
    other = tmp_path / "other.db"
    with closing(sqlite3.connect(other)) as connection:
        connection.execute("CREATE TABLE run (id)")
    with pytest.raises(errors.StoreCorrupt, match="not a store of ADI"):
        backup(other, target)
    damage(path)
    with pytest.raises(errors.StoreCorrupt) as damaged:
        backup(path, target)
    assert "adi memory salvage" in damaged.value.hint
    assert not target.exists()
    assert names(tmp_path) == {"home", "other.db"}


def damage(path: Path) -> None:
    """Overwrite some pages behind those that hold the list of tables."""
    content = bytearray(path.read_bytes())
    middle = len(content) // 4096 * 3 // 4 * 4096
    content[middle : middle + 3 * 4096] = random.Random(1).randbytes(3 * 4096)
    path.write_bytes(content)


def test_a_restore_puts_the_copy_in_place_and_keeps_what_was_there(path: Path, tmp_path: Path) -> None:
    copy = tmp_path / "copy.db"
    backup(path, copy)
    with Store.open(path) as store:
        fill(store, runs=1)
    done = restore(copy, path)
    assert (counts(path), done.counts.rows["event"]) == ((3, 60), 60)
    assert done.kept is not None
    assert done.kept.name.startswith("adi.db.before-restore-")
    assert counts(done.kept) == (4, 80)
    assert names(path.parent) == {"adi.db", done.kept.name}
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    with Store.open(path) as store:
        assert fill(store, runs=1)
    again = restore(copy, path)  # in the same second too nothing is overwritten
    assert again.kept not in (None, done.kept)
    assert counts(done.kept) == (4, 80)


def test_a_restore_where_nothing_is_makes_the_store(path: Path, tmp_path: Path) -> None:
    done = restore(path, tmp_path / "new" / "adi.db")
    assert done.kept is None
    assert counts(tmp_path / "new" / "adi.db") == (3, 60)


def test_a_log_of_the_old_store_is_never_played_into_the_new_one(tmp_path: Path, path: Path) -> None:
    """A process that was killed left changes in its log: they belong to the store that is set aside."""
    store = tmp_path / "wal" / "adi.db"
    with Store(Sqlite(store, version=NEW_SQLITE)) as opened:
        fill(opened, runs=2)
        crashed = tmp_path / "crashed" / "adi.db"
        crashed.parent.mkdir()
        for suffix in ("", "-wal", "-shm"):
            shutil.copyfile(side(store, suffix), side(crashed, suffix))
    assert side(crashed, "-wal").stat().st_size > 0
    done = restore(path, crashed)
    assert counts(crashed) == (3, 60)
    assert done.kept is not None
    assert counts(done.kept) == (2, 40)
    assert names(crashed.parent) == {"adi.db", done.kept.name}


def test_a_damaged_store_is_set_aside_with_its_journals(path: Path, tmp_path: Path) -> None:
    copy = tmp_path / "copy.db"
    backup(path, copy)
    path.write_bytes(b"garbage" * 1000)
    for suffix in SIDES:
        side(path, suffix).write_bytes(b"not empty" + suffix.encode())
    done = restore(copy, path)
    assert (counts(path), integrity(path)) == ((3, 60), "ok")
    assert done.kept is not None
    assert done.kept.read_bytes() == b"garbage" * 1000
    for suffix in SIDES:
        assert side(done.kept, suffix).read_bytes() == b"not empty" + suffix.encode()
    assert names(path.parent) == {"adi.db", *(done.kept.name + suffix for suffix in ("", *SIDES))}


@pytest.mark.parametrize("how", ["open", "run", "lock"])
def test_a_restore_waits_for_nobody_and_replaces_nothing_that_is_used(
    path: Path, tmp_path: Path, how: str
) -> None:
    copy = tmp_path / "copy.db"
    backup(path, copy)
    before = counts(path)[0]
    with start(HOLDS, str(path), how) as child:
        assert child.stdout is not None
        assert child.stdout.readline() == "held\n"
        with pytest.raises(errors.StoreInUse) as refused:
            restore(copy, path)
        assert str(child.pid) in str(refused.value)
        assert refused.value.hint
        child.kill()
    assert counts(path)[0] == before + (how == "run")
    assert restore(copy, path).kept  # the dead hold nothing


def test_this_process_counts_as_a_user_too(path: Path, tmp_path: Path) -> None:
    copy = tmp_path / "copy.db"
    backup(path, copy)
    with Store.open(path), pytest.raises(errors.StoreInUse, match=str(os.getpid())):
        restore(copy, path)
    assert restore(copy, path).kept


def test_a_restore_takes_only_sound_stores_that_this_program_knows(path: Path, tmp_path: Path) -> None:
    copy = tmp_path / "copy.db"
    backup(path, copy)
    before = path.read_bytes()
    bad = tmp_path / "bad.db"
    for spoil, error in (
        (lambda: bad.unlink(), errors.StoreUnavailable),
        (lambda: bad.write_bytes(b""), errors.StoreCorrupt),
        (lambda: bad.write_bytes(b"garbage" * 1000), errors.StoreCorrupt),
        (lambda: damage(bad), errors.StoreCorrupt),
        (lambda: change(bad, "PRAGMA user_version = 99"), errors.SchemaTooNew),
        (lambda: change(bad, "PRAGMA application_id = 7"), errors.StoreCorrupt),
        (lambda: change(bad, "DELETE FROM run"), errors.StoreCorrupt),
    ):
        shutil.copyfile(copy, bad)
        spoil()
        with pytest.raises(error) as refused:
            restore(bad, path)
        assert refused.value.hint
    with pytest.raises(errors.TargetExists, match="the store itself"):
        restore(path, path)
    assert path.read_bytes() == before
    assert names(path.parent) == {"adi.db"}


def change(path: Path, statement: str) -> None:
    with closing(sqlite3.connect(path)) as connection:
        connection.execute(statement)
        connection.commit()


def test_a_salvage_keeps_the_damaged_file_and_reads_the_rest(path: Path) -> None:
    damage(path)
    before = path.read_bytes()
    found = salvage(path)
    assert path.read_bytes() == before
    assert found.damaged.read_bytes() == before
    assert found.damaged.name.startswith("adi.db.damaged-")
    assert found.kept["event"] == counts(found.target)[1]
    assert 0 < sum(found.lost.values()) < 40
    assert found.kept["event"] + found.lost.get("event", 0) >= 60
    assert found.kept["run"] == 3
    assert integrity(found.target) == "ok"
    restore(found.target, path)
    with Store.open(path) as store:
        for run in store.runs():
            assert store.trajectory(run.id).task.prompt == "p"
        assert store.start_run(TASK)


@pytest.fixture
def swept(path: Path) -> Iterator[bytes]:
    """The file's bytes; whatever is done to it ends in a named error or a new store, with nothing beside."""
    yield path.read_bytes()
    assert {name for name in names(path.parent) if ".db." not in name} == {"adi.db"}


@pytest.mark.slow
def test_every_single_page_may_be_lost(path: Path, swept: bytes) -> None:
    dice, whole = random.Random(2), 0
    for page in range(len(swept) // 4096):
        content = bytearray(swept)
        content[page * 4096 : (page + 1) * 4096] = dice.randbytes(4096)
        path.write_bytes(content)
        if page == 0:
            with pytest.raises(errors.StoreCorrupt, match="nothing can be read"):
                salvage(path)
            continue
        try:
            found = salvage(path)
        except errors.StoreCorrupt:
            continue  # the page that holds the list of tables
        assert integrity(found.target) == "ok"
        whole += (found.kept["run"], found.kept["event"]) == (3, 60)
        with Store.open(found.target) as store:
            for run in store.runs(limit=0):
                assert store.trajectory(run.id).task.repo == "/src/maths"
    assert whole > 10  # pages of indexes, artifacts and free pages cost no event


def test_a_run_is_put_together_from_what_is_left(path: Path) -> None:
    with closing(sqlite3.connect(path)) as connection:
        ids = [row[0] for row in connection.execute("SELECT id FROM run ORDER BY rowid")]
        connection.execute("DELETE FROM run WHERE id = ?", (ids[0],))
        connection.execute("DELETE FROM event WHERE run_id = ? AND seq = 1", (ids[1],))
        connection.execute("DELETE FROM run WHERE id = ?", (ids[2],))
        connection.execute("UPDATE event SET payload = '{broken' WHERE run_id = ? AND seq = 1", (ids[2],))
        connection.commit()
    found = salvage(path)
    assert found.kept["run"] == 2
    assert found.kept["event"] == 40
    assert found.lost == {"event": 20}
    with Store.open(found.target) as store:
        assert {run.id: run.stop for run in store.runs()} == dict.fromkeys(ids[:2], Stop.FAILED)
        assert [len(store.events(run_id)) for run_id in ids[:2]] == [20, 20]
        assert store.trajectory(ids[1]).task.prompt == "p"


def test_lessons_are_found_by_their_words_after_a_salvage(path: Path) -> None:
    lesson = dict.fromkeys(("subject", "created", "changed", "used", "place"), "") | {
        "kind": "fact", "scope": "everywhere", "claim": "parsers quote", "words": "csv", "content": "{}",
        "author": "code", "status": "trial", "pinned": 0, "uses": 0,
        "supported": 1, "contradicted": 0,
    }  # fmt: skip
    with closing(sqlite3.connect(path)) as connection:
        for number in "ab":
            row = lesson | {"id": number, "key": number}
            marks = ", ".join("?" * len(row))
            connection.execute(f"INSERT INTO lesson ({', '.join(row)}) VALUES ({marks})", list(row.values()))
        connection.execute("INSERT INTO lesson_text (id, claim, words) VALUES ('a', 'parsers quote', 'csv')")
        connection.execute("INSERT INTO lesson_text (id, claim, words) VALUES ('gone', 'parsers', 'csv')")
        connection.commit()
    found = salvage(path)
    assert found.kept["lesson"] == 2
    with closing(sqlite3.connect(found.target)) as connection:
        hits = connection.execute("SELECT id FROM lesson_text WHERE lesson_text MATCH 'csv'").fetchall()
    assert sorted(hits) == [("a",), ("b",)]
    with Store.open(found.target) as store:
        assert [lesson.id for lesson, _ in Lessons(store).search(["csv"], {("everywhere", "")})] == ["a", "b"]


def test_a_salvage_counts_the_changes_in_a_log(tmp_path: Path) -> None:
    store, crashed = tmp_path / "adi.db", tmp_path / "crashed" / "adi.db"
    crashed.parent.mkdir()
    with Store(Sqlite(store, version=NEW_SQLITE)) as opened:
        fill(opened)
        for suffix in ("", "-wal"):
            shutil.copyfile(side(store, suffix), side(crashed, suffix))
    found = salvage(crashed)
    assert (found.kept["event"], found.lost) == (60, {})
    assert side(found.damaged, "-wal").exists()


def test_the_commands_say_in_one_line_what_they_did(tmp_path: Path) -> None:
    app = typer.Typer()
    for command in (cli_memory_store.backup, cli_memory_store.restore, cli_memory_store.salvage):
        app.command()(command)
    database, runner = directories().database, CliRunner()
    with Store.open(database) as store:
        fill(store)
    copy = tmp_path / "copy.db"
    made = runner.invoke(app, ["backup", str(copy)])
    assert made.stdout.startswith(f"{copy}: 3 runs, 60 events, 3 artifacts, 0 lessons, 0.")
    assert made.stdout.count("\n") == 1
    assert isinstance(runner.invoke(app, ["backup", str(copy)]).exception, errors.TargetExists)
    assert runner.invoke(app, ["backup", str(copy), "--force"]).exit_code == 0
    back = runner.invoke(app, ["restore", str(copy)])
    assert back.stdout.startswith(f"{database}: 3 runs, 60 events")
    assert "kept as" in back.stdout
    damage(database)
    saved = runner.invoke(app, ["salvage"])
    assert "lost: " in saved.stdout
    assert "adi memory restore" in saved.stdout
