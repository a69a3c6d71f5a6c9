"""A file that is still arriving: its bytes so far, on disk, so that a broken pull continues."""

import errno
import json
import os
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Self

from model.errors import DownloadFailed, NoSpace

Progress = Callable[[int, int], None]
"""(bytes so far, bytes in all or 0 when unknown)."""


class Partial:
    """Bytes 0 .. offset of a file, whichever source they came from. Used by one process at a time."""

    def __init__(self, path: Path, total: int, progress: Progress) -> None:
        """`total` is the size of the whole file in bytes, 0 when unknown."""
        self.path = path
        self.total = total
        self._progress = progress
        self._marks_path = path.with_suffix(path.suffix + ".marks")
        self._file = path.open("ab")
        self.offset = self._file.tell()
        if total and self.offset > total:
            self.cut(0)
        self._progress(self.offset, total)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        with suppress(OSError):  # on a full disk the last flush fails; the bytes before it are good
            self._file.close()

    @property
    def complete(self) -> bool:
        return bool(self.total) and self.offset == self.total

    def append(self, data: bytes) -> None:
        """Raises NoSpace, or DownloadFailed when more comes than the file may have."""
        if self.total and self.offset + len(data) > self.total:
            raise DownloadFailed(f"the source has more than the {self.total} bytes of {self.path.name}")
        try:
            self._file.write(data)
        except OSError as error:
            raise _no_space(error, self.path) or error from None
        self.offset += len(data)
        self._progress(self.offset, self.total)

    def cut(self, offset: int) -> None:
        """Forgets what comes after `offset`."""
        self._file.flush()
        self._file.truncate(offset)
        self.offset = offset
        self._progress(self.offset, self.total)

    def flush(self) -> None:
        """What was appended is on the disk when this returns."""
        try:
            self._file.flush()
            os.fsync(self._file.fileno())
        except OSError as error:
            raise _no_space(error, self.path) or error from None

    @property
    def marks(self) -> list[int]:
        """Offsets at which parts ended, as far as they are recorded."""
        try:
            found = json.loads(self._marks_path.read_text("utf-8"))
        except (OSError, ValueError):
            return []
        return [mark for mark in found if mark <= self.offset]

    def mark(self) -> None:
        """Records that a part ends here."""
        self.flush()
        new = self._marks_path.with_suffix(".new")
        new.write_text(json.dumps([*self.marks, self.offset]), "utf-8")
        new.replace(self._marks_path)

    def discard(self) -> None:
        self._file.close()
        self.path.unlink(missing_ok=True)
        self._marks_path.unlink(missing_ok=True)

    def publish(self, target: Path) -> None:
        """The whole file appears under its name, in one step."""
        self.flush()
        self._file.close()
        self.path.replace(target)
        self._marks_path.unlink(missing_ok=True)


def _no_space(error: OSError, path: Path) -> NoSpace | None:
    if error.errno not in (errno.ENOSPC, errno.EDQUOT):
        return None
    return NoSpace(f"the disk is full, {path.name} does not fit", "free some space and pull again")
