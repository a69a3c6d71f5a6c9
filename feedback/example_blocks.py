"""The parts of a text: descriptions (doc comments), and in each prose, sessions (`>>>`) and code."""

import ast
import inspect
import re
import textwrap
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

from feedback.example_scan import statements

TEXT = 40_000
"""Characters of a text that are looked at."""
BLOCKS = 400
_FENCE = re.compile(r"^\s{0,12}(`{3,}|~{3,})\s*([\w+-]*)")
_PYTHON = ("", "python", "py", "python3", "pycon", "pytb", "ipython", "doctest", "text", "txt")
_ITEM = re.compile(r"^\s*(?:[-*•]|\d+[.)])\s")
_REPORT = re.compile(
    r"\b(?:bugs?|instead|wrong(?:ly)?|incorrect(?:ly)?|currently|actual(?:ly)?|expected|breaks?|broken|fails?"
    r"|failing|crash(?:es)?|regression|no longer|still|happens|ignores?d?|lets through"
    r"|raises [`A-Z]\w*Error|but (?:it|the|always|never))\b",
    re.I,
)
_SIGNATURE = re.compile(
    r"^[ \t]*(?:async )?def (\w{1,80})\(([^()]{0,400}(?:\([^()]{0,80}\)[^()]{0,200})?)\)", re.M
)


@dataclass(frozen=True, slots=True)
class Block:
    """Lines of one sort, without the common indent."""

    kind: Literal["prose", "session", "code"]
    text: str
    heading: str = ""
    """Last line of the prose before it."""


@dataclass(frozen=True, slots=True)
class Description:
    """One text about code."""

    text: str
    report: bool
    """It tells of a defect: what it shows may be what is wrong."""


def descriptions(text: str) -> list[Description]:
    """The doc strings where the text is Python, else the text, and the doc strings in its code blocks."""
    text = text[:TEXT]
    documented = _docstrings(text)
    if documented:
        return documented
    told = textwrap.dedent(text.expandtabs(4))
    found = [Description(told, bool(_REPORT.search(told)) and '"""' not in told and "'''" not in told)]
    for block in blocks(told):
        if block.kind == "code":
            found += _docstrings(block.text)
    return found


def _docstrings(text: str) -> list[Description]:
    tree = statements(text) if "def " in text or "class " in text else None
    found: list[Description] = []
    for node in ast.walk(ast.Module(tree or [], [])):
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
            doc = ast.get_docstring(node, clean=False) if node.body else None
            if doc:
                found.append(Description(inspect.cleandoc(doc), False))
    return found


def parameters(text: str, name: str) -> tuple[str, ...] | None:
    """Names of the parameters without default of the function, where the text shows its head."""
    for match in _SIGNATURE.finditer(text[:TEXT]):
        if match[1] == name:
            tree = statements(f"def f({match[2]}): pass")
            if tree and isinstance(tree[0], ast.FunctionDef):
                arguments = tree[0].args
                names = [item.arg for item in (*arguments.posonlyargs, *arguments.args)]
                needed = names[: len(names) - len(arguments.defaults)]
                return tuple(item for item in needed if item not in ("self", "cls"))
    return None


def blocks(text: str) -> list[Block]:
    """The blocks in order; prose is kept whole between two others."""
    found: list[Block] = []
    prose: list[str] = []
    for kind, lines in _runs(text.split("\n")):
        body = "" if kind == "prose" else textwrap.dedent("\n".join(lines))
        if kind == "prose" or (kind == "code" and not _is_code(body)):
            prose += lines
            continue
        heading = next((line.strip() for line in reversed(prose) if line.strip()), "")
        if prose:
            found.append(Block("prose", "\n".join(prose)))
            prose = []
        if kind != "other":
            found.append(Block("session" if kind == "session" else "code", body, heading))
        if len(found) > BLOCKS:
            return found
    return [*found, Block("prose", "\n".join(prose))] if prose else found


def _is_code(text: str) -> bool:
    tree = statements(text) or []
    return not all(
        isinstance(item, ast.Expr) and isinstance(item.value, ast.Name | ast.Constant | ast.Tuple)
        for item in tree
    )


def _runs(lines: list[str]) -> Iterator[tuple[str, list[str]]]:
    index = 0
    while index < len(lines):
        line = lines[index]
        if fence := _FENCE.match(line):
            index += 1
            start = index
            while index < len(lines) and not lines[index].strip().startswith(fence[1]):
                index += 1
            yield _fenced(lines[start:index], fence[2].lower())
            index += 1
            continue
        start, kind = index, "prose"
        if line.lstrip().startswith(">>>"):
            kind, index = "session", _session_end(lines, index)
        elif _begins_code(lines, index):
            kind, index = "code", _code_end(lines, index)
        else:
            index += 1
        yield kind, lines[start:index]


def _fenced(lines: list[str], language: str) -> tuple[str, list[str]]:
    if language not in _PYTHON:
        return "other", lines
    sessions = any(line.lstrip().startswith(">>>") for line in lines)
    return ("session" if sessions else "code"), lines


def _session_end(lines: list[str], index: int) -> int:
    """After the last line of the session; a blank line ends it unless a further `>>>` follows at once."""
    indent = _indent(lines[index])
    while index < len(lines):
        line = lines[index]
        if not line.strip():
            if not (index + 1 < len(lines) and lines[index + 1].lstrip().startswith(">>>")):
                return index
        elif _indent(line) < indent or line.lstrip().startswith(('"""', "'''", "```")):
            return index
        index += 1
    return index


def _begins_code(lines: list[str], index: int) -> bool:
    line = lines[index]
    if not line.startswith("    ") or not line.strip() or _ITEM.match(line):
        return False
    before = lines[index - 1] if index else ""
    return not before.strip() or before.rstrip().endswith(":")


def _code_end(lines: list[str], index: int) -> int:
    end = index
    while index < len(lines) and (not lines[index].strip() or lines[index].startswith("    ")):
        index += 1
        if lines[index - 1].strip():
            end = index
        elif index < len(lines) and lines[index].lstrip().startswith(">>>"):
            break
    return end


def _indent(line: str) -> int:
    return len(line) - len(line.lstrip())
