"""What words after a call say about it: the value it should give, or merely the one it gives."""

import ast
import re
from dataclasses import dataclass, replace

from feedback.example_scan import expression, literal

_KEPT = 400
"""Characters after a call that are looked at, besides the value itself."""
_BE = r"(?:be|returns?|gives?|equal|yield|produce|output|print|become|raise|throw|evaluate to|result in)"
_FILL = r"(?:(?:now|then|also|always|still|just|simply|instead) )?"
_WHAT = (
    r"(?:(?:\s+the|\s+an?)?\s+(?:value|list|string|number|result|tuple|dict(?:ionary)?|array|set|boolean)\b)?"
)
_SHOULD = re.compile(
    rf"(?:(?:should|must|shall|would|ought to|needs? to|has to) {_FILL}{_BE}{_WHAT}"
    rf"|(?:is |was )?expected(?: to {_BE})?(?: (?:output|result|value|is|was))*{_WHAT})\s*:?\s*",
    re.I,
)
_ARROW = re.compile(r"(?:==>|=>|-->|->|→|➞|➜|⇒|⟶|==(?!=))\s*")
_IS = re.compile(
    rf"(?:=(?!=)|is(?: equal to)?\b|(?:will )?(?:returns?|gives?|equals?|yields?|outputs?|produces|prints"
    rf"|raises?|throws|evaluates to|results in|becomes|be)\b){_WHAT}\s*:?\s*",
    re.I,
)
_ERROR = re.compile(
    r"`?(?:an? |the )?`?(?P<error>(?:[a-z_][\w.]*\.)?[A-Z]\w*(?:Error|Exception|Warning|Interrupt|Exit"
    r"|StopIteration|NotFound|Failed|Invalid\w*)|StopIteration)\b(?:\([^()]{0,200}\))?`?"
)
_INSTEAD = re.compile(r"\s*[`,;(]*\s*(?:instead of|rather than|not)\s+", re.I)
_BUT = re.compile(
    r"[^.\n]{0,80}?\b(?:but|while|whereas|yet|and|,|;|\()\s*(?:it |this |we |the result )?", re.I
)
_NEXT = re.compile(r"\s*[`.)]*\s+(?:It|This|The (?:result|answer|output|call)) ", re.I)
_ENDS = re.compile(
    r"\s*(?:$|[.,;:!)](?:\s|$)|[#(—–]|//|--|(?:because|since|as|for|if|when|while|but|on)\b|and `?[\w.]+\()"
)
_MORE = re.compile(r"\s*(?:,|and|or)\s*")
_STEP = re.compile(r"\s*==?\s*")


@dataclass(frozen=True, slots=True)
class Said:
    """What a person says comes of a call."""

    expected: str = ""
    raises: str = ""
    current: str = ""
    sure: bool = False
    """It is told as what should be; else as what is, which in a report of a bug is the wrong value."""
    end: int = 0
    """Index in the text after what was read."""


def said_after(text: str) -> Said | None:
    """What the text right after a call in prose says of it; None when it says nothing that is certain."""
    text = text[: _KEPT * 4]
    start = len(text) - len(text.lstrip(" \t`)"))
    broken = re.match(r"\s*\n\s*(?=[=\-→➞⇒]+>?\s)", text[start:])
    start += broken.end() if broken else 0
    if text[start : start + 1] == "#" or text.startswith("//", start):
        line = text[start:].partition("\n")[0]
        return _at(said_in_comment(line.lstrip("#/ ")), start + len(line))
    if match := _SHOULD.match(text, start):
        return _outcome(text, match.end(), sure=True)
    if match := _ARROW.match(text, start):
        return _outcome(text, match.end(), sure=False)
    if match := _IS.match(text, start):
        return _outcome(text, match.end(), sure=False)
    return None


def said_in_comment(comment: str) -> Said | None:
    """What a comment behind a call says: `7`, `=> 7`, `expected 7`, `TypeError, expected 7`."""
    comment = comment.strip().partition("\n")[0][:_KEPT]
    if match := _SHOULD.search(comment):
        told = _outcome(comment, match.end(), sure=True)
        before = comment[: match.start()].strip(" ,;:-(")
        now = _outcome(before, _lead(before), sure=False) if before else None
        if told is None or (before and now is None and not re.fullmatch(r"(?:this|it|but|result)", before)):
            return None
        return replace(told, current=(now.expected or now.raises) if now else "")
    return _outcome(comment, _lead(comment), sure=False)


def _lead(text: str) -> int:
    match = _ARROW.match(text) or _IS.match(text)
    return match.end() if match else 0


def _at(said: Said | None, end: int) -> Said | None:
    return replace(said, end=end) if said else None


def _outcome(text: str, start: int, sure: bool) -> Said | None:
    """The value or error at `start`, corrected by what follows it in the sentence."""
    if match := _ERROR.match(text, start):
        name = match["error"].rpartition(".")[2]
        first = Said(raises=name, sure=sure, end=match.end())
    else:
        value, rest = literal(text[start:])
        if not value or _doubtful(value):
            return None
        end = len(text) - len(rest)
        value, end = _last_step(value, text, end)
        if not value:
            return None
        first = Said(expected=value, sure=sure, end=end)
    rest = text[first.end :].lstrip("`")
    return _corrected(first, rest) if not sure else first if _finished(rest) else None


def _corrected(first: Said, rest: str) -> Said | None:
    """`gives 3 instead of 4`, `returns 3, expected 4`, `gives 3. It should give 4`: 4, and 3 today."""
    now = first.expected or first.raises
    if match := _INSTEAD.match(rest):
        other = None if "not" in match[0].lower() else _outcome(rest, match.end(), sure=True)
        return replace(other, current=now, end=first.end) if other else None
    for lead in (_BUT, _NEXT):
        if (match := lead.match(rest)) and (should := _SHOULD.match(rest, match.end())):
            other = _outcome(rest, should.end(), sure=True)
            return replace(other, current=now, end=first.end) if other else None
    return first if _finished(rest) else None


def _finished(rest: str) -> bool:
    """Whether the value ends here: `3 times` is no value, and `1 or 2` and `1, 2` are not certain."""
    line = rest.partition("\n")[0].lstrip("`'\"")
    if more := _MORE.match(line):
        value, _after = literal(line[more.end() :])
        if value and not re.match(r"[a-z_][\w.]*\(", value):
            return False
    if _INSTEAD.match(line):
        return True
    return bool(_ENDS.match(line))


def _doubtful(value: str) -> bool:
    """`("a")`: whether a tuple of one or its content is meant, nobody can tell."""
    node = expression(value)
    return value.startswith("(") and not isinstance(node, ast.Tuple)


def _last_step(value: str, text: str, end: int) -> tuple[str, int]:
    """The last value of `19 - 5 - 6 = 8`, when each step gives the same."""
    line = text[end:].partition("\n")[0]
    steps = _STEP.split(line, maxsplit=8)
    if len(steps) == 1 or not re.fullmatch(r"[\d\s.+\-*/%()]*", steps[0]):
        return value, end
    last, rest = literal(steps[-1])
    numbers = [_number(f"{value}{steps[0]}"), *(_number(step) for step in steps[1:-1]), _number(last)]
    same = None not in numbers and len(set(numbers)) == 1
    return (last, len(text) - len(text[end:]) + len(line) - len(rest)) if same else ("", end)


def _number(text: str) -> float | None:
    """Value of sums, differences and products of numbers; None for anything else."""
    node = expression(text.strip()[:200])
    return _folded(node) if node is not None else None


def _folded(node: ast.expr) -> float | None:
    if isinstance(node, ast.Constant) and isinstance(node.value, int | float):
        return float(node.value) if abs(node.value) < 1e15 else None
    if isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.USub):
        inner = _folded(node.operand)
        return None if inner is None else -inner
    if not isinstance(node, ast.BinOp):
        return None
    left, right = _folded(node.left), _folded(node.right)
    if left is None or right is None:
        return None
    if isinstance(node.op, ast.Add):
        return left + right
    if isinstance(node.op, ast.Sub):
        return left - right
    return left * right if isinstance(node.op, ast.Mult) else None


__all__ = ["Said", "said_after", "said_in_comment"]
