"""The store keeps what it is given, in order, and finds it again."""

import os
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from memory.errors import Ambiguous, NotFound, RepoBusy
from memory.records import (
    Action,
    ActionEnded,
    ActionStarted,
    Applied,
    Check,
    CheckRan,
    CheckResult,
    Completed,
    Completion,
    Evaluation,
    Malformed,
    Message,
    Noted,
    Observation,
    Plan,
    PlanMade,
    PlanStep,
    Prompted,
    RunEnded,
    RunStarted,
    Searched,
    Status,
    Stop,
    Task,
    Usage,
    UserActed,
    Verdict,
)
from memory.store import Store, new_run_id
from tests.store_kit import anything, as_stored, json_values

ROOT = Path(__file__).parent.parent
TASK = Task(
    id="t1", prompt="make gcd right", repo="/src/maths", checks=(Check(name="pytest", command="pytest"),)
)
ANSWER = Completion(
    text="edit gcd.py",
    token_ids=(1, 2, 3),
    finish_reason="stop",
    usage=Usage(prompt_tokens=100, cached_tokens=80, completion_tokens=3, prompt_ms=1.5),
)
PLAN = Plan(steps=(PlanStep(goal="swap the arguments", check="pytest"),))
RESULT = CheckResult(check="pytest", status=Status.OK, exit_code=0, passed=True, tests_passed=4)
ACTION = Action(id="a1", tool="edit", arguments={"path": "gcd.py", "lines": [1, 2], "fast": True})
SEEN = Observation(action_id="a1", status=Status.OK, output="done")
VERDICT = Verdict(evaluation=Evaluation(results=(RESULT,), reward=1.0, accepted=True), diff_sha256="d" * 64)

ONE_OF_EACH = (
    CheckRan(purpose="gather", result=RESULT),
    PlanMade(plan=PLAN),
    Prompted(purpose="act", messages=(Message(role="user", content="go"),), tokens=100),
    Completed(purpose="act", completion=ANSWER),
    ActionStarted(step=1, action=ACTION),
    ActionEnded(step=1, observation=SEEN),
    Malformed(step=2, reason="no such tool"),
    Searched(strategy="infill", place="gcd.py:5", candidates=3, executed=2, passed=1),
    VERDICT,
    UserActed(action="accept", seconds=2.5),
    Applied(paths=("gcd.py",), diff_sha256="d" * 64),
    Noted(level="warning", text="the sandbox was replaced"),
    RunEnded(stop=Stop.ACCEPTED, exit_code=0, seconds=9.5),
)


@pytest.fixture
def store(place: Path | str) -> Iterator[Store]:
    with Store.open(place) as opened:
        yield opened


def test_every_kind_of_event_comes_back_in_order_from_a_new_store(place: Path | str) -> None:
    with Store.open(place) as first:
        run_id = first.start_run(TASK, "qwen", "0.1.0")
        written = [first.append(run_id, payload) for payload in ONE_OF_EACH]
    with Store.open(place) as second:
        start, *rest = second.events(run_id)
    assert start.payload == RunStarted(task=TASK, adi_version="0.1.0", model="qwen")
    assert rest == written
    assert [event.seq for event in (start, *rest)] == list(range(1, len(ONE_OF_EACH) + 2))
    assert tuple(event.payload for event in rest) == ONE_OF_EACH


def test_the_summary_follows_the_events(store: Store) -> None:
    run_id = store.start_run(TASK, "qwen", "0.1.0")
    running = store.run(run_id)
    assert (running.alive, running.stop, running.ended, running.prompt) == (True, None, "", TASK.prompt)
    for payload in (*ONE_OF_EACH[:4], Completed(purpose="plan", completion=ANSWER), *ONE_OF_EACH[4:]):
        store.append(run_id, payload)
    ended = store.run(run_id)
    assert (ended.prompt_tokens, ended.cached_tokens, ended.completion_tokens) == (200, 160, 6)
    assert (ended.alive, ended.stop, ended.applied, ended.seconds) == (False, Stop.ACCEPTED, True, 9.5)
    assert ended.diff_sha256 == "d" * 64


def test_the_trajectory_pairs_actions_and_leaves_out_the_unfinished_one(store: Store) -> None:
    run_id = store.start_run(TASK)
    for payload in (*ONE_OF_EACH[:7], VERDICT, ActionStarted(step=3, action=ACTION)):
        store.append(run_id, payload)
    found = store.trajectory(run_id)
    assert (found.task, found.plan, found.evaluation, found.stop) == (TASK, PLAN, VERDICT.evaluation, None)
    assert [(step.index, step.action) for step in found.steps] == [(1, ACTION), (2, None)]
    assert found.steps[0].completion == ANSWER
    assert found.steps[1].observation.output == "no such tool"


def test_runs_are_newest_first_and_found_by_a_short_id(store: Store) -> None:
    ids = [store.start_run(TASK.model_copy(update={"repo": repo})) for repo in ("/a", "/b", "/a")]
    assert sorted(ids, reverse=True) == sorted((run.id for run in store.runs()), reverse=True)
    assert {run.id for run in store.runs("/a")} == {ids[0], ids[2]}
    assert len(store.runs(limit=2)) == 2
    assert store.run(ids[1]).id == store.run(ids[1].split("-")[1]).id == ids[1]
    with pytest.raises(Ambiguous) as shared:
        store.run(ids[0][:6])
    assert set(shared.value.matches) == set(ids)
    for wrong in ("nothing", "", "%", "_" * 6):
        with pytest.raises(NotFound):
            store.run(wrong)


def test_ids_sort_by_time_and_differ() -> None:
    start = datetime(2026, 11, 23, 23, 59, 58, tzinfo=UTC)
    ids = [new_run_id(start + timedelta(seconds=seconds / 5)) for seconds in range(20)]
    assert ids == sorted(ids)
    assert ids[0].startswith("261123-")
    assert ids[-1].startswith("261124-")
    assert len(set(ids)) == 20


def test_pending_and_applied_follow_review_and_undo(store: Store) -> None:
    repo = TASK.repo
    first, second = store.start_run(TASK), store.start_run(TASK)
    applied = Applied(paths=("gcd.py",), diff_sha256="d" * 64)
    for run_id in (first, second):
        store.append(run_id, RunEnded(stop=Stop.PENDING, exit_code=4))
    assert {run.id for run in store.pending(repo)} == {first, second}
    assert store.last_applied(repo) is None
    store.append(first, applied)
    store.append(first, RunEnded(stop=Stop.ACCEPTED, exit_code=0))
    store.append(second, RunEnded(stop=Stop.REJECTED, exit_code=3))
    assert store.pending(repo) == []
    last = store.last_applied(repo)
    assert last is not None
    assert last.id == first
    store.append(first, applied.model_copy(update={"undone": True}))
    assert store.last_applied(repo) is None
    assert store.pending(repo) == []


def test_artifacts_are_kept_once_by_hash(store: Store) -> None:
    patch = bytes(range(256)) * 10
    sha256 = store.put_artifact(patch)
    assert store.put_artifact(patch) == sha256
    assert store.artifact(sha256) == patch
    with pytest.raises(NotFound):
        store.artifact("0" * 64)


def test_unknown_runs_are_named(store: Store) -> None:
    for call in (
        lambda: store.append("none", Noted(text="x")),
        lambda: store.events("none"),
        lambda: store.trajectory("none"),
        lambda: store.claim_repo("/a", "none"),
    ):
        with pytest.raises(NotFound, match="no run none"):
            call()


def test_a_repository_is_held_by_one_run_until_it_ends(store: Store) -> None:
    first, second = store.start_run(TASK), store.start_run(TASK)
    store.claim_repo(TASK.repo, first)
    store.claim_repo(TASK.repo, first)
    with pytest.raises(RepoBusy, match=first) as refused:
        store.claim_repo(TASK.repo, second)
    assert (refused.value.run_id, refused.value.pid) == (first, os.getpid())
    store.release(TASK.repo, second)
    with pytest.raises(RepoBusy):
        store.claim_repo(TASK.repo, second)
    store.append(first, RunEnded(stop=Stop.FAILED, exit_code=3))
    store.claim_repo(TASK.repo, second)
    store.release(TASK.repo, second)
    store.claim_repo(TASK.repo, first)


@given(text=anything, path=anything, arguments=st.dictionaries(anything, json_values, max_size=3))
@settings(max_examples=60, deadline=None)
def test_any_text_survives(text: str, path: str, arguments: dict[str, object]) -> None:
    with Store.open(":memory:") as store:
        task = Task(id="t", prompt=text, repo=path)
        run_id = store.start_run(task)
        action = ActionStarted(step=1, action=Action(id="a", tool=text, arguments=arguments))
        store.append(run_id, action)
        started, acted = store.events(run_id)
        found = store.runs(path)
    assert started.payload == RunStarted(
        task=Task(id="t", prompt=str(as_stored(text)), repo=str(as_stored(path))), adi_version=""
    )
    assert acted.payload.model_dump() == as_stored(action.model_dump())
    assert [(run.prompt, run.repo) for run in found] == [(as_stored(text), as_stored(path))]


@pytest.mark.parametrize(
    "text", ["\ud800", "\udcff name", "a\x00b", "line\u2028sep", '"quoted"', "", "\U0001f600"]
)
def test_awkward_text_survives_everywhere(store: Store, text: str) -> None:
    run_id = store.start_run(Task(id="t", prompt=text, repo=text))
    store.append(run_id, Noted(text=text))
    store.append(run_id, Verdict(evaluation=Evaluation(), diffstat=text))
    store.claim_repo(text, run_id)
    assert store.events(run_id)[1].payload == Noted(text=text)
    (run,) = store.runs(text)
    assert (run.repo, run.prompt, run.diffstat) == (text, text, text)
    with pytest.raises(RepoBusy):
        store.claim_repo(text, store.start_run(TASK))
