"""The members of a tar stream that a stranger made: headers with bounded memory, data left to the caller.

The standard library's `tarfile` is not used for reading: its extraction filters were bypassed more than once
(CVE-2025-4517, CVE-2026-11940), and it follows what the stream says about links and sparse files.
Formats: v7, ustar, GNU (long names, base-256 sizes, sparse) and pax, as POSIX.1-2017 `pax` and the manual
of GNU tar ("Basic Tar Format", "Storing Sparse Files") define them.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from sandbox.errors import CopyOutRefused

BLOCK = 512
_MAX_META = 64 * 1024
_MAX_META_RUN = 8
"""Extended headers before one member; writers need at most four: g, x, K and L."""
_MAX_RECORDS = 1000
"""Records in one pax header; writers need about ten."""
_REWRITES = (b"path", b"linkpath", b"size", b"GNU.sparse.name")


@dataclass(frozen=True, slots=True)
class Header:
    """One member, as the stream describes it."""

    name: bytes
    kind: bytes
    """The type flag; `S` also for the sparse files of pax."""
    size: int
    """Bytes of data in the stream."""
    link: bytes = b""
    """Where a link leads, as the stream has it."""
    mode: int = 0
    """Permission bits, as the stream claims them."""
    mtime: int = 0
    """Seconds since the epoch."""


class Source:
    """Exact reads from chunks, counted against a cap."""

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
        with memoryview(self._buffer) as view:
            data = bytes(view[:count])
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


@dataclass(slots=True)
class _Extended:
    """What extended headers say about the next member."""

    name: bytes | None = None
    link: bytes | None = None
    size: int | None = None
    sparse: bool = False
    count: int = 0

    def take(self, kind: bytes, meta: bytes) -> None:
        """Note one extended header. Raises CopyOutRefused."""
        self.count += 1
        if self.count > _MAX_META_RUN:
            raise CopyOutRefused("the archive has too many extended headers in a row")
        if kind == b"L":
            self.name = meta.rstrip(b"\0")
        elif kind == b"K":
            self.link = meta.rstrip(b"\0")
        elif kind in (b"x", b"X"):
            self._take_pax(_pax(meta))
        elif kind == b"g" and not _pax(meta).keys().isdisjoint(_REWRITES):
            raise CopyOutRefused("a global header of the archive renames or resizes every file")

    def _take_pax(self, fields: dict[bytes, bytes]) -> None:
        self.sparse = self.sparse or any(key.startswith(b"GNU.sparse.") for key in fields)
        self.name = fields.get(b"GNU.sparse.name", fields.get(b"path", self.name))
        self.link = fields.get(b"linkpath", self.link)
        if b"size" in fields:
            self.size = _decimal(fields[b"size"])


def members(source: Source) -> Iterator[Header]:
    """Headers in order; the caller takes or skips each one's data before it asks for the next.

    Raises CopyOutRefused for what is malformed. Ends at the first block of zeros, like GNU tar.
    """
    extended = _Extended()
    while True:
        block = source.take(BLOCK)
        if block == bytes(BLOCK):
            return
        header = _parse(block)
        if header.kind in (b"L", b"K", b"x", b"X", b"g"):
            if header.size > _MAX_META:
                raise CopyOutRefused("an extended header of the archive is too large")
            extended.take(header.kind, source.body(header.size))
            continue
        if header.kind == b"S":
            _pass_sparse_map(source, block)
        yield Header(
            header.name if extended.name is None else extended.name,
            b"S" if extended.sparse else header.kind,
            header.size if extended.size is None else extended.size,
            header.link if extended.link is None else extended.link,
            header.mode,
            header.mtime,
        )
        extended = _Extended()


def _pass_sparse_map(source: Source, block: bytes) -> None:
    """Blocks that continue the map of an old GNU sparse file stand before its data."""
    more = block[482] != 0
    while more:
        more = source.take(BLOCK)[504] != 0


def _parse(block: bytes) -> Header:
    stored = _number(block[148:156])
    if stored != sum(block[:148]) + sum(block[156:]) + 8 * 0x20:
        raise CopyOutRefused("the archive has a broken header")
    name = block[:100].split(b"\0", 1)[0]
    if block[257:263] == b"ustar\0":
        prefix = block[345:500].split(b"\0", 1)[0]
        name = prefix + b"/" + name if prefix else name
    link = block[157:257].split(b"\0", 1)[0]
    size, mode, mtime = _number(block[124:136]), _hint(block[100:108]), _hint(block[136:148])
    return Header(name, block[156:157], size, link, mode, mtime)


def _hint(text: bytes) -> int:
    """A number that nothing depends on: 0 when it is broken or, like a time before 1970, negative."""
    try:
        return _number(text)
    except CopyOutRefused:
        return 0


def _number(text: bytes) -> int:
    """Octal, or base 256 when the top bit is set; negative numbers are refused."""
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
    """Records of the form `length key=value newline`, read in one pass."""
    fields: dict[bytes, bytes] = {}
    start = count = 0
    while start < len(meta):
        space = meta.find(b" ", start, start + 20)
        if space < 0:
            raise CopyOutRefused("the archive has a broken extended header")
        end = start + _decimal(meta[start:space])
        key, equals, value = meta[space + 1 : end].partition(b"=")
        if not equals or end > len(meta) or not value.endswith(b"\n"):
            raise CopyOutRefused("the archive has a broken extended header")
        fields[key] = value[:-1]
        start, count = end, count + 1
        if count > _MAX_RECORDS:
            raise CopyOutRefused("an extended header of the archive is too large")
    return fields
