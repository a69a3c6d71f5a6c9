"""What became of accepted lines 1, 7 and 30 days after they were applied: what is due, and the answers.

Survival of a line is the field's measure for whether a change was wanted (GitHub's Copilot studies count code
that is retained; Ziegler et al. 2022, "Productivity Assessment of Neural Code Completion").
"""

from datetime import UTC, datetime
from typing import Final

from sqlmodel import col, select

from memory.lesson import Survival
from memory.records import Survived
from memory.store import Store
from memory.tables import RunRow, SurvivalRow

DAYS: Final = (1, 7, 30)


def due(store: Store, repo: str, now: datetime, limit: int = 20) -> list[tuple[str, str, int]]:
    """Run, hash of its patch, and the age in days to record, of changes that are still in the tree.

    Of several ages that passed unseen only the highest is due: the others can no longer be told. A clock that
    went back makes nothing due.
    """
    query = (
        select(RunRow)
        .where(RunRow.repo == repo, RunRow.applied_at != "")
        .order_by(col(RunRow.applied_at).desc())
        .limit(4 * limit)
    )
    found = []
    with store.reading() as session:
        for row in session.exec(query):
            age = (now - _time(row.applied_at)).days
            known = session.exec(select(SurvivalRow.days).where(SurvivalRow.run_id == row.id))
            days = max((day for day in DAYS if day <= age), default=0)
            if days > max(known, default=0):
                found.append((row.id, row.diff_sha256, days))
    return found[:limit]


def record(store: Store, survival: Survival) -> None:
    """Keep an answer, as a row and as an event of its run; one that is known stays as it is."""
    with store.writing() as session:
        if session.get(SurvivalRow, (survival.run_id, survival.days)) is not None:
            return
        session.add(SurvivalRow(**survival.model_dump()))
    store.append(survival.run_id, Survived(survival=survival))


def of_run(store: Store, run_id: str) -> list[Survival]:
    """The answers for one run, the youngest age first."""
    query = select(SurvivalRow).where(SurvivalRow.run_id == run_id).order_by(col(SurvivalRow.days))
    with store.reading() as session:
        return [Survival.model_validate(row.model_dump()) for row in session.exec(query)]


def _time(text: str) -> datetime:
    try:
        return datetime.fromisoformat(text)
    except ValueError:
        return datetime.now(UTC)
