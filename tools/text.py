"""Files as numbered lines, and back without changing a byte that an edit does not name.

A file is its byte-order mark and its lines with their own endings; text is decoded only to be shown or
compared. An edit gives new bytes to the lines it replaces and to no others.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from tools.runs import equal_runs

BOM = b"\xef\xbb\xbf"
MAX_BYTES = 2_000_000
"""Larger files are refused by size: no model reads them, and no line number helps."""
MAX_LINE = 5_000
"""Bytes of the longest line; longer ones are minified or data."""

_BY_LINE = re.compile(
    r"(?:iso|latin|cp125|windows-125|koi8|gb|big5|euc|shift|sjis)[-_\w]{0,20}", re.IGNORECASE
)
"""Encodings whose text may be cut at newlines."""
_KINDS = (
    (b"\xff\xfe", "UTF-16 text"), (b"\xfe\xff", "UTF-16 text"), (b"\x89PNG\r\n", "a PNG image"),
    (b"\xff\xd8\xff", "a JPEG image"), (b"GIF8", "a GIF image"), (b"%PDF-", "a PDF document"),
    (b"PK\x03\x04", "a ZIP archive"), (b"\x1f\x8b", "a gzip archive"), (b"\x7fELF", "a program"),
    (b"SQLite format 3\0", "a database"),
)  # fmt: skip
"""First bytes of files that are no text."""
_COOKIE = re.compile(rb"^[ \t\f]*#.*?coding[:=][ \t]*([-\w.]{1,40})")


class NotText(ValueError):
    """The file cannot be handled by lines: it says how large it is and of what kind."""


@dataclass(frozen=True, slots=True)
class Text:
    """A text file, taken apart."""

    bom: bytes
    lines: tuple[bytes, ...]
    """With their endings, `\\n` or `\\r\\n`; the last may have none."""
    encoding: str

    @property
    def shown(self) -> list[str]:
        """Lines without endings, decoded."""
        return [_bare(line).decode(self.encoding) for line in self.lines]

    @property
    def bytes(self) -> bytes:
        return self.bom + b"".join(self.lines)

    def replaced(self, first: int, last: int, body: Sequence[str]) -> "Text":
        """The file with lines `first` to `last` (1-based, inclusive) replaced by `body`.

        `first == len(lines) + 1` appends. Lines of the body that stood there before keep their bytes.
        Raises UnicodeEncodeError when the body does not fit the file's encoding.
        """
        old = self.lines[first - 1 : last]
        ending = _ending(old) or _ending(self.lines) or b"\n"
        new = _merged(old, [line.encode(self.encoding) for line in body], ending)
        before, after = list(self.lines[: first - 1]), self.lines[last:]
        if new and before and not before[-1].endswith(b"\n"):
            before[-1] += ending
        if new and not after and self.lines and not self.lines[-1].endswith(b"\n"):
            new[-1] = _bare(new[-1])
        return Text(self.bom, (*before, *new, *after), self.encoding)


class Files(Protocol):
    """What is needed of a work copy."""

    def size(self, path: str) -> int: ...

    def read(self, path: str) -> bytes: ...


def load_file(files: Files, path: str) -> Text:
    """A file taken apart; one that is too large is not even read. Raises NotText, FileNotFoundError."""
    if files.size(path) > MAX_BYTES:
        raise NotText(f"it is too large ({size_of(files.size(path))})")
    return load(files.read(path))


def load(data: bytes) -> Text:
    """Take a file apart. Raises NotText for binary, UTF-16, huge and minified files."""
    size = size_of(len(data))
    if len(data) > MAX_BYTES:
        raise NotText(f"it is too large ({size})")
    kind = next((name for magic, name in _KINDS if data.startswith(magic)), "")
    if kind:
        raise NotText(f"it is {kind} ({size})")
    if b"\0" in data:
        raise NotText(f"it is a binary file ({size})")
    bom = BOM if data.startswith(BOM) else b""
    lines = tuple(re.findall(rb"[^\n]*\n|[^\n]+", data[len(bom) :]))
    longest = max((len(line) for line in lines), default=0)
    if longest > MAX_LINE:
        raise NotText(f"it has lines of up to {longest} bytes, so it is minified or data ({size})")
    return Text(bom, lines, _encoding(lines))


def size_of(size: int) -> str:
    """A size in bytes for people."""
    return f"{size} bytes" if size < 10_000 else f"{size / 1e6:.2f} MB"


def new_file(body: Sequence[str], old: Text | None) -> bytes:
    """Bytes of a whole file, in the manner of the file it replaces.

    Raises UnicodeEncodeError when the text does not fit the old file's encoding.
    """
    encoding = old.encoding if old else "utf-8"
    ending = (_ending(old.lines) if old else None) or b"\n"
    lines = _merged(old.lines if old else (), [line.encode(encoding) for line in body], ending)
    return (old.bom if old else b"") + b"".join(lines)


def numbered(lines: Sequence[str], first: int = 1, width: int = 300) -> str:
    """Lines after their numbers, the first one being line `first`; each cut to `width` characters."""
    return "\n".join(
        f"{number:4} {line if len(line) <= width else line[:width] + ' …'}"
        for number, line in enumerate(lines, first)
    )


def _bare(line: bytes) -> bytes:
    return line[:-2] if line.endswith(b"\r\n") else line[:-1] if line.endswith(b"\n") else line


def _ending(lines: Sequence[bytes]) -> bytes | None:
    """The most frequent ending, or None where no line has one."""
    windows = sum(line.endswith(b"\r\n") for line in lines)
    unix = sum(line.endswith(b"\n") for line in lines) - windows
    return None if not windows + unix else b"\r\n" if windows > unix else b"\n"


def _merged(old: Sequence[bytes], body: Sequence[bytes], ending: bytes) -> list[bytes]:
    """The new lines; those that stood there before keep their own ending."""
    bare = [_bare(line) for line in old]
    merged = [line + ending for line in body]
    for before, after, length in equal_runs(bare, body):
        for step in range(length):
            kept = old[before + step]
            merged[after + step] = kept if kept.endswith(b"\n") else kept + ending
    return merged


def _encoding(lines: Sequence[bytes]) -> str:
    """UTF-8 when it is; else what a Python coding cookie says, else latin-1, which fits all bytes."""
    named = [match[1].decode() for line in lines[:2] if (match := _COOKIE.match(line))]
    for encoding in ("utf-8", *(name for name in named if _BY_LINE.fullmatch(name))):
        try:
            if all(line.decode(encoding).encode(encoding) == line for line in lines):
                return encoding
        except (UnicodeError, LookupError):
            continue
    return "latin-1"
