"""Guards: an early return, or an error, for an argument that a function cannot take, tried without any model.

The commonest template of patches that people write (Liu et al. 2019, "TBar", FP2: insert a
checker; Kim et al. 2013, "PAR"). They cost no tokens, only runs; the checks decide as for every candidate.
"""

import ast
import itertools
import re
from collections.abc import Iterable
from dataclasses import dataclass

from agent.source import Span, lines_of, parsed
from memory.records import Failure

ARGUMENTS = 3
"""First arguments that are guarded, a method's own object left out."""
EMPTY = ("", " []", " 0", " None", ' ""', " {}", " ()", " False", " True")
"""What may be returned, the likely ones first; a generator returns nothing."""
REFUSED = ("{} < 0", "not {}", "{} is None", "{} <= 0")
"""Arguments that an error may be raised for."""

_UNRAISED = re.compile(
    r"^(?P<call>.+) gave .+, expected (?P<error>[A-Z]\w*(?:Error|Exception|Exit))$", re.DOTALL
)
"""What a failing example says of a call that should have raised (feedback/example_expect.py)."""

Function = ast.FunctionDef | ast.AsyncFunctionDef


@dataclass(frozen=True, slots=True)
class Guards:
    """Texts that may stand before a line (1-based), such as an `if` and its `return`."""

    line: int
    texts: tuple[str, ...]


def returning(text: str, first: int) -> Guards | None:
    """Early returns for empty arguments of the function that begins at line `first`, decorators counted.

    None where none has a place.
    """
    place = _place(text, first)
    if place is None:
        return None
    values = EMPTY[:1] if _generates(place.function) else EMPTY
    heads = [f"not {name}" for name in place.names]
    return place.guards((head, f"return{value}") for value, head in itertools.product(values, heads))


def raising(text: str, first: int, error: str) -> Guards | None:
    """An error, such as `ValueError('n is negative')`, for what an argument may be; see `returning`."""
    place = _place(text, first)
    if place is None:
        return None
    pairs = itertools.product(REFUSED, place.names)
    return place.guards((condition.format(name), f"raise {error}") for condition, name in pairs)


@dataclass(frozen=True, slots=True)
class _Place:
    """Where the guards of a function stand, and what they look at."""

    function: Function
    line: int
    indent: str
    names: list[str]

    def guards(self, parts: Iterable[tuple[str, str]]) -> Guards:
        indent = self.indent
        return Guards(self.line, tuple(f"{indent}if {head}:\n{indent}    {then}" for head, then in parts))


def _place(text: str, first: int) -> _Place | None:
    tree = parsed(text)
    function = next((node for node in ast.walk(tree) if _begins(node, first)), None) if tree else None
    if not isinstance(function, Function):
        return None
    body = function.body[1:] if ast.get_docstring(function) is not None else function.body
    line = _first_line(body[0]) if body else 0
    if not line or lines_of(text)[line - 1][: body[0].col_offset].strip():
        return None  # only a docstring, or no line of its own
    names = [arg.arg for arg in (*function.args.posonlyargs, *function.args.args)]
    names = [name for name in names if name not in ("self", "cls")][:ARGUMENTS]
    return _Place(function, line, " " * body[0].col_offset, names) if names else None


def raised_in(failure: Failure, path: str, span: Span) -> bool:
    """True when the test failed by an exception that passed through the function."""
    if failure.error.rpartition(".")[2] in ("AssertionError", "TimeoutError"):
        return False
    return any(frame.path == path and span.first <= frame.line <= span.last for frame in failure.frames)


def wanted_errors(task: str, name: str, failures: Iterable[Failure]) -> list[str]:
    """Errors that an example wants of a call of the function, with the message that the task gives them."""
    found: dict[str, None] = {}
    for failure in failures:
        match = _UNRAISED.search(failure.message)
        if match and re.search(rf"\b{re.escape(name)}\(", match["call"]):
            told = re.search(rf"\b{match['error']}\((?P<words>'[^'\n]+'|\"[^\"\n]+\")\)", task)
            found[told[0] if told else match["error"]] = None
    return list(found)


def _begins(node: ast.AST, first: int) -> bool:
    return isinstance(node, Function) and _first_line(node) <= first <= node.lineno


def _first_line(statement: ast.stmt) -> int:
    """Line that the statement begins on, with its decorators."""
    decorators = statement.decorator_list if isinstance(statement, Function | ast.ClassDef) else []
    return min([statement.lineno, *(item.lineno for item in decorators)])


def _generates(function: Function) -> bool:
    """Whether the function itself yields, and not one inside it."""
    waiting: list[ast.AST] = list(function.body)
    while waiting:
        node = waiting.pop()
        if isinstance(node, ast.Yield | ast.YieldFrom):
            return True
        if not isinstance(node, Function | ast.Lambda | ast.ClassDef):
            waiting += ast.iter_child_nodes(node)
    return False
