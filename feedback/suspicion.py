"""How suspicious each line is: failing tests run it, and passing ones do not.

The measure is Ochiai's (R. Abreu, P. Zoeteweij, A. van Gemund, "An evaluation of similarity coefficients for
software fault localization", PRDC 2006): of F failing tests, `failed` run the line, and `passed` of the
passing ones; its value is failed / sqrt(F * (failed + passed)), between 0 and 1.
"""

from collections import defaultdict
from collections.abc import Iterable, Iterator
from math import sqrt

from feedback.evidence import is_test_path
from memory.runtime import ObservedTest, RuntimeEvidence

_DIGITS = 6
"""Digits of Ochiai's measure that count; what is below breaks ties."""
_IN_FRAME, _NEAR = 2e-7, 1e-7
IMPORTED = 1e-8
"""Of a line that ran before the first test only: a definition or a constant, whoever it serves."""

_Counts = dict[str, dict[int, int]]


def suspiciousness(evidence: RuntimeEvidence) -> dict[str, dict[int, float]]:
    """Path to line to value, above 0, of the lines that failing tests ran; tests themselves are left out.

    Equal lines are ordered by being in a frame of a failing test, then by their distance to the raise.
    """
    failing = evidence.failing
    passing = [test for test in evidence.tests if test.outcome == "passed"]
    failed, passed = _counts(evidence, _used(failing)), _counts(evidence, _used(passing))
    frames, raised = _places(failing)
    total = sum(bool(test.covers) for test in failing)
    scores: dict[str, dict[int, float]] = {}
    for path, lines in _counts(evidence, dict.fromkeys(evidence.imported, 1)).items():
        if path in failed:
            scores[path] = dict.fromkeys(lines, IMPORTED)
    for path, lines in failed.items():
        found = scores.setdefault(path, {})
        for line, count in lines.items():
            ochiai = count / sqrt(total * (count + passed.get(path, {}).get(line, 0)))
            near = max((1 / (1 + abs(line - other)) for other in raised[path]), default=0.0)
            found[line] = round(ochiai, _DIGITS) + _IN_FRAME * (line in frames[path]) + _NEAR * near
    return scores


def _used(tests: Iterable[ObservedTest]) -> dict[int, int]:
    """Number of the tests that each cover belongs to."""
    uses: dict[int, int] = defaultdict(int)
    for test in tests:
        for cover in set(test.covers):
            uses[cover] += 1
    return uses


def _counts(evidence: RuntimeEvidence, uses: dict[int, int]) -> _Counts:
    """Path to line to the number of tests; no longer than the covers are, however many tests share them."""
    steps: _Counts = defaultdict(lambda: defaultdict(int))
    for cover, weight in uses.items():
        path = evidence.covers[cover].path
        if not is_test_path(path):
            for first, last in evidence.covers[cover].ranges:
                steps[path][first] += weight
                steps[path][last + 1] -= weight
    return {path: dict(_summed(changes)) for path, changes in steps.items()}


def _summed(changes: dict[int, int]) -> Iterator[tuple[int, int]]:
    count, at = 0, 0
    for line in sorted(changes):
        if count:
            yield from ((number, count) for number in range(at, line))
        count, at = count + changes[line], line


def _places(failing: Iterable[ObservedTest]) -> tuple[dict[str, set[int]], dict[str, set[int]]]:
    """Path to lines in frames, and to the innermost of them, of sources that are no tests."""
    frames: dict[str, set[int]] = defaultdict(set)
    raised: dict[str, set[int]] = defaultdict(set)
    for test in failing:
        inside = [
            frame for frame in (test.raised.frames if test.raised else ()) if not is_test_path(frame.path)
        ]
        for frame in inside:
            frames[frame.path].add(frame.line)
        if inside:
            raised[inside[-1].path].add(inside[-1].line)
    return frames, raised
