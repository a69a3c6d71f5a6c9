"""The rows of the store. Private to memory/: SQLModel tables do not validate, records do."""

from typing import Any

from sqlalchemy import BigInteger, ForeignKeyConstraint, Index, LargeBinary, MetaData, UniqueConstraint
from sqlalchemy.orm import registry
from sqlmodel import Field, SQLModel

from memory.columns import AnyJson as AnyJson
from memory.columns import AnyText as AnyText

NAMING = {
    "ix": "ix_%(table_name)s_%(column_0_N_name)s",
    "uq": "uq_%(table_name)s_%(column_0_N_name)s",
    "ck": "ck_%(table_name)s_%(constraint_name)s",
    "fk": "fk_%(table_name)s_%(column_0_N_name)s_%(referred_table_name)s",
    "pk": "pk_%(table_name)s",
}


class Table(SQLModel, registry=registry(metadata=MetaData(naming_convention=NAMING))):
    """Base of all tables; the named constraints let later migrations change them."""


class RunRow(Table, table=True):
    """One run; the columns after `last_seq` sum up its events for `adi log`."""

    __tablename__ = "run"

    id: str = Field(primary_key=True)
    repo: str = Field(index=True, sa_type=AnyText)
    prompt: str = Field(sa_type=AnyText)
    model: str
    started: str
    """UTC, ISO 8601 with milliseconds, as are all times here."""
    pid: int
    process: str
    """Identity of the process, see memory/process.py."""
    last_seq: int = 0
    ended: str = ""
    stop: str = ""
    diff_sha256: str = ""
    diffstat: str = Field(default="", sa_type=AnyText)
    applied_at: str = ""
    """Empty when the change is not in the user's tree."""
    prompt_tokens: int = 0
    cached_tokens: int = 0
    completion_tokens: int = 0
    seconds: float = 0.0


class EventRow(Table, table=True):
    """One event of a run, never changed once written."""

    __tablename__ = "event"

    run_id: str = Field(primary_key=True, foreign_key="run.id")
    seq: int = Field(primary_key=True)
    at: str
    kind: str
    version: int
    """SCHEMA_VERSION of the records that wrote it."""
    payload: dict[str, Any] = Field(sa_type=AnyJson)


class ArtifactRow(Table, table=True):
    """Bytes too large or too binary for an event, such as a patch, keyed by their hash."""

    __tablename__ = "artifact"

    sha256: str = Field(primary_key=True)
    at: str
    content: bytes = Field(sa_type=LargeBinary)


class ClaimRow(Table, table=True):
    """A repository that a live process works on."""

    __tablename__ = "claim"

    repo: str = Field(primary_key=True, sa_type=AnyText)
    run_id: str = Field(foreign_key="run.id")
    pid: int
    process: str
    at: str


class LessonRow(Table, table=True):
    """One lesson; `lesson_text` holds its words for full-text search, under the same id."""

    __tablename__ = "lesson"
    __table_args__ = (Index(None, "place", "kind"),)

    id: str = Field(primary_key=True)
    key: str = Field(unique=True)
    """Hash of what makes two lessons one: kind, scope, place, and subject or claim."""
    kind: str
    scope: str
    place: str = Field(sa_type=AnyText)
    claim: str = Field(sa_type=AnyText)
    subject: str = Field(index=True, sa_type=AnyText)
    words: str = Field(sa_type=AnyText)
    content: dict[str, Any] = Field(sa_type=AnyJson)
    author: str
    status: str
    pinned: bool = False
    supported: int = 0
    """Rows of its evidence that speak for it; `contradicted` are those against it."""
    contradicted: int = 0
    uses: int = 0
    created: str
    changed: str
    used: str = ""


class EvidenceRow(Table, table=True):
    """What one run says about a lesson."""

    __tablename__ = "evidence"

    lesson_id: str = Field(primary_key=True, foreign_key="lesson.id")
    seq: int = Field(primary_key=True)
    run_id: str = Field(index=True)
    """No foreign key: it may be a person's word (empty), or a run that was forgotten."""
    stance: str
    why: str = Field(sa_type=AnyText)
    saved_tokens: int = 0
    at: str


class FailureRow(Table, table=True):
    """The signature of one failing test of a check that ran, for search; its story is the event's."""

    __tablename__ = "failure"
    __table_args__ = (ForeignKeyConstraint(["run_id", "seq"], ["event.run_id", "event.seq"]),)

    run_id: str = Field(primary_key=True)
    seq: int = Field(primary_key=True)
    position: int = Field(primary_key=True)
    signature: str = Field(index=True, sa_type=AnyText)
    test: str = Field(sa_type=AnyText)


class SurvivalRow(Table, table=True):
    """What became of a run's accepted lines at an age."""

    __tablename__ = "survival"

    run_id: str = Field(primary_key=True, foreign_key="run.id")
    days: int = Field(primary_key=True)
    kept: int
    edited: int
    reverted: int
    at: str


class TombstoneRow(Table, table=True):
    """That something was forgotten, without what it was."""

    __tablename__ = "tombstone"

    id: str = Field(primary_key=True)
    kind: str
    at: str
    reason: str = Field(sa_type=AnyText)
    removed: dict[str, Any] = Field(sa_type=AnyJson)


class ConsentRow(Table, table=True):
    """One decision about training on runs; the highest `seq` of a scope and key counts."""

    __tablename__ = "consent"

    scope: str = Field(primary_key=True)
    key: str = Field(primary_key=True, sa_type=AnyText)
    seq: int = Field(primary_key=True)
    status: str
    by: str = Field(sa_type=AnyText)
    at: str
    policy_version: int
    licence: str = Field(sa_type=AnyText)


class OptOutRow(Table, table=True):
    """Somebody who wants out of every data set, as a hash (memory/hidden.py)."""

    __tablename__ = "optout"

    kind: str = Field(primary_key=True)
    hash: str = Field(primary_key=True)
    at: str


class ExportRow(Table, table=True):
    """A data set that was written, and the runs in it."""

    __tablename__ = "export"

    id: str = Field(primary_key=True)
    path: str = Field(index=True, sa_type=AnyText)
    at: str
    manifest_sha256: str
    run_ids: list[str] = Field(sa_type=AnyJson)
    command: str = Field(sa_type=AnyText)


class GateUseRow(Table, table=True):
    """One look at held-out tasks, never removed: what was seen stays seen."""

    __tablename__ = "gate_use"

    id: str = Field(primary_key=True)
    key: str = Field(unique=True)
    """Hash of what makes two looks one: kind, models, tasks and plan."""
    at: str
    kind: str
    old: str = Field(sa_type=AnyText)
    new: str = Field(sa_type=AnyText)
    tasks: list[str] = Field(sa_type=AnyJson)
    look: int
    alpha: float
    ended: str = ""
    verdict: str = ""
    report: dict[str, Any] = Field(sa_type=AnyJson)


class BacklogRow(Table, table=True):
    """A list of issues to work off; what was spent is the sum over all claims of its items."""

    __tablename__ = "backlog"

    id: str = Field(primary_key=True)
    name: str = Field(unique=True, sa_type=AnyText)
    source: str = Field(sa_type=AnyText)
    created: str
    state: str
    settings: dict[str, Any] = Field(sa_type=AnyJson)
    limits: dict[str, Any] = Field(sa_type=AnyJson)
    seconds: float = 0.0
    tokens: int = Field(default=0, sa_type=BigInteger)
    tries: int = 0


class ItemRow(Table, table=True):
    """One revision of one issue; the columns from `owner` to `lease_tokens` are its last lease."""

    __tablename__ = "backlog_item"
    __table_args__ = (
        UniqueConstraint("backlog_id", "key", "number"),
        Index(None, "backlog_id", "state", "rank", "attempts", "id"),
        Index(None, "state", "repo"),
    )

    id: int | None = Field(default=None, primary_key=True)
    backlog_id: str = Field(foreign_key="backlog.id")
    key: str = Field(sa_type=AnyText)
    number: int
    revision: str
    title: str = Field(sa_type=AnyText)
    body: str = Field(sa_type=AnyText)
    repo: str = Field(sa_type=AnyText)
    base: str = Field(sa_type=AnyText)
    checks: list[Any] = Field(sa_type=AnyJson)
    meta: dict[str, Any] = Field(sa_type=AnyJson)
    rank: int
    """The priority with its sign turned, so that one index has the whole order of claims."""
    state: str
    withdrawn: str = ""
    attempts: int = 0
    not_before: str = ""
    fence: int = 0
    """Number of the last claim; `settled` is the claim whose result stands here."""
    settled: int = 0
    owner: str = Field(default="", sa_type=AnyText)
    lease_s: float = 0.0
    beaten: str = ""
    until: str = ""
    lease_seconds: float = 0.0
    lease_tokens: int = 0
    seconds: float = 0.0
    tokens: int = 0
    run_ids: list[str] = Field(sa_type=AnyJson)
    detail: str = Field(default="", sa_type=AnyText)
    result: dict[str, Any] = Field(sa_type=AnyJson)
    created: str
    updated: str


class BacklogEventRow(Table, table=True):
    """Something that happened to an item, never changed once written."""

    __tablename__ = "backlog_event"
    __table_args__ = (Index(None, "backlog_id", "id"),)

    id: int | None = Field(default=None, primary_key=True)
    backlog_id: str = Field(foreign_key="backlog.id")
    item_id: int = Field(foreign_key="backlog_item.id", index=True)
    at: str
    kind: str
    content: dict[str, Any] = Field(sa_type=AnyJson)


class EffectRow(Table, table=True):
    """Something done to the outside, such as a comment: begun, and perhaps done."""

    __tablename__ = "backlog_effect"

    backlog_id: str = Field(primary_key=True, foreign_key="backlog.id")
    key: str = Field(primary_key=True, sa_type=AnyText)
    begun: str
    tries: int
    done: str = ""
    result: dict[str, Any] = Field(sa_type=AnyJson)


class CursorRow(Table, table=True):
    """How far the listing of a source was read."""

    __tablename__ = "backlog_cursor"

    backlog_id: str = Field(primary_key=True, foreign_key="backlog.id")
    source: str = Field(primary_key=True, sa_type=AnyText)
    position: str = Field(sa_type=AnyText)
    done: bool
    at: str
