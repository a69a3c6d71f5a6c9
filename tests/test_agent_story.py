"""What a run's events add up to, and the sentences about where it went wrong."""

import io

import pytest

from agent.display import Display, make_console
from agent.display_story import story_head
from agent.story import PHASES, told
from agent.story_wrong import ENDED, went_wrong
from memory.records import (
    Applied,
    CheckRan,
    CheckResult,
    Evaluation,
    Payload,
    Recalled,
    RunEnded,
    Searched,
    Status,
    Stop,
    Survival,
    Survived,
    UserActed,
    Verdict,
)
from tests.story_kit import (
    Timed,
    answered,
    asked,
    did,
    events,
    gathered,
    plan,
    result,
    solved,
    started,
    stuck,
)


def seconds(story: list[Timed]) -> dict[str, float]:
    return {phase.name: round(phase.seconds, 3) for phase in told(events(story)).phases}


def end(stop: Stop, detail: str = "") -> RunEnded:
    return RunEnded(stop=stop, exit_code=3, detail=detail)


def test_time_and_tokens_go_to_the_part_that_used_them() -> None:
    story = told(solved())
    assert {phase.name: round(phase.seconds, 3) for phase in story.phases} == {
        "start": 2.0, "gather": 4.0, "plan": 4.5, "wait": 28.0, "search": 4.2, "verdict": 1.1,
    }  # fmt: skip
    assert [phase.name for phase in story.phases] == [name for name in PHASES if name != "act"]
    tokens = {
        phase.name: (phase.calls, phase.new_tokens, phase.cached_tokens, phase.written_tokens)
        for phase in story.phases
        if phase.calls
    }
    assert tokens == {"plan": (1, 200, 1000, 40), "search": (1, 200, 1000, 40)}
    assert round(story.seconds, 3) == 43.8
    ends = [round(segment.begin + segment.seconds, 3) for segment in story.segments]
    assert ends == sorted(ends)
    assert ends[-1] == 43.8
    assert story.solved
    assert story.wrong == ()


def test_weeks_between_a_run_and_what_came_later_are_not_its_time() -> None:
    later: list[Timed] = [
        (0.0, started()),
        (1.0, CheckRan(purpose="gather", result=result(1))),
        (1.0, end(Stop.PENDING)),
        (90_000.0, Verdict(evaluation=Evaluation(accepted=True))),
        (5.0, UserActed(action="accept", seconds=4.0)),
        (1.0, Applied(paths=("a",), diff_sha256="d")),
        (0.0, end(Stop.ACCEPTED)),
        (90_000.0, UserActed(action="undo")),
        (90_000.0, Applied(undone=True, paths=("a",), diff_sha256="d")),
        (90_000.0, Survived(survival=Survival(run_id="r", days=1, kept=0, edited=0, reverted=1))),
    ]
    assert seconds(later) == {"gather": 2.0, "verdict": 2.0, "wait": 4.0}
    dead: list[Timed] = [(0.0, started()), (1.0, plan()), (90_000.0, end(Stop.KILLED))]
    assert seconds(dead) == {"plan": 1.0}
    assert seconds([(0.0, started()), (-50.0, plan()), (1.0, end(Stop.FAILED))]) == {"plan": 1.0}


def test_a_plan_that_was_read_is_waiting_only_where_a_person_was_there() -> None:
    ran = CheckRan(purpose="candidate", result=result(1))
    story: list[Timed] = [(0.0, started()), (1.0, plan()), (9.5, ran)]
    assert seconds(story) == {"plan": 1.0, "search": 9.5}
    person = (2.0, UserActed(action="reject", seconds=2.0))
    assert seconds([*story, person]) == {"plan": 1.0, "search": 0.5, "wait": 11.0}
    soon: list[Timed] = [(0.0, started()), (1.0, plan()), (2.0, asked("infill")), person]
    assert seconds(soon) == {"plan": 1.0, "search": 2.0, "wait": 2.0}


def test_a_test_of_adis_own_belongs_to_the_evidence_and_steps_to_what_they_check() -> None:
    own: list[Timed] = [
        (0.0, started()),
        (1.0, CheckRan(purpose="gather", result=result(0))),
        (0.0, asked("rewrite")),
        (2.0, answered("rewrite")),
        (1.0, CheckRan(purpose="candidate", result=result(1))),
        (0.0, plan()),
        (1.0, Searched(strategy="mutate", place="a.py:1", candidates=1, executed=1, passed=1)),
        *did(0, "edit"),
        (1.0, CheckRan(purpose="step", result=result(1))),
        (4.0, answered("act")),
        *did(1, "edit"),
        (1.0, CheckRan(purpose="step", result=result(0))),
    ]
    assert seconds(own) == {"gather": 4.0, "search": 3.0, "act": 6.0}


def test_the_search_is_summed_by_strategy_over_searches_that_count_anew() -> None:
    rows = [
        ("line", "a:1", 3, 2, 0),
        ("line", "a:2", 5, 3, 1),
        ("mutate", "a:1", 9, 8, 0),
        ("line", "a:2", 2, 1, 1),
    ]
    found = [
        Searched(strategy=strategy, place=place, candidates=written, executed=run, passed=passed)
        for strategy, place, written, run, passed in rows
    ]
    line, mutate = told(events((1.0, item) for item in found)).search
    assert (line.places, line.candidates, line.executed, line.passed) == (("a:1", "a:2"), 7, 4, ("a:2",))
    assert (mutate.candidates, mutate.executed, mutate.passed) == (4, 5, ())


def test_lessons_and_the_oldest_look_at_the_lines_are_told() -> None:
    story = told(solved())
    assert [lesson.why for lesson in story.recalled] == ["same error signature"]
    assert [(lesson.stance, lesson.why) for lesson in story.learned] == [("for", "its fix passed")]
    assert story.survival is not None
    assert (story.survival.days, story.survival.edited) == (7, 1)


def test_where_a_stuck_run_went_wrong() -> None:
    assert told(stuck()).wrong == (
        "pytest came furthest at 25.9 s, by the action edit gcd.py: 1 test of 2 still failed, "
        "and nothing improved in the 16.0 s after that.",
        "The last failing test was tests/test_gcd.py::test_gcd: RecursionError: assert 3 == 2.",
        "The search ran 1 candidate at 1 place; none passed.",
        "3 answers of the model were no action; the last: no tool was called.",
        "1 action repeated an earlier one and was not done; the last: run pytest.",
        "1 action was refused; the last, write .git/config: that file is protected.",
        "The verdict on a clean copy: pytest does not pass.",
        "A stop rule ended it: the last 3 answers of the model were no action.",
    )


def test_fewer_tests_that_ran_are_no_progress() -> None:
    broken = CheckResult(check="pytest", status=Status.NONZERO, passed=False, tests_failed=1)
    hung = CheckResult(check="pytest", status=Status.TIMEOUT, passed=False, tests_passed=1, tests_failed=1)
    for now in (broken, hung, result(2), result(3)):
        first, *_ = went_wrong(
            events([*gathered(), (1.0, CheckRan(purpose="candidate", result=now)), (0.0, end(Stop.FAILED))])
        )
        assert first == (
            "Nothing that was run brought pytest further than it was at the start: "
            "2 tests failed at the start, and never fewer."
        )


def test_a_candidate_that_passed_and_was_not_kept_is_told() -> None:
    sentences = went_wrong(
        events(
            [
                *gathered(),
                (1.0, CheckRan(purpose="candidate", result=result(0, 3))),
                (0.0, Searched(strategy="line", place="gcd.py:5", candidates=1, executed=1, passed=1)),
                (65.0, CheckRan(purpose="verdict", result=result(1, 2))),
                (0.0, end(Stop.BUDGET, "the run's limit of 60 s is reached")),
            ]
        )
    )
    assert sentences[0] == (
        "pytest came furthest at 19.5 s, by a candidate of the search: it passed, "
        "and nothing improved in the 1m05s after that."
    )
    assert "The search ran 1 candidate at 1 place; one passed at gcd.py:5." in sentences
    assert sentences[-1] == "It ended because its budget was spent: the run's limit of 60 s is reached."


@pytest.mark.parametrize(
    ("last", "rule"),
    [
        ([*did(9, "run", Status.REFUSED, summary="repeated")], "asked for the same action again and again"),
        ([*did(9, "edit")], "change after change left the check failing as it did before, or worse"),
    ],
)
def test_the_stop_rule_is_read_off_the_last_events(last: list[Timed], rule: str) -> None:
    *_, sentence = went_wrong(events([*gathered(), *last, (0.0, end(Stop.STUCK, "either"))]))
    assert sentence.endswith(f"{rule}.")


def test_a_run_without_an_end_says_what_it_was_doing_unless_it_lives() -> None:
    cut_off = events([*gathered(), (1.0, asked("act"))])
    assert told(cut_off).wrong[-1] == "It has no end: its process died while the model was answering."
    assert told(cut_off).wrong[0] == "pytest was not run again after the start."
    assert told(cut_off, alive=True).wrong == ()
    assert told([]).wrong == ("It has no end: its process died while it was at work.",)


@pytest.mark.parametrize("stop", list(Stop))
def test_every_end_has_its_sentence(stop: Stop) -> None:
    story = told(events([*gathered(), (0.0, end(stop, "because of this."))]))
    assert (story.wrong == ()) == (stop is Stop.ACCEPTED)
    assert (
        stop is Stop.ACCEPTED or stop is Stop.STUCK or story.wrong[-1] == f"{ENDED[stop]}: because of this."
    )
    if stop in (Stop.PENDING, Stop.REJECTED, Stop.NOTHING_TO_DO, Stop.CONFLICT):
        assert len(story.wrong) == 1


def test_lines_of_the_summary_fit_eighty_columns_and_are_inert() -> None:
    hostile = [*gathered(), (0.0, end(Stop.ERROR, "\x1b]0;t\x07\u202e"))]
    text = "\n".join(
        line.plain for story in (told(solved()), told(events(hostile))) for line in story_head(story)
    )
    assert "evidence            4.0 s  ██" in text
    assert "200 tokens in, 1,000 cached, 40 out" in text
    assert "Recalled: Swap the arguments of gcd  same error signature" in text
    assert "Confirmed: Swap the arguments of gcd  its fix passed" in text
    assert "After 7 days: 1 line kept, 1 edited, 0 reverted" in text
    assert "An unexpected error ended it: \\x1b]0;t\\x07\\u202e." in text
    assert "! This holds hidden or reordering characters" in text
    spending = [line.plain for line in story_head(told(solved())) if "█" in line.plain]
    assert max(map(len, spending)) <= 80


NEW: tuple[tuple[str, str], ...] = (
    ("observed", "• Watched pytest: 1 failing test of 2, lines of 1 file, 2 values"),
    ("recalled", "• Recalled 1 lesson: Swap the arguments of gcd (same error signature)"),
    ("learned", "• Confirmed: Swap the arguments of gcd (its fix passed)"),
    ("survived", "• After 1 day: 2 lines kept, 0 edited, 0 reverted"),
)


@pytest.mark.parametrize(("kind", "line"), NEW)
def test_new_events_are_one_line_and_quiet_unless_asked_for(kind: str, line: str) -> None:
    event = next(event for event in solved() if event.payload.kind == kind)
    drawn = []
    for options in ({}, {"verbosity": 1}, {"quiet": ()}):
        stream = io.StringIO()
        with Display(make_console(stream, "never", {}), heartbeat_s=0, **options) as display:  # type: ignore[arg-type]
            display.on_event(event)
        drawn.append(stream.getvalue())
    assert drawn == ["", f"{line}\n", f"{line}\n"]


def test_what_is_quiet_does_not_end_what_is_going_on() -> None:
    quiet: list[Payload] = [Recalled(lessons=())]
    stream = io.StringIO()
    with Display(make_console(stream, "never", {}), heartbeat_s=0) as display:
        for event in events((0.0, payload) for payload in quiet):
            display.on_event(event)
        display._beat()
    assert stream.getvalue().startswith("… Working")
