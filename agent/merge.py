"""Takes from a rewritten Python file only what it changes, so that the rest keeps its very text.

A model that writes a whole file again drops blank lines, comments and docstrings on the way. Here only
top-level statements count: what is the same up to formatting keeps its old text, what differs replaces its
namesake, what is new is added. Nothing is ever removed.
"""

import ast

from agent.source import lines_of, parsed

Span = tuple[int, int]
"""First and last line of a statement, decorators included, 1-based."""


def merged(old: str, new: str) -> str:
    """`old` with the changed and new top-level statements of `new`.

    `new` itself when one of them does not parse, or is nested too deep to be compared.
    """
    before, after = parsed(old), parsed(new)
    if before is None or after is None or not before.body:
        return new
    try:
        same = _same(before, after)
    except RecursionError:
        return new
    known = {key: node for node in before.body for key in _keys(node)}
    lines, written = lines_of(old), lines_of(new)
    replaced: dict[Span, list[str]] = {}
    imports: list[str] = []
    added: list[list[str]] = []
    for node in after.body:
        if id(node) in same or _is_docstring(node):
            continue
        first, last = _span(node)
        text = written[first - 1 : last]
        namesake = next((known[key] for key in _keys(node) if key in known), None)
        if namesake is not None:
            replaced[_span(namesake)] = text
        elif isinstance(node, ast.Import | ast.ImportFrom):
            imports += text
        else:
            added.append(text)
    head = max((_span(node)[1] for node in before.body if _is_head(node)), default=0)
    return "\n".join(_assembled(lines, replaced, imports, head, added)) + "\n"


def _same(before: ast.Module, after: ast.Module) -> set[int]:
    """Ids of the statements of `after` that `before` has too, up to formatting. Raises RecursionError."""
    dumps = {ast.dump(node) for node in before.body}
    return {id(node) for node in after.body if ast.dump(node) in dumps}


def _assembled(
    lines: list[str], replaced: dict[Span, list[str]], imports: list[str], head: int, added: list[list[str]]
) -> list[str]:
    """The old lines with the replacements, imports after line `head`, and additions at the end."""
    result = list(lines)
    for (first, last), text in sorted(replaced.items(), reverse=True):
        result[first - 1 : last] = text
        if last <= head:
            head += len(text) - (last - first + 1)
    result[head:head] = imports
    while result and not result[-1].strip():
        result.pop()
    for text in added:
        result += ["", "", *text]
    return result


def _span(node: ast.stmt) -> Span:
    decorators = getattr(node, "decorator_list", [])
    first = min([node.lineno, *(item.lineno for item in decorators)])
    return first, node.end_lineno or node.lineno


def _keys(node: ast.stmt) -> list[str]:
    """Names that a statement binds, for definitions and plain assignments."""
    if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
        return [node.name]
    targets = node.targets if isinstance(node, ast.Assign) else []
    targets = [node.target] if isinstance(node, ast.AnnAssign) else targets
    return [target.id for target in targets if isinstance(target, ast.Name)]


def _is_docstring(node: ast.stmt) -> bool:
    return isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant)


def _is_head(node: ast.stmt) -> bool:
    """The module's docstring or an import: new imports go after the last of them."""
    return _is_docstring(node) or isinstance(node, ast.Import | ast.ImportFrom)
