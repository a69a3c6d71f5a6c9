"""What the events of a run add up to: where time and tokens went, what was tried, what was learned.

Pure functions from events to frozen data, for the terminal, the page, JSON and later uses. Nothing here
decides anything. Texts of strangers are raw: whoever draws them makes them inert. Seconds are those between
the times of events, which come from the machine's clock; one that was set back counts as no time.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Final, Literal

from agent.story_wrong import went_wrong
from memory.checks import Record
from memory.records import (
    ActionEnded,
    ActionStarted,
    Applied,
    CheckRan,
    Completed,
    Event,
    Learned,
    Malformed,
    Payload,
    PlanMade,
    Prompted,
    Recall,
    Recalled,
    RunEnded,
    Searched,
    Stop,
    Survival,
    Survived,
    Usage,
    UserActed,
    Verdict,
)

PhaseName = Literal["start", "gather", "plan", "search", "act", "verdict", "wait"]
PHASES: Final[dict[PhaseName, str]] = {
    "start": "starting",
    "gather": "evidence",
    "plan": "planning",
    "search": "candidate search",
    "act": "actions",
    "verdict": "verdict",
    "wait": "waiting for you",
}
"""The parts of a run in their usual order, in words."""
ASKED: Final[dict[str, PhaseName]] = {"plan": "plan", "act": "act", "infill": "search", "rewrite": "search"}
"""What the model was asked for, and the part of the run that asks for it."""
UNDISTURBED_S: Final = 3.0
"""Longer silence after a plan, in a run with a person, was that person reading it: no event tells."""


class Segment(Record):
    """A stretch of time in one part of the run."""

    phase: PhaseName
    begin: float
    """Seconds of work and waiting before it."""
    seconds: float


class Phase(Record):
    """What one part of a run cost."""

    name: PhaseName
    seconds: float = 0.0
    calls: int = 0
    """Answers of the model."""
    new_tokens: int = 0
    """Tokens that the model read and its server had not in its cache."""
    cached_tokens: int = 0
    written_tokens: int = 0


class Sought(Record):
    """One way of finding candidates, over all places where it was tried."""

    strategy: str
    places: tuple[str, ...]
    """Such as `gcd.py:5`, each once, in their order."""
    candidates: int
    """Distinct texts."""
    executed: int
    passed: tuple[str, ...]
    """Places where one passed."""


class Story(Record):
    """A run, summed up."""

    solved: bool
    """The last verdict holds, or the change was accepted."""
    seconds: float = 0.0
    """Of work and waiting; time between the run's end and what came later is left out."""
    segments: tuple[Segment, ...] = ()
    phases: tuple[Phase, ...] = ()
    """Those in which anything happened, in their usual order."""
    search: tuple[Sought, ...] = ()
    recalled: tuple[Recall, ...] = ()
    learned: tuple[Learned, ...] = ()
    survival: Survival | None = None
    """At the greatest age that was looked at."""
    wrong: tuple[str, ...] = ()
    """Sentences that tell where an unsolved run went wrong."""


def told(events: Sequence[Event], *, alive: bool = False) -> Story:
    """Sum a run up. `alive`: its process still works on it."""
    payloads = [event.payload for event in events]
    segments = tuple(_segments(events))
    solved = is_solved(payloads)
    survivals = [item.survival for item in payloads if isinstance(item, Survived)]
    return Story(
        solved=solved,
        seconds=sum(segment.seconds for segment in segments),
        segments=segments,
        phases=_phases(payloads, segments),
        search=tuple(_sought(payloads)),
        recalled=tuple(lesson for item in payloads if isinstance(item, Recalled) for lesson in item.lessons),
        learned=tuple(item for item in payloads if isinstance(item, Learned)),
        survival=max(survivals, key=lambda item: item.days, default=None),
        wrong=() if solved or alive else went_wrong(events),
    )


def is_solved(payloads: Sequence[Payload]) -> bool:
    """True when the last verdict holds, or the last end of the run is that the change was accepted."""
    ends = [item.stop for item in payloads if isinstance(item, RunEnded)]
    verdicts = [item.evaluation.accepted for item in payloads if isinstance(item, Verdict)]
    return ends[-1:] == [Stop.ACCEPTED] or verdicts[-1:] == [True]


def offsets(events: Sequence[Event]) -> list[float]:
    """Seconds of each event since the first one, by the clock on the wall: negative when it was set back."""
    times = [datetime.fromisoformat(event.at) for event in events]
    return [(time - times[0]).total_seconds() for time in times]


def located(payloads: Iterable[Payload]) -> list[PhaseName]:
    """The part of the run that each event belongs to."""
    now: PhaseName = "start"
    found = []
    for payload in payloads:
        now = _phase_of(payload, now)
        found.append(now)
    return found


def _phase_of(payload: Payload, now: PhaseName) -> PhaseName:
    match payload:
        case CheckRan(purpose="gather") | CheckRan(purpose="verdict") | CheckRan(purpose="candidate"):
            early = payload.purpose == "candidate" and now in ("start", "gather")
            return "gather" if early or payload.purpose == "gather" else _JUDGED[payload.purpose]
        case CheckRan():
            return "search" if now == "search" else "act"
        case PlanMade():
            return "plan"
        case Prompted() | Completed():
            early = now in ("start", "gather") and payload.purpose == "rewrite"  # a test of ADI's own
            return "gather" if early else ASKED[payload.purpose]
        case Malformed():
            return "act"
        case ActionStarted() | ActionEnded():
            return now if now == "search" else "act"
        case Searched():
            return "search"
        case Verdict() | Applied() | UserActed(action="accept" | "auto-accept" | "reject" | "defer"):
            return "verdict" if now != "plan" else now  # a plan may be rejected
    return now


_JUDGED: Final[dict[str, PhaseName]] = {"candidate": "search", "verdict": "verdict"}


@dataclass(slots=True)
class _Clock:
    """Lays stretches of time one after the other; neighbours of one kind are one."""

    laid: list[Segment] = field(default_factory=list)
    now: float = 0.0

    def lay(self, phase: PhaseName, seconds: float) -> None:
        if seconds <= 0:
            return
        if self.laid and self.laid[-1].phase == phase:
            last = self.laid.pop()
            self.laid.append(last.model_copy(update={"seconds": last.seconds + seconds}))
        else:
            self.laid.append(Segment(phase=phase, begin=self.now, seconds=seconds))
        self.now += seconds


def _segments(events: Sequence[Event]) -> list[Segment]:
    payloads = [event.payload for event in events]
    attended = any(isinstance(item, UserActed) and item.seconds for item in payloads)
    clock, before, ended = _Clock(), 0.0, False
    previous: Payload | None = None
    for payload, at, phase in zip(payloads, offsets(events), located(payloads), strict=True):
        gap = max(0.0, at - before)
        if ended or _found_dead(payload):  # what lies between is not the run's
            gap = 0.0
        waited = _waited(previous, payload, gap, attended)
        clock.lay("wait", waited)
        clock.lay(phase, gap - waited)
        ended = isinstance(payload, RunEnded) or (ended and not _begins_again(payload))
        before, previous = at, payload
    return clock.laid


def _found_dead(payload: Payload) -> bool:
    return isinstance(payload, RunEnded) and payload.stop is Stop.KILLED


def _begins_again(payload: Payload) -> bool:
    """True for what `adi review` does after a run's end; undoing and looking back take no time of the run."""
    reviewed = isinstance(payload, UserActed) and payload.action != "undo"
    return reviewed or isinstance(payload, Verdict | CheckRan)


def _waited(previous: Payload | None, payload: Payload, gap: float, attended: bool) -> float:
    """Seconds of the gap before an event in which a person was asked."""
    if isinstance(payload, UserActed):
        return min(gap, payload.seconds)
    if not attended or not isinstance(previous, PlanMade) or previous.plan.author == "user":
        return 0.0
    silent = gap - (payload.result.duration_s if isinstance(payload, CheckRan) else 0.0)
    return silent if silent >= UNDISTURBED_S else 0.0


def _phases(payloads: Sequence[Payload], segments: Iterable[Segment]) -> tuple[Phase, ...]:
    seconds = dict.fromkeys(PHASES, 0.0)
    for segment in segments:
        seconds[segment.phase] += segment.seconds
    spent: dict[PhaseName, list[Usage]] = {name: [] for name in PHASES}
    for payload, phase in zip(payloads, located(payloads), strict=True):
        if isinstance(payload, Completed):
            spent[phase].append(payload.completion.usage)
    return tuple(
        Phase(
            name=name,
            seconds=seconds[name],
            calls=len(used),
            new_tokens=sum(max(0, usage.prompt_tokens - usage.cached_tokens) for usage in used),
            cached_tokens=sum(usage.cached_tokens for usage in used),
            written_tokens=sum(usage.completion_tokens for usage in used),
        )
        for name, used in spent.items()
        if used or seconds[name] > 0
    )


def _sought(payloads: Iterable[Payload]) -> Iterable[Sought]:
    """Sums of each strategy; the counts in events go up within one search and begin anew with the next."""
    by_strategy: dict[str, list[tuple[Searched, int, int]]] = {}
    last: Searched | None = None
    for payload in payloads:
        if isinstance(payload, Searched):
            goes_on = (
                last is not None
                and payload.executed >= last.executed
                and payload.candidates >= last.candidates
            )
            written = payload.candidates - (last.candidates if goes_on and last else 0)
            run = payload.executed - (last.executed if goes_on and last else 0)
            by_strategy.setdefault(payload.strategy, []).append((payload, written, run))
            last = payload
    for strategy, found in by_strategy.items():
        yield Sought(
            strategy=strategy,
            places=tuple(dict.fromkeys(item.place for item, _, _ in found)),
            candidates=sum(written for _, written, _ in found),
            executed=sum(run for _, _, run in found),
            passed=tuple(dict.fromkeys(item.place for item, _, _ in found if item.passed)),
        )
