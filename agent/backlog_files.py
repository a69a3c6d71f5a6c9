"""Small text files of a folder that strangers may have filled: no links out, no devices, not too large."""

import os
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import Final

MAX_FILE: Final = 1024 * 1024
"""Bytes of an issue's file; GitHub takes 65,536 characters."""
DEEP: Final = 12


class Unreadable(ValueError):
    """A file that is not read, and why."""


def text_of(file: Path, root: Path) -> str:
    """The file's text. Raises Unreadable."""
    try:
        inside = file.resolve().is_relative_to(root.resolve())
        if not inside:
            raise Unreadable("is a link out of the folder, not followed")
        handle = os.open(file, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
        with os.fdopen(handle, "rb") as stream:
            if not stat.S_ISREG(os.fstat(handle).st_mode):
                raise Unreadable("is not a regular file")
            data = stream.read(MAX_FILE + 1)
    except (OSError, RuntimeError) as error:
        raise Unreadable(f"cannot be read: {getattr(error, 'strerror', None) or error}") from None
    if len(data) > MAX_FILE:
        raise Unreadable(f"is larger than {MAX_FILE // 1024 // 1024} MiB, cut off")
    return _decoded(data)


def _decoded(data: bytes) -> str:
    coding = "utf-16" if data.startswith((b"\xff\xfe", b"\xfe\xff")) else "utf-8-sig"
    try:
        return data.decode(coding).replace("\r\n", "\n").replace("\r", "\n")
    except UnicodeDecodeError:
        raise Unreadable("is not UTF-8") from None


def files_below(folder: Path, suffix: str, depth: int = DEEP) -> Iterator[Path]:
    """Files whose name ends so, in the order of their names, hidden ones and links to folders left out."""
    try:
        entries = sorted(os.scandir(folder), key=lambda entry: entry.name)
    except OSError:
        return
    for entry in entries:
        if entry.name.startswith("."):
            continue
        if entry.is_dir(follow_symlinks=False):
            if depth:
                yield from files_below(Path(entry.path), suffix, depth - 1)
        elif entry.name.lower().endswith(suffix):
            yield Path(entry.path)
