"""Old databases are brought up to date all or nothing; newer ones are refused."""

import sqlite3
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path

import pytest
from alembic.autogenerate import compare_metadata
from alembic.config import Config
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory

from memory import engine, migrate
from memory.consent import Consents
from memory.errors import SchemaTooNew, StoreCorrupt
from memory.forget import forget_runs, tombstones
from memory.lessons import Lessons
from memory.records import Noted, Task
from memory.store import Store
from memory.survivals import of_run
from memory.tables import Table
from tests.store_kit import NEW, NEXT_HEAD, OLD, SCHEMA_1, SCHEMA_2, scripts, state

ROOT = Path(__file__).parent.parent


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """A database of the first schema, with rows."""
    path = tmp_path / "adi.db"
    with closing(sqlite3.connect(path)) as connection:
        connection.executescript(SCHEMA_1)
    return path


def test_the_number_of_the_schema_is_the_newest_script() -> None:
    config = Config()
    config.set_main_option("script_location", str(migrate.SCRIPTS))
    assert ScriptDirectory.from_config(config).get_current_head() == f"{migrate.HEAD:04}"


def test_the_scripts_make_the_tables_that_the_program_uses(tmp_path: Path) -> None:
    with Store.open(tmp_path / "adi.db") as store, store._backend.engine.connect() as connection:
        options = {
            "include_name": lambda name, kind, _: kind != "table" or not name.startswith("lesson_text")
        }
        assert compare_metadata(MigrationContext.configure(connection, opts=options), Table.metadata) == []


def test_the_first_schema_opens_with_its_rows(path: Path) -> None:
    with Store.open(path) as store:
        (run,) = store.runs()
        assert (run.id, run.prompt, run.alive, run.stop) == ("261123-4yvrag", "make gcd right", False, None)
        assert store.events(run.id)[1].payload == Noted(text="\ud800 hello")
        assert store.append(run.id, Noted(text="still works")).seq == 3
        store.claim_repo(run.repo, store.start_run(Task(id="t", prompt="p", repo=run.repo)))


def test_the_second_schema_opens_with_its_rows_and_takes_decisions(tmp_path: Path) -> None:
    path = tmp_path / "second.db"
    with closing(sqlite3.connect(path)) as connection:
        connection.executescript(SCHEMA_2)
    with Store.open(path) as store:
        (run,) = store.runs()
        assert store.failures("KeyError in load") == [(run.id, "t.py::test_a")]
        assert [kept.kept for kept in of_run(store, run.id)] == [3]
        (lesson,) = [item for item, _ in Lessons(store).search(["log"], {("repository", run.repo)})]
        assert (lesson.id, lesson.supported) == ("l-7k2q", 1)
        assert [(stone.kind, stone.removed) for stone in tombstones(store)] == [("run", {"event": 4})]
        assert Consents(store).all() == []
        Consents(store).set("repository", run.repo, "granted")
        assert set(Consents(store).standing().stones) == {("run", "261122-aaaaaa")}
        assert [stone.id for stone in forget_runs(store, [run.id])] == [run.id]


def test_a_new_file_has_the_schema_of_the_first_release(tmp_path: Path, path: Path) -> None:
    Store.open(tmp_path / "new.db").close()
    shapes = []
    for file in (path, tmp_path / "new.db"):
        with closing(sqlite3.connect(file)) as connection:
            tables = ("run", "event", "artifact", "claim")
            shapes.append([connection.execute(f"PRAGMA table_info({table})").fetchall() for table in tables])
    assert shapes[0] == shapes[1]


def test_an_upgrade_keeps_the_rows_and_a_backup(tmp_path: Path, path: Path) -> None:
    connection = engine.connect(path)
    with closing(connection):
        made = engine.make_engine(connection)
        migrate.migrate(connection, made, path, scripts=scripts(tmp_path), head=NEXT_HEAD)
        assert connection.execute("PRAGMA foreign_keys").fetchone() == (1,)
    assert state(path) == NEW
    (backup,) = tmp_path.glob("*.bak")
    assert state(backup) == OLD
    with pytest.raises(SchemaTooNew, match="upgrade ADI"):
        Store.open(path)
    assert state(path) == NEW


def test_an_upgrade_that_orphans_rows_is_taken_back(tmp_path: Path, path: Path) -> None:
    connection = engine.connect(path)
    broken = scripts(tmp_path, "op.execute(\"UPDATE event SET run_id = 'gone'\")")
    with closing(connection), pytest.raises(StoreCorrupt, match="taken back: ok, 2 orphaned rows"):
        migrate.migrate(connection, engine.make_engine(connection), path, scripts=broken, head=NEXT_HEAD)
    assert state(path) == OLD


def test_a_new_file_opened_by_many_at_once_is_made_once(tmp_path: Path) -> None:
    path = tmp_path / "adi.db"

    def work() -> None:
        with Store.open(path) as store:
            store.start_run(Task(id="t", prompt="p", repo="/r"))

    with ThreadPoolExecutor(4) as pool:
        for done in [pool.submit(work) for _ in range(4)]:
            done.result()
    with Store.open(path) as store:
        assert len(store.runs()) == 4


def test_opening_a_current_file_does_not_import_alembic(path: Path) -> None:
    script = (
        "import sys; from pathlib import Path; from memory.store import Store\n"
        "Store.open(Path(sys.argv[1])).close(); print('alembic' in sys.modules)"
    )
    Store.open(path).close()
    output = subprocess.check_output([sys.executable, "-c", script, str(path)], cwd=ROOT, text=True)
    assert output == "False\n"
