"""What the parts of a backlog share: the clock, rows as records, budgets, the log of events."""

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

from sqlalchemy import text
from sqlmodel import Session

from memory import errors
from memory.backlog_records import BacklogEvent, BacklogInfo, BacklogLimits, Item
from memory.tables import BacklogEventRow, BacklogRow, ItemRow

LIST = "adi backlog list"


def clock(session: Session) -> datetime:
    """UTC as the database has it: of a server its own, so that machines need not agree; of a file the host's.

    A clock that jumps ahead ends leases early: work is done twice, and only the later claim's result counts.
    When it jumps back, leases are counted anew from the moment that a claim notices.
    """
    if session.get_bind().dialect.name == "sqlite":
        return datetime.now(UTC)
    found: datetime = session.connection().execute(text("SELECT clock_timestamp()")).scalar_one()
    return found.astimezone(UTC)


def stamp(moment: datetime, later_s: float = 0.0) -> str:
    """As it is stored: UTC, ISO 8601 with milliseconds; such texts sort by time."""
    moment += timedelta(seconds=later_s)
    return moment.isoformat(timespec="milliseconds").replace("+00:00", "Z")


def backlog_row(session: Session, backlog_id: str) -> BacklogRow:
    """Raises NotFound."""
    row = session.get(BacklogRow, backlog_id)
    if row is None:
        raise errors.NotFound(f"no backlog {backlog_id}", LIST)
    return row


def info(row: BacklogRow) -> BacklogInfo:
    """The row as a record."""
    return BacklogInfo.model_validate(row.model_dump())


_LEASE = {"backlog_id", "rank", "fence", "settled", "lease_s", "beaten", "lease_seconds", "lease_tokens"}


def item(row: ItemRow) -> Item:
    """The row as a record."""
    return Item.model_validate({**row.model_dump(exclude=_LEASE), "priority": -row.rank})


def limits(row: BacklogRow) -> BacklogLimits:
    """What may be spent on it."""
    return BacklogLimits.model_validate(row.limits)


def spent(row: BacklogRow) -> str:
    """Which budget of the whole backlog is spent, as a sentence; empty when none is."""
    allowed = limits(row)
    told = {
        "seconds": (row.seconds, allowed.seconds),
        "tokens": (row.tokens, allowed.tokens),
        "tries": (row.tries, allowed.tries),
    }
    for name, (used, limit) in told.items():
        if limit and used >= limit:
            return f"{used:.0f} of {limit:.0f} {name} of the backlog are spent"
    return ""


def spent_item(row: ItemRow, allowed: BacklogLimits) -> str:
    """Which budget of one item is spent, as a sentence; empty when none is."""
    told = {
        "tries": (row.attempts, allowed.item_tries),
        "seconds": (row.seconds, allowed.item_seconds),
        "tokens": (row.tokens, allowed.item_tokens),
    }
    for name, (used, limit) in told.items():
        if limit and used >= limit:
            return f"{used:.0f} of {limit:.0f} {name} of the item are spent"
    return ""


def write(session: Session, row: ItemRow, kind: str, at: str, content: Mapping[str, Any]) -> None:
    """Add to the log of events."""
    assert row.id is not None
    session.add(
        BacklogEventRow(backlog_id=row.backlog_id, item_id=row.id, at=at, kind=kind, content=dict(content))
    )


def event(row: BacklogEventRow, key: str) -> BacklogEvent:
    """The row as a record."""
    return BacklogEvent.model_validate({**row.model_dump(exclude={"backlog_id"}), "key": key})
