"""Recorded runs for tests of what is told about runs: one solved, one that went wrong in many ways."""

from collections.abc import Iterable, Iterator
from datetime import UTC, datetime, timedelta

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
    Event,
    Failure,
    Frame,
    Learned,
    Malformed,
    Noted,
    Observation,
    Observed,
    Payload,
    Plan,
    PlanMade,
    PlanStep,
    Prompted,
    Recall,
    Recalled,
    RunEnded,
    RunStarted,
    Searched,
    Status,
    Stop,
    Survival,
    Survived,
    Task,
    Usage,
    UserActed,
    Verdict,
)
from memory.runtime import Cover, ObservedTest, Raised, RuntimeEvidence, Seen

BEGIN = datetime(2026, 11, 23, 3, 0, tzinfo=UTC)
TEST = "tests/test_gcd.py::test_gcd"
PATCH = b"""diff --git a/gcd.py b/gcd.py
index 1111111..2222222 100644
--- a/gcd.py
+++ b/gcd.py
@@ -2,4 +2,5 @@ def gcd(a, b):
     if b == 0:
         return a
     else:
-        return gcd(a % b, b)
+        rest = a % b
+        return gcd(b, rest)
"""

Timed = tuple[float, Payload]
"""Seconds since the event before, and what happened."""


def events(story: Iterable[Timed], run_id: str = "261123-abc") -> list[Event]:
    """The events of a run, at their times."""
    at, found = 0.0, []
    for seq, (gap, payload) in enumerate(story, start=1):
        at += gap
        stamp = (BEGIN + timedelta(seconds=at)).isoformat(timespec="milliseconds").replace("+00:00", "Z")
        found.append(Event(run_id=run_id, seq=seq, at=stamp, payload=payload))
    return found


def started(prompt: str = "make gcd right") -> RunStarted:
    checks = (Check(name="pytest", command="python3 -m pytest -q"),)
    task = Task(id="t", prompt=prompt, repo="/src/maths", image="img", dirty=True, checks=checks)
    return RunStarted(task=task, adi_version="0.1.0", model="qwen")


def result(failed: int, passed: int = 1, message: str = "too deep") -> CheckResult:
    """A check with so many failing and passing tests."""
    failures = tuple(
        Failure(
            test=TEST if not number else f"{TEST}_{number}",
            error="RecursionError",
            message=message,
            source="assert gcd(4, 6) == 2",
            frames=(Frame(path="tests/test_gcd.py", line=4), Frame(path="gcd.py", line=5, function="gcd")),
        )
        for number in range(failed)
    )
    return CheckResult(
        check="pytest", status=Status.NONZERO if failed else Status.OK, exit_code=int(bool(failed)),
        passed=not failed, tests_passed=passed, tests_failed=failed, failures=failures,
        output=f"{failed} failed\n", duration_s=0.5,
    )  # fmt: skip


def evidence() -> RuntimeEvidence:
    raised = Raised(
        error="RecursionError",
        message="maximum recursion depth exceeded",
        frames=(
            Seen(path="tests/test_gcd.py", line=4, function="test_gcd"),
            Seen(path="gcd.py", line=5, function="gcd", values=(("a", "4"), ("b", "6"))),
        ),
        compared=("7", "==", "2"),
    )
    return RuntimeEvidence(
        check="pytest",
        tests=(
            ObservedTest(test=TEST, outcome="failed", covers=(0,), raised=raised),
            ObservedTest(test="tests/test_gcd.py::test_zero", outcome="passed"),
        ),
        covers=(Cover(path="gcd.py", ranges=((1, 3), (5, 5))),),
        complete=True,
        traced=True,
        duration_s=0.4,
    )


def answered(purpose: str, text: str = "x", new: int = 200, cached: int = 1000, wrote: int = 40) -> Completed:
    usage = Usage(prompt_tokens=new + cached, cached_tokens=cached, completion_tokens=wrote)
    completion = Completion(text=text, finish_reason="stop", usage=usage, model="qwen")
    return Completed.model_validate({"purpose": purpose, "completion": completion})


def asked(purpose: str) -> Prompted:
    return Prompted.model_validate({"purpose": purpose, "tokens": 1200})


def did(
    step: int,
    tool: str,
    status: Status = Status.OK,
    output: str = "done",
    summary: str = "",
    **arguments: str,
) -> Iterator[Timed]:
    """An action that took a second."""
    yield 0.0, ActionStarted(step=step, action=Action(id=f"s{step}", tool=tool, arguments={**arguments}))
    observation = Observation(action_id=f"s{step}", status=status, output=output, summary=summary)
    yield 1.0, ActionEnded(step=step, observation=observation)


def plan(revision: int = 1, author: str = "model", goal: str = "Fix gcd") -> PlanMade:
    step = PlanStep(goal=goal, files=("gcd.py",), check="pytest")
    made = Plan.model_validate({"steps": (step,), "revision": revision, "author": author})
    return PlanMade(plan=made)


RECALL = Recall(lesson_id="l1", kind="fix", claim="Swap the arguments of gcd", why="same error signature")


def gathered() -> list[Timed]:
    """The run until there is a plan, which a person changed after eight seconds."""
    return [
        (0.0, started()),
        (2.0, Noted(text="loading qwen")),
        (3.0, CheckRan(purpose="gather", result=result(2))),
        (1.0, Observed(evidence=evidence())),
        (0.0, Recalled(lessons=(RECALL,))),
        (0.5, asked("plan")),
        (4.0, answered("plan")),
        (0.0, plan()),
        (8.0, UserActed(action="edit-plan", seconds=8.0)),
        (0.0, plan(2, "user", "Swap the arguments")),
    ]


def solved() -> list[Event]:
    """Found by the search at its second place, accepted by a person after 20 seconds; kept for a week."""
    verdict = Evaluation(results=(result(0, 3),), reward=1.0, accepted=True, detail="1 of 1 checks pass")
    return events(
        [
            *gathered(),
            (0.2, asked("infill")),
            (2.0, answered("infill")),
            (0.5, CheckRan(purpose="candidate", result=result(2))),
            (0.0, Searched(strategy="infill", place="gcd.py:4", candidates=3, executed=1, passed=0)),
            (0.5, CheckRan(purpose="candidate", result=result(0, 3))),
            (0.0, Searched(strategy="infill", place="gcd.py:5", candidates=5, executed=2, passed=1)),
            *did(0, "edit", summary="gcd.py:5 2 line(s)", path="gcd.py", body="        return gcd(b, a % b)"),
            (1.0, CheckRan(purpose="verdict", result=result(0, 3))),
            (0.0, Verdict(evaluation=verdict, diff_sha256="d", diffstat="gcd.py +2 -1")),
            (20.0, UserActed(action="accept", detail="looks right", seconds=20.0)),
            (0.1, Applied(paths=("gcd.py",), diff_sha256="d")),
            (0.0, RunEnded(stop=Stop.ACCEPTED, exit_code=0, seconds=42.8)),
            (1.0, Learned(lesson_id="l1", claim=RECALL.claim, stance="for", why="its fix passed")),
            (86_400.0, Survived(survival=Survival(run_id="r", days=1, kept=2, edited=0, reverted=0))),
            (604_800.0, Survived(survival=Survival(run_id="r", days=7, kept=1, edited=1, reverted=0))),
        ]
    )


def stuck() -> list[Event]:
    """One of two tests was mended on the way; repeats, a refusal and three answers that were no action."""
    return events(
        [
            *gathered(),
            (0.2, asked("rewrite")),
            (2.0, answered("rewrite")),
            (0.5, CheckRan(purpose="candidate", result=result(2))),
            (0.0, Searched(strategy="line", place="gcd.py:4", candidates=3, executed=1, passed=0)),
            (0.2, asked("act")),
            (3.0, answered("act", "edit gcd.py 5-5")),
            *did(0, "edit", path="gcd.py", first="5", body="        return gcd(b, a)"),
            (0.5, CheckRan(purpose="step", result=result(1, 2))),
            (3.0, answered("act", "run pytest")),
            *did(1, "run", Status.NONZERO, "1 failed", command="pytest"),
            (3.0, answered("act", "run pytest")),
            *did(2, "run", Status.REFUSED, "You have just done exactly this.", "repeated", command="pytest"),
            *did(3, "write", Status.REFUSED, "that file is protected", "refused", path=".git/config"),
            *(
                item
                for number in (4, 5, 6)
                for item in (
                    (2.0, answered("act", "I think that")),
                    (0.0, Malformed(step=number, reason="no tool was called")),
                )
            ),
            (1.0, CheckRan(purpose="verdict", result=result(1, 2, "assert 3 == 2"))),
            (0.0, Verdict(evaluation=Evaluation(results=(result(1, 2),), detail="pytest does not pass"))),
            (0.0, UserActed(action="defer", detail="the verdict does not hold")),
            (0.0, RunEnded(stop=Stop.STUCK, exit_code=3, detail="the model repeated itself", seconds=45.0)),
            (0.0, Learned(lesson_id="l2", claim="Swapping alone does not help", stance="new")),
        ]
    )
