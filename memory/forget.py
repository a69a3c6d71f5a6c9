"""Forgetting: content and what was derived from it goes, a tombstone says that it was there.

The bytes are overwritten in the file (`secure_delete`, a merged text index and a rewritten file), not only
unlinked. Backups that were made before keep them: whoever wants them gone deletes those too, and is told so.
"""

from collections.abc import Sequence

from sqlmodel import Session, col, delete, select

from memory import errors, wording
from memory.lesson import Tombstone
from memory.lessons import Lessons, now, recount
from memory.process import is_alive
from memory.store import Store
from memory.tables import (
    ArtifactRow,
    ClaimRow,
    EventRow,
    EvidenceRow,
    FailureRow,
    LessonRow,
    RunRow,
    SurvivalRow,
    TombstoneRow,
)


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
    run = store.run(run_id)
    with store.writing(precious=True) as session:
        row = session.get(RunRow, run.id)
        if row is None:
            raise errors.NotFound(f"no run {run.id}", "adi log --all")
        if not row.ended and is_alive(row.pid, row.process):
            raise errors.RepoBusy(row.repo, row.id, row.pid)
        stone = _bury(session, run.id, "run", reason, _remove_run(session, row))
    store.compact()
    return stone


def tombstones(store: Store) -> list[Tombstone]:
    """What was forgotten, the newest first."""
    with store.reading() as session:
        rows = session.exec(select(TombstoneRow).order_by(col(TombstoneRow.at).desc()))
        return [Tombstone.model_validate(row.model_dump()) for row in rows]


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
    for lesson_id in shared:
        recount(session, lesson_id)
    session.execute(delete(ClaimRow).where(col(ClaimRow.run_id) == row.id))
    session.delete(row)
    session.flush()
    counts["artifact"] = sum(_remove_artifact(session, sha256) for sha256 in patches)
    return {name: count for name, count in counts.items() if count}


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


def _bury(session: Session, name: str, kind: str, reason: str, counts: dict[str, int]) -> Tombstone:
    row = TombstoneRow(id=name, kind=kind, at=now(), reason=reason, removed=counts)
    session.merge(row)
    return Tombstone.model_validate(row.model_dump())
