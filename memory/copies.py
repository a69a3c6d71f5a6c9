"""Runs on private copies: which repository each of them counts for.

A run's row names the place that it worked in, which is right for claims, for what waits and for what can be
undone. Whose a run on a copy is stands in its first event alone (memory/origin.py).
"""

from sqlalchemy import String, cast
from sqlmodel import col, select

from memory.records import RunStarted, RunSummary
from memory.store import Store, payload_of
from memory.tables import EventRow, RunRow


def copies(store: Store) -> dict[str, str]:
    """Id of each run on a copy -> root of the repository that it counts for, oldest first."""
    text = cast(col(EventRow.payload), String)
    query = select(EventRow).where(
        col(EventRow.run_id).in_(select(RunRow.id)),  # one look into the index for each run
        EventRow.seq == 1,
        EventRow.kind == "run-started",
        # To be read are few; what a run's own words hold is escaped in JSON and cannot look like these.
        text.contains("copy_of"),
        text.not_like('%"copy_of": ""%'),
    )
    with store.reading() as session:
        return {
            row.run_id: payload.origin.copy_of
            for row in session.exec(query.order_by(col(EventRow.at), col(EventRow.run_id)))
            if isinstance(payload := payload_of(row), RunStarted) and payload.origin.copy_of
        }


def runs_of(store: Store, repo: str, limit: int = 50) -> list[RunSummary]:
    """The newest runs first that count for a repository, those on copies too; 0 means no limit."""
    of = copies(store)
    if repo not in of.values():
        return store.runs(repo, limit)
    found = [run for run in store.runs(limit=0) if of.get(run.id, run.repo) == repo]
    return found[:limit] if limit else found
