"""Forgetting by session, repository and author: the bytes are gone, and what comes back stays out."""

import json
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from feedback.candidate import Candidate, Label
from feedback.harvest import harvests, session_of
from feedback.permission import judge_by
from feedback.steps import dropping
from memory import errors
from memory.backup import backup, restore
from memory.consent import Consents
from memory.exports import exports_with, record_export
from memory.forget import forget_run, forget_runs, processes, runs_by, tombstones
from memory.hidden import hidden
from memory.lesson import Draft, Evidence
from memory.lessons import Lessons, now
from memory.origin import Origin
from memory.records import Evaluation, Noted, RunEnded, Stop, Verdict
from memory.store import Store
from tests.consent_kit import begin
from tests.store_kit import TASK

ADA, BOB = "ada@example.org", "bob@example.org"
REPO = "/src/secret-customer"
PERMITTED = {"no_train": lambda _: False, "remotes": lambda _: ()}


@pytest.fixture
def store(place: Path | str) -> Iterator[Store]:
    with Store.open(place) as opened:
        yield opened


def run(store: Store, word: str, repo: str = REPO, author: str = ADA, pid: int = 7) -> str:
    """A run that ended, with a patch, a word that is nowhere else, and a lesson of its own."""
    run_id = begin(store, repo, Origin(author=author), pid)
    store.append(run_id, Noted(text=f"said {word}"))
    patch = store.put_artifact(f"+patch {word}".encode())
    store.append(run_id, Verdict(evaluation=Evaluation(accepted=True, reward=1.0), diff_sha256=patch))
    store.append(run_id, RunEnded(stop=Stop.ACCEPTED, exit_code=0))
    draft = Draft(kind="preference", place=repo, claim=f"lesson {word}", words=f"{word}_words")
    Lessons(store).learn(draft, Evidence(run_id=run_id, stance="for"))
    return run_id


def next_data_set(store: Store) -> tuple[list[str], dict[str, str]]:
    """Ids of the runs that a data set would take now, and why it takes no others."""
    found = [Candidate(each, Label(grade="gold", why="")) for each in harvests(store)]
    judge = judge_by(Consents(store), **PERMITTED)
    dropped = dropping(lambda one: judge(one.harvest)[1])(found)
    return [one.id for one in found if one.id not in dropped], dropped


def bytes_of(folder: Path) -> bytes:
    return b"".join(path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file())


def test_memory_l07_a_deleted_session_is_gone_from_the_file_and_from_the_next_data_set(
    tmp_path: Path,
) -> None:
    home, copy, data = tmp_path / "home", tmp_path / "copy.db", tmp_path / "data"
    path, session = home / "adi.db", session_of(7, "boot:1")
    with Store.open(path) as store:
        gone = [run(store, "walrus"), run(store, "narwhal")]
        kept = run(store, "heron", pid=8)
        Consents(store).set("repository", REPO, "granted")
        Consents(store).set("session", session, "granted")
        assert next_data_set(store) == ([*gone, kept], {})
        record_export(store, data, "a" * 64, [*gone, kept], "adi data export data")
    backup(path, copy)
    with Store.open(path) as store:
        chosen = [run_id for run_id, pid, process in processes(store) if session_of(pid, process) == session]
        assert chosen == gone
        stones = forget_runs(store, chosen, "session", session, "she asked")
        assert [(stone.kind, stone.id, stone.reason) for stone in stones] == [
            ("run", gone[0], "she asked"),
            ("run", gone[1], "she asked"),
            ("session", session, "she asked"),
        ]
        assert stones[0].removed == {"lesson": 1, "evidence": 1, "event": 4, "artifact": 1}
        assert stones[2].removed == {
            "run": 2, "lesson": 2, "evidence": 2, "event": 8, "artifact": 2, "consent": 1,
        }  # fmt: skip
        assert next_data_set(store) == ([kept], {})
        assert [made.command for made in exports_with(store, gone)] == ["adi data export data"]
        assert [item.claim for item in Lessons(store).all()] == ["lesson heron"]
    left = bytes_of(home)
    assert [word for word in (b"walrus", b"narwhal") if word in left] == []
    assert b"heron" in left
    assert b"walrus" in copy.read_bytes()  # the policy: a backup keeps what it has until it is deleted
    done = restore(copy, path)
    assert done.returned == tuple(sorted(gone))
    with Store.open(path) as store:
        assert len(store.runs()) == 3
        assert next_data_set(store) == ([kept], dict.fromkeys(gone, "forgotten"))


def test_an_author_is_forgotten_under_any_spelling_and_named_by_a_hash(store: Store, tmp_path: Path) -> None:
    gone = [run(store, "walrus", author="Ada@Example.org"), run(store, "narwhal", "/src/other")]
    kept, unknown = run(store, "heron", author=BOB), run(store, "egret", author="")
    Consents(store).set("user", ADA, "refused")
    Consents(store).set("user", BOB, "granted")
    assert runs_by(store, f" {ADA.upper()}") == gone
    assert runs_by(store, "") == []
    *_, stone = forget_runs(store, gone, "author", f"Ada <{ADA}>", "she asked")
    assert (stone.kind, stone.id) == ("author", hidden("author", ADA))
    assert (stone.removed["run"], stone.removed["consent"]) == (2, 1)
    assert {each.id for each in store.runs()} == {kept, unknown}
    assert Consents(store).opted_out("author", ADA)  # what she refused stays refused
    assert [one.key for one in Consents(store).all()] == [BOB]
    assert next_data_set(store) == ([kept], {unknown: "consent not given"})
    later = run(store, "osprey", author=ADA)
    assert next_data_set(store)[1][later] == "opted out"
    forget_runs(store, [later], "author", ADA)
    store.close()
    if list(tmp_path.glob("adi.db")):
        left = bytes_of(tmp_path).lower()
        assert [word for word in (ADA.encode(), b"walrus", b"narwhal", b"osprey") if word in left] == []


def test_a_repository_is_forgotten_with_its_lessons_and_its_name(store: Store, tmp_path: Path) -> None:
    gone, kept = run(store, "walrus"), run(store, "heron", "/src/other")
    Lessons(store).learn(
        Draft(kind="fact", place=REPO, claim="said by a person"), Evidence(run_id="", stance="for")
    )
    Lessons(store).learn(
        Draft(kind="fact", scope="language", place="python", claim="of a language"),
        Evidence(run_id="", stance="for"),
    )
    consents = Consents(store)
    consents.set("repository", REPO, "granted", licence="MIT")
    consents.set("user", "", "granted")
    *_, stone = forget_runs(store, [gone], "repository", REPO)
    assert (stone.kind, stone.id) == ("repository", hidden("repository", REPO + "/"))
    assert (stone.removed["lesson"], stone.removed["consent"]) == (2, 1)
    assert {item.claim for item in Lessons(store).all()} == {"lesson heron", "of a language"}
    assert not consents.opted_out("repository", REPO)
    assert next_data_set(store) == ([kept], {})
    again = run(store, "osprey")
    assert next_data_set(store)[1] == {again: "consent not given"}  # what was granted before counts no more
    forget_run(store, again)
    Consents(store).set("record", kept, "granted")
    assert forget_run(store, kept).removed["consent"] == 1
    store.close()
    if list(tmp_path.glob("adi.db")):
        left = bytes_of(tmp_path)
        assert [word for word in (REPO.encode(), b"walrus", b"said by a person") if word in left] == []
        assert b"of a language" in left


def test_a_grant_after_the_forgetting_counts_for_later_runs(store: Store) -> None:
    gone = run(store, "walrus")
    forget_runs(store, [gone], "repository", REPO)
    wait_for_the_next_millisecond(store)
    later = run(store, "osprey")
    Consents(store).set("repository", REPO, "granted")
    assert next_data_set(store) == ([later], {})


def wait_for_the_next_millisecond(store: Store) -> None:
    at = tombstones(store)[0].at
    while now() <= at:
        pass


def test_nothing_is_forgotten_when_one_of_the_runs_cannot_be(store: Store) -> None:
    one = run(store, "walrus")
    for other, error in (("nothing", errors.NotFound), (store.start_run(TASK), errors.RepoBusy)):
        with pytest.raises(error):
            forget_runs(store, [one, other], "repository", REPO)
    assert store.run(one).id == one
    assert tombstones(store) == []
    assert forget_runs(store, [one, one])[0].id == one
    assert len(tombstones(store)) == 1


def test_a_tombstone_without_any_run_is_kept_for_those_in_backups(store: Store) -> None:
    (stone,) = forget_runs(store, [], "author", ADA)
    assert (stone.kind, stone.removed) == ("author", {})
    assert [(each.kind, each.id) for each in tombstones(store)] == [("author", hidden("author", ADA))]
    assert Consents(store).standing().forgotten("author", ADA) == stone.at
    assert Consents(store).standing().forgotten("repository", ADA) == ""


def test_a_run_of_an_older_adi_has_no_author(tmp_path: Path) -> None:
    path = tmp_path / "adi.db"
    with Store.open(path) as store:
        run_id = run(store, "walrus")
    with closing(sqlite3.connect(path)) as connection:
        (payload,) = connection.execute("SELECT payload FROM event WHERE seq = 1").fetchone()
        content = json.loads(payload)
        del content["origin"]
        connection.execute("UPDATE event SET payload = ? WHERE seq = 1", (json.dumps(content),))
        connection.commit()
    with Store.open(path) as store:
        assert runs_by(store, ADA) == []
        assert store.events(run_id)[0].payload.kind == "run-started"
