"""Where a completion ends: with the block that the cursor is in, and before what follows the cursor anyway.

A small model writes on: after the function another one, or once more the lines that stand below. What is cut
away is judged by indentation, by brackets and by the text after the cursor, without parsing: code with a hole
in it does not parse.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass

INDENTED = frozenset({"python"})
"""Languages whose blocks end where a line is indented less."""
_OPEN, _CLOSE = "([{", ")]}"
_SIGNS = frozenset(_OPEN + _CLOSE)
_PAIRS = dict(zip(_CLOSE, _OPEN, strict=True))
_CODE = re.compile(
    r'"""[\s\S]*?(?:"""|\Z)|\'\'\'[\s\S]*?(?:\'\'\'|\Z)|"(?:\\.|[^"\\\n])*"?'
    r"|'(?:\\.|[^'\\\n])*'?|`(?:\\.|[^`\\])*`?|/\*[\s\S]*?(?:\*/|\Z)|//[^\n]*|[()\[\]{}]"
)
_CODE_HASH = re.compile(_CODE.pattern.replace("//[^\\n]*", "#[^\\n]*").replace(r"/\*[\s\S]*?(?:\*/|\Z)|", ""))
_CONTINUES = re.compile(r"\s*(?:[)\]}]|(?:else|elif|except|finally|catch|case|default)\b)")
"""A line that goes on with the statement above it."""
LEAST = 3
"""Characters, blanks not counted, of a repeated end: fewer occur by chance."""


@dataclass(frozen=True, slots=True)
class Hole:
    """What stands around the cursor."""

    prefix: str
    suffix: str
    language: str
    """As agent/grammars.py names it; empty when unknown."""

    @property
    def before(self) -> str:
        """The cursor's line up to it."""
        return self.prefix[self.prefix.rfind("\n") + 1 :]

    @property
    def after(self) -> str:
        """The rest of the cursor's line."""
        return self.suffix.partition("\n")[0].rstrip("\r")

    @property
    def inside_a_line(self) -> bool:
        """True when more than closing signs follows what stands on the line: only the line is completed."""
        return bool(self.before.strip() and self.after.strip(" \t)]}\"'`;:,"))


def stops(hole: Hole) -> tuple[str, ...]:
    """Texts that end the answer wherever they come; they only save tokens, `cut` decides."""
    if hole.inside_a_line:
        return ("\n",)
    if hole.language in INDENTED and _block(hole)[1] > 0:
        return ("\n\n\n", "\ndef ", "\nclass ", "\nif __name__")
    return ("\n\n\n",)


def cut(text: str, hole: Hole) -> str:
    """The part of an answer that belongs at the cursor; may be empty."""
    text = text.replace("\r\n", "\n")
    if hole.inside_a_line:
        text = text.partition("\n")[0]
    text = _balanced(text, hole)
    text = _in_block(text, hole)
    text = _unrepeated(text, hole)
    if "\n" in text and (not hole.after or hole.after.isspace()):
        text = text.rstrip()
    return text.replace("\n", "\r\n") if "\r\n" in hole.prefix or "\r\n" in hole.suffix else text


def _brackets(text: str, language: str) -> Iterator[tuple[int, str]]:
    """Brackets of a text that are in no string or comment, as (offset, bracket)."""
    pattern = _CODE_HASH if language in INDENTED else _CODE
    for found in pattern.finditer(text):
        if found[0] in _SIGNS:
            yield found.start(), found[0]


def _balanced(text: str, hole: Hole) -> str:
    """Ends before a bracket that closes what the text after the cursor closes already.

    In languages of braces it ends behind the brace that closes the cursor's block.
    """
    waiting: list[str] = []
    for _, sign in _brackets(hole.prefix, hole.language):
        if sign in _OPEN:
            waiting.append(sign)
        elif waiting and waiting[-1] == _PAIRS[sign]:
            waiting.pop()
    free = len(waiting) - _closed_by(hole)
    opened: list[str] = []
    for offset, sign in _brackets(text, hole.language):
        if sign in _OPEN:
            opened.append(sign)
        elif opened:
            opened.pop()
        elif free <= 0 or not waiting or waiting[-1] != _PAIRS[sign]:
            return text[:offset]
        else:
            free -= 1
            waiting.pop()
            if sign == "}" and hole.language not in INDENTED:
                return text[: offset + 1] + _line_end(text[offset + 1 :])
    return text


def _closed_by(hole: Hole) -> int:
    """Brackets open at the cursor that the text after it closes."""
    depth = closed = 0
    for _, sign in _brackets(hole.suffix, hole.language):
        if sign in _OPEN:
            depth += 1
        elif depth:
            depth -= 1
        else:
            closed += 1
    return closed


def _line_end(rest: str) -> str:
    """What still belongs to a closing brace: signs such as `);` on its line."""
    found = re.match(r"[ \t]*[)\];,]*", rest)
    return found[0] if found else ""


def _in_block(text: str, hole: Hole) -> str:
    """Ends where a line leaves the block, and at two blank lines."""
    lines = text.split("\n")
    base, floor = _block(hole, lines[0])
    blank = False
    for number, line in enumerate(lines[1:], 1):
        if not line.strip():
            if blank:
                return "\n".join(lines[: number - 1])
            blank = True
            continue
        width, continues = _width(line), bool(_CONTINUES.match(line))
        closes = line.lstrip()[0] in _CLOSE  # `_balanced` has judged it
        outside = width < floor and not closes and not (continues and width >= base)
        if outside or (floor == 0 and blank and width == 0 and not continues):
            return "\n".join(lines[:number]).rstrip("\n")
        blank = False
    return text


def _block(hole: Hole, first: str = "") -> tuple[int, int]:
    """Columns of the statement that the cursor's block belongs to, and the least of the block's own lines.

    `first` is what is written on the cursor's line.
    """
    before = hole.before
    if not before:
        above = next((line for line in reversed(hole.prefix.split("\n")) if line.strip()), "")
        return (_width(above), _width(above) + 1) if _opens(above) else (0, 0)
    width = _width(before)
    return width, width + (before.strip() != "" and _opens(before + first))


def _opens(line: str) -> bool:
    return line.rstrip().endswith((":", "{", "(", "["))


def _width(line: str) -> int:
    """Indentation in columns, a tab as four."""
    blanks = line[: len(line) - len(line.lstrip())]
    return len(blanks.expandtabs(4))


def _unrepeated(text: str, hole: Hole) -> str:
    """Ends before what the text after the cursor says again."""
    rest = hole.suffix.replace("\r\n", "\n")
    for size in range(min(len(text), len(rest)), 0, -1):
        same = rest[:size]
        if text.endswith(same) and len("".join(same.split())) >= LEAST:
            text = text[:-size]
            break
    below = [line.strip() for line in rest.split("\n")[1:] if line.strip()][:2]
    if not below or len(below[0]) < LEAST:
        return text
    lines = text.split("\n")
    for number, line in enumerate(lines[1:], 1):
        if line.strip() != below[0]:
            continue
        following = [later.strip() for later in lines[number + 1 :] if later.strip()][:1]
        if not following or following == below[1:]:
            return "\n".join(lines[:number])
    return text
