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
OLD_SQLITE, NEW_SQLITE = (3, 40, 1), (3, 53, 0)
"""Versions that decide for the rollback journal and for the write-ahead log, whichever is installed."""
TASK = Task(id="t", prompt="p", repo="/src/maths")

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

SCHEMA_2 = (
    SCHEMA_1
    + """
PRAGMA user_version = 2;
UPDATE alembic_version SET version_num = '0002';
CREATE TABLE lesson (id VARCHAR NOT NULL, "key" VARCHAR NOT NULL, kind VARCHAR NOT NULL,
    scope VARCHAR NOT NULL, place VARCHAR NOT NULL, claim VARCHAR NOT NULL, subject VARCHAR NOT NULL,
    words VARCHAR NOT NULL, content JSON NOT NULL, author VARCHAR NOT NULL, status VARCHAR NOT NULL,
    pinned BOOLEAN NOT NULL, supported INTEGER NOT NULL, contradicted INTEGER NOT NULL,
    uses INTEGER NOT NULL, created VARCHAR NOT NULL, changed VARCHAR NOT NULL, used VARCHAR NOT NULL,
    CONSTRAINT pk_lesson PRIMARY KEY (id), CONSTRAINT uq_lesson_key UNIQUE ("key"));
CREATE INDEX ix_lesson_place_kind ON lesson (place, kind);
CREATE INDEX ix_lesson_subject ON lesson (subject);
CREATE TABLE evidence (lesson_id VARCHAR NOT NULL, seq INTEGER NOT NULL, run_id VARCHAR NOT NULL,
    stance VARCHAR NOT NULL, why VARCHAR NOT NULL, saved_tokens INTEGER NOT NULL, at VARCHAR NOT NULL,
    CONSTRAINT pk_evidence PRIMARY KEY (lesson_id, seq),
    CONSTRAINT fk_evidence_lesson_id_lesson FOREIGN KEY (lesson_id) REFERENCES lesson (id));
CREATE INDEX ix_evidence_run_id ON evidence (run_id);
CREATE TABLE failure (run_id VARCHAR NOT NULL, seq INTEGER NOT NULL, position INTEGER NOT NULL,
    signature VARCHAR NOT NULL, test VARCHAR NOT NULL,
    CONSTRAINT pk_failure PRIMARY KEY (run_id, seq, position),
    CONSTRAINT fk_failure_run_id_event FOREIGN KEY (run_id, seq) REFERENCES event (run_id, seq));
CREATE INDEX ix_failure_signature ON failure (signature);
CREATE TABLE survival (run_id VARCHAR NOT NULL, days INTEGER NOT NULL, kept INTEGER NOT NULL,
    edited INTEGER NOT NULL, reverted INTEGER NOT NULL, at VARCHAR NOT NULL,
    CONSTRAINT pk_survival PRIMARY KEY (run_id, days),
    CONSTRAINT fk_survival_run_id_run FOREIGN KEY (run_id) REFERENCES run (id));
CREATE TABLE tombstone (id VARCHAR NOT NULL, kind VARCHAR NOT NULL, at VARCHAR NOT NULL,
    reason VARCHAR NOT NULL, removed JSON NOT NULL, CONSTRAINT pk_tombstone PRIMARY KEY (id));
CREATE VIRTUAL TABLE lesson_text USING fts5(
    id UNINDEXED, place, claim, words, tokenize = "unicode61 tokenchars '_'");
INSERT INTO lesson VALUES ('l-7k2q', 'k1', 'preference', 'repository', '/src/maths', 'never print', '',
    'log', '{}', 'code', 'trial', 0, 1, 0, 0, '2026-11-23T03:46:00.000Z', '2026-11-23T03:46:00.000Z', '');
INSERT INTO lesson_text VALUES ('l-7k2q', 'at_66b5dc2ac188b9a7', 'never print', 'never print log');
INSERT INTO evidence VALUES ('l-7k2q', 1, '261123-4yvrag', 'for', 'it was said', 0,
    '2026-11-23T03:46:00.000Z');
INSERT INTO failure VALUES ('261123-4yvrag', 2, 0, 'KeyError in load', 't.py::test_a');
INSERT INTO survival VALUES ('261123-4yvrag', 1, 3, 0, 0, '2026-11-24T03:46:00.000Z');
INSERT INTO tombstone VALUES ('261122-aaaaaa', 'run', '2026-11-22T10:00:00.000Z', 'a customer',
    '{"event": 4}');
"""
)
"""The same file after the second schema, with a row in each of its tables."""

SCHEMA_3 = (
    SCHEMA_2
    + """
PRAGMA user_version = 3;
UPDATE alembic_version SET version_num = '0003';
CREATE TABLE consent (scope VARCHAR NOT NULL, "key" VARCHAR NOT NULL, seq INTEGER NOT NULL,
    status VARCHAR NOT NULL, "by" VARCHAR NOT NULL, at VARCHAR NOT NULL, policy_version INTEGER NOT NULL,
    licence VARCHAR NOT NULL, CONSTRAINT pk_consent PRIMARY KEY (scope, "key", seq));
CREATE TABLE optout (kind VARCHAR NOT NULL, hash VARCHAR NOT NULL, at VARCHAR NOT NULL,
    CONSTRAINT pk_optout PRIMARY KEY (kind, hash));
CREATE TABLE export (id VARCHAR NOT NULL, path VARCHAR NOT NULL, at VARCHAR NOT NULL,
    manifest_sha256 VARCHAR NOT NULL, run_ids JSON NOT NULL, command VARCHAR NOT NULL,
    CONSTRAINT pk_export PRIMARY KEY (id));
CREATE INDEX ix_export_path ON export (path);
INSERT INTO consent VALUES ('repository', '/src/maths', 1, 'granted', 'ada',
    '2026-11-23T03:47:00.000Z', 1, 'MIT');
INSERT INTO optout VALUES ('session', '261123-4yvrag', '2026-11-23T03:48:00.000Z');
INSERT INTO export VALUES ('e1', '/tmp/set', '2026-11-23T03:49:00.000Z', 'ab12',
    '["261123-4yvrag"]', 'adi data export');
"""
)
"""The same file after the third schema, with a row in each of its tables."""

NEXT = '''
"""Adds a column that may not be null, by the copy and move that SQLite needs."""

import os
import sqlalchemy as sa
from alembic import op

revision = "{revision}"
down_revision = "{down_revision}"


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


NEXT_HEAD = migrate.HEAD + 1
"""Number of the schema that `scripts` lead to."""
OLD, NEW = (1, False, "0001", 2, "ok"), (NEXT_HEAD, True, f"{NEXT_HEAD:04}", 2, "ok")


def scripts(tmp_path: Path, then: str = "") -> Path:
    """The real migrations and one more, which ends with `then`."""
    copy = shutil.copytree(migrate.SCRIPTS, tmp_path / "migrations %d")
    text = NEXT.format(revision=f"{NEXT_HEAD:04}", down_revision=f"{migrate.HEAD:04}", then=then)
    (copy / "versions" / f"v{NEXT_HEAD:04}_team.py").write_text(text, encoding="utf-8")
    return copy
