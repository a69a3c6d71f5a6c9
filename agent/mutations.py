"""Mutations: small standard changes of a suspicious line, tried without asking any model.

The operators are those of mutation testing and of template-based program repair (Debroy and Wong 2010,
"Using Mutation to Automatically Suggest Fixes for Faulty Programs"; Liu et al. 2019, "TBar"): another
comparison or arithmetic operator, one more or one less, another name of the same scope, swapped arguments,
one operand alone. They cost no tokens, only runs; the checks decide as for every other candidate.
"""

import ast
import itertools
import re
import textwrap
from collections.abc import Iterable, Iterator

from agent.localize import lines_of, parsed
from agent.templates import changes

PER_LINE = 48
"""Mutants tried of one line."""
NAMES = 8
"""Other names tried in one place."""

COMPARE: dict[type[ast.cmpop], tuple[str, ...]] = {
    ast.Lt: ("<=", ">", ">="),
    ast.LtE: ("<", ">=", ">"),
    ast.Gt: (">=", "<", "<="),
    ast.GtE: (">", "<=", "<"),
    ast.Eq: ("!=", "<=", ">="),
    ast.NotEq: ("==",),
    ast.In: ("not in",),
    ast.NotIn: ("in",),
    ast.Is: ("is not", "=="),
    ast.IsNot: ("is", "!="),
}
ARITHMETIC: dict[type[ast.operator], tuple[str, ...]] = {
    ast.Add: ("-", "*"),
    ast.Sub: ("+",),
    ast.Mult: ("+", "**", "//"),
    ast.Div: ("//", "*"),
    ast.FloorDiv: ("/", "%"),
    ast.Mod: ("//", "/"),
    ast.Pow: ("*",),
    ast.BitXor: ("&", "|"),
    ast.BitAnd: ("|", "^"),
    ast.BitOr: ("&", "^"),
    ast.LShift: (">>",),
    ast.RShift: ("<<",),
}
PAIRS = (
    ("any", "all"), ("min", "max"), ("append", "extend"), ("append", "insert"), ("startswith", "endswith"),
    ("lstrip", "rstrip"), ("upper", "lower"), ("find", "rfind"), ("index", "rindex"), ("add", "discard"),
    ("keys", "values"), ("values", "items"), ("floor", "ceil"), ("popleft", "pop"), ("first", "last"),
    ("left", "right"), ("prev", "next"), ("before", "after"), ("start", "end"),
)  # fmt: skip
"""Words that are mistaken for each other, also as parts of a longer name."""


_ASSIGNED = re.compile(r"(?:(?<![=!<>])=|\breturn)\s*$")


def mutants(text: str, line: int, said: str = "") -> list[str]:
    """New texts of one line of a Python file, the likely ones first; empty when it holds no whole expression.

    `line` is 1-based. Every text parses in its place, and none is the old one. `said` are words of the task
    and of what fails; what they call for (agent/templates.py) comes first.
    """
    tree = parsed(text)
    if tree is None:
        return []
    lines = lines_of(text)
    if line > len(lines):
        return []
    old = lines[line - 1]
    scope = _scope(tree, line)
    found: dict[str, int] = {}
    for node in _on_line(scope, line):
        called_for = _called_for(node, old, said)
        for first, last, new, rank in itertools.chain(called_for, _changes(node, old, scope)):
            changed = f"{old[:first]}{new}{old[last:]}"
            if changed != old:
                found.setdefault(changed, rank)
    ranked = sorted(found, key=lambda item: found[item])
    return list(itertools.islice(_distinct(lines, line, scope, ranked), PER_LINE))


def _distinct(lines: list[str], line: int, scope: ast.AST, texts: Iterable[str]) -> Iterator[str]:
    """Texts that parse in their place and mean something new; only the scope around them is parsed."""
    first, last = getattr(scope, "lineno", 1), getattr(scope, "end_lineno", len(lines))
    before, after = lines[first - 1 : line - 1], lines[line:last]
    seen = {_meaning([*before, lines[line - 1], *after])}
    for text in texts:
        meaning = _meaning([*before, text, *after])
        if meaning and meaning not in seen:
            seen.add(meaning)
            yield text


def _meaning(lines: list[str]) -> str:
    """The syntax tree as text; empty when it does not parse."""
    tree = parsed(textwrap.dedent("\n".join(lines)))
    return ast.dump(tree) if tree else ""


Change = tuple[int, int, str, int]
"""First and last character, new text, rank."""


def _scope(tree: ast.Module, line: int) -> ast.AST:
    """The innermost function that holds the line, or the module."""
    found: ast.AST = tree
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and (
            node.lineno <= line <= (node.end_lineno or 0)
        ):
            found = node
    return found


def _on_line(scope: ast.AST, line: int) -> Iterator[ast.expr | ast.AugAssign]:
    """Expressions and augmented assignments that begin and end on the line."""
    for node in ast.walk(scope):
        if isinstance(node, ast.expr | ast.AugAssign) and node.lineno == line == node.end_lineno:
            yield node


def _called_for(node: ast.AST, line: str, said: str) -> Iterator[Change]:
    """What the words call for, without brackets where an assignment or a return needs none."""
    for part, new in changes(said, node, lambda item: _text(line, item)):
        first, last = _column(line, part.col_offset), _column(line, part.end_col_offset or 0)
        bare = new.startswith("(") and _ASSIGNED.search(line[:first]) and not line[last:].strip()
        yield first, last, new[1:-1] if bare else new, 0


def _changes(node: ast.expr | ast.AugAssign, line: str, scope: ast.AST) -> Iterator[Change]:
    """What may be changed about one expression. Columns of the tree count bytes of UTF-8."""
    if isinstance(node, ast.AugAssign):
        operators = (f"{new}=" for new in ARITHMETIC.get(type(node.op), ()))
        yield from _operator(line, node.target, node.value, operators, 1)
        return
    first, last = _column(line, node.col_offset), _column(line, node.end_col_offset or 0)
    text = line[first:last]
    match node:
        case ast.Compare(left=left, ops=[op], comparators=[right]):
            yield from _operator(line, left, right, COMPARE.get(type(op), ()), 0)
            yield first, last, f"{_text(line, right)} {_between(line, left, right)} {_text(line, left)}", 5
        case ast.BinOp(left=left, op=kind, right=right):
            yield from _operator(line, left, right, ARITHMETIC.get(type(kind), ()), 1)
            yield from ((first, last, _text(line, side), 2) for side in (right, left))
            yield first, last, f"{_text(line, right)} {_between(line, left, right)} {_text(line, left)}", 3
        case ast.BoolOp(values=[left, right]):
            other = "or" if isinstance(node.op, ast.And) else "and"
            yield from _operator(line, left, right, (other,), 1)
            yield from ((first, last, _text(line, side), 4) for side in (left, right))
        case ast.UnaryOp(operand=operand):
            yield first, last, _text(line, operand), 2
        case ast.Constant(value=value):
            yield from ((first, last, new, 2) for new in _constants(value))
            yield from ((first, last, new, 4) for new in _others("", _variables(scope)))
        case ast.List(elts=[]) | ast.Tuple(elts=[]):
            yield first, last, f"[{text}]", 2
        case ast.Call(func=func, args=args):
            yield from _call(line, func, args)
    yield from _names(node, scope, first, last)
    if isinstance(node, ast.Name | ast.Call | ast.Subscript | ast.Attribute) and _is_value(node):
        yield from ((first, last, f"{text} {sign} 1", 3) for sign in "+-")
        yield from ((first, last, f"({text} {sign} 1)", 3) for sign in "+-")
        yield first, last, f"not {text}", 6


def _call(line: str, func: ast.expr, args: list[ast.expr]) -> Iterator[Change]:
    """Two arguments swapped; the last one left out."""
    spans = [(_column(line, arg.col_offset), _column(line, arg.end_col_offset or 0)) for arg in args]
    for (a, b), (c, d) in itertools.pairwise(spans):
        yield a, d, f"{line[c:d]}{line[b:c]}{line[a:b]}", 2
    if isinstance(func, ast.Name | ast.Attribute) and len(args) == 1:
        first = _column(line, func.col_offset)
        yield first, spans[0][1] + 1, line[spans[0][0] : spans[0][1]], 6


def _names(node: ast.expr, scope: ast.AST, first: int, last: int) -> Iterator[Change]:
    """Another name of the scope; a name's counterpart; another attribute that the scope uses."""
    match node:
        case ast.Name(id=name):
            yield from ((first, last, new, 1) for new in _counterparts(name))
            yield from ((first, last, new, 4) for new in _others(name, _variables(scope)))
        case ast.Attribute(attr=name):
            yield from ((last - len(name), last, new, 1) for new in _counterparts(name))
            used = {item.attr for item in ast.walk(scope) if isinstance(item, ast.Attribute)}
            yield from ((last - len(name), last, new, 4) for new in _others(name, used))


def _variables(scope: ast.AST) -> set[str]:
    """Names that the scope binds: arguments and assigned variables."""
    bound = {node.id for node in ast.walk(scope) if isinstance(node, ast.Name) and _stored(node)}
    return bound | {node.arg for node in ast.walk(scope) if isinstance(node, ast.arg)}


def _stored(node: ast.Name) -> bool:
    return isinstance(node.ctx, ast.Store)


def _others(name: str, names: Iterable[str]) -> list[str]:
    return [other for other in sorted(names) if other != name][:NAMES]


def _counterparts(name: str) -> Iterator[str]:
    for one, other in PAIRS:
        for word, counterpart in ((one, other), (other, one)):
            if word in name.lower().split("_") or name == word:
                yield name.replace(word, counterpart)


def _constants(value: object) -> tuple[str, ...]:
    if isinstance(value, bool):
        return (str(not value),)
    if isinstance(value, int):
        return tuple(str(new) for new in (value + 1, value - 1, 0, 1, -1, 2) if new != value)
    return ()


def _operator(
    line: str, left: ast.expr, right: ast.expr, operators: Iterable[str], rank: int
) -> Iterator[Change]:
    first, last = _column(line, left.end_col_offset or 0), _column(line, right.col_offset)
    gap = line[first:last]
    old = gap.strip(" ()")
    for new in operators:
        if old:
            yield first, last, gap.replace(old, new), rank


def _between(line: str, left: ast.expr, right: ast.expr) -> str:
    return line[_column(line, left.end_col_offset or 0) : _column(line, right.col_offset)].strip(" ()")


def _text(line: str, node: ast.expr) -> str:
    return line[_column(line, node.col_offset) : _column(line, node.end_col_offset or 0)]


def _is_value(node: ast.expr) -> bool:
    """False where the expression is assigned to."""
    return isinstance(getattr(node, "ctx", ast.Load()), ast.Load)


def _column(line: str, offset: int) -> int:
    """Character of a byte offset."""
    return offset if line.isascii() else len(line.encode()[:offset].decode("utf-8", "ignore"))
