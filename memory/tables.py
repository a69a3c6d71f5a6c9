"""The rows of the store. Private to memory/: SQLModel tables do not validate, records do."""

import json
import math
from typing import Any

from sqlalchemy import (
    JSON,
    Dialect,
    ForeignKeyConstraint,
    Index,
    LargeBinary,
    MetaData,
    String,
    TypeDecorator,
)
from sqlalchemy.orm import registry
from sqlmodel import Field, SQLModel

NAMING = {
    "ix": "ix_%(table_name)s_%(column_0_N_name)s",
    "uq": "uq_%(table_name)s_%(column_0_N_name)s",
    "ck": "ck_%(table_name)s_%(constraint_name)s",
    "fk": "fk_%(table_name)s_%(column_0_N_name)s_%(referred_table_name)s",
    "pk": "pk_%(table_name)s",
}


class AnyText(TypeDecorator[str]):
    """Text that keeps lone surrogates (such as bytes of a path that are not UTF-8).

    Plain text is stored as it is; text that SQLite or Postgres could not hold, or that starts with a quote,
    is stored as a JSON string.
    """

    impl = String
    cache_ok = True

    def process_bind_param(self, value: str | None, dialect: Dialect) -> str | None:  # noqa: ARG002
        if value is None or (not value.startswith('"') and _is_plain(value)):
            return value
        return json.dumps(value)

    def process_result_value(self, value: str | None, dialect: Dialect) -> str | None:  # noqa: ARG002
        if value is None or not value.startswith('"'):
            return value
        return str(json.loads(value))


class AnyJson(TypeDecorator[Any]):
    """JSON that keeps every text and number that Python's JSON has.

    SQLite stores it as it is. Postgres refuses `Infinity`, and its operators stumble over NUL and lone
    surrogates: there a value with any of them is stored as an object with the one key ESCAPED, which holds
    its JSON as a string.
    """

    impl = JSON
    cache_ok = True
    ESCAPED = "escaped-json"

    def process_bind_param(self, value: Any, dialect: Dialect) -> Any:
        if dialect.name == "sqlite" or self._is_plain(value):
            return value
        return {self.ESCAPED: json.dumps(value)}

    def process_result_value(self, value: Any, dialect: Dialect) -> Any:
        if dialect.name != "sqlite" and isinstance(value, dict) and value.keys() == {self.ESCAPED}:
            return json.loads(value[self.ESCAPED])
        return value

    def coerce_compared_value(self, op: Any, value: Any) -> Any:
        return self.impl_instance.coerce_compared_value(op, value)

    def _is_plain(self, value: Any) -> bool:
        match value:
            case str():
                return _is_plain(value)
            case float():
                return math.isfinite(value)
            case dict():
                escaped = value.keys() == {self.ESCAPED}
                return not escaped and all(_is_plain(key) and self._is_plain(value[key]) for key in value)
            case list() | tuple():
                return all(self._is_plain(item) for item in value)
        return True


def _is_plain(value: str) -> bool:
    try:
        value.encode()
    except UnicodeEncodeError:
        return False
    return "\x00" not in value


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
