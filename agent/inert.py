"""Text of strangers (models, repositories, tools) made safe to show in a terminal.

Guaranteed: what comes out holds no character that moves a cursor, changes a colour, sets a title, writes
a clipboard, reorders or hides text, or piles marks over its neighbours. Each one is replaced by a visible
escape such as `\\x1b` or `\\u202e`. Letters that look like others stay as they are: agent/doubts.py tells of
them, and of what was hidden.
"""

import unicodedata
from typing import Final

HIDDEN: Final = frozenset(
    [
        *range(0x200B, 0x2010),  # zero width space and joiners, left-to-right and right-to-left marks
        *range(0x2028, 0x202F),  # line and paragraph separators, bidi embeddings and overrides
        *range(0x2060, 0x2070),  # word joiner, invisible operators, bidi isolates
        *range(0xFE00, 0xFE10),  # variation selectors
        *range(0xFFF0, 0xFFFC),  # interlinear annotations, and points kept for the like
        *range(0xE0000, 0xE1000),  # tag characters, more variation selectors, points kept for the like
        *range(0x180B, 0x1810),  # Mongolian variation selectors and vowel separator
        0x00AD,  # soft hyphen
        0x034F,  # combining grapheme joiner
        0x061C,  # Arabic letter mark
        0x115F,
        0x1160,  # Hangul fillers
        0x17B4,
        0x17B5,
        0x2800,  # Braille pattern blank
        0x3164,
        0xFFA0,
        0xFEFF,  # byte order mark
    ]
)
"""Code points with no glyph of their own that hide or reorder their neighbours."""


MOST_MARKS: Final = 4
"""Combining marks on one letter; living languages need three."""


def inert(text: str) -> str:
    """Show every control, bidi and invisible character as an escape; newline and tab stay."""
    if text.isascii() and text.isprintable():
        return text
    shown, marks = [], MOST_MARKS  # a mark at the very beginning would sit on what stands before the text
    for c in text.replace("\r\n", "\n"):
        category = unicodedata.category(c)
        marks = marks + 1 if category in {"Mn", "Me"} else MOST_MARKS if c in "\n\t" else 0
        shown.append(c if marks <= MOST_MARKS and _harmless(c, category) else _escape(c))
    return "".join(shown)


def inert_line(text: str) -> str:
    """The same for a text that must stay on one line: newlines and tabs are escaped too."""
    return inert(text).replace("\n", "\\n").replace("\t", "\\t")


def _harmless(c: str, category: str) -> bool:
    return c in "\n\t" or (ord(c) not in HIDDEN and category not in {"Cc", "Cf", "Cs"})


def _escape(c: str) -> str:
    code = ord(c)
    if code < 0x100:
        return f"\\x{code:02x}"
    return f"\\u{code:04x}" if code < 0x10000 else f"\\U{code:08x}"
