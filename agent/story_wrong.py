"""Where an unsolved run went wrong, in sentences made from its events alone.

They tell what happened, in order, and what ended it; not why the model wrote what it wrote. Texts of
strangers in them are raw: whoever draws them makes them inert.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Final

from agent.figures import count, seconds
from memory.records import (
    Action,
    ActionEnded,
    ActionStarted,
    CheckRan,
    CheckResult,
    Event,
    Malformed,
    Noted,
    Observation,
    Payload,
    RunEnded,
    Searched,
    Status,
    Stop,
    Verdict,
)

QUIET_ENDS: Final = frozenset({Stop.PENDING, Stop.REJECTED, Stop.NOTHING_TO_DO, Stop.CONFLICT})
"""Ends in which the work itself need not have gone wrong: only the end is told."""
ENDED: Final[dict[Stop, str]] = {
    Stop.PENDING: "It ended because the change waits for a person",
    Stop.REJECTED: "It ended because a person said no",
    Stop.FAILED: "It ended because nothing was left to try",
    Stop.NOTHING_TO_DO: "It ended without a change",
    Stop.STUCK: "A stop rule ended it",
    Stop.BUDGET: "It ended because its budget was spent",
    Stop.CONFLICT: "It ended because the files had changed meanwhile",
    Stop.ENVIRONMENT: "It ended because something outside ADI went missing",
    Stop.INTERRUPTED: "It was interrupted",
    Stop.KILLED: "It ended because its process died",
    Stop.ERROR: "An unexpected error ended it",
}
LONGEST: Final = 160
"""Characters of a stranger's text in a sentence."""
DOING: Final = {
    "run-started": "starting",
    "prompted": "the model was answering",
    "action-started": "an action was running",
    "plan-made": "the plan had just been made",
    "user-acted": "a person had just answered",
}


def went_wrong(events: Sequence[Event]) -> tuple[str, ...]:
    """The sentences, in the order in which a reader wants them."""
    payloads = [event.payload for event in events]
    ends = [item for item in payloads if isinstance(item, RunEnded)]
    last = ends[-1] if ends else None
    if last and last.stop in QUIET_ENDS:
        return tuple(_end(payloads, last))
    return (
        *_standstill(events),
        *_last_failure(payloads),
        *_search(payloads),
        *_answers(payloads),
        *_verdict(payloads),
        *_end(payloads, last),
    )


@dataclass(frozen=True, slots=True)
class _Best:
    """The moment at which a check had failed least."""

    at: float
    failing: int
    by: str


def _standstill(events: Sequence[Event]) -> Iterator[str]:
    """The moment after which nothing improved."""
    begin = datetime.fromisoformat(events[0].at) if events else None
    starts = _starts(events)
    if begin is None or not starts:
        return
    best: dict[str, _Best] = {}
    place = ""
    end = 0.0
    for event in events:
        payload = event.payload
        at = (datetime.fromisoformat(event.at) - begin).total_seconds()
        if isinstance(payload, ActionStarted):
            place = f"the action {_called(payload.action)}"
        if isinstance(payload, RunEnded):
            end = end and at
            break
        if not isinstance(payload, CheckRan) or payload.purpose == "gather":
            continue
        end = at
        start = starts.get(payload.result.check)
        left = _left(start, payload.result) if start else None
        known = best[payload.result.check].failing if payload.result.check in best else _failing(start)
        if left is not None and known is not None and left < known:
            by = {"candidate": "a candidate of the search", "verdict": "the change on a clean copy"}
            best[payload.result.check] = _Best(at, left, by.get(payload.purpose, place or "a change"))
    for check, start in starts.items():
        yield (
            _standing(check, start, best.get(check), end)
            if end
            else f"{cut(check)} was not run again after the start."
        )


def _standing(check: str, start: CheckResult, best: _Best | None, end: float) -> str:
    number = _failing(start)
    if best is None:
        failed = f": {_tests(number)} failed at the start, and never fewer" if number else ""
        return f"Nothing that was run brought {cut(check)} further than it was at the start{failed}."
    after = f", and nothing improved in the {seconds(end - best.at)} after that" if end > best.at else ""
    left = "it passed" if not best.failing else f"{_tests(best.failing)} of {number} still failed"
    return f"{cut(check)} came furthest at {seconds(best.at)}, by {best.by}: {left}{after}."


def _starts(events: Sequence[Event]) -> dict[str, CheckResult]:
    """Checks that failed before anything was changed."""
    found: dict[str, CheckResult] = {}
    for event in events:
        payload = event.payload
        if isinstance(payload, CheckRan) and payload.purpose == "gather" and not payload.result.passed:
            found.setdefault(payload.result.check, payload.result)
    return found


def _failing(result: CheckResult | None) -> int | None:
    """How many tests fail; 1 for a check that counts none, None for one that told nothing."""
    if result is None:
        return None
    if result.tests_failed or result.tests_passed or result.passed:
        return result.tests_failed
    return 1


def _left(start: CheckResult, now: CheckResult) -> int | None:
    """Failing tests, where as many pass as at the start at least: one that was not run is no progress."""
    if now.passed:
        return 0
    if now.status is not Status.NONZERO or now.tests_passed < start.tests_passed or not now.tests_failed:
        return None
    return now.tests_failed


def _last_failure(payloads: Sequence[Payload]) -> Iterator[str]:
    ran = [item.result for item in payloads if isinstance(item, CheckRan) and item.purpose != "candidate"]
    last = next((result for result in reversed(ran) if not result.passed), None)
    if last is None:
        return
    if not last.failures:
        how = f"exit {last.exit_code}" if last.status is Status.NONZERO else str(last.status)
        yield f"{cut(last.check)} ended with {how} when it ran last, and named no test."
        return
    failure = last.failures[-1]
    what = ": ".join(filter(None, (cut(failure.error), cut(failure.message.strip().partition("\n")[0]))))
    yield f"The last failing test was {cut(failure.test or last.check)}" + (f": {what}." if what else ".")


def _search(payloads: Sequence[Payload]) -> Iterator[str]:
    candidates = [item for item in payloads if isinstance(item, CheckRan) and item.purpose == "candidate"]
    sought = [item for item in payloads if isinstance(item, Searched)]
    if not sought:
        return
    places = len({item.place for item in sought})
    passed = [item.place for item in sought if item.passed]
    ran = f"The search ran {count(len(candidates), 'candidate')} at {count(places, 'place')}"
    yield f"{ran}; " + (f"one passed at {cut(passed[-1])}." if passed else "none passed.")


def _answers(payloads: Sequence[Payload]) -> Iterator[str]:
    """Answers of the model that were no action, or the same as before, or refused."""
    malformed = [item.reason for item in payloads if isinstance(item, Malformed)]
    if malformed:
        answers = f"{count(len(malformed), 'answer')} of the model"
        were = "was" if len(malformed) == 1 else "were"
        yield f"{answers} {were} no action; the last: {_first(malformed[-1])}."
    refused = [pair for pair in actions(payloads) if pair[1].status is Status.REFUSED]
    repeated = [action for action, observation in refused if observation.summary == "repeated"]
    if repeated:
        what = "repeated an earlier one and was" if len(repeated) == 1 else "repeated earlier ones and were"
        yield f"{count(len(repeated), 'action')} {what} not done; the last: {_called(repeated[-1])}."
    others = [pair for pair in refused if pair[1].summary != "repeated"]
    if others:
        action, observation = others[-1]
        reason = _first(observation.output or observation.summary)
        were = "was" if len(others) == 1 else "were"
        yield f"{count(len(others), 'action')} {were} refused; the last, {_called(action)}: {reason}."


def actions(payloads: Sequence[Payload]) -> Iterator[tuple[Action, Observation]]:
    """Actions that have an end, with what they gave."""
    started: Action | None = None
    for payload in payloads:
        if isinstance(payload, ActionStarted):
            started = payload.action
        elif isinstance(payload, ActionEnded) and started is not None:
            yield started, payload.observation
            started = None


def _verdict(payloads: Sequence[Payload]) -> Iterator[str]:
    verdicts = [item.evaluation for item in payloads if isinstance(item, Verdict)]
    if verdicts and verdicts[-1].detail:
        yield f"The verdict on a clean copy: {_first(verdicts[-1].detail)}."


def _end(payloads: Sequence[Payload], last: RunEnded | None) -> Iterator[str]:
    if last is None:
        doing = DOING.get(payloads[-1].kind if payloads else "", "it was at work")
        yield f"It has no end: its process died while {doing}."
        return
    if last.stop is Stop.STUCK:
        yield f"{ENDED[last.stop]}: {_rule(payloads)}."
        return
    detail = last.detail or next(
        (item.text for item in reversed(payloads) if isinstance(item, Noted) and item.level == "error"), ""
    )
    yield ENDED.get(last.stop, f"It ended: {last.stop}") + (f": {_first(detail)}." if detail else ".")


def _rule(payloads: Sequence[Payload]) -> str:
    """Which stop rule ended the last attempt, as its last events show it."""
    told = [item for item in payloads if isinstance(item, Malformed | ActionEnded)]
    in_a_row = 0
    for item in reversed(told):
        if not isinstance(item, Malformed):
            break
        in_a_row += 1
    if in_a_row > 1:
        return f"the last {in_a_row} answers of the model were no action"
    if told and isinstance(told[-1], ActionEnded) and told[-1].observation.summary == "repeated":
        return "the model asked for the same action again and again"
    return "change after change left the check failing as it did before, or worse"


def cut(text: str) -> str:
    """A stranger's text, short enough for a sentence."""
    return text if len(text) <= LONGEST else f"{text[: LONGEST - 1]}…"


def _first(text: str) -> str:
    """The first line of a text, without the dot that ends it."""
    return cut(text.strip().partition("\n")[0]).rstrip(".")


def _called(action: Action) -> str:
    """`run pytest -q`."""
    about = next((str(action.arguments[key]) for key in _ABOUT if action.arguments.get(key)), "")
    return cut(f"{action.tool} {about}".strip())


_ABOUT: Final = ("path", "command", "pattern", "query", "check")


def _tests(value: int | None) -> str:
    return count(value or 0, "test")
