"""Reads tar streams that a stranger made: regular files only, bounded, nothing ever written to disk.

The standard library's `tarfile` is not used for reading: its extraction filters were bypassed more than once
(CVE-2025-4517, CVE-2026-11940), and it follows what the stream says about links and sparse files.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

from sandbox.errors import CopyOutRefused, UnsafePath
from sandbox.paths import check_path

BLOCK = 512
_MAX_META = 64 * 1024
_KINDS = {
    b"1": "a hard link", b"2": "a symbolic link", b"3": "a device", b"4": "a device", b"5": "a directory",
    b"6": "a FIFO", b"7": "a contiguous file", b"S": "a sparse file",
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class ArchiveCaps:
    """Past any of these the whole archive is refused."""

    total_bytes: int = 64 * 1024**2
    file_bytes: int = 32 * 1024**2
    entries: int = 20_000


@dataclass(slots=True)
class Contents:
    """What an archive held."""

    files: dict[str, bytes] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)
    """What was skipped and why, one sentence each."""


@dataclass(frozen=True, slots=True)
class _Header:
    name: bytes
    kind: bytes
    size: int


class _Source:
    """Exact reads from chunks, counted against the cap."""

    def __init__(self, chunks: Iterable[bytes], cap: int) -> None:
        self._chunks = iter(chunks)
        self._buffer = bytearray()
        self._left = cap

    def take(self, count: int) -> bytes:
        """Exactly `count` bytes. Raises CopyOutRefused at the end of the stream or past the cap."""
        self._left -= count
        if self._left < 0:
            raise CopyOutRefused("the archive is larger than the cap on bytes")
        while len(self._buffer) < count:
            chunk = next(self._chunks, None)
            if chunk is None:
                raise CopyOutRefused("the archive ends too early")
            self._buffer += chunk
        data = bytes(self._buffer[:count])
        del self._buffer[:count]
        return data

    def body(self, size: int) -> bytes:
        """The data of a member, its padding dropped."""
        return self.take(-(-size // BLOCK) * BLOCK)[:size]

    def skip(self, size: int) -> None:
        """Pass over a member's data without holding it."""
        left = -(-size // BLOCK) * BLOCK
        while left > 0:
            left -= len(self.take(min(left, 1 << 16)))


def read_archive(chunks: Iterable[bytes], caps: ArchiveCaps | None = None) -> Contents:
    """Regular files of a tar stream by path. Raises CopyOutRefused past a cap or when it is malformed.

    Members that are not regular files, or whose path is unsafe or comes twice, are named in the notes.
    """
    caps = caps or ArchiveCaps()
    contents = Contents()
    source = _Source(chunks, caps.total_bytes + 2 * BLOCK * (caps.entries + 1))
    total = 0
    for count, header in enumerate(_members(source), start=1):
        total += header.size
        if count > caps.entries:
            raise CopyOutRefused(f"more than {caps.entries} files to copy out")
        if header.size > caps.file_bytes or total > caps.total_bytes:
            raise CopyOutRefused(f"too many bytes to copy out: {_shown(header.name)} has {header.size}")
        reason = _refusal(header, contents)
        if reason:
            contents.notes.append(f"{_shown(header.name)} was not copied out: {reason}")
            source.skip(header.size)
        else:
            contents.files[header.name.decode()] = source.body(header.size)
    return contents


def _refusal(header: _Header, contents: Contents) -> str:
    """Why a member is skipped, or an empty string."""
    if header.kind not in (b"0", b"\0"):
        return f"it is {_KINDS.get(header.kind, 'no regular file')}"
    try:
        name = check_path(header.name.decode("utf-8"))
    except UnicodeDecodeError:
        return "its name is not valid UTF-8"
    except UnsafePath as error:
        return error.message
    return "the name comes twice" if name in contents.files else ""


def _members(source: _Source) -> Iterator[_Header]:
    """Headers in order; the caller takes each one's data before it asks for the next."""
    long_name: bytes | None = None
    long_size: int | None = None
    while True:
        block = source.take(BLOCK)
        if block == bytes(BLOCK):
            return
        header = _parse(block)
        if header.kind in (b"L", b"K", b"x", b"g", b"X"):
            if header.size > _MAX_META:
                raise CopyOutRefused("an extended header of the archive is too large")
            meta = source.body(header.size)
            if header.kind == b"L":
                long_name = meta.rstrip(b"\0")
            elif header.kind == b"x":
                fields = _pax(meta)
                long_name = fields.get(b"path", long_name)
                long_size = _decimal(fields[b"size"]) if b"size" in fields else long_size
            continue
        name = header.name if long_name is None else long_name
        yield _Header(name, header.kind, header.size if long_size is None else long_size)
        long_name = long_size = None


def _parse(block: bytes) -> _Header:
    stored = _number(block[148:156])
    if stored != sum(block[:148]) + sum(block[156:]) + 8 * 0x20:
        raise CopyOutRefused("the archive has a broken header")
    name = block[:100].split(b"\0", 1)[0]
    if block[257:263] == b"ustar\0":
        prefix = block[345:500].split(b"\0", 1)[0]
        name = prefix + b"/" + name if prefix else name
    return _Header(name, block[156:157], _number(block[124:136]))


def _number(text: bytes) -> int:
    """Octal, or base 256 when the top bit is set."""
    if text[0] == 0x80:
        return int.from_bytes(text[1:], "big")
    digits = text.split(b"\0", 1)[0].strip()
    if digits.translate(None, b"01234567"):
        raise CopyOutRefused("the archive has a broken number")
    return int(digits or b"0", 8)


def _decimal(text: bytes) -> int:
    if not text.isdigit() or len(text) > 19:
        raise CopyOutRefused("the archive has a broken number")
    return int(text)


def _pax(meta: bytes) -> dict[bytes, bytes]:
    """Records of the form `length key=value newline`."""
    fields: dict[bytes, bytes] = {}
    while meta:
        length_text, space, _ = meta.partition(b" ")
        length = _decimal(length_text) if space else 0
        record = meta[len(length_text) + 1 : length]
        key, equals, value = record.partition(b"=")
        if not equals or length > len(meta) or not value.endswith(b"\n"):
            raise CopyOutRefused("the archive has a broken extended header")
        fields[key] = value[:-1]
        meta = meta[length:]
    return fields


def _shown(name: bytes) -> str:
    """A member's name, made harmless for a message."""
    return repr(name[:120].decode("utf-8", "backslashreplace"))
