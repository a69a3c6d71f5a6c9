"""Which runs have ended, and the processes that did them: where a harvest begins."""

from sqlmodel import col, select

from memory.copies import copies
from memory.store import Store
from memory.tables import RunRow


def ended(store: Store, *, repo: str | None = None, since: str = "") -> list[tuple[str, int, str]]:
    """Id, process id and process identity of each, oldest first: of one repository or of all.

    A repository's are those on its copies, too. `since` is a time in ISO 8601, UTC; only runs that began then
    or later are given.
    """
    query = select(RunRow.id, RunRow.pid, RunRow.process, RunRow.repo)
    query = query.where(RunRow.ended != "", RunRow.started >= since)
    of = copies(store) if repo is not None else {}
    with store.reading() as session:
        return [
            (run_id, pid, process)
            for run_id, pid, process, place in session.exec(
                query.order_by(col(RunRow.started), col(RunRow.id))
            )
            if repo is None or of.get(run_id, place) == repo
        ]
