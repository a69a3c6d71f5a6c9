"""Candidates: changed files that are run before anything is believed of them.

Filters in the order of their cost: the text is new, it parses, the check passes, no other check breaks.
Only the task's checks choose; nothing is ever selected by a test that the agent cannot see.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

from agent import context
from agent.holes import BOM, Hole
from agent.localize import Suspect
from agent.run import Run
from agent.source import lines_of
from agent.supply import supplied
from agent.syntax import language_of, parses
from feedback.disputed import disputed
from feedback.verdict import no_worse
from memory.records import (
    Action,
    ActionEnded,
    ActionStarted,
    Check,
    CheckResult,
    Observation,
    Searched,
    Status,
)
from sandbox.workcopy import WorkCopy

HUNG_S = 6.0
"""Seconds a candidate gets when the checks did not end before the change."""


@dataclass(frozen=True, slots=True)
class Candidate:
    """A changed file that was run."""

    hole: Hole
    text: str
    data: bytes
    result: CheckResult


@dataclass(slots=True)
class Trials:
    """Runs candidates for one check, each text once."""

    run: Run
    check: Check
    failing: CheckResult
    """How the check ended before the change."""
    seen: set[bytes] = field(default_factory=set)
    executed: int = 0

    def execute(self, hole: Hole, text: str) -> Candidate | None:
        """Run the check on a candidate; None when it is no text, not new or does not compile."""
        path = hole.suspect.path
        if context.shown(text) != text:  # half a character, out of a server's JSON
            return None
        changed = supplied(path, hole.filled(text))
        data = changed.encode("utf-8", "surrogateescape")
        if data in self.seen:
            return None
        self.seen.add(data)
        if not compiles(path, changed, hole.suspect.text):
            return None
        self.run.spend()
        with written(self.run.files, path, data):
            self.executed += 1
            result = self.run.check(self.check, "candidate", self._patience())
        return Candidate(hole, text, data, result)

    def _patience(self) -> float:
        """Seconds that a candidate may take."""
        limit = self.run.task.limits.check_s or HUNG_S
        if self.failing.status == Status.TIMEOUT:
            return min(limit, HUNG_S)
        return min(limit, max(3.0, 3 * self.failing.duration_s))

    def holds(self, candidate: Candidate) -> bool:
        """True when it passes and makes no other check worse than it was."""
        return candidate.result.passed and self.harmless(candidate)

    def harmless(self, candidate: Candidate) -> bool:
        """True when it makes no other check worse than it was."""
        goals = {result.check for result in self.run.goals}
        before = {result.check: result for result in self.run.baseline}
        others = [item for item in self.run.task.checks if item.name not in goals | {self.check.name}]
        if not others:
            return True
        with written(self.run.files, candidate.hole.suspect.path, candidate.data):
            return all(self._bears(before[item.name], item) for item in others)

    def _bears(self, before: CheckResult, check: Check) -> bool:
        """True when a check is no worse, but for tests that assert what the task calls wrong."""
        now = self.run.check(check, "candidate")
        return no_worse(before, now, disputed(self.run.goals, now))

    def tell(self, strategy: str, place: str, passed: bool, lesson: str = "") -> None:
        """Record the progress; `lesson` is the one whose change passed."""
        self.run.recorder.emit(
            Searched(
                strategy=strategy,
                place=place,
                candidates=len(self.seen),
                executed=self.executed,
                passed=int(passed),
                lesson=lesson,
            )
        )


@contextmanager
def written(files: WorkCopy, path: str, data: bytes) -> Iterator[None]:
    """The file as a candidate has it, within the block; a new file is gone after it."""
    original = files.read(path) if files.exists(path) else None
    files.write(path, data)
    try:
        yield
    finally:
        if original is None:
            files.delete(path)
        else:
            files.write(path, original)


def adopt(run: Run, found: Candidate) -> None:
    """Make the candidate part of the work copy, recorded as its edits: what was proposed, then its imports.

    Apart, because what a model said is looked for in the first one (feedback/targets.py).
    """
    hole, filled = found.hole, found.hole.filled(found.text)
    if filled != hole.suspect.text:
        _edit(run, hole, found.text, filled.encode("utf-8", "surrogateescape"))
    text = found.data.decode("utf-8", "surrogateescape")
    if text != filled:
        suspect = Suspect(hole.suspect.path, filled, ())
        _edit(run, Hole(suspect, 1, len(lines_of(filled))), text.removeprefix(BOM), found.data)


def _edit(run: Run, hole: Hole, body: str, data: bytes) -> None:
    """Write the file, and record that its hole became `body`."""
    arguments = {"path": hole.suspect.path, "first": hole.first, "last": hole.last, "body": body}
    action = Action(id=f"search-{run.spent.steps}", tool="edit", arguments=arguments)
    run.recorder.emit(ActionStarted(step=run.spent.steps, action=action))
    run.files.write(hole.suspect.path, data)
    summary = f"{hole.place} {max(1, len(lines_of(body)))} line(s)"
    seen = Observation(action_id=action.id, status=Status.OK, output=body, summary=summary)
    run.recorder.emit(ActionEnded(step=run.spent.steps, observation=seen))
    run.spent.steps += 1


def compiles(path: str, text: str, before: str) -> bool:
    """False when a text does not parse; where its grammar could not read it before, the checks decide."""
    return parses(path, text) or (language_of(path) != "python" and not parses(path, before))
