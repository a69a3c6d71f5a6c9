"""What tests of the store share: processes that write, texts that break programs, one more migration."""

import shutil
import sqlite3
import subprocess
import sys
from contextlib import closing
from pathlib import Path

from hypothesis import strategies as st

from memory import migrate
from memory.records import Task

ROOT = Path(__file__).parent.parent
TASK = Task(id="t", prompt="p", repo="/src/maths")

NEXT = '''
"""Adds a column that may not be null, by the copy and move that SQLite needs."""

import os
import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"


def upgrade():
    with op.batch_alter_table("run") as batch:
        batch.add_column(sa.Column("team", sa.String(), nullable=False, server_default="us"))
    {then}
'''

anything = st.text(st.characters(), max_size=50)
"""All of Unicode, lone surrogates too."""
json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | anything,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(anything, inner, max_size=3),
    max_leaves=10,
)


def as_stored(value: object) -> object:
    """Two lone surrogates that spell one character come back as that character."""
    match value:
        case str():
            return value.encode("utf-16", "surrogatepass").decode("utf-16", "surrogatepass")
        case list() | tuple():
            return [as_stored(item) for item in value]
        case dict():
            return {as_stored(key): as_stored(item) for key, item in value.items()}
    return value


def start(script: str, *arguments: str) -> subprocess.Popen[str]:
    """A Python process of this checkout that can be talked to."""
    return subprocess.Popen(
        [sys.executable, "-c", script, *arguments],
        cwd=ROOT,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )


def integrity(path: Path) -> str:
    """What SQLite says of the file; `ok` when it is whole."""
    with closing(sqlite3.connect(path)) as connection:
        return str(connection.execute("PRAGMA integrity_check").fetchone()[0])


def scripts(tmp_path: Path, then: str = "") -> Path:
    """The real migrations and one more, which ends with `then`."""
    copy = shutil.copytree(migrate.SCRIPTS, tmp_path / "migrations %d")
    (copy / "versions" / "v0003_team.py").write_text(NEXT.format(then=then), encoding="utf-8")
    return copy
