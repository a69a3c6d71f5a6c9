"""Files of every released schema get the tables of the queue and keep their rows."""

import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from memory.backlog import Backlog
from memory.backlog_records import Added, Outcome, State
from memory.consent import Consents
from memory.exports import exports_with
from memory.lessons import Lessons
from memory.store import Store
from tests.queue_kit import new, took
from tests.store_kit import SCHEMA_1, SCHEMA_2, SCHEMA_3


@pytest.mark.parametrize(("number", "schema"), [(1, SCHEMA_1), (2, SCHEMA_2), (3, SCHEMA_3)])
def test_a_file_of_an_older_schema_keeps_its_rows_and_takes_a_backlog(
    tmp_path: Path, number: int, schema: str
) -> None:
    path = tmp_path / "adi.db"
    with closing(sqlite3.connect(path)) as connection:
        connection.executescript(schema)
    with Store.open(path) as store:
        assert [len(store.events(run.id)) for run in store.runs()] == [2]
        assert len(Lessons(store).all()) == (number > 1)
        decided = [(one.key, one.licence) for one in Consents(store).all()]
        assert decided == [("/src/maths", "MIT")] * (number > 2)
        assert len(exports_with(store, ["261123-4yvrag"])) == (number > 2)
        backlog = Backlog.create(store, "team")
        assert backlog.add([new("a")]) == Added(added=1)
        assert backlog.settle(took(backlog.claim("w")), Outcome(state="solved")).item.state == State.SOLVED
    assert len(list(tmp_path.glob(f"*.schema{number}-*.bak"))) == 1
