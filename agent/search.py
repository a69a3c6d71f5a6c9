"""Candidate search: many cheap texts for suspicious places, filtered by compiling, then by running.

Small models repair more by being sampled than by being told off (DESIGN section 5, rule 5). A proposer
asks for the text of one hole: one line rewritten in view of the failure, one line or a missing line
filled in from both sides, or a whole function. Only the checks the person gave or the repository has
choose between candidates; nothing is ever selected by a test that the agent cannot see.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

from agent import context
from agent.holes import Hole
from agent.localize import Suspect, lines_of, parsed, suspects
from agent.proposers import ROUNDS, Proposer
from agent.run import Run
from memory.records import (
    Action,
    ActionEnded,
    ActionStarted,
    Check,
    CheckResult,
    Observation,
    PlanStep,
    Searched,
    Status,
)
from model.errors import PromptTooLong, Unsupported
from sandbox.workcopy import WorkCopy

DEFECTS = 3
"""Partial repairs that may be built upon, one after the other."""
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
class Search:
    """One search for one defect: its state between rounds."""

    run: Run
    check: Check
    failing: CheckResult
    """How the check ended before the change."""
    about: str
    until_s: float
    """Seconds of the run at which the search ends."""
    rounds: tuple[Proposer, ...] = ROUNDS
    seen: set[bytes] = field(default_factory=set)
    executed: int = 0
    best: Candidate | None = None
    """The best partial repair: fewer failing tests, none of them new."""

    def find(self, where: list[Suspect]) -> Candidate | None:
        """The first candidate that passes, or the best partial repair when every round is over."""
        self.seen |= {suspect.text.encode("utf-8", "surrogateescape") for suspect in where}
        for proposer in self.rounds:
            for hole in _interleaved([list(proposer.holes(suspect)) for suspect in where]):
                found = self._try(proposer, hole)
                if found is not None:
                    return found
                if self.run.spent.seconds >= self.until_s:
                    return self.best
        return self.best

    def _try(self, proposer: Proposer, hole: Hole) -> Candidate | None:
        if context.shown(hole.text) != hole.text:
            return None  # the model would not see these bytes, and could not write them again
        try:
            texts = proposer.propose(self.run, self.about, hole)
        except (PromptTooLong, Unsupported):
            return None
        passing = None
        for text in texts:
            candidate = self._execute(hole, text)
            if candidate is not None and self._holds(candidate):
                passing = candidate
                break
        self.run.recorder.emit(
            Searched(
                strategy=proposer.name,
                place=hole.place,
                candidates=len(self.seen),
                executed=self.executed,
                passed=int(passing is not None),
            )
        )
        return passing

    def _execute(self, hole: Hole, text: str) -> Candidate | None:
        """Run the check on a candidate; None when it is no text, not new or does not compile."""
        path, files = hole.suspect.path, self.run.files
        if context.shown(text) != text:  # half a character, out of a server's JSON
            return None
        changed = hole.filled(text)
        data = changed.encode("utf-8", "surrogateescape")
        if data in self.seen:
            return None
        self.seen.add(data)
        if not compiles(path, changed):
            return None
        self.run.spend()
        with written(files, path, data):
            self.executed += 1
            result = self.run.check(self.check, "candidate", self._patience())
        return Candidate(hole, text, data, result)

    def _patience(self) -> float:
        """Seconds that a candidate may take."""
        limit = self.run.task.limits.check_s or HUNG_S
        if self.failing.status == Status.TIMEOUT:
            return min(limit, HUNG_S)
        return min(limit, max(3.0, 3 * self.failing.duration_s))

    def _holds(self, candidate: Candidate) -> bool:
        """True when it passes and breaks no other check; remembers the best partial repair."""
        result = candidate.result
        if not result.passed:
            known = {failure.test for failure in self.failing.failures}
            fewer = 0 < result.tests_failed < (self.best.result if self.best else self.failing).tests_failed
            if fewer and {failure.test for failure in result.failures} <= known:
                self.best = candidate
            return False
        others = [
            item
            for item, before in zip(self.run.task.checks, self.run.baseline, strict=True)
            if before.passed and item.name != self.check.name
        ]
        return not others or self._others_hold(candidate, others)

    def _others_hold(self, candidate: Candidate, others: list[Check]) -> bool:
        with written(self.run.files, candidate.hole.suspect.path, candidate.data):
            return all(self.run.check(item, "candidate").passed for item in others)


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


def search(run: Run, step: PlanStep, check: Check, failing: CheckResult, until_s: float) -> bool:
    """Repair what makes the check fail; True when it passes. The work copy keeps what was adopted.

    Ends when the run is `until_s` seconds old. Raises what Run.chat raises.
    """
    for _ in range(DEFECTS):
        places = suspects(run.files, [failing], run.task.prompt)
        # Files in their usual order: the text begins as the plan's did, so the server has it cached.
        about, where = context.fitting(run.leaves_room, run.statement, run.files.paths(), [failing], places)
        if not where:
            return False
        found = Search(run, check, failing, about, until_s).find(_preferred(where, step.files))
        if found is None:
            return False
        adopt(run, found)
        if found.result.passed:
            return True
        if run.spent.seconds >= until_s:
            return False
        failing = found.result
    return False


def adopt(run: Run, found: Candidate) -> None:
    """Make the candidate part of the work copy, recorded as the edit that it is."""
    hole = found.hole
    arguments = {"path": hole.suspect.path, "first": hole.first, "last": hole.last, "body": found.text}
    action = Action(id=f"search-{run.spent.steps}", tool="edit", arguments=arguments)
    run.recorder.emit(ActionStarted(step=run.spent.steps, action=action))
    run.files.write(hole.suspect.path, found.data)
    summary = f"{hole.place} {max(1, len(lines_of(found.text)))} line(s)"
    run.recorder.emit(
        ActionEnded(
            step=run.spent.steps,
            observation=Observation(
                action_id=action.id, status=Status.OK, output=found.text, summary=summary
            ),
        )
    )
    run.spent.steps += 1


def compiles(path: str, text: str) -> bool:
    """False when a Python file does not parse; other languages are left to their checks."""
    return not path.endswith(".py") or parsed(text) is not None


def _preferred(found: list[Suspect], files: tuple[str, ...]) -> list[Suspect]:
    """Suspects that the plan's step names first."""
    return sorted(found, key=lambda suspect: suspect.path not in files)


def _interleaved(rows: list[list[Hole]]) -> Iterator[Hole]:
    """The rows' items in order, the better half of each row before the rest of any."""
    for row in rows:
        yield from row[: (len(row) + 1) // 2]
    for row in rows:
        yield from row[(len(row) + 1) // 2 :]
