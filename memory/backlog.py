"""A backlog in the store: issues that workers on any number of machines take, work on, and end once.

Guaranteed: an item is with one worker at a time; a result counts once, and only that of the worker that has
it; what was added, how an item ended and what was about to happen outside survive loss of power. A crash
anywhere loses no item and repeats no ended one. A worker beats about three times a lease (`beat`), and stops
when that raises LeaseLost.

Methods raise what the store raises (memory/errors.py). On a server StoreUnavailable means that it may have
happened: `add`, `settle`, `beat`, `done_effect` and `cancel` can then be called again with the same words.
"""

from collections.abc import Iterable, Iterator, Mapping

from pydantic import JsonValue
from sqlmodel import Session, col, func, select

from memory import backlog_add, backlog_change, backlog_effects, backlog_lease, errors
from memory.backlog_records import (
    Added,
    BacklogEvent,
    BacklogInfo,
    BacklogLimits,
    BacklogStatus,
    Cursor,
    Effect,
    Idle,
    Item,
    Lease,
    NewItem,
    Outcome,
    Settled,
    State,
)
from memory.backlog_rows import LIST, backlog_row, clock, event, info, item, spent, stamp
from memory.store import Store, new_run_id
from memory.tables import BacklogEventRow, BacklogRow, ItemRow

PAGE = 200
"""Rows that a listing gives at once."""


class Backlog:
    """One backlog of an open store; threads may share it."""

    def __init__(self, store: Store, backlog_id: str) -> None:
        self._store = store
        self.id = backlog_id

    @classmethod
    def create(
        cls,
        store: Store,
        name: str,
        *,
        source: str = "",
        settings: Mapping[str, JsonValue] | None = None,
        limits: BacklogLimits = BacklogLimits(),  # noqa: B008
    ) -> "Backlog":
        """A new one. Raises BacklogExists when the name is taken."""
        with store.writing(precious=True) as session:
            if session.exec(select(BacklogRow.id).where(BacklogRow.name == name)).first() is not None:
                raise errors.BacklogExists(f"there is a backlog {name} already", LIST)
            backlog_id = new_run_id()
            while session.get(BacklogRow, backlog_id) is not None:
                backlog_id = new_run_id()
            row = BacklogRow(
                id=backlog_id, name=name, source=source, created=stamp(clock(session)), state="open",
                settings=dict(settings or {}), limits=limits.model_dump(),
            )  # fmt: skip
            session.add(row)
        return cls(store, backlog_id)

    @classmethod
    def find(cls, store: Store, name: str) -> "Backlog":
        """The one with this name, or whose id, or its part after the date, begins so.

        Raises NotFound, Ambiguous.
        """
        with store.reading() as session:
            rows = session.exec(select(BacklogRow.id, BacklogRow.name)).all()
        exact = [backlog_id for backlog_id, known in rows if name in (backlog_id, known)]
        begun = [one for one, _ in rows if name and name in (one[: len(name)], one[7 : 7 + len(name)])]
        found = exact or sorted(begun, reverse=True)
        if not found:
            raise errors.NotFound(f"no backlog {name!r}", LIST)
        if len(found) > 1:
            raise errors.Ambiguous(name, tuple(found), "backlogs", LIST)
        return cls(store, found[0])

    @staticmethod
    def all(store: Store) -> list[BacklogInfo]:
        """Every backlog of the store, the newest first."""
        query = select(BacklogRow).order_by(col(BacklogRow.created).desc(), col(BacklogRow.id).desc())
        with store.reading() as session:
            return [info(row) for row in session.exec(query)]

    def info(self) -> BacklogInfo:
        """Its name, limits and what was spent. Raises NotFound."""
        with self._store.reading() as session:
            return info(backlog_row(session, self.id))

    def set_limits(self, limits: BacklogLimits) -> None:
        """Allow more, or less, from now on."""
        with self._store.writing(precious=True) as session:
            backlog_row(session, self.id).limits = limits.model_dump()

    def add(self, items: Iterable[NewItem]) -> Added:
        """Take issues in, in the order given; any of them again, at any time. Raises BacklogClosed."""
        return backlog_add.add(self._store, self.id, items)

    def claim(
        self, worker: str, lease_s: float = 120.0, *, one_per_repo: bool = False, only: str = ""
    ) -> Lease | Idle:
        """Take the next item, or hear why there is none.

        `one_per_repo`: none whose repository has a running item, of whichever backlog of this store.
        `only`: the item of this key and no other, where somebody else says who comes next.
        """
        if not lease_s > 0:
            raise ValueError("a lease lasts longer than 0 seconds")
        with self._store.writing(alone=one_per_repo) as session:
            return backlog_lease.claim(
                session, self.id, worker, lease_s, one_per_repo=one_per_repo, only=only
            )

    def beat(self, lease: Lease, *, seconds: float = 0.0, tokens: int = 0) -> Lease:
        """Go on holding the item; `seconds` and `tokens` are what this attempt has used by now, as a whole.

        What it gives tells by `item.withdrawn` that the result is no longer wanted. Raises LeaseLost.
        """
        with self._store.writing(alone=False) as session:
            return backlog_lease.beat(session, lease, seconds, tokens)

    def settle(self, lease: Lease, outcome: Outcome) -> Settled:
        """Record how the attempt ended; the same again changes nothing."""
        with self._store.writing(precious=True, alone=False) as session:
            return backlog_lease.settle(session, lease, outcome)

    def release(self, lease: Lease, why: str = "") -> None:
        """Give the item back, not counted as a try: this worker stops. Raises LeaseLost."""
        with self._store.writing(precious=True, alone=False) as session:
            backlog_lease.release(session, lease, why)

    def cancel(self, key: str | None = None) -> int:
        """Cancel an item, or with None everything; running ones hear of it at their next beat. How many."""
        with self._store.writing(precious=True) as session:
            return backlog_change.cancel(session, self.id, key)

    def reopen(self, key: str | None = None) -> int:
        """Queue an ended item again; with None open the backlog and queue what a person cancelled. How many.

        Raises BacklogClosed for an item that waits or runs.
        """
        with self._store.writing(precious=True) as session:
            return backlog_change.reopen(session, self.id, key)

    def remove(self) -> None:
        """Delete the backlog and all that is known of its items, runs excepted. Raises BacklogClosed."""
        with self._store.writing(precious=True) as session:
            backlog_change.remove(session, self.id)

    def begin_effect(self, key: str, lease: Lease | None = None) -> Effect:
        """Say that something is about to happen outside; with a lease, only while it holds (LeaseLost)."""
        with self._store.writing(precious=True) as session:
            return backlog_effects.begin(session, self.id, key, lease)

    def done_effect(self, key: str, result: Mapping[str, JsonValue] | None = None) -> Effect:
        """Say that it happened, once; the first result stays. Raises NotFound when it was not begun."""
        with self._store.writing(precious=True) as session:
            return backlog_effects.done(session, self.id, key, result or {})

    def cursor(self, source: str) -> Cursor | None:
        """Where the listing of a source stopped; None when it never began."""
        with self._store.reading() as session:
            return backlog_effects.cursor(session, self.id, source)

    def save_cursor(self, source: str, position: str, *, done: bool = False) -> None:
        """Record how far a source was read, after its items were added: none is lost."""
        with self._store.writing(precious=True) as session:
            backlog_effects.save_cursor(session, self.id, source, position, done)

    def item(self, key: str) -> Item:
        """The newest revision of an item. Raises NotFound."""
        with self._store.reading() as session:
            return item(backlog_change.newest(session, self.id, key))

    def items(
        self, *, states: Iterable[State] = (), key: str = "", after: int = 0, limit: int = PAGE
    ) -> list[Item]:
        """A page in the order of their ids, of those after an id; in some states only, or all of one key."""
        query = select(ItemRow).where(ItemRow.backlog_id == self.id, col(ItemRow.id) > after)
        if wanted := [*states]:
            query = query.where(col(ItemRow.state).in_(wanted))
        if key:
            query = query.where(ItemRow.key == key)
        with self._store.reading() as session:
            return [item(row) for row in session.exec(query.order_by(col(ItemRow.id)).limit(limit))]

    def each(self, *, states: Iterable[State] = ()) -> Iterator[Item]:
        """All items, read a page at a time; what changes meanwhile is seen as it is when its page is read."""
        wanted, after = [*states], 0
        while page := self.items(states=wanted, after=after):
            yield from page
            after = page[-1].id

    def events(self, *, key: str = "", after: int = 0, limit: int = PAGE) -> list[BacklogEvent]:
        """A page of what happened, the oldest first, after the event with this number; of one key, or all."""
        query = (
            select(BacklogEventRow, ItemRow.key)
            .join(ItemRow, col(ItemRow.id) == col(BacklogEventRow.item_id))
            .where(BacklogEventRow.backlog_id == self.id, col(BacklogEventRow.id) > after)
        )
        if key:
            query = query.where(ItemRow.key == key)
        with self._store.reading() as session:
            rows = session.exec(query.order_by(col(BacklogEventRow.id)).limit(limit))
            return [event(row, known) for row, known in rows]

    def status(self) -> BacklogStatus:
        """Items by state, and what was spent. Raises NotFound."""
        with self._store.reading() as session:
            row = backlog_row(session, self.id)
            found = self._counts(session)
            return BacklogStatus(
                info=info(row),
                counts={state: found.get(state, 0) for state in State},
                expired=self._expired(session),
                spent=spent(row),
            )

    def _counts(self, session: Session) -> dict[str, int]:
        query = select(ItemRow.state, func.count()).where(ItemRow.backlog_id == self.id)
        return dict(session.exec(query.group_by(col(ItemRow.state))).all())

    def _expired(self, session: Session) -> int:
        at = stamp(clock(session))
        return session.exec(
            select(func.count())
            .select_from(ItemRow)
            .where(ItemRow.backlog_id == self.id, ItemRow.state == State.RUNNING, ItemRow.until <= at)
        ).one()
