"""Guards: an early return where an argument is empty, tried without asking any model.

The commonest template of patches that people write for an exception (Liu et al. 2019, "TBar", FP2: insert a
checker; Kim et al. 2013, "PAR"). They cost no tokens, only runs; the checks decide as for every candidate.
"""

import ast
import itertools
from dataclasses import dataclass

from agent.localize import lines_of, parsed

ARGUMENTS = 3
"""First arguments that are guarded, a method's own object left out."""
EMPTY = ("", " []", " 0", " None", ' ""', " {}", " ()", " False", " True")
"""What may be returned, the likely ones first; a generator returns nothing."""

Function = ast.FunctionDef | ast.AsyncFunctionDef


@dataclass(frozen=True, slots=True)
class Guards:
    """Texts that may stand before a line (1-based), such as an `if` and its `return`."""

    line: int
    texts: tuple[str, ...]


def guards(text: str, first: int) -> Guards | None:
    """Guards of the function that begins at line `first`, decorators counted; None where none has a place."""
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
    if not names:
        return None
    values = EMPTY[:1] if _generates(function) else EMPTY
    indent = " " * body[0].col_offset
    texts = (
        f"{indent}if not {name}:\n{indent}    return{value}"
        for value, name in itertools.product(values, names)
    )
    return Guards(line, tuple(texts))


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
