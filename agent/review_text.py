"""A diff as text that a page can show for editing, and back to the very bytes.

A form cannot carry every byte: browsers rewrite line ends, and what hides or steers must be visible. So such
characters stand as escapes such as `\\x0d`, and turn back into what they stood for when the text comes back.
"""

import re
from typing import Final

from agent.errors import UsageError
from agent.inert import inert

LONGEST: Final = 400_000
"""Characters of a diff that is edited on a page."""
_ESCAPE: Final = re.compile(r"\\x[0-9a-f]{2}|\\u[0-9a-f]{4}|\\U[0-9a-f]{8}")


def editable(diff: bytes) -> str:
    """The diff for a text field. Raises UsageError where it could not be told back from what it shows."""
    text = diff.decode("utf-8", "surrogateescape")
    shown = _shown(text)
    if len(shown) > LONGEST:
        raise UsageError("the diff is too long to edit on a page", _ELSEWHERE)
    if _stand_ins(text) & set(_ESCAPE.findall(text)):
        raise UsageError("the diff holds both a hidden character and the text of its escape", _ELSEWHERE)
    return shown


def restored(sent: str, diff: bytes) -> bytes:
    """The bytes of the text that came back, where `diff` is what was shown."""
    known = _stand_ins(diff.decode("utf-8", "surrogateescape"))
    lines = sent.replace("\r\n", "\n").replace("\r", "\n")
    text = _ESCAPE.sub(lambda found: _meant(found[0]) if found[0] in known else found[0], lines)
    return text.encode("utf-8", "surrogateescape")


def _shown(text: str) -> str:
    return "\n".join(inert(line) for line in text.split("\n"))


def _stand_ins(text: str) -> set[str]:
    """Escapes that the shown text has and the text itself has not: each stands for one character."""
    if text.isascii() and text.replace("\n", "").replace("\t", "").isprintable():
        return set()
    return {escape for c in set(text) if c not in "\n\t" and (escape := inert(f"x{c}")[1:]) != c} | {
        found for line in text.split("\n") for found in _marks(line)
    }


def _marks(line: str) -> set[str]:
    """Escapes of marks that are piled too high on one letter; alone they would be left as they are."""
    return set(_ESCAPE.findall(inert(line))) - set(_ESCAPE.findall(line))


def _meant(escape: str) -> str:
    return chr(int(escape[2:], 16))


_ELSEWHERE: Final = "edit it in your own editor: adi review RUN, then e"
