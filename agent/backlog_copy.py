"""Rooms that workers work in: a private copy of a repository and all that a run keeps beside it.

Each room is locked by the process that works in it, so that what a killed one left is told from what is in
use. The user's tree is never one of them.
"""

import contextlib
import fcntl
import re
import shutil
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Final

from agent.accept import Ending
from agent.percolate import Recorder
from feedback.permission import has_no_train
from memory.records import Stop
from memory.store import Store
from sandbox.privatecopy import private_copy
from sandbox.repository import locate

LOCK: Final = ".lock"
NO_TRAIN: Final = Path(".adi") / "no-train"
TRIES: Final = 20
PAUSE_S: Final = 0.1


@dataclass(frozen=True, slots=True)
class Room:
    """One private copy."""

    repo: Path
    """Its work tree; the name is that of the user's, for people who read logs."""
    base: str
    """The commit that it was made from."""
    folder: Path
    """Holds the copy and what else the run keeps on disk."""
    copy_of: str
    """Root of the user's, as its own runs know it."""


@contextlib.contextmanager
def room(rooms: Path, name: str, repo: Path, base: str) -> Iterator[Room]:
    """A fresh copy of `repo` at `base`, removed afterwards. Raises what `private_copy` raises."""
    rooms.mkdir(parents=True, exist_ok=True)
    folder = rooms / name
    with (rooms / f"{name}{LOCK}").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        try:
            _remove(folder)
            place = folder / _plain(repo.name)
            commit = private_copy(repo, base, place)
            if has_no_train(str(repo)):  # a word against use counts for copies too, committed or not
                (place / NO_TRAIN).parent.mkdir(exist_ok=True)
                (place / NO_TRAIN).touch()
            yield Room(place, commit, folder, str(locate(repo).root))
        finally:
            _leave(folder, lock)


def _plain(name: str) -> str:
    return re.sub(r"[^\w.-]+", "-", name).strip(".-") or "repository"


def _leave(folder: Path, lock: IO[str]) -> bool:
    """Whether the room is gone. Where it is not, its lock stays, by which the next sweep finds it."""
    gone = _remove(folder)
    if gone:
        with contextlib.suppress(OSError):
            Path(lock.name).unlink()
    return gone


def _remove(folder: Path) -> bool:
    """Whether it is gone: what a killed worker had started, such as `git`, may write for a moment longer."""
    for attempt in range(TRIES):
        if attempt:
            time.sleep(PAUSE_S)
        shutil.rmtree(folder, ignore_errors=True)
        if not folder.exists():
            return True
    return False


def sweep(rooms: Path, store: Store) -> list[str]:
    """Remove the rooms of dead workers and close their runs; the names of the rooms."""
    found = []
    for file in sorted(rooms.glob(f"*{LOCK}")):
        try:
            lock = file.open("r+")
        except OSError:
            continue
        with lock:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError:  # somebody works in it
                continue
            folder = file.with_name(file.name.removesuffix(LOCK))
            if _leave(folder, lock):
                found.append(folder.name)
    # Not by the rooms that are left: a worker may have died after its own was gone.
    below = rooms.resolve()
    for summary in store.runs(limit=0, unended=True):
        if not summary.alive and Path(summary.repo).is_relative_to(below):
            ended = Ending(Stop.KILLED, "the worker's process died").event(0.0)
            Recorder(store, summary.id).emit(ended)
    return found
