"""The store in a file of SQLite: one connection that threads share, and a file that must stay where it is.

Before each transaction the file, and the write-ahead log where there is one, must still be those that were
opened; else nothing more is read or written (StoreReplaced), for that would go into a file that no name leads
to, with the journal of another. A file that was deleted is saved once beside its place.
"""

import os
import shutil
import sqlite3
import threading
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from pathlib import Path

from sqlmodel import Session

from memory import engine, errors, filesystem, process
from memory.migrate import migrate, schema_version

SIDES = ("-journal", "-wal", "-shm")
"""What SQLite appends to the name of a file for those that belong to it."""
LOG_TELL, LOG_CAP = 64 * 1024**2, 1024**3
"""Bytes of the write-ahead log: from the first it is folded in and told of, from the second writing stops."""


class Sqlite:
    """A file, or with None a database in memory."""

    def __init__(
        self,
        path: Path | None,
        *,
        version: tuple[int, int, int] = sqlite3.sqlite_version_info,
        mounts: Path = filesystem.MOUNTS,
        log_tell: int = LOG_TELL,
        log_cap: int = LOG_CAP,
    ) -> None:
        self._path = path
        self._lock = threading.RLock()
        self._log_tell, self._log_cap = log_tell, log_cap
        self._rescued = False
        self._log_warning = ""
        self._place_warning = filesystem.warning(path, mounts) if path else ""
        with engine.named_errors(path):
            if path is not None:
                _make(path)
            self.connection, opened = _connect(path, version)
            try:
                schema_version(self.connection)
                self.engine = engine.make_engine(self.connection)
                migrate(self.connection, self.engine, path)
                (journal,) = self.connection.execute("PRAGMA journal_mode").fetchone()
                self._log = side(path, "-wal") if path and journal == "wal" else None
                self._files = self._present()
                if self._files[:1] != opened:
                    raise errors.StoreReplaced(f"{path} was replaced while it was opened", errors.RESTORE)
            except BaseException:
                self.connection.close()
                raise
        self._reader = self.engine.execution_options(begin="BEGIN")

    @property
    def warnings(self) -> tuple[str, ...]:
        """That it lies on a network filesystem; that readers keep its log from being folded in."""
        return tuple(filter(None, (self._place_warning, self._log_warning)))

    @contextmanager
    def writing(self, *, precious: bool, alone: bool) -> Iterator[Session]:  # noqa: ARG002 - here all are alone
        """A transaction that holds the write lock from its start."""
        with self._lock, engine.named_errors(self._path):
            self._check_files()
            self._bound_log()
            engine.make_durable(self.connection, precious)
            with Session(self.engine) as session, session.begin():
                session.connection()  # waits for the lock; meanwhile the file may have been replaced
                self._check_files()
                yield session

    def compact(self) -> None:
        """Rewrite the file without what was deleted."""
        with self._lock, engine.named_errors(self._path):
            self._check_files()
            self.connection.execute("VACUUM")

    @contextmanager
    def reading(self) -> Iterator[Session]:
        """A transaction that holds no lock against writers for long."""
        with self._lock, engine.named_errors(self._path):
            self._check_files()
            with Session(self._reader) as session:
                yield session

    def identity(self) -> str:
        """Without the machine's name, which may change under a laptop: a file has one machine."""
        return process.own_identity()

    def close(self) -> None:
        """Close the file; idempotent."""
        with self._lock:
            self.engine.dispose()
            self.connection.close()

    def _present(self) -> tuple[tuple[int, int], ...]:
        if self._path is None:
            return ()
        logs = () if self._log is None else (self._log, side(self._path, "-shm"))
        return tuple(_file_id(path) for path in (self._path, *logs))

    def _check_files(self) -> None:
        if self._present() == self._files:
            return
        saved = self._rescue()
        kept = f"; what it held was saved as {saved}" if saved else ""
        hint = f"adi memory restore {saved}" if saved else errors.RESTORE
        what = "was" if self._log is None else "or its write-ahead log was"
        raise errors.StoreReplaced(f"{self._path} {what} deleted or replaced while in use{kept}", hint)

    def _rescue(self) -> Path | None:
        """Save a deleted file's content, once. Where another file stands in its place, reading is not safe:

        SQLite would take that one's journal for its own.
        """
        if self._path is None or self._path.exists() or self._rescued:
            return None
        self._rescued = True
        target = dated(self._path, "rescued")
        try:
            private(target)
            with closing(sqlite3.connect(target)) as copy:
                if self._log is not None:
                    self.connection.backup(copy)
                elif opened := descriptor_of(self._files[0]):
                    # SQLite looks for the name of a file that has a journal; the system still has the file.
                    shutil.copyfile(opened, target)
                if copy.execute("SELECT count(*) FROM run").fetchone() and _whole(copy):
                    copy.execute("PRAGMA journal_mode=DELETE")
                    return target
        except (sqlite3.Error, OSError):
            pass  # the error that is raised now says what is known
        target.unlink(missing_ok=True)
        return None

    def _bound_log(self) -> None:
        """Fold a long write-ahead log into the file; say when readers prevent that, and stop at the cap."""
        if self._log is None or self._log.stat().st_size < self._log_tell:
            return
        self.connection.execute("PRAGMA busy_timeout=100")
        try:
            (busy, _, _) = self.connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()
        finally:
            self.connection.execute(f"PRAGMA busy_timeout={engine.BUSY_S * 1000:.0f}")
        if not busy:
            self._log_warning = ""
            return
        size = self._log.stat().st_size
        self._log_warning = (
            f"{self._log} has grown to {size / 1e6:.0f} MB, because a process reads the store since long"
        )
        if size >= self._log_cap:
            raise errors.StoreBusy(f"{self._log_warning}; nothing more is written until it ends", "adi log")


def dated(path: Path, what: str) -> Path:
    """A name beside the path that no file has, such as `adi.db.damaged-20261128-104501`."""
    stem = f"{path.name}.{what}-{time.strftime('%Y%m%d-%H%M%S', time.gmtime())}"
    names = (stem, *(f"{stem}-{number}" for number in range(2, 1000)))
    return next(found for name in names if not os.path.lexists(found := path.with_name(name)))


def private(path: Path) -> None:
    """Make an empty file that only its owner can read; it must not exist."""
    os.close(os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o600))


def side(path: Path, suffix: str) -> Path:
    """Name of the file that belongs to a store's: its journal, log, or index of the log."""
    return path.with_name(path.name + suffix)


def _connect(
    path: Path | None, version: tuple[int, int, int]
) -> tuple[sqlite3.Connection, tuple[tuple[int, int], ...]]:
    """A connection, and which file it is to: waiting for `restore`, it may have waited for an old one."""
    opened = (_file_id(path),) if path else ()
    connection = engine.connect(path, version)
    if path is None or opened == (_file_id(path),):
        return connection, opened
    connection.close()
    return engine.connect(path, version), (_file_id(path),)


def descriptor_of(file: tuple[int, int]) -> Path | None:
    """Where the system shows a file that this process has open and that may have no name any more."""
    for entry in Path("/proc/self/fd").glob("*"):
        with suppress(OSError):
            if _file_id(entry) == file:
                return entry
    return None


def _whole(connection: sqlite3.Connection) -> bool:
    return bool(connection.execute("PRAGMA integrity_check(1)").fetchone() == ("ok",))


def _make(path: Path) -> None:
    """Put a new file in place when there is none, whole and at once: an empty one is never ADI's doing."""
    # Prompts and code are private: the directory and file are the owner's only.
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    if path.exists():
        return
    _check_orphans(path)
    new = path.with_name(f"{path.name}.{os.getpid()}-{threading.get_ident()}.new")
    try:
        private(new)
        with closing(engine.connect(new, new=True)) as connection:
            migrate(connection, engine.make_engine(connection), new)
        try:
            os.link(new, path)
        except FileExistsError:
            return  # another process was quicker
        except OSError:  # a filesystem without links
            new.rename(path)
    finally:
        for leftover in (new, *(side(new, suffix) for suffix in SIDES)):
            leftover.unlink(missing_ok=True)


def _check_orphans(path: Path) -> None:
    """A log without its file would be played into the new one. A journal that ended begins with zeros."""
    for orphan in (side(path, "-wal"), side(path, "-journal")):
        with suppress(FileNotFoundError), orphan.open("rb") as stream:
            if any(stream.read(28)) and not path.exists():  # else another process made it meanwhile
                raise errors.StoreCorrupt(
                    f"{path} is gone, and {orphan.name} with changes of it is still there", errors.RESTORE
                )


def _file_id(path: Path) -> tuple[int, int]:
    try:
        found = path.stat()
    except FileNotFoundError:
        return (0, 0)
    return (found.st_dev, found.st_ino)
