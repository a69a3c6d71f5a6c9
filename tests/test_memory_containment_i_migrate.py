"""Group I: migrations that are killed, that meet, and that an older program does not know."""

import sqlite3
import subprocess
import sys
from contextlib import closing
from pathlib import Path

import pytest

from agent.errors import ENVIRONMENT, exit_code_of
from memory import errors, migrate
from memory.store import Store
from tests.store_kit import NEW, OLD, ROOT, SCHEMA_1, scripts, state

pytestmark = pytest.mark.containment

UPGRADE = """
import sys
from contextlib import closing
from pathlib import Path
from memory import engine, migrate
path, scripts = Path(sys.argv[1]), Path(sys.argv[2])
with closing(engine.connect(path)) as connection:
    migrate.migrate(connection, engine.make_engine(connection), path, scripts=scripts, head=migrate.HEAD + 1)
    print(connection.execute("SELECT count(*) FROM run WHERE team = 'us'").fetchone()[0])
"""

KILLED_AT_EACH_STATEMENT = """
import os, shutil, signal, sys
from contextlib import closing
from pathlib import Path
import alembic.command, alembic.config
from sqlalchemy import event
from memory import engine, migrate

folder, scripts = Path(sys.argv[1]), Path(sys.argv[2])

def upgrade(path, last):
    count = 0
    def dies(*_):
        nonlocal count
        count += 1
        if count == last:
            os.kill(os.getpid(), signal.SIGKILL)
    with closing(engine.connect(path)) as connection:
        made = engine.make_engine(connection)
        for moment in ("before_cursor_execute", "after_cursor_execute", "commit"):
            event.listen(made, moment, dies)
        migrate.migrate(connection, made, path, scripts=scripts, head=migrate.HEAD + 1)

for last in range(1, 1000):
    path = folder / f"killed{last}.db"
    shutil.copyfile(folder / "old.db", path)
    child = os.fork()
    if child == 0:
        upgrade(path, last)
        os._exit(0)
    if os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0:
        print(last - 1)
        break
"""


def upgrade(path: Path, scripts: Path) -> "subprocess.Popen[str]":
    command = [sys.executable, "-c", UPGRADE, str(path), str(scripts)]
    return subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


@pytest.fixture
def old(tmp_path: Path) -> Path:
    """A database of the first schema, with rows."""
    path = tmp_path / "old.db"
    with closing(sqlite3.connect(path)) as connection:
        connection.executescript(SCHEMA_1)
    return path


@pytest.mark.slow
def test_memory_i07_a_migration_killed_at_each_statement_changed_nothing(tmp_path: Path, old: Path) -> None:
    script = [sys.executable, "-c", KILLED_AT_EACH_STATEMENT, str(tmp_path), str(scripts(tmp_path))]
    kills = int(subprocess.run(script, cwd=ROOT, capture_output=True, text=True, check=True).stdout)
    assert kills > 35  # before and after each statement of all migrations, and before the commit
    for number in range(1, kills + 1):
        assert state(tmp_path / f"killed{number}.db") == OLD
    assert state(tmp_path / f"killed{kills + 1}.db") == NEW
    for number in (1, kills // 2, kills):
        with Store.open(tmp_path / f"killed{number}.db") as store:
            assert len(store.events("261123-4yvrag")) == 2
    assert state(old) == OLD


def test_memory_i07_a_migration_that_raises_is_taken_back(tmp_path: Path, old: Path) -> None:
    with upgrade(old, scripts(tmp_path, "raise RuntimeError('no')")) as child:
        child.communicate()
    assert child.returncode != 0
    assert state(old) == OLD


def test_memory_i07_of_two_processes_that_upgrade_one_waits(tmp_path: Path, old: Path) -> None:
    slow = scripts(tmp_path, "__import__('time').sleep(0.5)")
    with upgrade(old, slow) as first, upgrade(old, slow) as second:
        outputs = [child.communicate()[0] for child in (first, second)]
    assert (outputs, first.returncode, second.returncode) == (["1\n", "1\n"], 0, 0)
    assert state(old) == NEW
    assert len(list(tmp_path.glob("*.bak"))) == 1  # only one of them did it


def test_memory_i07_an_older_program_refuses_a_newer_schema(tmp_path: Path) -> None:
    path = tmp_path / "adi.db"
    Store.open(path).close()
    with closing(sqlite3.connect(path)) as connection:
        connection.execute(f"PRAGMA user_version={migrate.HEAD + 1}")
    before = path.read_bytes()
    with pytest.raises(errors.SchemaTooNew, match="upgrade ADI") as refused:
        Store.open(path)
    assert exit_code_of(refused.value) == ENVIRONMENT
    assert path.read_bytes() == before
