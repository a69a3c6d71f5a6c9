"""Which answers are targets of training, by what became of them."""

import pytest

from feedback import targets as masks
from feedback.harvest import Harvest
from feedback.targets import targets
from memory.records import (
    ActionEnded,
    Completed,
    Completion,
    Malformed,
    Message,
    Plan,
    PlanMade,
    PlanStep,
    Status,
    Stop,
    UserActed,
)
from tests.harvest_kit import EDITED, Story, edited, rejected, solved_by_hand

NEXT = "        return gcd(b, rest)"
"""The second line of the kit's change."""


def whys(harvest: Harvest, purpose: str) -> list[str]:
    """The reasons of one kind of call, in their order."""
    found = targets(harvest)
    return [found[call.seq] for call in harvest.calls if call.purpose == purpose]


def story(failed: int = 2) -> Story:
    told = Story()
    told.began(failed=failed)
    return told


def done(told: Story) -> Harvest:
    told.judged()
    told.accepted()
    return told.ended(Stop.ACCEPTED)


def test_all_answers_of_a_straight_run_are_targets() -> None:
    for harvest in (solved_by_hand(), rejected()):  # what the run is worth, its label tells
        assert set(targets(harvest).values()) == {""}
        assert set(targets(harvest)) == {call.seq for call in harvest.calls}


def test_an_answer_that_is_no_call_is_context() -> None:
    told = story()
    told.asked("act", [Message(role="user", content="go")], "I think that it is wrong")
    told.tell(Malformed(step=0, reason="no tool was called"))
    told.mended()
    assert whys(done(told), "act") == [masks.MALFORMED, "", ""]


@pytest.mark.parametrize(
    ("tool", "status", "why"),
    [
        ("read", Status.OK, ""),
        ("read", Status.REFUSED, masks.REFUSED),
        ("run", Status.OK, ""),
        ("run", Status.NONZERO, ""),
        ("run", Status.TIMEOUT, masks.FAILED),
        ("run", Status.REFUSED, masks.REFUSED),
        ("search", Status.NONZERO, masks.FAILED),
        ("write", Status.DISK_FULL, masks.FAILED),
    ],
)
def test_a_call_counts_where_it_told_something(tool: str, status: Status, why: str) -> None:
    told = story()
    told.acted(0, f"{tool} x", tool, "told", status, command="x")
    assert whys(done(told), "act") == [why]


def test_the_same_call_with_the_same_result_is_a_loop() -> None:
    told = story()
    told.acted(0, "run pytest", "run", "1 failed", Status.NONZERO, command="pytest")
    told.acted(1, "run ls", "run", "gcd.py", command="ls")
    told.acted(2, "run pytest", "run", "1 failed", Status.NONZERO, command="pytest")
    told.acted(3, "run pytest", "run", "2 failed", Status.NONZERO, command="pytest")
    assert whys(done(told), "act") == ["", "", masks.REPEATED, ""]


def test_a_new_attempt_may_look_again() -> None:
    told = story()
    told.acted(0, "read gcd.py", "read", "1 def gcd", path="gcd.py")
    told.chat.clear()
    told.acted(1, "read gcd.py", "read", "1 def gcd", path="gcd.py")
    told.acted(2, "read gcd.py", "read", "1 def gcd", path="gcd.py")
    assert whys(done(told), "act") == ["", "", masks.REPEATED]


def wrote(told: Story, step: int, body: str, tool: str = "edit") -> None:
    told.acted(step, f"{tool} gcd.py", tool, "changed", path="gcd.py", first=5, last=5, body=body)


def test_an_edit_lasts_when_most_of_what_it_brought_is_in_the_final_diff() -> None:
    told = story()
    wrote(told, 0, "        return gcd(b, a)\n")
    wrote(told, 1, f"        rest = a % b\n{NEXT}\n")
    wrote(told, 2, f"{NEXT}\n        print(a)\n")  # half is not most
    wrote(told, 3, f"        rest = a % b\n{NEXT}\n        log(a)\n", "write")
    wrote(told, 4, "")  # what it took away is not recorded
    assert whys(done(told), "act") == [masks.REVERTED, "", masks.REVERTED, "", ""]


def test_lines_that_were_shown_were_not_brought() -> None:
    told = story()
    told.acted(0, "read gcd.py", "read", "    1 def gcd(a, b):\n    2     if b == 0:", path="gcd.py")
    wrote(told, 1, f"def gcd(a, b):\n    if b == 0:\n{NEXT}\n")
    wrote(told, 2, "def gcd(a, b):\n    if b == 0:\n        return b\n")
    assert whys(done(told), "act") == ["", "", masks.REVERTED]


def test_edits_of_a_run_without_a_result_lasted_nowhere() -> None:
    told = story()
    wrote(told, 0, f"{NEXT}\n")
    wrote(told, 1, "")
    assert whys(told.ended(Stop.STUCK), "act") == [masks.REVERTED, masks.REVERTED]


def test_what_a_person_wrote_otherwise_is_no_target() -> None:
    assert whys(edited(), "act") == ["", masks.REVERTED]
    assert whys(edited(to=EDITED.replace("rest = a % b", "rest = b % a")), "infill") == [masks.NOT_CHOSEN]


def test_candidates_are_targets_where_they_were_taken_over() -> None:
    told = story()
    told.filled("        return gcd(b, a)", failed=2, adopted=False)
    told.filled("        rest = a % b", failed=1, adopted=True)
    told.filled("        rest = a + b", failed=1, adopted=False)
    told.filled("        }", failed=1, adopted=False)
    wrote(told, 1, f"{NEXT}\n")
    assert whys(done(told), "infill") == [masks.NOT_CHOSEN, "", masks.NOT_CHOSEN, masks.NOT_CHOSEN]


def test_the_same_line_that_was_tried_elsewhere_is_no_target() -> None:
    told = story()
    told.filled("        rest = a % b", failed=2, adopted=False)
    wrote(told, 1, f"        rest = a % b\n{NEXT}\n")
    assert whys(done(told), "infill") == [masks.NOT_CHOSEN]


ANSWERS = [
    "```python\ndef gcd(a, b):\n        rest = a % b\n        return gcd(b, rest)\n```\nIt swaps.",
    "        rest = a % b\n        return gcd(b, rest)\n",
]


@pytest.mark.parametrize("answer", ANSWERS)
def test_a_rewritten_function_is_a_target_with_and_without_words_around_it(answer: str) -> None:
    assert whys(rewritten(answer, "Correct:\ndef gcd(a, b):"), "rewrite") == [""]


def test_an_answer_that_the_prompt_began_goes_on_from_there() -> None:
    answer = "        rest = a % b\n        return gcd(b, rest)\n\nprint(gcd(4, 6))\n```\nrest = b"
    begun = [
        Message(role="user", content="Write gcd"),
        Message(role="assistant", content="```python\ndef gcd(a, b):\n"),
    ]
    assert whys(rewritten(answer, begun=begun), "rewrite") == [""]
    assert whys(rewritten(answer.replace("% b", "// b"), begun=begun), "rewrite") == [masks.NOT_CHOSEN]


def rewritten(answer: str, question: str = "", begun: list[Message] | None = None) -> Harvest:
    """A run whose change was written by an answer of the search."""
    told = story()
    told.filled(f"def gcd(a, b):\n        rest = a % b\n{NEXT}", failed=0, adopted=True)
    asked = next(i for i, item in enumerate(told.payloads) if _purpose(item) == "infill")
    kept = told.payloads[asked + 2 :]
    del told.payloads[asked:]
    told.asked("rewrite", begun or [Message(role="user", content=question)], answer)
    told.tell(*kept)
    return done(told)


def _purpose(item: object) -> str:
    payload = item[1] if isinstance(item, tuple) else item
    return str(getattr(payload, "purpose", ""))


@pytest.mark.parametrize("reason", ["length", "cancelled", "error"])
def test_an_answer_that_broke_off_is_no_target(reason: str) -> None:
    told = story()
    completion = Completion.model_validate({"text": "read gcd.py", "finish_reason": reason})
    told.tell(Completed(purpose="act", completion=completion))
    told.mended()
    assert whys(done(told), "act")[1:] == ["", ""]
    broken = {seq: why for seq, why in targets(done(told)).items() if why}
    assert list(broken.values()) == [masks.BROKEN_OFF]


def replanned(author: str) -> PlanMade:
    plan = Plan.model_validate(
        {"steps": (PlanStep(goal="g", check="pytest"),), "revision": 2, "author": author}
    )
    return PlanMade(plan=plan)


def test_a_plan_that_a_person_replaced_or_cancelled_is_no_target() -> None:
    told = story()
    told.tell(UserActed(action="edit-plan"), replanned("user"))
    told.mended()
    assert whys(done(told), "plan") == [masks.REPLACED]
    told = story()
    told.tell(UserActed(action="reject", detail="plan"))
    assert whys(told.ended(Stop.REJECTED), "plan") == [masks.CANCELLED]


def test_a_plan_that_no_rule_could_read_is_no_target() -> None:
    told = story()
    told.payloads.pop()
    told.tell(replanned("rule"))
    assert whys(done(told), "plan") == [masks.MALFORMED]
    told = story()
    told.payloads.pop()
    assert whys(told.ended(Stop.INTERRUPTED), "plan") == [masks.NOT_RUN]


def test_an_action_that_never_ended_is_no_target() -> None:
    told = story()
    told.acted(0, "run pytest", "run", "1 failed", command="pytest")
    assert isinstance(told.payloads[-1], tuple)
    assert isinstance(told.payloads.pop()[1], ActionEnded)  # type: ignore[index]
    assert whys(told.ended(Stop.KILLED), "act") == [masks.NOT_RUN]
