"""What a written text must satisfy before it may replace another: it parses and it is whole.

Nothing is run: Python, JSON and TOML are parsed on the host, other languages are left to the checks.
"""

import ast
import re
import warnings
from collections.abc import Sequence
from pathlib import PurePosixPath

from sandbox.manifest import MAX_LOCK_CHARS, read_json, read_toml

_COMMENT = r"^\s*(?:#|//|/\*|\*|--|<!--|;|\"\"\")\s*"
_DOTS = re.compile(_COMMENT + r"\[?(?:\.\.\.|…)")
_REST = re.compile(
    _COMMENT + r".{0,40}\b(?:rest|remaining|remainder|other|existing|previous|same)\b.{0,60}"
    r"\b(?:unchanged|code|remains?|stays?|here|before|above|functions?|methods?|lines|file)\b.{0,40}$",
    re.IGNORECASE,
)
_DEFINITIONS = (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)
_BEGINS = re.compile(r"(?:async )?def |class |@\w|func |fn |function |export |pub |import |from ")
_CODE = frozenset({".py", ".pyi", ".js", ".mjs", ".cjs", ".jsx", ".ts", ".tsx", ".go", ".rs", ".java", ".rb"})
_CODE_C = frozenset({".c", ".cc", ".cpp", ".h", ".hpp", ".cs", ".kt", ".swift", ".php", ".sh", ".lua", ".pl"})


def syntax_error(path: str, text: str) -> str:
    """Why the text does not parse as its suffix says; empty when it does or cannot be told."""
    suffix = PurePosixPath(path).suffix.lower()
    try:
        if suffix in (".py", ".pyi"):
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                compile(text, path, "exec", ast.PyCF_ONLY_AST, dont_inherit=True)
        elif suffix == ".json":
            read_json(text)
        elif suffix == ".toml":
            read_toml(text, MAX_LOCK_CHARS)
    except SyntaxError as error:
        return f"{type(error).__name__} at line {error.lineno}: {error.msg}"
    except (ValueError, RecursionError, MemoryError) as error:
        return f"{type(error).__name__}: {error}"[:300]
    return ""


def placeholder(body: Sequence[str], old: Sequence[str]) -> str:
    """The first new line that stands for code left out; empty when there is none."""
    known = {line.strip() for line in old}
    for line in body:
        short = line[:300]
        if short.strip() not in known and (_DOTS.match(short) or _REST.match(short)):
            return short.strip()
    return ""


def shrinks(old: Sequence[str], new: Sequence[str], least: int, share: float) -> bool:
    """True when a text of at least `least` lines loses more than `1 - share` of its lines."""
    before = sum(bool(line.strip()) for line in old)
    after = sum(bool(line.strip()) for line in new)
    return before >= least and after < before * share


def lost_names(path: str, old: str, new: str) -> list[str]:
    """Top-level functions and classes of a Python file that the new text no longer has."""
    if PurePosixPath(path).suffix != ".py" or syntax_error(path, old) or syntax_error(path, new):
        return []
    return sorted(_names(old) - _names(new))


def orphaned(path: str, old: str, new: str) -> list[str]:
    """Those lost names that the new text still uses."""
    return [name for name in lost_names(path, old, new) if re.search(rf"\b{re.escape(name)}\b", new)]


def doubled(path: str, old: str, new: str) -> list[str]:
    """Definitions of a Python file that the new text has twice in one scope and the old one had not.

    Each with its lines: `f (lines 1-2 and 5-6)`. Decorated ones (overloads, setters) are meant to be.
    """
    if PurePosixPath(path).suffix != ".py" or syntax_error(path, old) or syntax_error(path, new):
        return []
    before = _twice(old)
    return [f"{place[1]} ({spans})" for place, spans in _twice(new).items() if place not in before]


def _twice(text: str) -> dict[tuple[str, str], str]:
    """Scope and name of what is defined twice without a decorator, and where."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        tree = ast.parse(text)
    found: dict[tuple[str, str], str] = {}
    for scope in ast.walk(tree):
        if not isinstance(scope, ast.Module | ast.ClassDef):
            continue
        seen: dict[str, str] = {}
        for node in scope.body:
            if isinstance(node, _DEFINITIONS) and not node.decorator_list:
                span = f"{node.lineno}-{node.end_lineno}"
                if node.name in seen:
                    found[getattr(scope, "name", ""), node.name] = f"lines {seen[node.name]} and {span}"
                seen[node.name] = span
    return found


def _names(text: str) -> set[str]:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        nodes = ast.parse(text).body
    return {node.name for node in nodes if isinstance(node, _DEFINITIONS)}


def reindented(path: str, old: Sequence[str], body: Sequence[str]) -> list[str] | None:
    """The body moved as a block so that it begins in the column where the replaced lines began.

    None when it begins there already, when it is a definition that stood at the margin, when a line
    cannot be moved so far, or when the file is no code.
    """
    suffix = PurePosixPath(path).suffix.lower()
    before = next((line for line in old if line.strip()), None)
    after = next((line for line in body if line.strip()), None)
    if before is None or after is None or suffix not in _CODE | _CODE_C:
        return None
    want, have = _indent(before), _indent(after)
    if not have and _BEGINS.match(after) and not _BEGINS.match(before.lstrip()):
        return None  # a new top-level definition is not meant to end up inside a block
    if want == have or any(line.strip() and not line.startswith(have) for line in body):
        return None
    return [want + line[len(have) :] if line.strip() else line for line in body]


def _indent(line: str) -> str:
    return line[: len(line) - len(line.lstrip(" \t"))]
