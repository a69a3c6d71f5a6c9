"""Runs whose process died: at the next start the store learns how they ended."""

from collections.abc import Callable
from pathlib import Path

from agent.accept import Ending
from agent.percolate import Recorder
from memory.records import Applied, RunSummary, Stop, Trajectory, UserActed
from memory.store import Store
from sandbox.workcopy import WorkCopy

RECENT = 20
"""Runs of a repository that are looked at."""

FilesOf = Callable[[Trajectory, RunSummary], WorkCopy]
"""The work copy of a past run."""


def close_runs(store: Store, repo: Path, files_of: FilesOf) -> list[str]:
    """Close the runs of dead processes; the ids of those whose change turned out to be applied.

    The exchange itself has been finished or taken back before (sandbox/exchange.py, `recover`).
    """
    found = []
    for summary in store.runs(str(repo), limit=RECENT):
        if summary.ended or summary.alive:
            continue
        recorder = Recorder(store, summary.id)
        applied = None if summary.applied else _applied(store, repo, summary, files_of)
        if applied is not None:
            recorder.emit(applied)
            found.append(summary.id)
        ending = Ending(Stop.KILLED, "the process died")
        if applied is not None or summary.applied:
            ending = Ending(Stop.ACCEPTED, "the process died after applying the change")
        recorder.emit(ending.event(0.0))
    return found


def _applied(store: Store, repo: Path, summary: RunSummary, files_of: FilesOf) -> Applied | None:
    """What a dead run did not come to say: its change was accepted, and stands in the tree.

    The event before the exchange is the acceptance, so only a run that ends with one can be meant.
    """
    last = store.events(summary.id)[-1].payload
    accepted = isinstance(last, UserActed) and last.action in ("accept", "auto-accept")
    if not (accepted and summary.diff_sha256):
        return None
    changes = files_of(store.trajectory(summary.id), summary).changed()
    if not all(_stands(repo / path, after) for path, (_, after) in changes.items()):
        return None
    return Applied(paths=tuple(changes), diff_sha256=summary.diff_sha256)


def _stands(path: Path, wanted: bytes | None) -> bool:
    """True when the file is as wanted; None means no file."""
    if wanted is None:
        return not path.exists()
    return path.is_file() and not path.is_symlink() and path.read_bytes() == wanted
