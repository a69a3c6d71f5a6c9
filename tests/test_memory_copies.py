"""Which repository a run on a copy counts for, on both databases, and of runs from before copies told it."""

import json
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from memory.consent import Consents
from memory.copies import copies, runs_of
from memory.ended import ended
from memory.forget import forget_runs, tombstones
from memory.lesson import Draft, Evidence
from memory.lessons import Lessons
from memory.origin import Origin
from memory.records import RunEnded, RunStarted, Stop, Task
from memory.store import Store

REPO, ROOM = "/src/maths", "/data/rooms/b-1-1/maths"
COPY = Origin(copy_of=REPO)


@pytest.fixture
def store(place: Path | str) -> Iterator[Store]:
    with Store.open(place) as opened:
        yield opened


def run(store: Store, repo: str, origin: Origin = Origin(), prompt: str = "p") -> str:  # noqa: B008
    run_id = store.start_run(Task(id="t", prompt=prompt, repo=repo), origin=origin)
    store.append(run_id, RunEnded(stop=Stop.ACCEPTED, exit_code=0))
    return run_id


def test_runs_on_copies_are_found_with_their_repository(store: Store) -> None:
    assert copies(store) == {}
    own, other = run(store, REPO), run(store, "/src/other")
    assert [each.id for each in runs_of(store, REPO)] == [own]
    first, second = run(store, ROOM, COPY), run(store, ROOM.replace("1", "2"), COPY)
    elsewhere = run(store, ROOM.replace("1", "3"), Origin(copy_of="/src/other"))
    assert copies(store) == {first: REPO, second: REPO, elsewhere: "/src/other"}
    found = [each.id for each in runs_of(store, REPO)]
    assert found == sorted(found, key=lambda name: (store.run(name).started, name), reverse=True)
    assert set(found) == {own, first, second}
    assert [each.id for each in runs_of(store, REPO, 2)] == found[:2]
    assert runs_of(store, ROOM) == store.runs(ROOM)
    assert {name for name, _, _ in ended(store, repo=REPO)} == {own, first, second}
    assert {name for name, _, _ in ended(store)} == {own, other, first, second, elsewhere}
    assert [each.id for each in store.runs(REPO)] == [own]


@pytest.mark.parametrize(
    "text", ['"copy_of": ""', '{"origin": {"copy_of": "/src/maths"}}', "copy_of \0 \ud800", "\\"]
)
def test_words_of_a_task_make_no_copy_and_hide_none(store: Store, text: str) -> None:
    plain, copied = run(store, "/src/other", prompt=text), run(store, ROOM, COPY, text)
    odd = run(store, ROOM, Origin(copy_of=f"/src/{text.replace(chr(0), '')}"))
    assert plain not in copies(store)
    assert copies(store) == {copied: REPO, odd: f"/src/{text.replace(chr(0), '')}"}


def test_to_forget_a_repository_takes_its_copies_along(store: Store) -> None:
    copied, other = run(store, ROOM, COPY), run(store, "/src/other")
    for place in (REPO, "/src/other"):
        draft = Draft(kind="fact", place=place, claim=f"of {place}")
        Lessons(store).learn(draft, Evidence(run_id=copied if place == REPO else other, stance="for"))
    Consents(store).set("repository", REPO, "granted")
    forget_runs(store, [each.id for each in runs_of(store, REPO, 0)], "repository", REPO)
    assert [each.id for each in store.runs()] == [other]
    assert [lesson.place for lesson in Lessons(store).all()] == ["/src/other"]
    assert {stone.kind for stone in tombstones(store)} == {"run", "repository"}
    assert copies(store) == {}


def test_a_run_from_before_copies_told_it_is_its_own(tmp_path: Path) -> None:
    path = tmp_path / "adi.db"
    with Store.open(path) as store:
        run_id = run(store, ROOM, COPY)
    with closing(sqlite3.connect(path)) as connection:
        (payload,) = connection.execute("SELECT payload FROM event WHERE seq = 1").fetchone()
        content = json.loads(payload)
        del content["origin"]["copy_of"]
        connection.execute("UPDATE event SET payload = ? WHERE seq = 1", (json.dumps(content),))
        connection.commit()
    with Store.open(path) as store:
        started = store.events(run_id)[0].payload
        assert isinstance(started, RunStarted)
        assert (started.origin.copy_of, started.repository) == ("", ROOM)
        assert copies(store) == {}
        assert [each.id for each in runs_of(store, ROOM)] == [run_id]
