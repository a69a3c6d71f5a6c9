"""Imports of the standard library that a changed file needs and lacks, added as an editor does on saving.

A model that is asked for a body, a line or a function cannot reach the file's head: `sort.Ints` in a file
without `import "sort"` does not compile, whatever else is right. Go and Python: what a name must mean there
can be told without a compiler. In Go an import that is not used is an error too, and goes.
"""

import ast
from collections.abc import Iterator
from functools import cache
from importlib import import_module
from typing import TYPE_CHECKING, Final

from agent.grammars import COMMENTS, Tree, inside, language_of, tree_of
from agent.holes import BOM
from agent.imports import is_import, leaves, package
from agent.replace import Edit, applied, imported
from agent.source import parsed

if TYPE_CHECKING:
    from tree_sitter import Node

_GO_PATHS = """
    archive/tar archive/zip bufio bytes cmp compress/gzip compress/zlib container/heap container/list
    container/ring context crypto/hmac crypto/md5 crypto/sha1 crypto/sha256 crypto/sha512 database/sql embed
    encoding/base32 encoding/base64 encoding/binary encoding/csv encoding/gob encoding/hex encoding/json
    encoding/xml errors flag fmt hash/crc32 hash/fnv html io io/fs log maps math math/big math/bits math/cmplx
    math/rand net net/http net/http/httptest net/netip net/url os os/exec os/signal path path/filepath reflect
    regexp runtime runtime/debug slices sort strconv strings sync sync/atomic syscall testing text/tabwriter
    text/template time unicode unicode/utf16 unicode/utf8 unsafe
"""
_GO: Final = {path.rpartition("/")[2]: path for path in _GO_PATHS.split()}
"""Packages of Go's standard library by name, the commoner one of two that share it."""
_PYTHON_NAMES = """
    abc array ast base64 bisect calendar collections contextlib copy csv dataclasses datetime decimal enum
    functools glob hashlib heapq inspect io itertools json logging math numbers operator os pathlib random re
    shutil statistics string struct subprocess sys tempfile textwrap threading time traceback typing
    unicodedata uuid warnings
"""
_PYTHON: Final = frozenset(_PYTHON_NAMES.split())
"""Modules of Python's standard library that code takes for granted."""
_FROM: Final = {
    name: module
    for module, names in {
        "collections": "ChainMap Counter OrderedDict defaultdict deque namedtuple",
        "dataclasses": "dataclass",
        "datetime": "timedelta",
        "decimal": "Decimal",
        "fractions": "Fraction",
        "functools": "cached_property lru_cache partial reduce total_ordering wraps",
        "itertools": "accumulate combinations groupby permutations zip_longest",
        "pathlib": "Path",
        "typing": "Any Callable Dict Iterable Iterator List Optional Sequence Set Tuple Union",
    }.items()
    for name in names.split()
}
"""Names that are used without their module, and mean one thing wherever nothing else binds them."""


def supplied(path: str, text: str) -> str:
    """The text with the imports that it lacks; as it is in other languages, or where it does not parse.

    Raises GrammarMissing.
    """
    if language_of(path) == "python" and not (wanted := _python(text)):
        return text
    tree = tree_of(path, text) if language_of(path) in ("go", "python") else None
    if tree is None or tree.root.has_error:
        return text
    if tree.language == "go":
        tree = _trimmed(path, tree)
        wanted = _go(tree)
    data = applied(tree.data, [imported(tree, _head(tree), wanted)] if wanted else [])
    return (BOM if text.startswith(BOM) else "") + data.decode("utf-8", "surrogateescape")


def _head(tree: Tree) -> list["Node"]:
    """The imports that the file begins with."""
    found: list[Node] = []
    for node in tree.root.named_children:
        if is_import(tree, node):
            found.append(node)
        elif found and node.type not in COMMENTS:
            break
    return found


def _trimmed(path: str, tree: Tree) -> Tree:
    """A Go file without the imports of standard packages that it does not use: an error there."""
    used = _packages(tree)
    edits = [edit for each in tree.find("import_declaration") for edit in _unused(tree, each, used)]
    shorter = applied(tree.data, edits).decode("utf-8", "surrogateescape")
    return (tree_of(path, shorter) if edits else None) or tree


def _go(tree: Tree) -> list[str]:
    """Statements for the packages that a Go file uses, and neither imports nor binds."""
    specs = [key for each in tree.find("import_declaration") for key, _ in leaves(tree, each)]
    lacking = _packages(tree) - {package(spec) for spec in specs} - _bound(tree)
    return [f'import "{_GO[name]}"' for name in sorted(lacking) if name in _GO]


def _packages(tree: Tree) -> set[str]:
    """Names before the dot of a selector or of a type's name: packages, or variables."""
    types = {tree.text(node.child_by_field_name("package")) for node in tree.find("qualified_type")}
    values = (node.child_by_field_name("operand") for node in tree.find("selector_expression"))
    return types | {tree.text(node) for node in values if node and node.type == "identifier"}


def _bound(tree: Tree) -> set[str]:
    """Names that the file uses other than before a dot, as no package can be: it binds them itself."""
    return {
        tree.text(node)
        for node in inside(tree.root)
        if node.type in ("identifier", "type_identifier") and not _before_dot(node)
    }


def _before_dot(node: "Node") -> bool:
    parent = node.parent
    return (
        parent is not None
        and parent.type == "selector_expression"
        and parent.child_by_field_name("operand") == node
    )


def _unused(tree: Tree, declaration: "Node", used: set[str]) -> Iterator[Edit]:
    """Edits that take imports of standard packages out; blank, dotted and named ones stay."""
    specs = [node for node in inside(declaration) if node.type == "import_spec"]
    idle = [
        node
        for node in specs
        if node.child_by_field_name("name") is None
        and package(tree.text(node)) not in used
        and _GO.get(package(tree.text(node))) == tree.text(node).strip('"`')
    ]
    for node in [declaration] if idle and len(idle) == len(specs) else idle:
        begins = tree.data.rfind(b"\n", 0, node.start_byte) + 1
        ends = tree.data.find(b"\n", node.end_byte)
        alone = (
            not tree.data[begins : node.start_byte].strip() and not tree.data[node.end_byte : ends].strip()
        )
        if alone and ends >= 0:
            yield Edit(begins, ends + 1, "")
        else:
            yield Edit(node.start_byte, node.end_byte, "")


def _python(text: str) -> list[str]:
    """Statements for what a Python text uses and nothing in it binds."""
    tree = parsed(text)
    nodes = list(ast.walk(tree)) if tree else []
    bound = {name for node in nodes for name in _binds(node)}
    if "*" in bound:
        return []
    found: dict[str, None] = {}
    for node in nodes:
        match node:
            case ast.Attribute(value=ast.Name(id=name), attr=attribute) if name not in bound:
                if name in _PYTHON and attribute in _public(name):
                    found[f"import {name}"] = None
            case ast.Name(id=name) if name in _FROM and name not in bound:
                found[f"from {_FROM[name]} import {name}"] = None
    return sorted(found, key=lambda statement: (statement.startswith("from"), statement))


def _binds(node: ast.AST) -> list[str]:
    match node:
        case ast.Name(id=name, ctx=ast.Store() | ast.Del()) | ast.arg(arg=name):
            return [name]
        case ast.FunctionDef(name=name) | ast.AsyncFunctionDef(name=name) | ast.ClassDef(name=name):
            return [name]
        case ast.alias(name=name, asname=alias):
            return [alias or name.partition(".")[0]]
        case ast.ExceptHandler(name=str(name)) | ast.MatchAs(name=str(name)) | ast.MatchStar(name=str(name)):
            return [name]
        case ast.MatchMapping(rest=str(name)):
            return [name]
        case ast.Global(names=names) | ast.Nonlocal(names=names):
            return names
    return []


@cache
def _public(module: str) -> frozenset[str]:
    """What a module of _PYTHON has; a variable of the same name would be asked for something else."""
    return frozenset(dir(import_module(module)))
