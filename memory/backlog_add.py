"""Takes issues into a backlog: the same one once, an edited one as a new revision, a closed one out again.

What is added is read in pages, each written in one transaction: memory stays flat, and adding all of it again
after a crash changes nothing more.
"""

from collections import Counter
from collections.abc import Iterable, Iterator
from typing import Any, Final

from sqlalchemy import insert
from sqlmodel import Session, col, select

from memory import errors
from memory.backlog_records import ENDED, Added, NewItem, State
from memory.backlog_rows import backlog_row, clock, stamp, write
from memory.store import Store
from memory.tables import ItemRow

PAGE: Final = 500


def add(store: Store, backlog_id: str, items: Iterable[NewItem]) -> Added:
    """Take them in. Raises NotFound, BacklogClosed; what came before a page that fails stays added."""
    counts: Counter[str] = Counter()
    for page in _pages(items):
        # A person's list is precious: the tracker may not give it again.
        with store.writing(precious=True) as session:
            row = backlog_row(session, backlog_id)
            if row.state != "open":
                raise errors.BacklogClosed(f"backlog {row.name} was cancelled", "adi backlog resume")
            counts.update(_add_page(session, backlog_id, page))
    return Added(**counts)


def _pages(items: Iterable[NewItem]) -> Iterator[list[NewItem]]:
    """Pages in which no key comes twice, so that each item meets what the one before it left."""
    page: dict[str, NewItem] = {}
    for item in items:
        if len(page) == PAGE or item.key in page:
            yield [*page.values()]
            page = {}
        page[item.key] = item
    if page:
        yield [*page.values()]


def _add_page(session: Session, backlog_id: str, page: list[NewItem]) -> Counter[str]:
    at = stamp(clock(session))
    newest = _newest(session, backlog_id, [item.key for item in page])
    counts: Counter[str] = Counter()
    fresh = []
    for item in page:
        known = newest.get(item.key)
        what = _closed(session, known, at) if item.closed else _open(session, known, item, at)
        counts[what] += 1
        if what in ("added", "revised"):
            fresh.append(_values(backlog_id, item, known.number + 1 if known else 1, at))
    session.flush()
    if fresh:
        session.execute(insert(ItemRow), fresh)
    return counts


def _newest(session: Session, backlog_id: str, keys: list[str]) -> dict[str, ItemRow]:
    """The newest revision of each key that is known."""
    query = select(ItemRow).where(ItemRow.backlog_id == backlog_id, col(ItemRow.key).in_(keys))
    rows = session.exec(query.order_by(col(ItemRow.number)))
    return {row.key: row for row in rows}  # the last of a key stays


def _open(session: Session, known: ItemRow | None, item: NewItem, at: str) -> str:
    """What an issue that is open means for its newest revision; the caller adds a new one where needed."""
    if known is None:
        return "added"
    if known.state == State.CANCELLED and known.withdrawn == "cancelled":
        return "skipped"  # a person's no outlasts an edit
    if known.revision == item.revision():
        return _same(session, known, at)
    content = {"revision": known.number + 1}
    if known.state == State.QUEUED:
        known.state, known.withdrawn = State.SUPERSEDED, "edited"
        write(session, known, "superseded", at, content)
    elif known.state == State.RUNNING and known.withdrawn != "cancelled":
        known.withdrawn = "edited"
        write(session, known, "withdrawn", at, {**content, "why": "edited"})
    else:
        write(session, known, "revised", at, content)
    known.updated = at
    return "revised"


def _same(session: Session, known: ItemRow, at: str) -> str:
    if known.withdrawn != "closed":
        return "same"
    if known.state in ENDED - {State.CANCELLED}:
        return "same"  # it ended while it was closed: the result stands
    known.withdrawn, known.updated = "", at
    if known.state == State.CANCELLED:
        known.state, known.detail, known.attempts, known.not_before = State.QUEUED, "", 0, ""
    write(session, known, "reopened", at, {"why": "open again"})
    return "reopened"


def _closed(session: Session, known: ItemRow | None, at: str) -> str:
    if known is None or known.state not in (State.QUEUED, State.RUNNING) or known.withdrawn:
        return "skipped"
    known.withdrawn, known.updated = "closed", at
    if known.state == State.QUEUED:
        known.state, known.detail = State.CANCELLED, "closed before anybody began"
        write(session, known, "cancelled", at, {"why": "closed"})
    else:
        write(session, known, "withdrawn", at, {"why": "closed"})
    return "cancelled"


def _values(backlog_id: str, item: NewItem, number: int, at: str) -> dict[str, Any]:
    row = ItemRow(
        backlog_id=backlog_id,
        key=item.key,
        number=number,
        revision=item.revision(),
        title=item.title,
        body=item.body,
        repo=item.repo,
        base=item.base,
        checks=[check.model_dump() for check in item.checks],
        meta=item.meta,
        rank=-item.priority,
        state=State.QUEUED,
        run_ids=[],
        result={},
        created=at,
        updated=at,
    )
    return row.model_dump(exclude={"id"})
