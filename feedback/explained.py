"""What runtime evidence says, in a few lines for a model. The same evidence gives the same text."""

from feedback.checks import cut
from feedback.evidence import is_test_path
from feedback.runtime import ObservedTest, Raised, RuntimeEvidence, Seen

TESTS = 3
"""Failing tests told: different ones, as far as there are."""
FRAMES = 2
"""Innermost frames told of each, besides the test's own."""


def explained(evidence: RuntimeEvidence, limit: int = 900) -> str:
    """The first failing tests with their values, in at most `limit` characters; empty without any."""
    chosen = _chosen(evidence.failing)
    if not chosen:
        return ""
    share = max(120, limit // len(chosen) - 1)
    return cut("\n".join(cut(_told(test, test.raised), share) for test in chosen if test.raised), limit)


def _chosen(failing: tuple[ObservedTest, ...]) -> list[ObservedTest]:
    """The first test of each way to fail, then further ones."""
    told = [test for test in failing if test.raised]
    first: dict[tuple[str, str, int], ObservedTest] = {}
    for test in told:
        where = test.raised.frames[-1] if test.raised and test.raised.frames else None
        kind = (
            test.raised.error if test.raised else "",
            where.path if where else "",
            where.line if where else 0,
        )
        first.setdefault(kind, test)
    others = [test for test in told if all(test is not known for known in first.values())]
    return [*first.values(), *others][:TESTS]


def _told(test: ObservedTest, raised: Raised) -> str:
    reason = f"{raised.error}: {raised.message}" if raised.message else raised.error
    lines = [f"{test.test}: {reason}"]
    if raised.compared:
        left, operator, right = raised.compared
        lines.append(f"  compared: {left} {operator} {right}")
    own = [frame for frame in raised.frames if is_test_path(frame.path)][-1:]
    inner = [frame for frame in raised.frames if not is_test_path(frame.path)][-FRAMES:]
    lines += [f"  {_where(frame)}" for frame in (*own, *inner)]
    return "\n".join(lines)


def _where(frame: Seen) -> str:
    held = ", ".join(f"{name}={value}" for name, value in frame.values)
    return f"in {frame.path} line {frame.line}, {frame.function}" + (f": {held}" if held else "")
