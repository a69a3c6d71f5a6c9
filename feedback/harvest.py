"""One recorded run as data sets see it: what was asked, said, done and decided, and what became of it.

Read from the store and never from anywhere else, so that every row of a data set traces to a run. What is
derived here is arithmetic on events; judgement (labels, masks, filters) lies in the modules beside it.
"""

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Literal

from memory.ended import ended
from memory.records import (
    Applied,
    Completed,
    Completion,
    Evaluation,
    Event,
    Message,
    Prompted,
    RunEnded,
    RunStarted,
    Stop,
    Survival,
    Task,
    UserActed,
    Verdict,
)
from memory.store import Store
from memory.survivals import of_run

HumanAction = Literal["accepted", "edited", "rejected", "undone", "none"]
"""What a person did with the result; `none` where nobody looked, as when evidence alone accepted it."""


@dataclass(frozen=True, slots=True)
class Call:
    """One call of the model: what it was sent, to the letter, and what it wrote."""

    seq: int
    """Of the event that holds the completion."""
    purpose: str
    """`plan`, `act`, `infill` or `rewrite`."""
    messages: tuple[Message, ...]
    prompt: str
    """The raw prompt where it was no chat; one of the two is empty."""
    completion: Completion
    gap: tuple[int, int] | None = None
    """Of a raw prompt: where the text with the gap begins, and where the gap is (memory.records.Prompted)."""


@dataclass(frozen=True)
class Harvest:
    """A run that ended, its patches and the fate of its lines."""

    run_id: str
    session_id: str
    """Runs of one process have the same; no part of it tells the machine."""
    events: tuple[Event, ...]
    patches: Mapping[str, bytes] = field(default_factory=dict)
    """Diffs of its verdicts, as git writes them, by their SHA-256."""
    survivals: tuple[Survival, ...] = ()
    """Youngest age first."""

    @cached_property
    def started(self) -> RunStarted:
        return next(e.payload for e in self.events if isinstance(e.payload, RunStarted))

    @property
    def task(self) -> Task:
        return self.started.task

    @property
    def synthetic(self) -> bool:
        """A program made its task."""
        return self.started.origin.synthetic

    @property
    def repository(self) -> str:
        """The repository that the run counts for, also where it worked on a copy."""
        return self.started.repository

    @property
    def created_at(self) -> str:
        """UTC, ISO 8601 with milliseconds."""
        return self.events[0].at

    @cached_property
    def stop(self) -> Stop | None:
        return next((e.payload.stop for e in reversed(self.events) if isinstance(e.payload, RunEnded)), None)

    @cached_property
    def verdicts(self) -> tuple[Verdict, ...]:
        return tuple(event.payload for event in self.events if isinstance(event.payload, Verdict))

    @property
    def evaluation(self) -> Evaluation | None:
        """The last verdict; None where there was no change to judge."""
        return self.verdicts[-1].evaluation if self.verdicts else None

    @property
    def diff(self) -> str:
        """The change as it stood at the end, a person's edits included; empty where there was none."""
        return self._text(self.verdicts[-1].diff_sha256) if self.verdicts else ""

    @cached_property
    def edited(self) -> tuple[str, str] | None:
        """The agent's diff, and what a person made of it before they accepted; None where they did not."""
        if self.human != "edited":
            return None
        own = ""
        for event in self.events:
            if isinstance(event.payload, UserActed) and event.payload.action == "edit-diff":
                break
            if isinstance(event.payload, Verdict):
                own = self._text(event.payload.diff_sha256)
        return (own, self.diff) if own and own != self.diff else None

    @cached_property
    def human(self) -> HumanAction:
        """The person's last word on the result."""
        said: HumanAction = "none"
        touched = False
        for payload in (event.payload for event in self.events):
            match payload:
                case UserActed(action="edit-diff"):
                    touched = True
                case UserActed(action="accept"):
                    said = "edited" if touched else "accepted"
                case UserActed(action="reject"):
                    said = "rejected"
                case Applied(undone=True) | UserActed(action="undo"):
                    said = "undone"
        return said

    @property
    def applied(self) -> bool:
        """The change went into the tree, and was not taken back."""
        last = next((e.payload for e in reversed(self.events) if isinstance(e.payload, Applied)), None)
        return last is not None and not last.undone

    @property
    def comment(self) -> str:
        """The person's own words about the result, such as the reason of a rejection."""
        words = (e.payload for e in self.events if isinstance(e.payload, UserActed))
        return " ".join(word.detail.strip() for word in words if word.action == "reject" and word.detail)

    @property
    def decided_s(self) -> float:
        """Seconds that the person took over the result; 0 where nobody was asked."""
        asked = (e.payload for e in self.events if isinstance(e.payload, UserActed))
        return sum(act.seconds for act in asked if act.action in ("accept", "reject", "edit-diff"))

    @cached_property
    def calls(self) -> tuple[Call, ...]:
        """All calls of the model that were answered, in their order."""
        found, asked = list[Call](), None
        for event in self.events:
            if isinstance(event.payload, Prompted):
                asked = event.payload
            elif isinstance(event.payload, Completed) and asked is not None:
                told = event.payload
                found.append(
                    Call(event.seq, told.purpose, asked.messages, asked.prompt, told.completion, asked.gap)
                )
        return tuple(found)

    def _text(self, sha256: str) -> str:
        return self.patches.get(sha256, b"").decode("utf-8", "replace")


def harvests(store: Store, *, repo: str | None = None, since: str = "") -> Iterator[Harvest]:
    """Every run that ended, oldest first: of one repository or of all, from a time in ISO 8601 on.

    A run that cannot be read raises what `Store.events` raises: a data set with a silent hole is worse.
    """
    for run_id, pid, process in ended(store, repo=repo, since=since):
        yield harvest(store, run_id, session_of(pid, process))


def harvest(store: Store, run_id: str, session_id: str = "") -> Harvest:
    """One run. Raises what `Store.events` raises."""
    events = tuple(store.events(run_id))
    shas = {e.payload.diff_sha256 for e in events if isinstance(e.payload, Verdict)} - {""}
    patches = {sha: store.artifact(sha) for sha in sorted(shas)}
    return Harvest(run_id, session_id, events, patches, tuple(of_run(store, run_id)))


def session_of(pid: int, process: str) -> str:
    """Name of the process that did a run."""
    return hashlib.sha256(f"{process}/{pid}".encode()).hexdigest()[:16]


def ordered(found: Sequence[Harvest]) -> list[Harvest]:
    """By time and id: the order of every data set."""
    return sorted(found, key=lambda one: (one.created_at, one.run_id))
