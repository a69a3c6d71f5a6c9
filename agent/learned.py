"""Fix templates that were learned from accepted changes, applied to other lines without asking any model.

A change of one line becomes a pattern: the tokens that changed, with their neighbours or without; what stays
between two changed places is a hole that binds an expression. Lines that were only added are tried as they
are. Learning edit patterns from past fixes: Bader et al. 2019, "Getafix: Learning to Fix Bugs Automatically".
"""

import difflib
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Final

from feedback.hunks import added, regions

MOST: Final = 3
"""Lines removed or added of a change that is small enough to be tried elsewhere."""
RENAMED: Final = 6
"""Variants of added lines for another function's names."""
LINE: Final = 300
"""Characters of a line that a change is tried on."""
NEIGHBOURS: Final = (3, 1, 0)
"""Tokens kept on either side of what changed, in the order in which patterns are tried."""
_TOKEN: Final = re.compile(
    r"\"(?:[^\"\\]|\\.)*\"|'(?:[^'\\]|\\.)*'|[A-Za-z_]\w*|\d+(?:\.\d+)?|==|!=|<=|>=|//|\*\*|->|:=|&&|\|\||\s+|.",
    re.S,
)
_NAME: Final = re.compile(r"[A-Za-z_]\w*\Z")
KEYWORDS: Final = frozenset(
    re.findall(
        r"\w+",
        "and as assert async await break case class const continue def del elif else except false finally for"
        " from function if import in is lambda let new nonlocal not null or pass raise return self this throw"
        " true try var while with yield None True False",
    )
)
_GAP: Final = (
    r"(?:[^()\[\]{}]|\((?:[^()]|\((?:[^()]|\([^()]*\))*\))*\)|\[(?:[^\[\]]|\[[^\[\]]*\])*\]|\{[^{}]*\})+?"
)
"""An expression whose brackets close, a few of them inside each other."""
_HOLE: Final = "\0"


@dataclass(frozen=True, slots=True)
class Change:
    """One small change of a text: lines that went and lines that came, without their common indentation."""

    before: tuple[str, ...]
    after: tuple[str, ...]


def changes(old: str, new: str) -> list[Change]:
    """The small changes between two texts, in their order; larger ones are left out."""
    before, after = old.splitlines(), new.splitlines()
    found = []
    for tag, i1, i2, j1, j2 in difflib.SequenceMatcher(None, before, after, autojunk=False).get_opcodes():
        if tag == "equal":
            continue
        if _is_small(before[i1:i2], after[j1:j2]):
            found.append(Change(_dedented(before[i1:i2]), _dedented(after[j1:j2])))
    return found


def changes_in(diff: str) -> list[tuple[str, Change]]:
    """Path and small changes of a unified diff, in their order; the large ones are left out."""
    return [
        (region.path, Change(_dedented(region.gone), _dedented(region.come)))
        for region in regions(diff)
        if _is_small(region.gone, region.come)
    ]


def _is_small(gone: Sequence[str], come: Sequence[str]) -> bool:
    return len(gone) <= MOST and len(come) <= MOST and any(line.strip() for line in come)


def difference(first: str, second: str) -> list[Change]:
    """What one diff adds in place of what another one adds."""
    before, after = ("\n".join(added(diff)) for diff in (first, second))
    return [change for change in changes(before, after) if change.before]


def _dedented(lines: Sequence[str]) -> tuple[str, ...]:
    widths = [len(line) - len(line.lstrip()) for line in lines if line.strip()]
    return tuple(line[min(widths, default=0) :].rstrip() for line in lines)


def applied(change: Change, line: str) -> list[str]:
    """What the change makes of another line, the closest analogy first; empty when it does not fit it.

    A change of one line by one line only; see `inserted` for the others.
    """
    if len(change.before) != 1 or len(change.after) != 1:
        return []
    found: dict[str, None] = {}
    if len(line) > LINE:
        return []
    for neighbours in NEIGHBOURS:
        for holes in (False, True):
            pattern = _pattern(change, neighbours, holes)
            for text in _rewritten(*pattern, line) if pattern else ():
                if text != line:
                    found.setdefault(text)
    return list(found)


def as_wanted(text: str, wanted: Sequence[Change]) -> str:
    """The text with every line changed that a change fits, closest analogy; empty when none does."""
    lines = text.split("\n")
    changed = [next((new[0] for each in wanted if (new := applied(each, line))), line) for line in lines]
    return "\n".join(changed) if changed != lines else ""


def inserted(change: Change, indent: str) -> str:
    """The lines that the change only adds, at another indentation; empty when it also removes some."""
    if change.before:
        return ""
    return "\n".join(indent + line if line else line for line in change.after)


def renamed(text: str, names: Sequence[str]) -> list[str]:
    """The text for another function: one of its names replaced by each of these, where it lacks that one."""
    tokens = ["", *_TOKEN.findall(text), ""]
    own = [
        token
        for before, token, after in zip(tokens, tokens[1:], tokens[2:], strict=False)
        if _NAME.match(token)
        and token[0].islower()
        and token not in KEYWORDS
        and before != "."
        and after != "("
    ]
    variants = [
        re.sub(rf"(?<![\w.]){re.escape(old)}(?!\w)", new, text)
        for old in dict.fromkeys(own)
        for new in names
        if new not in own
    ]
    return variants[:RENAMED]


def parameters(head: str) -> list[str]:
    """Names between the first brackets of a function's first line, with types before or after them."""
    inside = re.search(r"\(([^()]*)", head)
    parts = inside[1].split(",") if inside else []
    words = [re.findall(r"[A-Za-z_]\w*", re.split(r"[:=]", part)[0]) for part in parts]
    return [each[-1] for each in words if each and each[-1] not in KEYWORDS]


def _pattern(change: Change, neighbours: int, holes: bool) -> tuple[re.Pattern[str], list[str]] | None:
    """What to look for, and what replaces it: literal pieces, and names of groups after a NUL."""
    old, new = _tokens(change.before[0].strip()), _tokens(change.after[0].strip())
    codes = difflib.SequenceMatcher(None, old, new, autojunk=False).get_opcodes()
    changed = [code for code in codes if code[0] != "equal"]
    first, last = changed[0][1], changed[-1][2]
    literal = [token for code in changed for token in old[code[1] : code[2]]]
    if not holes and not neighbours and not any(_NAME.match(token) for token in literal):
        return None  # a bare sign fits everywhere: that is what mutations are for
    if holes and not any(token.strip() for token in (*literal, *_edges(old, first, last, neighbours))):
        return None
    look, put, groups = "", list[str](), 0
    for tag, i1, i2, j1, j2 in codes:
        if tag != "equal":
            look += _regex(old[i1:i2])
            put += new[j1:j2]
            continue
        inside = i1 >= first and i2 <= last
        part = old[i1:i2] if inside else old[max(i1, first - neighbours) : min(i2, last + neighbours)]
        for token in _parts(part) if inside and holes else part:
            if token == _HOLE:
                groups += 1
                look += f"(?P<g{groups}>{_GAP})"
                put.append(f"\0g{groups}")
                continue
            if not inside and holes and _NAME.match(token) and token not in KEYWORDS and token not in literal:
                groups += 1
                look += rf"(?P<g{groups}>(?<!\w)[A-Za-z_]\w*)"
                put.append(f"\0g{groups}")
            else:
                look += _regex([token])
                put.append(token)
    # A hole ends where the line did; without an end it would bind a single character.
    return re.compile(look + (r"\s*$" if last == len(old) else "")), put


def _parts(tokens: Sequence[str]) -> list[str]:
    """What stays between two changed places: signs at its ends as they are, and a hole for the rest."""
    first, last = 0, len(tokens)
    while first < last and not re.search(r"\w", tokens[first]):
        first += 1
    while last > first and not re.search(r"\w", tokens[last - 1]):
        last -= 1
    return [*tokens[:first], *([_HOLE] if first < last else ()), *tokens[last:]]


def _edges(old: Sequence[str], first: int, last: int, neighbours: int) -> list[str]:
    return [*old[max(0, first - neighbours) : first], *old[last : last + neighbours]]


def _regex(tokens: Sequence[str]) -> str:
    """The tokens as they are; a blank is any blanks, and a word is a whole one."""
    return "".join(
        r"\s*"
        if not token.strip()
        else rf"(?<!\w){re.escape(token)}(?!\w)"
        if _NAME.match(token)
        else re.escape(token)
        for token in tokens
    )


def _rewritten(look: re.Pattern[str], put: Sequence[str], line: str) -> Iterator[str]:
    for found in look.finditer(line):
        filled = [found[token[1:]] if token.startswith("\0") else token for token in put]
        yield line[: found.start()] + "".join(filled) + line[found.end() :]


def _tokens(line: str) -> list[str]:
    """Tokens of a line; runs of blanks are one blank, so that layout does not decide."""
    return [token if token.strip() else " " for token in _TOKEN.findall(line)]
