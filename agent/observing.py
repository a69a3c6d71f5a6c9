"""What the failing tests of a check run, watched, with tests that pass beside them where there are any."""

from agent.run import Run
from memory.records import Check
from memory.runtime import RuntimeEvidence

CONTRAST_S = 20.0
"""A check that takes longer is not run again only to see what passing tests run."""


def observed(run: Run, check: Check) -> RuntimeEvidence | None:
    """Evidence of a failing check on the present files; with another's passing tests if all fail."""
    evidence = run.watch(check)
    if evidence is None or not evidence.traced or any(test.outcome == "passed" for test in evidence.tests):
        return evidence
    for result in run.baseline:
        if result.tests_passed and result.duration_s <= CONTRAST_S:
            other = run.watch(run.named(result.check))
            return evidence.beside(other) if other else evidence
    return evidence
