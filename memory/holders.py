"""Who works on what: claims on repositories, and whether the process of a run still lives.

A process of this machine is asked for. One of another machine that shares the store cannot be: it counts as
alive until a day passes without an event of its run (LEASE_S). So a claim is never taken from a working run,
and a machine that died gives its repositories back by itself.
"""

import os
import sqlite3
from datetime import UTC, datetime

from sqlalchemy import delete
from sqlmodel import Session, col, func, select

from memory import errors, process
from memory.tables import ClaimRow, EventRow

LEASE_S = 86_400.0
"""A run of another machine without an event for so long, in seconds, is taken for dead."""


def lives(session: Session, run_id: str, pid: int, known: str) -> bool:
    """True while the process that does the run is, or must be taken for, alive."""
    if not process.elsewhere(known):
        return process.is_alive(pid, known)
    last = session.exec(select(func.max(EventRow.at)).where(EventRow.run_id == run_id)).one()
    return bool(last) and (datetime.now(UTC) - datetime.fromisoformat(last)).total_seconds() < LEASE_S


def claim(session: Session, repo: str, run_id: str, identity: str, at: str) -> None:
    """Hold the repository for a run of this process. Raises RepoBusy."""
    held = session.get(ClaimRow, repo)
    if held is not None:
        mine = held.run_id == run_id and held.pid == os.getpid() and held.process == identity
        if not mine and lives(session, held.run_id, held.pid, held.process):
            raise errors.RepoBusy(repo, held.run_id, held.pid, process.elsewhere(held.process))
        session.delete(held)
        session.flush()
    session.add(ClaimRow(repo=repo, run_id=run_id, pid=os.getpid(), process=identity, at=at))


def busy(connection: sqlite3.Connection) -> tuple[str, int] | None:
    """Id and process of a run of this machine that is alive, in a file of any schema; None without one."""
    rows = connection.execute("SELECT id, pid, process FROM run WHERE ended = ''")
    return next(((str(run_id), pid) for run_id, pid, known in rows if process.is_alive(pid, known)), None)


def release(session: Session, run_id: str, repo: str | None = None) -> None:
    """Give back a repository that the run holds, or all of them."""
    query = delete(ClaimRow).where(col(ClaimRow.run_id) == run_id)
    session.execute(query if repo is None else query.where(col(ClaimRow.repo) == repo))
