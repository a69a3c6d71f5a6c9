"""Edits of a file's bytes that put one definition in the place of another, or beside others."""

import re
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, NamedTuple

from agent.definitions import Definition, class_name, first_child, head_start
from agent.grammars import COMMENTS, Tree
from agent.toplevel import Item, header

if TYPE_CHECKING:
    from tree_sitter import Node

_MODIFIERS = frozenset(
    {
        "modifiers", "visibility_modifier", "function_modifiers", "static_modifier", "final_modifier",
        "abstract_modifier", "accessibility_modifier", "static",
    }
)  # fmt: skip
_SCRIPT = ("javascript", "typescript", "tsx")


class Edit(NamedTuple):
    """Bytes `start` to `end` become `text`."""

    start: int
    end: int
    text: str
    late: bool = True
    """False for what goes before other texts at the same place."""


def applied(data: bytes, edits: Iterable[Edit]) -> bytes:
    """The data with all edits; one that overlaps an earlier one is left out. Line endings are the data's."""
    crlf = data.count(b"\r\n") * 2 > data.count(b"\n")
    parts, end = [], 0
    for edit in sorted(edits, key=lambda item: (item.start, item.late, item.end)):
        if edit.start < end:
            continue
        text = edit.text.encode("utf-8", "surrogateescape")
        parts += [data[end : edit.start], text.replace(b"\n", b"\r\n") if crlf else text]
        end = edit.end
    return b"".join([*parts, data[end:]])


def function(old: Tree, mate: Definition, new: Tree, item: Definition) -> list[Edit]:
    """Replace a function; comments, decorators, modifiers and docstring stay where the new one has none."""
    start, target = _unit(old, mate), _unit(new, item)
    # The docstring first: it lies behind the modifiers, and each change moves what follows.
    data = _with_docstring(old, mate, new, item, new.data[target : _end(new, item)])
    data = _with_modifiers(old, mate, new, item, data)
    text = _moved(data.decode("utf-8", "surrogateescape"), _indent(new, target), _indent(old, start))
    edits = [Edit(start, _end(old, mate), text)]
    above = _above(old, mate, new, item)
    if above:
        end = start if old.language == "python" else mate.outer.start_byte
        edits.append(Edit(head_start(old, mate.outer), end, above))
    return edits


def _unit(tree: Tree, found: Definition) -> int:
    """Where the replaced part begins: behind `export` and decorators, which stay or are changed apart."""
    inner = tree.language == "python" or tree.language in _SCRIPT
    return (found.node if inner else found.outer).start_byte


def _end(tree: Tree, found: Definition) -> int:
    node = found.node if tree.language in _SCRIPT else found.outer
    return node.start_byte + len(tree.bytes(node).rstrip())


def _indent(tree: Tree, offset: int) -> str:
    """White space before an offset, from the beginning of its line."""
    begins = tree.data.rfind(b"\n", 0, offset) + 1
    line = tree.data[begins:offset].decode("utf-8", "surrogateescape")
    return line[: len(line) - len(line.lstrip())]


def _moved(text: str, have: str, want: str) -> str:
    """The lines after the first, from one indentation to another."""
    if have == want:
        return text
    first, *rest = text.split("\n")
    moved = [want + line[len(have) :] if line.strip() and line.startswith(have) else line for line in rest]
    return "\n".join([first, *moved])


def _pieces(tree: Tree, found: Definition) -> tuple[list[str], list[str]]:
    """Comments, and decorators or attributes, above a definition."""
    comments: list[str] = []
    attributes: list[str] = []
    above = found.outer.prev_sibling
    start = head_start(tree, found.outer)
    while above is not None and above.start_byte >= start:
        (comments if above.type in COMMENTS else attributes).insert(0, tree.text(above).rstrip())
        above = above.prev_sibling
    if tree.language == "python" and found.outer.id != found.node.id:
        for child in found.outer.children:
            if child.type in ("decorator", "comment"):
                (attributes if child.type == "decorator" else comments).append(tree.text(child))
    return comments, attributes


def _above(old: Tree, mate: Definition, new: Tree, item: Definition) -> str:
    """What shall stand above a replaced function; empty when that is what stands there."""
    had, got = _pieces(old, mate), _pieces(new, item)
    lines = [*(got[0] or had[0]), *(got[1] or had[1])]
    if not (got[0] or got[1]) or lines == [*had[0], *had[1]]:
        return ""
    indent = _indent(old, _unit(old, mate))
    return "".join(f"{_moved(line, _indent(new, _unit(new, item)), indent)}\n{indent}" for line in lines)


def _with_modifiers(old: Tree, mate: Definition, new: Tree, item: Definition, data: bytes) -> bytes:
    """The old modifiers, such as `public static`, where the new ones are only a part of them."""
    had, got = _modifiers(mate.node), _modifiers(item.node)
    before = b" ".join(old.bytes(node) for node in had)
    after = b" ".join(new.bytes(node) for node in got)
    if not had or not set(after.split()) < set(before.split()):
        return data
    if not got:
        first = item.node.start_byte - _unit(new, item)
        return data[:first] + before + b" " + data[first:]
    start, end = got[0].start_byte - _unit(new, item), got[-1].end_byte - _unit(new, item)
    return data[:start] + before + data[end:]


def _modifiers(node: "Node") -> list["Node"]:
    return [child for child in node.children if child.type in _MODIFIERS]


def _with_docstring(old: Tree, mate: Definition, new: Tree, item: Definition, data: bytes) -> bytes:
    """The old Python docstring where the new function has none."""
    had, got = _docstring(mate.node), _docstring(item.node)
    body = item.node.child_by_field_name("body")
    if old.language != "python" or had is None or got is not None or body is None:
        return data
    first = body.start_byte - _unit(new, item)
    if b"\n" not in data[:first].rpartition(b":")[2]:
        return data  # all on one line
    indent = _indent(new, body.start_byte)
    words = _moved(old.text(had), _indent(old, had.start_byte), indent)
    return data[:first] + f"{words}\n{indent}".encode("utf-8", "surrogateescape") + data[first:]


def _docstring(node: "Node") -> "Node | None":
    body = node.child_by_field_name("body")
    first = first_child(body) if body else None
    return first if first and first.type == "expression_statement" and _only_string(first) else None


def _only_string(node: "Node") -> bool:
    return [child.type for child in node.named_children] == ["string"]


def plain(old: Tree, mate: "Node", new: Tree, item: "Node") -> Edit:
    """Replace a statement; `export` and other wrappers of the old one stay."""
    mine, other = core(mate), core(item)
    text = _moved(new.text(other).rstrip(), _indent(new, other.start_byte), _indent(old, mine.start_byte))
    return Edit(mine.start_byte, mine.start_byte + len(old.bytes(mine).rstrip()), text)


def core(node: "Node") -> "Node":
    """What is inside of `export`, decorators or `template`."""
    while node.type in ("export_statement", "decorated_definition", "template_declaration"):
        fields = (node.child_by_field_name(name) for name in ("declaration", "definition"))
        inner = next((found for found in fields if found), None) or (node.named_children or [node])[-1]
        if inner is node:
            break
        node = inner
    return node


def text_with_head(tree: Tree, outer: "Node") -> str:
    """A definition with the comments and attributes above it, at the margin."""
    start = head_start(tree, outer)
    text = tree.data[start : outer.end_byte].decode("utf-8", "surrogateescape").rstrip()
    return _moved(text, _indent(tree, start), "")


def signature(tree: Tree, found: Definition) -> str:
    """What tells functions of one name apart: the text before the body, without names' owners or spaces."""
    body = found.node.child_by_field_name("body")
    end = body.start_byte if body else found.node.end_byte
    text = tree.data[found.outer.start_byte : end].decode("utf-8", "surrogateescape")
    block = found.node.parent.parent if found.node.parent else None
    trait = header(tree, block) if block and block.type == "impl_item" else ""
    text = re.sub(r"\b(?:public|private|protected|static|final|export|pub|override|inline)\b", "", text)
    return trait + "".join(text.split())


def outermost(tree: Tree, found: Definition) -> int:
    """Where the top-level statement around a definition begins, with what is above it."""
    node = found.outer
    parent = node.parent
    while parent is not None and parent.parent is not None and not _is_open(parent):
        node, parent = parent, parent.parent
    return head_start(tree, node)


def _is_open(node: "Node") -> bool:
    """True for what stands around top-level statements without being one of them."""
    kind, around = node.type, node.parent.type if node.parent else ""
    return kind.startswith("preproc_") or (kind == "declaration_list" and around in _OPEN)


_OPEN = ("namespace_definition", "linkage_specification", "mod_item")


def bodies(tree: Tree) -> dict[str, "Node"]:
    """Bodies of classes by name; of a Rust type that of its own `impl` block."""
    found: dict[str, Node] = {}
    for node in tree.find(*tree.grammar.classes) if tree.grammar.classes else []:
        body = node.child_by_field_name("body")
        of_trait = node.type == "impl_item" and node.child_by_field_name("trait") is not None
        if body is not None and not of_trait and node.type not in ("mod_item", "module", "internal_module"):
            found.setdefault(class_name(tree, node), body)
    return found


def around(found: dict[str, "Node"], offset: int) -> "Node | None":
    """The class that holds an offset, else the first one."""
    holding = [body for body in found.values() if _around(body) <= offset < body.end_byte]
    return next(iter([*reversed(holding), *found.values()]), None)


def _around(body: "Node") -> int:
    return body.parent.start_byte if body.parent else body.start_byte


def at_end(tree: Tree, body: "Node", text: str) -> Edit:
    """Add a member at the end of a class."""
    indent = _member_indent(tree, body)
    braces = tree.language != "python"
    end = body.end_byte - 1 if braces else body.end_byte
    kept = tree.data[:end].rstrip()
    place = max(len(kept), body.start_byte + 1 if braces else body.start_byte)
    lines = "\n".join(f"{indent}{line}" if line.strip() else line for line in text.split("\n"))
    empty = braces and not tree.data[body.start_byte + 1 : end].strip()
    outside = _indent(tree, body.parent.start_byte if body.parent else 0)
    closing = "" if not braces or b"\n" in tree.data[place:end] else f"\n{outside}"
    gap = "\n" if empty else "\n\n"
    return Edit(place, place, f"{gap}{lines}{closing}")


def at_start(tree: Tree, body: "Node", text: str) -> Edit:
    """Add a field at the beginning of a class."""
    indent = _member_indent(tree, body)
    if tree.language == "python":
        first = body.named_children[0]
        if first.type == "expression_statement" and _only_string(first):
            return Edit(first.end_byte, first.end_byte, f"\n{indent}{text}")
        start = head_start(tree, first)
        return Edit(start, start, f"{text}\n{indent}")
    suffix = ";" if tree.language in _SCRIPT and not text.rstrip().endswith(";") else ""
    closing = "" if tree.data[body.start_byte + 1 : body.start_byte + 2] in (b"\n", b"\r") else "\n"
    return Edit(body.start_byte + 1, body.start_byte + 1, f"\n{indent}{text}{suffix}{closing}")


def _member_indent(tree: Tree, body: "Node") -> str:
    for child in body.named_children:
        begins = tree.data.rfind(b"\n", 0, child.start_byte) + 1
        if not tree.data[begins : child.start_byte].strip() and child.start_byte > begins:
            return _indent(tree, child.start_byte)
    return _indent(tree, body.parent.start_byte if body.parent else 0) + "    "


def addition(tree: Tree, text: str, anchor: int) -> Edit:
    """Add a top-level definition before an offset, or at the end where that is -1."""
    text = text.rstrip()
    gap = "\n\n\n" if tree.language == "python" else "\n\n"
    if anchor >= 0:
        return Edit(anchor, anchor, f"{text}{gap}", late=False)
    kept = tree.data.rstrip()
    if tree.language == "php" and kept.endswith(b"?>"):
        kept = kept[:-2].rstrip()
    return Edit(len(kept), len(kept), f"{gap}{text}")


def imported(tree: Tree, old: list["Node"], statements: list[str]) -> Edit:
    """Add imports after the last one of the file, or where its first one belongs."""
    text = "\n".join(statements)
    if old:
        last = old[-1]
        end = last.start_byte + len(tree.bytes(last).rstrip())
        future = text.startswith("from __future__")
        return (
            Edit(old[0].start_byte, old[0].start_byte, f"{text}\n") if future else Edit(end, end, f"\n{text}")
        )
    place = 0
    for node in tree.root.named_children:
        string = tree.language == "python" and node.type == "expression_statement" and _only_string(node)
        if not (string or node.type in _PREAMBLE):
            break
        place = node.start_byte + len(tree.bytes(node).rstrip())
    return Edit(place, place, f"\n\n{text}" if place else f"{text}\n\n")


_PREAMBLE = frozenset(
    {
        "php_tag", "package_clause", "package_declaration", "declare_statement", "inner_attribute_item",
        "hash_bang_line", "namespace_definition",
    }
)  # fmt: skip


def needed(items: list[Item], text: str, is_demonstration: Callable[[Item], bool]) -> list[Item]:
    """Values and statements that the taken code uses, or that are no demonstration of it."""
    kept: list[Item] = []
    pending = list(items)
    while True:
        words = set(re.findall(r"\w+", " ".join([text, *(item.text for item in kept)])))
        more = [item for item in pending if words & set(item.names)]
        if not more:
            break
        kept += more
        pending = [item for item in pending if item not in more]
    shown = [item for item in pending if is_demonstration(item)]
    words = set(re.findall(r"\w+", " ".join(item.text for item in shown)))
    return kept + [item for item in pending if item not in shown and not words & set(item.names)]
