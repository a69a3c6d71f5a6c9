"""Reads pytest's output in its `--tb=short -rfE` form, also when the run was interrupted."""

import re

from feedback.parse_python import dumped, syntax_place, timed_out
from feedback.report import FAILURES, Report, clip, frame, innermost, lines_of
from memory.records import Failure, Frame

_RULE = re.compile(r"^=+ (ERRORS|FAILURES|short test summary info|warnings summary) =+$")
_CAPTURED = re.compile(r"^-{3,} Captured ")
_TITLE = re.compile(r"^_{2,} (.{1,400}?) _{2,}$")
_FRAME = re.compile(r"^(\S.{0,300}?):(\d{1,8}): in (.{1,200})$")
_LAST = re.compile(r"^=* ?((?:\d+ [a-z]+(?:, )?)+) in [\d.]+s.{0,40}$")
_COUNT = re.compile(r"(\d+) ([a-z]+)")
_TYPE = re.compile(r"^([A-Za-z_][\w.]{0,120}?)(?:: (.*)|:?)$")
_KILLED = re.compile(r"^(\S.{0,300}):(\d{1,8}): KeyboardInterrupt$")
_USAGE = re.compile(r"^(?:ERROR: |.{0,80}: error: )(.*)$")

_Section = tuple[str, list[str]]
"""Title and lines of one failure."""


def parse_pytest(text: str, root: str) -> Report:
    """Counts and failures of a pytest run."""
    lines = lines_of(text)
    totals = _totals(lines)
    sections = _sections(lines)
    failures = _named(sections["ERRORS"], "ERROR ", lines, root)
    failures += _named(sections["FAILURES"], "FAILED ", lines, root)
    failures += _hanging(lines, root)
    passed = totals.get("passed", 0) + totals.get("xpassed", 0)
    failed = totals.get("failed", 0) + totals.get("error", 0) + totals.get("errors", 0)
    problem = "" if passed else "no test passed" if totals else "pytest did not finish"
    if not totals and not failures:
        failures += _unstarted(lines, root)
    return Report(passed, max(failed, len(failures)), tuple(failures[:FAILURES]), bool(totals), problem)


def _totals(lines: list[str]) -> dict[str, int]:
    for line in reversed(lines):
        if match := _LAST.match(line):
            return {word: int(number) for number, word in _COUNT.findall(match[1])}
    return {}


def _sections(lines: list[str]) -> dict[str, list[_Section]]:
    """Titled blocks under the ERRORS and the FAILURES rule."""
    found: dict[str, list[_Section]] = {"ERRORS": [], "FAILURES": []}
    inside = ""
    for line in lines:
        if match := _RULE.match(line):
            inside = match[1]
        elif inside in found and (title := _TITLE.match(line)):
            found[inside].append((title[1], []))
        elif found.get(inside):
            found[inside][-1][1].append(line)
    return found


def _failure(title: str, body: list[str], root: str) -> Failure:
    """One section, without the captured output at its end."""
    cut = next((i for i, line in enumerate(body) if _CAPTURED.match(line)), None)
    traceback = body[:cut]
    frames: list[Frame | None] = []
    source = ""
    for index, line in enumerate(traceback):
        if match := _FRAME.match(line):
            frames.append(frame(match[1], match[2], match[3], root))
            if frames[-1] and match[3].startswith("test") and index + 1 < len(traceback):
                source = traceback[index + 1].strip()
    error, message = _reason(traceback)
    if error in ("SyntaxError", "IndentationError", "TabError"):
        frames.append(syntax_place(traceback, root))
    return Failure(test=title, error=error, message=message, source=source, frames=innermost(frames))


def _reason(traceback: list[str]) -> tuple[str, str]:
    """Exception type and message from the last run of `E` lines."""
    ends = [i for i, line in enumerate(traceback) if line[:2] in ("E ", "E")]
    if not ends:
        return "", clip(line for line in traceback if line.strip())
    first = ends[-1]
    while first and traceback[first - 1][:2] in ("E ", "E"):
        first -= 1
    group = [line[4:] for line in traceback[first : ends[-1] + 1]]
    for index, line in enumerate(group):
        if line.startswith("assert "):
            return "AssertionError", clip(group)
        if (match := _TYPE.match(line)) and not line.startswith(" "):
            rest = [match[2] or "", *group[index + 1 :]]
            place = [before for before in group[:index] if not before.lstrip().startswith('File "')]
            return match[1].rpartition(".")[2], clip([*rest, *place])
    return "", clip(group)


def _named(sections: list[_Section], word: str, lines: list[str], root: str) -> list[Failure]:
    """Failures with test ids instead of section titles: the summary names them in the same order."""
    starts = [index for index, line in enumerate(lines) if "short test summary info" in line]
    summary = lines[starts[-1] :] if starts else []
    ids = [line.removeprefix(word) for line in summary if line.startswith(word)]
    if len(ids) != len(sections):
        ids = [""] * len(sections)
    failures = [_failure(title, body, root) for title, body in sections]
    return [
        item.model_copy(update={"test": _id(line, item)}) for line, item in zip(ids, failures, strict=True)
    ]


def _id(line: str, failure: Failure) -> str:
    """`path::name` of one summary line; from the frames when the summary was cut off."""
    title = re.sub(r"^ERROR (?:collecting|at setup of|at teardown of) ", "", failure.test)
    head, bracket, parameters = title.partition("[")
    name = head.replace(".", "::") + bracket + parameters
    end = line.find("::" + name)
    if end >= 0:
        return line[: end + 2 + len(name)]
    if line:
        return line.partition(" - ")[0]
    tests = [item.path for item in failure.frames if item.function.startswith("test")]
    return f"{tests[0]}::{name}" if tests else title


def _hanging(lines: list[str], root: str) -> list[Failure]:
    """The test that was running when the time was over."""
    frames = dumped(lines, root)
    for line in reversed(lines):
        if match := _KILLED.match(line):
            last = frame(match[1], match[2], "", root)
            if last and (not frames or frames[-1].path != last.path):
                frames = (*frames, last)
            break
    else:
        return []
    test = next((item for item in frames if item.function.startswith("test")), None)
    name = f"{test.path}::{test.function}" if test else "the running test"
    return [timed_out(name, frames)]


def _unstarted(lines: list[str], root: str) -> list[Failure]:
    """A conftest or an option that kept pytest from starting."""
    body = [line for line in lines if line.strip()]
    if any(line.startswith("E  ") for line in body):
        return [_failure("pytest start", body, root)]
    told = [match[1] for line in body if (match := _USAGE.match(line))]
    return [Failure(test="pytest start", error="usage", message=clip(told))] if told else []
