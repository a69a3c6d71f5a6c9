"""Brings a database to the schema this program knows, all or nothing.

A database that is up to date costs one read of its header: Alembic is imported only when there is
work. Its number is kept in `user_version` beside Alembic's own table.
"""

import sqlite3
import threading
import time
from contextlib import closing
from pathlib import Path

from sqlalchemy import Connection, Engine

from memory import errors
from memory.engine import APPLICATION_ID

HEAD = 5
"""The newest revision in memory/migrations/versions, as a number."""

SCRIPTS = Path(__file__).parent / "migrations"

_ALEMBIC = threading.Lock()  # what its scripts run on is one variable of the process


def migrate(
    connection: sqlite3.Connection,
    engine: Engine,
    path: Path | None,
    *,
    scripts: Path = SCRIPTS,
    head: int = HEAD,
) -> None:
    """Upgrade to `head` if needed; an existing file is backed up beside itself first.

    A second process waits for the first and then finds nothing to do. Raises SchemaTooNew.
    """
    if schema_version(connection, head) == head:
        return
    # Batch migrations drop and rename tables, which foreign keys would follow; it has no effect later,
    # inside the transaction.
    connection.execute("PRAGMA foreign_keys=OFF")
    try:
        with engine.begin() as transaction:
            old = schema_version(connection, head)
            if old == head:
                return
            if old and path is not None:
                _back_up(path, old)
            run_alembic(transaction, scripts)
            _check(connection)
            connection.execute(f"PRAGMA application_id={APPLICATION_ID}")
            connection.execute(f"PRAGMA user_version={head}")
    finally:
        connection.execute("PRAGMA foreign_keys=ON")


def schema_version(connection: sqlite3.Connection, head: int = HEAD) -> int:
    """The schema of the file, 0 for a new one. Raises SchemaTooNew."""
    (version,) = connection.execute("PRAGMA user_version").fetchone()
    too_new(version, head)
    return int(version)


def too_new(version: int, head: int) -> None:
    """Raises SchemaTooNew for a schema beyond `head`."""
    if version > head:
        raise errors.SchemaTooNew(
            f"a newer ADI wrote the store (schema {version}, this one knows up to {head}): upgrade ADI",
            "adi --version",
        )


def run_alembic(transaction: Connection, scripts: Path) -> None:
    """Run the scripts that are missing, inside the caller's transaction."""
    from alembic import command
    from alembic.config import Config

    config = Config()
    config.set_main_option("script_location", str(scripts).replace("%", "%%"))
    config.attributes["connection"] = transaction
    with _ALEMBIC:
        command.upgrade(config, "head")


def _back_up(path: Path, old: int) -> None:
    """Copy the file as it is now; the caller's write lock keeps it still."""
    backup = path.with_name(f"{path.name}.schema{old}-{time.strftime('%Y%m%d%H%M%S', time.gmtime())}.bak")
    partial = backup.with_name(backup.name + ".part")
    with closing(sqlite3.connect(path)) as source, closing(sqlite3.connect(partial)) as target:
        source.backup(target)
    partial.chmod(0o600)
    partial.replace(backup)


def _check(connection: sqlite3.Connection) -> None:
    (integrity,) = connection.execute("PRAGMA integrity_check").fetchone()
    orphans = connection.execute("PRAGMA foreign_key_check").fetchall()
    if integrity != "ok" or orphans:
        raise errors.StoreCorrupt(
            f"the upgrade of the store was taken back: {integrity}, {len(orphans)} orphaned rows",
            errors.DOCTOR,
        )
