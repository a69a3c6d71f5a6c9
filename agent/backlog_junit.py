"""A backlog's results as JUnit XML, which CI servers show: one test case an item.

Unsolved and needs-human are failures (a green build would hide that a person is wanted), infra-error and
parked are errors, cancelled and superseded are skipped. Waiting items are skipped too: one case for all.
"""

import io
import re
from collections.abc import Sequence
from typing import Final

from junitparser import Error, Failure, JUnitXml, Skipped, TestCase, TestSuite

from agent.backlog_results import Head, Result, State
from agent.inert import inert, inert_line

_ILLEGAL: Final = re.compile("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")
_KINDS: Final[dict[State, type[Failure | Error | Skipped]]] = {
    "unsolved": Failure,
    "needs-human": Failure,
    "infra-error": Error,
    "parked": Error,
    "cancelled": Skipped,
    "superseded": Skipped,
}
TITLE: Final = 200


def junit(results: Sequence[Result], head: Head) -> bytes:
    """The XML, as UTF-8."""
    suite = TestSuite(_line(head.name))
    suite.add_testcases([*map(_case, results), *_rest(head)])
    if head.started:
        suite.timestamp = _line(head.started)
    xml = JUnitXml(_line(head.name))
    xml.add_testsuite(suite)
    xml.update_statistics()  # type: ignore[no-untyped-call]
    into = io.BytesIO()
    xml.write(into)
    return into.getvalue()


def _case(result: Result) -> TestCase:
    case = TestCase(
        _line(f"{result.key}: {result.title}"[:TITLE]), _line(result.project or "backlog"), result.seconds
    )
    kind = _KINDS.get(result.standing)
    if kind is not None:
        entry = kind(_line(result.sentence[:TITLE] or result.standing), result.standing)
        entry.text = _text(result.sentence)
        case.result = [entry]
    told = {
        "run": result.run_id,
        "branch": result.branch,
        "issue": result.url,
        "page": result.page,
        "checks": f"{result.checks_passed} passed, {result.checks_failed} failed",
        "attempts": str(result.attempts),
    }
    case.system_out = "\n".join(f"{name}: {_line(value)}" for name, value in told.items() if value)
    return case


def _rest(head: Head) -> list[TestCase]:
    """What is no result: rows that could not be read, items that still wait."""
    cases = []
    for bad in head.bad:
        case = TestCase(_line(bad.where[:TITLE]), "source", 0.0)
        case.result = [Error(_line(bad.why[:TITLE]), "unreadable")]
        cases.append(case)
    if head.waiting:
        case = TestCase(f"{head.waiting} waiting", "backlog", 0.0)
        case.result = [Skipped("not finished when this was written", "waiting")]
        cases.append(case)
    return cases


def _text(text: str) -> str:
    """Text that XML may hold, with what steers a terminal or hides shown as an escape."""
    return _ILLEGAL.sub(lambda found: f"\\u{ord(found[0]):04x}", inert(text))


def _line(text: str) -> str:
    return _ILLEGAL.sub(lambda found: f"\\u{ord(found[0]):04x}", inert_line(text))
