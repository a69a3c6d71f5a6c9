"""What a person changes: cancelled, queued again, removed. Each holds the store alone: no claim is midway."""

from typing import Any

from sqlalchemy import insert, literal, update
from sqlalchemy import select as columns
from sqlmodel import Session, col, delete, select

from memory import errors
from memory.backlog_records import State
from memory.backlog_rows import backlog_row, clock, stamp
from memory.tables import AnyJson, BacklogEventRow, CursorRow, EffectRow, ItemRow

STATUS = "adi backlog status"


def newest(session: Session, backlog_id: str, key: str) -> ItemRow:
    """The newest revision of an item. Raises NotFound."""
    query = select(ItemRow).where(ItemRow.backlog_id == backlog_id, ItemRow.key == key)
    row = session.exec(query.order_by(col(ItemRow.number).desc())).first()
    if row is None:
        raise errors.NotFound(f"no item {key!r} in the backlog", STATUS)
    return row


def cancel(session: Session, backlog_id: str, key: str | None) -> int:
    """Cancel an item, or the backlog with all that waits; of what runs the workers hear. How many items."""
    backlog = backlog_row(session, backlog_id)
    at = stamp(clock(session))
    told = {"why": "cancelled"}
    mine = (col(ItemRow.backlog_id) == backlog_id,)
    if key is None:
        backlog.state = "cancelled"
    else:
        mine = (col(ItemRow.id) == newest(session, backlog_id, key).id,)
    running = (*mine, col(ItemRow.state) == State.RUNNING, col(ItemRow.withdrawn) != "cancelled")
    count = _change(session, running, "withdrawn", at, told, withdrawn="cancelled")
    queued = (*mine, col(ItemRow.state) == State.QUEUED)
    return count + _change(
        session, queued, "cancelled", at, told,
        withdrawn="cancelled", state=State.CANCELLED, detail="cancelled before anybody began",
    )  # fmt: skip


def reopen(session: Session, backlog_id: str, key: str | None) -> int:
    """Queue an ended item again with all its tries; or open the backlog, with all that a person cancelled.

    How many items. Raises NotFound, BacklogClosed for an item that waits or runs.
    """
    backlog = backlog_row(session, backlog_id)
    at = stamp(clock(session))
    if key is None:
        backlog.state = "open"
        mine = (col(ItemRow.backlog_id) == backlog_id, col(ItemRow.withdrawn) == "cancelled")
        running = (*mine, col(ItemRow.state) == State.RUNNING)
        count = _change(session, running, "reopened", at, {"why": "reopened"}, withdrawn="")
        return count + _requeue(session, (*mine, col(ItemRow.state) == State.CANCELLED), at)
    row = newest(session, backlog_id, key)
    if row.state in (State.QUEUED, State.RUNNING):
        raise errors.BacklogClosed(f"{key} is {row.state}, it cannot be reopened", STATUS)
    return _requeue(session, (col(ItemRow.id) == row.id,), at)


def _requeue(session: Session, which: tuple[Any, ...], at: str) -> int:
    # The fence rises: what an earlier worker says from now on is stale.
    return _change(
        session, which, "reopened", at, {"why": "reopened"},
        state=State.QUEUED, withdrawn="", attempts=0, not_before="", detail="", result={},
        seconds=0.0, tokens=0, fence=col(ItemRow.fence) + 1,
    )  # fmt: skip


def _change(
    session: Session, which: tuple[Any, ...], kind: str, at: str, told: dict[str, Any], **values: Any
) -> int:
    """Change rows where they lie, with an event for each; there may be very many."""
    session.flush()
    shown = columns(  # sqlmodel has no word for five of them
        col(ItemRow.backlog_id), col(ItemRow.id), literal(at), literal(kind), literal(told, AnyJson)
    ).where(*which)
    session.execute(
        insert(BacklogEventRow).from_select(["backlog_id", "item_id", "at", "kind", "content"], shown)
    )
    gone = session.execute(
        update(ItemRow)
        .where(*which)
        .values(updated=at, **values)
        .execution_options(synchronize_session=False)
    )
    session.expire_all()
    return int(gone.rowcount)  # type: ignore[attr-defined]


def remove(session: Session, backlog_id: str) -> None:
    """Delete it with everything in it. Raises NotFound, BacklogClosed while an item runs."""
    row = backlog_row(session, backlog_id)
    busy = select(ItemRow.key).where(ItemRow.backlog_id == backlog_id, ItemRow.state == State.RUNNING)
    if (key := session.exec(busy).first()) is not None:
        raise errors.BacklogClosed(f"{key} is running", "adi backlog cancel")
    for table in (BacklogEventRow, EffectRow, CursorRow, ItemRow):
        session.execute(delete(table).where(col(table.backlog_id) == backlog_id))
    session.delete(row)
