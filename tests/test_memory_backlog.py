"""A backlog in the store: what is added, who gets it, how it ends; in a file and on a Postgres server."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from memory import errors
from memory.backlog import Backlog
from memory.backlog_records import Added, BacklogLimits, Idle, NewItem, Outcome, State
from memory.records import Check
from memory.store import Store
from tests.queue_kit import claim_again, idle, new, took

SOLVED = Outcome(state="solved", run_id="261128-aaaaaa", detail="2 tests pass", result={"patch": "ab12"})
BROKEN = Outcome(state="infra-error", detail="no Docker engine")


@pytest.fixture
def backlog(place: Path | str) -> Iterator[Backlog]:
    with Store.open(place) as store:
        yield Backlog.create(store, "team", source="issues.json", settings={"branch": "adi/"})


def kinds(backlog: Backlog, key: str = "") -> list[str]:
    return [event.kind for event in backlog.events(key=key)]


def test_a_backlog_is_found_by_its_name_and_its_id(backlog: Backlog) -> None:
    store = backlog._store
    for name in ("team", backlog.id, backlog.id[:9], backlog.id[7:11]):
        assert Backlog.find(store, name).id == backlog.id
    with pytest.raises(errors.BacklogExists, match="team"):
        Backlog.create(store, "team")
    with pytest.raises(errors.NotFound):
        Backlog.find(store, "other")
    other = Backlog.create(store, "other \ud800")
    with pytest.raises(errors.Ambiguous):
        Backlog.find(store, backlog.id[:6])
    assert {one.id for one in Backlog.all(store)} == {backlog.id, other.id}
    told = backlog.info()
    assert (told.name, told.source, told.settings, told.state) == (
        "team",
        "issues.json",
        {"branch": "adi/"},
        "open",
    )


def test_any_text_comes_back(backlog: Backlog) -> None:
    item = NewItem(
        key="o/r#1 \x00", title="\udcff", body='"quoted" \x00', repo="https://example.org/r.git", base="ab12",
        checks=(Check(name="t", command="pytest -q"),), meta={"labels": ["a", "\x00"]}, priority=-3,
    )  # fmt: skip
    assert backlog.add([item]) == Added(added=1)
    found = backlog.item(item.key)
    for name in ("key", "title", "body", "repo", "base", "checks", "meta", "priority"):
        assert getattr(found, name) == getattr(item, name)
    assert found.revision == item.revision()
    assert (found.state, found.number, found.attempts, found.run_ids) == (State.QUEUED, 1, 0, ())
    lease = took(backlog.claim("worker \x00", 60.0))
    settled = backlog.settle(lease, SOLVED.model_copy(update={"detail": "\ud800"}))
    assert (settled.item.detail, settled.item.owner) == ("\ud800", "worker \x00")
    assert backlog.events()[0].content["worker"] == "worker \x00"


def test_the_order_is_priority_then_age_and_what_was_tried_comes_last(backlog: Backlog) -> None:
    backlog.set_limits(BacklogLimits(retry_s=0.0))
    backlog.add([new("a"), new("b", priority=1), new("c", priority=1), new("d", priority=-1)])
    first = took(backlog.claim("w", 60.0))
    assert first.item.key == "b"
    assert backlog.settle(first, BROKEN).item.state == State.QUEUED
    assert [took(backlog.claim("w", 60.0)).item.key for _ in range(4)] == ["c", "b", "a", "d"]
    assert idle(backlog.claim("w", 60.0)).reason == "others"


def test_an_item_ends_once_with_its_result(backlog: Backlog) -> None:
    backlog.add([new("a")])
    lease = took(backlog.claim("w1", 60.0))
    assert (lease.item.state, lease.fence, lease.worker) == (State.RUNNING, 1, "w1")
    assert (lease.seconds_left, lease.tokens_left) == (None, None)
    settled = backlog.settle(lease, SOLVED)
    assert (settled.applied, settled.item.state, settled.retry_at) == (True, State.SOLVED, "")
    assert (settled.item.run_ids, settled.item.result) == (("261128-aaaaaa",), {"patch": "ab12"})
    assert backlog.settle(lease, SOLVED) == settled  # the answer to the first one was lost
    assert kinds(backlog) == ["claimed", "settled"]
    with pytest.raises(errors.LeaseLost, match="a is solved: w1 no longer has it"):
        backlog.beat(lease)
    assert idle(backlog.claim("w2", 60.0)).reason == "done"


def test_only_infra_errors_are_tried_again_with_longer_waits_and_up_to_a_limit(backlog: Backlog) -> None:
    backlog.set_limits(BacklogLimits(item_tries=3, retry_s=0.2))
    backlog.add([new("a"), new("b"), new("c")])
    for state in ("unsolved", "needs-human"):
        lease = took(backlog.claim("w", 60.0))
        settled = backlog.settle(lease, Outcome(state=state, detail="no"))
        assert (settled.item.state, settled.retry_at) == (state, "")
    assert backlog.settle(took(backlog.claim("w", 60.0)), BROKEN).retry_at
    waiting = idle(backlog.claim("w", 60.0))
    assert waiting.reason == "waiting"
    assert 0 < waiting.again_s <= 0.2
    again = claim_again(backlog, "w")
    assert again.item.attempts == 2
    assert backlog.settle(again, BROKEN).retry_at
    assert 0.2 < idle(backlog.claim("w", 60.0)).again_s <= 0.4
    last = backlog.settle(claim_again(backlog, "w"), BROKEN)
    assert (last.item.state, last.retry_at) == (State.INFRA_ERROR, "")
    assert last.item.detail == "no Docker engine (3 of 3 tries of the item are spent)"
    assert idle(backlog.claim("w", 60.0)).reason == "done"
    assert backlog.reopen("c") == 1
    assert took(backlog.claim("w", 60.0)).item.attempts == 1


def test_an_item_that_is_given_back_was_not_tried(backlog: Backlog) -> None:
    backlog.add([new("a")])
    lease = took(backlog.claim("w", 60.0))
    backlog.release(lease, "Ctrl-C")
    assert (backlog.item("a").attempts, backlog.info().tries) == (0, 0)
    assert not backlog.settle(lease, SOLVED).applied  # given back is given back
    assert took(backlog.claim("w", 60.0)).item.attempts == 1
    with pytest.raises(errors.LeaseLost):
        backlog.release(lease)


def test_one_item_of_a_repository_at_a_time_where_asked(backlog: Backlog) -> None:
    other = Backlog.create(backlog._store, "other")
    backlog.add([new("a"), new("b"), new("c", repo="/s")])
    other.add([new("d"), new("e", repo=""), new("f", repo="")])
    first = took(backlog.claim("w", 60.0, one_per_repo=True))
    assert took(backlog.claim("w", 60.0, one_per_repo=True)).item.key == "c"
    refused = idle(backlog.claim("w", 60.0, one_per_repo=True))
    assert (refused.reason, refused.again_s > 0) == ("repo-busy", True)
    assert [took(other.claim("w", 60.0, one_per_repo=True)).item.key for _ in "ef"] == [
        "e",
        "f",
    ]  # no repository
    assert idle(other.claim("w", 60.0, one_per_repo=True)).reason == "repo-busy"
    assert took(other.claim("w", 60.0)).item.key == "d"  # where it is not asked
    backlog.settle(first, SOLVED)
    assert idle(backlog.claim("w", 60.0, one_per_repo=True)).reason == "repo-busy"


@pytest.mark.parametrize(
    ("limits", "told"),
    [
        (BacklogLimits(tries=1), "1 of 1 tries of the backlog are spent"),
        (BacklogLimits(seconds=10), "12 of 10 seconds of the backlog are spent"),
        (BacklogLimits(tokens=500), "700 of 500 tokens of the backlog are spent"),
    ],
)
def test_a_budget_of_the_backlog_stops_it_and_says_so(
    backlog: Backlog, limits: BacklogLimits, told: str
) -> None:
    backlog.set_limits(limits)
    backlog.add([new("a"), new("b")])
    lease = took(backlog.claim("w", 60.0))
    backlog.beat(lease, seconds=8, tokens=400)
    backlog.settle(lease, SOLVED.model_copy(update={"seconds": 12.0, "tokens": 700}))
    refused = idle(backlog.claim("w", 60.0))
    assert (refused.reason, refused.detail) == ("budget", told)
    status = backlog.status()
    assert (status.spent, status.info.seconds, status.info.tokens, status.info.tries) == (told, 12.0, 700, 1)
    backlog.set_limits(BacklogLimits())
    assert took(backlog.claim("w", 60.0)).item.key == "b"


def test_a_budget_of_an_item_ends_its_tries(backlog: Backlog) -> None:
    backlog.set_limits(BacklogLimits(item_seconds=10, item_tokens=1000, tokens=5000, retry_s=0.0))
    backlog.add([new("a")])
    lease = took(backlog.claim("w", 60.0))
    assert (lease.seconds_left, lease.tokens_left) == (10, 1000)
    lease = backlog.beat(lease, seconds=4, tokens=10)
    assert (lease.seconds_left, lease.tokens_left) == (6, 990)
    assert backlog.beat(lease, seconds=3).seconds_left == 6  # it only grows
    backlog.settle(lease, BROKEN.model_copy(update={"seconds": 6.0}))
    lease = took(backlog.claim("w", 60.0))
    assert lease.seconds_left == 4
    last = backlog.settle(lease, BROKEN.model_copy(update={"seconds": 4.0}))
    assert last.item.state == State.INFRA_ERROR
    assert "10 of 10 seconds of the item" in last.item.detail


def test_cancelled_items_wait_no_more_and_running_ones_hear_of_it(backlog: Backlog) -> None:
    backlog.add([new("a"), new("b"), new("c")])
    lease = took(backlog.claim("w", 60.0))
    assert backlog.cancel("b") == 1
    assert backlog.item("b").state == State.CANCELLED
    assert backlog.add([new("b", "edited")]) == Added(skipped=1)  # a person's no outlasts an edit
    assert backlog.cancel() == 2
    assert backlog.beat(lease).item.withdrawn == "cancelled"
    with pytest.raises(errors.BacklogClosed):
        backlog.add([new("d")])
    assert idle(backlog.claim("w", 60.0)).reason == "cancelled"
    settled = backlog.settle(lease, SOLVED)
    assert (settled.applied, settled.item.state) == (True, State.CANCELLED)
    assert "it ended as solved: 2 tests pass" in settled.item.detail
    assert backlog.status().counts[State.CANCELLED] == 3
    assert backlog.cancel() == 0
    assert backlog.reopen() == 3
    assert kinds(backlog, "a") == ["claimed", "withdrawn", "settled", "reopened"]
    assert {took(backlog.claim("w", 60.0)).item.key for _ in "abc"} == {"a", "b", "c"}
    with pytest.raises(errors.BacklogClosed, match="a is running"):
        backlog.reopen("a")
    with pytest.raises(errors.NotFound):
        backlog.cancel("z")


def test_items_and_events_are_listed_in_pages(backlog: Backlog) -> None:
    backlog.add(new(f"k{number}") for number in range(450))
    assert [item.key for item in backlog.each()] == [f"k{number}" for number in range(450)]
    page = backlog.items(limit=10)
    assert [item.key for item in backlog.items(after=page[-1].id, limit=2)] == ["k10", "k11"]
    assert backlog.cancel() == 450
    assert list(backlog.each(states=[State.QUEUED])) == []
    first = backlog.events(limit=300)
    rest = backlog.events(after=first[-1].id, limit=300)
    assert [event.key for event in first + rest] == [f"k{number}" for number in range(450)]
    assert [item.number for item in backlog.items(key="k7")] == [1]


def test_a_backlog_that_is_removed_leaves_nothing(backlog: Backlog) -> None:
    backlog.add([new("a")])
    backlog.save_cursor("s", "2")
    backlog.begin_effect("e")
    lease = took(backlog.claim("w", 60.0))
    with pytest.raises(errors.BacklogClosed, match="a is running"):
        backlog.remove()
    backlog.settle(lease, SOLVED)
    backlog.remove()
    assert Backlog.all(backlog._store) == []
    for call in (
        backlog.info,
        backlog.status,
        lambda: backlog.claim("w"),
        lambda: backlog.settle(lease, SOLVED),
    ):
        with pytest.raises(errors.NotFound):
            call()


def test_a_lease_must_last() -> None:
    with Store.open(":memory:") as store:
        backlog = Backlog.create(store, "b")
        for lease_s in (0.0, -1.0, float("nan")):
            with pytest.raises(ValueError, match="longer than 0"):
                backlog.claim("w", lease_s)
        assert isinstance(backlog.claim("w"), Idle)
