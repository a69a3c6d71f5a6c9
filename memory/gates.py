"""The log of held-out tasks: every use is written down before its first task runs, and none is taken back.

A held-out set wears: each look at it is another chance to be lucky. What a look costs is decided by the gate
(model/gate_wear.py); here it is counted. Looks are counted by task and not by the name of a set, so that a
worn set does not become new when a task is added or left out.
"""

import hashlib
import json
import secrets
from collections.abc import Callable, Iterable
from typing import Literal

from pydantic import Field, JsonValue
from sqlmodel import Session, col, select

from memory.checks import Record
from memory.errors import NotFound
from memory.lessons import now
from memory.store import Store
from memory.tables import GateUseRow

Kind = Literal["gate", "same"]
"""`gate` compares two models; `same` the old one with itself, which promotes nobody and costs nothing."""


class GateUse(Record):
    """One look at held-out tasks."""

    id: str
    at: str
    """UTC, when the look began."""
    kind: Kind
    old: str
    """Name of the served adapter, empty for the base model; `new` that of the candidate."""
    new: str
    tasks: tuple[str, ...]
    """Hash of each task, sorted."""
    look: int
    """Number of the look, from 1: earlier ones of kind `gate` that shared a task, and this."""
    alpha: float
    """One-sided level at which this look may promote; 0 for kind `same`."""
    ended: str = ""
    """UTC; empty while it runs, and for ever when it was given up."""
    verdict: str = ""
    report: dict[str, JsonValue] = Field(default_factory=dict)


def begin(
    store: Store,
    old: str,
    new: str,
    tasks: Iterable[str],
    charge: Callable[[int], float],
    *,
    kind: Kind = "gate",
    plan: str = "",
) -> GateUse:
    """Write down that these tasks are about to be looked at. `charge` gives the level of a look by number.

    `plan` names seeds, samples and budget: the same models on the same tasks with the same plan are the same
    look, however often it is resumed, and give what was written then. Raises what `charge` raises; nothing is
    written then.
    """
    own = tuple(sorted(set(tasks)))
    key = hashlib.sha256(json.dumps([kind, old, new, own, plan]).encode()).hexdigest()
    with store.writing(precious=True) as session:
        known = session.exec(select(GateUseRow).where(GateUseRow.key == key)).first()
        if known is not None:
            return _use(known)
        look = 1 + len(_worn(session, own))
        row = GateUseRow(
            id=f"g-{secrets.token_hex(6)}",
            key=key,
            at=now(),
            kind=kind,
            old=old,
            new=new,
            tasks=list(own),
            look=look,
            alpha=charge(look) if kind == "gate" else 0.0,
            report={},
        )
        session.add(row)
        session.flush()
        return _use(row)


def finish(store: Store, use_id: str, verdict: str, report: dict[str, JsonValue]) -> GateUse:
    """Write down how a look ended; a verdict that is there already stays. Raises NotFound."""
    with store.writing(precious=True) as session:
        row = session.get(GateUseRow, use_id)
        if row is None:
            raise NotFound(f"no use of a held-out set has the id {use_id!r}", "adi learn --gates")
        if not row.verdict:
            row.ended, row.verdict, row.report = now(), verdict, report
            session.add(row)
            session.flush()
        return _use(row)


def uses(store: Store) -> list[GateUse]:
    """All looks, the newest first."""
    query = select(GateUseRow).order_by(col(GateUseRow.at).desc(), col(GateUseRow.id))
    with store.reading() as session:
        return [_use(row) for row in session.exec(query)]


def worn_by(store: Store, tasks: Iterable[str]) -> list[GateUse]:
    """The looks of kind `gate` that saw one of these tasks, the oldest first."""
    with store.reading() as session:
        return _worn(session, tasks)


def _worn(session: Session, tasks: Iterable[str]) -> list[GateUse]:
    own = set(tasks)
    rows = session.exec(
        select(GateUseRow).where(GateUseRow.kind == "gate").order_by(col(GateUseRow.at), col(GateUseRow.id))
    )
    return [_use(row) for row in rows if not own.isdisjoint(row.tasks)]


def _use(row: GateUseRow) -> GateUse:
    return GateUse.model_validate(row.model_dump(exclude={"key"}))
