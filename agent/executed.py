"""Suspicion by execution, fitted to a file's text: whole statements, and the body of functions first."""

import ast
from collections.abc import Collection, Iterator, Mapping

from feedback.suspicion import IMPORTED

_SHOWN_BY = frozenset({"__repr__", "__str__", "__format__"})
"""Functions that run because a test failed: its report shows values."""
_FUNCTIONS = (ast.FunctionDef, ast.AsyncFunctionDef)


def by_execution(
    scores: Mapping[int, float], tree: ast.Module | None, words: Collection[str]
) -> dict[int, float]:
    """The lines' values (feedback/suspicion.py), above 0, where the text's syntax is known.

    A tracer names one line of a statement: all its lines count. What a module does when it is imported, and
    what only shows values, comes after the rest; `words` are names that the task or its failures say.
    """
    found = dict(scores)
    if tree is None:
        return found
    bodies = set(_bodies(tree))
    shown = {line for node in _functions(tree) if _only_shows(node, words) for line in _lines(node)}
    for line, value in scores.items():
        if line in shown:
            found[line] = min(value, IMPORTED / 2)
        elif line not in bodies:
            found[line] = min(value, IMPORTED)
    for first, last in _statements(tree):
        value = max((found.get(line, 0.0) for line in range(first, last + 1)), default=0.0)
        if value:
            found.update((line, max(value, found.get(line, 0.0))) for line in range(first, last + 1))
    return found


def _functions(tree: ast.Module) -> Iterator[ast.FunctionDef | ast.AsyncFunctionDef]:
    return (node for node in ast.walk(tree) if isinstance(node, _FUNCTIONS))


def _only_shows(node: ast.FunctionDef | ast.AsyncFunctionDef, words: Collection[str]) -> bool:
    return node.name in _SHOWN_BY and node.name not in words and node.name.strip("_") not in words


def _lines(node: ast.stmt | ast.expr) -> range:
    return range(node.lineno, (node.end_lineno or node.lineno) + 1)


def _bodies(tree: ast.Module) -> Iterator[int]:
    """Lines that run when a function is called; a default value in a function's head is not one of them."""
    heads = {id(part) for node in _functions(tree) for part in ast.walk(node.args)}
    for node in ast.walk(tree):
        if isinstance(node, _FUNCTIONS):
            yield from range(node.body[0].lineno, (node.end_lineno or node.lineno) + 1)
        elif isinstance(node, ast.Lambda | ast.GeneratorExp) and id(node) not in heads:
            yield from _lines(node)


def _statements(tree: ast.Module) -> Iterator[tuple[int, int]]:
    """First and last line of statements of several lines, and of the heads of those that hold others."""
    for node in ast.walk(tree):
        if not isinstance(node, ast.stmt):
            continue
        body = getattr(node, "body", None) or getattr(node, "cases", None)
        if not body:
            last = node.end_lineno or node.lineno
        else:
            inner = body[0].pattern if isinstance(body[0], ast.match_case) else body[0]
            last = max(node.lineno, inner.lineno - 1)
        if last > node.lineno:
            yield node.lineno, last
