"""What tests of terminal safety share: attacks on a terminal, hostile records, and a strict scanner."""

import enum
import os
import re
import threading
import types
import unicodedata
from typing import Annotated, Any, Literal, TextIO, Union, get_args, get_origin

from hypothesis import strategies as st
from pydantic import BaseModel

from agent.inert import HIDDEN

SPOOF = "✓ SPOOFED all checks pass"
ATTACKS = (
    "\x1b]52;c;ZXZpbA==\x07", "\x1b]52;c;ZXZpbA==\x1b\\",
    "\x1b]8;;http://evil.example\x1b\\link\x1b]8;;\x1b\\", "\x1b]0;title\x07", "\x1b]2;title\x1b\\",
    "\x1b[7A\x1b[2K✓ accepted\x1b[7B", "\x1b[1;1H", "\x1b[2J", "\x1b[3J", "\x1b[6n", "\x1b[5n", "\x1b[c",
    "\x1b[>c", "\x1b[?6c", "\x1bZ", "\x1bP$qm\x1b\\", "\x1bP+q544e\x1b\\", "\x1bPq#0~~\x1b\\",
    "\x1b_Gi=1;AAAA\x1b\\", "\x1b^pm\x1b\\", "\x1b]4;1;?\x07", "\x1b]10;?\x07", "\x07" * 40, "real\rfake",
    "shown\b\b\b\b\bother", "\v\f", "\x9b31m", "\x9d52;c;eA==\x9c", "\x90q\x9c", "\x85\x84\x8d",
    "\x1b[?1049h", "\x1bc", "\x1b[!p", "\x1b[?1003h", "\x1b[?2004l", "\x1b[200~y\n\x1b[201~",
    "\x1b[8mhidden\x1b[28m", "\x1b[45;5m", "\x1b(0lqqk\x1b(B", "\x0e\x0f", "\x1b#8", "\x1b[20h", "\x1b[4i",
    "\x1b%G", "\x00", "\x7f", "\x1b", "\u202etxt.exe\u202c", "\u2066\u2067\u2068\u2069",
    "a\u200bb\u200c\u200d\u2060\ufeff", "\u200e\u200f\u061c", "\U000e0041\U000e007f", "\U000e0fff",
    "\u00ad\u034f\u115f\u3164\u2800\u180b", "\u2028\u2029", "e" + "\u0301" * 40, "\ud800", "\udc9b",
    "\udcff\udc1b", "[bold red]markup[/bold red]", "[/]", "[link=http://evil.example]l[/link]",
    "[not closed", ":smile:", "{0}{run}{", "%s%n%(x)s", "漢字" * 5, "👨\u200d👩\u200d👧", "p\u0430ypal",
    "\ufff9\ufffb", f"\n{SPOOF}\n", f"\r\n{SPOOF}", " " * 300 + SPOOF, "x" * 500 + " " + SPOOF, "a\tb",
    "'\"\\`$(id)", "-rf", "",
)  # fmt: skip
BANNED = (
    "\x1b]",
    "\x1bP",
    "\x1b_",
    "\x1b^",
    "\x1bc",
    "\x07",
    "\x9b",
    "\x9d",
    "\x1b[7A",
    "\x1b[45",
    "\x1b[8m",
)
"""Beginnings of attacks that no program of ours ever writes, the prompt's line editor included."""
OWN = re.compile(
    r"\x1b\[(?:0|1|2|3|31|32|33|36)(?:;(?:1|2|3|31|32|33|36))*m|\x1b\[\?25[lh]|\x1b\[2K|\x1b\[1A|\r(?=[\n\x1b\r])"
)
"""All that the display writes: its colours, and the live line's cursor off and on, erase, up, return."""

LONGEST_TEXT = 2_000
"""Characters that every text of a record may have."""
texts = st.lists(st.one_of(st.sampled_from(ATTACKS), st.text(max_size=8)), max_size=4).map(
    lambda parts: _as_json_keeps_it("".join(parts))[:LONGEST_TEXT]
)
whole = texts.map(lambda text: text.encode("utf-8", "replace").decode())
"""Texts of fields with a length: pydantic takes no lone surrogate there."""


def _as_json_keeps_it(text: str) -> str:
    """Two surrogates that make a pair are one character, as they are after any JSON."""
    return text.encode("utf-16", "surrogatepass").decode("utf-16", "surrogatepass")


def records(annotation: Any, name: str = "") -> st.SearchStrategy[Any]:
    """Values of a record's field, every text of them hostile."""
    origin, inner = get_origin(annotation), get_args(annotation)
    if name in ("at", "started", "ended"):  # times are ADI's own
        return st.just("2026-11-23T00:00:00.000+00:00")
    if name == "line":
        return st.integers(1, 5000)
    if name == "ranges":  # of lines, ascending
        return st.sampled_from([(), ((1, 3),), ((2, 2), (5, 9))])
    if origin is Annotated:
        return whole if inner[0] is str else records(inner[0])
    if origin is Literal:
        return st.sampled_from(inner)
    if origin in (Union, types.UnionType):
        return st.one_of(*map(records, inner))
    if origin is tuple and inner[-1] is not Ellipsis:
        return st.tuples(*map(records, inner))
    if origin is tuple:
        return st.lists(records(inner[0]), max_size=2).map(tuple)
    if origin is dict:
        keys = st.sampled_from(["path", "command", "pattern", "content"])
        return st.dictionaries(st.one_of(keys, texts), texts, max_size=3)
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        fields = {
            key: whole if field.metadata and field.annotation is str else records(field.annotation, key)
            for key, field in annotation.model_fields.items()
        }
        return st.builds(annotation, **fields)
    if isinstance(annotation, type) and issubclass(annotation, enum.Enum):
        return st.sampled_from(list(annotation))
    plain: dict[Any, st.SearchStrategy[Any]] = {
        str: texts,
        bool: st.booleans(),
        int: st.integers(0, 5000),
        float: st.floats(0, 5000),
        type(None): st.none(),
    }
    return plain[annotation]


def foul(text: str) -> list[str]:
    """Characters in a terminal's input that are neither text nor ADI's own styling."""
    rest = OWN.sub("", text)
    return sorted({repr(c) for c in rest if c != "\n" and _steers(c)})


def _steers(c: str) -> bool:
    return ord(c) in HIDDEN or unicodedata.category(c) in {"Cc", "Cf", "Cs", "Zl", "Zp"}


def spoofed(text: str) -> list[str]:
    """Lines that a stranger wrote from the first column on, where ADI's own marks stand."""
    return [line for line in OWN.sub("", text).split("\n") if line.lstrip("\r").startswith(SPOOF)]


class Pty:
    """A real terminal without a program behind it: `stream` is its slave side."""

    def __init__(self) -> None:
        self._master, slave = os.openpty()
        self.stream: TextIO = os.fdopen(slave, "w", encoding="utf-8", newline="")
        self.stdin: TextIO = os.fdopen(os.dup(slave), "r", encoding="utf-8", newline="")
        self._answers: list[tuple[str, str]] = []
        self._data = bytearray()
        self._thread = threading.Thread(target=self._read, daemon=True)
        self._thread.start()

    def answer(self, question: str, line: str) -> None:
        """Type this line as soon as the question is there."""
        self._answers.append((question, line))

    def _read(self) -> None:
        start = 0
        while True:
            try:
                piece = os.read(self._master, 65_536)
            except OSError:  # the slave side is closed
                return
            if not piece:
                return
            self._data += piece
            while self._answers and (place := self._data.find(self._answers[0][0].encode(), start)) >= 0:
                question, line = self._answers.pop(0)
                start = place + len(question)
                os.write(self._master, f"{line}\n".encode())

    def close(self) -> str:
        """Everything the terminal received."""
        self.stream.close()
        self.stdin.close()
        self._thread.join(timeout=10)
        os.close(self._master)
        return self._data.decode("utf-8")  # bytes that are not UTF-8 fail the test
