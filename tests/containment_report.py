"""Counts the containment cases of a test run by group, for `make test-containment`.

A case is an id such as A01; several tests may belong to it. It failed when one of them did, it is
skipped when all of them are.
"""

import re
from collections import defaultdict
from collections.abc import Iterable, Mapping

GROUPS: Mapping[str, tuple[str, int]] = {
    "A": ("resource exhaustion", 10),
    "B": ("time, processes, signals", 9),
    "C": ("network, secrets, host surface", 8),
    "D": ("copy-in, copy-out, patches", 13),
    "E": ("malicious git", 10),
    "F": ("content and encoding", 6),
    "G": ("model output and server", 8),
    "H": ("interrupts, kill -9, daemon", 9),
    "I": ("the store", 10),
    "K": ("injection and terminal", 8),
}
"""Letter -> what the group is about, and how many cases it has."""

CASES = tuple(f"{group}{number:02}" for group, (_, count) in GROUPS.items() for number in range(1, count + 1))
_ID = re.compile(r"test_[a-z]+_([a-ik]\d\d)_")


def case_of(name: str) -> str:
    """Id of the case that a test belongs to, or an empty string."""
    found = _ID.match(name.rpartition("::")[2])
    return found[1].upper() if found else ""


def counts(outcomes: Iterable[tuple[str, str]]) -> list[str]:
    """Lines of a table from test ids and outcomes (`passed`, `failed`, `error`, `skipped`)."""
    by_case: dict[str, set[str]] = defaultdict(set)
    tests: dict[str, int] = defaultdict(int)
    for name, outcome in outcomes:
        if case := case_of(name):
            by_case[case].add(outcome)
            tests[case[0]] += 1
    lines = ["group                              cases  passed  failed  skipped  not run  tests"]
    totals = [0] * 6
    for group, (about, _) in GROUPS.items():
        count = sum(case.startswith(group) for case in CASES)
        found = [outcomes for case, outcomes in by_case.items() if case[0] == group]
        failed = sum(bool(one & {"failed", "error"}) for one in found)
        skipped = sum(one == {"skipped"} for one in found)
        row = [count, len(found) - failed - skipped, failed, skipped, count - len(found), tests[group]]
        lines.append(_line(f"{group} {about}", row))
        totals = [one + other for one, other in zip(totals, row, strict=True)]
    return [*lines, _line("all", totals)]


def _line(name: str, row: Iterable[int]) -> str:
    return f"{name:<33}" + "".join(
        f"{value:>{width}}" for value, width in zip(row, (7, 8, 8, 9, 9, 7), strict=True)
    )
