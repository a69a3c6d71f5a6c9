"""Forgetting: content and what was derived from it goes, a tombstone says that it was there.

The bytes are overwritten in the file (`secure_delete`, a merged text index and a rewritten file), not only
unlinked. Backups that were made before keep them: whoever wants them gone deletes those too, and is told so.
The tombstones keep what comes back with a backup out of data sets (feedback/permission.py).
"""

from collections import Counter
from collections.abc import Iterable, Sequence
from typing import Final

from sqlmodel import Session, col, delete, select

from memory import errors, holders, wording
from memory.consent import ConsentScope, add_opt_out, key_of
from memory.hidden import HiddenKind, hidden, normal
from memory.lesson import StoneKind, Tombstone
from memory.lessons import Lessons, now, recount
from memory.store import Store
from memory.tables import (
    ArtifactRow,
    ClaimRow,
    ConsentRow,
    EventRow,
    EvidenceRow,
    FailureRow,
    LessonRow,
    RunRow,
    SurvivalRow,
    TombstoneRow,
)

_SCOPES: Final[dict[HiddenKind, ConsentScope]] = {
    "author": "user",
    "repository": "repository",
    "session": "session",
}
"""What was forgotten -> the scope of decisions about it."""


def forget_lesson(store: Store, lesson_id: str, reason: str = "") -> Tombstone:
    """Remove a lesson and its evidence. Raises NotFound, Ambiguous."""
    found = Lessons(store).get(lesson_id)
    with store.writing(precious=True) as session:
        counts = _remove_lessons(session, [found.id])
        stone = _bury(session, found.id, "lesson", reason, counts)
    store.compact()
    return stone


def forget_run(store: Store, run_id: str, reason: str = "") -> Tombstone:
    """Remove a run: its events, its patches that no other run has, and the lessons that only it supports.

    Raises NotFound, Ambiguous, and RepoBusy for a run that is going on.
    """
    return forget_runs(store, [store.run(run_id).id], reason=reason)[0]


def forget_runs(
    store: Store,
    run_ids: Iterable[str],
    kind: HiddenKind | None = None,
    name: str = "",
    reason: str = "",
) -> list[Tombstone]:
    """Remove runs with everything derived from them, all or none of them. Gives their tombstones.

    Where they were chosen by a session, a repository or an author, `kind` and `name` say so: the decisions
    about it go too, with a repository all its lessons, and a tombstone of its own comes last. What was
    refused stays refused, as an opt-out. Raises NotFound, and RepoBusy for a run that is going on.
    """
    with store.writing(precious=True) as session:
        stones = [
            _bury(session, run_id, "run", reason, _remove_run(session, _idle(session, run_id)))
            for run_id in dict.fromkeys(run_ids)
        ]
        if kind is not None:
            counts = Counter({"run": len(stones)})
            for stone in stones:
                counts.update(stone.removed)
            counts.update(_remove_named(session, kind, name))
            buried = name if kind == "session" else hidden(kind, name)
            stones.append(_bury(session, buried, kind, reason, {k: n for k, n in counts.items() if n}))
    store.compact()
    return stones


def processes(store: Store) -> list[tuple[str, int, str]]:
    """Id, process id and process identity of every run, the oldest first: what sessions are made of."""
    query = select(RunRow.id, RunRow.pid, RunRow.process).order_by(col(RunRow.started), col(RunRow.id))
    with store.reading() as session:
        return [(*row,) for row in session.exec(query)]


def runs_by(store: Store, author: str) -> list[str]:
    """Ids of the runs that this author began, the oldest first; none for an empty address."""
    wanted = normal("author", author)
    query = select(EventRow.run_id, EventRow.payload).where(EventRow.kind == "run-started")
    with store.reading() as session:
        found = [
            run_id
            for run_id, payload in session.exec(query.order_by(col(EventRow.at), col(EventRow.run_id)))
            if normal("author", str(payload.get("origin", {}).get("author", ""))) == wanted
        ]
    return found if wanted else []


def tombstones(store: Store) -> list[Tombstone]:
    """What was forgotten, the newest first."""
    with store.reading() as session:
        rows = session.exec(select(TombstoneRow).order_by(col(TombstoneRow.at).desc()))
        return [Tombstone.model_validate(row.model_dump()) for row in rows]


def _idle(session: Session, run_id: str) -> RunRow:
    """The run's row. Raises NotFound, RepoBusy."""
    row = session.get(RunRow, run_id)
    if row is None:
        raise errors.NotFound(f"no run {run_id}", "adi log --all")
    if not row.ended and holders.lives(session, row.id, row.pid, row.process):
        raise errors.RepoBusy(row.repo, row.id, row.pid)
    return row


def _remove_run(session: Session, row: RunRow) -> dict[str, int]:
    supported = set(session.exec(select(EvidenceRow.lesson_id).where(EvidenceRow.run_id == row.id)))
    shared = set(
        session.exec(
            select(EvidenceRow.lesson_id).where(
                col(EvidenceRow.lesson_id).in_(supported),
                EvidenceRow.run_id != row.id,
                EvidenceRow.stance == "for",
            )
        )
    )
    counts = _remove_lessons(session, sorted(supported - shared))
    patches = _patches(session, row.id)
    for table in (EvidenceRow, FailureRow, SurvivalRow, EventRow):
        gone = session.execute(delete(table).where(col(table.run_id) == row.id))
        name = str(table.__tablename__)
        counts[name] = counts.get(name, 0) + int(gone.rowcount)  # type: ignore[attr-defined]
    counts["consent"] = _remove_decisions(session, "record", row.id)
    for lesson_id in shared:
        recount(session, lesson_id)
    session.execute(delete(ClaimRow).where(col(ClaimRow.run_id) == row.id))
    session.delete(row)
    session.flush()
    counts["artifact"] = sum(_remove_artifact(session, sha256) for sha256 in patches)
    return {name: count for name, count in counts.items() if count}


def _remove_named(session: Session, kind: HiddenKind, name: str) -> dict[str, int]:
    """What is kept of a session, a repository or an author beside its runs."""
    scope = _SCOPES[kind]
    key = key_of(scope, name)
    query = select(ConsentRow.status).where(ConsentRow.scope == scope, ConsentRow.key == key)
    last = session.exec(query.order_by(col(ConsentRow.seq).desc())).first()
    if last == "refused":
        add_opt_out(session, kind, name)
    counts = {"consent": _remove_decisions(session, scope, key)}
    if kind == "repository":
        here = select(LessonRow.id).where(LessonRow.scope == "repository", LessonRow.place == name)
        counts |= _remove_lessons(session, sorted(session.exec(here)))
    return counts


def _remove_decisions(session: Session, scope: ConsentScope, key: str) -> int:
    gone = session.execute(
        delete(ConsentRow).where(col(ConsentRow.scope) == scope, col(ConsentRow.key) == key)
    )
    return int(gone.rowcount)  # type: ignore[attr-defined]


def _patches(session: Session, run_id: str) -> set[str]:
    """Hashes of the run's patches."""
    rows = session.exec(
        select(EventRow).where(EventRow.run_id == run_id, col(EventRow.kind).in_(("verdict", "applied")))
    )
    return {str(row.payload.get("diff_sha256", "")) for row in rows} - {""}


def _remove_artifact(session: Session, sha256: str) -> int:
    """Remove a patch unless another run has it as its result."""
    if session.exec(select(RunRow.id).where(RunRow.diff_sha256 == sha256)).first() is not None:
        return 0
    return int(session.execute(delete(ArtifactRow).where(col(ArtifactRow.sha256) == sha256)).rowcount)  # type: ignore[attr-defined]


def _remove_lessons(session: Session, ids: Sequence[str]) -> dict[str, int]:
    counts = {"lesson": len(ids)}
    if ids:
        gone = session.execute(delete(EvidenceRow).where(col(EvidenceRow.lesson_id).in_(ids)))
        counts["evidence"] = int(gone.rowcount)  # type: ignore[attr-defined]
        session.execute(delete(LessonRow).where(col(LessonRow.id).in_(ids)))
        for lesson_id in ids:
            wording.remove(session, lesson_id)
        wording.purge(session)
    return counts


def _bury(session: Session, name: str, kind: StoneKind, reason: str, counts: dict[str, int]) -> Tombstone:
    row = TombstoneRow(id=name, kind=kind, at=now(), reason=reason, removed=counts)
    session.merge(row)
    return Tombstone.model_validate(row.model_dump())
