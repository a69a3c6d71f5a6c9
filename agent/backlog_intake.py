"""From a source to items in the store; what of it is no item is kept beside them, for the report."""

import json
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from agent.backlog_item import Bad, Item
from feedback.checks import checks_of
from memory.backlog import Backlog
from memory.backlog_records import Added, NewItem
from memory.errors import NotFound
from memory.store import Store

BAD: Final = "rows that are no items"
"""Name of the cursor that keeps them: they belong to a source and how far it was read."""
MOST_BAD: Final = 1_000


@dataclass(slots=True)
class Taken:
    """What became of a source."""

    counts: Added = field(default_factory=Added)
    bad: list[Bad] = field(default_factory=list)
    unfinished: str = ""
    """Where the reading of a tracker that went away can go on."""


def new_item(item: Item) -> NewItem:
    """An item as the store takes it."""
    meta = {
        **item.meta, "url": item.url, "labels": list(item.labels),
        "project": str(item.meta.get("project", "")),
    }  # fmt: skip
    return NewItem(
        key=item.key,
        title=item.title,
        body=item.body,
        repo=item.repo,
        base=item.base,
        checks=checks_of(item.checks),
        meta=meta,
        closed=item.state == "closed",
    )


def take_in(backlog: Backlog, source: str, found: Iterable[Item | Bad]) -> Taken:
    """Add everything; adding the same again changes nothing. Raises BacklogClosed, StoreError."""
    taken = Taken()

    def good() -> Iterator[NewItem]:
        for each in found:
            if isinstance(each, Item):
                yield new_item(each)
            else:
                taken.bad.append(each)
                taken.unfinished = each.cursor or taken.unfinished

    taken.counts = backlog.add(good())
    kept = [bad.model_dump() for bad in taken.bad[:MOST_BAD]]
    backlog.save_cursor(BAD, json.dumps(kept), done=True)
    backlog.save_cursor(source, taken.unfinished, done=not taken.unfinished)
    return taken


def bad_rows(backlog: Backlog) -> tuple[Bad, ...]:
    """What was no item when its source was last read."""
    cursor = backlog.cursor(BAD)
    return tuple(Bad.model_validate(each) for each in json.loads(cursor.position)) if cursor else ()


def name_of(source: str) -> str:
    """What a backlog of this source is called when nobody says it."""
    told = source.removeprefix("gh:") if source.startswith("gh:") else Path(source).absolute().stem
    return "stdin" if source == "-" else re.sub(r"[^\w.-]+", "-", told).strip("-.") or "backlog"


def existing(store: Store, name: str) -> Backlog | None:
    """The backlog of exactly this name."""
    try:
        found = Backlog.find(store, name)
    except NotFound:
        return None
    return found if found.info().name == name else None
