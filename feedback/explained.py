"""What runtime evidence says, in a few lines for a model. The same evidence gives the same text."""

from feedback.evidence import is_test_path
from memory.runtime import ObservedTest, Raised, RuntimeEvidence, Seen

TESTS = 3
"""Failing tests told: different ones, as far as there are."""
FRAMES = 2
"""Innermost frames told of each, innermost first; the test's own comes after them."""
LINE = 200
"""Characters of one line."""


def explained(evidence: RuntimeEvidence, limit: int = 900) -> str:
    """The first failing tests with their values, in at most `limit` characters; empty without any.

    Whole lines only: what does not fit any more is left out from the end.
    """
    chosen = _chosen(evidence.failing)
    blocks = [_told(test.test, test.raised) for test in chosen if test.raised]
    room = max(limit // max(1, len(blocks)), 160)
    kept: list[str] = []
    size = 0
    for block in blocks:
        share = min(limit, size + room)
        for index, line in enumerate(block):
            if size + len(line) + 1 <= share or (not index and size + len(line) + 1 <= limit):
                kept.append(line)
                size += len(line) + 1
    return "\n".join(kept)


def _chosen(failing: tuple[ObservedTest, ...]) -> list[ObservedTest]:
    """The first test of each way to fail, then further ones."""
    first: dict[object, ObservedTest] = {}
    for test in failing:
        if test.raised:
            first.setdefault((test.raised.error, *_place(test.raised)), test)
    others = [test for test in failing if test.raised and test not in first.values()]
    return [*first.values(), *others][:TESTS]


def _place(raised: Raised) -> tuple[str, int]:
    return (raised.frames[-1].path, raised.frames[-1].line) if raised.frames else ("", 0)


def _told(test: str, raised: Raised) -> list[str]:
    """The failure, what was compared, the test's frame and the innermost ones of the sources."""
    message = "" if raised.compared else raised.message
    lines = [_line(f"{test}: {raised.error}" + (f": {message}" if message else ""))]
    if raised.compared:
        left, operator, right = raised.compared
        lines.append(_line(f"  compared: {left} {operator} {right}"))
    own = [frame for frame in raised.frames if is_test_path(frame.path)][-1:]
    inner = [frame for frame in raised.frames if not is_test_path(frame.path)]
    return lines + [_line(f"  {_where(frame)}") for frame in (*inner[-FRAMES:][::-1], *own)]


def _where(frame: Seen) -> str:
    held = ", ".join(f"{name}={value}" for name, value in frame.values)
    return f"in {frame.path} line {frame.line}, {frame.function}" + (f": {held}" if held else "")


def _line(text: str) -> str:
    return text if len(text) <= LINE else f"{text[: LINE - 1]}…"
