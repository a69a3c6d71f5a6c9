"""Opens the SQLite file: which journal, which guards, and what its errors mean.

Guaranteed: a commit survives `kill -9`; with `synchronous=FULL` it survives loss of power too. A file
that is not ADI's, is damaged, or is newer than this program is refused and left as it is. Not
guaranteed: safety on network filesystems, whose locks SQLite cannot trust.
"""

import errno
import os
import pwd
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from sqlalchemy import Connection, Engine, create_engine, event
from sqlalchemy.exc import DBAPIError
from sqlalchemy.pool import StaticPool

from memory import errors

APPLICATION_ID = 0x41444931
"""Marks the file as ADI's, in the header field SQLite keeps for that ("ADI1")."""
BUSY_S = 30.0
"""How long a writer waits for another, in seconds."""

_PRIMARY = 0xFF  # extended result codes of SQLite carry the primary one in their low byte


def wal_is_safe(version: tuple[int, int, int]) -> bool:
    """False for the builds whose write-ahead log can lose a commit (sqlite.org/wal.html, "WAL-reset bug").

    Two connections and a checkpoint at the wrong moment are enough, and ADI has several processes.
    """
    return version >= (3, 51, 3) or (3, 50, 7) <= version < (3, 51) or (3, 44, 6) <= version < (3, 45)


def connect(
    path: Path | None,
    version: tuple[int, int, int] = sqlite3.sqlite_version_info,
    *,
    new: bool = False,
) -> sqlite3.Connection:
    """A guarded connection to a file that exists, or with None to a store in memory.

    `version` is the one of SQLite that decides which journal is safe; `new`: the file may be empty.
    """
    if path is not None and not new and path.stat().st_size == 0:
        # ADI puts a new file in place with its tables: one without anything is what a fault left.
        raise errors.StoreCorrupt(f"{path} is empty and was left as it is; a store never is", errors.RESTORE)
    connection = sqlite3.connect(
        ":memory:" if path is None else path,
        timeout=BUSY_S,
        isolation_level=None,
        check_same_thread=False,
    )
    try:
        _check_is_ours(connection)
        _choose_journal(connection, version)
        connection.execute("PRAGMA foreign_keys=ON")
        connection.execute("PRAGMA secure_delete=ON")  # what is forgotten leaves no bytes behind
    except BaseException:
        connection.close()
        raise
    return connection


def _check_is_ours(connection: sqlite3.Connection) -> None:
    connection.execute("BEGIN")  # both are read at one moment: another process may be making the tables
    (application,) = connection.execute("PRAGMA application_id").fetchone()
    (tables,) = connection.execute("SELECT count(*) FROM sqlite_master").fetchone()
    connection.execute("COMMIT")
    if tables and application != APPLICATION_ID:
        raise errors.StoreCorrupt(
            "it is a database, but not one of ADI's; it was left as it is", errors.RESTORE
        )


def _choose_journal(connection: sqlite3.Connection, version: tuple[int, int, int]) -> None:
    """WAL where it is safe, else a rollback journal, kept in place (PERSIST).

    Median of 400 commits of 2 kB each, in turns, on an ext4 disk that others used too: WAL 0.1 ms
    (0.5 ms when it syncs), PERSIST 1.3 ms, TRUNCATE 1.6 ms, DELETE 1.7 ms; an idle disk halves them.
    PERSIST without the second sync (NORMAL) would take 1.1 ms: not worth the risk.
    """
    (present,) = connection.execute("PRAGMA journal_mode").fetchone()
    if present == "memory":
        return
    if wal_is_safe(version):
        # Refused without harm while another process uses the rollback journal: both journals are safe here.
        connection.execute("PRAGMA journal_mode=WAL")
    elif connection.execute("PRAGMA journal_mode=PERSIST").fetchone()[0] != "persist":
        raise errors.StoreBusy(
            f"another process uses a journal that SQLite {sqlite3.sqlite_version} cannot be trusted with; "
            "wait until it ends"
        )


def make_engine(connection: sqlite3.Connection) -> Engine:
    """SQLAlchemy over this one connection; transactions begin as their `begin` option says."""
    engine = create_engine("sqlite://", creator=lambda: connection, poolclass=StaticPool)

    @event.listens_for(engine, "begin")
    def _begin(transaction: Connection) -> None:
        # A deferred transaction that reads and then writes fails at once when another writer was quicker.
        transaction.exec_driver_sql(transaction.get_execution_options().get("begin", "BEGIN IMMEDIATE"))

    return engine


def make_durable(connection: sqlite3.Connection, through_power_loss: bool) -> None:
    """Choose what the next commits survive. A rollback journal is always synchronous=FULL."""
    (journal,) = connection.execute("PRAGMA journal_mode").fetchone()
    full = through_power_loss or journal != "wal"
    connection.execute(f"PRAGMA synchronous={'FULL' if full else 'NORMAL'}")


@contextmanager
def named_errors(path: Path | None) -> Iterator[None]:
    """Turn errors of SQLite and of the filesystem into StoreErrors that name the file."""
    try:
        yield
    except DBAPIError as error:
        if not isinstance(error.orig, sqlite3.Error):
            raise
        raise translate(error.orig, path) from error.orig
    except sqlite3.Error as error:
        raise translate(error, path) from error
    except OSError as error:
        raise _translate_os(error, path) from error


def translate(error: sqlite3.Error, path: Path | None) -> errors.StoreError:
    """The StoreError for an error of SQLite."""
    where = str(path or "the store in memory")
    match getattr(error, "sqlite_errorcode", 0) & _PRIMARY:
        case sqlite3.SQLITE_FULL:
            return errors.StoreFull(f"no space left to write {where}", errors.DOCTOR)
        case sqlite3.SQLITE_READONLY | sqlite3.SQLITE_PERM:
            return errors.StoreReadOnly(f"{where} or its directory cannot be written", errors.DOCTOR)
        case sqlite3.SQLITE_BUSY | sqlite3.SQLITE_LOCKED:
            return errors.StoreBusy(f"another process kept {where} locked for {BUSY_S:.0f} s", "adi log")
        case sqlite3.SQLITE_NOTADB | sqlite3.SQLITE_CORRUPT:
            return errors.StoreCorrupt(
                f"{where} is damaged or not a database ({error}); it was left as it is", errors.RESTORE
            )
        case sqlite3.SQLITE_CANTOPEN:
            return _cannot_open(path)
    return errors.StoreUnavailable(f"{where}: {error}", errors.DOCTOR)


def _cannot_open(path: Path | None) -> errors.StoreError:
    if path is not None and path.exists() and not os.access(path, os.R_OK | os.W_OK):
        owner, me = path.stat().st_uid, os.geteuid()
        if owner != me:
            return errors.StoreUnavailable(
                f"{path} belongs to {_user(owner)}, and this is {_user(me)}", f"sudo chown {me} {path}"
            )
    if path is not None and path.exists() and not os.access(path.parent, os.W_OK):
        return errors.StoreReadOnly(f"{path} or its directory cannot be written", errors.DOCTOR)
    return errors.StoreUnavailable(f"{path} cannot be opened", errors.DOCTOR)


def _user(number: int) -> str:
    try:
        return pwd.getpwuid(number).pw_name
    except KeyError:
        return f"user {number}"


def _translate_os(error: OSError, path: Path | None) -> errors.StoreError:
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return errors.StoreFull(f"no space left to write {path}", errors.DOCTOR)
    if error.errno in (errno.EROFS, errno.EACCES, errno.EPERM):
        return errors.StoreReadOnly(f"{path} or its directory cannot be written", errors.DOCTOR)
    return errors.StoreUnavailable(f"{path}: {error.strerror or error}", errors.DOCTOR)
