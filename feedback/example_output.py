"""Test code rebuilt from what pytest prints about failures: nothing but what is printed is used.

Long tracebacks show a test from its `def` to the failing line, which is marked `>`; short ones that line.
"""

import ast
import builtins
import re
import textwrap
from collections.abc import Iterator, Sequence
from pathlib import PurePosixPath

from feedback.example_scan import names_in, parsed, statements
from feedback.report import lines_of

_TITLE = re.compile(r"^_{2,} (.{1,300}?) _{2,}$")
_RULE = re.compile(r"^=+ .{0,80} =+$")
_PLACE = re.compile(r"^(\S.{0,300}?):\d{1,8}: (?:in (\S.{0,200}?)|\w*(?:Error|Exception|Failed|Exit)?)\s*$")
_DEF = re.compile(r"^\s*(?:async )?def (test\w*)\(")
_ASSERTION = re.compile(
    r"^(?:assert\b|self\.(?:assert|fail)\w*\(|with (?:self\.assertRaises|pytest\.raises))"
)
_FAILURES = re.compile(r"^=+ (?:FAILURES|ERRORS) =+$")
_BEGINS = re.compile(r"^=+ test session starts =+$|^[.FEsxXp]+ +\[ {0,2}\d{1,3}%\]$")
_ENDS = re.compile(r"^=+ .{0,80} =+$|^(?:FAILED|ERROR) |^\d+ (?:failed|passed|error)\b.{0,80} in \d")
TESTS = 40
CHECK = "quoted tests"
"""Name of the check that is made of them."""


def without_report(text: str, instead: str = "(told below)") -> str:
    """The text with other words in the place of the failures that it quotes from pytest."""
    lines = text.split("\n")
    header = next((index for index, line in enumerate(lines) if _FAILURES.match(line)), None)
    if header is None:
        return text
    first = next((index for index in range(header) if _BEGINS.match(lines[index])), header)
    ends = [index for index in range(header + 1, len(lines)) if _ENDS.match(lines[index])]
    fences = (index for index in range(header, len(lines)) if lines[index].startswith("```"))
    last = ends[-1] if ends else next(fences, len(lines)) - 1
    return "\n".join([*lines[:first], instead, *lines[last + 1 :]])


def tests_in_output(output: str, modules: Sequence[str]) -> str:
    """A pytest module of the failing tests that an output shows; empty where it shows none.

    `modules` are the paths of the modules under test, from which names that are not printed are imported.
    """
    found: dict[str, str] = {}
    for title, body in _sections(lines_of(output)):
        name = re.sub(r"\W", "_", title.rpartition(".")[2].partition("[")[0])
        code = _whole(body) or _single(body, name)
        if code and name.startswith("test") and len(found) < TESTS:
            found.setdefault(_told(code), name)
    if not found:
        return ""
    return _module(list(found), modules)


def shortest(module: str, limit: int) -> str:
    """The shortest tests of a module that tests_in_output() made, of at most `limit` characters in all."""
    tree = parsed(module, "exec")
    found = (item for item in ast.walk(tree) if isinstance(item, ast.FunctionDef)) if tree else ()
    kept: list[str] = []
    for code in sorted(map(ast.unparse, found), key=len):
        if sum(map(len, kept)) + len(code) > limit:
            break
        kept.append(code)
    return "\n".join(kept)


def _sections(lines: list[str]) -> Iterator[tuple[str, list[str]]]:
    title = ""
    body: list[str] = []
    for line in lines:
        if (match := _TITLE.match(line)) or _RULE.match(line):
            if title:
                yield title, body
            title, body = (match[1] if match else ""), []
        elif title:
            body.append(line)
    if title:
        yield title, body


def _told(code: ast.FunctionDef | None) -> str:
    return ast.unparse(code) if code else ""


def _whole(body: list[str]) -> ast.FunctionDef | None:
    """The test as a long traceback prints it, up to the failing line and the statement it is part of."""
    start = next((index for index, line in enumerate(body) if _DEF.match(line.removeprefix(">"))), None)
    if start is None:
        return None
    shown: list[str] = []
    for line in body[start:]:
        if line.startswith("E ") or line == "E" or _PLACE.match(line):
            break
        shown.append(" " + line[1:] if line.startswith(">") else line)
    while len(shown) > 1:
        tree = statements(textwrap.dedent("\n".join(shown)))
        if tree and isinstance(tree[0], ast.FunctionDef) and _asserts(tree[0]):
            return _plain(tree[0])
        shown.pop()
    return None


def _single(body: list[str], name: str) -> ast.FunctionDef | None:
    """The failing line that a short traceback prints below its place, as a test of its own."""
    found: ast.FunctionDef | None = None
    for index, line in enumerate(body):
        match = _PLACE.match(line)
        if not match or not (match[2] or "").startswith("test"):
            continue
        shown: list[str] = []
        for following in body[index + 1 : index + 40]:
            if following.startswith("E ") or _PLACE.match(following):
                break
            if set(following.strip()) - set("^~ "):
                shown.append(following.strip())
        source = "\n".join(shown)
        tree = statements(source) if _ASSERTION.match(source) else None
        if tree and len(tree) == 1 and _literal(tree[0]):
            found = _function(name, tree)
    return found


def _literal(statement: ast.stmt) -> bool:
    """Whether a line stands alone: no name in it but functions called, modules and builtins."""
    called = {
        id(item.func)
        for item in ast.walk(statement)
        if isinstance(item, ast.Call) and isinstance(item.func, ast.Name)
    }
    bases = {
        id(item.value)
        for item in ast.walk(statement)
        if isinstance(item, ast.Attribute) and isinstance(item.value, ast.Name)
    }
    return all(
        id(item) in called | bases or item.id == "self" or hasattr(builtins, item.id) or item.id[:1].isupper()
        for item in ast.walk(statement)
        if isinstance(item, ast.Name) and isinstance(item.ctx, ast.Load)
    )


def _function(name: str, body: list[ast.stmt]) -> ast.FunctionDef | None:
    tree = parsed(f"def {name}(self): pass", "exec")
    function = tree.body[0] if isinstance(tree, ast.Module) else None
    if not isinstance(function, ast.FunctionDef):
        return None
    function.body = body
    return function


def _asserts(function: ast.FunctionDef) -> bool:
    return any(
        isinstance(item, ast.Assert)
        or (isinstance(item, ast.Attribute) and item.attr.startswith(("assert", "raises", "fail")))
        for item in ast.walk(function)
    )


def _plain(function: ast.FunctionDef) -> ast.FunctionDef | None:
    """The test without decorators; None where it needs fixtures or attributes of its class."""
    arguments = [item.arg for item in function.args.args]
    if arguments not in ([], ["self"]) or function.args.kwonlyargs or function.args.vararg:
        return None
    for item in ast.walk(function):
        own = isinstance(item, ast.Attribute) and isinstance(item.value, ast.Name) and item.value.id == "self"
        if (
            own
            and isinstance(item, ast.Attribute)
            and not item.attr.startswith(("assert", "fail", "subTest", "skip"))
        ):
            return None
    function.decorator_list = []
    return function


def _module(codes: list[str], modules: Sequence[str]) -> str:
    """The tests as methods of one TestCase, with imports of what they use."""
    methods: list[str] = []
    used: set[str] = set()
    plain: set[str] = set()
    for number, code in enumerate(codes, 1):
        tree = statements(code) or []
        function = tree[0]
        if not isinstance(function, ast.FunctionDef):
            continue
        used |= names_in(function)
        plain |= names_in(function) - _bases(function)
        if not function.args.args:
            function.args.args = [ast.arg("self")]
        function.name = (
            f"{function.name}_{number}" if not function.name.endswith(f"_{number}") else function.name
        )
        methods.append(textwrap.indent(ast.unparse(function), "    "))
    names = sorted(name for name in used - {"self"} if not hasattr(builtins, name))
    imports = [f"import {name}" for name in names if name in _KNOWN]
    wanted = [name for name in names if name not in _KNOWN]
    lines = ["import unittest", *(item for item in imports if item != "import unittest")]
    lines += _imports(modules, wanted, plain)
    return "\n".join([*lines, "", "", "class ShownTests(unittest.TestCase):", "\n\n".join(methods), ""])


_KNOWN = (
    "collections",
    "datetime",
    "decimal",
    "itertools",
    "json",
    "math",
    "os",
    "pytest",
    "random",
    "re",
    "sys",
    "unittest",
)


def _bases(function: ast.AST) -> set[str]:
    """Names that stand only before a dot, as those of modules do."""
    names = [item for item in ast.walk(function) if isinstance(item, ast.Name)]
    dotted = {id(item.value) for item in ast.walk(function) if isinstance(item, ast.Attribute)}
    alone = {item.id for item in names if id(item) not in dotted}
    return {item.id for item in names} - alone


def _imports(modules: Sequence[str], wanted: Sequence[str], plain: set[str]) -> Iterator[str]:
    """Each module by its name, and from the first that has it each name that the tests use.

    A function may have its module's name; `plain` names do not stand before a dot, so no module is meant.
    """
    dotted = [_dotted(path) for path in modules]
    for module in dotted:
        if "." not in module and module in wanted and module not in plain:
            yield f"import {module}"
    names = [name for name in wanted if name not in dotted or name in plain]
    if not names or not dotted:
        return
    if len(dotted) == 1:
        yield f"from {dotted[0]} import {', '.join(names)}"
        return
    yield from (f"from {module} import *" for module in dotted)


def _dotted(path: str) -> str:
    parts = list(PurePosixPath(path).with_suffix("").parts)
    parts = parts[1:] if parts[:1] == ["src"] else parts
    return ".".join(parts[:-1] if parts[-1:] == ["__init__"] else parts)
