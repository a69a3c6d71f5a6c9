"""Failing tests on a run's page: before the change, with what was seen of them, and after it."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Final

from agent.page_room import Room, Shown, line
from memory.records import CheckRan, CheckResult, Failure, Observed, Payload
from memory.runtime import ObservedTest, RuntimeEvidence

TESTS: Final = 40
"""Failing tests shown."""
VALUE_CHARS: Final = 300

Watched = tuple[ObservedTest, RuntimeEvidence]
"""A test and the evidence that it is part of."""


@dataclass(frozen=True, slots=True)
class FrameView:
    """A stack frame, with what its names held where that was seen."""

    place: str
    function: str
    values: list[tuple[str, Shown]]


@dataclass(frozen=True, slots=True)
class TestView:
    """A test that failed before the change, and what became of it."""

    name: str
    check: str
    error: str
    message: Shown
    source: str
    compared: str
    frames: list[FrameView]
    covered: str
    after: str
    """`passes`, `fails`, or `not run again`."""
    now: Shown | None
    """What it says now, where it fails otherwise than before."""


def tests_view(payloads: Sequence[Payload], room: Room) -> tuple[list[TestView], int]:
    """Tests that failed when the run began, and how many more there are."""
    checks = [item for item in payloads if isinstance(item, CheckRan)]
    before = [item.result for item in checks if item.purpose == "gather" and not item.result.passed]
    later = {item.result.check: item.result for item in checks if item.purpose in ("step", "verdict")}
    seen: dict[str, Watched] = {}
    for evidence in (item.evidence for item in payloads if isinstance(item, Observed)):
        for test in evidence.failing:
            seen.setdefault(test.test, (test, evidence))
    pairs = [(result, failure) for result in before for failure in result.failures]
    shown = [
        _test(result, failure, seen.get(failure.test), later.get(result.check), room)
        for result, failure in pairs[:TESTS]
    ]
    return shown, len(pairs) - len(shown)


def _test(
    result: CheckResult,
    failure: Failure,
    seen: Watched | None,
    later: CheckResult | None,
    room: Room,
) -> TestView:
    raised = seen[0].raised if seen else None
    now = next((each for each in later.failures if each.test == failure.test), None) if later else None
    told = later is not None and (later.passed or bool(later.tests_passed or later.tests_failed))
    after = "fails" if now else "passes" if told else "not run again"
    message = failure.message or (raised.message if raised else "")
    return TestView(
        name=line(failure.test or result.check),
        check=line(result.check),
        error=line(failure.error),
        message=room.show(message, 1_500),
        source=line(failure.source.strip()),
        compared=line(" ".join(raised.compared)) if raised and raised.compared else "",
        frames=list(_frames(failure, seen[0] if seen else None, room)),
        covered=_covered(seen) if seen else "",
        after=after,
        now=room.show(now.message, 1_500) if now and now.message != failure.message else None,
    )


def _frames(failure: Failure, seen: ObservedTest | None, room: Room) -> Iterator[FrameView]:
    if seen and seen.raised and seen.raised.frames:
        for frame in seen.raised.frames:
            values = [(line(name, 80), room.show(value, VALUE_CHARS)) for name, value in frame.values]
            yield FrameView(f"{line(frame.path)}:{frame.line}", line(frame.function), values)
        return
    for known in failure.frames[-10:]:
        yield FrameView(f"{line(known.path)}:{known.line}", line(known.function), [])


def _covered(seen: Watched) -> str:
    """`gcd.py 1-3, 5` for the files that a test ran."""
    covers = seen[1].covers
    parts = []
    for cover in [covers[place] for place in seen[0].covers if place < len(covers)][:6]:
        ranges = [f"{first}-{last}" if last > first else str(first) for first, last in cover.ranges[:12]]
        more = ", …" if len(cover.ranges) > 12 else ""
        parts.append(f"{line(cover.path, 120)} {', '.join(ranges)}{more}")
    return " · ".join(parts)
