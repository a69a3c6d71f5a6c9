"""Functions and types of a source file, with their owners and lines, in every language of grammars.py."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

from agent.grammars import COMMENTS, Tree, inside, tree_of
from agent.source import Span

if TYPE_CHECKING:
    from tree_sitter import Node

_CLOSURES = frozenset({"arrow_function", "function_expression", "generator_function"})
_ATTRIBUTES = frozenset({"decorator", "attribute_list", "attribute_item", "marker_annotation", "annotation"})
_NAMESPACES = frozenset({"mod_item", "module", "internal_module"})
_NAMES = frozenset({"identifier", "field_identifier", "type_identifier", "destructor_name", "operator_name"})


@dataclass(frozen=True, slots=True)
class Definition:
    """A function or a type of a file."""

    span: Span
    node: "Node"
    outer: "Node"
    """The node with its wrappers: decorators, `export`, `template`."""
    is_function: bool
    depth: int
    """Functions around it."""


def functions(path: str, text: str) -> tuple[Span, ...]:
    """Functions, methods and constructors in order; those that can be read where the file does not parse.

    Empty for a language without a grammar. Raises GrammarMissing.
    """
    tree = tree_of(path, text)
    return tuple(found.span for found in definitions(tree) if found.is_function) if tree else ()


def definitions(tree: Tree) -> Iterator[Definition]:
    """Functions and types in order, those inside others too."""
    grammar = tree.grammar
    around: list[tuple[int, str, bool]] = []
    for node in tree.find(*grammar.functions, *grammar.classes, *grammar.types):
        while around and around[-1][0] <= node.start_byte:
            around.pop()
        is_function = node.type in grammar.functions
        name = function_name(tree, node) if is_function else class_name(tree, node)
        if not name:
            continue
        enclosing = next((item for item in reversed(around) if item[1] or item[2]), None)
        owner = owner_of(tree, node) or (enclosing[1] if enclosing and not enclosing[2] else "")
        if node.type not in _NAMESPACES and node.type != "impl_item":
            depth = sum(item[2] for item in around)
            yield _definition(tree, node, name, owner, is_function, depth)
        around.append((node.end_byte, "" if node.type in _NAMESPACES else name, is_function))


def _definition(tree: Tree, node: "Node", name: str, owner: str, is_function: bool, depth: int) -> Definition:
    outer = wrapped(tree, node)
    first = tree.line(signature_start(outer))
    return Definition(
        Span(name, first, tree.last_line(outer), owner, min(first, tree.line(head_start(tree, outer)))),
        node,
        outer,
        is_function,
        depth,
    )


def wrapped(tree: Tree, node: "Node") -> "Node":
    """The node with the wrappers around it."""
    while node.parent is not None and node.parent.type in tree.grammar.wrappers:
        node = node.parent
    return node


def signature_start(node: "Node") -> int:
    """Where a definition begins behind its decorators and annotations, as an offset in bytes."""
    for child in node.children:
        if child.type in _ATTRIBUTES or child.type in COMMENTS:
            continue
        if child.type == "modifiers" and all(item.type in _ATTRIBUTES for item in child.children):
            continue
        return signature_start(child) if child.type == "modifiers" else child.start_byte
    return node.start_byte


def head_start(tree: Tree, outer: "Node") -> int:
    """Where the comments and attributes directly above a definition begin; its own start without any."""
    start, above = outer.start_byte, outer.prev_sibling
    if above is None and outer.parent is not None and outer.parent.type == "block":
        above = outer.parent.prev_sibling  # Python: a comment before the first statement of a body
    while above is not None and (above.type in COMMENTS or above.type in tree.grammar.attributes):
        begins = tree.data.rfind(b"\n", 0, above.start_byte) + 1
        if tree.data[begins : above.start_byte].strip() or tree.last_line(above) < tree.line(start) - 1:
            break
        start, above = above.start_byte, above.prev_sibling
    return start


def function_name(tree: Tree, node: "Node") -> str:
    """Name of a function; empty for a declaration of something else."""
    match node.type:
        case "lexical_declaration" | "variable_declaration":
            found = [child for child in node.named_children if child.type == "variable_declarator"]
            return _bound(tree, found[0], "name", "value") if len(found) == 1 else ""
        case "expression_statement":
            child = first_child(node)
            target = child and child.type == "assignment_expression" and child.child_by_field_name("left")
            if not child or not target or not _closure(child.child_by_field_name("right")):
                return ""
            return tree.text(target.child_by_field_name("property") or target).strip()
        case "pair":
            return _bound(tree, node, "key", "value")
        case "field_definition":
            return _bound(tree, node, "property", "value")
        case "public_field_definition":
            return _bound(tree, node, "name", "value")
    if tree.language in ("c", "cpp"):
        return tree.text(declared(node))
    return tree.text(node.child_by_field_name("name"))


def _bound(tree: Tree, node: "Node", name: str, value: str) -> str:
    closure = _closure(node.child_by_field_name(value))
    return tree.text(node.child_by_field_name(name)).strip("'\"") if closure else ""


def _closure(node: "Node | None") -> bool:
    return node is not None and node.type in _CLOSURES


def declared(node: "Node") -> "Node | None":
    """The name in a C declarator, however many pointers and scopes are around it."""
    current: Node | None = node
    while current is not None and current.type not in _NAMES:
        if current.type in ("operator_cast", "template_function", "qualified_identifier"):
            current = current.child_by_field_name("name") or current.child_by_field_name("type")
            continue
        inner = current.child_by_field_name("declarator")
        if inner is None and current.type in ("reference_declarator", "parenthesized_declarator"):
            inner = current.named_children[-1] if current.named_child_count else None
        current = inner
    return current


def owner_of(tree: Tree, node: "Node") -> str:
    """Owner that a function names itself: a Go receiver, a C++ scope, a JavaScript prototype."""
    if node.type == "method_declaration" and tree.language == "go":
        receiver = inside(node.child_by_field_name("receiver") or node)
        return next((tree.text(item) for item in receiver if item.type == "type_identifier"), "")
    if node.type == "expression_statement":
        target = tree.text(first_child(node)).partition("=")[0].strip().split(".")
        return target[0] if len(target) > 2 and target[-2] == "prototype" else ""
    if tree.language == "cpp":
        found: Node | None = node
        while found is not None and found.type not in ("qualified_identifier", *_NAMES):
            inner = found.child_by_field_name("declarator")
            if inner is None and found.type == "reference_declarator":
                inner = found.named_children[-1] if found.named_child_count else None
            found = inner
        scope = ""
        while found is not None and found.type == "qualified_identifier":
            scope = tree.text(found.child_by_field_name("scope")).partition("<")[0]
            found = found.child_by_field_name("name")
        return scope
    return ""


def first_child(node: "Node") -> "Node | None":
    """The first named child; None without one, where tree-sitter raises IndexError."""
    return node.named_children[0] if node.named_child_count else None


def class_name(tree: Tree, node: "Node") -> str:
    """Name of a type, for a Rust `impl` block that of the type that it is for; empty without a body."""
    field = "type" if node.type == "impl_item" else "name"
    if node.type == "type_definition":
        field = "declarator"
    if node.type.endswith("_specifier") and node.child_by_field_name("body") is None:
        return ""
    name = tree.text(node.child_by_field_name(field)).partition("<")[0].strip()
    return name.rpartition("::")[2]
