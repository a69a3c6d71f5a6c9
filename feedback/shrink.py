"""The short failing text that goes to a model: what failed, expected against got, and where."""

from feedback.checks import cut
from memory.records import CheckResult, Failure, Status

FRAMES_SHOWN = 4
"""Innermost frames told of one failure."""


def shrink(result: CheckResult, chars: int = 2_000, failures: int = 5) -> str:
    """A check result in at most `chars` characters: parsed failures, or the output's head and tail.

    Failures that say the same (one cause, many parameters) are told once with their number.
    """
    title = headline(result)
    if result.passed:
        return title
    groups = _groups(result.failures)
    if not groups:
        return f"{title}\n{cut(result.output.strip(), max(200, chars - len(title) - 1))}"
    share = max(160, (chars - len(title)) // min(len(groups), failures) - 1)
    told = [_block(members, share) for members in groups[:failures]]
    left = len(groups) - len(told)
    more = f"\n(and {left} more)" if left > 0 else ""
    return cut("\n".join([title, *told]) + more, chars)


def headline(result: CheckResult) -> str:
    """Such as `pytest: failed, 2 failed, 3 passed`."""
    if result.passed:
        count = f", {result.tests_passed} passed" if result.tests_passed else ""
        return f"{result.check}: passed{count}"
    if result.status == Status.TIMEOUT:
        how = f"did not end within {result.duration_s:.0f} s"
    elif result.status in (Status.OK, Status.NONZERO):
        how = "failed"
    else:
        how = result.detail or f"ended with {result.status.value}"
    counts = f", {result.tests_failed} failed, {result.tests_passed} passed" if result.tests_failed else ""
    return f"{result.check}: {how}{counts}"


def _groups(failures: tuple[Failure, ...]) -> list[list[Failure]]:
    """Failures with one error, message and place together, in order."""
    found: dict[tuple[object, ...], list[Failure]] = {}
    for item in failures:
        place = item.frames[-1] if item.frames else None
        key = (item.error, item.message if not place else item.message[:80], place)
        found.setdefault(key, []).append(item)
    return list(found.values())


def _block(members: list[Failure], limit: int) -> str:
    item = members[0]
    others = f" (and {len(members) - 1} alike)" if len(members) > 1 else ""
    lines = [f"FAILED {item.test or 'command'}{others}"]
    if item.source:
        lines.append(f"  {item.source}")
    places = [
        f"  at {place.path}:{place.line}" + (f" in {place.function}" if place.function else "")
        for place in item.frames[-FRAMES_SHOWN:]
    ]
    spare = limit - sum(len(line) + 1 for line in [*lines, *places]) - len(item.error) - 4
    message = cut(item.message, max(80, spare)).replace("\n", "\n  ")
    reason = f"{item.error}: {message}" if item.error and message else item.error or message
    return "\n".join([*lines, f"  {reason}", *places])
