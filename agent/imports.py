"""Imports of a source file, taken apart so that only those that a file lacks are added.

The same name imported twice is an error in Go, Rust and JavaScript; so is an unused import in Go.
"""

import re
from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING

from agent.grammars import Tree, inside

if TYPE_CHECKING:
    from tree_sitter import Node

Leaf = tuple[str, str]
"""What one import brings, by a key, and a statement that imports this alone."""

_PYTHON_TOP = frozenset({"import_statement", "import_from_statement", "future_import_statement"})


def leaves(tree: Tree, node: "Node") -> list[Leaf]:
    """What an import statement brings into the file."""
    if node.type in _PYTHON_TOP and tree.language == "python":
        return list(_python(tree, node))
    if tree.language in ("javascript", "typescript", "tsx"):
        return list(_javascript(tree, node))
    if tree.language == "go":
        specs = [item for item in inside(node) if item.type == "import_spec"]
        return [(" ".join(tree.text(item).split()), f"import {tree.text(item)}") for item in specs]
    if tree.language == "rust" and node.type == "use_declaration":
        public = "pub " if tree.text(node).startswith("pub") else ""
        paths = _rust(tree, node.child_by_field_name("argument"), "")
        return [(path, f"{public}use {path};") for path in paths]
    text = tree.text(node).strip()
    return [(" ".join(text.split()), text)]


def _python(tree: Tree, node: "Node") -> Iterator[Leaf]:
    names = [tree.text(item) for item in node.children_by_field_name("name")]
    if node.type == "import_statement":
        yield from ((f"import {name}", f"import {name}") for name in names)
        return
    module = node.child_by_field_name("module_name")
    origin = tree.text(module) if module else "__future__"
    if any(child.type == "wildcard_import" for child in node.children):
        names = ["*"]
    yield from ((f"from {origin} import {name}", f"from {origin} import {name}") for name in names)


def _javascript(tree: Tree, node: "Node") -> Iterator[Leaf]:
    """By the names that are bound: importing another thing by the same name is an error too."""
    source = tree.text(node.child_by_field_name("source"))
    kind = "import type" if re.match(r"import\s+type\b", tree.text(node)) else "import"
    clause = next((child for child in node.children if child.type == "import_clause"), None)
    if clause is None:
        yield source, tree.text(node)
        return
    for item in clause.named_children:
        if item.type == "named_imports":
            for spec in item.named_children:
                bound = spec.child_by_field_name("alias") or spec.child_by_field_name("name")
                yield tree.text(bound), f"{kind} {{ {tree.text(spec)} }} from {source};"
        else:
            yield tree.text(item).rpartition(" ")[2], f"{kind} {tree.text(item)} from {source};"


def _rust(tree: Tree, node: "Node | None", prefix: str) -> Iterator[str]:
    """Paths of a `use` tree."""
    if node is None:
        return
    if node.type == "scoped_use_list":
        path = tree.text(node.child_by_field_name("path"))
        yield from _rust(tree, node.child_by_field_name("list"), f"{prefix}{path}::")
    elif node.type == "use_list":
        for child in node.named_children:
            yield from _rust(tree, child, prefix)
    else:
        text = " ".join(tree.text(node).split())
        yield prefix.removesuffix("::") if text == "self" and prefix else f"{prefix}{text}"


def lacking(
    old: Iterable[tuple[Tree, "Node"]], new: Iterable[tuple[Tree, "Node"]], bound: set[str], used: str
) -> list[str]:
    """Statements for what the new imports bring and the old ones do not, each once.

    `bound` are names that the file defines itself; `used` is the code that needs the imports.
    """
    known = {key for tree, node in old for key, _ in leaves(tree, node)} | bound
    found: list[str] = []
    for tree, node in new:
        wanted = [leaf for leaf in leaves(tree, node) if leaf[0] not in known]
        if tree.language == "go":
            wanted = [leaf for leaf in wanted if re.search(rf"\b{re.escape(package(leaf[0]))}\.", used)]
        if len(wanted) == len(leaves(tree, node)) and tree.language != "go":
            found += [tree.text(node).strip()] if wanted else []
        else:
            found += [text for _, text in wanted]
        known |= {key for key, _ in wanted}
    return found


def package(spec: str) -> str:
    """Name by which Go code calls an imported package."""
    alias, _, path = spec.rpartition(" ")
    parts = [part for part in path.strip('"`').split("/") if not re.fullmatch(r"v\d+", part)]
    return alias or (parts[-1] if parts else "")


def is_import(tree: Tree, node: "Node") -> bool:
    """True for a statement that only brings names in."""
    if node.type in tree.grammar.imports:
        return True
    if tree.language != "python" or node.type not in ("try_statement", "if_statement"):
        return False
    if "__name__" in tree.text(node.child_by_field_name("condition")):
        return False
    return any(item.type in _PYTHON_TOP for item in inside(node))  # such as `if TYPE_CHECKING:`
