"""What a test runner's output says, and the small text helpers its parsers share.

Output is untrusted: every regex here works on one line cut to LINE characters, so no input can make
it slow, and nothing parsed decides alone that a check passed.
"""

import posixpath
import re
from collections.abc import Iterable
from dataclasses import dataclass

from memory.records import Failure, Frame

LINE = 600
"""Characters of one line that a parser looks at."""
LINES = 20_000
"""Lines of one output that a parser looks at, half from each end."""
FAILURES = 50
"""Failures kept of one check."""
FRAMES = 12
"""Innermost frames kept of one failure."""
MESSAGE = 1_500
"""Characters kept of one message."""

_ESCAPES = re.compile(r"\x1b\[[0-9;?]{0,32}[A-Za-z]|\r(?=\n)")
_OUTSIDE = ("site-packages/", "dist-packages/", "node_modules/", "/.venv/", "/rustc/", "node:")


@dataclass(frozen=True, slots=True)
class Report:
    """What was read out of one output."""

    passed: int = 0
    failed: int = 0
    failures: tuple[Failure, ...] = ()
    complete: bool = False
    """The runner's own summary was found, so the counts are its counts."""
    problem: str = ""
    """Why an exit code of 0 would still be no pass, such as `no tests were collected`."""


def lines_of(text: str) -> list[str]:
    """The lines of an output without colours, each cut to LINE, the middle left out past LINES."""
    lines = _ESCAPES.sub("", text).split("\n")
    if len(lines) > LINES:
        lines = lines[: LINES // 2] + lines[-LINES // 2 :]
    return [line[:LINE] for line in lines]


def relative(path: str, root: str) -> str:
    """The path within the repository, or empty when it lies outside."""
    if root and path.startswith(root.rstrip("/") + "/"):
        path = path[len(root.rstrip("/")) + 1 :]
    path = posixpath.normpath(path) if "/." in path else path.removeprefix("./")
    outside = path.startswith(("/", "..", "<")) or any(part in path for part in _OUTSIDE)
    return "" if outside or not path else path


def frame(path: str, line: str, function: str, root: str) -> Frame | None:
    """A frame inside the repository, or None."""
    inside = relative(path, root)
    return Frame(path=inside, line=int(line), function=function[:120]) if inside and len(line) < 9 else None


def innermost(frames: Iterable[Frame | None]) -> tuple[Frame, ...]:
    """The last FRAMES of them; a recursion's repeats are told once."""
    kept: list[Frame] = []
    for item in frames:
        if item is not None and item not in kept[-2:]:
            kept.append(item)
    return tuple(kept[-FRAMES:])


def clip(lines: Iterable[str], limit: int = MESSAGE) -> str:
    """Joined lines without blank ends, cut to `limit` characters."""
    text = "\n".join(line.rstrip() for line in lines).strip("\n")
    return text if len(text) <= limit else text[: limit - 2] + " …"


def count(lines: Iterable[str], pattern: re.Pattern[str]) -> int:
    """Sum of the pattern's first group over all lines."""
    found = (pattern.search(line) for line in lines)
    return sum(int(match[1]) for match in found if match)
