"""What a reader should know about a stranger's text: characters that hide, letters that look like Latin ones.

`inert` shows hidden characters as escapes, which are easily overlooked; this names them. Unicode TR 36 and
39, CVE-2021-42574, CVE-2021-42694. The text itself is kept as it came, in the trace and in the patch.
"""

import re
import unicodedata
from collections.abc import Iterable, Iterator
from typing import Final

from agent.inert import HIDDEN

TWINS: Final = frozenset(
    "\u0430\u0435\u043e\u0440\u0441\u0443\u0445\u0456\u0458\u0455\u04bb\u0501\u051b\u051d\u0432\u043a\u043c\u043d\u0442"
    "\u0410\u0412\u0415\u041a\u041c\u041d\u041e\u0420\u0421\u0422\u0425\u0406\u0408\u0405\u04ae"  # Cyrillic
    "\u03bf\u03bd\u03c1\u03b9\u03ba\u03c5\u03f2\u03f3\u03b1"
    "\u0391\u0392\u0395\u0396\u0397\u0399\u039a\u039c\u039d\u039f\u03a1\u03a4\u03a5\u03a7"  # Greek
    "\u0585\u057d\u0578\u0570\u0561\u0581"  # Armenian
    "\u0131\u0261\u01c0"  # dotless i, script g, dental click
)
"""Letters of other alphabets that many fonts draw like a Latin one."""
NAMED: Final = 4
_WORD: Final = re.compile(r"\w+")
_EMOJI_PARTS: Final = frozenset("\u200d\ufe0e\ufe0f")


def doubts(texts: Iterable[str]) -> Iterator[str]:
    """One sentence for each kind of deceit that the texts may hold; nothing for honest text."""
    hidden: dict[str, None] = {}
    words: dict[str, None] = {}
    for text in texts:
        if not text.isascii():
            hidden.update(dict.fromkeys(_hidden(text)))
            words.update(dict.fromkeys(_mixed(text)))
    if hidden:
        yield f"hidden or reordering characters, shown as escapes: {_list(hidden)}"
    if words:
        yield f"letters that look Latin and are not: {_list(words)}"


def _hidden(text: str) -> Iterator[str]:
    """Code points as `U+202E`; those that only join an emoji are left out."""
    for place, c in enumerate(text):
        if ord(c) in HIDDEN or unicodedata.category(c) == "Cf":
            before = text[place - 1] if place else ""
            if not (c in _EMOJI_PARTS and before and (ord(before) > 0x203B and not before.isalpha())):
                yield f"U+{ord(c):04X}"


def _mixed(text: str) -> Iterator[str]:
    """Words that have Latin letters and twins of such: `p\\u0430ypal`, the twins as escapes."""
    for word in _WORD.findall(text):
        if (
            not word.isascii()
            and any(c in TWINS for c in word)
            and any(c.isascii() and c.isalpha() for c in word)
        ):
            yield repr("".join(f"\\u{ord(c):04x}" if c in TWINS else c for c in word[:40])).replace(
                "\\\\u", "\\u"
            )


def _list(found: Iterable[str]) -> str:
    """The first ones, and how many more."""
    names = list(found)
    more = f" and {len(names) - NAMED} more" if len(names) > NAMED else ""
    return ", ".join(names[:NAMED]) + more
