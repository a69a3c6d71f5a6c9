"""File operations inside one directory tree that never follow a link (CVE-2026-88968, CVE-2024-28185).

Every path is walked from the tree's root with `openat` and O_NOFOLLOW, so a folder that is swapped for a link
between a check and a write makes the write fail instead of landing elsewhere.
"""

import contextlib
import errno
import hashlib
import os
import stat
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from sandbox.errors import Detour, UnsafePath

_FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_FILE = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
_NO_LINKS = {errno.EPERM, errno.EOPNOTSUPP, errno.EMLINK, errno.ENOSYS, errno.EXDEV}


@dataclass(frozen=True, slots=True)
class Found:
    """A regular file as it is now."""

    data: bytes
    info: os.stat_result

    @property
    def digest(self) -> str:
        return digest(self.data)


def digest(data: bytes) -> str:
    """Hex SHA-256."""
    return hashlib.sha256(data).hexdigest()


class Tree:
    """An open directory tree; a context manager."""

    def __init__(self, root: Path) -> None:
        self._root = os.open(root, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)

    def __enter__(self) -> "Tree":
        return self

    def __exit__(self, *_: object) -> None:
        os.close(self._root)

    @contextlib.contextmanager
    def parent(self, path: str) -> Iterator[tuple[int, str]]:
        """Open folder of a path, and the last name. Raises FileNotFoundError, or UnsafePath for a link."""
        *folders, name = path.split("/")
        current = os.dup(self._root)
        try:
            for folder in folders:
                deeper = _open_folder(folder, current, path)
                os.close(current)
                current = deeper
            yield current, name
        finally:
            os.close(current)

    def read(self, path: str, size_cap: int | None = None) -> Found | None:
        """The regular file, or None when there is nothing. Raises UnsafePath for anything else.

        A file larger than `size_cap` is returned without its data.
        """
        try:
            with self.parent(path) as (folder, name), _opened(name, folder, path) as file:
                info = os.fstat(file)
                if not stat.S_ISREG(info.st_mode):
                    raise UnsafePath(f"refused path {path!r}: it is no regular file")
                if size_cap is not None and info.st_size > size_cap:
                    return Found(b"", info)
                with os.fdopen(os.dup(file), "rb") as stream:
                    return Found(stream.read(), info)
        except (FileNotFoundError, NotADirectoryError):
            return None

    def head(self, path: str, size: int) -> bytes:
        """The first bytes of a regular file. Raises OSError, and UnsafePath for anything else."""
        with self.parent(path) as (folder, name), _opened(name, folder, path) as file:
            if not stat.S_ISREG(os.fstat(file).st_mode):
                raise UnsafePath(f"refused path {path!r}: it is no regular file")
            return os.read(file, size)

    def missing_folders(self, path: str) -> list[str]:
        """Folders above the path that do not exist yet, outermost first. Raises UnsafePath for a link."""
        parts = path.split("/")[:-1]
        for depth in range(1, len(parts) + 1):
            try:
                with self.parent("/".join([*parts[:depth], "x"])):
                    continue
            except FileNotFoundError:
                return ["/".join(parts[:end]) for end in range(depth, len(parts) + 1)]
        return []

    def make_folder(self, path: str) -> None:
        with self.parent(path) as (folder, name), contextlib.suppress(FileExistsError):
            os.mkdir(name, dir_fd=folder)

    def remove_folder(self, path: str) -> None:
        """Remove an empty folder; one that is not empty stays."""
        with contextlib.suppress(OSError), self.parent(path) as (folder, name):
            os.rmdir(name, dir_fd=folder)

    def create(self, path: str, data: bytes, mode: int, owner: tuple[int, int] | None) -> None:
        """Write a new file durably. Raises FileExistsError, OSError."""
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
        with self.parent(path) as (folder, name):
            file = os.open(name, flags, 0o600, dir_fd=folder)
            with os.fdopen(file, "wb") as stream:
                stream.write(data)
                stream.flush()
                if owner is not None and owner != (os.geteuid(), os.getegid()):
                    with contextlib.suppress(PermissionError):
                        os.fchown(file, *owner)
                os.fchmod(file, mode)
                os.fsync(file)

    def link(self, source: str, target: str) -> None:
        """A second name for a file, in the same folder; a copy where the filesystem has no hard links."""
        new_name = target.rpartition("/")[2]
        with self.parent(source) as (folder, name):
            try:
                os.link(name, new_name, src_dir_fd=folder, dst_dir_fd=folder, follow_symlinks=False)
                return
            except OSError as error:
                if error.errno not in _NO_LINKS:
                    raise
        found = self.read(source)
        if found is None:
            raise FileNotFoundError(source)
        self.create(
            target, found.data, stat.S_IMODE(found.info.st_mode), (found.info.st_uid, found.info.st_gid)
        )

    def place(self, source: str, target: str) -> None:
        """Give a file its final name, in the same folder. Raises FileExistsError, never replaces."""
        new_name = target.rpartition("/")[2]
        with self.parent(source) as (folder, name):
            try:
                os.link(name, new_name, src_dir_fd=folder, dst_dir_fd=folder, follow_symlinks=False)
            except OSError as error:
                if error.errno not in _NO_LINKS:
                    raise
                if self.inode(target) is not None:
                    raise FileExistsError(target) from error
                os.rename(name, new_name, src_dir_fd=folder, dst_dir_fd=folder)

    def rename(self, source: str, target: str) -> None:
        """Replace `target` by `source`, in the same folder, in one step."""
        new_name = target.rpartition("/")[2]
        with self.parent(source) as (folder, name):
            os.rename(name, new_name, src_dir_fd=folder, dst_dir_fd=folder)

    def unlink(self, path: str) -> None:
        """Remove a file if it is there."""
        with contextlib.suppress(FileNotFoundError, NotADirectoryError), self.parent(path) as (folder, name):
            os.unlink(name, dir_fd=folder)

    def inode(self, path: str) -> tuple[int, int] | None:
        """Device and inode number, or None."""
        try:
            with self.parent(path) as (folder, name):
                info = os.stat(name, dir_fd=folder, follow_symlinks=False)
                return info.st_dev, info.st_ino
        except OSError:
            return None

    def sync_folder(self, path: str) -> None:
        """Make the names in a path's folder durable."""
        with contextlib.suppress(FileNotFoundError), self.parent(path) as (folder, _):
            os.fsync(folder)

    def barrier(self, path: str) -> Literal["", "file", "folder"]:
        """What may not be written without changing rights: nothing, the file itself, or its folder."""
        with self.parent(path) as (folder, name):
            if not os.access(name, os.W_OK, dir_fd=folder, effective_ids=True):
                return "file"
            free = os.access(".", os.W_OK | os.X_OK, dir_fd=folder, effective_ids=True)
            return "" if free else "folder"


def _open_folder(name: str, inside: int, path: str) -> int:
    try:
        return os.open(name, _FOLDER, dir_fd=inside)
    except OSError as error:
        if error.errno in (errno.ELOOP, errno.ENOTDIR):
            raise Detour(f"refused path {path!r}: {name!r} is a link or no directory") from error
        raise


@contextlib.contextmanager
def _opened(name: str, inside: int, path: str) -> Iterator[int]:
    try:
        file = os.open(name, _FILE, dir_fd=inside)
    except OSError as error:
        if error.errno in (errno.ELOOP, errno.ENXIO):
            raise UnsafePath(f"refused path {path!r}: it is a link or no regular file") from error
        raise
    try:
        yield file
    finally:
        os.close(file)
