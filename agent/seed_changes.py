"""Small changes of a Python program that make a defect of it: what a seeded task is made by.

The kinds are those that studies of real defects name beside wrong operators (Pan, Kim and Whitehead 2009,
"Toward an understanding of bug fix patterns"): a statement that is missing, a condition or a part of it, an
operand, a wrong variable, a wrong constant. They are drawn apart from ADI's own mutations
(agent/mutations.py), which would only be reversed.
"""

import ast
import hashlib
from collections.abc import Iterator
from dataclasses import dataclass

Place = tuple[int, int]
"""Line and UTF-8 column, both from 0."""


@dataclass(frozen=True, slots=True)
class Change:
    """A piece of the program and what stands there instead."""

    kind: str
    first: Place
    end: Place
    text: str

    def made(self, source: str) -> str:
        """The program with the change."""
        lines = source.encode().splitlines(keepends=True)  # as the parser counts them: a form feed ends none
        head = b"".join([*lines[: self.first[0]], lines[self.first[0]][: self.first[1]]])
        tail = b"".join([lines[self.end[0]][self.end[1] :], *lines[self.end[0] + 1 :]])
        return (head + self.text.encode() + tail).decode()


def changes(source: str) -> Iterator[Change]:
    """Every change of every function of the program."""
    for function in ast.walk(ast.parse(source)):
        if isinstance(function, ast.FunctionDef):
            names = sorted({item.arg for item in function.args.args} | _assigned(function))
            for node in ast.walk(function):
                yield from _statements(node)
                yield from _conditions(source, node)
                yield from _operands(source, node)
                yield from _constants(node)
                yield from _names(node, names)


def _assigned(function: ast.FunctionDef) -> set[str]:
    stored = (item for item in ast.walk(function) if isinstance(item, ast.Name))
    return {item.id for item in stored if isinstance(item.ctx, ast.Store)}


def _statements(node: ast.AST) -> Iterator[Change]:
    """A statement left out; a block keeps at least one."""
    simple = (ast.Assign, ast.AugAssign, ast.Expr, ast.Return, ast.Raise, ast.If, ast.Continue, ast.Break)
    for block in (getattr(node, "body", ()), getattr(node, "orelse", ())):
        for statement in block if isinstance(block, list) and len(block) > 1 else ():
            docstring = isinstance(statement, ast.Expr) and isinstance(statement.value, ast.Constant)
            if isinstance(statement, simple) and not docstring:
                yield _instead("missing statement", statement, "pass")


def _conditions(source: str, node: ast.AST) -> Iterator[Change]:
    """A condition turned round, or one part of it left out."""
    if isinstance(node, ast.If | ast.While | ast.IfExp):
        text = ast.get_source_segment(source, node.test) or ""
        yield _instead("condition", node.test, f"(not ({text}))" if text else "True")
    if isinstance(node, ast.BoolOp):
        for value in node.values:
            yield _instead("part of a condition", node, ast.get_source_segment(source, value) or "True")


def _operands(source: str, node: ast.AST) -> Iterator[Change]:
    """One operand instead of the whole."""
    if isinstance(node, ast.BinOp):
        for side in (node.left, node.right):
            yield _instead("operand", node, ast.get_source_segment(source, side) or "0")


def _constants(node: ast.AST) -> Iterator[Change]:
    if isinstance(node, ast.Constant) and type(node.value) is int:
        yield _instead("constant", node, str(node.value * 2 + 3))


def _names(node: ast.AST, names: list[str]) -> Iterator[Change]:
    """Another name of the function where one is read."""
    if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Load) and node.id in names:
        for other in names:
            if other not in (node.id, "self"):
                yield _instead("variable", node, other)


def _instead(kind: str, node: ast.stmt | ast.expr, text: str) -> Change:
    assert node.end_lineno is not None and node.end_col_offset is not None  # noqa: PT018 (of a parsed text)
    first, end = (node.lineno - 1, node.col_offset), (node.end_lineno - 1, node.end_col_offset)
    return Change(kind, first, end, text)


def drawn(source: str, seed: str) -> list[Change]:
    """The changes in an order of the hash's, the kinds taking turns so that frequent ones do not rule."""
    kinds: dict[str, list[Change]] = {}
    for change in sorted(set(changes(source)), key=lambda item: _digest(f"{seed} {item}")):
        kinds.setdefault(change.kind, []).append(change)
    turns = sorted(kinds, key=lambda kind: _digest(f"{seed} {kind}"))
    most = max(map(len, kinds.values()), default=0)
    return [kinds[kind][turn] for turn in range(most) for kind in turns if turn < len(kinds[kind])]


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


def functions(source: str) -> list[tuple[int, int, str]]:
    """First and last line, from 1, and qualified name of every outermost function or method."""
    found = list[tuple[int, int, str]]()

    def visit(nodes: list[ast.stmt], within: str) -> None:
        for node in nodes:
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                found.append((node.lineno, node.end_lineno or node.lineno, f"{within}{node.name}"))
            elif isinstance(node, ast.ClassDef):
                visit(node.body, f"{within}{node.name}.")

    visit(ast.parse(source).body, "")
    return found
