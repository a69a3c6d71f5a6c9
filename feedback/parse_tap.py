"""Reads TAP lines: `ok 1 - call`, `not ok 2 - call # expected 3, got 4`, `1..2`, `Bail out!`."""

import re

from feedback.parse_compiled import parse_any
from feedback.report import FAILURES, Report, clip, lines_of
from memory.records import Failure

_RESULT = re.compile(r"^(not )?ok (\d{1,6})(?: - (.*))?$")
_PLAN = re.compile(r"^1\.\.(\d{1,6})$")
_BAIL = re.compile(r"^Bail out!\s*(.*)$")
_TOLD = re.compile(r"\s# (?=expected )")


def parse_tap(text: str, root: str) -> Report:
    """Counts and failures; a test that the plan promises and that told nothing has failed."""
    lines = lines_of(text)
    plans = [int(match[1]) for line in lines if (match := _PLAN.match(line))]
    results = {int(match[2]): match for line in lines if (match := _RESULT.match(line))}
    for index, line in enumerate(lines):
        if match := _BAIL.match(line):
            return _bailed(match[1], lines[index + 1 :], root)
    failures = [_failure(match) for match in results.values() if match[1]]
    skipped = sum("# SKIP" in (match[3] or "") for match in results.values() if not match[1])
    passed = len(results) - len(failures) - skipped
    missing = max(0, plans[0] - len(results)) if plans else 0
    if missing:
        failures.append(
            Failure(test=f"test {min(set(range(1, plans[0] + 1)) - set(results))}", error="ended early")
        )
    problem = (
        ""
        if passed and plans and not missing
        else "the program did not finish"
        if passed
        else "no test passed"
    )
    failed = max(len(failures), len(failures) - 1 + missing if missing else 0)
    return Report(passed, failed, tuple(failures[:FAILURES]), bool(plans), problem)


def _failure(match: re.Match[str]) -> Failure:
    name, *told = _TOLD.split(match[3] or "", maxsplit=1)
    return Failure(test=name or f"test {match[2]}", message=clip([told[0] if told else ""]), source=name)


def _bailed(reason: str, rest: list[str], root: str) -> Report:
    """The program could not start; its compiler's places are the failures."""
    found = parse_any("\n".join(rest), root)
    failures = found.failures or (Failure(test="build", error="build", message=clip([reason, *rest[:20]])),)
    return Report(0, len(failures), failures, True, "no test passed")
