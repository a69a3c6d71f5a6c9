"""Turns what an installer left behind into a layer of an image: only below its own folder, nobody's rights.

The installer ran a stranger's code. Every member is written anew: owned by root, no set-user bits, files,
folders and symbolic links only, and none outside the folder. So nothing of the base system can be replaced.
"""

import os
import stat
import tarfile
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field

from sandbox.archive import add_note, shown
from sandbox.errors import CopyOutRefused
from sandbox.tarstream import BLOCK, Header, Source, members

_CHUNK = 1 << 18
_KINDS = {
    b"0": tarfile.REGTYPE,
    b"\0": tarfile.REGTYPE,
    b"5": tarfile.DIRTYPE,
    b"2": tarfile.SYMTYPE,
}
_MAX_PATH = 1024
_MTIME_END = 1 << 33
"""Largest time that an old tar header holds."""


@dataclass(slots=True)
class Layer:
    """The archive to give to the engine, made while it is read."""

    folder: str
    """Absolute path that every member lies in."""
    cap_bytes: int
    cap_entries: int
    links: Mapping[str, str] = field(default_factory=dict)
    """Symbolic links of our own, by absolute path, outside the folder too."""
    notes: list[str] = field(default_factory=list)
    """What was left out, one sentence each."""
    size: int = 0
    """Bytes of data that went in."""
    entries: int = 0

    def pack(self, chunks: Iterable[bytes]) -> Iterator[bytes]:
        """A tar stream of what may stay. Raises CopyOutRefused past a cap or when the stream is malformed."""
        source = Source(chunks, self.cap_bytes + 4 * BLOCK * (self.cap_entries + 1))
        seen: dict[str, bytes] = {}
        yield _member(self._inside(""), tarfile.DIRTYPE)
        for header in members(source):
            self.entries += 1
            self.size += header.size
            if self.entries > self.cap_entries or self.size > self.cap_bytes:
                raise CopyOutRefused("what was installed is larger than the cap", "raise sandbox.prepare_mb")
            path, reason = self._path(header, seen)
            if reason:
                add_note(self.notes, f"{shown(path)} is not kept: {reason}")
                source.skip(header.size)
                continue
            if not path:
                continue
            seen[path] = _KINDS[header.kind]
            yield from _copied(source, header, self._inside(path))
        for path, target in self.links.items():
            yield _member(path.lstrip("/"), tarfile.SYMTYPE, link=target)
        yield bytes(2 * BLOCK)

    def _inside(self, path: str) -> str:
        return f"{self.folder.strip('/')}/{path}".rstrip("/")

    def _path(self, header: Header, seen: Mapping[str, bytes]) -> tuple[str, str]:
        """Path below the folder, empty for the folder itself, and why the member is left out."""
        name = os.fsdecode(header.name)
        parts = name.removeprefix("./").rstrip("/").split("/")
        path = "/".join(parts)
        if path in ("", "."):
            return "", "" if header.kind == b"5" else "it is in the place of the folder"
        if header.kind not in _KINDS:
            return path, "it is no file, folder or symbolic link"
        if ".." in parts or "." in parts or "" in parts or "\0" in name or len(header.name) > _MAX_PATH:
            return path, "its path leads elsewhere or is too long"
        if path in seen:
            return path, "it comes twice"
        parents = ("/".join(parts[:depth]) for depth in range(1, len(parts)))
        if any(seen.get(parent) != tarfile.DIRTYPE for parent in parents):
            return path, "what it lies in is no folder"
        if header.kind == b"2" and not 0 < len(header.link) <= _MAX_PATH:
            return path, "its target is too long"
        return path, ""


def _copied(source: Source, header: Header, path: str) -> Iterator[bytes]:
    kind = _KINDS[header.kind]
    if kind != tarfile.REGTYPE:
        source.skip(header.size)
        yield _member(path, kind, link=os.fsdecode(header.link), mtime=header.mtime)
        return
    runs = bool(header.mode & stat.S_IXUSR)
    yield _member(path, kind, size=header.size, mtime=header.mtime, runs=runs)
    left = -(-header.size // BLOCK) * BLOCK
    while left:
        data = source.take(min(left, _CHUNK))
        left -= len(data)
        yield data


def _member(
    path: str, kind: bytes, *, link: str = "", size: int = 0, mtime: int = 0, runs: bool = False
) -> bytes:
    """A header of our own making: root's, readable by all, writable by nobody else."""
    made = tarfile.TarInfo(path)
    made.type, made.size = kind, size
    made.linkname = link if kind == tarfile.SYMTYPE else ""
    made.mode = 0o755 if runs or kind != tarfile.REGTYPE else 0o644
    made.mtime = min(mtime, _MTIME_END - 1)
    return made.tobuf(tarfile.GNU_FORMAT, "utf-8", "surrogateescape")
