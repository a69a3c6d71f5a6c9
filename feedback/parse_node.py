"""Reads what `npm test` printed: TAP and the spec reporter of node:test, Jest, Vitest and Mocha."""

import re
from collections.abc import Callable

from feedback.report import FAILURES, Report, clip, frame, innermost, lines_of
from memory.records import Failure

_AT = re.compile(
    r"^\s{0,40}(?:at |❯ )?(?:([^()]{1,160}?) )?\(?((?:file://)?[^\s():]{1,300}):(\d{1,8}):\d{1,8}\)?"
)
_STACK = re.compile(
    r"^\s{0,40}(?:at |❯ )\S|^\s{0,40}node:\S{1,200}$"
    r"|^\s{0,10}(?:generatedMessage|code|operator):|^\s{0,10}\}$"
)
_NOT_OK = re.compile(r"^(\s{0,40})not ok \d{1,8}(?: -)? ?(.{0,300})$")
_FIELD = re.compile(r"^\s{0,60}(error|name|expected|actual|failureType): ?(.*)$")
_JEST_END = ("Test Suites:", "Tests ", "Tests:", "⎯⎯")
_CROSS = re.compile(r"^\s{0,40}✖ (.{1,300}?)(?: \([\d.]{1,20}ms\))?$")
_BULLET = re.compile(r"^\s{0,10}● (.{1,300})$")
_VITEST = re.compile(r"^ ?FAIL {1,3}(\S.{0,300} > .{1,200})$")
_NUMBERED = re.compile(r"^ {2,4}\d{1,4}\) (.{1,300})$")
_PASSED = re.compile(
    r"^(?:# pass|ℹ pass) (\d{1,8})$|^ {0,8}(\d{1,8}) passing\b|^\s{0,4}Tests:? .{0,60}?\b(\d{1,8}) passed"
)
_FAILED = re.compile(
    r"^(?:# fail|ℹ fail) (\d{1,8})$|^ {0,8}(\d{1,8}) failing\b|^\s{0,4}Tests:? .{0,60}?\b(\d{1,8}) failed"
)
_ERROR = re.compile(r"^\s{0,40}(?:Uncaught )?([A-Z]\w{0,80}(?:Error|Exception))(?: \[\w+\])?: ?(.*)$")


def parse_node(text: str, root: str) -> Report:
    """Counts and failures, as far as the runner is one of those named above."""
    lines = lines_of(text)
    passed, failed = _total(lines, _PASSED), _total(lines, _FAILED)
    failures: list[Failure] = []
    for read in (_tap, _spec, _jest, _mocha):
        failures = read(lines, root)
        if failures:
            break
    complete = passed is not None or failed is not None
    problem = "no test passed" if complete and not passed else ""
    return Report(passed or 0, max(failed or 0, len(failures)), tuple(failures[:FAILURES]), complete, problem)


def _total(lines: list[str], pattern: re.Pattern[str]) -> int | None:
    matches = [match for line in lines if (match := pattern.search(line))]
    return sum(int(match[match.lastindex or 1]) for match in matches) if matches else None


def _failure(test: str, body: list[str], root: str) -> Failure:
    """Type, message and frames of one block of free text; node lists the innermost frame first."""
    frames = [
        frame(match[2].removeprefix("file://"), match[3], (match[1] or "").strip(), root)
        for line in body
        if "node:" not in line and (match := _AT.match(line))
    ]
    told = [line.strip() for line in body if line.strip() and not _STACK.match(line)]
    error, message = "", told
    for index, line in enumerate(told):
        if match := _ERROR.match(line):
            error, message = match[1], [match[2], *told[index + 1 : index + 14]]
            break
    return Failure(test=test, error=error, message=clip(message[:16]), frames=innermost(reversed(frames)))


def _tap(lines: list[str], root: str) -> list[Failure]:
    """`not ok` lines with their YAML block; a suite that fails by its children is left out."""
    failures = []
    for index, line in enumerate(lines):
        match = _NOT_OK.match(line)
        if not match or "# TODO" in line or "# SKIP" in line:
            continue
        indent, body = match[1], []
        for following in lines[index + 1 : index + 200]:
            if following.strip() and not following.startswith(indent + "  "):
                break
            body.append(following)
            if following.strip() == "...":
                break
        fields = {found[1]: found[2].strip("'\" ") for item in body if (found := _FIELD.match(item))}
        if fields.get("failureType") == "subtestsFailed":
            continue
        failures.append(_tap_failure(match[2], fields, body, root))
        if len(failures) == FAILURES:  # the summary has their number
            break
    return failures


def _tap_failure(test: str, fields: dict[str, str], body: list[str], root: str) -> Failure:
    plain = _failure(test, [line for line in body if "location:" not in line], root)
    told = [fields.get("error", "")]
    if told[0] in ("|-", "|", ">-"):
        start = next(i for i, line in enumerate(body) if line.strip().startswith("error:"))
        width = len(body[start]) - len(body[start].lstrip())
        told = []
        for line in body[start + 1 :]:
            if line.strip() and len(line) - len(line.lstrip()) <= width:
                break
            told.append(line.strip())
    told += [f"{name}: {fields[name]}" for name in ("expected", "actual") if fields.get(name)]
    message = clip(line for line in told if line)
    return plain.model_copy(update={"error": fields.get("name", ""), "message": message})


def _blocks(
    lines: list[str], title: re.Pattern[str], stop: Callable[[str], bool]
) -> list[tuple[str, list[str]]]:
    """Text between one title and the next, or a line that ends it."""
    blocks: list[tuple[str, list[str]]] = []
    inside = False
    for line in lines:
        if match := title.match(line):
            blocks.append((match[1].strip(), []))
            inside = True
        elif inside and stop(line):
            inside = False
        elif inside and len(blocks[-1][1]) < 120:
            blocks[-1][1].append(line)
    return blocks


def _spec(lines: list[str], root: str) -> list[Failure]:
    start = next((i for i, line in enumerate(lines) if line.strip() == "✖ failing tests:"), None)
    if start is None:
        return []
    blocks = _blocks(lines[start + 1 :], _CROSS, lambda line: line.startswith("test at "))
    return [_failure(title, body, root) for title, body in blocks if any(line.strip() for line in body)]


def _jest(lines: list[str], root: str) -> list[Failure]:
    """Jest's `● suite › test` and Vitest's `FAIL file > suite > test`, each once."""
    for pattern in (_BULLET, _VITEST):
        blocks = _blocks(lines, pattern, lambda line: line.startswith(_JEST_END))
        failures = {title: _failure(title, _without_code(body), root) for title, body in reversed(blocks)}
        if failures:
            return list(reversed(failures.values()))
    return []


def _without_code(body: list[str]) -> list[str]:
    """The block without the source excerpt that both print."""
    return [line for line in body if not re.match(r"^\s{0,8}>?\s{0,8}\d{0,6}\s?\|", line)]


def _mocha(lines: list[str], root: str) -> list[Failure]:
    start = next((i for i, line in enumerate(lines) if re.match(r"^ {0,8}\d+ failing\b", line)), None)
    if start is None:
        return []
    blocks = _blocks(lines[start + 1 :], _NUMBERED, lambda line: line.startswith("npm "))
    return [_mocha_failure(title, body, root) for title, body in blocks]


def _mocha_failure(title: str, body: list[str], root: str) -> Failure:
    """Mocha spreads the title over lines until a colon."""
    names = [title]
    while body and not names[-1].endswith(":") and body[0].strip():
        names.append(body[0].strip())
        body = body[1:]
    return _failure(" ".join(names).rstrip(":"), body, root)
