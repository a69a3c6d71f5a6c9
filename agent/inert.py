"""Text of strangers (models, repositories, tools) made safe to show in a terminal.

Guaranteed: what comes out holds no character that moves a cursor, changes a colour, sets a title, writes
a clipboard, reorders or hides text. Each one is replaced by a visible escape such as `\\x1b` or `\\u202e`.
Not guaranteed: that letters are what they look like; homoglyphs pass.
"""

import unicodedata
from typing import Final

HIDDEN: Final = frozenset(
    [
        *range(0x200B, 0x2010),  # zero width space and joiners, left-to-right and right-to-left marks
        *range(0x2028, 0x202F),  # line and paragraph separators, bidi embeddings and overrides
        *range(0x2060, 0x2070),  # word joiner, invisible operators, bidi isolates
        *range(0xFE00, 0xFE10),  # variation selectors
        *range(0xE0000, 0xE0200),  # tag characters, more variation selectors
        0x00AD,  # soft hyphen
        0x034F,  # combining grapheme joiner
        0x061C,  # Arabic letter mark
        0x115F,
        0x1160,  # Hangul fillers
        0x17B4,
        0x17B5,
        0x180E,
        0x3164,
        0xFFA0,
        0xFEFF,  # byte order mark
    ]
)
"""Code points with no glyph of their own that hide or reorder their neighbours."""


def inert(text: str) -> str:
    """Show every control, bidi and invisible character as an escape; newline and tab stay."""
    if text.isascii() and text.isprintable():
        return text
    return "".join(c if _harmless(c) else _escape(c) for c in text.replace("\r\n", "\n"))


def inert_line(text: str) -> str:
    """The same for a text that must stay on one line: newlines and tabs are escaped too."""
    return inert(text).replace("\n", "\\n").replace("\t", "\\t")


def _harmless(c: str) -> bool:
    if c in "\n\t":
        return True
    return ord(c) not in HIDDEN and unicodedata.category(c) not in {"Cc", "Cf", "Cs"}


def _escape(c: str) -> str:
    code = ord(c)
    if code < 0x100:
        return f"\\x{code:02x}"
    return f"\\u{code:04x}" if code < 0x10000 else f"\\U{code:08x}"
