"""Where Learn keeps what it makes: seeded tasks, rounds, one lock; everything below ADI's data directory."""

import contextlib
import fcntl
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from agent.errors import NEEDS_PERSON, AdiError


class LearnBusy(AdiError):
    """Another process learns in the same data directory."""

    exit_code = NEEDS_PERSON


@dataclass(frozen=True, slots=True)
class LearnPlace:
    """The folder `learn` of a data directory; nothing is created by asking."""

    root: Path

    @classmethod
    def of(cls, data: Path) -> "LearnPlace":
        """That of a data directory."""
        return cls(data / "learn")

    @property
    def tasks(self) -> Path:
        """Seeded tasks (agent/seed_tasks.py)."""
        return self.root / "tasks"

    @property
    def collected(self) -> Path:
        """Results of runs on training tasks, JSON lines, a file for each model."""
        return self.root / "collected"

    @property
    def rounds(self) -> Path:
        """A folder for each round of training."""
        return self.root / "rounds"

    @contextlib.contextmanager
    def locked(self) -> Iterator[None]:
        """One learner a data directory; a process that died holds nothing. Raises LearnBusy."""
        self.root.mkdir(parents=True, exist_ok=True)
        with (self.root / "lock").open("a+", encoding="utf-8") as file:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                file.seek(0)
                owner = file.read().strip() or "unknown"
                raise LearnBusy(
                    f"process {owner} learns here already", "wait for it, or end it: what is done is kept"
                ) from None
            file.truncate(0)
            file.write(str(os.getpid()))
            file.flush()
            yield


def replace_text(file: Path, text: str) -> None:
    """Write a file whole or not at all; it is on disk when this returns."""
    file.parent.mkdir(parents=True, exist_ok=True)
    half = file.with_name(f"{file.name}.part")
    with half.open("w", encoding="utf-8") as stream:
        stream.write(text)
        stream.flush()
        os.fsync(stream.fileno())
    half.replace(file)
