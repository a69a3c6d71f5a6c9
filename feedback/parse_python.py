"""Reads unittest's output and plain Python tracebacks, from whatever printed them."""

import re
from collections.abc import Iterator

from feedback.report import FAILURES, Report, clip, frame, innermost, lines_of
from memory.records import Failure, Frame

_FILE = re.compile(r'^\s{1,12}File "([^"]{1,400})", line (\d{1,8})(?:,? in (.{1,200}))?')
_HEAD = re.compile(r"^(FAIL|ERROR): (.{1,400})$")
_RAN = re.compile(r"^Ran (\d{1,8}) tests? in ")
_TALLY = re.compile(r"(failures|errors|skipped|expected failures)=(\d{1,8})")
_TYPE = re.compile(r"^([A-Za-z_][\w.]{0,160})(?:: (.*)|:?)$")
_START = "Traceback (most recent call last):"


def parse_unittest(text: str, root: str) -> Report:
    """Counts and failures of a unittest run."""
    lines = lines_of(text)
    ran = [int(match[1]) for line in lines if (match := _RAN.match(line))]
    failures = [_block(title, body, root) for title, body in _blocks(lines)]
    if not ran:
        failures += tracebacks(lines, root)
    last = next((line for line in reversed(lines) if line.startswith(("OK", "FAILED"))), "")
    tally = {word: int(number) for word, number in _TALLY.findall(last)}
    failed = tally.get("failures", 0) + tally.get("errors", 0)
    passed = max(0, sum(ran) - failed - tally.get("skipped", 0))
    problem = "unittest did not finish" if not ran else "" if passed else "no test passed"
    return Report(passed, max(failed, len(failures)), tuple(failures[:FAILURES]), bool(ran), problem)


def tracebacks(lines: list[str], root: str) -> list[Failure]:
    """The last traceback of an output, and a fault handler's dump, as failures."""
    starts = [i for i, line in enumerate(lines) if line.rstrip().endswith(_START)]
    if starts:
        return [_block("", lines[starts[-1] :], root)]
    frames = dumped(lines, root)
    return [timed_out("", frames)] if frames else []


def timed_out(test: str, frames: tuple[Frame, ...]) -> Failure:
    """The failure of a test that was still running when the time was over."""
    return Failure(test=test, error="timeout", message="it did not end in time", frames=frames)


def dumped(lines: list[str], root: str) -> tuple[Frame, ...]:
    """Frames of the last `most recent call first` dump, turned so that the innermost is last."""
    starts = [i for i, line in enumerate(lines) if line.rstrip().endswith("(most recent call first):")]
    if not starts:
        return ()
    found = []
    for line in lines[starts[-1] + 1 :]:
        match = _FILE.match(line)
        if not match:
            break
        found.append(frame(match[1], match[2], match[3] or "", root))
    return innermost(reversed(found))


def syntax_place(lines: list[str], root: str) -> Frame | None:
    """Where a SyntaxError points: its `File` line stands inside the message, under an `E` in pytest."""
    for line in reversed(lines):
        if match := _FILE.match(line.removeprefix("E")):
            return frame(match[1], match[2], "", root)
    return None


def _blocks(lines: list[str]) -> Iterator[tuple[str, list[str]]]:
    """`FAIL: test (where)` blocks between `=====` rules."""
    title = ""
    body: list[str] = []
    for previous, line in zip(["", *lines], lines, strict=False):
        match = _HEAD.match(line)
        if match and previous.startswith("====="):
            if title:
                yield title, body
            title, body = match[2], []
        elif _RAN.match(line):
            break
        else:
            body.append(line)
    if title:
        yield title, body


def _block(title: str, body: list[str], root: str) -> Failure:
    """One traceback: the last `Traceback` of the block, its frames and what follows them."""
    starts = [i for i, line in enumerate(body) if line.rstrip().endswith(_START)]
    lines = body[starts[-1] + 1 :] if starts else body
    frames: list[Frame | None] = []
    source, end = "", len(lines)
    for index, line in enumerate(lines):
        if match := _FILE.match(line):
            frames.append(frame(match[1], match[2], match[3] or "", root))
            following = lines[index + 1].strip() if index + 1 < len(lines) else ""
            if frames[-1] and (match[3] or "").startswith("test"):
                source = following
        elif line and not line.startswith((" ", "\t")) and frames:
            end = index
            break
    error, message = _reason(lines[end:])
    if error == "KeyboardInterrupt":
        error, message = "timeout", "it did not end in time"
    return Failure(test=_name(title), error=error, message=message, source=source, frames=innermost(frames))


def _reason(lines: list[str]) -> tuple[str, str]:
    rule = next((i for i, line in enumerate(lines) if line.startswith(("=====", "-----"))), len(lines))
    told = lines[:rule]
    match = _TYPE.match(told[0]) if told else None
    if not match:
        return "", clip(told)
    return match[1].rpartition(".")[2], clip([match[2] or "", *told[1:]])


def _name(title: str) -> str:
    """`test_a (tests.test_u.TestA.test_a) (i=1)` as `tests.test_u.TestA.test_a (i=1)`, older forms too."""
    match = re.match(r"^(\w{1,200}) \(([\w.]{1,300})\)(.*)$", title)
    if not match:
        return title
    where = match[2] if match[2].endswith("." + match[1]) else f"{match[2]}.{match[1]}"
    return where + match[3]
