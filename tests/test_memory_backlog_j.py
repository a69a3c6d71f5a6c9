"""Group J at the store: claims that race, workers that die or pause, issues that change, unsure effects."""

import signal
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest
from sqlmodel import col, update

from memory import errors
from memory.backlog import Backlog
from memory.backlog_records import Added, BacklogLimits, NewItem, Outcome, State
from memory.store import Store
from memory.tables import ItemRow
from tests.postgres_kit import place as memory_place
from tests.queue_kit import WORKER, claim_again, fork, idle, new, took
from tests.store_kit import start

SOLVED = Outcome(state="solved", detail="it passes")
CLAIM_ALL = """
with Store.open(place) as store, open(f"{folder}/{number}", "w") as told:
    backlog = Backlog.find(store, name)
    while not isinstance(lease := backlog.claim(f"w{number}", 600.0), Idle):
        print(lease.item.key, lease.fence, file=told)
"""
WORK_UNTIL_NOTHING = """
with Store.open(place) as store, open(f"{folder}/{number}", "w") as told:
    backlog = Backlog.find(store, name)
    while True:
        lease = backlog.claim(f"w{number}", 600.0, one_per_repo=number % 2 == 0)
        if isinstance(lease, Idle):
            if lease.reason in ("budget", "done"):
                break
            time.sleep(0.01)
            continue
        backlog.beat(lease, seconds=1.0, tokens=5)
        backlog.settle(lease, Outcome(state="solved", seconds=2.0, tokens=10))
        print(lease.item.key, lease.fence, file=told)
"""
EFFECT = """
import os, sys
from pathlib import Path
from memory.backlog import Backlog
from memory.store import Store

place, name, comments, dies = sys.argv[1], sys.argv[2], Path(sys.argv[3]), sys.argv[4]
with Store.open(place) as store:
    backlog = Backlog.find(store, name)
    effect = backlog.begin_effect("comment:o/r#1:1")
    posted = comments.read_text() if comments.exists() else ""
    if effect.state == "new" or effect.state == "unknown" and not posted:
        if dies == "before":
            os.kill(os.getpid(), 9)
        comments.write_text(posted + "solved\\n")
    if dies == "after":
        os.kill(os.getpid(), 9)
    done = backlog.done_effect("comment:o/r#1:1", {"url": "https://example.org/c/1"})
    print(effect.state, effect.tries, done.result["url"])
"""


@pytest.fixture(params=["sqlite", pytest.param("postgres", marks=pytest.mark.postgres)])
def place(request: pytest.FixtureRequest) -> Iterator[Path | str]:
    """As in all tests, with the file in memory where there is room: these are about locks, not disks."""
    if request.param == "postgres":
        yield str(request.getfixturevalue("postgres"))
        return
    with tempfile.TemporaryDirectory(prefix="adi-queue-", dir=memory_place()) as folder:
        yield Path(folder) / "adi.db"


@pytest.fixture
def backlog(place: Path | str) -> Iterator[Backlog]:
    with Store.open(place) as store:
        yield Backlog.create(store, "team")


def told(folder: Path) -> list[str]:
    return [line for path in folder.iterdir() for line in path.read_text().splitlines()]


@pytest.mark.sample(1)
def test_memory_j01_a_thousand_items_claimed_by_eight_processes_are_each_leased_once(
    backlog: Backlog, place: Path | str, tmp_path: Path
) -> None:
    backlog.add(new(f"k{number}") for number in range(1000))
    folder = tmp_path / "told"
    folder.mkdir()
    fork(place, "team", 8, folder, CLAIM_ALL)
    assert sorted(told(folder)) == sorted(f"k{number} 1" for number in range(1000))
    assert backlog.status().counts[State.RUNNING] == backlog.info().tries == 1000
    assert sum(path.stat().st_size > 0 for path in folder.iterdir()) > 1  # it was a race


def test_memory_j01_workers_that_race_for_a_budget_never_take_more_than_it(
    backlog: Backlog, place: Path | str, tmp_path: Path
) -> None:
    backlog.set_limits(BacklogLimits(tries=60))
    backlog.add(new(f"k{number}", repo=f"/r{number % 7}") for number in range(100))
    folder = tmp_path / "told"
    folder.mkdir()
    fork(place, "team", 6, folder, WORK_UNTIL_NOTHING)
    assert len(set(told(folder))) == len(told(folder)) == 60
    status = backlog.status()
    assert (status.counts[State.SOLVED], status.counts[State.QUEUED]) == (60, 40)
    assert (status.info.tries, status.info.seconds, status.info.tokens) == (60, 120.0, 600)


@pytest.mark.sample(1)
def test_memory_j02_a_killed_workers_item_is_done_again_up_to_a_limit(
    backlog: Backlog, place: Path | str
) -> None:
    backlog.set_limits(BacklogLimits(item_tries=2))
    backlog.add([new("hold")])
    for attempt in (1, 2):
        with start(WORKER, str(place), "team", f"w{attempt}", "0.5") as child:
            assert child.stdout is not None
            assert child.stdout.readline() == "hold\n"
            assert idle(backlog.claim("other", 60.0)).reason == "others"
            child.kill()
        item = backlog.item("hold")
        assert (item.state, item.attempts, item.owner) == (State.RUNNING, attempt, f"w{attempt}")
        time.sleep(0.6)
        assert backlog.status().expired == 1
    assert idle(backlog.claim("other", 60.0)).reason == "done"
    item = backlog.item("hold")
    assert (item.state, item.attempts) == (State.PARKED, 2)
    first, second, third = item.detail.splitlines()
    assert first == "parked: 2 of 2 tries of the item are spent"
    assert "w1 fell silent, last heard of at 20" in second
    assert "w2 fell silent" in third
    assert backlog.reopen("hold") == 1
    assert took(backlog.claim("w3", 60.0)).item.attempts == 1


def test_memory_j03_a_late_result_of_an_item_that_was_claimed_anew_is_stale(backlog: Backlog) -> None:
    backlog.add([new("a")])
    late = took(backlog.claim("slow", 0.1))
    second = claim_again(backlog, "quick")
    assert (second.fence, second.item.attempts) == (late.fence + 1, 2)
    with pytest.raises(errors.LeaseLost, match="a was claimed anew by quick: the lease of slow had run out"):
        backlog.beat(late)
    with pytest.raises(errors.LeaseLost):
        backlog.begin_effect("comment", late)
    settled = backlog.settle(late, SOLVED)
    assert (settled.applied, settled.item.state, settled.item.owner) == (False, State.RUNNING, "quick")
    assert backlog.settle(second, Outcome(state="unsolved", detail="no")).applied
    assert not backlog.settle(late, SOLVED).applied
    assert (backlog.item("a").state, backlog.item("a").detail) == (State.UNSOLVED, "no")
    events = backlog.events(key="a")
    assert [event.kind for event in events] == ["claimed", "expired", "claimed", "stale", "settled", "stale"]
    assert (events[3].content["worker"], events[3].content["state"]) == ("slow", "solved")


def test_memory_j03_a_pause_costs_nothing_while_nobody_else_was_given_the_item(backlog: Backlog) -> None:
    backlog.set_limits(BacklogLimits(item_tries=1))
    backlog.add([new("a"), new("b")])
    lease = took(backlog.claim("w", 0.1))
    time.sleep(0.2)
    lease = backlog.beat(lease)  # no claim has noticed
    time.sleep(0.2)
    took(backlog.claim("other", 60.0))
    assert backlog.item("a").state == State.PARKED
    with pytest.raises(errors.LeaseLost, match="a is parked: w no longer has it"):
        backlog.beat(lease)
    settled = backlog.settle(lease, SOLVED)  # it was done all the same, and nobody has begun again
    assert (settled.applied, settled.item.state, settled.item.detail) == (True, State.SOLVED, "it passes")


def test_memory_j03_a_worker_that_is_stopped_and_wakes_after_its_lease_changes_nothing(
    backlog: Backlog, place: Path | str
) -> None:
    backlog.add([new("hold")])
    with start(WORKER, str(place), "team", "paused", "0.3") as child:
        assert child.stdout is not None
        assert child.stdin is not None
        assert child.stdout.readline() == "hold\n"
        child.send_signal(signal.SIGSTOP)
        child.stdin.write("go on\n")
        child.stdin.flush()
        lease = claim_again(backlog, "quick")
        backlog.settle(lease, Outcome(state="needs-human", detail="by quick"))
        child.send_signal(signal.SIGCONT)
        assert child.wait(60) == 0
    assert (backlog.item("hold").state, backlog.item("hold").detail) == (State.NEEDS_HUMAN, "by quick")
    assert [event.kind for event in backlog.events()][-1] == "stale"


def test_memory_j03_a_clock_that_was_put_back_does_not_keep_a_dead_workers_item(backlog: Backlog) -> None:
    backlog.add([new("a")])
    took(backlog.claim("dead", 0.3))
    with backlog._store.writing() as session:  # as a clock of tomorrow would have written it
        tomorrow = {"beaten": "2999-01-01T00:00:00.000Z", "until": "2999-01-01T00:00:00.300Z"}
        session.execute(update(ItemRow).where(col(ItemRow.key) == "a").values(tomorrow))
    assert idle(backlog.claim("w", 60.0)).reason == "others"
    assert claim_again(backlog, "w", 5.0).item.attempts == 2


def test_memory_j04_the_same_issue_twice_is_one_item(backlog: Backlog) -> None:
    items = [new("o/r#1"), new("o/r#2"), new("o/r#1")]
    assert backlog.add(items) == Added(added=2, same=1)
    assert backlog.add([*items, new("o/r#2", meta={"labels": ["bug"]}, priority=3)]) == Added(same=4)
    for state in ("solved", "unsolved"):
        backlog.settle(took(backlog.claim("w", 60.0)), Outcome(state=state))
    assert backlog.add(items) == Added(same=3)  # none is repeated
    assert idle(backlog.claim("w", 60.0)).reason == "done"


def test_memory_j04_an_edited_issue_is_a_new_revision(backlog: Backlog) -> None:
    backlog.add([new("queued"), new("running"), new("solved")])
    backlog.cancel("queued"), backlog.cancel("running")  # out of the way
    backlog.settle(took(backlog.claim("w", 60.0)), SOLVED)
    backlog.reopen("queued"), backlog.reopen("running")
    backlog.cancel("queued")
    lease = took(backlog.claim("w", 60.0))
    assert lease.item.key == "running"
    backlog.reopen("queued")
    edited = [new(key, "edited") for key in ("queued", "running", "solved")]
    assert backlog.add(edited) == Added(revised=3)
    assert backlog.add(edited) == Added(same=3)
    found = {key: [item.state for item in backlog.items(key=key)] for key in ("queued", "running", "solved")}
    assert found == {
        "queued": [State.SUPERSEDED, State.QUEUED],
        "running": [State.RUNNING, State.QUEUED],
        "solved": [State.SOLVED, State.QUEUED],
    }
    claimed = [took(backlog.claim("w", 60.0)).item for _ in range(2)]
    assert [(item.key, item.number) for item in claimed] == [("queued", 2), ("solved", 2)]
    assert idle(backlog.claim("w", 60.0)).reason == "waiting"  # for the older revision: they share a branch
    assert backlog.beat(lease).item.withdrawn == "edited"
    settled = backlog.settle(lease, SOLVED)
    assert (settled.item.state, settled.item.withdrawn, settled.item.number) == (State.SOLVED, "edited", 1)
    assert took(backlog.claim("w", 60.0)).item.number == 2
    assert backlog.add([new("queued"), new("queued", "third"), new("queued")]) == Added(revised=3)


def test_memory_j04_a_failed_or_lost_attempt_at_an_old_revision_is_not_repeated(backlog: Backlog) -> None:
    backlog.add([new("a"), new("b")])
    failed, silent = took(backlog.claim("w", 60.0)), took(backlog.claim("w", 0.2))
    backlog.add([new("a", "edited"), new("b", "edited")])
    settled = backlog.settle(failed, Outcome(state="infra-error", detail="no Docker"))
    assert (settled.item.state, settled.item.detail) == (
        State.SUPERSEDED,
        "edited while it ran; no Docker",
    )
    assert took(backlog.claim("w", 60.0)).item.number == 2
    assert claim_again(backlog, "w").item.number == 2
    assert backlog.items(key=silent.item.key)[0].state == State.SUPERSEDED


def test_memory_j04_a_closed_issue_is_taken_out_and_comes_back_when_it_is_opened(backlog: Backlog) -> None:
    backlog.add([new("running"), new("queued")])
    lease = took(backlog.claim("w", 60.0))
    closed = [new(key, closed=True) for key in ("running", "queued", "never seen")]
    assert backlog.add(closed) == Added(cancelled=2, skipped=1)
    assert backlog.add(closed) == Added(skipped=3)
    assert backlog.item("queued").state == State.CANCELLED
    assert backlog.beat(lease).item.withdrawn == "closed"
    assert backlog.add([new("queued")]) == Added(reopened=1)
    assert took(backlog.claim("w", 60.0)).item.key == "queued"
    settled = backlog.settle(lease, SOLVED)
    assert (settled.applied, settled.item.state, settled.item.withdrawn) == (True, State.SOLVED, "closed")
    assert backlog.add([new("running")]) == Added(same=1)  # opened again, and solved


@pytest.mark.sample(1)
def test_memory_j06_an_item_that_kills_its_workers_is_parked_and_the_others_are_done(
    backlog: Backlog, place: Path | str
) -> None:
    backlog.add([new("poison"), *(new(f"k{number}") for number in range(20))])
    deaths = 0
    for _ in range(10):
        with start(WORKER, str(place), "team", f"w{deaths}", "0.2") as child:
            child.communicate()
        deaths += child.returncode == -signal.SIGKILL
        time.sleep(0.25)
        if not {State.QUEUED, State.RUNNING} & {state for state, n in backlog.status().counts.items() if n}:
            break
    assert deaths == 3
    counts = backlog.status().counts
    assert (counts[State.SOLVED], counts[State.PARKED]) == (20, 1)
    assert [item.attempts for item in backlog.items(states=[State.SOLVED])] == [1] * 20
    assert backlog.item("poison").detail.count("fell silent") == 3


@pytest.mark.sample(2)
@pytest.mark.parametrize("dies", ["before", "after"])
def test_memory_j07_an_effect_whose_record_was_lost_is_found_and_not_repeated(
    backlog: Backlog, place: Path | str, tmp_path: Path, dies: str
) -> None:
    comments = tmp_path / "comments"
    outputs = []
    for moment in (dies, "never", "never"):
        with start(EFFECT, str(place), "team", str(comments), moment) as child:
            outputs.append(child.communicate()[0])
    url = "https://example.org/c/1"
    assert outputs == ["", f"unknown 2 {url}\n", f"done 2 {url}\n"]
    assert comments.read_text() == "solved\n"
    with pytest.raises(errors.NotFound, match="no effect 'other' was begun"):
        backlog.done_effect("other")


@pytest.mark.sample(1)
def test_memory_j08_a_listing_that_breaks_off_goes_on_where_it_stopped(backlog: Backlog) -> None:
    def tracker(page: int) -> list[NewItem]:
        if page == offline:
            raise ConnectionError("the tracker is offline")
        return [new(f"o/r#{page * 100 + number}", "text " * 100) for number in range(100)]

    def read() -> Added:
        cursor = backlog.cursor("gh:o/r")
        counts: Counter[str] = Counter()
        for page in range(int(cursor.position) if cursor else 0, 100):
            counts.update(backlog.add(tracker(page)).model_dump())
            if page == forgotten:
                raise KeyboardInterrupt  # between what was added and where to go on
            backlog.save_cursor("gh:o/r", str(page + 1), done=page == 99)
        return Added(**counts)

    offline, forgotten, begun = 41, 60, time.process_time()
    with pytest.raises(ConnectionError):
        read()
    cursor = backlog.cursor("gh:o/r")
    assert cursor is not None
    assert (cursor.position, cursor.done, backlog.cursor("gh:o/s")) == ("41", False, None)
    offline = -1
    with pytest.raises(KeyboardInterrupt):
        read()
    forgotten = -1
    assert read() == Added(added=3900, same=100)
    assert backlog.cursor("gh:o/r").done  # type: ignore[union-attr]
    assert [item.key for item in backlog.each()] == [f"o/r#{number}" for number in range(10_000)]
    for number in range(20):
        assert took(backlog.claim("w", 60.0)).item.key == f"o/r#{number}"
    assert idle(backlog.claim("w", 60.0, one_per_repo=True)).reason == "repo-busy"
    assert backlog.status().counts[State.QUEUED] == 9_980
    assert time.process_time() - begun < 20  # seconds of this processor, however busy it is
