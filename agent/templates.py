"""Fix templates: changes of an expression that a task's own words call for, tried without asking any model.

Absolute values are one of the five operators that suffice in mutation testing (Offutt et al. 1996, "An
Experimental Determination of Sufficient Mutant Operators"); the check for None is the commonest template of
patches that people write (Kim et al. 2013, "PAR"). Of every line they would be too many, so each waits for a
word of the task or of its failures.
"""

import ast
import re
from collections.abc import Callable, Iterator

Text = Callable[[ast.expr], str]
"""The source text of an expression of the line."""
Change = tuple[ast.expr, str]
"""What is replaced, and by what."""


def changes(said: str, node: ast.AST, text: Text) -> Iterator[Change]:
    """What the words call for in one expression, which keeps its place as a whole where it is replaced."""
    for words, template in _TEMPLATES:
        if words.search(said):
            yield from template(node, text)


def _unless_none(node: ast.AST, text: Text) -> Iterator[Change]:
    """A call of one argument that is not made where that is None, which stays None or becomes empty."""
    match node:
        case ast.Call(args=[ast.Name() | ast.Attribute() | ast.Subscript() as argument], keywords=[]):
            told = f"if {text(argument)} is None else {text(node)}"
            yield from ((node, f"({value} {told})") for value in ("None", '""'))


def _absolute(node: ast.AST, text: Text) -> Iterator[Change]:
    """The absolute value of a number that is used."""
    match node:
        case ast.Name(ctx=ast.Load()) | ast.Attribute(ctx=ast.Load()) | ast.Subscript(ctx=ast.Load()):
            yield node, f"abs({text(node)})"


def _caseless(node: ast.AST, text: Text) -> Iterator[Change]:
    """A comparison with words in one case, made in that case."""
    match node:
        case ast.Compare(
            left=left, ops=[ast.Eq() | ast.NotEq() | ast.In() | ast.NotIn()], comparators=[right]
        ):
            words = [item.value for item in ast.walk(right) if isinstance(item, ast.Constant)]
            cases = {_case(word) for word in words}
            if len(cases) == 1 and (case := cases.pop()):
                yield left, f"{text(left)}.{case}()"


def _case(word: object) -> str:
    """`upper` or `lower` for a text in that case; empty for every other value."""
    if not isinstance(word, str) or word.isupper() == word.islower():
        return ""
    return "upper" if word.isupper() else "lower"


_TEMPLATES = (
    (re.compile(r"\bNone\b"), _unless_none),
    (re.compile(r"\bnegative\b|\bminus\b|\babsolute\b", re.IGNORECASE), _absolute),
    (re.compile(r"\bcase\b|\bcapital|\buppercase\b|\blowercase\b", re.IGNORECASE), _caseless),
)
