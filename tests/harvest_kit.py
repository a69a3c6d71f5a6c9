"""Recorded runs as data sets see them (feedback/harvest.py): built of payloads, and ready-made stories.

Texts, patches and events of a story fit together as those of a real run do: patches have their hashes for
names, the texts of completions stand in the diff, and no two runs took the same time.
"""

import hashlib
import random
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Literal, TypedDict, Unpack

from feedback.harvest import Harvest
from feedback.hunks import regions
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
    Message,
    Observation,
    Observed,
    Payload,
    Plan,
    PlanMade,
    PlanStep,
    Prompted,
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
from memory.runtime import ObservedTest, Raised, RuntimeEvidence, Seen

BEGIN = datetime(2026, 11, 23, 3, 0, tzinfo=UTC)
RUN = "261123-abc123"
TEST = "tests/test_gcd.py::test_gcd"
DIFF = """diff --git a/gcd.py b/gcd.py
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
EDITED = DIFF.replace("gcd(b, rest)", "gcd(b, rest) if rest else b")
"""What a person made of it before they accepted it."""
Purpose = Literal["plan", "act", "infill", "rewrite"]
Timed = Payload | tuple[float, Payload]
"""What happened, and the seconds since the event before; one second where they are not told."""


def sha_of(diff: str | bytes) -> str:
    """The name of a patch."""
    return hashlib.sha256(diff.encode() if isinstance(diff, str) else diff).hexdigest()


def patches_of(*diffs: str) -> dict[str, bytes]:
    """Patches by their names."""
    return {sha_of(diff): diff.encode() for diff in diffs}


def stamp(at: datetime) -> str:
    """A time as the store writes it."""
    return at.isoformat(timespec="milliseconds").replace("+00:00", "Z")


def harvest_of(
    payloads: Iterable[Timed],
    *,
    patches: Mapping[str, bytes] | None = None,
    run_id: str = RUN,
    session_id: str = "5e55105e55105e55",
    survivals: Iterable[Survival] = (),
    at: datetime = BEGIN,
) -> Harvest:
    """A run that began at `at`; each survival is an event too, so many days after the last other one."""
    events, now, last = list[Event](), at, at
    fates = tuple(survivals)

    def add(payload: Payload, when: datetime) -> None:
        events.append(Event(run_id=run_id, seq=len(events) + 1, at=stamp(when), payload=payload))

    for item in payloads:
        gap, payload = item if isinstance(item, tuple) else (1.0, item)
        now += timedelta(seconds=gap if events else 0)
        add(payload, now)
        last = now
    kept = list[Survival]()
    for fate in fates:
        when = last + timedelta(days=fate.days)
        kept.append(fate.model_copy(update={"run_id": run_id, "at": fate.at or stamp(when)}))
        add(Survived(survival=kept[-1]), when)
    return Harvest(run_id, session_id, tuple(events), patches or {}, tuple(kept))


class Told(TypedDict, total=False):
    """What a story may be told otherwise."""

    repo: str
    prompt: str
    diff: str
    at: datetime
    run_id: str
    session_id: str
    survivals: tuple[Survival, ...]


@dataclass
class Story:
    """One run in the making."""

    repo: str = "/src/maths"
    prompt: str = "make gcd right"
    diff: str = DIFF
    at: datetime = BEGIN
    run_id: str = RUN
    session_id: str = "5e55105e55105e55"
    survivals: tuple[Survival, ...] = ()
    check: Check = field(default_factory=lambda: Check(name="pytest", command="pytest -q", kind="pytest"))
    payloads: list[Timed] = field(default_factory=list)
    chat: list[Message] = field(default_factory=list)
    patches: dict[str, bytes] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.clock = random.Random(f"{self.run_id} {self.at}")  # the same run, the same times
        found = list(regions(self.diff))
        self.path = found[0].path if found else "gcd.py"
        self.lines = [line for region in found for line in region.come if line.strip()]

    def tell(self, *payloads: Timed) -> None:
        self.payloads += payloads

    def result(self, failed: int, passed: int = 3) -> CheckResult:
        """A check with so many failing and passing tests; a bare command has none."""
        failures = tuple(
            Failure(
                test=TEST if not number else f"{TEST}_{number}",
                error="RecursionError",
                message="maximum recursion depth exceeded",
                source="assert gcd(4, 6) == 2",
                frames=(
                    Frame(path="tests/test_gcd.py", line=4),
                    Frame(path=self.path, line=5, function="gcd"),
                ),
            )
            for number in range(failed if self.check.kind == "pytest" else 0)
        )
        tests = self.check.kind == "pytest"
        return CheckResult(
            check=self.check.name,
            status=Status.NONZERO if failed else Status.OK,
            exit_code=int(bool(failed)),
            passed=not failed,
            tests_passed=passed if tests else 0,
            tests_failed=failed if tests else 0,
            failures=failures,
            output=f"{failed} failed, {passed} passed\n",
            duration_s=self.seconds(0.2, 2.0),
        )

    def seconds(self, least: float, most: float) -> float:
        return round(self.clock.uniform(least, most), 6)

    def began(self, *, failed: int = 2) -> None:
        """The start, the checks before any change, and a plan of the model's."""
        tree = sha_of(self.repo)[:40]
        task = Task(id=tree[:12], prompt=self.prompt, repo=self.repo, tree=tree, checks=(self.check,))
        self.tell(RunStarted(task=task, adi_version="0.1.0", model="qwen"))
        before = self.result(failed, 1)
        self.tell((2.0, CheckRan(purpose="gather", result=before)))
        if before.failures:
            self.tell(Observed(evidence=evidence(self.path)))
        text = f"- Correct the function | files: {self.path} | check: {self.check.name}"
        self.asked("plan", [self._system(), Message(role="user", content=f"Plan: {self.prompt}")], text)
        step = PlanStep(goal="Correct the function", files=(self.path,), check=self.check.name)
        self.tell((0.1, PlanMade(plan=Plan(steps=(step,)))))

    def _system(self) -> Message:
        return Message(role="system", content="Call one tool in each answer: read, edit, run, submit.")

    def asked(self, purpose: Purpose, messages: Iterable[Message], text: str, prompt: str = "") -> None:
        """A call of the model and its answer."""
        chat = tuple(messages)
        size = sum(len(item.content) for item in chat) + len(prompt)
        self.tell((0.1, Prompted(purpose=purpose, messages=chat, prompt=prompt, tokens=size // 4)))
        wrote, spent = len(text) // 4 + 1, self.seconds(50, 900)
        usage = Usage(prompt_tokens=size // 4, completion_tokens=wrote, decode_ms=spent)
        ids = tuple(text.encode())
        told = Completion(text=text, token_ids=ids, finish_reason="stop", usage=usage, model="qwen")
        self.tell((2.0, Completed(purpose=purpose, completion=told)))

    def acted(
        self,
        step: int,
        text: str,
        tool: str,
        output: str,
        status: Status = Status.OK,
        checked: CheckResult | None = None,
        **arguments: str | int,
    ) -> None:
        """One turn of the action loop, the chat so far before it; `checked` is the check after a change."""
        if not self.chat:
            goal = f"Now: Correct the function\nDone when this passes: {self.check.name}"
            self.chat += [self._system(), Message(role="user", content=f"Task: {self.prompt}\n\n{goal}")]
        self.asked("act", self.chat, text)
        action = Action(id=f"step-{step}", tool=tool, arguments={**arguments})
        self.tell((0.0, ActionStarted(step=step, action=action)))
        if checked is not None:
            self.tell((0.5, CheckRan(purpose="step", result=checked)))
        took = self.seconds(0.01, 0.5)
        seen = Observation(action_id=action.id, status=status, output=output, duration_s=took)
        self.tell((0.2, ActionEnded(step=step, observation=seen)))
        self.chat += [Message(role="assistant", content=text), Message(role="user", content=output)]

    def filled(self, line: str, *, failed: int, adopted: bool, step: int = 0) -> None:
        """A line filled in, run as a candidate, and taken over where it mends something."""
        prefix, place = f"# {self.path}\ndef f(a, b):\n", f"{self.path}:5"
        self.asked("infill", [], line, f"{prefix}\N{OPEN BOX}\n# the end\n")
        self.tell((0.4, CheckRan(purpose="candidate", result=self.result(failed))))
        told = Searched(strategy="fill in line", place=place, candidates=1, executed=1, passed=int(adopted))
        self.tell((0.0, told))
        if adopted:
            arguments = {"path": self.path, "first": 5, "last": 5, "body": line}
            action = Action(id=f"search-{step}", tool="edit", arguments={**arguments})
            seen = Observation(action_id=action.id, status=Status.OK, output=line, summary=f"{place} 1 line")
            self.tell((0.0, ActionStarted(step=step, action=action)))
            self.tell((0.0, ActionEnded(step=step, observation=seen)))

    def mended(self) -> None:
        """The change of the story: one line filled in, the file read, the other lines written in an edit."""
        first, rest = self.lines[0], self.lines[1:] or self.lines
        self.filled(first, failed=1, adopted=True)
        shown = f"{self.path} lines 1-5:\n    1 def gcd(a, b):\n    5 {first}"
        self.acted(1, f"read {self.path}", "read", shown, path=self.path)
        body = "\n".join(rest)
        text = f"edit {self.path} 6-6\n```\n{body}\n```"
        after = self.result(0)
        said = f"{self.path} is changed.\n{body}\n[passed: {self.check.name}]"
        self.acted(2, text, "edit", said, checked=after, path=self.path, first=6, last=6, body=f"{body}\n")

    def judged(
        self,
        diff: str = "",
        *,
        failed: int = 0,
        accepted: bool = True,
        changed_tests: tuple[str, ...] = (),
        deleted_tests: tuple[str, ...] = (),
    ) -> None:
        """The verdict on a diff, the story's own where none is named."""
        diff = diff or self.diff
        told = self.result(failed)
        evaluation = Evaluation(
            results=(told,),
            reward=float(not failed),
            accepted=accepted and not failed and not changed_tests and not deleted_tests,
            changed_tests=changed_tests,
            deleted_tests=deleted_tests,
            detail=f"{self.check.name} does not pass" if failed else "1 of 1 checks pass",
        )
        self.patches |= patches_of(diff)
        self.tell((1.0, CheckRan(purpose="verdict", result=told)))
        stat = f"{self.path} +1 -1"
        self.tell((0.1, Verdict(evaluation=evaluation, diff_sha256=sha_of(diff), diffstat=stat)))

    def accepted(self, diff: str = "", *, by: Literal["accept", "auto-accept"] = "accept") -> None:
        """The change goes into the tree; a person took 20 seconds over it."""
        seconds = 20.0 if by == "accept" else 0.0
        self.tell((seconds, UserActed(action=by, seconds=seconds)))
        self.tell((0.1, Applied(paths=(self.path,), diff_sha256=sha_of(diff or self.diff))))

    def ended(self, stop: Stop) -> Harvest:
        """The run, over."""
        self.tell((0.1, RunEnded(stop=stop, exit_code=0 if stop == Stop.ACCEPTED else 3, seconds=42.8)))
        return self.harvest()

    def harvest(self) -> Harvest:
        """The run as it stands."""
        return harvest_of(
            self.payloads,
            patches=self.patches,
            run_id=self.run_id,
            session_id=self.session_id,
            survivals=self.survivals,
            at=self.at,
        )


def evidence(path: str = "gcd.py") -> RuntimeEvidence:
    """A failing test that was watched."""
    inner = Seen(path=path, line=5, function="gcd", values=(("a", "4"), ("b", "6")))
    raised = Raised(error="RecursionError", frames=(inner,), compared=("7", "==", "2"))
    test = ObservedTest(test=TEST, outcome="failed", raised=raised)
    return RuntimeEvidence(check="pytest", tests=(test,), complete=True, traced=True, duration_s=0.4)


def lived(days: int, kept: int, edited: int = 0, reverted: int = 0) -> Survival:
    """What became of lines after so many days."""
    return Survival(run_id="", days=days, kept=kept, edited=edited, reverted=reverted)


def worked(*, fails: int = 0, **told: Unpack[Told]) -> Story:
    """Until the verdict: two tests failed, the change was made, so many fail now."""
    story = Story(**told)
    story.began()
    story.mended()
    story.judged(failed=fails)
    return story


def solved_by_hand(**told: Unpack[Told]) -> Harvest:
    """All tests pass, and a person accepted the change."""
    story = worked(**told)
    story.accepted()
    return story.ended(Stop.ACCEPTED)


def rejected(reason: str = "use math.gcd", **told: Unpack[Told]) -> Harvest:
    """The tests pass, and a person said no."""
    story = worked(**told)
    story.tell((15.0, UserActed(action="reject", detail=reason, seconds=15.0)))
    return story.ended(Stop.REJECTED)


def edited(to: str = EDITED, **told: Unpack[Told]) -> Harvest:
    """A person changed the diff, its new verdict held, and they accepted it."""
    story = worked(**told)
    story.tell((30.0, UserActed(action="edit-diff", seconds=30.0)))
    story.judged(to)
    story.accepted(to)
    return story.ended(Stop.ACCEPTED)


def undone(**told: Unpack[Told]) -> Harvest:
    """Accepted, and taken back an hour later, after the run had ended."""
    story = worked(**told)
    story.accepted()
    story.ended(Stop.ACCEPTED)
    story.tell((3_600.0, UserActed(action="undo")))
    story.tell((0.1, Applied(undone=True, paths=(story.path,), diff_sha256=sha_of(story.diff))))
    return story.harvest()


def auto_accepted(**told: Unpack[Told]) -> Harvest:
    """The tests pass, and nobody was asked."""
    story = worked(**told)
    story.accepted(by="auto-accept")
    return story.ended(Stop.ACCEPTED)


def no_tests(**told: Unpack[Told]) -> Harvest:
    """A command that runs no test failed and passes now; a person accepted the change."""
    story = Story(**told, check=Check(name="build", command="make build"))
    story.began(failed=1)
    story.mended()
    story.judged()
    story.accepted()
    return story.ended(Stop.ACCEPTED)


def failed(**told: Unpack[Told]) -> Harvest:
    """A change was made, one test still fails, and nobody took it."""
    story = worked(fails=1, **told)
    story.tell(UserActed(action="defer", detail="the verdict does not hold"))
    return story.ended(Stop.FAILED)


def pending(**told: Unpack[Told]) -> Harvest:
    """The tests pass, and the change waits for somebody to look at it."""
    story = worked(**told)
    story.tell(UserActed(action="defer", detail="no person was there to decide"))
    return story.ended(Stop.PENDING)
