"""The actions on a run's page: each with what was asked, what came back, and how the check stood after it."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Final

from agent.display_lines import DONE, object_of, outcome
from agent.page_room import Room, Shown, Some, line, some
from memory.records import (
    Action,
    ActionEnded,
    ActionStarted,
    CheckRan,
    CheckResult,
    Completed,
    Malformed,
    Payload,
    Status,
)

STEPS: Final = (60, 140)
"""Steps shown from the beginning and from the end."""


@dataclass(frozen=True, slots=True)
class StepView:
    """One action, or an answer that was none."""

    good: bool
    by: str
    title: str
    result: str
    seconds: float
    texts: list[tuple[str, Shown]]
    """Name and text of what is folded: arguments, output, the model's own words."""
    check: str
    check_good: bool


def steps_view(payloads: Sequence[Payload], room: Room) -> "Some[StepView]":
    """The actions in order, each with what was asked, what came back, and how the check stood after it."""
    chosen = some(list(_turns(payloads)), STEPS)
    first, last = ([_step(turn, room) for turn in turns] for turns in (chosen.first, chosen.last))
    return Some(first, chosen.left_out, last)


@dataclass(slots=True)
class _Turn:
    """What belongs to one step."""

    said: Completed | None
    action: Action | None = None
    ended: ActionEnded | None = None
    malformed: Malformed | None = None
    check: CheckResult | None = None


def _turns(payloads: Iterable[Payload]) -> Iterator[_Turn]:
    said: Completed | None = None
    turn: _Turn | None = None
    for payload in payloads:
        match payload:
            case Completed(purpose="act"):
                said = payload
            case ActionStarted(action=action):
                if turn:
                    yield turn
                turn, said = _Turn(said, action), None
            case ActionEnded() if turn:
                turn.ended = payload
            case Malformed():
                if turn:
                    yield turn
                turn, said = _Turn(said, malformed=payload), None
            case CheckRan(purpose="step", result=result) if turn:
                turn.check = result
    if turn:
        yield turn


def _step(turn: _Turn, room: Room) -> StepView:
    observation = turn.ended.observation if turn.ended else None
    action = turn.action
    texts = []
    for name, value in action.arguments.items() if action else ():
        text = str(value)
        if "\n" in text or len(text) > 80:
            texts.append((line(name, 60), room.show(text)))
    if turn.malformed and turn.said:
        texts.append(("what the model wrote", room.show(turn.said.completion.text)))
    if observation and observation.output:
        texts.append(("output", room.show(observation.output)))
    status = observation.status if observation else Status.REFUSED
    result = observation.summary if observation else turn.malformed.reason if turn.malformed else "no end"
    if observation and status not in (Status.OK, Status.NONZERO):
        result = f"{result} ({status})" if result else str(status)
    return StepView(
        good=status is Status.OK,
        by="the model" if turn.said else "the search",
        title=_title(action, result),
        result=line(result, 140),
        seconds=observation.duration_s if observation else 0.0,
        texts=texts,
        check=f"{line(turn.check.check)}: {outcome(turn.check)}" if turn.check else "",
        check_good=turn.check is not None and turn.check.passed,
    )


def _title(action: Action | None, result: str) -> str:
    if action is None:
        return "No action"
    thing = object_of(action)
    return line(f"{DONE.get(action.tool, action.tool)} {'' if thing in result else thing}".strip())
