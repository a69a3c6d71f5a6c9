"""Takes from an answer only what it changes in a file, so that the rest keeps its very text.

A model that writes a file again drops comments and blank lines on the way; often it writes only one function,
with what that needs. Definitions replace their namesakes, what is new is added, nothing is ever removed. What
is the same up to formatting keeps its text; comments, decorators and modifiers stay where the answer has
none. A `main`, printing and tests that the file does not have are left out.
"""

from collections import defaultdict
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from agent import replace
from agent.definitions import Definition, definitions, owner_of
from agent.grammars import Tree, language_of, tree_of
from agent.imports import lacking
from agent.replace import Edit, applied
from agent.source import lines_of
from agent.toplevel import Item, classified, is_demonstration, items, outers, same, tokens
from feedback.verdict import is_test_path

if TYPE_CHECKING:
    from tree_sitter import Node

_WRAPPED = {
    "java": "class {name} {{\n{text}\n}}\n",
    "php": "<?php\nclass {name} {{\n{text}\n}}\n",
    "javascript": "class {name} {{\n{text}\n}}\n",
    "typescript": "class {name} {{\n{text}\n}}\n",
    "tsx": "class {name} {{\n{text}\n}}\n",
}
_BARE = "AnswerWithoutClass"
_FIRST = ("python", "javascript", "typescript", "tsx")
"""Languages where the order of definitions counts at times: it is kept."""
_OVERLOADS = ("java", "cpp")

Key = tuple[str, str]
"""Owner and name of a function."""
Functions = dict[Key, list[Definition]]


def merged(path: str, old: str, new: str) -> str:
    """`old` with the changed and the new definitions of `new`, an answer's whole file or a part of it.

    `new` itself when `old` is empty or does not parse, and in a language without a grammar. Empty when
    nothing in `new` can be placed, or the result would not parse though `old` does. Raises GrammarMissing.
    """
    if not old.strip() or not language_of(path):
        return new
    if new.strip() == old.strip():
        return old
    before = tree_of(path, old)
    if before is None or (before.root.has_error and not _readable(before)):
        return new
    after = _answer(path, new)
    if after is None:
        return ""
    merge = _Merge(before, after, is_test_path(path))
    try:
        placed = merge.run()
    except RecursionError:  # imports nested beyond what anybody writes
        return ""
    if not placed:
        return ""
    data = applied(before.data, merge.edits)
    text = ("\ufeff" if old.startswith("\ufeff") else "") + data.decode("utf-8", "surrogateescape")
    result = tree_of(path, text)
    if not before.root.has_error and (result is None or result.root.has_error):
        return ""
    return text


def _readable(tree: Tree) -> bool:
    return any(not found.node.has_error for found in definitions(tree))


def _answer(path: str, text: str) -> Tree | None:
    """Syntax of an answer, methods without their class and PHP without its tag included."""
    text = "\n".join(lines_of(text))
    language = language_of(path)
    if language == "php" and "<?" not in text:
        text = f"<?php\n{text}"
    tree = tree_of(path, text)
    if tree is None or not tree.root.has_error or language not in _WRAPPED:
        return tree
    inner = text.removeprefix("<?php\n")
    wrapped = tree_of(path, _WRAPPED[language].format(name=_BARE, text=inner))
    return wrapped if wrapped and not wrapped.root.has_error else tree


@dataclass(slots=True)
class _Merge:
    """One merge: what both files define, and the edits that bring the one into the other."""

    old: Tree
    new: Tree
    is_test: bool
    edits: list[Edit] = field(default_factory=list)
    found: int = 0
    """Items of the answer that have a place."""
    used: list[str] = field(default_factory=list)
    """Text of the answer that is taken."""
    hosts: set[str] = field(default_factory=lambda: {_BARE})
    """Classes that the answer made up around functions of the file."""
    anchor: int = -1
    """Where the first replaced definition begins, in the old file."""
    placed: int = -1
    """Where its namesake begins, in the answer."""

    def run(self) -> bool:
        """Find the edits; False when nothing of the answer has a place."""
        known, outer = outers(self.old), outers(self.new)
        before, after = items(self.old, known), items(self.new, outer)
        have = {_words(item) for item in before if item.kind in ("value", "type")}
        stays = [item for item in after if item.kind in ("value", "type") and _words(item) in have]
        self.found += len(stays)
        after = [item for item in after if item not in stays]
        olds, news = _functions(known), _functions(outer)
        placed = self._matched(olds, news)
        self._members(known, outer)
        self._values(before, after)
        self._additions(before, after, placed)
        self._imports(before, after)
        return self.found > 0

    def _matched(self, olds: Functions, news: Functions) -> set[int]:
        """Give each function of the answer its place; ids of the outer nodes that need no other one."""
        done: set[int] = set()
        owners = {owner for owner, _ in olds} | set(replace.bodies(self.old))
        for key, written in news.items():
            old = olds.get(key) or _elsewhere(olds, key, owners)
            for mate, item in _pairs(self.old, self.new, old, written):
                self._replace(mate, item)
                done.add(item.outer.id)
                self.hosts |= {key[0]} - owners
        names = {name for _, name in olds}
        for (owner, name), written in news.items():
            for item in (item for item in written if item.outer.id not in done):
                doubtful = name in names and (not owner or (owner, name) in olds)
                if self._unfit(item) or (doubtful and self.old.language not in _OVERLOADS):
                    done.add(item.outer.id)
                elif body := self._home(item):
                    self.found += 1
                    self.used.append(self.new.text(item.outer))
                    text = replace.text_with_head(self.new, item.outer)
                    self.edits.append(replace.at_end(self.old, body, text))
                    done.add(item.outer.id)
        return done

    def _home(self, item: Definition) -> "Node | None":
        """Body of the class that a new method belongs to; None for what stands outside of classes."""
        owner, block = item.span.owner, item.node.parent.parent if item.node.parent else None
        of_trait = block and block.type == "impl_item" and block.child_by_field_name("trait")
        if of_trait or owner_of(self.new, item.node):
            return None
        bodies = replace.bodies(self.old)
        if owner in self.hosts or (self.old.language == "java" and not owner):
            return replace.around(bodies, self.anchor)
        return bodies.get(owner) if owner else None

    def _replace(self, mate: Definition, item: Definition) -> None:
        self.found += 1
        self.used.append(self.new.text(item.outer))
        place = replace.outermost(self.old, mate)
        if self.anchor < 0 or place < self.anchor:
            self.anchor = place
        start = replace.outermost(self.new, item)
        if self.placed < 0 or start < self.placed:
            self.placed = start
        if not same((self.old, mate.outer), (self.new, item.outer)):
            self.edits += replace.function(self.old, mate, self.new, item)

    def _unfit(self, item: Definition) -> bool:
        """True for a function that no file wants: broken, a demonstration, or a test where none belongs."""
        name = item.span.name
        test = (
            name.startswith(("test_", "Test")) and not self.is_test and "assert" in self.new.text(item.node)
        )
        return item.node.has_error or name in ("main", "Main") or test

    def _members(self, known: dict[int, Definition], outer: dict[int, Definition]) -> None:
        """Fields and nested types of classes that both files have."""
        bodies, written = replace.bodies(self.old), replace.bodies(self.new)
        for name, body in written.items():
            mine = replace.around(bodies, self.anchor) if name in self.hosts else bodies.get(name)
            if mine is None:
                continue
            olds = [classified(self.old, node, known) for node in mine.named_children]
            news = [classified(self.new, node, outer) for node in body.named_children]
            names = {bound: item for item in olds for bound in item.names}
            have = {_words(item) for item in olds}
            for item in news:
                if item.kind not in ("value", "type") or not item.names or _words(item) in have:
                    continue
                mate = next((names[bound] for bound in item.names if bound in names), None)
                if mate is None:
                    self._take(item, replace.at_start(self.old, mine, item.text))
                elif item.kind == "value" and mate.kind == "value":
                    self._exchange(mate, item)

    def _take(self, item: Item, edit: Edit) -> None:
        self.found += 1
        self.used.append(item.text)
        self.edits.append(edit)

    def _exchange(self, mate: Item, item: Item) -> None:
        """Replace a value or a plain type unless both are the same."""
        self.found += 1
        if not same((self.old, mate.node), (self.new, item.node)):
            self.used.append(item.text)
            self.edits.append(replace.plain(self.old, mate.node, self.new, item.node))

    def _values(self, before: list[Item], after: list[Item]) -> None:
        """Replace values and plain types that both files have."""
        names = {bound: item for item in before for bound in item.names if item.kind in ("value", "type")}
        containers = self.old.grammar.classes
        for item in after:
            mate = next((names[bound] for bound in item.names if bound in names), None)
            if mate is None or item.kind not in ("value", "type"):
                continue
            if item.kind == "type" and replace.core(mate.node).type in containers:
                self.found += 1
            else:
                self._exchange(mate, item)

    def _additions(self, before: list[Item], after: list[Item], placed: set[int]) -> None:
        """Add what the file does not have, in the answer's order where that counts."""
        names = {bound for item in before for bound in item.names}
        words = {found for item in after if item.kind == "function" for found in item.names}
        wanted = [item for item in after if self._is_new(item, before, names, placed)]
        kept = [item for item in wanted if item.kind in ("function", "type")]
        needed = " ".join([*self.used, *(item.text for item in kept)])
        kept += replace.needed(
            [item for item in wanted if item.kind in ("value", "statement")],
            needed,
            lambda item: is_demonstration(item, words),
        )
        for item in sorted(kept, key=lambda item: item.node.start_byte):
            early = self.anchor >= 0 and (
                self.old.language in ("c", "cpp")
                or (self.old.language in _FIRST and item.node.start_byte < self.placed)
            )
            text = item.whole if self._exports(before) else item.whole.replace("export ", "", 1)
            self._take(item, replace.addition(self.old, text, self.anchor if early else -1))

    def _exports(self, before: list[Item]) -> bool:
        """False for a script, where `export` is an error."""
        script = self.old.language in ("javascript", "typescript", "tsx")
        return not script or any(
            item.node.type in ("export_statement", "import_statement") for item in before
        )

    def _is_new(self, item: Item, before: list[Item], names: set[str], placed: set[int]) -> bool:
        if item.kind in ("import", "skipped") or item.node.id in placed or set(item.names) & names:
            return False
        if item.kind == "type" and self._is_host(item, placed):
            return False
        if item.kind == "statement" and any(
            same((self.old, old.node), (self.new, item.node)) for old in before
        ):
            return False
        return not (item.kind == "function" and item.names[0] in ("main", "Main"))

    def _is_host(self, item: Item, placed: set[int]) -> bool:
        """True for a class that only holds what had a place elsewhere, or nothing but a `main`."""
        inner = [found for found in outers(self.new).values() if found.is_function and _in(item, found)]
        fit = [found for found in inner if not self._unfit(found)]
        placed_here = any(found.outer.id in placed for found in fit)
        return item.names == (_BARE,) or placed_here or (bool(inner) and not fit)

    def _imports(self, before: list[Item], after: list[Item]) -> None:
        old = [(item.tree, item.node) for item in before if item.kind == "import"]
        new = [(item.tree, item.node) for item in after if item.kind == "import"]
        bound = {name for item in before for name in item.names if self.old.language != "python"}
        missing = lacking(old, new, bound, "\n".join(self.used))
        if missing:
            self.found += 1
            self.edits.append(replace.imported(self.old, [node for _, node in old], missing))


def _words(item: Item) -> tuple[bytes, ...]:
    return tuple(tokens(item.tree, item.node))


def _in(item: Item, found: Definition) -> bool:
    return item.node.start_byte <= found.node.start_byte < item.node.end_byte


def _functions(known: dict[int, Definition]) -> Functions:
    """Functions by owner and name."""
    found: Functions = defaultdict(list)
    for item in known.values():
        if item.is_function:
            found[item.span.owner, item.span.name].append(item)
    return found


def _elsewhere(olds: Functions, key: Key, owners: set[str]) -> list[Definition]:
    """The only function of that name, where the answer has it in no class, or in one that the file lacks."""
    if key[0] in owners and key[0]:
        return []
    found = [items for (_, name), items in olds.items() if name == key[1]]
    return found[0] if len(found) == 1 else []


def _pairs(
    old: Tree, new: Tree, before: list[Definition], after: list[Definition]
) -> list[tuple[Definition, Definition]]:
    """Old and new functions of one name, by their signatures where there are several."""
    left, rest = list(before), []
    found = []
    for item in after:
        signature = replace.signature(new, item)
        mate = next((one for one in left if replace.signature(old, one) == signature), None)
        if mate is None:
            rest.append(item)
            continue
        left.remove(mate)
        found.append((mate, item))
    if len(left) == len(rest) and (len(rest) == 1 or old.language not in _OVERLOADS):
        found += list(zip(left, rest, strict=True))
    return [(mate, item) for mate, item in found if not item.node.has_error]
