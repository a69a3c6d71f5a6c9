"""Reads the output of `go test` and `cargo test`, and `file:line` places in anything else."""

import re

from feedback.parse_python import tracebacks
from feedback.report import FAILURES, Report, clip, count, frame, innermost, lines_of, relative
from memory.records import Failure, Frame

_GO_FAIL = re.compile(r"^\s{0,40}--- FAIL: (\S{1,300}) \(")
_GO_PLACE = re.compile(r"^\s{1,40}(\S{1,200}\.go):(\d{1,8}): ?(.*)$")
_GO_BUILD = re.compile(r"^(\S{1,300}\.go):(\d{1,8}):\d{1,6}: (.*)$")
_GO_STACK = re.compile(r"^\t(\S{1,300}\.go):(\d{1,8})(?: \+0x[0-9a-f]+)?$")
_GO_END = re.compile(r"^(ok|FAIL|\?|---)\s+(\S+)")
_RUST_BLOCK = re.compile(r"^---- (.{1,200}) stdout ----$")
_RUST_PANIC = re.compile(r"^thread '.{0,200}' (?:\(\d+\) )?panicked at (.{1,300}):(\d{1,8}):\d{1,6}:?$")
_RUST_AT = re.compile(r"^\s{1,40}at (\S{1,300}):(\d{1,8}):\d{1,6}$")
_RUST_CALL = re.compile(r"^\s{1,8}\d{1,4}: (.{1,200})$")
_RUST_ERROR = re.compile(r"^error(?:\[(E\d{4})\])?: (.*)$")
_RUST_PLACE = re.compile(r"^\s{0,20}--> (\S{1,300}):(\d{1,8}):\d{1,6}$")
_RUST_PASSED = re.compile(r"^test result: .{0,20}?(\d{1,8}) passed")
_RUST_FAILED = re.compile(r"^test result: .{0,20}?\d{1,8} passed; (\d{1,8}) failed")
_PLACE = re.compile(
    r"^\s{0,40}(?:[\w./-]{1,100}: )?([\w./@+-]{1,200}\.[A-Za-z]\w{0,9})"
    r"[:(](\d{1,8})(?:[:,]\d{1,6})?\)?:? ?(.*)$"
)


def parse_go(text: str, root: str) -> Report:
    """Counts and failures of `go test` (`-v` for the number of passed tests)."""
    lines = lines_of(text)
    packages = [match[1] for line in lines if (match := _GO_END.match(line))]
    passed = sum(line.lstrip().startswith("--- PASS:") for line in lines) or packages.count("ok")
    failures = _go_tests(lines, root) or _go_build(lines, root) or _go_panic(lines, root)
    complete = "ok" in packages or "FAIL" in packages
    problem = "" if passed else "no test passed"
    return Report(passed, len(failures), tuple(failures[:FAILURES]), complete, problem)


def _go_tests(lines: list[str], root: str) -> list[Failure]:
    failures: list[Failure] = []
    last_panic = max((index for index, line in enumerate(lines) if line.startswith("panic:")), default=-1)
    for index, line in enumerate(lines):
        if not (match := _GO_FAIL.match(line)):
            continue
        body: list[str] = []
        for following in lines[index + 1 : index + 60]:
            ends = _GO_END.match(following) or _GO_FAIL.match(following)
            if ends or following.startswith(("===", "panic:")):
                break
            body.append(following)
        panic = "" if body or index > last_panic else lines[last_panic]
        if body or panic:
            frames = _go_places(body, root)
            if not frames and len(failures) < FAILURES:  # each looks through the rest of the output
                frames = _go_stack(lines[index:], root)
            told = [place[3] if (place := _GO_PLACE.match(item)) else item.strip() for item in body]
            error = "panic" if panic else ""
            message = clip(told) or panic.removeprefix("panic: ")
            failures.append(Failure(test=match[1], error=error, message=message, frames=frames))
    return failures


def _go_places(body: list[str], root: str) -> tuple[Frame, ...]:
    return innermost(frame(m[1], m[2], "", root) for line in body if (m := _GO_PLACE.match(line)))


def _go_stack(lines: list[str], root: str) -> tuple[Frame, ...]:
    places = [frame(match[1], match[2], "", root) for line in lines if (match := _GO_STACK.match(line))]
    return innermost(reversed(places))


def _go_build(lines: list[str], root: str) -> list[Failure]:
    found = [match for line in lines if (match := _GO_BUILD.match(line)) and relative(match[1], root)]
    return [_at_place("build", match, root) for match in found]


def _at_place(error: str, match: re.Match[str], root: str) -> Failure:
    """A failure from a match of path, line and message."""
    place = frame(match[1], match[2], "", root)
    return Failure(test=error, error=error, message=clip([match[3]]), frames=innermost([place]))


def _go_panic(lines: list[str], root: str) -> list[Failure]:
    told = next((line for line in lines if line.startswith("panic:")), "")
    if not told:
        return []
    error = "timeout" if "test timed out" in told else "panic"
    message = told.removeprefix("panic: ")
    return [Failure(test="", error=error, message=message, frames=_go_stack(lines, root))]


def parse_cargo(text: str, root: str) -> Report:
    """Counts and failures of `cargo test`."""
    lines = lines_of(text)
    passed, failed = count(lines, _RUST_PASSED), count(lines, _RUST_FAILED)
    failures = _rust_tests(lines, root) or _rust_build(lines, root)
    complete = any(line.startswith("test result:") for line in lines)
    problem = "" if passed else "no test passed"
    return Report(passed, max(failed, len(failures)), tuple(failures[:FAILURES]), complete, problem)


def _rust_tests(lines: list[str], root: str) -> list[Failure]:
    blocks: list[tuple[str, list[str]]] = []
    for line in lines:
        if match := _RUST_BLOCK.match(line):
            blocks.append((match[1], []))
        elif line.startswith("failures:") and blocks:
            break
        elif blocks:
            blocks[-1][1].append(line)
    return [_rust_failure(title, body, root) for title, body in blocks]


def _rust_failure(title: str, body: list[str], root: str) -> Failure:
    frames: list[Frame | None] = []
    function = ""
    told: list[str] = []
    for line in body:
        if match := _RUST_AT.match(line):
            frames.append(frame(match[1], match[2], function, root))
        elif match := _RUST_CALL.match(line):
            function = match[1]
        elif match := _RUST_PANIC.match(line):
            if not frames:
                frames.append(frame(match[1], match[2], "", root))
        elif not line.startswith(("stack backtrace:", "note: ")):
            told.append(line)
    stack = [item for item in frames[1:] if item] or frames[:1]
    return Failure(test=title, error="panic", message=clip(told), frames=innermost(reversed(stack)))


def _rust_build(lines: list[str], root: str) -> list[Failure]:
    failures = []
    for index, line in enumerate(lines):
        match = _RUST_ERROR.match(line)
        places = [m for item in lines[index + 1 : index + 4] if (m := _RUST_PLACE.match(item))]
        if match and places:
            place = frame(places[0][1], places[0][2], "", root)
            body = [match[2], *(item for item in lines[index + 2 : index + 8] if item.strip())]
            code = match[1] or "build"
            failures.append(Failure(test="build", error=code, message=clip(body), frames=innermost([place])))
    return failures


def parse_any(text: str, root: str) -> Report:
    """A Python traceback, else `file:line: message` places; no counts, so the exit code decides."""
    lines = lines_of(text)
    failures = tracebacks(lines, root)
    if not failures:
        found = [m for line in lines if (m := _PLACE.match(line)) and relative(m[1], root)]
        failures = [_at_place("", match, root) for match in found]
    return Report(0, len(failures), tuple(failures[:FAILURES]))
