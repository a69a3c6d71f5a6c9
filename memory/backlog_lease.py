"""Who works on which item: claims, heartbeats, results, and what becomes of a lease that runs out.

Each claim of an item raises its fence; a result counts only under the fence of the last claim. A lease that
ran out ends when the next claim finds it. Until then its worker may still beat, and settle even later while
nobody else was given the item: a pause (a suspended machine, a slow disk) costs nothing where no one waited.

On a server `claim` may lock a backlog before items, and everything else items before the backlog: it cannot
come to a deadlock, because `claim` never waits for an item.
"""

from collections.abc import Iterator
from datetime import datetime
from functools import cache
from typing import Final

from sqlalchemy import bindparam, or_, update
from sqlalchemy.orm import aliased
from sqlmodel import Session, col, func, select
from sqlmodel.sql.expression import SelectOfScalar

from memory import errors
from memory.backlog_records import BacklogLimits, Idle, Lease, Outcome, Settled, State
from memory.backlog_rows import (
    backlog_row,
    clock,
    item,
    limits,
    spent,
    spent_item,
    stamp,
    write,
)
from memory.tables import BacklogEventRow, BacklogRow, ItemRow, Table

_EXPIRED: Final = (
    select(ItemRow)
    .where(
        col(ItemRow.state) == State.RUNNING,
        or_(col(ItemRow.until) <= bindparam("at"), col(ItemRow.beaten) > bindparam("at")),
    )
    .order_by(col(ItemRow.id))
    .with_for_update(skip_locked=True)
)
_BACKLOG: Final = Table.metadata.tables["backlog"]
_CHARGE: Final = (
    update(_BACKLOG)
    .where(_BACKLOG.c.id == bindparam("which"))
    .values(
        seconds=_BACKLOG.c.seconds + bindparam("more_s"),
        tokens=_BACKLOG.c.tokens + bindparam("more"),
        tries=_BACKLOG.c.tries + bindparam("again"),
    )
)


def claim(
    session: Session, backlog_id: str, worker: str, lease_s: float, *, one_per_repo: bool, only: str = ""
) -> Lease | Idle:
    """The first item that waits, by priority, then tries, then age; or why there is none.

    What was tried comes last: an item that kills its workers does not keep them from the others.
    """
    backlog = backlog_row(session, backlog_id)
    if limits(backlog).bounded():  # others add to what is spent: it must not change before this claim counts
        session.refresh(backlog, with_for_update=True)
    now = clock(session)
    at = stamp(now)
    expire(session, now)
    if backlog.state != "open":
        return Idle(reason="cancelled", detail=f"backlog {backlog.name} was cancelled")
    if told := spent(backlog):
        return Idle(reason="budget", detail=told)
    query = _waiting(one_per_repo).with_for_update(skip_locked=True, of=ItemRow)
    if only:
        query = query.where(ItemRow.key == only)
    row = session.execute(query, {"backlog": backlog.id, "at": at}).scalars().first()
    if row is None:
        return _idle(session, backlog.id, at, now)
    row.state, row.owner, row.lease_s = State.RUNNING, worker, lease_s
    row.fence += 1
    row.attempts += 1
    row.beaten, row.until, row.updated = at, stamp(now, lease_s), at
    row.lease_seconds, row.lease_tokens, row.not_before = 0.0, 0, ""
    write(session, row, "claimed", at, {"worker": worker, "fence": row.fence, "attempt": row.attempts})
    session.flush()
    _charge(session, backlog.id, tries=1)
    return _lease(row, backlog)


@cache  # to build it takes longer than to run it
def _waiting(one_per_repo: bool) -> SelectOfScalar[ItemRow]:
    """Queued, its wait over, and no older revision of it in work: both would write to one branch.

    Takes `backlog` and `at`.
    """
    older, other = aliased(ItemRow), aliased(ItemRow)
    in_work = select(col(older.id)).where(
        col(older.backlog_id) == bindparam("backlog"),
        col(older.key) == col(ItemRow.key),
        col(older.state) == State.RUNNING,
    )
    query = select(ItemRow).where(
        col(ItemRow.backlog_id) == bindparam("backlog"),
        col(ItemRow.state) == State.QUEUED,
        col(ItemRow.not_before) <= bindparam("at"),
        or_(col(ItemRow.number) == 1, ~in_work.exists()),
    )
    if one_per_repo:
        repos = select(col(other.repo)).where(col(other.state) == State.RUNNING)
        query = query.where(or_(col(ItemRow.repo) == "", col(ItemRow.repo).not_in(repos)))
    return query.order_by(col(ItemRow.rank), col(ItemRow.attempts), col(ItemRow.id)).limit(1)


def _idle(session: Session, backlog_id: str, at: str, now: datetime) -> Idle:
    counts = dict(
        session.exec(
            select(ItemRow.state, func.count())
            .where(ItemRow.backlog_id == backlog_id, col(ItemRow.state).in_((State.QUEUED, State.RUNNING)))
            .group_by(col(ItemRow.state))
        ).all()
    )
    queued, running = counts.get(State.QUEUED, 0), counts.get(State.RUNNING, 0)
    if not queued:
        if running:
            return Idle(reason="others", detail=f"nothing is queued, {running} running", again_s=1.0)
        return Idle(reason="done", detail="nothing is queued or running")
    if session.execute(_waiting(False), {"backlog": backlog_id, "at": at}).first() is not None:
        return Idle(reason="repo-busy", detail=f"{queued} wait for a repository in work", again_s=1.0)
    soonest = session.exec(
        select(func.min(ItemRow.not_before)).where(
            ItemRow.backlog_id == backlog_id, ItemRow.state == State.QUEUED, ItemRow.not_before > at
        )
    ).one()
    wait = (datetime.fromisoformat(soonest) - now).total_seconds() if soonest else 1.0
    told = (
        f"{queued} wait, the next one until {soonest}" if soonest else f"{queued} wait for an older revision"
    )
    return Idle(reason="waiting", detail=told, again_s=max(wait, 0.05))


def beat(session: Session, lease: Lease, seconds: float, tokens: int) -> Lease:
    """Move the end of the lease on. Raises LeaseLost."""
    row = held(session, lease)
    now = clock(session)
    row.beaten, row.until = stamp(now), stamp(now, lease.lease_s)
    _spend(session, row, seconds, tokens)
    return _lease(row, backlog_row(session, row.backlog_id))


def held(session: Session, lease: Lease) -> ItemRow:
    """The item, locked, while it is this worker's. Raises LeaseLost, NotFound."""
    row = _locked(session, lease)
    if row.fence != lease.fence or row.state != State.RUNNING:
        raise errors.LeaseLost(_lost(row, lease))
    return row


def _locked(session: Session, lease: Lease) -> ItemRow:
    row = session.get(ItemRow, lease.item.id, with_for_update=True)
    if row is None:
        raise errors.NotFound(f"no item {lease.item.key}", "adi backlog status")
    return row


def _lost(row: ItemRow, lease: Lease) -> str:
    if row.fence != lease.fence:
        return f"{row.key} was claimed anew by {row.owner}: the lease of {lease.worker} had run out"
    return f"{row.key} is {row.state}: {lease.worker} no longer has it"


def release(session: Session, lease: Lease, why: str) -> None:
    """Give the item back as if it had not been begun. Raises LeaseLost."""
    row = held(session, lease)
    at = stamp(clock(session))
    write(session, row, "released", at, {"worker": lease.worker, "why": why, "fence": row.fence})
    row.fence += 1  # nothing that is said under this lease counts from now on
    row.attempts -= 1
    _queue(session, row, at, "")
    session.flush()
    _charge(session, row.backlog_id, tries=-1)


def settle(session: Session, lease: Lease, outcome: Outcome) -> Settled:
    """Record how the attempt ended; of an item that was claimed anew it is recorded, and not applied."""
    row = _locked(session, lease)
    now = clock(session)
    at = stamp(now)
    told = {"worker": lease.worker, "fence": lease.fence, **outcome.model_dump(mode="json")}
    if row.settled == lease.fence:  # said before: the answer to it was lost
        return Settled(applied=True, item=item(row), retry_at=row.not_before)
    if row.fence != lease.fence:
        write(session, row, "stale", at, told | {"why": _lost(row, lease)})
        return Settled(applied=False, item=item(row))
    backlog = backlog_row(session, row.backlog_id)
    _spend(session, row, outcome.seconds, outcome.tokens)
    row.settled, row.updated, row.until = lease.fence, at, ""
    row.detail, row.result = outcome.detail, outcome.result
    if outcome.run_id and outcome.run_id not in row.run_ids:
        row.run_ids = [*row.run_ids, outcome.run_id]
    _end(session, row, outcome, limits(backlog), now)
    write(session, row, "settled", at, told | {"now": row.state, "withdrawn": row.withdrawn})
    session.flush()
    return Settled(applied=True, item=item(row), retry_at=row.not_before)


def _end(session: Session, row: ItemRow, outcome: Outcome, allowed: BacklogLimits, now: datetime) -> None:
    """The state that an outcome leads to."""
    row.not_before = ""
    if row.withdrawn == "cancelled":
        row.state = State.CANCELLED
        row.detail = f"cancelled while it ran; it ended as {outcome.state}: {outcome.detail}".rstrip(": ")
    elif outcome.state != "infra-error":
        row.state = State(outcome.state)
    elif row.withdrawn:
        _queue(session, row, stamp(now), outcome.detail)
    elif told := spent_item(row, allowed):
        row.state, row.detail = State.INFRA_ERROR, f"{outcome.detail} ({told})".lstrip()
    else:
        row.state = State.QUEUED
        wait = min(allowed.retry_s * 2 ** min(row.attempts - 1, 30), allowed.retry_max_s)
        row.not_before = stamp(now, wait)


def expire(session: Session, now: datetime) -> None:
    """Take back what silent workers hold, in every backlog: one repository may be in several."""
    at = stamp(now)
    for row in session.execute(_EXPIRED, {"at": at}).scalars():
        if row.until > at:  # beaten in the future: the clock was put back
            row.beaten, row.until = at, stamp(now, row.lease_s)
            continue
        write(
            session, row, "expired", at,
            {"worker": row.owner, "fence": row.fence, "attempt": row.attempts, "last_beat": row.beaten},
        )  # fmt: skip
        if not row.withdrawn and (told := spent_item(row, limits(backlog_row(session, row.backlog_id)))):
            session.flush()
            row.state, row.updated = State.PARKED, at
            row.detail = "\n".join((f"parked: {told}", *_trace(session, row)))
            write(session, row, "parked", at, {"detail": row.detail})
        else:
            _queue(session, row, at, "")
    session.flush()


def _queue(session: Session, row: ItemRow, at: str, detail: str) -> None:
    """Back to those who wait; out, when nobody wants it any more."""
    row.updated, row.until, row.detail = at, "", detail
    if not row.withdrawn:
        row.state = State.QUEUED
        return
    row.state = State.SUPERSEDED if row.withdrawn == "edited" else State.CANCELLED
    row.detail = f"{row.withdrawn} while it ran; {detail or 'no result came'}"
    kind = "superseded" if row.withdrawn == "edited" else "cancelled"
    write(session, row, kind, at, {"why": row.withdrawn})


def _trace(session: Session, row: ItemRow) -> Iterator[str]:
    """What became of each attempt, a line each."""
    rows = session.exec(
        select(BacklogEventRow)
        .where(
            BacklogEventRow.item_id == row.id, col(BacklogEventRow.kind).in_(("expired", "settled"))
        )
        .order_by(col(BacklogEventRow.id).desc())
        .limit(20)
    ).all()  # fmt: skip
    for found in reversed(rows):
        told = found.content
        how = (
            f"fell silent, last heard of at {told['last_beat']}"
            if found.kind == "expired"
            else f"ended as {told['state']}: {told['detail']}"
        )
        yield f"{found.at} {told['worker']} {how}"


def _spend(session: Session, row: ItemRow, seconds: float, tokens: int) -> None:
    """Count what an attempt has used by now, as a whole; it only grows."""
    more_s, more = max(0.0, seconds - row.lease_seconds), max(0, tokens - row.lease_tokens)
    if not more_s and not more:
        return
    row.lease_seconds += more_s
    row.lease_tokens += more
    row.seconds += more_s
    row.tokens += more
    session.flush()
    _charge(session, row.backlog_id, seconds=more_s, tokens=more)


def _charge(
    session: Session, backlog_id: str, *, seconds: float = 0.0, tokens: int = 0, tries: int = 0
) -> None:
    """Add to what the backlog has used, in the database, because others add at the same time."""
    session.execute(_CHARGE, {"which": backlog_id, "more_s": seconds, "more": tokens, "again": tries})


def _lease(row: ItemRow, backlog: BacklogRow) -> Lease:
    allowed = limits(backlog)
    seconds = [
        limit - used
        for limit, used in ((allowed.seconds, backlog.seconds), (allowed.item_seconds, row.seconds))
        if limit
    ]
    tokens = [
        limit - used
        for limit, used in ((allowed.tokens, backlog.tokens), (allowed.item_tokens, row.tokens))
        if limit
    ]
    return Lease(
        backlog_id=row.backlog_id,
        item=item(row),
        worker=row.owner,
        fence=row.fence,
        lease_s=row.lease_s,
        until=row.until,
        seconds_left=max(0.0, min(seconds)) if seconds else None,
        tokens_left=max(0, min(tokens)) if tokens else None,
    )
