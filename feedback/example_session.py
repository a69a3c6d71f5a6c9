"""Interactive sessions: `>>> call` and what it shows, or what a report of a bug says it should show."""

import ast
import re
import sys
from collections.abc import Sequence
from dataclasses import dataclass, field

from feedback.example import Example
from feedback.example_scan import expression, literal, names_in, python_value, statements

_LINES = 1_000
_PROMPTS = 200
_SKIPPED = re.compile(r"#\s*doctest:.*\+(?:SKIP|ELLIPSIS|IGNORE)", re.I)
_ADDRESS = re.compile(r"\b(?:at )?0x[0-9a-fA-F]{4,}")
_TRACEBACK = "Traceback (most recent call last)"
_ERROR = re.compile(r"^([A-Za-z_][\w.]*)(?::|$)")
_EXPECTED = re.compile(
    r"(?:^|(?<=[.\n]) *)(?:(?:but )?(?:it|this|these|they|the (?:first|result|second|calls?)|both) )?"
    r"(?:(?:should|must) (?:\w+ )?(?:be|return|give|equal|yield|print|show)|(?:is |was |were )?expected)"
    r"[ \t]*:?\s{0,20}",
    re.I,
)
_SILENT = re.compile(
    r"\b(?:instead of|rather than|without) (?:\w+ ){0,3}?(?:rais|throw|error|exception)"
    r"|\b(?:does not|doesn't|never) (?:raise|throw)|\bno (?:error|exception)\b|\b(?:quietly|silently)\b",
    re.I,
)
_RAISES = re.compile(
    r"\b(?:should|must|ought to|needs? to|has to) (?:\w+ )?(?:raise|throw) (?:an? )?`?(?:\w+\.)*"
    r"([A-Z]\w*(?:Error|Exception))\b"
)
_EACH = re.compile(r"^[`\s]*(?:,)?\s*(?:for|in|from) (?:both|all|each|every)", re.I)
_BETWEEN = re.compile(r"^[`\s]*(?:,\s*and|,|and)\s*")


@dataclass(slots=True)
class Scope:
    """What came before in a text and has to be run before a call of it."""

    entry: str = ""
    before: list[ast.stmt] = field(default_factory=list)
    """Imports, assignments and definitions, and calls on what was assigned."""
    assigned: set[str] = field(default_factory=set)
    """Names bound by them, imports left out."""
    state: set[str] = field(default_factory=set)
    """Names bound to values, which a call may change."""

    def add(self, statement: ast.stmt) -> None:
        """Remember a statement, unless it would replace what is under test or changes nothing."""
        if isinstance(statement, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            if statement.name == self.entry or ast.get_docstring(statement) is not None:
                return
            self.assigned.add(statement.name)
        elif isinstance(statement, ast.Expr):
            if not names_in(statement) & self.state:
                return
        elif not isinstance(statement, ast.Import | ast.ImportFrom):
            self.state |= {
                item.id
                for item in ast.walk(statement)
                if isinstance(item, ast.Name) and isinstance(item.ctx, ast.Store)
            }
            self.assigned |= self.state
        self.before.append(statement)

    def setup(self, call: ast.AST, only_imports: bool = False) -> str:
        """Source of what the call needs: all of it when it uses an assigned name, else the imports."""
        used = names_in(call)
        imports = (ast.Import, ast.ImportFrom)
        everything = bool(used & self.assigned) and not only_imports
        kept = [item for item in self.before if everything or isinstance(item, imports)]
        bound = {
            (alias.asname or alias.name).split(".")[0]
            for item in kept
            if isinstance(item, imports)
            for alias in item.names
        }
        bases = {
            item.value.id
            for item in ast.walk(call)
            if isinstance(item, ast.Attribute) and isinstance(item.value, ast.Name)
        }
        missing = sorted((bases & sys.stdlib_module_names) - bound - self.assigned)
        return "\n".join([*(f"import {name}" for name in missing), *(ast.unparse(item) for item in kept)])


@dataclass(frozen=True, slots=True)
class _Entry:
    """One prompt of a session."""

    source: str
    shown: tuple[str, ...]


def session(text: str, scope: Scope, trusted: bool, after: str = "", heading: str = "") -> list[Example]:
    """Examples of one session. Without trust only what the prose `after` it calls expected is taken."""
    found: list[Example] = []
    for entry in _entries(text):
        example = _example(entry, scope)
        if example:
            found.append(example)
    if trusted:
        return [item for item in found if item.expected or item.raises]
    return _instead(found, after) or _raising(found, after, heading)


def _entries(text: str) -> list[_Entry]:
    source: list[str] = []
    shown: list[str] = []
    found: list[_Entry] = []
    for line in text.split("\n")[:_LINES]:
        stripped = line.strip()
        if stripped.startswith(">>>"):
            if source:
                found.append(_Entry("\n".join(source), tuple(shown)))
            source, shown = [stripped[3:].removeprefix(" ")], []
        elif source and not shown and (stripped == "..." or stripped.startswith("... ")):
            source.append(stripped[3:].removeprefix(" "))
        elif source:
            shown.append(line)
    found = [*found, _Entry("\n".join(source), tuple(shown))] if source else found
    return found[:_PROMPTS]


def _example(entry: _Entry, scope: Scope) -> Example | None:
    """The example of one prompt; its statements are added to the scope when it is none."""
    lines = [line for line in entry.shown if line.strip()]
    tree = statements(entry.source)
    if not tree or _SKIPPED.search(entry.source):
        return None
    for statement in tree[:-1]:
        scope.add(statement)
    last = tree[-1]
    if not isinstance(last, ast.Expr):
        scope.add(last)
        return None
    call = last.value
    setup = scope.setup(call)
    if not (lines and lines[0].lstrip().startswith(_TRACEBACK)):
        scope.add(last)
    source = "\n".join([f">>> {entry.source}", *(line.strip() for line in lines)])[:400]
    if not any(
        isinstance(item, ast.Call | ast.Attribute | ast.Subscript | ast.Name) for item in ast.walk(call)
    ):
        return None
    if isinstance(call, ast.Compare) and not lines:
        return compared(call, setup, source)
    outcome = _shown(lines, entry.shown, call, scope)
    if outcome is None:
        return None
    expected, raises, exact = outcome
    return Example(setup, ast.unparse(call), expected, raises, source, exact)


def _shown(
    lines: list[str], raw: Sequence[str], call: ast.expr, scope: Scope
) -> tuple[str, str, bool] | None:
    """(expected, raises, exact) of the shown lines; None when they say nothing that is certain."""
    if not lines:
        direct = isinstance(call, ast.Call) and ast.unparse(call.func) == scope.entry
        return ("None", "", False) if direct else None
    if lines[0].lstrip().startswith(_TRACEBACK):
        errors = [match[1] for line in lines[1:] if not line[:1].isspace() and (match := _ERROR.match(line))]
        return ("", errors[-1].rpartition(".")[2], False) if errors else None
    text = inner = "\n".join(raw).strip("\n")
    if _printed(call) is None:
        for end in range(len(lines), 0, -1):
            inner = " ".join(line.strip() for line in lines[:end])
            if value := python_value(_uncommented(inner)):
                return value, "", False
            if end < len(lines) - 30:
                break
        for arrow in ("➞", "→", "=>", "->"):
            if lines[0].lstrip().startswith(arrow) and (
                value := python_value(lines[0].lstrip()[len(arrow) :])
            ):
                return value, "", False
    if "..." in text or _ADDRESS.search(text) or _prose(lines):
        return None
    return text.replace("<BLANKLINE>", ""), "", True


def _uncommented(text: str) -> str:
    """The literal before a comment behind it, or the text."""
    value, rest = literal(text)
    return value if value and rest.strip().startswith("#") else text


def _prose(lines: Sequence[str]) -> bool:
    """Whether shown lines read like a sentence, which no runner would print."""
    return any(
        len(words := line.split()) >= 4 and sum(word.strip(".,").isalpha() for word in words) >= 4
        for line in lines
    )


def _printed(call: ast.expr) -> ast.expr | None:
    """What the call prints, where it is `print(value)`."""
    named = isinstance(call, ast.Call) and isinstance(call.func, ast.Name) and call.func.id == "print"
    return call.args[0] if named and isinstance(call, ast.Call) and len(call.args) == 1 else None


def compared(call: ast.Compare, setup: str, source: str) -> Example:
    """`f(1) == 2` as a call and its value; any other comparison must hold."""
    equal = len(call.ops) == 1 and isinstance(call.ops[0], ast.Eq | ast.Is)
    if equal and any(isinstance(item, ast.Call) for item in ast.walk(call.left)):
        return Example(setup, ast.unparse(call.left), ast.unparse(call.comparators[0]), "", source[:400])
    return Example(setup, f"bool({ast.unparse(call)})", "True", "", source[:400])


def _instead(found: list[Example], after: str) -> list[Example]:
    """The examples with what the prose after the session expects; what was shown is how it is today."""
    match = _EXPECTED.search(after[:600])
    if not match:
        return []
    values: list[str] = []
    rest = after[match.end() :]
    while len(values) < 20:
        value, following = literal(rest)
        if not value:
            break
        values.append(value)
        between = _BETWEEN.match(following)
        rest = following[between.end() :] if between else following
        if not between:
            break
    if len(values) == 1 and len(found) > 1 and _EACH.match(rest):
        values *= len(found)
    if len(values) == 1:
        found = found[-1:]
    if len(values) != len(found):
        return []
    return [
        Example(
            item.setup,
            item.call,
            value,
            "",
            f"{item.source}\nexpected {value}"[:400],
            False,
            item.expected or item.raises,
        )
        for item, value in zip(found, values, strict=True)
        if expression(value) is not None
    ]


def _raising(found: list[Example], after: str, heading: str) -> list[Example]:
    """The one call that shows a value, where the prose says that it must raise and does not."""
    match = _RAISES.search(after[:600])
    if not match or len(found) != 1 or not found[0].expected or not _SILENT.search(heading):
        return []
    item = found[0]
    source = f"{item.source}\nmust raise {match[1]}"[:400]
    return [Example(item.setup, item.call, "", match[1], source, False, item.expected)]
