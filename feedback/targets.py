"""Which answers of the model are worth learning: a mask over the calls of a run, made of facts alone.

An answer that is no target stays in the chat as context. No model judges here. What became of a whole run
(its label) is another matter: this tells only which of its answers led somewhere.
"""

import json
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

from feedback.harvest import Harvest
from feedback.hunks import added
from memory.records import (
    ActionEnded,
    ActionStarted,
    Completed,
    Completion,
    Event,
    Malformed,
    Observation,
    Payload,
    PlanMade,
    Prompted,
    Searched,
    Status,
    UserActed,
)

MALFORMED: Final = "malformed answer"
BROKEN_OFF: Final = "answer broken off"
NOT_RUN: Final = "nothing came of it"
REFUSED: Final = "call refused"
FAILED: Final = "call failed"
REPEATED: Final = "repeated action"
REVERTED: Final = "edit that did not last"
NOT_CHOSEN: Final = "candidate that was not chosen"
REPLACED: Final = "plan replaced by a person"
CANCELLED: Final = "plan cancelled by a person"
WRITING: Final = frozenset({"edit", "write"})
Taken = Mapping[str, Sequence[str]]
"""Place, such as `gcd.py:5`, to the texts that the search put there."""
_NUMBERED: Final = re.compile(r"^ *\d+ ?")
_FENCE: Final = re.compile(r"^ {0,3}```", re.MULTILINE)


def targets(harvest: Harvest) -> dict[int, str]:
    """Event number of every completion -> empty where it is a target, else why it is context only.

    An edit lasts when more than half of the lines that it brought stand in the final diff. A candidate of
    the search is a target when it was taken over and all lines that it brought stand there. Lines are
    compared without the blanks around them; what the prompt showed already was not brought.
    """
    kept = frozenset(_stripped(added(harvest.diff)))
    taken = _taken(harvest.events)
    chat, asked = _Chat(), Prompted(purpose="act")
    found = dict[int, str]()
    for index, event in enumerate(harvest.events):
        if isinstance(event.payload, Prompted):
            asked = event.payload
            chat.hear(asked)
        elif isinstance(event.payload, Completed):
            after = harvest.events[index + 1 :]
            found[event.seq] = _reason(event.payload, asked, after, kept, taken, chat)
    return found


@dataclass
class _Chat:
    """What was done in the conversation at hand; an attempt that begins anew knows nothing of others."""

    done: set[str] = field(default_factory=set)

    def hear(self, asked: Prompted) -> None:
        """Forget all where the chat shows no answer of the model."""
        roles = {item.role for item in asked.messages}
        if asked.purpose == "act" and roles and "assistant" not in roles:
            self.done.clear()

    def repeats(self, started: ActionStarted, seen: Observation) -> bool:
        """True when the same call gave the same before; remembers it."""
        call = json.dumps([started.action.tool, started.action.arguments, seen.output], sort_keys=True)
        known = call in self.done
        self.done.add(call)
        return known


def _reason(
    told: Completed,
    asked: Prompted,
    after: tuple[Event, ...],
    kept: frozenset[str],
    taken: Taken,
    chat: _Chat,
) -> str:
    if told.completion.finish_reason != "stop":
        return BROKEN_OFF
    match told.purpose:
        case "plan":
            return _planned(event.payload for event in after)
        case "act":
            return _acted(_until_asked(after), asked, kept, chat)
        case _:
            return _proposed(told.completion, asked, _until_asked(after), kept, taken)


def _until_asked(after: Iterable[Event]) -> list[Payload]:
    """What happened until the model was asked again."""
    found = list[Payload]()
    for event in after:
        if isinstance(event.payload, Prompted):
            break
        found.append(event.payload)
    return found


def _planned(after: Iterable[Payload]) -> str:
    """What became of a plan: taken, not usable, replaced or cancelled. Later events may still replace it."""
    taken = False
    for payload in after:
        match payload:
            case PlanMade(plan=plan) if plan.author == "user":
                return REPLACED
            case PlanMade(plan=plan) if not taken:
                if plan.author == "rule":
                    return MALFORMED
                taken = True
            case UserActed(action="reject", detail="plan"):
                return CANCELLED
    return "" if taken else NOT_RUN


def _acted(after: list[Payload], asked: Prompted, kept: frozenset[str], chat: _Chat) -> str:
    """What became of one answer of the action loop."""
    started = None
    for payload in after:
        match payload:
            case Completed():
                break
            case Malformed() if started is None:
                return MALFORMED
            case ActionStarted() if started is None:
                started = payload
            case ActionEnded(observation=seen) if started is not None:
                return _ended(started, seen, asked, kept, chat)
    return NOT_RUN


def _ended(
    started: ActionStarted, seen: Observation, asked: Prompted, kept: frozenset[str], chat: _Chat
) -> str:
    tool = started.action.tool
    repeated = chat.repeats(started, seen)
    if seen.status == Status.REFUSED:
        return REFUSED
    informative = tool == "run" and seen.status == Status.NONZERO
    if seen.status != Status.OK and not informative:
        return FAILED
    if repeated:
        return REPEATED
    if tool in WRITING and not _lasts(str(started.action.arguments.get("body", "")), asked, kept):
        return REVERTED
    return ""


def _lasts(body: str, asked: Prompted, kept: frozenset[str]) -> bool:
    """True when more than half of what an edit brought is in the final diff.

    One that only takes lines away lasts when there is a diff at all: what it took is not recorded.
    """
    lines = _stripped(body.splitlines())
    brought = _brought(lines, asked) or lines
    if not brought:
        return bool(kept)
    return 2 * sum(line in kept for line in brought) > len(brought)


def _proposed(
    completion: Completion, asked: Prompted, after: list[Payload], kept: frozenset[str], taken: Taken
) -> str:
    """What became of a candidate: chosen where the search took over what it says, and that lasts.

    An answer may say more than was taken over, such as a `main` that tries out a function: the text that was
    taken must be the answer's, not the other way round.
    """
    searched = next((payload for payload in after if isinstance(payload, Searched)), None)
    said = {*_stripped(_code(completion.text, asked)), *_stripped(_begun(asked).splitlines())}
    for body in taken.get(searched.place, ()) if searched else ():
        lines = _stripped(body.splitlines())
        lost = [line for line in _brought(lines, asked) if line not in kept]
        lasting = [line for line in lines if line in kept] or lines
        if lines and not lost and said.issuperset(lasting):
            return ""
    return NOT_CHOSEN


def _taken(events: Iterable[Event]) -> Taken:
    """What the search took over, by its place."""
    found = dict[str, list[str]]()
    calls = (event.payload.action for event in events if isinstance(event.payload, ActionStarted))
    for call in (call.arguments for call in calls if call.id.startswith("search-")):
        found.setdefault(f"{call.get('path')}:{call.get('first')}", []).append(str(call.get("body", "")))
    return found


def _brought(lines: list[str], asked: Prompted) -> list[str]:
    """The lines that the prompt did not show, whether with their numbers or without."""
    shown = [item.content for item in asked.messages if item.role != "assistant"]
    seen = set[str]()
    for line in "\n".join([*shown, asked.prompt, _begun(asked)]).splitlines():
        seen |= {line.strip(), _NUMBERED.sub("", line).strip()}
    return [line for line in lines if line not in seen]


def _code(text: str, asked: Prompted) -> list[str]:
    """The lines of code in an answer: those of its first block, which the prompt may have opened."""
    parts = _FENCE.split(text)
    if len(_FENCE.findall(_begun(asked))) % 2:
        return parts[0].splitlines()
    if len(parts) > 1:
        return parts[1].splitlines()[1:]  # behind the fence stands the language
    return [line.removesuffix("`") for line in text.splitlines()]


def _begun(asked: Prompted) -> str:
    """The beginning of the answer, where the prompt gave it."""
    last = asked.messages[-1] if asked.messages else None
    return last.content if last and last.role == "assistant" else ""


def _stripped(lines: Iterable[str]) -> list[str]:
    """Lines without the blanks around them; those of brackets only are everywhere and tell nothing."""
    return [line.strip() for line in lines if any(map(str.isalnum, line))]
