"""The data types of a backlog: what is to be done, who works on it, how it ended. Frozen values, no I/O."""

import hashlib
import json
from enum import StrEnum
from typing import Literal

from pydantic import Field, JsonValue

from memory.checks import Check, Record


class State(StrEnum):
    """Where an item stands."""

    QUEUED = "queued"
    RUNNING = "running"
    SOLVED = "solved"
    UNSOLVED = "unsolved"
    NEEDS_HUMAN = "needs-human"
    INFRA_ERROR = "infra-error"  # the environment failed, and the tries or the budget are spent
    PARKED = "parked"  # its workers fell silent again and again
    CANCELLED = "cancelled"
    SUPERSEDED = "superseded"  # a newer revision stands in its place


ENDED = frozenset(State) - {State.QUEUED, State.RUNNING}
"""States in which nobody works on an item, nor will without being told to."""

Withdrawn = Literal["", "edited", "closed", "cancelled"]
"""Why a result is no longer what was asked for: the issue was edited or closed, or a person said no."""


class BacklogLimits(Record):
    """What may be spent on a backlog and on each of its items. 0 means no limit."""

    seconds: float = 0.0
    """Seconds of work, all workers added up."""
    tokens: int = 0
    tries: int = 0
    """Claims, those that failed included."""
    item_seconds: float = 0.0
    item_tokens: int = 0
    item_tries: int = 3
    """How often an item is begun whose worker falls silent or whose environment fails."""
    retry_s: float = 60.0
    """Wait before the second try after an infra error, in seconds; it doubles with each further one."""
    retry_max_s: float = 3600.0

    def bounded(self) -> bool:
        """True when the backlog as a whole has a budget."""
        return bool(self.seconds or self.tokens or self.tries)


class BacklogInfo(Record):
    """A list of issues to work off."""

    id: str
    name: str
    source: str = ""
    """Where its items come from, as the person gave it."""
    created: str
    state: Literal["open", "cancelled"] = "open"
    settings: dict[str, JsonValue] = Field(default_factory=dict)
    limits: BacklogLimits = BacklogLimits()
    seconds: float = 0.0
    """Spent so far, as are `tokens` and `tries`."""
    tokens: int = 0
    tries: int = 0


class NewItem(Record):
    """An issue as its source gives it now."""

    key: str = Field(min_length=1)
    """What makes it the same issue next time, such as `owner/repo#12`, a path, or an instance id."""
    title: str = ""
    body: str = ""
    repo: str = ""
    """Path or address of the repository, as given."""
    base: str = ""
    """Commit to start from; empty for what the repository has then."""
    checks: tuple[Check, ...] = ()
    meta: dict[str, JsonValue] = Field(default_factory=dict)
    """What the source knows beyond that; a change of it, or of the priority, makes no new revision."""
    priority: int = Field(default=0, ge=-(10**9), le=10**9)
    """Higher ones are claimed first."""
    closed: bool = False
    """The tracker says that nothing is to be done any more."""

    def revision(self) -> str:
        """SHA-256 in hex of all that the work on it depends on."""
        told = [self.title, self.body, self.base, self.repo, [check.model_dump() for check in self.checks]]
        return hashlib.sha256(json.dumps(told, sort_keys=True).encode()).hexdigest()


class Added(Record):
    """What became of items that were added, counted."""

    added: int = 0
    same: int = 0
    """Known in this revision; nothing was done."""
    revised: int = 0
    """Known in an older revision; the new one is queued."""
    reopened: int = 0
    """Cancelled when the tracker closed them, and open there again."""
    cancelled: int = 0
    """Queued or running, and closed in the tracker now."""
    skipped: int = 0
    """Closed before anybody began, done already, or cancelled by a person."""


class Item(Record):
    """One revision of an issue, and how far it is."""

    id: int
    key: str
    number: int
    """1 for the first revision, and so on."""
    revision: str
    title: str
    body: str
    repo: str
    base: str
    checks: tuple[Check, ...] = ()
    meta: dict[str, JsonValue] = Field(default_factory=dict)
    priority: int = 0
    state: State
    withdrawn: Withdrawn = ""
    attempts: int = 0
    """How often it was begun since it was queued by a person."""
    not_before: str = ""
    """It is not begun before this time; empty means at once."""
    owner: str = ""
    """Worker that has it, or that had it last."""
    until: str = ""
    """When the lease of a running one ends."""
    seconds: float = 0.0
    tokens: int = 0
    run_ids: tuple[str, ...] = ()
    detail: str = ""
    """How it ended, in a sentence; of a parked one the trace of its attempts, one a line."""
    result: dict[str, JsonValue] = Field(default_factory=dict)
    created: str
    updated: str


class Lease(Record):
    """The right to work on an item, until a time; `Backlog.beat` moves that on."""

    backlog_id: str
    item: Item
    worker: str
    fence: int
    """Number of this claim; a result with a lower one than the item's last is stale."""
    lease_s: float
    until: str
    seconds_left: float | None = None
    """What the budgets leave for this attempt; None means no limit."""
    tokens_left: int | None = None


class Idle(Record):
    """Why a worker was given nothing."""

    reason: Literal["done", "others", "waiting", "repo-busy", "budget", "cancelled"]
    """`done`: no item is queued or running; `others`: the rest is running; `waiting`: for a retry."""
    detail: str
    again_s: float = 0.0
    """When it makes sense to ask again, in seconds; 0 where it does not."""


class Outcome(Record):
    """How a worker's attempt ended."""

    state: Literal["solved", "unsolved", "needs-human", "infra-error"]
    """Only `infra-error` is tried again."""
    run_id: str = ""
    detail: str = ""
    result: dict[str, JsonValue] = Field(default_factory=dict)
    """What the reports tell, such as the branch and the hash of the patch."""
    seconds: float = 0.0
    """Spent on this attempt as a whole, what beats have told included."""
    tokens: int = 0


class Settled(Record):
    """What became of an outcome."""

    applied: bool
    """False when it came too late: it is in the events as `stale`, and the item is as it was."""
    item: Item
    """As it is now; `withdrawn` tells that the result is of an old revision, or no longer wanted."""
    retry_at: str = ""
    """When it is tried again; empty when it is not."""


class Effect(Record):
    """Something done to the outside under a key, such as a comment or a pushed branch."""

    key: str
    state: Literal["new", "unknown", "done"]
    """`new`: do it; `unknown`: it was begun before and may have happened, look first; `done`: it happened."""
    tries: int
    begun: str
    result: dict[str, JsonValue] = Field(default_factory=dict)
    """What `done_effect` recorded, such as the address of the comment."""


class Cursor(Record):
    """How far the listing of a source was read."""

    position: str
    """What the source needs to go on, such as a page's token."""
    done: bool
    """The listing was read to its end."""
    at: str


class BacklogEvent(Record):
    """Something that happened to an item."""

    id: int
    """Grows; events that are written at the same moment on a server may appear out of order."""
    item_id: int
    key: str
    at: str
    kind: Literal[
        "claimed", "expired", "released", "settled", "stale", "parked",
        "revised", "superseded", "withdrawn", "cancelled", "reopened",
    ]  # fmt: skip
    content: dict[str, JsonValue] = Field(default_factory=dict)


class BacklogStatus(Record):
    """A backlog in numbers."""

    info: BacklogInfo
    counts: dict[State, int]
    """Items in each state, revisions that were superseded too; every state is there."""
    expired: int = 0
    """Running ones whose lease is over; the next claim takes them back."""
    spent: str = ""
    """Which budget of the whole backlog is spent; empty when none is."""
