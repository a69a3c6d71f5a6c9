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
from memory.errors import SchemaTooNew, StoreCorrupt
from memory.records import Noted, Task
from memory.store import Store
from memory.tables import Table
from tests.store_kit import scripts

ROOT = Path(__file__).parent.parent

SCHEMA_1 = """
PRAGMA application_id = 0x41444931;
PRAGMA user_version = 1;
CREATE TABLE alembic_version (version_num VARCHAR(32) NOT NULL,
    CONSTRAINT alembic_version_pkc PRIMARY KEY (version_num));
INSERT INTO alembic_version VALUES ('0001');
CREATE TABLE run (id VARCHAR NOT NULL, repo VARCHAR NOT NULL, prompt VARCHAR NOT NULL,
    model VARCHAR NOT NULL, started VARCHAR NOT NULL, pid INTEGER NOT NULL, process VARCHAR NOT NULL,
    last_seq INTEGER NOT NULL, ended VARCHAR NOT NULL, stop VARCHAR NOT NULL,
    diff_sha256 VARCHAR NOT NULL, diffstat VARCHAR NOT NULL, applied_at VARCHAR NOT NULL,
    prompt_tokens INTEGER NOT NULL, cached_tokens INTEGER NOT NULL, completion_tokens INTEGER NOT NULL,
    seconds FLOAT NOT NULL, CONSTRAINT pk_run PRIMARY KEY (id));
CREATE INDEX ix_run_repo ON run (repo);
CREATE TABLE event (run_id VARCHAR NOT NULL, seq INTEGER NOT NULL, at VARCHAR NOT NULL,
    kind VARCHAR NOT NULL, version INTEGER NOT NULL, payload JSON NOT NULL,
    CONSTRAINT pk_event PRIMARY KEY (run_id, seq),
    CONSTRAINT fk_event_run_id_run FOREIGN KEY (run_id) REFERENCES run (id));
CREATE TABLE artifact (sha256 VARCHAR NOT NULL, at VARCHAR NOT NULL, content BLOB NOT NULL,
    CONSTRAINT pk_artifact PRIMARY KEY (sha256));
CREATE TABLE claim (repo VARCHAR NOT NULL, run_id VARCHAR NOT NULL, pid INTEGER NOT NULL,
    process VARCHAR NOT NULL, at VARCHAR NOT NULL, CONSTRAINT pk_claim PRIMARY KEY (repo),
    CONSTRAINT fk_claim_run_id_run FOREIGN KEY (run_id) REFERENCES run (id));
INSERT INTO run VALUES ('261123-4yvrag', '/src/maths', 'make gcd right', 'qwen',
    '2026-11-23T03:45:56.691Z', 1, 'boot:1', 2, '', '', '', '', '', 0, 0, 0, 0.0);
INSERT INTO event VALUES ('261123-4yvrag', 1, '2026-11-23T03:45:56.691Z', 'run-started', 1,
    '{"kind": "run-started", "task": {"id": "t1", "prompt": "make gcd right", "repo": "/src/maths",
      "checks": [], "limits": {"steps": 24, "wall_s": 600.0, "completion_tokens": 12000, "check_s": 60.0}},
      "adi_version": "0.1.0", "model": "qwen"}');
INSERT INTO event VALUES ('261123-4yvrag', 2, '2026-11-23T03:45:56.707Z', 'noted', 1,
    '{"kind": "noted", "level": "info", "text": "\\ud800 hello", "hint": ""}');
INSERT INTO claim VALUES ('/src/maths', '261123-4yvrag', 1, 'boot:1', '2026-11-23T03:45:56.700Z');
"""
"""The file that the first released schema left: a run that was killed, holding its repository."""

UPGRADE = """
import sys
from pathlib import Path
from memory import engine, migrate
path, scripts = Path(sys.argv[1]), Path(sys.argv[2])
connection = engine.connect(path)
migrate.migrate(connection, engine.make_engine(connection), path, scripts=scripts, head=3)
print(connection.execute("SELECT count(*) FROM run WHERE team = 'us'").fetchone()[0])
connection.close()
"""


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """A database of the first schema, with rows."""
    path = tmp_path / "adi.db"
    with closing(sqlite3.connect(path)) as connection:
        connection.executescript(SCHEMA_1)
    return path


def upgrade(path: Path, scripts: Path) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-c", UPGRADE, str(path), str(scripts)],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def state(path: Path) -> tuple[object, ...]:
    """Schema, columns of `run`, number of events, integrity."""
    with closing(sqlite3.connect(path)) as connection:
        ask = connection.execute
        columns = [row[1] for row in ask("PRAGMA table_info(run)")]
        return (
            ask("PRAGMA user_version").fetchone()[0],
            "team" in columns,
            ask("SELECT version_num FROM alembic_version").fetchone()[0],
            ask("SELECT count(*) FROM event").fetchone()[0],
            ask("PRAGMA integrity_check").fetchone()[0],
        )


OLD, NEW = (1, False, "0001", 2, "ok"), (3, True, "0003", 2, "ok")


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
        migrate.migrate(connection, engine.make_engine(connection), path, scripts=scripts(tmp_path), head=3)
        assert connection.execute("PRAGMA foreign_keys").fetchone() == (1,)
    assert state(path) == NEW
    (backup,) = tmp_path.glob("*.bak")
    assert state(backup) == OLD
    with pytest.raises(SchemaTooNew, match="upgrade ADI"):
        Store.open(path)
    assert state(path) == NEW


@pytest.mark.parametrize("then", ["os._exit(9)", "raise RuntimeError('no')"])
def test_an_upgrade_that_dies_changes_nothing(tmp_path: Path, path: Path, then: str) -> None:
    with upgrade(path, scripts(tmp_path, then)) as child:
        child.communicate()
    assert child.returncode != 0
    assert state(path) == OLD
    with Store.open(path) as store:
        assert len(store.runs()) == 1


def test_an_upgrade_that_orphans_rows_is_taken_back(tmp_path: Path, path: Path) -> None:
    connection = engine.connect(path)
    broken = scripts(tmp_path, "op.execute(\"UPDATE event SET run_id = 'gone'\")")
    with closing(connection), pytest.raises(StoreCorrupt, match="taken back: ok, 2 orphaned rows"):
        migrate.migrate(connection, engine.make_engine(connection), path, scripts=broken, head=3)
    assert state(path) == OLD


def test_of_two_processes_that_upgrade_one_waits(tmp_path: Path, path: Path) -> None:
    slow = scripts(tmp_path, "__import__('time').sleep(0.5)")
    with upgrade(path, slow) as first, upgrade(path, slow) as second:
        outputs = [child.communicate() for child in (first, second)]
    assert [
        (child.returncode, output[0]) for child, output in zip((first, second), outputs, strict=True)
    ] == [
        (0, "1\n"),
        (0, "1\n"),
    ]
    assert state(path) == NEW
    assert len(list(tmp_path.glob("*.bak"))) == 1  # only one of them did it


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
