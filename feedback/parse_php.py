"""Reads the output of PHPUnit, and what PHP itself says when it cannot go on."""

import re

from feedback.report import FAILURES, Report, clip, frame, innermost, lines_of
from memory.records import Failure

_OK = re.compile(r"^OK \((\d{1,8}) tests?, \d{1,8} assertions?\)$")
_COUNTS = re.compile(r"^Tests: (\d{1,8}), Assertions: \d{1,8}(.{0,200})\.$")
_COUNT = re.compile(r"(Errors|Failures|Skipped|Incomplete|Risky): (\d{1,8})")
_SECTION = re.compile(r"^There (?:was|were) \d{1,8} (\w{1,40}?)s?:$")
_TITLE = re.compile(r"^\d{1,6}\) (.{1,300})$")
_PLACE = re.compile(r"^(/\S{1,300}\.\w{1,10}|phar://\S{1,300}):(\d{1,8})$")
_THROWN = re.compile(r"^((?:[\w\\]{1,200}\\)?(?:[A-Z]\w{0,120})?(?:Error|Exception))(?:: (.*))?$")
_FATAL = re.compile(
    r"^(?:PHP )?(Fatal|Parse) error: {1,3}(.{1,400}?) in (/\S{1,300}\.php)(?: on line |:)(\d{1,8})$"
)
_ENDS = ("FAILURES!", "ERRORS!", "WARNINGS!", "OK, but")


def parse_phpunit(text: str, root: str) -> Report:
    """Counts and failures of PHPUnit; a fatal error when it did not get that far."""
    lines = lines_of(text)
    counts = _counts(lines)
    failures = _blocks(lines, root) or _fatal(lines, root)
    passed, failed = counts or (0, 0)
    problem = "" if passed else "no test passed"
    return Report(passed, max(failed, len(failures)), tuple(failures[:FAILURES]), counts is not None, problem)


def _counts(lines: list[str]) -> tuple[int, int] | None:
    """Passed and failed of the last summary."""
    for line in reversed(lines):
        if match := _OK.match(line):
            return int(match[1]), 0
        if match := _COUNTS.match(line):
            others = {name: int(number) for name, number in _COUNT.findall(match[2])}
            failed = others.get("Errors", 0) + others.get("Failures", 0)
            return max(0, int(match[1]) - sum(others.values())), failed
    return None


def _blocks(lines: list[str], root: str) -> list[Failure]:
    """Numbered blocks below `There was 1 failure:` or `error:`, not those of skipped or risky tests."""
    blocks: list[tuple[str, list[str]]] = []
    section = ""
    inside = False
    for line in lines:
        if match := _SECTION.match(line):
            section, inside = match[1], False
        elif section in ("error", "failure") and (match := _TITLE.match(line)):
            blocks.append((match[1], []))
            inside = True
        elif line == "--" or line.startswith(_ENDS):
            section, inside = "", False
        elif inside:
            blocks[-1][1].append(line)
    return [_failure(title, body, root) for title, body in blocks]


def _failure(title: str, body: list[str], root: str) -> Failure:
    frames = [frame(match[1], match[2], "", root) for line in body if (match := _PLACE.match(line))]
    told = [line for line in body if line.strip() and not _PLACE.match(line)]
    error = "AssertionError"
    if told and (match := _THROWN.match(told[0])):
        error, told = match[1].rpartition("\\")[2], [match[2] or "", *told[1:]]
    return Failure(test=title, error=error, message=clip(told[:16]), frames=innermost(reversed(frames)))


def _fatal(lines: list[str], root: str) -> list[Failure]:
    """PHP prints it twice where it logs to the terminal, so each place counts once."""
    found = {match[3] + match[4]: match for line in lines if (match := _FATAL.match(line))}
    return [
        Failure(
            test="",
            error=f"{match[1]} error",
            message=clip([match[2]]),
            frames=innermost([frame(match[3], match[4], "", root)]),
        )
        for match in found.values()
    ]
