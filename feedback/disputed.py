"""Tests of a repository that assert what a task calls wrong.

Whoever reports a defect shows what a program gives and what it should give. Now and then a test was written
when nobody knew better, and asserts the former: no change can satisfy both. Which one is right is for a
person to say, but such a test is no reason to throw the change away.
"""

import re
from collections.abc import Iterable, Iterator

from memory.records import CheckResult

TELLING = 12
"""Characters that the two values must have together: `0` and `1` are compared in many a test."""

_GAVE = re.compile(r" gave (.+), expected (.+)\Z", re.DOTALL)


def disputed(baseline: Iterable[CheckResult], now: CheckResult) -> tuple[str, ...]:
    """Tests that fail now because the program gives what an example wants, and not what it gave before.

    `baseline` holds the results before the change, in which the examples of the task failed.
    """
    lines = {line for wrong, right in _values(baseline) for line in _assertions(wrong, right)}
    if not lines:
        return ()
    return tuple(failure.test for failure in now.failures if failure.message.partition("\n")[0] in lines)


def _values(baseline: Iterable[CheckResult]) -> Iterator[tuple[str, str]]:
    """What failing examples gave and should give (feedback/example_expect.py), where that is telling."""
    for result in baseline:
        for failure in result.failures:
            match = _GAVE.search(failure.message)
            if match and len(match[1]) + len(match[2]) >= TELLING:
                yield match[1], match[2]


def _assertions(wrong: str, right: str) -> Iterator[str]:
    """How pytest and unittest begin to say that the program gave `right` where a test wants `wrong`."""
    for one, other in ((right, wrong), (wrong, right)):
        yield f"assert {one} == {other}"
        yield f"{one} != {other}"
