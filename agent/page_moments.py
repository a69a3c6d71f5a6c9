"""The timeline on a run's page: its events in order, candidates and answers of the model told together."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from agent.display_log import told_lines
from agent.figures import count
from agent.page_room import Some, line, some
from agent.story import located, offsets
from memory.records import ActionStarted, CheckRan, Completed, Event, Payload, Prompted, Searched, Verdict

MOMENTS: Final = (100, 200)
"""Entries shown from the beginning and from the end."""
MOMENT_LINES: Final = 14


@dataclass(frozen=True, slots=True)
class Moment:
    """One entry of the timeline."""

    at: float
    phase: str
    seconds: float
    """Since the entry before."""
    style: str
    lines: list[str]


def moments(events: Sequence[Event]) -> Some[Moment]:
    """The timeline: candidates and answers of the model in between are one entry together."""
    phases = located(event.payload for event in events)
    groups: list[list[int]] = []
    for place, event in enumerate(events):
        if isinstance(event.payload, Prompted | ActionStarted) or _judging(event.payload):
            continue
        before = groups[-1][-1] if groups else -1
        together = groups and _busy(event.payload) and _busy(events[before].payload)
        if together and phases[before] == phases[place]:
            groups[-1].append(place)
        else:
            groups.append([place])
    times = [max(0.0, time) for time in offsets(events)]
    ends = [times[group[-1]] for group in groups]
    chosen = some(list(zip(groups, [0.0, *ends], strict=False)), MOMENTS)
    first, last = (
        [
            _moment(events, group, times[group[-1]], phases[group[-1]], max(0.0, times[group[-1]] - began))
            for group, began in part
        ]
        for part in (chosen.first, chosen.last)
    )
    return Some(first, chosen.left_out, last)


def _judging(payload: Payload) -> bool:
    """True for the single checks of a verdict, which tells them all."""
    return isinstance(payload, CheckRan) and payload.purpose == "verdict"


def _busy(payload: Payload) -> bool:
    return isinstance(payload, Completed | Searched) or (
        isinstance(payload, CheckRan) and payload.purpose == "candidate"
    )


def _moment(events: Sequence[Event], places: list[int], at: float, phase: str, seconds: float) -> Moment:
    payloads = [events[place].payload for place in places]
    if _busy(payloads[0]):
        return Moment(at, phase, seconds, "dim", [_business(payloads)])
    if isinstance(payloads[0], Verdict):  # its table stands elsewhere on the page
        evaluation = payloads[0].evaluation
        said = line(evaluation.detail or "judged", 600)
        return Moment(at, phase, seconds, "green" if evaluation.accepted else "red", [f"Verdict: {said}"])
    action = next(
        (
            item.action
            for item in (event.payload for event in reversed(events[: places[0]]))
            if isinstance(item, ActionStarted)
        ),
        None,
    )
    lines = told_lines(events[places[0]], action)
    colours = {word for part in lines[:1] for word in _styles(part.style, *(s.style for s in part.spans))}
    style = next((word for word in ("red", "yellow", "green", "dim") if word in colours), "")
    texts = [line(part.plain, 600) for part in lines[:MOMENT_LINES]]
    more = [f"… {count(len(lines) - MOMENT_LINES, 'line')} more"] if len(lines) > MOMENT_LINES else []
    return Moment(at, phase, seconds, style, texts + more)


def _styles(*styles: object) -> list[str]:
    return [word for style in styles for word in str(style).split()]


def _business(payloads: Sequence[Payload]) -> str:
    """`Search infill gcd.py:5 · 3 answers of the model, 46 tokens written · 12 candidates run, 1 passes`."""
    parts = []
    if sought := [item for item in payloads if isinstance(item, Searched)]:
        parts.append(line(f"searched {sought[-1].strategy} {sought[-1].place}", 200))
    if answers := [item.completion for item in payloads if isinstance(item, Completed)]:
        wrote = sum(answer.usage.completion_tokens for answer in answers)
        parts.append(f"{count(len(answers), 'answer')} of the model, {count(wrote, 'token')} written")
    if ran := [item.result for item in payloads if isinstance(item, CheckRan)]:
        parts.append(
            f"{count(len(ran), 'candidate')} run, {sum(result.passed for result in ran) or 'none'} passed"
        )
    return " · ".join(parts)
