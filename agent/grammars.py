"""Grammars of the languages that are parsed, and what each calls its functions, classes and comments.

tree-sitter with one wheel per language: they hold their grammars and need no network. Loaded on first use.
"""

import bisect
import itertools
import re
import time
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from importlib import import_module
from pathlib import PurePosixPath
from typing import TYPE_CHECKING

from agent.errors import EnvironmentMissing

if TYPE_CHECKING:
    from tree_sitter import Language, Node, Query

MAX_BYTES = 200_000
"""A larger file is data or generated, and is not parsed."""
PARSE_S = 1.0
"""Processor seconds: a sound file of MAX_BYTES takes a tenth of that."""

_ENDINGS = {
    "python": "py pyi",
    "javascript": "js mjs cjs jsx",
    "typescript": "ts mts cts",
    "tsx": "tsx",
    "go": "go",
    "rust": "rs",
    "java": "java",
    "c": "c",
    "cpp": "cc cpp cxx h hh hpp hxx",
    "php": "php",
}
_LANGUAGES = {f".{ending}": name for name, endings in _ENDINGS.items() for ending in endings.split()}
_WHEELS = {"tsx": ("typescript", "language_tsx"), "typescript": ("typescript", "language_typescript")}
_WHEELS["php"] = ("php", "language_php")
_HOPELESS = re.compile(rb"(?:\\\r?\n){60}|([^\w\s#/*=+.~!-])\1{2000}")
"""Runs that take a scanner time beyond measure and that no sound file has."""
_BREAK = re.compile(rb"\r\n|\r|\n")


class GrammarMissing(EnvironmentMissing):
    """The grammar of a language cannot be loaded: ADI's installation is not whole."""


@dataclass(frozen=True, slots=True)
class Grammar:
    """Types of nodes in one language."""

    functions: tuple[str, ...]
    """With a body of their own."""
    classes: tuple[str, ...]
    """That can own methods: classes, traits, impl blocks."""
    types: tuple[str, ...] = ()
    """Other definitions worth naming."""
    wrappers: tuple[str, ...] = ()
    """Around a definition, as part of it: exports, templates, decorators."""
    attributes: tuple[str, ...] = ()
    """Beside a definition, as part of it."""
    imports: tuple[str, ...] = ()
    blocks: tuple[str, ...] = ()
    """Around top-level definitions, without a name that counts."""


_JS = Grammar(
    functions=(
        "function_declaration",
        "generator_function_declaration",
        "method_definition",
        "lexical_declaration",
        "variable_declaration",
        "expression_statement",
        "field_definition",
        "pair",
    ),
    classes=("class_declaration",),
    wrappers=("export_statement",),
    attributes=("decorator",),
    imports=("import_statement",),
    blocks=("class_body",),
)
_TS = Grammar(
    functions=(*_JS.functions[:-2], "public_field_definition", "pair"),
    classes=("class_declaration", "abstract_class_declaration", "internal_module", "module"),
    types=("interface_declaration", "enum_declaration", "type_alias_declaration"),
    wrappers=("export_statement", "ambient_declaration"),
    attributes=("decorator",),
    imports=("import_statement",),
    blocks=("class_body", "statement_block"),
)
_C = Grammar(
    functions=("function_definition",),
    classes=(),
    types=("struct_specifier", "enum_specifier", "union_specifier", "type_definition"),
    imports=("preproc_include",),
    blocks=("preproc_ifdef", "preproc_if", "preproc_else", "linkage_specification", "declaration_list"),
)
GRAMMARS = {
    "python": Grammar(
        functions=("function_definition",),
        classes=("class_definition",),
        wrappers=("decorated_definition",),
        attributes=("decorator",),
        imports=("import_statement", "import_from_statement", "future_import_statement"),
        blocks=("block",),
    ),
    "javascript": _JS,
    "typescript": _TS,
    "tsx": _TS,
    "go": Grammar(
        functions=("function_declaration", "method_declaration"),
        classes=(),
        types=("type_spec", "type_alias"),
        imports=("import_declaration",),
    ),
    "rust": Grammar(
        functions=("function_item",),
        classes=("impl_item", "trait_item", "mod_item"),
        types=("struct_item", "enum_item", "union_item", "type_item", "macro_definition"),
        attributes=("attribute_item", "inner_attribute_item"),
        imports=("use_declaration", "extern_crate_declaration"),
        blocks=("declaration_list",),
    ),
    "java": Grammar(
        functions=("method_declaration", "constructor_declaration", "compact_constructor_declaration"),
        classes=(
            "class_declaration",
            "interface_declaration",
            "enum_declaration",
            "record_declaration",
        ),
        imports=("import_declaration",),
        blocks=("class_body", "interface_body", "enum_body", "enum_body_declarations"),
    ),
    "c": _C,
    "cpp": Grammar(
        functions=_C.functions,
        classes=("class_specifier", "struct_specifier"),
        types=("enum_specifier", "union_specifier", "alias_declaration", "type_definition"),
        wrappers=("template_declaration",),
        imports=("preproc_include", "using_declaration"),
        blocks=(*_C.blocks, "namespace_definition", "field_declaration_list"),
    ),
    "php": Grammar(
        functions=("function_definition", "method_declaration"),
        classes=("class_declaration", "interface_declaration", "trait_declaration", "enum_declaration"),
        imports=("namespace_use_declaration",),
        blocks=("declaration_list", "enum_declaration_list", "compound_statement"),
    ),
}
COMMENTS = frozenset({"comment", "line_comment", "block_comment"})


def language_of(path: str) -> str:
    """Language of a file by its suffix, one of GRAMMARS; empty when none of them."""
    return _LANGUAGES.get(PurePosixPath(path).suffix.lower(), "")


@dataclass(slots=True)
class Tree:
    """A file's text, its syntax and where its lines begin."""

    language: str
    data: bytes
    """UTF-8, without a byte order mark."""
    root: "Node"
    starts: list[int]

    @property
    def grammar(self) -> Grammar:
        return GRAMMARS[self.language]

    def line(self, offset: int) -> int:
        """The line that holds a byte, 1-based, as `source.lines_of` counts."""
        return bisect.bisect_right(self.starts, offset)

    def last_line(self, node: "Node") -> int:
        """The last line that holds text of the node."""
        end = node.end_byte
        while end > node.start_byte + 1 and self.data[end - 1 : end].isspace():
            end -= 1
        return self.line(max(node.start_byte, end - 1))

    def bytes(self, node: "Node") -> bytes:
        return self.data[node.start_byte : node.end_byte]

    def text(self, node: "Node | None") -> str:
        """Text of a node; empty without one."""
        return self.bytes(node).decode("utf-8", "surrogateescape") if node else ""

    def find(self, *kinds: str) -> list["Node"]:
        """Nodes of these types in order."""
        from tree_sitter import QueryCursor

        # A progress callback would crash the process here (tree-sitter 0.26.1), and a query of a broken text
        # of nothing but signs takes a time that grows with its square: such a text defines nothing.
        if self.root.has_error and self.root.descendant_count > max(20_000, len(self.data) // 2):
            return []
        found = QueryCursor(_query(self.language, kinds)).captures(self.root)
        return sorted(found.get("node", []), key=lambda node: (node.start_byte, -node.end_byte))


def tree_of(path: str, text: str, language: str = "") -> Tree | None:
    """Syntax of a text; None for an unknown language and what is too large or too strange to parse.

    Raises GrammarMissing.
    """
    language = language or language_of(path)
    data = text.removeprefix("\ufeff").encode("utf-8", "surrogateescape")
    if not language or len(data) > MAX_BYTES or _HOPELESS.search(data):
        return None
    from tree_sitter import Parser

    until = time.thread_time() + PARSE_S
    ticks = itertools.count(1)  # asking for the time costs as much as parsing in between

    def late(*_: object) -> bool:
        return next(ticks) % 64 == 0 and time.thread_time() > until

    try:
        tree = Parser(_grammar(language)).parse(lambda offset, _: data[offset:], progress_callback=late)
    except ValueError:  # it was stopped
        return None
    return Tree(language, data, tree.root_node, [0, *(found.end() for found in _BREAK.finditer(data))])


def inside(node: "Node") -> Iterator["Node"]:
    """The node and everything in it, in order; deep nesting costs no stack."""
    pending = [node]
    while pending:
        node = pending.pop()
        yield node
        pending.extend(reversed(node.children))


@cache
def _grammar(language: str) -> "Language":
    wheel, attribute = _WHEELS.get(language, (language, "language"))
    try:
        from tree_sitter import Language

        return Language(getattr(import_module(f"tree_sitter_{wheel}"), attribute)())
    except (ImportError, AttributeError, ValueError, OSError) as error:
        raise GrammarMissing(
            f"the grammar of {language} cannot be loaded: {error}",
            hint=f"Install ADI again; `pip install tree-sitter-{wheel}` brings this grammar alone.",
        ) from error


@cache
def _query(language: str, kinds: tuple[str, ...]) -> "Query":
    from tree_sitter import Query

    return Query(_grammar(language), " ".join(f"({kind}) @node" for kind in kinds))
