"""A run's conversation in a form that no trainer or tool owns; the formats are views of it.

A run asks its model many times, and not in one conversation: for a plan, for candidates, and in a loop of
actions that may begin anew. So a turn names its thread. Calls of the loop that go on from each other are one
thread; every other call is a thread of its own, one for each answer.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final, Literal

from feedback.candidate import Candidate
from feedback.harvest import Harvest
from memory.checks import Record
from memory.records import (
    Action,
    ActionEnded,
    ActionStarted,
    Completed,
    Completion,
    Event,
    Malformed,
    Message,
    Observation,
    Plan,
    PlanMade,
    Prompted,
    Stop,
)

BY_RULE: Final = "chosen by a rule, not by the model"
CONTEXT: Final = "not written by the model here"
COPIED: Final = "a copy of an earlier turn"


class Turn(Record):
    """One turn."""

    role: Literal["system", "user", "assistant", "tool"]
    content: str
    """Of an answer: what the model wrote, to the letter."""
    begun: str = ""
    """How the answer was begun for the model; the whole answer is this and then `content`."""
    thread: int = 0
    """0 is the task itself."""
    purpose: str = "task"
    """`task`, `plan`, `act`, `infill`, `rewrite`, or `rule` for what ADI did without asking."""
    seq: int
    """Of the event that holds it; of the request for what the model was shown."""
    at: str
    action: Action | None = None
    """The call that an answer is, or that a tool answers; None where it is none."""
    observation: Observation | None = None
    completion: Completion | None = None
    """Of an answer that was written in this run; its text is `content`."""
    copied: bool = False
    """The turn stands in an earlier thread too."""
    trainable: bool = False
    why: str = ""
    """Why it is no target of training; empty where it is one."""


class Transcript(Record):
    """All turns of a run, in the order of its events."""

    run_id: str
    session_id: str
    adi_version: str
    model: str
    plan: Plan | None = None
    """The last one, edits included."""
    turns: tuple[Turn, ...]
    """The first one is the task in its person's own words."""
    stop: Stop | None = None

    def threads(self) -> Iterator[tuple[Turn, ...]]:
        """The conversations, each from its first turn to its last; the task alone is none."""
        by_number = dict[int, list[Turn]]()
        for turn in self.turns:
            by_number.setdefault(turn.thread, []).append(turn)
        yield from (tuple(turns) for number, turns in sorted(by_number.items()) if number)


def transcript(candidate: Candidate) -> Transcript:
    """The conversation of a run; what is a target of training is as the candidate says."""
    harvest = candidate.harvest
    plans = [e.payload.plan for e in harvest.events if isinstance(e.payload, PlanMade)]
    return Transcript(
        run_id=harvest.run_id,
        session_id=harvest.session_id,
        adi_version=harvest.started.adi_version,
        model=harvest.started.model,
        plan=plans[-1] if plans else None,
        turns=tuple(_Reader(harvest, candidate.targets).read()),
        stop=harvest.stop,
    )


@dataclass(slots=True)
class _Reader:
    """Goes through a run's events and keeps where its conversations stand."""

    harvest: Harvest
    targets: Mapping[int, str]
    turns: list[Turn] = field(default_factory=list)
    asked: tuple[int, str, Prompted] | None = None
    """The open request: number of its event, its time, itself."""
    shown: tuple[Message, ...] = ()
    """What the model was shown last in the thread of actions."""
    thread: int = 0
    acting: int = 0
    """The thread of actions that goes on; 0 when there is none."""
    pending: int = -1
    """Place of the answer that waits for its action."""
    beginnings: set[tuple[Message, ...]] = field(default_factory=set)

    def read(self) -> Sequence[Turn]:
        first = next(e for e in self.harvest.events if e.payload is self.harvest.started)
        task = self.harvest.task.prompt
        self.turns.append(Turn(role="user", content=task, seq=first.seq, at=first.at, why=CONTEXT))
        for event in self.harvest.events:
            match event.payload:
                case Prompted():
                    self.asked, self.pending = (event.seq, event.at, event.payload), -1
                case Completed() if self.asked is not None:
                    self._answer(event, event.payload, *self.asked)
                case ActionStarted():
                    self._act(event, event.payload.action)
                case ActionEnded():
                    self._observe(event, event.payload.observation)
                case Malformed():
                    self._complain(event, event.payload.reason)
        return self.turns

    def _answer(self, event: Event, told: Completed, seq: int, at: str, asked: Prompted) -> None:
        """The answer, after what the model was shown for it, unless that goes on from what stands there."""
        goes_on = bool(self.acting) and told.purpose == "act" and self._goes_on(asked.messages)
        begun = ""
        if goes_on:
            number = self.acting
        else:
            self.thread += 1
            number = self.thread
            begun = self._show(asked, number, seq, at)
        if told.purpose == "act":
            self.acting, self.shown = number, asked.messages
        why = self.targets.get(event.seq, CONTEXT)
        self.pending = len(self.turns) if told.purpose == "act" else -1
        self.turns.append(
            Turn(
                role="assistant",
                content=told.completion.text,
                begun=begun,
                thread=number,
                purpose=told.purpose,
                seq=event.seq,
                at=event.at,
                completion=told.completion,
                trainable=not why,
                why=why,
            )
        )

    def _goes_on(self, messages: tuple[Message, ...]) -> bool:
        """True when these are the last ones, one answer and what came of it: what the thread holds."""
        known = len(self.shown)
        return len(messages) == known + 2 and messages[:known] == self.shown

    def _show(self, asked: Prompted, number: int, seq: int, at: str) -> str:
        """Add what the model was shown as turns; gives the beginning of an answer that was part of it."""
        messages = asked.messages or (Message(role="user", content=asked.prompt),)
        begun = ""
        if messages[-1].role == "assistant":
            begun, messages = messages[-1].content, messages[:-1]
        for index, message in enumerate(messages):
            beginning = messages[: index + 1]
            answered = any(item.role == "assistant" for item in beginning)
            copied = answered or beginning in self.beginnings
            self.beginnings.add(beginning)
            self.turns.append(
                Turn(
                    role=message.role,
                    content=message.content,
                    thread=number,
                    purpose=asked.purpose,
                    seq=seq,
                    at=at,
                    copied=copied,
                    why=COPIED if copied else CONTEXT,
                )
            )
        return begun

    def _act(self, event: Event, action: Action) -> None:
        """The call that the last answer is; where no answer waits, a rule made it, such as a search."""
        if self.pending >= 0 and self.turns[self.pending].action is None:
            self.turns[self.pending] = self.turns[self.pending].model_copy(update={"action": action})
            return
        self.thread += 1
        self.pending = len(self.turns)
        self.turns.append(_turn(event, "assistant", "", self.thread, "rule", action=action, why=BY_RULE))

    def _observe(self, event: Event, seen: Observation) -> None:
        if self.pending < 0:
            return
        asked = self.turns[self.pending]
        if asked.action is not None and asked.action.id == seen.action_id:
            turn = _turn(event, "tool", seen.output, asked.thread, asked.purpose, action=asked.action)
            self.turns.append(turn.model_copy(update={"observation": seen}))
        self.pending = -1

    def _complain(self, event: Event, reason: str) -> None:
        """What the model was told of an answer that is no action."""
        if self.pending >= 0:
            asked = self.turns[self.pending]
            self.turns.append(_turn(event, "user", reason, asked.thread, asked.purpose))
        self.pending = -1


def _turn(
    event: Event,
    role: Literal["user", "assistant", "tool"],
    content: str,
    thread: int,
    purpose: str,
    *,
    action: Action | None = None,
    why: str = CONTEXT,
) -> Turn:
    return Turn(
        role=role,
        content=content,
        thread=thread,
        purpose=purpose,
        seq=event.seq,
        at=event.at,
        action=action,
        why=why,
    )


def parents(told: Transcript) -> dict[int, int]:
    """Number of the event of each answer -> that of the answer before it in its thread."""
    found = dict[int, int]()
    for thread in told.threads():
        answers = [turn.seq for turn in thread if turn.completion is not None]
        found |= dict(zip(answers[1:], answers, strict=False))
    return found
