"""Candidate search: many cheap texts for suspicious places, filtered by compiling, then by running.

Small models repair more by being sampled than by being told off (DESIGN section 5, rule 5). A proposer
gives texts for one hole: a mutated line, one line or a missing line filled in from both sides, a line
rewritten in view of the failure, or a whole function.
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass

from agent import context
from agent.candidates import Candidate, Trials, adopt
from agent.distil import REMEMBERED
from agent.holes import Hole
from agent.learned import as_wanted
from agent.localize import Suspect, suspects
from agent.mechanisms import Mechanism
from agent.observing import observed
from agent.proposers import ROUNDS, Proposer
from agent.run import Run
from agent.source import lines_of
from memory.records import Check, CheckResult, PlanStep
from model.errors import PromptTooLong, Unsupported

DRAFTED = (frozenset({Mechanism.DRAFTS}), frozenset({Mechanism.FUNCTIONS, Mechanism.SAMPLES}))
"""What drafts of a file have tried in vain: the whole of it, and samples of its functions."""
BLIND_S = 60.0
"""Seconds of one round without the model: where tests are slow, the model is asked before all were tried."""
UNWELCOME = 6
"""Passing candidates that go against what the person wants, before one of them is taken."""
DEFECTS = 3
"""Partial repairs that may be built upon, one after the other."""


@dataclass(slots=True)
class Search:
    """One search for one defect: its state between rounds."""

    trials: Trials
    about: str
    until_s: float
    """Seconds of the run at which the search ends."""
    best: Candidate | None = None
    """The best partial repair: fewer failing tests, none of them new, in no check."""
    unwelcome: Candidate | None = None
    """The first that passes and goes against what the person wants."""
    refused: int = 0

    def find(self, where: list[Suspect]) -> Candidate | None:
        """The first that passes, or mends one defect of several; in the end, the best partial repair.

        One that goes against what the person is known to want is taken when nothing better comes.
        """
        run = self.trials.run
        self.trials.seen |= {suspect.text.encode("utf-8", "surrogateescape") for suspect in where}
        for proposer in rounds(run):
            known = run.drafted if any(each.issubset(proposer.mechanisms) for each in DRAFTED) else set()
            rows = [list(proposer.holes(suspect)) for suspect in where if suspect.path not in known]
            blind = set(proposer.mechanisms) <= {Mechanism.MUTATIONS}
            round_s = run.spent.seconds + (BLIND_S if blind else math.inf)
            for hole in _interleaved(rows):
                if run.spent.seconds >= round_s:
                    break
                found = self._try(proposer, hole)
                if found is not None:
                    return found
                if run.spent.seconds >= self.until_s:
                    return self.unwelcome or self.best
        return self.unwelcome or self.best

    def _try(self, proposer: Proposer, hole: Hole) -> Candidate | None:
        if context.shown(hole.text) != hole.text:
            return None  # the model would not see these bytes, and could not write them again
        try:
            texts = proposer.propose(self.trials.run, self.about, hole)
        except (PromptTooLong, Unsupported):
            return None
        passing = None
        for text in texts:
            candidate = self.trials.execute(hole, text)
            if candidate is None:
                continue
            if self.trials.holds(candidate) or self._mends_one(candidate):
                passing = self._welcome(candidate)
            if passing is not None:
                break
            if self.trials.run.spent.seconds >= self.until_s:
                break
        if texts:
            lesson = ""
            if passing is not None and proposer.name == REMEMBERED:
                lesson = self.trials.run.memory.sources.get(passing.text, "")
            self.trials.tell(proposer.name, hole.place, passing is not None, lesson)
        return passing

    def _welcome(self, candidate: Candidate) -> Candidate | None:
        """The candidate, or the same as the person would have it; None to look for another one."""
        memory = self.trials.run.memory
        if not memory.objections(lines_of(candidate.text)):
            return candidate
        wanted = as_wanted(candidate.text, [change for _, change in memory.rewrites()])
        if wanted and not memory.objections(lines_of(wanted)):
            other = self.trials.execute(candidate.hole, wanted)
            if other is not None and self.trials.holds(other):
                return other
        self.unwelcome = self.unwelcome or candidate
        self.refused += 1
        return self.unwelcome if self.refused >= UNWELCOME else None

    def _mends_one(self, candidate: Candidate) -> bool:
        """Remember a partial repair; True when it mends one defect of several, and is to be built upon."""
        self._remember(candidate)
        return candidate is self.best and self._apart(candidate)

    def _apart(self, candidate: Candidate) -> bool:
        """True when no test that still fails ran what the candidate changes: another defect makes it fail."""
        evidence, hole = self.trials.run.evidence, candidate.hole
        changed = set(range(hole.first, hole.last + 1))
        failing = {failure.test for failure in candidate.result.failures}
        if evidence is None or not changed or candidate.result.tests_failed != len(failing):
            return False
        ran = {
            test.test: evidence.covered(test, hole.suspect.path) for test in evidence.failing if test.covers
        }
        return failing <= ran.keys() and not any(ran[test] & changed for test in failing)

    def _remember(self, candidate: Candidate) -> None:
        """Keep the best partial repair that breaks nothing else."""
        result, failing = candidate.result, self.trials.failing
        known = {failure.test for failure in failing.failures}
        least = (self.best.result if self.best else failing).tests_failed
        better = 0 < result.tests_failed < least and {failure.test for failure in result.failures} <= known
        if better and self.trials.harmless(candidate):
            self.best = candidate


def rounds(run: Run) -> tuple[Proposer, ...]:
    """The rounds whose mechanisms are on, cheapest first."""
    return tuple(proposer for proposer in ROUNDS if all(run.uses(each) for each in proposer.mechanisms))


def search(run: Run, step: PlanStep, check: Check, failing: CheckResult, until_s: float) -> bool:
    """Repair what makes the check fail; True when it passes. The work copy keeps what was adopted.

    Ends when the run is `until_s` seconds old. Raises what Run.chat raises.
    """
    for _ in range(DEFECTS):
        places = suspects(run.files, [failing], run.task.prompt, run.evidence)
        # Files in their usual order: the text begins as the plan's did, so the server has it cached.
        about, where = context.fitting(
            run.leaves_room, run.question, run.listing, [failing], places, run.told
        )
        if not where:
            return False
        found = Search(Trials(run, check, failing), about, until_s).find(_preferred(where, step.files))
        if found is None:
            return False
        adopt(run, found)
        if found.result.passed:
            return True
        if run.spent.seconds >= until_s:
            return False
        failing = found.result
        if run.evidence is not None:
            run.evidence = observed(run, check)  # lines have moved, and fewer tests fail
    return False


def _preferred(found: list[Suspect], files: tuple[str, ...]) -> list[Suspect]:
    """Suspects that the plan's step names first."""
    return sorted(found, key=lambda suspect: suspect.path not in files)


def _interleaved(rows: list[list[Hole]]) -> Iterator[Hole]:
    """The rows' items in order, the better half of each row before the rest of any."""
    for row in rows:
        yield from row[: (len(row) + 1) // 2]
    for row in rows:
        yield from row[(len(row) + 1) // 2 :]
