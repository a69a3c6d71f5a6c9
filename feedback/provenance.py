"""Does every row trace to a run that happened? An audit of recorded runs for rows that were forged, edited or
replayed, before any of them may become training data.

It looks for contradictions: a log that ADI writes cannot hold what is reported here. Whoever rewrites a whole
run without one, or changes the store of a run that never had a result, is not found.
"""

import hashlib
import json
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from typing import Final

from feedback.harvest import Harvest, ordered
from feedback.verdict import no_worse
from memory.records import (
    Applied,
    CheckRan,
    CheckResult,
    Completed,
    Evaluation,
    Event,
    Learned,
    Noted,
    RunEnded,
    RunStarted,
    Survived,
    UserActed,
    Verdict,
)

JUMP_S: Final = 1_000.0
"""Seconds that a clock may be set back within a run, or be ahead of ours: NTP steps no further by itself."""
GAP: Final = "events are missing or out of order"
TWICE: Final = "the run is there twice"
CLOCK: Final = "a time cannot be read"
FUTURE: Final = "a time lies in the future"
BACK: Final = "times go back"
UNJUDGED: Final = "a decision without a verdict before it"
UNDECIDED: Final = "a change was applied without a decision"
UNNAMED: Final = "a patch was applied that no verdict names"
MISSING: Final = "a patch is missing"
FORGED: Final = "a patch is not what its hash says"
UNAPPLIED: Final = "a change was taken back that was not applied"
LATE: Final = "the run went on after its end"
CONTRADICTED: Final = "an accepted verdict whose checks do not all pass"
UNCHECKED: Final = "a verdict that tells what no check gave"
UNLIVED: Final = "a fate of lines that were never applied"
REPLAYED: Final = "the same events as another run"


def audit(harvests: Sequence[Harvest], now: datetime) -> dict[str, str]:
    """Run id -> the first problem of each run that has one. `now` has a time zone.

    Of runs with the same events the oldest is kept and the others are reported: what is told once is told.
    """
    found = dict[str, str]()
    streams = set[str]()
    ids = set[str]()
    for harvest in ordered(harvests):
        problem = next(_problems(harvest, now), "")
        stream = _stream(harvest)
        if harvest.run_id in ids:
            problem = TWICE
        elif not problem and stream in streams:
            problem = REPLAYED
        ids.add(harvest.run_id)
        if stream:
            streams.add(stream)
        if problem:
            found[harvest.run_id] = problem
    return found


def _problems(harvest: Harvest, now: datetime) -> Iterator[str]:
    if not _in_order(harvest):
        yield GAP
        return
    yield from _times(harvest.events, now)
    yield from _patches(harvest)
    yield from _late(harvest.events)
    yield from _verdicts(harvest)
    yield from _Decisions().follow(harvest.events)
    if harvest.survivals and not any(isinstance(event.payload, Applied) for event in harvest.events):
        yield UNLIVED


def _in_order(harvest: Harvest) -> bool:
    """Numbered from one without a gap, all of this run, its start first and nowhere else."""
    events = harvest.events
    numbers = [event.seq for event in events] == list(range(1, len(events) + 1))
    starts = [index for index, event in enumerate(events) if isinstance(event.payload, RunStarted)]
    return numbers and starts == [0] and all(event.run_id == harvest.run_id for event in events)


def _times(events: Sequence[Event], now: datetime) -> Iterator[str]:
    last = None
    for event in events:
        at = _time(event.at)
        if at is None:
            yield CLOCK
            return
        if (at - now).total_seconds() > JUMP_S:
            yield FUTURE
        if last is not None and (last - at).total_seconds() > JUMP_S:
            yield BACK
        last = at if last is None else max(last, at)


def _time(text: str) -> datetime | None:
    """A time of the store; None for what is none, or has no time zone."""
    try:
        found = datetime.fromisoformat(text)
        return found.astimezone(UTC) if found.tzinfo is not None else None
    except (ValueError, OverflowError):
        return None


def _patches(harvest: Harvest) -> Iterator[str]:
    """Every patch that a verdict names is there, to the byte."""
    for sha256 in (verdict.diff_sha256 for verdict in harvest.verdicts if verdict.diff_sha256):
        content = harvest.patches.get(sha256)
        if content is None:
            yield MISSING
        elif hashlib.sha256(content).hexdigest() != sha256:
            yield FORGED


def _late(events: Sequence[Event]) -> Iterator[str]:
    """After its end a run is only reviewed, undone, learned from, looked at again, or followed by a task.

    A review judges and decides anew (agent/session.py); survival and what was typed next are told by later
    runs (agent/survival.py, agent/percolate.py).
    """
    ends = (index for index, event in enumerate(events) if isinstance(event.payload, RunEnded))
    ended = next(ends, len(events))
    for payload in (event.payload for event in events[ended:]):
        match payload:
            case UserActed(action="edit-plan"):
                pass
            case CheckRan(purpose="verdict") | Verdict() | UserActed() | Applied() | RunEnded():
                continue
            case Learned() | Survived() | Noted():
                continue
        yield LATE


class _Decisions:
    """What may follow what: a verdict, a decision on it, the change in the tree, and its undo."""

    def __init__(self) -> None:
        self.open: Verdict | None = None
        """The verdict that stands to be decided; an end of the run closes it."""
        self.decided = False
        self.applied = ""
        """Hash of the patch that is in the tree."""

    def follow(self, events: Sequence[Event]) -> Iterator[str]:
        for payload in (event.payload for event in events):
            match payload:
                case Verdict():
                    self.open, self.decided = payload, False
                case RunEnded():
                    self.open = None
                case UserActed():
                    yield from self._acted(payload)
                case Applied(undone=False):
                    yield from self._applied(payload)
                case Applied():
                    if not self.applied or payload.diff_sha256 != self.applied:
                        yield UNAPPLIED
                    self.applied = ""

    def _acted(self, told: UserActed) -> Iterator[str]:
        match told.action:
            case "reject" if told.detail == "plan" and self.open is None:
                return
            case "accept" | "reject" | "edit-diff" | "view-diff" | "defer" | "auto-accept":
                if self.open is None:
                    yield UNJUDGED
                elif told.action == "auto-accept" and not self.open.evaluation.accepted:
                    yield CONTRADICTED
            case "undo":
                if not self.applied:
                    yield UNAPPLIED
        self.decided = self.decided or told.action in ("accept", "auto-accept")

    def _applied(self, told: Applied) -> Iterator[str]:
        if self.open is None or not told.diff_sha256 or told.diff_sha256 != self.open.diff_sha256:
            yield UNNAMED
        elif not self.decided:
            yield UNDECIDED
        self.applied = told.diff_sha256


def _verdicts(harvest: Harvest) -> Iterator[str]:
    """A verdict tells what its checks gave, and is accepted only by the rules of feedback/verdict.py."""
    before = dict[str, CheckResult]()
    given = list[CheckResult]()
    for payload in (event.payload for event in harvest.events):
        match payload:
            case CheckRan(purpose="gather", result=result):
                before[result.check] = result
            case CheckRan(purpose="verdict", result=result):
                given.append(result)
            case Verdict(evaluation=evaluation):
                if any(result not in given for result in evaluation.results):
                    yield UNCHECKED
                if not _sums_up(evaluation, before):
                    yield CONTRADICTED


def _sums_up(evaluation: Evaluation, before: dict[str, CheckResult]) -> bool:
    """True when what the verdict says of itself follows from its results.

    A check may fail in an accepted verdict where another went from failing to passing and it is no worse.
    """
    passed = sum(result.passed for result in evaluation.results)
    share = passed / len(evaluation.results) if evaluation.results else 0.0
    if abs(share - evaluation.reward) > 1e-6:
        return False
    if not evaluation.accepted:
        return True
    touched = (evaluation.changed_tests, evaluation.deleted_tests, evaluation.protected)
    if not passed or any(touched) or evaluation.disputed_tests:
        return False
    failed = {name for name, result in before.items() if not result.passed}
    proof = any(result.passed and result.check in failed for result in evaluation.results)
    tolerated = (
        no_worse(before.get(result.check), result) for result in evaluation.results if not result.passed
    )
    return all(proof and fine for fine in tolerated)


def _stream(harvest: Harvest) -> str:
    """Digest of what happened until the run's end, without times, ids and task; empty where too little did.

    What a run says of its checks and calls holds measured times, so no two runs are alike by chance. The task
    is left out, so that a replay under another name is found.
    """
    told = list[object]()
    measured = False
    for payload in (event.payload for event in harvest.events):
        if isinstance(payload, RunEnded):
            break
        if not isinstance(payload, RunStarted | Learned | Survived | Noted):
            told.append(payload.model_dump(mode="json"))
        measured = measured or isinstance(payload, CheckRan | Completed)
    if not measured:
        return ""
    return hashlib.sha256(json.dumps(told, sort_keys=True).encode("utf-8", "surrogatepass")).hexdigest()
