"""Labels: gold, silver, negative and none, the reward and where it comes from."""

import pytest

from feedback.candidate import Flag
from feedback.labels import label
from memory.records import (
    Applied,
    Check,
    CheckAdded,
    CheckRan,
    Evaluation,
    RunEnded,
    RunStarted,
    Status,
    Stop,
    Task,
    UserActed,
    Verdict,
)
from tests.harvest_kit import (
    Story,
    auto_accepted,
    edited,
    failed,
    harvest_of,
    lived,
    no_tests,
    pending,
    rejected,
    solved_by_hand,
    undone,
    worked,
)

FLAG = Flag(rule="tests-edited", where="tests/test_gcd.py", evidence="assert gcd(4, 6) == 2")


def test_gold_is_tested_and_accepted_by_a_person() -> None:
    told = label(solved_by_hand(survivals=(lived(1, 2), lived(7, 1, edited=1))), ())
    assert told.grade == "gold"
    assert told.why == "Its tests pass, and a person accepted it."
    assert told.components == {"tests": 1.0, "human": 1.0, "survival": 0.5}
    assert told.reward == pytest.approx((1.0 + 2 * 1.0 + 0.0) / 4)


def test_an_edited_change_is_gold_and_worth_less() -> None:
    told = label(edited(), ())
    assert (told.grade, told.components) == ("gold", {"tests": 1.0, "human": 0.5})
    assert told.reward == pytest.approx((1.0 + 2 * 0.5) / 3)


def test_silver_is_accepted_without_tests_or_tested_without_a_person() -> None:
    assert label(no_tests(), ()).grade == "silver"
    told = label(auto_accepted(), ())
    assert (told.grade, told.components, told.reward) == ("silver", {"tests": 1.0}, 1.0)


def test_evidence_alone_and_no_test_is_nothing() -> None:
    story = Story(check=Check(name="build", command="make"))
    story.began(failed=1)
    story.judged()
    story.accepted(by="auto-accept")
    assert label(story.ended(Stop.ACCEPTED), ()).grade == "none"


def test_rejected_and_undone_are_negative_whatever_the_tests_say() -> None:
    for harvest in (rejected(), undone()):
        told = label(harvest, ())
        assert told.grade == "negative"
        assert told.components == {"tests": 1.0, "human": -1.0}
        assert told.reward == pytest.approx((1.0 - 2.0) / 3)


def test_failing_checks_are_negative_and_tell_how_far_it_came() -> None:
    told = label(failed(), ())
    assert (told.grade, told.components, told.reward) == ("negative", {"tests": 0.5}, 0.0)


def test_a_person_who_took_what_fails_does_not_make_it_good() -> None:
    story = worked(fails=1)
    story.accepted()
    told = label(story.ended(Stop.ACCEPTED), ())
    assert (told.grade, told.reward) == ("negative", 0.0)


@pytest.mark.parametrize(
    ("fate", "grade"),
    [
        (lived(7, 2, reverted=3), "negative"),
        (lived(7, 2, reverted=2), "gold"),
        (lived(7, 0, edited=4), "gold"),
    ],
)
def test_lines_that_did_not_last_are_negative_at_the_latest_age(fate: object, grade: str) -> None:
    told = label(solved_by_hand(survivals=(lived(1, 4), fate)), ())  # type: ignore[arg-type]
    assert told.grade == grade
    assert told.reward is not None
    assert (told.reward <= 0) == (grade == "negative")


def test_early_losses_do_not_count_where_later_ages_know_better() -> None:
    assert label(solved_by_hand(survivals=(lived(1, 0, reverted=4), lived(7, 4))), ()).grade == "gold"


def test_a_flag_is_never_gold_and_never_rewarded() -> None:
    for harvest in (solved_by_hand(), edited(), no_tests(), auto_accepted()):
        told = label(harvest, (FLAG, FLAG))
        assert (told.grade, told.flags) == ("negative", (FLAG, FLAG))
        assert told.why == "It was accepted, and it is flagged: tests-edited."
        assert told.reward is not None
        assert told.reward <= 0
    assert label(pending(), (FLAG,)).grade == "none"
    assert label(rejected(), (FLAG,)).why == "A person rejected it."


def test_nothing_is_known_of_what_nobody_judged() -> None:
    assert label(pending(), ()).why == "It waits for a person."
    for stop in (Stop.ENVIRONMENT, Stop.INTERRUPTED, Stop.ERROR, Stop.KILLED):
        told = label(worked(fails=1).ended(stop), ())
        assert told.grade == "none"
    story = Story()
    story.began()
    told = label(story.ended(Stop.NOTHING_TO_DO), ())
    assert (told.grade, told.components, told.reward) == ("none", {}, None)


def test_a_result_that_waits_is_not_failed_yet() -> None:
    story = worked(fails=1)
    story.tell(UserActed(action="defer", detail="left open by the person"))
    assert label(story.ended(Stop.PENDING), ()).grade == "none"


def test_a_change_that_never_reached_the_tree_is_not_gold() -> None:
    story = worked()
    story.tell(UserActed(action="accept", seconds=3.0))
    told = label(story.ended(Stop.CONFLICT), ())
    assert (told.grade, told.why) == ("none", "It was accepted and never reached the tree.")


def test_a_change_that_was_broken_off_before_its_verdict_is_not_failed() -> None:
    story = Story()
    story.began()
    story.tell(Verdict(evaluation=Evaluation(detail="the work was broken off before it was judged")))
    assert label(story.ended(Stop.BUDGET), ()).grade == "none"


def test_accepted_after_a_review_outweighs_an_earlier_undo() -> None:
    story = worked()
    story.accepted()
    story.ended(Stop.ACCEPTED)
    story.tell(UserActed(action="undo"), Applied(undone=True, paths=("gcd.py",), diff_sha256="d"))
    story.judged()
    story.accepted()
    assert label(story.ended(Stop.ACCEPTED), ()).grade == "gold"


def test_where_nothing_failed_before_passing_tests_are_enough() -> None:
    story = Story()
    story.began(failed=0)
    story.mended()
    story.judged()
    story.accepted()
    assert label(story.ended(Stop.ACCEPTED), ()).grade == "gold"


LINT = Check(name="lint", command="ruff check")


def two_checks(before: tuple[bool, bool], after: tuple[bool, bool], **told: object) -> object:
    """A run with tests and a linter, which passed so before and after; a person accepted it."""
    story = Story()
    tests = (story.result(0 if before[0] else 1), story.result(0 if after[0] else 1))
    plain = Story(check=LINT)
    lint = (plain.result(0 if before[1] else 1), plain.result(0 if after[1] else 1))
    task = Task(id="t", prompt="p", repo="/r", checks=(story.check, LINT))
    evaluation = Evaluation.model_validate({"results": (tests[1], lint[1]), "reward": sum(after) / 2, **told})
    return label(
        harvest_of(
            [
                RunStarted(task=task, adi_version="1"),
                CheckRan(purpose="gather", result=tests[0]),
                CheckRan(purpose="gather", result=lint[0]),
                Verdict(evaluation=evaluation, diff_sha256="d"),
                UserActed(action="accept"),
                Applied(paths=("a.py",), diff_sha256="d"),
                RunEnded(stop=Stop.ACCEPTED, exit_code=0),
            ]
        ),
        (),
    )


@pytest.mark.parametrize(
    ("before", "after", "told", "grade", "tests"),
    [
        ((False, True), (True, True), {}, "gold", 1.0),
        ((True, False), (True, True), {}, "gold", 1.0),  # no test failed, and they pass
        ((False, False), (True, False), {"accepted": True}, "gold", 0.5),  # the linter fails as before
        ((False, False), (False, True), {"accepted": True}, "silver", 0.5),  # no test shows it
        ((False, True), (True, False), {}, "negative", 0.0),  # the linter passed before
        ((False, True), (True, False), {"disputed_tests": ("t",)}, "gold", 1.0),  # a person agreed with it
    ],
)
def test_several_checks(
    before: tuple[bool, bool], after: tuple[bool, bool], told: dict[str, object], grade: str, tests: float
) -> None:
    found = two_checks(before, after, **told)
    assert (found.grade, found.components["tests"]) == (grade, tests)  # type: ignore[attr-defined]


def test_a_test_that_the_model_wrote_itself_proves_nothing() -> None:
    story = Story(check=Check(name="own test", command="pytest -q", kind="pytest", origin="written"))
    story.began()
    story.judged()
    story.accepted()
    told = label(story.ended(Stop.ACCEPTED), ())
    assert (told.grade, told.components) == ("silver", {"human": 1.0})
    added = Story(check=Check(name="own test", command="pytest -q", kind="pytest"))
    added.began()
    added.tell(CheckAdded(check=story.check))
    added.judged()
    added.accepted()
    assert label(added.ended(Stop.ACCEPTED), ()).grade == "silver"


def test_a_lost_machine_is_no_failing_check() -> None:
    story = Story()
    story.began()
    lost = story.result(0).model_copy(update={"passed": False, "status": Status.DISK_FULL})
    story.tell(Verdict(evaluation=Evaluation(results=(lost,)), diff_sha256="d"))
    told = label(story.ended(Stop.FAILED), ())
    assert (told.grade, told.components) == ("none", {})
