"""Group I: files that are read-only, another user's, remote, gone, replaced or damaged."""

import os
import pwd
import random
import shutil
import sqlite3
import stat
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path

import pytest

from agent.doctor import Subject, check_store
from agent.errors import ENVIRONMENT, exit_code_of
from agent.settings import directories, load
from memory import errors
from memory.backup import restore
from memory.engine import APPLICATION_ID
from memory.filesystem import filesystem_of
from memory.process import users_of
from memory.records import Noted
from memory.sqlite import Sqlite, side
from memory.store import Store
from tests.containment_kit import Contained
from tests.store_kit import NEW_SQLITE, TASK, integrity, start

pytestmark = pytest.mark.containment

NETWORK = """
/dev/vda / ext4 rw,relatime 0 0
tmpfs /tmp tmpfs rw 0 0
server:/export {place} {kind} rw,vers=4.2 0 0
proc /proc proc rw 0 0
"""


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """A store with one run of 101 events."""
    path = tmp_path / "adi.db"
    with Store.open(path) as store:
        run_id = store.start_run(TASK)
        for _ in range(100):
            store.append(run_id, Noted(text="x" * 3000))
    return path


@pytest.fixture
def folder(contained: Contained) -> Iterator[Path]:
    """A folder that `nobody` can reach."""
    contained.tmp.chmod(0o755)
    made = contained.tmp / "store"
    made.mkdir()
    yield made
    made.chmod(0o700)
    shutil.rmtree(made)


def as_nobody(act: Callable[[], object]) -> str:
    """What an act as a user without rights ends with: the error's name, message and hint, or its result."""
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            if os.geteuid() == 0:
                nobody = pwd.getpwnam("nobody")
                os.setgroups([])
                os.setgid(nobody.pw_gid)
                os.setuid(nobody.pw_uid)
            told = f"{act()}"
        except errors.StoreError as error:
            told = f"{type(error).__name__} {exit_code_of(error)}: {error} | {error.hint}"
        except BaseException as error:  # noqa: BLE001 - a child of these tests must not go on with them
            told = f"unexpected {error!r}"
        os.write(writing, told.encode())
        os._exit(0)
    os.close(writing)
    with os.fdopen(reading) as stream:
        told = stream.read()
    os.waitpid(child, 0)
    return told


def give(path: Path) -> None:
    """Make it `nobody`'s, where this is root."""
    if os.geteuid() == 0:
        nobody = pwd.getpwnam("nobody")
        os.chown(path, nobody.pw_uid, nobody.pw_gid)


def append(path: Path) -> int:
    with Store.open(path) as store:
        (run,) = store.runs()
        return store.append(run.id, Noted(text="x")).seq


def read(path: Path) -> str:
    with Store.open(path) as store:
        return f"{len(store.runs())} runs"


@pytest.mark.parametrize("what", ["file", "directory"])
def test_memory_i04_what_is_read_only_is_named_and_can_be_read(folder: Path, what: str) -> None:
    path = folder / "adi.db"
    with Store.open(path) as store:
        run_id = store.start_run(TASK)
    side(path, "-journal").unlink(missing_ok=True)
    for entry in (folder, path):
        give(entry)
    if what == "file":
        path.chmod(0o400)
    else:
        folder.chmod(0o500)
    before = path.read_bytes()
    told = as_nobody(lambda: append(path))
    assert told.startswith(
        f"StoreReadOnly {ENVIRONMENT}: {path} or its directory cannot be written | adi doctor"
    )
    assert as_nobody(lambda: read(path)) == "1 runs"
    assert path.read_bytes() == before
    path.chmod(0o600)
    folder.chmod(0o700)
    with Store.open(path) as store:
        assert len(store.events(run_id)) == 1


def test_memory_i04_a_directory_where_nothing_can_be_made(folder: Path) -> None:
    give(folder)
    folder.chmod(0o500)
    told = as_nobody(lambda: read(folder / "deep" / "adi.db"))
    assert told.startswith(
        f"StoreReadOnly {ENVIRONMENT}: {folder / 'deep' / 'adi.db'} or its directory cannot"
    )
    assert list(folder.iterdir()) == []


@pytest.mark.skipif(os.geteuid() != 0, reason="a file of another user needs root")
def test_memory_i04_a_file_of_another_user(folder: Path) -> None:
    path = folder / "adi.db"
    Store.open(path).close()
    give(folder)
    told = as_nobody(lambda: read(path))
    said = f"{path} belongs to root, and this is nobody"
    assert told.startswith(f"StoreUnavailable {ENVIRONMENT}: {said} | sudo chown")
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


@pytest.mark.parametrize("kind", ["nfs4", "9p", "cifs", "fuse.sshfs"])
def test_memory_i04_a_network_filesystem_is_warned_of_once_and_clearly(tmp_path: Path, kind: str) -> None:
    place = tmp_path / "far away"
    place.mkdir()
    mounts = tmp_path / "mounts"
    mounts.write_text(NETWORK.strip().format(place=str(place).replace(" ", "\\040"), kind=kind))
    with Store(Sqlite(place / "adi.db", mounts=mounts)) as store:
        (warning,) = store.warnings
        assert store.start_run(TASK)
    assert f"lies on a network filesystem ({kind})" in warning
    assert "ADI_HOME" in warning
    assert filesystem_of(tmp_path, mounts) in ("tmpfs", "ext4")
    with Store(Sqlite(tmp_path / "adi.db", mounts=mounts)) as store:
        assert store.warnings == ()


def test_memory_i04_the_filesystem_of_this_machine_is_known(tmp_path: Path) -> None:
    asked = subprocess.run(
        ["stat", "-f", "-c", "%T", str(tmp_path)], capture_output=True, text=True, check=True
    )
    known = filesystem_of(tmp_path)
    assert known
    assert known[:3] == asked.stdout.strip()[:3]  # stat says ext2/ext3 for ext4, overlayfs for overlay
    assert filesystem_of(tmp_path, tmp_path / "none") == ""


def test_memory_i05_a_deleted_store_is_saved_once_and_not_written(path: Path) -> None:
    with Store.open(path) as store:
        (run,) = store.runs()
        path.unlink()
        with pytest.raises(errors.StoreReplaced, match="deleted or replaced while in use") as gone:
            store.append(run.id, Noted(text="into the void"))
        (saved,) = path.parent.glob("adi.db.rescued-*")
        assert str(saved) in str(gone.value)
        assert gone.value.hint == f"adi memory restore {saved}"
        assert stat.S_IMODE(saved.stat().st_mode) == 0o600
        with pytest.raises(errors.StoreReplaced):
            store.runs()
        assert list(path.parent.glob("adi.db.rescued-*")) == [saved]
    restore(saved, path)
    with Store.open(path) as store:
        assert len(store.events(run.id)) == 101


def test_memory_i05_a_replaced_store_is_neither_read_nor_written(path: Path) -> None:
    moved = path.with_name("moved.db")
    with Store.open(path) as store:
        (run,) = store.runs()
        path.rename(moved)
        Store.open(path).close()
        new, old = path.read_bytes(), moved.read_bytes()
        for call in (lambda: store.append(run.id, Noted(text="x")), store.runs, lambda: store.events(run.id)):
            with pytest.raises(errors.StoreReplaced) as replaced:
                call()
            assert "adi memory restore FILE" in replaced.value.hint
    assert (path.read_bytes(), moved.read_bytes()) == (new, old)


@pytest.mark.parametrize("suffix", ["-wal", "-shm"])
def test_memory_i05_a_log_that_goes_away_under_a_live_process_is_seen(path: Path, suffix: str) -> None:
    with Store(Sqlite(path, version=NEW_SQLITE)) as store:
        (run,) = store.runs()
        assert store.append(run.id, Noted(text="in the log")).seq == 102
        side(path, suffix).unlink()
        for call in (lambda: store.append(run.id, Noted(text="into the void")), store.runs):
            with pytest.raises(errors.StoreReplaced, match="or its write-ahead log was"):
                call()
    assert integrity(path) == "ok"


def test_memory_i05_a_log_without_its_store_is_not_played_into_a_new_one(path: Path, tmp_path: Path) -> None:
    place = tmp_path / "place" / "adi.db"
    place.parent.mkdir()
    with Store(Sqlite(path, version=NEW_SQLITE)) as store:
        (run,) = store.runs()
        store.append(run.id, Noted(text="in the log"))
        shutil.copyfile(side(path, "-wal"), side(place, "-wal"))
    log = side(place, "-wal").read_bytes()
    with pytest.raises(errors.StoreCorrupt, match=r"is gone, and adi\.db-wal with changes of it") as refused:
        Store.open(place)
    assert "adi memory restore" in refused.value.hint
    assert not place.exists()
    assert side(place, "-wal").read_bytes() == log
    restore(path, place)
    with Store.open(place) as store:
        assert len(store.events(run.id)) == 102


OPENS = """
import sys
from memory.records import Noted
from memory.store import Store
print("opens", flush=True)
with Store.open(sys.argv[1]) as store:
    (run,) = store.runs()
    print(store.append(run.id, Noted(text="x")).seq, flush=True)
"""


def test_memory_i05_a_store_that_is_replaced_while_it_is_opened(path: Path, tmp_path: Path) -> None:
    new = tmp_path / "new.db"
    with Store.open(new) as store:
        store.start_run(TASK)
    with closing(sqlite3.connect(path, isolation_level=None)) as holder:
        holder.execute("BEGIN EXCLUSIVE")
        with start(OPENS, str(path)) as child:
            assert child.stdout is not None
            assert child.stdout.readline() == "opens\n"
            deadline = time.monotonic() + 30
            while child.pid not in users_of(path) and time.monotonic() < deadline:
                time.sleep(0.02)
            path.rename(tmp_path / "old.db")
            new.rename(path)
            holder.execute("ROLLBACK")
            assert child.stdout.readline() == "2\n"  # the new store's run, and not the old one's 102
    with Store.open(tmp_path / "old.db") as store:
        assert len(store.events(store.runs()[0].id)) == 101


def garbage(path: Path) -> None:
    path.write_bytes(b"my precious notes\n" * 500)


def foreign(path: Path) -> None:
    path.unlink()
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("CREATE TABLE run (id)")


def pages(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[4096 * 3 :] = random.Random(1).randbytes(len(content) - 4096 * 3)
    path.write_bytes(content)


def empty(path: Path) -> None:
    path.write_bytes(b"")


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[: 4096 * 20])


def read_all(path: Path) -> None:
    with Store.open(path) as store:
        for run in store.runs():
            store.events(run.id)


@pytest.mark.parametrize(
    ("spoil", "said"),
    [
        (garbage, "is damaged or not a database"),
        (foreign, "not one of ADI's"),
        (pages, "is damaged or not a database"),
        (empty, "is empty"),
        (cut, "is damaged or not a database"),
    ],
)
def test_memory_i06_what_is_no_sound_store_is_kept_and_the_way_back_shown(
    path: Path, spoil: Callable[[Path], None], said: str
) -> None:
    spoil(path)
    before = path.read_bytes()
    with pytest.raises(errors.StoreCorrupt, match=f"{said}.* left as it is") as refused:
        read_all(path)
    assert "adi memory restore FILE" in refused.value.hint
    assert "adi memory salvage" in refused.value.hint
    assert path.read_bytes() == before


def test_memory_i06_an_event_that_cannot_be_read_is_named(path: Path) -> None:
    with Store.open(path) as store:
        (run,) = store.runs()
        for change, error, said in (
            ("""payload = '{"kind": "unheard-of"}'""", errors.StoreCorrupt, f"event 1 of run {run.id}"),
            ("version = 99", errors.SchemaTooNew, "newer ADI"),
        ):
            with closing(sqlite3.connect(path)) as other:
                other.execute(f"UPDATE event SET {change}")
                other.commit()
            with pytest.raises(error, match=said):
                store.events(run.id)


def test_memory_i06_the_file_is_the_owners_only_and_marked_and_doctor_knows_a_damaged_one() -> None:
    path, subject = directories().database, Subject(load(None).settings, directories())
    with Store.open(path):
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert stat.S_IMODE(path.parent.stat().st_mode) & 0o077 == 0
    assert int.from_bytes(path.read_bytes()[68:72], "big") == APPLICATION_ID
    assert check_store(subject).status == "pass"
    garbage(path)
    assert check_store(subject).fix == "adi memory salvage"
    path.unlink()
