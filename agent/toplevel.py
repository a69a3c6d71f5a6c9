"""The top-level statements of a source file, sorted by what a merge does with them."""

import ast
import re
import textwrap
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from agent.definitions import Definition, declared, definitions, head_start
from agent.grammars import COMMENTS, Tree
from agent.imports import is_import
from agent.source import parsed

if TYPE_CHECKING:
    from tree_sitter import Node

Kind = Literal["import", "function", "type", "value", "statement", "skipped"]

_SKIPPED = frozenset(
    {
        "package_clause", "package_declaration", "php_tag", "php_end_tag", "text_interpolation", "text",
        "declare_statement", "empty_statement", "ERROR", ";", "hash_bang_line", "export_clause",
    }
)  # fmt: skip
_BINDERS = {
    "variable_declarator": "name", "const_spec": "name", "var_spec": "name", "const_item": "name",
    "static_item": "name", "type_spec": "name", "preproc_def": "name", "preproc_function_def": "name",
    "assignment": "left", "assignment_expression": "left", "alias_declaration": "name", "enumerator": "name",
    "type_alias_declaration": "name", "init_declarator": "declarator", "declaration": "declarator",
    "field_declaration": "declarator", "field_definition": "property", "public_field_definition": "name",
    "function_signature_item": "name", "type_definition": "declarator", "property_element": "name",
    "const_element": "name",
}  # fmt: skip
_WRITING = re.compile(
    r"\b(?:print\w*|console\.\w+|assert[\w.]*|main|unittest\.\w+|doctest\.\w+|expect|describe|it|test"
    r"|var_dump|input)\s*\(|__name__|require\.main|^\s*(?:echo|assert)\b"
)


@dataclass(frozen=True, slots=True)
class Item:
    """A top-level statement, or a member of a class that is no function."""

    tree: Tree
    node: "Node"
    kind: Kind
    names: tuple[str, ...] = ()

    @property
    def text(self) -> str:
        return self.tree.text(self.node)

    @property
    def start(self) -> int:
        """Where it begins, with the comments directly above."""
        return head_start(self.tree, self.node)

    @property
    def whole(self) -> str:
        """Its text with the comments directly above."""
        after = self.node.next_sibling
        end = after.end_byte if after is not None and after.type == ";" else self.node.end_byte
        return self.tree.data[self.start : end].decode("utf-8", "surrogateescape")


def items(tree: Tree, known: dict[int, Definition]) -> list[Item]:
    """Top-level statements in order; those in namespaces and conditional blocks too."""
    found: list[Item] = []
    pending = list(reversed(tree.root.children))
    while pending:
        node = pending.pop()
        body = node.child_by_field_name("body") if node.type == "namespace_definition" else None
        if body is not None or node.type in _blocks(tree):
            pending.extend(reversed((body or node).children))
        elif node.type not in COMMENTS and node.is_named:
            found.append(classified(tree, node, known))
    return found


def _blocks(tree: Tree) -> frozenset[str]:
    return frozenset(tree.grammar.blocks) if tree.language in ("c", "cpp") else frozenset()


def classified(tree: Tree, node: "Node", known: dict[int, Definition]) -> Item:
    """An item of its kind; `known` are the definitions of the file by the ids of their outer nodes."""
    if node.type in _SKIPPED or node.has_error:
        return Item(tree, node, "skipped")
    if is_import(tree, node):
        return Item(tree, node, "import")
    definition = known.get(node.id)
    if definition:
        return Item(tree, node, "function" if definition.is_function else "type", (definition.span.name,))
    if node.type == "impl_item":
        return Item(tree, node, "type", (header(tree, node),))
    if node.type in ("mod_item", "namespace_definition"):
        return Item(tree, node, "skipped")
    names = tuple(dict.fromkeys(_names(tree, node)))
    if node.type == "export_statement" and not names:
        return Item(tree, node, "skipped")
    if any("exports" in name for name in names):
        return Item(tree, node, "skipped")
    if names:
        return Item(tree, node, "value", names)
    return Item(tree, node, "statement" if node.type == "expression_statement" else "skipped")


def header(tree: Tree, impl: "Node") -> str:
    """A Rust `impl` block by its trait and type: `impl Display for Point`."""
    trait = tree.text(impl.child_by_field_name("trait")).partition("<")[0].rpartition("::")[2]
    kind = tree.text(impl.child_by_field_name("type")).partition("<")[0].rpartition("::")[2]
    return f"impl {trait} for {kind}" if trait else f"impl {kind}"


def _names(tree: Tree, node: "Node") -> Iterator[str]:
    """Names that a declaration or an assignment binds; not those bound inside of a function or a block."""
    pending = [node]
    while pending:
        current = pending.pop()
        field = _BINDERS.get(current.type)
        if field:
            for bound in current.children_by_field_name(field) or current.named_children[:1]:
                name = bound.child_by_field_name("name") or declared(bound) or bound
                yield tree.text(name).lstrip("$")
            continue
        if "block" in current.type or "body" in current.type or current.type.endswith("_call"):
            continue
        pending.extend(reversed(current.named_children))


def is_demonstration(item: Item, functions: set[str]) -> bool:
    """True for a statement that shows or tests what the file defines: no part of it."""
    if item.kind == "statement" and _WRITING.search(item.text):
        return True
    return any(name in functions for name in re.findall(r"(\w+)\s*\(", item.text))


def outers(tree: Tree) -> dict[int, Definition]:
    """Definitions that are not inside of functions, by the ids of their outer nodes."""
    return {found.outer.id: found for found in definitions(tree) if not found.depth}


def same(first: tuple[Tree, "Node"], second: tuple[Tree, "Node"]) -> bool:
    """True when two nodes are the same up to comments and formatting."""
    if first[0].language == "python":
        dumps = [_dumped(tree, node) for tree, node in (first, second)]
        if all(dumps):
            return dumps[0] == dumps[1]
    return tokens(*first) == tokens(*second)


def _dumped(tree: Tree, node: "Node") -> str:
    """Python's own view of a statement, so that quotes and brackets count for nothing; empty without one."""
    begins = tree.data.rfind(b"\n", 0, node.start_byte) + 1
    indent = tree.data[begins : node.start_byte]
    text = textwrap.dedent(("" if indent.strip() else indent.decode()) + tree.text(node))
    module = parsed(text)
    try:
        return ast.dump(module) if module else ""
    except RecursionError:
        return ""


def tokens(tree: Tree, node: "Node") -> list[bytes]:
    """Words and signs of a node in order, without its comments."""
    found: list[bytes] = []
    end = node.start_byte
    pending = [node]
    while pending:
        current = pending.pop()
        if current.type in COMMENTS or not current.children:
            between = tree.data[end : current.start_byte].strip()
            text = b"" if current.type in COMMENTS else tree.bytes(current).strip()
            found += [part for part in (between, text) if part]
            end = current.end_byte
        else:
            pending.extend(reversed(current.children))
    return found
