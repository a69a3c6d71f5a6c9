"""Reads the output of JUnit: its console launcher (the command `junit`), JUnitCore, Surefire, and javac."""

import re

from feedback.report import FAILURES, Report, clip, frame, innermost, lines_of
from memory.records import Failure, Frame

_PASSED = re.compile(r"^\[\s{1,20}(\d{1,9}) tests successful\s{1,20}\]$")
_FAILED = re.compile(r"^\[\s{1,20}(\d{1,9}) (?:tests|containers) failed\s{1,20}\]$")
_TITLE = re.compile(r"^  (JUnit \w{1,40}):(.{1,400})$")
_SOURCE = re.compile(r"^    \w{1,20}Source \[className = '(.{1,200}?)'(?:, methodName = '(.{1,200}?)')?")
_THROWN = re.compile(r"^\s{0,8}(?:=> )?((?:[\w$]{1,80}\.){1,12}[A-Z][\w$]{0,120}): ?(.*)$|^\s{0,8}=> (.+)$")
_AT = re.compile(
    r"^\s{1,12}(?:at )?(?:[\w.@-]{1,80}/)?([\w.$]{1,200}\.[\w$<>]{1,120})"
    r"\(([\w./+-]{1,300}\.java):(\d{1,8})\)$"
)
_RUN = re.compile(
    r"^(?:\[\w{4,7}\] )?Tests run: (\d{1,8}),\s{1,3}Failures: (\d{1,8})"
    r"(?:, Errors: (\d{1,8}))?(?:, Skipped: (\d{1,8}))?$"
)
_OK = re.compile(r"^OK \((\d{1,8}) tests?\)$")
_CORE = re.compile(r"^\d{1,5}\) (\w{1,200})\(([\w.$]{1,300})\)$")
_BUILD = re.compile(
    r"^(?:\[ERROR\] )?(?:\./)?(\S{1,300}\.java):\[?(\d{1,8})(?:,\d{1,6}\])?:? (?:error: )?(.+)$"
)
_MAIN = re.compile(r'^"main" #\d')


def parse_junit(text: str, root: str) -> Report:
    """Counts and failures; a file that does not compile, and the stack at a timeout."""
    lines = lines_of(text)
    counts = _console(lines) or _surefire(lines)
    failures = _blocks(lines, root) or _core(lines, root) or _build(lines, root) or _hanging(lines, root)
    passed, failed = counts or (0, 0)
    problem = "" if passed else "no test passed"
    return Report(passed, max(failed, len(failures)), tuple(failures[:FAILURES]), counts is not None, problem)


def _console(lines: list[str]) -> tuple[int, int] | None:
    """Passed and failed of the launcher's last summary; a class whose preparation fails counts as failed."""
    passed = [int(match[1]) for line in lines if (match := _PASSED.match(line))]
    failed = [int(match[1]) for line in lines if (match := _FAILED.match(line))]
    return (passed[-1], sum(failed[-2:])) if passed and failed else None


def _surefire(lines: list[str]) -> tuple[int, int] | None:
    """Passed and failed of the last summary of Surefire or JUnitCore."""
    for line in reversed(lines):
        if match := _OK.match(line):
            return int(match[1]), 0
        if match := _RUN.match(line):
            run, failures, errors, skipped = (int(value or 0) for value in match.groups())
            return max(0, run - failures - errors - skipped), failures + errors
    return None


def _blocks(lines: list[str], root: str) -> list[Failure]:
    """The launcher's list of failures: a title, where the test is declared, what was thrown, its frames."""
    start = next((i for i, line in enumerate(lines) if re.match(r"^Failures \(\d{1,8}\):$", line)), None)
    if start is None:
        return []
    blocks: list[tuple[str, list[str]]] = []
    for line in lines[start + 1 :]:
        if line.startswith("Test run finished"):
            break
        if match := _TITLE.match(line):
            blocks.append((match[2], []))
        elif blocks:
            blocks[-1][1].append(line)
    return [_failure(_name(title, body), body, root) for title, body in blocks]


def _name(title: str, body: list[str]) -> str:
    """`org.x.AdderTest.adds`, with the number of a parameterised test's run."""
    match = next((found for line in body[:2] if (found := _SOURCE.match(line))), None)
    if match is None:
        return title
    number = re.search(r":(\[\d{1,8}\].{0,80})$", title)
    return ".".join(filter(None, match.groups())) + (f" {number[1]}" if number else "")


def _core(lines: list[str], root: str) -> list[Failure]:
    """JUnitCore's numbered failures."""
    blocks: list[tuple[str, list[str]]] = []
    for line in lines:
        if match := _CORE.match(line):
            blocks.append((f"{match[2]}.{match[1]}", []))
        elif blocks and line.startswith(("FAILURES!!!", "Tests run:")):
            break
        elif blocks:
            blocks[-1][1].append(line)
    return [_failure(title, body, root) for title, body in blocks]


def _failure(test: str, body: list[str], root: str) -> Failure:
    error, message = "", []
    for line in body:
        if _AT.match(line) or _SOURCE.match(line) or line.strip() == "[...]":
            continue
        if not error and (match := _THROWN.match(line)):
            error, message = (match[1] or "").rpartition(".")[2], [match[2] or match[3] or ""]
        elif error and len(message) < 16:
            message.append(line.strip())
    return Failure(test=test, error=error, message=clip(message), frames=_frames(body, root))


def _frames(body: list[str], root: str) -> tuple[Frame, ...]:
    """Java lists the innermost frame first; frames of other classes have no path of the repository."""
    found = [match for line in body if (match := _AT.match(line))]
    own = [frame(match[2], match[3], match[1], root) for match in found if "/" in match[2] or _top(match[1])]
    return innermost(reversed(own))


def _top(function: str) -> bool:
    """True for a class without a package: its file lies at the root, so its path has no slash."""
    return function.count(".") == 1


def _build(lines: list[str], root: str) -> list[Failure]:
    failures = []
    for match in filter(None, map(_BUILD.match, lines)):
        if place := frame(match[1], match[2], "", root):
            message = clip([match[3]])
            failures.append(Failure(test="build", error="build", message=message, frames=(place,)))
    return failures


def _hanging(lines: list[str], root: str) -> list[Failure]:
    """The main thread's stack, told when the time was over."""
    start = next((i for i, line in enumerate(lines) if _MAIN.match(line)), None)
    if start is None:
        return []
    stack = []
    for line in lines[start + 1 :]:
        if not line.strip():
            break
        stack.append(line)
    frames = _frames(stack, root)
    test = frames[0].function if frames else ""
    return [Failure(test=test, error="timeout", message="it was still running", frames=frames)]
