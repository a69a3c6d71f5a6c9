"""Rows of a file of JSON objects, one at a time: a list, a list of lists, objects one after the other, lines.

Read in pieces, so that neither a long file nor one huge row takes more memory than `MAX_ROW`. A broken row
is named and the next one is read.
"""

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, BinaryIO, Final

from agent.backlog_item import Bad, clean

MAX_ROW: Final = 4 * 1024 * 1024
"""Bytes of one row, comments included."""
PIECE: Final = 64 * 1024
_BEGIN: Final = re.compile(rb"[^\s,\[\]]")
_STEP: Final = re.compile(rb'"[^"\\]*+(?:\\.[^"\\]*+)*+"|["{}]', re.DOTALL)
"""A whole text, the beginning of one that the data does not hold to its end, a brace."""
_QUOTE: Final = re.compile(rb'["\\]')
_ODD: Final = re.compile(rb"\\u(?:0000|d[89a-f])", re.IGNORECASE)
"""Escapes of what no file and not every store can hold."""
_BOMS: Final = (b"\xef\xbb\xbf", b"\xff\xfe", b"\xfe\xff")


@dataclass(frozen=True, slots=True)
class Row:
    """One object and where it is."""

    where: str
    value: dict[str, Any]


def rows(stream: BinaryIO, name: str) -> Iterator[Row | Bad]:
    """All objects of a stream. `name` is how messages call it."""
    head = _first_line(stream)
    if head.startswith(_BOMS[1:]):
        yield Bad(where=name, why="is UTF-16; save it as UTF-8")
        return
    head = head.removeprefix(_BOMS[0])
    raw = _lines(stream, head) if _is_a_row(head) else _objects(stream, head)
    empty = True
    for number, (line, data) in enumerate(raw, 1):
        empty = False
        where = f"{name}, row {number} (line {line})"
        yield Bad(where=where, why=data) if isinstance(data, str) else _parsed(where, data)
    whole = head.strip()
    if empty and not (whole.startswith(b"[") and whole.endswith(b"]")):  # a tracker without open issues
        yield Bad(where=name, why="holds no rows")


def _first_line(stream: BinaryIO) -> bytes:
    """What the stream begins with, to the end of the first line that is not blank; not more than a row."""
    head = b""
    while not head.strip() and len(head) < MAX_ROW:
        line = stream.readline(MAX_ROW + 1)
        if not line:
            break
        head += line
    return head


def _is_a_row(head: bytes) -> bool:
    """True for JSON lines: then a broken row ends with its line."""
    if not head.lstrip().startswith(b"{"):
        return False
    try:
        return isinstance(json.loads(head), dict)
    except (ValueError, RecursionError):
        return head.rstrip().endswith(
            b"}"
        )  # a whole line, if a broken one; printed prettily it ends otherwise


def _lines(stream: BinaryIO, head: bytes) -> Iterator[tuple[int, bytes | str]]:
    """Lines that are not blank, each a row, with their numbers."""
    blank = head[: len(head) - len(head.lstrip())].count(b"\n")
    number, line = blank + 1, head.lstrip()
    while line:
        if len(line) > MAX_ROW:
            while line and not line.endswith(b"\n"):
                line = stream.readline(PIECE)
            yield number, _TOO_LARGE
        elif line.strip():
            yield number, line
        number, line = number + 1, stream.readline(MAX_ROW + 1)


_TOO_LARGE: Final = f"is larger than {MAX_ROW // 1024 // 1024} MiB, cut off"


@dataclass(slots=True)
class _Splitter:
    """Finds where objects begin and end; what is in them is parsed later."""

    line: int = 1
    depth: int = 0
    quoted: bool = False
    escaped: bool = False
    junk: bool = False
    began: int = 1
    kept: list[bytes] = field(default_factory=list)
    size: int = 0

    def feed(self, data: bytes) -> Iterator[tuple[int, bytes | str]]:
        at = 0
        while at < len(data):
            if self.depth:
                at, done = self._inside(data, at)
                if done is not None:
                    yield self.began, done
            else:
                at, strange = self._between(data, at)
                if strange:
                    yield self.line, "is not an object"

    def _between(self, data: bytes, at: int) -> tuple[int, bool]:
        """Skip to the next object; True when something stands there that is none."""
        found = _BEGIN.search(data, at)
        end = found.start() if found else len(data)
        self.line += data.count(b"\n", at, end)
        if found is None:
            return end, False
        if data[end : end + 1] == b"{":
            self.depth, self.began, self.kept, self.size, self.junk = 1, self.line, [b"{"], 1, False
            return end + 1, False
        begin = data.find(b"{", end)
        stop = min((x for x in (begin, data.find(b"\n", end)) if x >= 0), default=len(data))
        told, self.junk = not self.junk, True
        return stop, told

    def _inside(self, data: bytes, at: int) -> tuple[int, bytes | str | None]:
        """Go on to where the object ends, and give it, or to the end of the data."""
        start = at
        while at < len(data) and self.depth:
            if self.escaped:
                self.escaped = False
                at += 1
                continue
            found = (_QUOTE if self.quoted else _STEP).search(data, at)
            at = found.end() if found else len(data)
            sign = found[0] if found else b""
            if self.quoted:
                self.quoted, self.escaped = sign != b'"', sign == b"\\"
            elif sign == b'"':
                self.quoted = True
            elif sign in (b"{", b"}"):
                self.depth += 1 if sign == b"{" else -1
        self._keep(data[start:at])
        if self.depth:
            return at, None
        return at, b"".join(self.kept) if self.size <= MAX_ROW else _TOO_LARGE

    def _keep(self, piece: bytes) -> None:
        self.line += piece.count(b"\n")
        self.size += len(piece)
        if self.size > MAX_ROW:
            self.kept = []
        else:
            self.kept.append(piece)


def _objects(stream: BinaryIO, head: bytes) -> Iterator[tuple[int, bytes | str]]:
    """Objects of lists or one after the other, with the lines that they begin on."""
    splitter = _Splitter()
    data = head
    while data:
        yield from splitter.feed(data)
        data = stream.read(PIECE)
    if splitter.depth:
        yield splitter.began, "begins and does not end: the file is cut off, or a bracket or quote is missing"


def _parsed(where: str, data: bytes) -> Row | Bad:
    try:
        value = json.loads(data.decode("utf-8"), object_pairs_hook=_distinct, parse_constant=_no_number)
        if _ODD.search(data):
            value = _cleaned(value)
    except UnicodeDecodeError:
        return Bad(where=where, why="is not UTF-8")
    except json.JSONDecodeError as error:
        return Bad(where=where, why=f"is not JSON: {error.msg} at character {error.pos + 1} of the row")
    except ValueError as error:
        return Bad(where=where, why=str(error)[:200])
    except RecursionError:
        return Bad(where=where, why="is nested too deeply")
    return Row(where, value) if isinstance(value, dict) else Bad(where=where, why="is not an object")


def _cleaned(value: Any) -> Any:
    """The same with texts that every store can keep."""
    if isinstance(value, str):
        return clean(value)
    if isinstance(value, list):
        return [_cleaned(each) for each in value]
    return {clean(k): _cleaned(v) for k, v in value.items()} if isinstance(value, dict) else value


def _distinct(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        names = [name for name, _value in pairs]
        twice = next(name for name in names if names.count(name) > 1)
        raise ValueError(f"has the key {twice[:60]!r} twice")
    return found


def _no_number(name: str) -> Any:
    raise ValueError(f"holds {name}, which is not JSON")
