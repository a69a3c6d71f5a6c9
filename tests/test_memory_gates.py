"""Looks at held-out tasks are written down before they begin, counted by task, and survive a restore."""

import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from memory.backup import backup, restore
from memory.errors import NotFound
from memory.gates import GateUse, begin, finish, uses, worn_by
from memory.store import Store
from tests.store_kit import SCHEMA_3


def halves(look: int) -> float:
    """A charge like the gate's own."""
    return 0.05 / 2**look


def looked(store: Store, new: str, tasks: str = "abc", **rest: str) -> GateUse:
    return begin(store, "base", new, tasks, halves, **rest)  # type: ignore[arg-type]


def test_each_look_is_numbered_by_the_tasks_it_shares() -> None:
    with Store.open(":memory:") as store:
        first, second = looked(store, "one"), looked(store, "two")
        assert [(one.look, one.alpha) for one in (first, second)] == [(1, 0.025), (2, 0.0125)]
        assert looked(store, "three", "xyz").look == 1  # other tasks are not worn
        assert looked(store, "four", "cde").look == 3  # a set with one seen task is
        assert [one.new for one in worn_by(store, "b")] == ["one", "two"]


def test_a_resumed_look_is_the_same_one_and_a_new_plan_is_another() -> None:
    with Store.open(":memory:") as store:
        first = looked(store, "one", plan="seeds 0 1")
        assert looked(store, "one", "cba", plan="seeds 0 1") == first
        assert looked(store, "one", plan="seeds 2 3").look == 2
        assert len(uses(store)) == 2


def test_the_old_model_against_itself_costs_nothing() -> None:
    with Store.open(":memory:") as store:
        assert looked(store, "base", kind="same").alpha == 0
        assert looked(store, "one").look == 1


def test_a_refused_charge_writes_nothing() -> None:
    def refused(look: int) -> float:
        raise RuntimeError(f"look {look}")

    with Store.open(":memory:") as store:
        with pytest.raises(RuntimeError, match="look 1"):
            begin(store, "base", "one", "abc", refused)
        assert uses(store) == []


def test_a_verdict_is_written_once() -> None:
    with Store.open(":memory:") as store:
        use = looked(store, "one")
        ended = finish(store, use.id, "REJECT", {"n": 3})
        assert (ended.verdict, ended.report, bool(ended.ended)) == ("REJECT", {"n": 3}, True)
        assert finish(store, use.id, "PROMOTE", {}) == ended == uses(store)[0]
        with pytest.raises(NotFound, match="g-none"):
            finish(store, "g-none", "REJECT", {})


def test_an_older_backup_does_not_undo_a_look(tmp_path: Path) -> None:
    path = tmp_path / "adi.db"
    with Store.open(path) as store:
        use = looked(store, "one")
        backup(path, tmp_path / "early.db")
        finish(store, use.id, "REJECT", {})
        looked(store, "two")
    restore(tmp_path / "early.db", path)
    with Store.open(path) as store:
        assert {one.new: one.verdict for one in uses(store)} == {"one": "REJECT", "two": ""}
        assert looked(store, "three").look == 3


def test_a_file_of_an_older_schema_takes_a_look(tmp_path: Path) -> None:
    path = tmp_path / "adi.db"
    with closing(sqlite3.connect(path)) as connection:
        connection.executescript(SCHEMA_3)
    with Store.open(path) as store:
        assert looked(store, "one").look == 1
