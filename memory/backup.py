"""Copies of the store's file: taken while others write, checked, and put back in its place.

Guaranteed: a copy is one state of the store and needs no other file; it has its name only once it is whole.
What stands in the store's place before `restore` is kept beside it, and is replaced in one step, so that at
every moment there is an old or a new store. A Postgres database has the server's own means (`pg_dump`).
"""

import os
import shutil
import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from pathlib import Path

from pydantic import Field

from memory import engine, errors
from memory.carry import Rows, carry, kept_rows
from memory.checks import Record
from memory.holders import busy
from memory.migrate import schema_version
from memory.process import users_of
from memory.sqlite import SIDES, dated, private, side

PATIENCE_S = 2.0
"""How long `restore` waits for a writer, in seconds."""
_MAGIC = b"SQLite format 3\0"
_NOT_OURS = "it is not a store of ADI"


class Counts(Record):
    """What a store holds."""

    rows: dict[str, int]
    """Table to rows; the tables of the full-text search are left out."""
    size: int
    """Bytes of the file."""

    def __str__(self) -> str:
        told = ("run", "event", "artifact", "lesson")
        return ", ".join(f"{self.rows.get(name, 0)} {name}s" for name in told)


class Restored(Record):
    """What `restore` did."""

    counts: Counts
    kept: Path | None
    """Where the store that stood there before is now; None when there was none."""
    carried: dict[str, int] = Field(default_factory=dict)
    """Table to rows that came from that one: refusals, opt-outs, tombstones (memory/carry.py)."""
    returned: tuple[str, ...] = ()
    """Runs that were forgotten there and are back with the copy; no data set takes them."""


def backup(store: Path, target: Path, *, overwrite: bool = False) -> Counts:
    """Write a copy of the store, as of one moment of this call, to a file that only its owner can read.

    Raises StoreUnavailable (no store), StoreCorrupt (it is damaged), TargetExists, StoreFull, StoreReadOnly.
    """
    _check_target(store, target, overwrite)
    with _copied(store, target) as (part, counts):
        _check_target(store, target, overwrite)
        part.replace(target)
        _settle(target.parent)
    return counts


def restore(source: Path, store: Path) -> Restored:
    """Put a copy of `source` in the store's place; `source` stays.

    What was refused or forgotten in the store stays so (memory/carry.py). Raises StoreCorrupt (the source is
    damaged or no store), SchemaTooNew, StoreInUse (a process uses it).
    """
    if store.exists() and source.exists() and store.samefile(source):
        raise errors.TargetExists(f"{source} is the store itself", "adi memory restore FILE")
    with _copied(source, store) as (part, counts), engine.named_errors(store), _held(store) as old:
        with closing(sqlite3.connect(part)) as copy:
            schema_version(copy)
        carried = carry(old, part)
        returned = _returned(part)
        kept = _set_aside(store)
        part.replace(store)
        _settle(store.parent)
    return Restored(counts=counts, kept=kept, carried=carried, returned=returned)


def _returned(copy: Path) -> tuple[str, ...]:
    """Runs of a store that were forgotten and are in it all the same."""
    query = "SELECT id FROM run WHERE id IN (SELECT id FROM tombstone WHERE kind = 'run') ORDER BY id"
    with closing(sqlite3.connect(copy)) as connection, suppress(sqlite3.OperationalError):  # an old schema
        return tuple(row[0] for row in connection.execute(query))
    return ()


@contextmanager
def _copied(source: Path, target: Path) -> Iterator[tuple[Path, Counts]]:
    """A checked copy of a store under a name beside `target`, and what it holds; it is gone afterwards."""
    part = target.with_name(f"{target.name}.{os.getpid()}.part")
    try:
        with engine.named_errors(target):
            target.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            part.unlink(missing_ok=True)
            private(part)
        with (
            engine.named_errors(source),
            closing(_opened(source)) as connection,
            engine.named_errors(target),
            closing(sqlite3.connect(part)) as copy,
        ):
            # All pages in one step: copying in parts begins anew whenever another process writes.
            connection.backup(copy)
            copy.execute("PRAGMA journal_mode=DELETE")
            _check(copy, source)
            rows = _rows(copy)
        with part.open("rb+") as stream:
            os.fsync(stream.fileno())
        yield part, Counts(rows=rows, size=part.stat().st_size)
    finally:
        for leftover in (part, *(side(part, suffix) for suffix in SIDES)):
            leftover.unlink(missing_ok=True)


def _opened(path: Path) -> sqlite3.Connection:
    """A connection to a store that exists; nothing is made or changed."""
    if not path.is_file():
        raise errors.StoreUnavailable(f"there is no store at {path}", "adi log")
    connection = sqlite3.connect(
        f"{path.absolute().as_uri()}?mode=rw", uri=True, timeout=engine.BUSY_S, isolation_level=None
    )
    try:
        (application,) = connection.execute("PRAGMA application_id").fetchone()
        if application != engine.APPLICATION_ID:
            raise errors.StoreCorrupt(f"{path}: {_NOT_OURS}", errors.RESTORE)
        connection.execute("BEGIN")  # from here on no other process changes it
        connection.execute("SELECT count(*) FROM sqlite_master").fetchone()
    except BaseException:
        connection.close()
        raise
    return connection


def _check(copy: sqlite3.Connection, source: Path) -> None:
    with engine.named_errors(source):
        found = [row[0] for row in copy.execute("PRAGMA integrity_check(3)")]
        orphans = copy.execute("PRAGMA foreign_key_check").fetchall()
    if found != ["ok"] or orphans:
        said = found[0] if found != ["ok"] else f"{len(orphans)} rows belong to nothing"
        raise errors.StoreCorrupt(f"{source} is damaged: {said}".replace("\n", " "), errors.RESTORE)


def _rows(copy: sqlite3.Connection) -> dict[str, int]:
    names = copy.execute(
        "SELECT name FROM sqlite_master WHERE type = 'table' AND name NOT LIKE 'lesson\\_text%' ESCAPE '\\'"
        " AND name NOT IN ('alembic_version', 'sqlite_sequence') ORDER BY name"
    ).fetchall()
    return {name: copy.execute(f'SELECT count(*) FROM "{name}"').fetchone()[0] for (name,) in names}


def _check_target(store: Path, target: Path, overwrite: bool) -> None:
    if target.is_dir():
        raise errors.TargetExists(f"{target} is a directory", "name a file in it")
    if not os.path.lexists(target):
        return
    if target.exists() and store.exists() and target.samefile(store):
        raise errors.TargetExists(f"{target} is the store itself", "name another file")
    if not overwrite:
        raise errors.TargetExists(f"{target} is there already", "name another file, or add --force")


def check_unused(store: Path) -> None:
    """Raises StoreInUse while a process has the file open."""
    if store.exists() and (users := users_of(store)):
        raise errors.StoreInUse(
            f"{store} is open in {'process' if len(users) == 1 else 'processes'} "
            f"{', '.join(map(str, users))}",
            "end it, then try again",
        )


@contextmanager
def _held(store: Path) -> Iterator[Rows]:
    """Nobody else uses the store: no process has it open, no run in it is alive, its lock is ours.

    The journal of a sound store is folded in, so that no change of it lies elsewhere. Gives the rows that
    must not be lost with it.
    """
    check_unused(store)
    # SQLite is not asked about what is no database: it would take away the journal that lies beside it.
    if not store.exists() or not _begins_well(store):
        yield {}
        return
    with closing(sqlite3.connect(store, timeout=PATIENCE_S, isolation_level=None)) as connection:
        try:
            connection.execute("PRAGMA journal_mode=DELETE").fetchone()
            connection.execute("BEGIN EXCLUSIVE")
            if found := busy(connection):
                raise errors.StoreInUse(
                    f"run {found[0]} (process {found[1]}) is at work", f"adi show {found[0]}"
                )
        except sqlite3.DatabaseError as error:
            named = engine.translate(error, store)
            if isinstance(named, errors.StoreBusy):
                raise errors.StoreInUse(
                    f"{store} is locked by a process", "end it, then try again"
                ) from error
            if isinstance(named, errors.StoreFull | errors.StoreReadOnly):
                raise named from error
            # else it is damaged, or another program's: it is set aside as it is
        yield kept_rows(connection)


def _begins_well(store: Path) -> bool:
    with store.open("rb") as stream:
        return stream.read(len(_MAGIC)) == _MAGIC


def _set_aside(store: Path) -> Path | None:
    """Give the store's file a second name, and what belongs to it the names that go with that one."""
    kept = dated(store, "before-restore")
    if store.exists():
        try:
            os.link(store, kept)
        except OSError:  # a filesystem without links
            shutil.copy2(store, kept)
    for suffix in SIDES:
        with suppress(FileNotFoundError):
            side(store, suffix).rename(side(kept, suffix))
    return kept if kept.exists() else None


def _settle(folder: Path) -> None:
    """Make the names in a folder survive loss of power."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
