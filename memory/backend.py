"""What the store asks of a database, whichever it is: transactions with named errors, and an end."""

from contextlib import AbstractContextManager
from pathlib import Path
from typing import Protocol

from sqlmodel import Session

SERVERS = ("postgresql://", "postgres://", "postgresql+psycopg://")
"""Beginnings of the addresses of a database server; any other place is a file."""


class Backend(Protocol):
    """An open database with the schema of this program; threads may share it."""

    @property
    def warnings(self) -> tuple[str, ...]:
        """What a person should know about how it lies, one sentence each."""

    def writing(self, *, precious: bool, alone: bool) -> AbstractContextManager[Session]:
        """A transaction that sees what was committed before it began, and may write.

        `precious`: it survives loss of power. `alone`: no other one runs at the same time; without it the
        caller locks the rows of the one run that it writes to.
        """

    def reading(self) -> AbstractContextManager[Session]:
        """A transaction that sees one state throughout."""

    def identity(self) -> str:
        """This process, as `memory.process.is_alive` knows it again from wherever the database is used."""

    def compact(self) -> None:
        """Rewrite what is stored without what was deleted."""

    def close(self) -> None:
        """Give up files and connections; idempotent."""


def open_backend(place: Path | str) -> Backend:
    """The database at a path, at an address (SERVERS), or with `":memory:"` one that nobody else sees."""
    if str(place).startswith(SERVERS):
        from memory.postgres import Postgres

        return Postgres(str(place))
    from memory.sqlite import Sqlite

    return Sqlite(None if str(place) == ":memory:" else Path(place))
