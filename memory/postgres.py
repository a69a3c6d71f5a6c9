"""The store in a database of a Postgres server, which several machines may share.

Guaranteed as in a file: events without a gap, claims held by one, one migration at a time. What is
acknowledged survives as far as the server's own `synchronous_commit` says. When the server goes away in the
middle of a commit, nobody can say whether it happened: StoreUnavailable then means "perhaps". The next call
connects anew.

Transactions that read and then write anywhere hold one advisory lock of the database alone; those that only
go on with one run share it, and lock that run's row.
"""

import importlib.util
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from sqlalchemy import URL, Connection, create_engine, make_url, text
from sqlalchemy.exc import ArgumentError, DBAPIError, OperationalError
from sqlalchemy.exc import TimeoutError as PoolTimeout
from sqlmodel import Session

from memory import errors, process
from memory.migrate import HEAD, SCRIPTS, run_alembic, too_new
from memory.tables import Table

LOCK = 0x41444931
"""Number of the advisory lock ("ADI1"): alone for transactions that may write anywhere, else shared."""
WAIT_S = 30
"""How long a writer waits for another, in seconds."""
DRIVER = "pip install 'adi-agent[postgres]'"
REACH = "see that the server runs and lets you in: psql ADDRESS"

_SESSION = (
    f"-c lock_timeout={WAIT_S}s "
    # A machine that lost power or its network must not hold its locks for the two hours of the default.
    "-c tcp_keepalives_idle=30 -c tcp_keepalives_interval=10 -c tcp_keepalives_count=3"
)
_CONNECT: dict[str, Any] = {
    "application_name": "adi",
    "connect_timeout": 10,
    "keepalives_idle": 30,
    "keepalives_interval": 10,
    "keepalives_count": 3,
    "tcp_user_timeout": WAIT_S * 2000,
    "options": _SESSION,
}
"""Parameters of a connection where the address does not give them."""


class Postgres:
    """A database by its address, such as `postgresql://user:password@host/adi`."""

    def __init__(self, address: str, *, scripts: Path = SCRIPTS, head: int = HEAD) -> None:
        url = _url(address)
        self.place = f"the store {url.database} on {url.host or url.query.get('host') or 'this machine'}"
        if importlib.util.find_spec("psycopg") is None:
            raise errors.StoreUnavailable(f"{self.place} needs the driver of Postgres, psycopg", DRIVER)
        self.engine = create_engine(
            url,
            pool_pre_ping=True,  # a server that was restarted since the last call is no error
            connect_args={name: value for name, value in _CONNECT.items() if name not in url.query},
        )
        self._reader = self.engine.execution_options(
            isolation_level="REPEATABLE READ", postgresql_readonly=True
        )
        try:
            with self._named_errors():
                self._migrate(scripts, head)
        except BaseException:
            self.engine.dispose()
            raise

    @property
    def warnings(self) -> tuple[str, ...]:
        """None so far."""
        return ()

    @contextmanager
    def writing(self, *, precious: bool, alone: bool) -> Iterator[Session]:  # noqa: ARG002 - the server decides
        """A transaction; each statement sees what was committed before it (READ COMMITTED)."""
        with self._named_errors(), Session(self.engine) as session, session.begin():
            _lock(session.connection(), alone=alone)
            yield session

    @contextmanager
    def reading(self) -> Iterator[Session]:
        """A transaction that sees one state and cannot write."""
        with self._named_errors(), Session(self._reader) as session:
            yield session

    def identity(self) -> str:
        """With the machine's name."""
        return process.shared_identity()

    def compact(self) -> None:
        """Rewrite the tables, so that nothing of what was deleted is left in their files."""
        tables = ", ".join(sorted(Table.metadata.tables))
        with self._named_errors(), self.engine.connect() as connection:
            alone = connection.execution_options(isolation_level="AUTOCOMMIT")
            alone.execute(text(f"VACUUM (FULL) {tables}"))

    def close(self) -> None:
        """Close the connections; idempotent."""
        self.engine.dispose()

    def _migrate(self, scripts: Path, head: int) -> None:
        """Upgrade to `head` if needed, all or nothing; others wait, and then find nothing to do."""
        with self.engine.connect() as connection:
            (encoding,) = connection.execute(text("SHOW server_encoding")).one()
            if encoding != "UTF8":
                raise errors.StoreUnavailable(
                    f"{self.place} has the encoding {encoding}, which cannot hold every text",
                    "createdb --encoding UTF8 --template template0 NAME",
                )
            if self._schema_version(connection, head) == head:
                return
        with self.engine.begin() as transaction:
            _lock(transaction, alone=True)
            if self._schema_version(transaction, head) != head:
                run_alembic(transaction, scripts)

    def _schema_version(self, connection: Connection, head: int) -> int:
        """0 for an empty database. Raises SchemaTooNew, StoreCorrupt."""
        ours = [name for name in Table.metadata.tables if _exists(connection, name)]
        if not _exists(connection, "alembic_version"):
            if ours:
                raise errors.StoreCorrupt(
                    f"{self.place} has tables of another program ({', '.join(ours)})", "createdb NAME"
                )
            return 0
        rows = [row[0] for row in connection.execute(text("SELECT version_num FROM alembic_version"))]
        if len(rows) != 1 or not rows[0].isdigit() or not {"run", "event", "claim"} <= set(ours):
            raise errors.StoreCorrupt(f"{self.place} is a database of another program", "createdb NAME")
        too_new(int(rows[0]), head)
        return int(rows[0])

    @contextmanager
    def _named_errors(self) -> Iterator[None]:
        try:
            yield
        except PoolTimeout as error:
            raise errors.StoreBusy(f"all connections to {self.place} are in use", "adi log") from error
        except DBAPIError as error:
            raise self._translate(error) from error.orig

    def _translate(self, error: DBAPIError) -> errors.StoreError:
        state = getattr(error.orig, "sqlstate", None) or ""
        said = (str(error.orig).strip() or type(error.orig).__name__).splitlines()[0]
        match state[:2], state:
            case _, "53100":
                return errors.StoreFull(f"the server of {self.place} has no space left", REACH)
            case _, "25006" | "42501":
                return errors.StoreReadOnly(f"{self.place} cannot be written ({said})", REACH)
            case ("40", _) | (_, "55P03"):
                return errors.StoreBusy(f"another process kept {self.place} locked for {WAIT_S} s", "adi log")
            case "XX", "XX001" | "XX002":
                return errors.StoreCorrupt(f"{self.place} is damaged ({said})", "restore a backup of pg_dump")
        what = "does not answer" if isinstance(error, OperationalError) else "refuses"
        return errors.StoreUnavailable(f"{self.place} {what}: {said}", REACH)


def _url(address: str) -> URL:
    try:
        url = make_url(address)
    except (ArgumentError, ValueError) as error:
        raise errors.StoreUnavailable(
            "the address of the store cannot be read", "postgresql://USER:PASSWORD@HOST/DATABASE"
        ) from error
    return url.set(drivername="postgresql+psycopg")


def _lock(connection: Connection, *, alone: bool) -> None:
    function = "pg_advisory_xact_lock" if alone else "pg_advisory_xact_lock_shared"
    connection.execute(text(f"SELECT {function}({LOCK})"))


def _exists(connection: Connection, table: str) -> bool:
    return connection.execute(text("SELECT to_regclass(:name)"), {"name": f'"{table}"'}).scalar() is not None
