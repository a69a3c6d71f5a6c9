"""Decisions about training: the newest counts, history stays, and who opts out is not told by the list."""

import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from memory import errors
from memory.backup import backup, restore
from memory.carry import kept_rows
from memory.consent import Consents
from memory.exports import exports, exports_with, record_export
from memory.forget import forget_runs, tombstones
from memory.hidden import hidden, normal
from memory.salvage import salvage
from memory.store import Store
from tests.store_kit import SCHEMA_1, TASK, start

ODD = 'nul \x00, half a \ud800, "quote" ü'
ADA = "ada@example.org"


@pytest.fixture
def store(place: Path | str) -> Iterator[Store]:
    with Store.open(place) as opened:
        yield opened


@pytest.fixture
def consents(store: Store) -> Consents:
    return Consents(store)


def test_the_newest_decision_of_a_scope_and_key_counts_and_history_stays(consents: Consents) -> None:
    assert (consents.all(), consents.decision("user")) == ([], None)
    consents.set("repository", "/src/a", "granted", by="ada", licence="MIT")
    consents.set("repository", "/src/a", "refused", by="bob")
    consents.set("repository", "/src/b", "granted")
    consents.set("user", "", "granted")
    consents.set("user", " Ada@Example.org ", "refused")
    found = consents.decision("repository", "/src/a")
    assert found is not None
    assert (found.status, found.by, found.licence, found.policy_version) == ("refused", "bob", "", 1)
    assert [one.status for one in consents.history("repository", "/src/a")] == ["granted", "refused"]
    assert {(one.scope, one.key, one.status) for one in consents.all()} == {
        ("repository", "/src/a", "refused"),
        ("repository", "/src/b", "granted"),
        ("user", "", "granted"),
        ("user", ADA, "refused"),
    }
    assert len(consents.all()) == 4


def test_a_licence_is_declared_by_a_grant_that_counts(consents: Consents) -> None:
    consents.set("repository", "/src/a", "granted", licence="MIT")
    consents.set("session", "/src/b", "granted", licence="MIT")
    assert consents.standing().declared_licence("/src/a") == "MIT"
    assert consents.standing().declared_licence("/src/b") == ""
    consents.set("repository", "/src/a", "refused", licence="MIT")
    assert consents.standing().declared_licence("/src/a") == ""


def test_a_decision_may_hold_any_text_and_names_what_it_is_about(consents: Consents) -> None:
    consents.set("repository", ODD, "granted", by=ODD, licence=ODD)
    (found,) = consents.all()
    assert (found.key, found.by, found.licence) == (ODD, ODD, ODD)
    for scope in ("repository", "session", "record"):
        with pytest.raises(ValueError, match=f"about a {scope} names it"):
            consents.set(scope, "", "granted")
    assert consents.all() == [found]


def test_who_opted_out_is_known_and_not_told(consents: Consents, store: Store, tmp_path: Path) -> None:
    assert not consents.opted_out("author", ADA)
    first = consents.opt_out("author", ADA)
    assert consents.opt_out("author", f"Ada <{ADA.upper()}> ") == first
    consents.opt_out("repository", "https://token@git.example.org/team/secret-name.git/")
    consents.opt_out("session", "0123456789abcdef")
    assert [
        (item.kind, len(item.hash)) for item in sorted(consents.opt_outs(), key=lambda one: one.kind)
    ] == [
        ("author", 32),
        ("repository", 32),
        ("session", 32),
    ]
    standing = consents.standing()
    for kind, value in (
        ("author", ADA),
        ("repository", "git@git.example.org:team/secret-name"),
        ("repository", "ssh://git@GIT.example.org:2222/team/secret-name.git"),
        ("session", "0123456789abcdef"),
    ):
        assert consents.opted_out(kind, value)
        assert standing.opted_out(kind, value)
    for kind, value in (("author", "bob@example.org"), ("repository", ADA), ("author", ""), ("session", ADA)):
        assert not standing.opted_out(kind, value)
    assert (consents.opt_in("author", ADA), consents.opt_in("author", ADA)) == (True, False)
    assert not consents.opted_out("author", ADA)
    store.close()
    left = b"".join(path.read_bytes() for path in tmp_path.glob("adi.db*"))
    assert b"secret-name" not in left
    assert ADA.encode() not in left


@pytest.mark.parametrize(
    ("kind", "spellings"),
    [
        ("author", ("Ada <ada@example.org>", "ADA@EXAMPLE.ORG", " ada@example.org\n", "<ada@example.org>")),
        ("author", ("jos\u00e9@example.org", "jose\u0301@example.org")),
        ("repository", ("/src/maths", "/src/maths/", "/src/./x/../maths", "file:///src/maths")),
        (
            "repository",
            ("https://h.org/a/b", "http://u:p@H.org:8443/A/b.git", "u@h.org:a/b.git", "h.org:a/b/"),
        ),
    ],
)
def test_spellings_of_one_name_have_one_hash(kind: str, spellings: tuple[str, ...]) -> None:
    assert len({hidden(kind, each) for each in spellings}) == 1
    assert all(normal(kind, normal(kind, each)) == normal(kind, each) for each in spellings)


def test_other_names_have_other_hashes() -> None:
    names = ("/src/a", "/src/b", "https://h.org/a/b", "https://h.org/a/c", "http://[broken", "src/a", "")
    hashes = {hidden(kind, name) for kind in ("author", "repository", "session") for name in names}
    assert len(hashes) == 3 * len(names)


@given(st.text(st.characters(), max_size=60), st.sampled_from(("author", "repository", "session")))
def test_any_text_has_one_spelling(text: str, kind: str) -> None:
    assert isinstance(normal(kind, text), str)


def test_written_data_sets_are_known_by_their_runs(store: Store, tmp_path: Path) -> None:
    one = record_export(store, tmp_path / "one", "a" * 64, ["r2", "r1", "r2"], "adi data export one")
    two = record_export(store, tmp_path / "two", "b" * 64, ["r3"])
    assert (one.run_ids, one.command, two.command) == (("r1", "r2"), "adi data export one", "")
    assert {made.id for made in exports(store)} == {one.id, two.id}
    assert exports_with(store, ["r1", "r9"]) == [one]
    assert exports_with(store, []) == []
    again = record_export(store, tmp_path / "one", "c" * 64, ["r2"])
    assert exports_with(store, ["r1"]) == []  # the folder was written again without it
    assert exports_with(store, ["r2"]) == [again]


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """A store in which much was decided after a backup."""
    path = tmp_path / "home" / "adi.db"
    with Store.open(path) as store:
        Consents(store).set("repository", "/src/a", "granted")
        Consents(store).set("user", "", "granted")
        run_id = dead_run(store)
    backup(path, tmp_path / "copy.db")
    with Store.open(path) as store:
        Consents(store).set("repository", "/src/a", "refused")
        Consents(store).opt_out("author", ADA)
        forget_runs(store, [run_id], reason="a customer")
        record_export(store, "/data/one", "a" * 64, [run_id])
    return path


def dead_run(store: Store) -> str:
    with start(
        "import sys\nfrom memory.records import Task\nfrom memory.store import Store\n"
        "with Store.open(sys.argv[1]) as store:\n"
        "    print(store.start_run(Task(id='t', prompt='p', repo='/src/a')))",
        str(store._backend._path),
    ) as child:
        output, _ = child.communicate()
    return output.strip()


def test_a_restored_backup_undoes_no_refusal_and_no_tombstone(path: Path, tmp_path: Path) -> None:
    done = restore(tmp_path / "copy.db", path)
    assert done.carried == {"tombstone": 1, "optout": 1, "export": 1, "consent": 1}
    with Store.open(path) as store:
        (run,) = store.runs()
        assert done.returned == (run.id,)
        assert [stone.id for stone in tombstones(store)] == [run.id]
        assert Consents(store).opted_out("author", ADA)
        assert [one.status for one in Consents(store).history("repository", "/src/a")] == [
            "granted",
            "refused",
        ]
        assert [one.status for one in Consents(store).history("user")] == ["granted"]
        Consents(store).set("repository", "/src/a", "granted")
        assert len(Consents(store).history("repository", "/src/a")) == 3
        assert [made.path for made in exports_with(store, [run.id])] == ["/data/one"]
    again = restore(tmp_path / "copy.db", path)
    assert again.carried == {"tombstone": 1, "optout": 1, "export": 1, "consent": 2}


def test_a_newer_store_that_comes_back_keeps_its_own_decisions(path: Path, tmp_path: Path) -> None:
    backup(path, tmp_path / "newer.db")
    restore(tmp_path / "copy.db", path)
    assert restore(tmp_path / "newer.db", path).carried == {}
    with Store.open(path) as store:
        assert store.runs() == []
        found = Consents(store).decision("repository", "/src/a")
    assert found is not None
    assert found.status == "refused"


def test_a_backup_of_an_older_schema_takes_what_was_decided(path: Path, tmp_path: Path) -> None:
    old = tmp_path / "old.db"
    with closing(sqlite3.connect(old)) as connection:
        connection.executescript(SCHEMA_1)
    assert restore(old, path).carried["consent"] == 3
    with Store.open(path) as store:
        assert [run.prompt for run in store.runs()] == ["make gcd right"]
        assert Consents(store).opted_out("author", ADA)
    assert {file.name for file in path.parent.iterdir() if not file.name.startswith("adi.db")} == set()


def test_only_a_store_of_adi_is_asked_for_its_decisions(path: Path) -> None:
    with closing(sqlite3.connect(path)) as connection:
        assert {table: len(rows) for table, rows in kept_rows(connection).items()} == {
            "tombstone": 1, "optout": 1, "export": 1, "consent": 3,
        }  # fmt: skip
        connection.execute("UPDATE consent SET at = x'00' WHERE status = 'refused'")
        assert len(kept_rows(connection)["consent"]) == 2  # what is damaged is left
        connection.execute("PRAGMA application_id = 7")
        assert kept_rows(connection) == {}
        connection.rollback()


def test_a_salvage_keeps_what_was_decided(path: Path) -> None:
    found = salvage(path)
    assert {name: found.kept[name] for name in ("consent", "optout", "export", "tombstone")} == {
        "consent": 3, "optout": 1, "export": 1, "tombstone": 1,
    }  # fmt: skip
    with Store.open(found.target) as store:
        (refused,) = [one for one in Consents(store).all() if one.status == "refused"]
        assert refused.key == "/src/a"
        assert exports(store)[0].run_ids


def test_all_or_none_of_the_runs_are_forgotten(store: Store) -> None:
    alive = store.start_run(TASK)
    with pytest.raises(errors.NotFound):
        forget_runs(store, ["nothing"])
    with pytest.raises(errors.RepoBusy):
        forget_runs(store, [alive], "repository", TASK.repo)
    assert tombstones(store) == []
    assert store.run(alive).alive
