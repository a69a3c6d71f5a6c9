"""Takes what can still be read out of a damaged store, row by row, into a new file.

The damaged file is not written to and not replaced: it is copied with its journals, the copy is kept, and a
second copy is read. Rows come over as they are stored; what is not a row of ADI's any more counts as lost. A
run whose first event or whose own row was lost is put together again from what is left of it.
"""

import json
import shutil
import sqlite3
from collections.abc import Iterator
from contextlib import closing, suppress
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from sqlmodel import Session, col, select

from memory import engine, errors, views
from memory.backup import check_unused
from memory.checks import Record
from memory.records import SCHEMA_VERSION, RunStarted, Task
from memory.sqlite import SIDES, Sqlite, dated, private, side
from memory.store import payload_of
from memory.tables import AnyJson, EventRow, RunRow, Table
from memory.wording import indexed

TEXT = ("lesson_text", ("id", "claim", "words"))
"""The table of the full-text search, which no class describes."""
FARTHEST = 2**40
"""No table has a higher row number."""


class Salvaged(Record):
    """What was found."""

    damaged: Path
    """The kept copy of the damaged file; its journals lie beside it."""
    target: Path
    """The new store with the rows that could be read."""
    kept: dict[str, int]
    """Table to rows."""
    lost: dict[str, int]
    """Table to rows that are known to have been there; tables without a loss are left out."""


def salvage(store: Path) -> Salvaged:
    """Keep a copy of the damaged file and read what is readable into a new one; the store stays as it is.

    Raises StoreUnavailable (no store), StoreInUse, StoreCorrupt (nothing can be read), StoreFull.
    """
    if not store.is_file():
        raise errors.StoreUnavailable(f"there is no store at {store}", "adi log")
    with engine.named_errors(store):
        check_unused(store)
        damaged, target = dated(store, "damaged"), dated(store, "salvaged")
        _copy(store, damaged)
        with TemporaryDirectory(prefix=f"{store.name}.", dir=store.parent) as folder:
            _copy(damaged, Path(folder) / store.name)
            try:
                with closing(_opened(Path(folder) / store.name)) as source:
                    kept, lost = _rescue(source, target)
            except sqlite3.DatabaseError as error:
                raise errors.StoreCorrupt(
                    f"nothing can be read from {store} ({error}); a copy is kept as {damaged}",
                    "adi memory restore FILE puts a backup in its place",
                ) from error
    return Salvaged(damaged=damaged, target=target, kept=kept, lost=lost)


def _copy(source: Path, target: Path) -> None:
    private(target)
    shutil.copyfile(source, target)
    for suffix in SIDES[:2]:  # the index of a log is made from it
        with suppress(FileNotFoundError):
            shutil.copyfile(side(source, suffix), side(target, suffix))


def _opened(path: Path) -> sqlite3.Connection:
    connection = sqlite3.connect(path, isolation_level=None)
    try:
        connection.execute("PRAGMA cell_size_check=ON")
        if not connection.execute("SELECT count(*) FROM sqlite_master WHERE name = 'run'").fetchone()[0]:
            raise sqlite3.DatabaseError("it has no runs")
    except BaseException:
        connection.close()
        raise
    return connection


def _rescue(source: sqlite3.Connection, target: Path) -> tuple[dict[str, int], dict[str, int]]:
    tables = [(table.name, tuple(table.columns.keys())) for table in Table.metadata.sorted_tables]
    lost: dict[str, int] = {}
    Sqlite(target).close()
    with closing(sqlite3.connect(target, isolation_level=None)) as copy:
        copy.execute("BEGIN")
        for name, columns in (*tables, TEXT):
            lost[name] = _take(source, copy, name, columns)
        copy.execute("COMMIT")
    _mend(target)
    with closing(sqlite3.connect(target, isolation_level=None)) as copy:
        lost["event"] = max(lost["event"], _gaps(copy))
        for name in _drop_orphans(copy):
            lost[name] += 1
        _index_words(copy)
        names = [name for name, _ in tables]
        kept = {name: copy.execute(f'SELECT count(*) FROM "{name}"').fetchone()[0] for name in names}
        (found,) = copy.execute("PRAGMA integrity_check").fetchone()
        copy.execute("PRAGMA journal_mode=DELETE")
    if found != "ok":
        raise sqlite3.DatabaseError(str(found))
    return kept, {name: count for name, count in lost.items() if count and name != TEXT[0]}


def _take(source: sqlite3.Connection, copy: sqlite3.Connection, name: str, columns: tuple[str, ...]) -> int:
    """Copy the readable rows of a table; the number of rows that are there and cannot be read."""
    try:
        present = {row[1] for row in source.execute(f'PRAGMA table_info("{name}")')}
    except sqlite3.DatabaseError:
        return 0
    names = [column for column in columns if column in present]
    if not names:
        return 0  # an older schema, which had no such table
    listed, marks = ", ".join(f'"{column}"' for column in names), ", ".join("?" * len(names))
    lost = 0
    for number in sorted(_numbers(source, name)):
        try:
            row = source.execute(f'SELECT {listed} FROM "{name}" WHERE rowid = ?', (number,)).fetchone()
            if row is None or not _sound(name, dict(zip(names, row, strict=True))):
                lost += 1
                continue
            copy.execute(f'INSERT INTO "{name}" (rowid, {listed}) VALUES (?, {marks})', (number, *row))
        except sqlite3.DatabaseError as error:
            if isinstance(engine.translate(error, None), errors.StoreFull):
                raise
            lost += 1
    return lost


def _sound(table: str, row: dict[str, Any]) -> bool:
    """False when the text of a JSON column is none."""
    described = Table.metadata.tables.get(table)
    try:
        for column in () if described is None else described.columns:
            if column.name in row and isinstance(column.type, AnyJson):
                json.loads(row[column.name])
    except (TypeError, ValueError):
        return False
    return True


def _numbers(source: sqlite3.Connection, table: str) -> set[int]:
    """Row numbers of a table, by all ways that lead to them: the table from both ends, and its indexes."""
    found = _scan(source, f'SELECT rowid FROM "{table}" NOT INDEXED WHERE rowid > ? ORDER BY rowid', 1)
    found |= _scan(source, f'SELECT rowid FROM "{table}" NOT INDEXED WHERE rowid < ? ORDER BY rowid DESC', -1)
    with suppress(sqlite3.DatabaseError):
        for _, index, *_ in source.execute(f'PRAGMA index_list("{table}")').fetchall():
            for order in ("", " DESC"):
                found |= set(_whole(source, table, index, order))
    return found


def _scan(source: sqlite3.Connection, query: str, direction: int) -> set[int]:
    """Row numbers in order; behind a damaged page it goes on with ever larger steps."""
    found: set[int] = set()
    at, step = (0, 1) if direction > 0 else (FARTHEST, 1)
    while 0 <= at <= FARTHEST:
        try:
            for (number,) in source.execute(query, (at,)):
                found.add(number)
                if (number - at) * direction > 0:  # damaged pages may lead back
                    at, step = number, 1
            return found
        except sqlite3.DatabaseError:
            at, step = at + direction * step, step * 2
    return found


def _whole(source: sqlite3.Connection, table: str, index: str, order: str) -> Iterator[int]:
    """Row numbers that an index leads to, up to the first damage."""
    columns = [row[2] for row in source.execute(f'PRAGMA index_info("{index}")')]
    by = ", ".join(f'"{column}"{order}' for column in columns)
    with suppress(sqlite3.DatabaseError):
        for (number,) in source.execute(f'SELECT rowid FROM "{table}" INDEXED BY "{index}" ORDER BY {by}'):
            yield number


def _mend(target: Path) -> None:
    """Give each run its row, and its first event, from what is left of it."""
    backend = Sqlite(target)
    try:
        with backend.writing(precious=True, alone=True) as session:
            runs = set(session.exec(select(RunRow.id)))
            for event in session.exec(select(EventRow).where(EventRow.seq == 1)):
                if event.run_id not in runs and event.kind == "run-started":
                    _rebuild_run(session, event)
            session.flush()
            begun = set(session.exec(select(EventRow.run_id).where(EventRow.seq == 1)))
            for row in session.exec(select(RunRow)):
                if row.id not in begun:
                    session.add(_first_event(row))
    finally:
        backend.close()


def _rebuild_run(session: Session, first: EventRow) -> None:
    rows = list(
        session.exec(select(EventRow).where(EventRow.run_id == first.run_id).order_by(col(EventRow.seq)))
    )
    started = payload_of(rows[0])
    if not isinstance(started, RunStarted):
        return
    row = RunRow(
        id=first.run_id, repo=started.task.repo, prompt=started.task.prompt, model=started.model,
        started=first.at, pid=0, process="", last_seq=rows[-1].seq,
    )  # fmt: skip
    for event in rows:
        with suppress(errors.StoreError):
            views.add_to_row(row, payload_of(event), event.at)
    session.add(row)


def _first_event(row: RunRow) -> EventRow:
    task = Task(id="salvaged", prompt=row.prompt, repo=row.repo)
    payload = RunStarted(task=task, adi_version="", model=row.model)
    return EventRow(
        run_id=row.id,
        seq=1,
        at=row.started,
        kind=payload.kind,
        version=SCHEMA_VERSION,
        payload=payload.model_dump(mode="python"),
    )


def _drop_orphans(copy: sqlite3.Connection) -> Iterator[str]:
    """Remove rows that belong to a row that was lost, until there are none; the table of each."""
    while orphans := copy.execute("PRAGMA foreign_key_check").fetchall():
        for name, number, *_ in orphans:
            copy.execute(f'DELETE FROM "{name}" WHERE rowid = ?', (number,))
            yield name


def _gaps(copy: sqlite3.Connection) -> int:
    """Events that runs had and have no more."""
    (had,) = copy.execute("SELECT coalesce(sum(last_seq), 0) FROM run").fetchone()
    (have,) = copy.execute("SELECT count(*) FROM event JOIN run ON run.id = event.run_id").fetchone()
    return max(int(had) - int(have), 0)


def _index_words(copy: sqlite3.Connection) -> None:
    """Every lesson, and nothing else, is found by its words."""
    copy.execute("DELETE FROM lesson_text")
    rows = copy.execute("SELECT id, scope, place, claim, words FROM lesson").fetchall()
    copy.executemany(
        "INSERT INTO lesson_text (id, place, claim, words) VALUES (?, ?, ?, ?)",
        [indexed(*(str(value) for value in row)) for row in rows],
    )
