"""The journal of one exchange: what must be undone or finished should the process die in the middle."""

import contextlib
import fcntl
import os
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

from pydantic import BaseModel, ConfigDict, ValidationError

OPEN, DONE = ".open", ".done"


class Item(BaseModel):
    """One path of an exchange."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    path: str
    fresh: str
    """Temporary name that holds the new bytes; empty for a removal."""
    old: str
    """Temporary name that keeps the old file; empty for a new file."""
    wanted_sha256: str
    """Of the new bytes; empty for a removal."""


class Intent(BaseModel):
    """Everything an exchange is about to do, written before it does anything."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    repo: str
    items: tuple[Item, ...]
    folders: tuple[str, ...]
    """Folders that will be made, outermost first."""


class Journal:
    """One journal file, locked while its exchange runs; its name tells whether the change is complete."""

    def __init__(self, path: Path, file: BinaryIO) -> None:
        self._path = path
        self._file = file

    @classmethod
    def begin(cls, folder: Path, token: str, intent: Intent) -> "Journal":
        """Write the intent durably. Raises OSError."""
        folder.mkdir(parents=True, exist_ok=True)
        path = folder / f"{token}{OPEN}"
        file = path.open("xb")
        try:
            fcntl.flock(file, fcntl.LOCK_EX)
            file.write(intent.model_dump_json().encode())
            file.flush()
            os.fsync(file.fileno())
            _sync(folder)
        except BaseException:
            path.unlink(missing_ok=True)
            with contextlib.suppress(OSError):
                file.close()
            raise
        return cls(path, file)

    def commit(self) -> None:
        """From here on the change is finished, not taken back."""
        self._path = self._path.rename(self._path.with_suffix(DONE))
        _sync(self._path.parent)

    def end(self) -> None:
        """Nothing is left to do."""
        self._path.unlink(missing_ok=True)
        self._file.close()

    def close(self, *, finished: bool) -> None:
        """`end` when it is finished, otherwise `release`."""
        if finished:
            self.end()
        else:
            self.release()

    def release(self) -> None:
        """Give the lock up and leave the journal for `recover`."""
        self._file.close()


def unfinished(folder: Path) -> Iterator[tuple[Journal, Intent | None, bool]]:
    """Journals of dead processes: (journal, intent or None when torn, complete); their locks are held."""
    for path in sorted(folder.glob("*")) if folder.is_dir() else ():
        if path.suffix not in (OPEN, DONE):
            continue
        file = _own_file(path)
        if file is None:
            continue
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:  # its exchange is running
            file.close()
            continue
        try:
            intent = Intent.model_validate_json(file.read())
        except ValidationError:  # died while writing it: nothing had begun
            intent = None
        yield Journal(path, file), intent, path.suffix == DONE


def _own_file(path: Path) -> BinaryIO | None:
    """The open file when it is this user's own and a regular one: no link is followed, no FIFO waited for."""
    try:
        file = os.fdopen(os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC), "rb")
    except OSError:
        return None
    info = os.fstat(file.fileno())
    if stat.S_ISREG(info.st_mode) and info.st_uid == os.geteuid():
        return file
    file.close()
    return None


def _sync(folder: Path) -> None:
    handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
