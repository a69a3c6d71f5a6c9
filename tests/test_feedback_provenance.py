"""Case L05: rows that were forged, edited or replayed are found, and every honest run passes."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from feedback import provenance
from feedback.harvest import Harvest, harvests
from feedback.provenance import audit
from memory.records import (
    Applied,
    CheckRan,
    Completed,
    Event,
    Learned,
    Noted,
    Payload,
    RunEnded,
    RunStarted,
    Searched,
    Stop,
    Survival,
    Survived,
    UserActed,
    Verdict,
)
from memory.store import Store
from memory.survivals import record
from tests.harvest_kit import (
    BEGIN,
    Story,
    auto_accepted,
    edited,
    failed,
    lived,
    no_tests,
    pending,
    rejected,
    sha_of,
    solved_by_hand,
    stamp,
    undone,
    worked,
)

NOW = BEGIN + timedelta(days=60)


def problem(harvest: Harvest, now: datetime = NOW) -> str:
    """What the audit says of one run; empty where it is sound."""
    return audit([harvest], now).get(harvest.run_id, "")


def forged(harvest: Harvest, change: Callable[[list[Payload]], Sequence[Payload]]) -> Harvest:
    """The run with other payloads, numbered anew and at the times of the old ones."""
    payloads = change([event.payload for event in harvest.events])
    last = harvest.events[-1]
    times = [*(event.at for event in harvest.events), *[last.at] * len(payloads)]
    events = [
        Event(run_id=harvest.run_id, seq=number + 1, at=times[number], payload=payload)
        for number, payload in enumerate(payloads)
    ]
    return replace(harvest, events=tuple(events))


def without(kind: type[Payload]) -> Callable[[list[Payload]], list[Payload]]:
    return lambda payloads: [payload for payload in payloads if not isinstance(payload, kind)]


def test_feedback_l05_honest_runs_pass() -> None:
    told = [solved_by_hand, rejected, edited, undone, auto_accepted, no_tests, failed, pending]
    runs = [story(run_id=f"261123-abc{number}") for number, story in enumerate(told)]
    runs.append(solved_by_hand(run_id="261123-old", survivals=(lived(1, 2), lived(7, 2))))
    assert audit(runs, NOW) == {}


def test_feedback_l05_what_happens_after_the_end_of_a_run_passes() -> None:
    story = worked()
    story.tell(UserActed(action="defer", detail="no person was there to decide"))
    story.ended(Stop.PENDING)
    story.tell((300.0, UserActed(action="next", detail="and the tests", seconds=300.0)))
    again = next(event.payload for event in story.harvest().events if isinstance(event.payload, Verdict))
    story.tell((600.0, again), UserActed(action="view-diff"), UserActed(action="edit-diff"))
    story.judged()
    story.accepted()
    story.tell(Noted(text="git's filter runs when you add it"))
    story.tell(Learned(lesson_id="l", claim="c", stance="new"))
    story.ended(Stop.ACCEPTED)
    story.tell((90_000.0, Survived(survival=lived(1, 2))))
    story.tell(
        UserActed(action="undo"), Applied(undone=True, paths=("gcd.py",), diff_sha256=sha_of(story.diff))
    )
    assert problem(story.harvest()) == ""


def test_feedback_l05_a_cancelled_plan_is_no_decision_without_a_verdict() -> None:
    story = Story()
    story.began()
    story.tell(UserActed(action="reject", detail="plan", seconds=4.0))
    assert problem(story.ended(Stop.REJECTED)) == ""


def test_feedback_l05_a_run_that_died_after_applying_is_told_so_later() -> None:
    story = worked()
    story.tell(UserActed(action="accept", seconds=2.0))
    story.tell((86_400.0, Applied(paths=("gcd.py",), diff_sha256=sha_of(story.diff))))
    assert problem(story.ended(Stop.ACCEPTED)) == ""


def test_feedback_l05_rows_of_a_store_pass_and_edited_ones_do_not(tmp_path: Path) -> None:
    told = solved_by_hand()
    with Store.open(tmp_path / "adi.db") as store:
        run_id = store.start_run(told.task, "qwen", "0.1.0")
        store.put_artifact(told.diff.encode())
        for event in told.events[1:]:
            store.append(run_id, event.payload)
        record(store, Survival(run_id=run_id, days=1, kept=2, edited=0, reverted=0))
        (read,) = harvests(store)
    now = datetime.now(UTC)
    assert audit([read], now) == {}
    assert audit([read], now - timedelta(days=1)) == {run_id: provenance.FUTURE}
    later = replace(told, events=replayed(told, told.run_id, 9_000).events)
    assert audit([later, read], now + timedelta(days=9_999)) == {told.run_id: provenance.REPLAYED}


EVENTS = solved_by_hand().events
VERDICT = next(event.payload for event in EVENTS if isinstance(event.payload, Verdict))


@pytest.mark.parametrize(
    ("why", "events"),
    [
        (provenance.GAP, EVENTS[:5] + EVENTS[6:]),
        (provenance.GAP, EVENTS[1:]),
        (provenance.GAP, (*EVENTS[:3], EVENTS[4], EVENTS[3], *EVENTS[5:])),
        (provenance.GAP, (*EVENTS, EVENTS[-1])),
        (provenance.GAP, (*EVENTS[:-1], EVENTS[-1].model_copy(update={"run_id": "261123-other"}))),
        (provenance.CLOCK, (*EVENTS[:-1], EVENTS[-1].model_copy(update={"at": "yesterday"}))),
        (provenance.CLOCK, (*EVENTS[:-1], EVENTS[-1].model_copy(update={"at": "2026-11-23T03:01:00.000"}))),
        (provenance.FUTURE, (*EVENTS[:-1], EVENTS[-1].model_copy(update={"at": "2036-11-23T03:01:00.000Z"}))),
        (provenance.BACK, (*EVENTS[:-1], EVENTS[-1].model_copy(update={"at": "2026-11-23T01:01:00.000Z"}))),
    ],
)
def test_feedback_l05_edited_rows_are_found(why: str, events: tuple[Event, ...]) -> None:
    assert problem(replace(solved_by_hand(), events=events)) == why


def test_feedback_l05_a_clock_may_be_set() -> None:
    set_back = EVENTS[-1].model_copy(update={"at": stamp(BEGIN - timedelta(minutes=10))})
    harvest = replace(solved_by_hand(), events=(*EVENTS[:-1], set_back))
    assert problem(harvest) == ""
    assert problem(harvest, BEGIN - timedelta(minutes=10)) == ""


def test_feedback_l05_a_start_that_is_there_twice_is_found() -> None:
    assert problem(forged(solved_by_hand(), lambda told: [*told[:4], told[0], *told[4:]])) == provenance.GAP


@pytest.mark.parametrize("action", ["accept", "reject", "edit-diff", "view-diff", "defer", "auto-accept"])
def test_feedback_l05_a_decision_without_a_verdict_is_found(action: str) -> None:
    decided = UserActed.model_validate({"kind": "user-acted", "action": action})
    before = forged(solved_by_hand(), lambda told: [*told[:5], decided, *told[5:]])
    assert problem(before) == provenance.UNJUDGED
    later = forged(pending(), lambda told: [*told, decided])
    assert problem(later) == provenance.UNJUDGED


def test_feedback_l05_an_acceptance_of_what_failed_by_evidence_alone_is_found() -> None:
    story = worked(fails=1)
    story.accepted(by="auto-accept")
    assert problem(story.ended(Stop.ACCEPTED)) == provenance.CONTRADICTED


def test_feedback_l05_a_change_that_nobody_decided_on_is_found() -> None:
    assert problem(forged(solved_by_hand(), without(UserActed))) == provenance.UNDECIDED


def test_feedback_l05_a_patch_that_no_verdict_names_is_found() -> None:
    harvest = solved_by_hand()
    other = Applied(paths=("gcd.py",), diff_sha256=sha_of("other"))
    swapped = forged(harvest, lambda told: [other if isinstance(each, Applied) else each for each in told])
    assert problem(swapped) == provenance.UNNAMED
    assert problem(forged(pending(), lambda told: [*told, other])) == provenance.UNNAMED


def test_feedback_l05_patches_that_are_missing_or_changed_are_found() -> None:
    harvest = solved_by_hand()
    assert problem(replace(harvest, patches={})) == provenance.MISSING
    (name,) = harvest.patches
    changed = harvest.patches[name].replace(b"rest", b"tail")
    assert problem(replace(harvest, patches={name: changed})) == provenance.FORGED


def test_feedback_l05_an_undo_of_nothing_is_found() -> None:
    assert problem(forged(rejected(), lambda told: [*told, UserActed(action="undo")])) == provenance.UNAPPLIED
    back = Applied(undone=True, paths=("gcd.py",), diff_sha256=sha_of("other"))
    assert problem(forged(solved_by_hand(), lambda told: [*told, back])) == provenance.UNAPPLIED


@pytest.mark.parametrize("kind", [Completed, Searched, CheckRan, RunStarted])
def test_feedback_l05_work_after_the_end_is_found(kind: type[Payload]) -> None:
    harvest = solved_by_hand()
    again = next(event.payload for event in harvest.events if isinstance(event.payload, kind))
    why = provenance.GAP if kind is RunStarted else provenance.LATE
    assert problem(forged(harvest, lambda told: [*told, again])) == why


def changed_verdict(**told: object) -> Harvest:
    """A run whose verdict was written over."""
    evaluation = VERDICT.evaluation.model_copy(update=told)
    verdict = VERDICT.model_copy(update={"evaluation": evaluation})
    return forged(
        solved_by_hand(), lambda all_: [verdict if isinstance(each, Verdict) else each for each in all_]
    )


@pytest.mark.parametrize(
    "told",
    [
        {"reward": 0.5},
        {"changed_tests": ("tests/test_gcd.py",)},
        {"deleted_tests": ("tests/test_gcd.py",)},
        {"protected": (".github/workflows/ci.yml",)},
        {"results": (), "reward": 0.0},
    ],
)
def test_feedback_l05_a_verdict_that_contradicts_itself_is_found(told: dict[str, object]) -> None:
    assert problem(changed_verdict(**told)) == provenance.CONTRADICTED


def test_feedback_l05_a_verdict_that_its_checks_did_not_give_is_found() -> None:
    better = VERDICT.evaluation.results[0].model_copy(update={"tests_passed": 99})
    assert problem(changed_verdict(results=(better,))) == provenance.UNCHECKED
    assert problem(forged(solved_by_hand(), without(CheckRan))) == provenance.UNCHECKED


def test_feedback_l05_an_accepted_verdict_whose_checks_fail_is_found() -> None:
    harvest = failed()

    def better(payload: Payload) -> Payload:
        if not isinstance(payload, Verdict):
            return payload
        return payload.model_copy(
            update={"evaluation": payload.evaluation.model_copy(update={"accepted": True})}
        )

    assert problem(harvest) == ""
    assert problem(forged(harvest, lambda told: [better(each) for each in told])) == provenance.CONTRADICTED


def test_feedback_l05_a_check_that_fails_as_before_may_stand_in_an_accepted_verdict() -> None:
    story = Story()
    story.began()
    plain = story.result(1).model_copy(update={"check": "lint"})
    before, after = plain, plain.model_copy(update={"duration_s": 0.75})
    mended = story.result(0)
    evaluation = VERDICT.evaluation.model_copy(update={"results": (mended, after), "reward": 0.5})
    story.patches |= {sha_of(story.diff): story.diff.encode()}
    verdict = VERDICT.model_copy(update={"evaluation": evaluation})
    ran = [CheckRan(purpose="verdict", result=result) for result in (mended, after)]
    story.tell(CheckRan(purpose="gather", result=before), *ran, verdict)
    assert problem(story.ended(Stop.PENDING)) == ""
    del story.payloads[-5]
    assert problem(story.harvest()) == provenance.CONTRADICTED  # nothing tells that it failed before


def test_feedback_l05_a_fate_of_lines_that_were_never_applied_is_found() -> None:
    assert problem(rejected(survivals=(lived(1, 2),))) == provenance.UNLIVED


def replayed(harvest: Harvest, run_id: str, days: float, prompt: str = "") -> Harvest:
    """The same log under another id and other times, and for another task."""
    moved = timedelta(days=days)
    events = list[Event]()
    for event in harvest.events:
        payload = event.payload
        if prompt and isinstance(payload, RunStarted):
            payload = payload.model_copy(update={"task": payload.task.model_copy(update={"prompt": prompt})})
        at = stamp(datetime.fromisoformat(event.at) + moved)
        events.append(Event(run_id=run_id, seq=event.seq, at=at, payload=payload))
    return replace(harvest, run_id=run_id, events=tuple(events))


@pytest.mark.parametrize("prompt", ["", "make lcm right"])
def test_feedback_l05_a_replayed_log_is_found(prompt: str) -> None:
    harvest = solved_by_hand()
    copies = [replayed(harvest, f"261124-copy{number}", 1 + number, prompt) for number in range(3)]
    longer = forged(copies[0], lambda told: [*told, UserActed(action="next", detail="more")])
    assert audit([*copies[1:], harvest, longer], NOW) == {copy.run_id: provenance.REPLAYED for copy in copies}
    other = solved_by_hand(run_id="261124-again", at=BEGIN + timedelta(days=1))
    assert audit([harvest, other], NOW) == {}  # the same task again takes another time


def test_feedback_l05_runs_that_died_at_once_are_no_replay_of_each_other() -> None:
    started = solved_by_hand().events[0].payload
    died = RunEnded(stop=Stop.KILLED, exit_code=137)
    runs = [
        replace(forged(solved_by_hand(run_id=name), lambda _: [started, died]), patches={})
        for name in ("a", "b")
    ]
    assert audit(runs, NOW) == {}


def test_feedback_l05_a_run_that_is_there_twice_is_found() -> None:
    harvest = solved_by_hand()
    assert audit([harvest, harvest], NOW) == {harvest.run_id: provenance.TWICE}
