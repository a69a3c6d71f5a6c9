"""Definitions of a repository, and those that a task's text names.

A name in code or in backticks says more than a word in a sentence, a qualified name more than a bare one, and
a name that many places define says little (inverse document frequency). What a named function calls is named
too, more faintly: a report names the function that a person calls, and the defect is often one call below.
"""

import math
import re
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import PurePosixPath

from agent.definitions import definitions, signature_start
from agent.grammars import MAX_BYTES, language_of, tree_of
from agent.source import Span, decoded, lines_of
from feedback.verdict import is_test_path
from sandbox.workcopy import WorkCopy

FILES = 2_000
"""Files that are read at most; of a larger repository those with the shortest paths."""
CALLERS = 6
"""Named functions whose callees count."""
SIGNATURE_CHARS = 110
IN_CODE, IDENTIFIER, WORD = 3.0, 2.0, 0.2
"""Weights of a name in backticks or a code block, of one as only code has (`a_b`, `aB`, `f(`), of a word."""
QUALIFIED, OWNER_NAMED, CONSTRUCTED, CALLED, DERIVED = 3.0, 2.0, 0.8, 0.25, 0.2

_CODE = re.compile(r"```.*?(?:```|\Z)|`[^`\n]+`|^(?: {4}|\t|>>> |\.\.\. )[^\n]*", re.DOTALL | re.MULTILINE)
_CHAIN = re.compile(r"[A-Za-z_]\w*(?:(?:\.|::|->|#)[A-Za-z_]\w*)*(\s?\()?")
_SEPARATOR = re.compile(r"\.|::|->|#")
_IDENTIFIER = re.compile(r"[A-Za-z_]\w+")
_CONSTRUCTORS = frozenset({"__init__", "__new__", "constructor", "__construct", "new", "New"})


@dataclass(frozen=True, slots=True)
class Symbol:
    """A function or a type: where it is defined, and how its definition begins."""

    span: Span
    is_function: bool
    signature: str
    path: str = ""

    @property
    def name(self) -> str:
        return self.span.name


@dataclass(frozen=True, slots=True)
class Mention:
    """A definition that a text names, with the weight of what it says."""

    symbol: Symbol
    weight: float

    @property
    def path(self) -> str:
        return self.symbol.path

    @property
    def span(self) -> Span:
        return self.symbol.span


@dataclass(frozen=True, slots=True)
class Outline:
    """What one file defines, and how often it uses each identifier."""

    symbols: tuple[Symbol, ...]
    words: Mapping[str, int]


@lru_cache(maxsize=2 * FILES)
def outline(suffix: str, data: bytes) -> Outline:
    """Outline of a file's bytes, by its suffix; computed once for each blob. Raises GrammarMissing."""
    text = decoded(data)
    path = f"file{suffix}"
    tree = tree_of(path, text)
    lines, symbols = lines_of(text), []
    for found in definitions(tree) if tree else ():
        body = found.node.child_by_field_name("body")
        begin = tree.data[signature_start(found.outer) : body.start_byte] if tree and body else b""
        said = " ".join(decoded(begin).split()) or lines[found.span.first - 1].strip()
        signature = said.rstrip(" {:=>").strip()
        symbols.append(Symbol(found.span, found.is_function, signature[:SIGNATURE_CHARS]))
    return Outline(tuple(symbols), Counter(_IDENTIFIER.findall(text)))


def outlines(files: WorkCopy) -> dict[str, Outline]:
    """Outlines of the source files by path. Raises GrammarMissing."""
    paths = [path for path in files.paths() if language_of(path) and 0 < files.size(path) <= MAX_BYTES]
    nearest = sorted(sorted(paths, key=lambda path: (path.count("/"), path))[:FILES])
    return {path: outline(PurePosixPath(path).suffix.lower(), files.read(path)) for path in nearest}


def mentioned(files: WorkCopy, prompt: str) -> list[Mention]:
    """Definitions that the text names, most clearly named first; those of tests are left out.

    Raises GrammarMissing.
    """
    read = {path: found for path, found in outlines(files).items() if not is_test_path(path)}
    known = [replace(symbol, path=path) for path, found in read.items() for symbol in found.symbols]
    by_name: dict[str, list[Symbol]] = defaultdict(list)
    for symbol in known:
        by_name[symbol.name].append(symbol)
    weights = _named(prompt, by_name)
    _add_constructors(weights, known)
    _add_callees(weights, by_name, files)
    ranked = sorted(weights.items(), key=lambda item: (-item[1], item[0].path, item[0].span.first))
    return [Mention(symbol, weight) for symbol, weight in ranked]


def _named(prompt: str, by_name: Mapping[str, list[Symbol]]) -> dict[Symbol, float]:
    """Definitions named by themselves, with the weights of their clearest mention."""
    found: dict[Symbol, float] = {}
    mentions = list(_mentions(prompt))
    owners = {part for parts, weight in mentions for part in parts if weight > WORD}
    for parts, weight in mentions:
        for index, part in enumerate(parts):
            same = by_name.get(part, ())
            for symbol in same:
                around = {
                    symbol.span.owner,
                    PurePosixPath(symbol.path).stem,
                    *PurePosixPath(symbol.path).parts,
                }
                qualified = bool(set(parts[:index]) & (around - {""}))
                value = weight * (QUALIFIED if qualified else 1 / (1 + math.log2(len(same))))
                if not qualified and symbol.span.owner in owners:
                    value *= OWNER_NAMED
                found[symbol] = max(found.get(symbol, 0.0), value)
    return found


def _mentions(prompt: str) -> Iterable[tuple[list[str], float]]:
    """Chains of names with their weights: `pkg.mod.f` is three parts."""
    code = " \n ".join(match.group() for match in _CODE.finditer(prompt))
    prose = _CODE.sub(" ", prompt)
    for text, in_code in ((code, True), (prose, False)):
        for match in _CHAIN.finditer(text):
            chain = match.group().rstrip("( ")
            parts = _SEPARATOR.split(chain)
            clear = len(parts) > 1 or bool(match.group(1)) or _is_identifier(chain)
            if len(chain) > 2 or match.group(1):
                yield parts, IN_CODE if in_code else IDENTIFIER if clear else WORD


def _is_identifier(word: str) -> bool:
    """True for what no sentence has as a word: `a_b`, `aB`, `args2sh`."""
    return "_" in word or any(char.isdigit() for char in word) or any(char.isupper() for char in word[1:])


def _add_constructors(weights: dict[Symbol, float], known: list[Symbol]) -> None:
    """Who names a class may mean its constructor, or what derives from it."""
    classes = {symbol.name: weight for symbol, weight in weights.items() if not symbol.is_function}
    for symbol in known:
        if symbol.is_function and symbol.span.owner in classes:
            if symbol.name in _CONSTRUCTORS or symbol.name == symbol.span.owner:
                value = CONSTRUCTED * classes[symbol.span.owner]
                weights[symbol] = max(weights.get(symbol, 0.0), value)
        elif not symbol.is_function:
            bases = set(_IDENTIFIER.findall(symbol.signature)) - {symbol.name}
            value = DERIVED * max((classes[base] for base in bases & classes.keys()), default=0.0)
            if value:
                weights[symbol] = max(weights.get(symbol, 0.0), value)


def _add_callees(weights: dict[Symbol, float], by_name: Mapping[str, list[Symbol]], files: WorkCopy) -> None:
    """Functions that the clearest named ones call, one level down."""
    callers = sorted((item for item in weights.items() if item[0].is_function), key=lambda item: -item[1])
    for caller, weight in callers[:CALLERS]:
        lines = lines_of(decoded(files.read(caller.path)))[caller.span.first - 1 : caller.span.last]
        for name in set(re.findall(r"(\w+)\s*\(", "\n".join(lines))) - {caller.name}:
            same = by_name.get(name, ())
            near = [symbol for symbol in same if symbol.path == caller.path] or same
            for symbol in near if len(near) <= 3 else ():
                value = CALLED * weight / len(near)
                weights[symbol] = max(weights.get(symbol, 0.0), value)
