"""What source text says about itself, in all languages that ADI knows: its functions, whether it parses.

A language without a grammar has no functions, and its text always counts as sound: the checks decide.
"""

import ast
import re
from typing import TYPE_CHECKING

from agent.definitions import definitions, first_child, functions
from agent.grammars import COMMENTS, GrammarMissing, language_of, tree_of
from agent.merge import merged
from agent.source import Span, lines_of, parsed

if TYPE_CHECKING:
    from tree_sitter import Node

__all__ = [
    "GrammarMissing",
    "Span",
    "code_lines",
    "functions",
    "is_stub",
    "language_of",
    "merged",
    "parses",
    "stub_line",
]

COMMENT = ("#", "//", "/*", "*", "--")
_BLOCKS = frozenset({"block", "statement_block", "compound_statement", "constructor_body"})
_EMPTY = re.compile(
    r"""(?x) pass | \.\.\. | (?:return|yield)(?:\s+(?:None|null|undefined|nil|\(\)))?
    | raise\s+NotImplemented(?:Error)?\b.*
    | (?:std::)?(?:todo|unimplemented|panic)!\s*[(\[{].*
    | throw\s+(?:new\s+)?[\w:\\]*(?:Error|Exception|logic_error|runtime_error)\s*[({].*
    | throw\s+["'].*
    | (?:std::|process\.)?(?:panic|abort|die)\s*\(.*
    """,
    re.DOTALL,
)


def parses(path: str, text: str) -> bool:
    """False when the text is not sound in the language of its path. Raises GrammarMissing.

    Python's own parser decides for Python. A C header may be one of C++ too. Macros can make sound C, C++
    and Rust look broken: compare with the text before a change.
    """
    language = language_of(path)
    if language == "python":
        return parsed(text) is not None
    tree = tree_of(path, text)
    if tree is None or not tree.root.has_error:
        return True
    other = tree_of(path, text, "c") if path.endswith(".h") else None
    return other is not None and not other.root.has_error


def is_stub(path: str, text: str, span: Span) -> bool:
    """True for a function that does nothing yet: no statement, or only ones that say so.

    Such are `pass`, `...`, `return` of nothing, and raising that it is not implemented.
    Raises GrammarMissing.
    """
    return _placeholders(path, text, span) is not None


def stub_line(path: str, text: str, span: Span) -> int | None:
    """1-based line where the body of a stub is to be written; None where no line of its own waits for it.

    Raises GrammarMissing.
    """
    row = next((node.start_point.row for node in _placeholders(path, text, span) or ()), None)
    if row is None or not _EMPTY.fullmatch(lines_of(text)[row].strip().rstrip(";").rstrip()):
        return None
    return row + 1


def _placeholders(path: str, text: str, span: Span) -> "list[Node] | None":
    """The statements of a function that does nothing yet; None for one that does something."""
    tree = tree_of(path, text)
    found = [item for item in definitions(tree) if item.is_function and item.span == span] if tree else []
    body = _body(found[0].node) if found else None
    if tree is None or body is None or _sets_members(body):
        return None
    written = [child for child in body.named_children if child.type not in COMMENTS]
    if written and tree.language == "python" and _is_string(written[0]):
        del written[0]
    empty = all(_EMPTY.fullmatch(tree.text(child).strip().rstrip(";").rstrip()) for child in written)
    return written if empty else None


def _body(node: "Node | None") -> "Node | None":
    """The block of a function; None for one that is a single expression."""
    while node is not None and node.child_by_field_name("body") is None:  # const f = async () => {...}
        fields = (node.child_by_field_name(name) for name in ("value", "right"))
        node = next((found for found in fields if found), first_child(node))
    body = node.child_by_field_name("body") if node else None
    return body if body and body.type in _BLOCKS else None


def _sets_members(body: "Node") -> bool:
    """True for a C++ constructor that works before its body begins."""
    before = body.prev_sibling
    return before is not None and before.type == "field_initializer_list"


def _is_string(node: "Node") -> bool:
    return node.type == "expression_statement" and [child.type for child in node.named_children] == ["string"]


def code_lines(path: str, text: str) -> list[int]:
    """Lines that hold code: no blank lines, comments, imports or documentation strings."""
    lines = lines_of(text)
    documented = _documented(text) if path.endswith(".py") else set()
    return [
        number
        for number, line in enumerate(lines, 1)
        if number not in documented
        and (stripped := line.strip())
        and not stripped.startswith((*COMMENT, "import ", "from ", "package ", "use "))
        and any(char.isalnum() for char in stripped)
    ]


def _documented(text: str) -> set[int]:
    """Lines of string statements, such as docstrings."""
    tree = parsed(text)
    if tree is None:
        return set()
    return {
        line
        for node in ast.walk(tree)
        if isinstance(node, ast.Expr)
        and isinstance(node.value, ast.Constant)
        and isinstance(node.value.value, str)
        for line in range(node.lineno, (node.end_lineno or node.lineno) + 1)
    }
