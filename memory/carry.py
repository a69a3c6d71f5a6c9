"""What must not be lost when another store takes the place of this one: no, and what was forgotten.

A backup that is older than a refusal, an opt-out or a tombstone would undo it. So the decisions, the list of
those who opted out, the tombstones, the data sets that were written and the looks at held-out tasks are
carried into what is put in place.
"""

import os
import sqlite3
from contextlib import closing, suppress
from pathlib import Path
from typing import Any, Final

from memory import engine
from memory.migrate import migrate
from memory.tables import Table

KEYS: Final = {
    "tombstone": ("id",),
    "optout": ("kind", "hash"),
    "export": ("id",),
    "gate_use": ("key",),
    "consent": ("scope", "key", "status", "by", "at", "policy_version", "licence"),
}
"""Table -> what makes two of its rows the same."""

NEWER: Final = {"tombstone": "at", "gate_use": "ended"}
"""Table -> the column that says which of two rows of one thing stays: the later one."""

Rows = dict[str, list[dict[str, Any]]]


def kept_rows(old: sqlite3.Connection) -> Rows:
    """What a store has to carry: of a damaged one what can be read, of another program's file nothing."""
    found: Rows = {}
    with suppress(sqlite3.DatabaseError):
        if old.execute("PRAGMA application_id").fetchone() == (engine.APPLICATION_ID,):
            for table in KEYS:
                found[table] = []
                with suppress(sqlite3.DatabaseError):  # damaged, or a schema without this table
                    _read(old, table, found[table])
    return {table: rows for table, rows in found.items() if rows}


def _read(old: sqlite3.Connection, table: str, rows: list[dict[str, Any]]) -> None:
    """Add the rows of a table, up to the first that cannot be read."""
    names = Table.metadata.tables[table].columns.keys()
    listed = ", ".join(f'"{name}"' for name in names)
    for row in old.execute(f'SELECT {listed} FROM "{table}"'):
        if None not in row and isinstance(row[names.index("at")], str):
            rows.append(dict(zip(names, row, strict=True)))


def carry(rows: Rows, new: Path) -> dict[str, int]:
    """Add the rows to a store that nobody uses, brought up to date first. Table -> rows that it did not have.

    Of two tombstones of one thing the later stays, of one look that with its verdict. Decisions of both
    stores are put in the order of time, so that the newest counts; of two at one moment the refusal.
    """
    if not rows:
        return {}
    with closing(engine.connect(new)) as connection:
        migrate(connection, engine.make_engine(connection), None)
        connection.execute("BEGIN IMMEDIATE")
        added = {table: _add(connection, table, rows[table]) for table in rows}
        connection.execute("COMMIT")
        connection.execute("PRAGMA journal_mode=DELETE")
    with new.open("rb+") as stream:
        os.fsync(stream.fileno())
    return {table: count for table, count in added.items() if count}


def _add(connection: sqlite3.Connection, table: str, rows: list[dict[str, Any]]) -> int:
    present = kept_rows(connection).get(table, [])
    merged = {_key(table, row): row for row in present}
    before = len(merged)
    for row in rows:
        known = merged.get(_key(table, row))
        if known is None or (table in NEWER and row[NEWER[table]] > known[NEWER[table]]):
            merged[_key(table, row)] = row
    everything = _numbered([*merged.values()]) if table == "consent" else [*merged.values()]
    connection.execute(f'DELETE FROM "{table}"')
    for row in everything:
        names, marks = ", ".join(f'"{name}"' for name in row), ", ".join("?" * len(row))
        connection.execute(f'INSERT INTO "{table}" ({names}) VALUES ({marks})', (*row.values(),))
    return len(merged) - before


def _key(table: str, row: dict[str, Any]) -> tuple[Any, ...]:
    return tuple(row[name] for name in KEYS[table])


def _numbered(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Decisions with their place in the history of their scope and key."""
    ordered = sorted(rows, key=lambda row: (row["at"], row["status"] == "refused", row["seq"]))
    counts: dict[tuple[str, str], int] = {}
    numbered = []
    for row in ordered:
        name = (row["scope"], row["key"])
        counts[name] = counts.get(name, 0) + 1
        numbered.append({**row, "seq": counts[name]})
    return numbered
