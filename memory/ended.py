"""Which runs have ended, and the processes that did them: where a harvest begins."""

from sqlmodel import col, select

from memory.store import Store
from memory.tables import RunRow


def ended(store: Store, *, repo: str | None = None, since: str = "") -> list[tuple[str, int, str]]:
    """Id, process id and process identity of each, oldest first: of one repository or of all.

    `since` is a time in ISO 8601, UTC; only runs that began then or later are given.
    """
    query = select(RunRow.id, RunRow.pid, RunRow.process).where(RunRow.ended != "", RunRow.started >= since)
    if repo is not None:
        query = query.where(RunRow.repo == repo)
    with store.reading() as session:
        return [(*row,) for row in session.exec(query.order_by(col(RunRow.started), col(RunRow.id)))]
