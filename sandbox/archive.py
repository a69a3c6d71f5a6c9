"""Copies files out of a tar stream that a stranger made: regular ones, bounded, nothing written to disk."""

from collections.abc import Container, Iterable
from dataclasses import dataclass, field

from sandbox.errors import CopyOutRefused
from sandbox.paths import MAX_DEPTH, MAX_NAME_BYTES, MAX_PATH_BYTES, fault, past_caps
from sandbox.tarstream import BLOCK, Header, Source, members

MAX_NOTES = 50
"""What is left out is named so often; a command can leave a million odd things behind."""
_OVERHEAD = 4 * BLOCK
"""Most bytes that a member takes beside its data: pax header, its block, the member's own header, padding."""
_KINDS = {
    b"1": "a hard link", b"2": "a symbolic link", b"3": "a device", b"4": "a device", b"5": "a directory",
    b"6": "a FIFO", b"7": "a contiguous file", b"S": "a sparse file",
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class ArchiveCaps:
    """Past any of these the whole archive is refused, so that never a part of a result is taken."""

    total_bytes: int = 64 * 1024**2
    file_bytes: int = 32 * 1024**2
    entries: int = 20_000
    depth: int = MAX_DEPTH
    """Names in one path."""
    name_bytes: int = MAX_NAME_BYTES
    path_bytes: int = MAX_PATH_BYTES

    def check(self, path: str) -> None:
        """Raises CopyOutRefused for a path that is too deep, or too long in one name or as a whole."""
        reason = past_caps(path, self.depth, self.name_bytes, self.path_bytes)
        if reason:
            raise CopyOutRefused(
                f"nothing can be copied out: {reason}: {shown(path)}", "remove what the command generated"
            )


@dataclass(slots=True)
class Contents:
    """What an archive held."""

    files: dict[str, bytes] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)
    """What was skipped and why, one sentence each, at most MAX_NOTES and one more."""


def read_archive(
    chunks: Iterable[bytes], caps: ArchiveCaps | None = None, wanted: Container[str] | None = None
) -> Contents:
    """Regular files of a tar stream by path. Raises CopyOutRefused past a cap or when it is malformed.

    Members that are not regular files, whose path is unsafe, comes twice or is not `wanted`, are named in the
    notes. No more is held in memory than the cap on bytes, one chunk and one copy of the largest file.
    """
    caps = caps or ArchiveCaps()
    contents = Contents()
    source = Source(chunks, caps.total_bytes + _OVERHEAD * (caps.entries + 1))
    total = 0
    for count, header in enumerate(members(source), start=1):
        total += header.size
        if count > caps.entries:
            raise CopyOutRefused(f"more than {caps.entries} files to copy out")
        if header.size > caps.file_bytes or total > caps.total_bytes:
            raise CopyOutRefused(f"too many bytes to copy out: {_named(header)} has {header.size}")
        reason = _refusal(header, contents, caps, wanted)
        if reason:
            add_note(contents.notes, f"{_named(header)} was not copied out: {reason}")
            source.skip(header.size)
        else:
            contents.files[header.name.decode()] = source.body(header.size)
    return contents


def _refusal(header: Header, contents: Contents, caps: ArchiveCaps, wanted: Container[str] | None) -> str:
    """Why a member is skipped, or an empty string. Raises CopyOutRefused."""
    if header.kind not in (b"0", b"\0"):
        return f"it is {_KINDS.get(header.kind, 'no regular file')}"
    try:
        name = header.name.decode("utf-8")
    except UnicodeDecodeError:
        return "its name is not valid UTF-8"
    if reason := fault(name):
        return f"unsafe name: {reason}"
    caps.check(name)
    if name in contents.files:
        return "the name comes twice"
    return "nobody asked for it" if wanted is not None and name not in wanted else ""


def _named(header: Header) -> str:
    return shown(header.name[:200].decode("utf-8", "backslashreplace"))


def shown(name: str) -> str:
    """A stranger's name for a message: quoted, without control characters, cut."""
    return repr(name) if len(name) <= 120 else f"{name[:120]!r}…"


def add_note(notes: list[str], sentence: str) -> None:
    """One more note, up to MAX_NOTES; then one line that tells so."""
    if len(notes) < MAX_NOTES:
        notes.append(sentence)
    elif len(notes) == MAX_NOTES:
        notes.append("more was left out than is named here")
