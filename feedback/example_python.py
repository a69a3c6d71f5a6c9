"""Examples in Python: of sessions, code blocks, asserts and prose."""

import ast
import builtins
import io
import re
import tokenize
from collections.abc import Iterator

from feedback.example import CHARS, Example
from feedback.example_blocks import Block, Description, blocks, descriptions, parameters
from feedback.example_scan import STRING, call_end, expression, literal, names_in, statements
from feedback.example_session import Scope, compared, session
from feedback.example_words import Said, said_after, said_in_comment

_CALLS = 600
"""Calls of one text that are looked at."""
_ASSERTS = 100
_CALL = re.compile(r"(?<![\w.'\"])[A-Za-z_][\w.]{0,120}\(")
_PARTIAL = re.compile(
    r"(?:[+*/%<>=&|([{@-]|\b(?:not|lambda|await|if|elif|when|unless|while|until|return|def|class|in))\s*$|\.$"
)
_BULLET = re.compile(r"^\s*(?:[-*•>]+|\d+[.)]|\(?[a-z]\))\s+")
_ASSERT = re.compile(r"(?:^|(?<=[`:;])|(?<=:\s))[ \t]{0,40}(assert[ \t]+)(?=\S)")
_NOW = re.compile(
    r"\b(?:currently|at the moment|right now|now|actual(?:ly)?|wrong(?:ly)?|incorrect(?:ly)?"
    r"|unlike|bug|used to|previously)\b",
    re.I,
)
_SHOULD = re.compile(r"\b(?:expected|should|desired|correct|wanted|after the fix)\b", re.I)
_GIVEN = re.compile(
    r"(?:^|[\s(])(?:for|given|with|if|when|input)\s*:?\s+((?:\w+\s*(?:=|is)\s*)?\S[^\n]{0,160}?)[,.;:]?[ \t]+"
    r"(?:then )?(?:the )?(?:function |correct )?(?:output|result|answer|function|it|value|return value)\s+"
    r"(?:should|must|would|will)(?: be| return| give| equal)\s*:?\s*",
    re.I,
)
_INPUT = re.compile(
    r"^[ \t]{0,20}input[ \t]?[:=][ \t]*(\S[^\n]{0,400})\n{1,2}"
    r"[ \t]{0,20}(?:output|returns?|result)[ \t]?[:=][ \t]*",
    re.I | re.M,
)
_ASSIGN = re.compile(r"\s*([A-Za-z_]\w*)\s*(?:=(?!=)|\bis\b)\s*")


def python_examples(text: str, entry: str) -> Iterator[Example]:
    """All examples of a text, in order, contradictions included."""
    needed = parameters(text, entry)
    for description in descriptions(text):
        scope = Scope(entry)
        parts = blocks(description.text)
        for index, block in enumerate(parts):
            following = (
                parts[index + 1].text if index + 1 < len(parts) and parts[index + 1].kind == "prose" else ""
            )
            if block.kind == "session":
                yield from session(block.text, scope, _trusted(block, description), following, block.heading)
            elif block.kind == "code":
                yield from _of_code(block, scope, description)
            else:
                yield from _of_prose(block.text, scope, description, needed)


def _trusted(block: Block, description: Description) -> bool:
    """Whether what the block shows is how it should be."""
    if _NOW.search(block.heading):
        return False
    return not description.report or bool(_SHOULD.search(block.heading) and block.heading.endswith(":"))


def _of_code(block: Block, scope: Scope, description: Description) -> Iterator[Example]:
    """Asserts, comparisons, and calls with a comment that tells their value."""
    comments = _comments(block.text)
    trusted = _trusted(block, description)
    for statement in statements(block.text) or []:
        end = statement.end_lineno or statement.lineno
        source = "\n".join(block.text.split("\n")[statement.lineno - 1 : end])
        if isinstance(statement, ast.Assert):
            yield from _asserted(statement, scope, source)
            continue
        if isinstance(statement, ast.Expr):
            call = statement.value
            comment = comments.get(end) or comments.get(-end - 1, "")
            if isinstance(call, ast.Compare) and trusted:
                yield compared(call, scope.setup(call), source)
                continue
            said = said_in_comment(comment)
            if said and (said.sure or said.current or trusted):
                yield _told(_unprinted(call), said, scope.setup(call), source)
            if said and (said.raises or said.current):
                continue  # it may raise today, and must not keep what follows from running
        scope.add(statement)


def _comments(text: str) -> dict[int, str]:
    """Comments by line; one that has its line to itself is under the negative number."""
    found: dict[int, str] = {}
    try:
        for token in tokenize.generate_tokens(io.StringIO(text).readline):
            if token.type == tokenize.COMMENT:
                alone = not token.line[: token.start[1]].strip()
                found[-token.start[0] if alone else token.start[0]] = token.string.lstrip("# ")
    except (tokenize.TokenError, SyntaxError):
        return found
    return found


def _unprinted(call: ast.expr) -> ast.expr:
    """`value` of `print(value)`."""
    printed = isinstance(call, ast.Call) and isinstance(call.func, ast.Name) and call.func.id == "print"
    return call.args[0] if printed and isinstance(call, ast.Call) and len(call.args) == 1 else call


def _told(call: ast.expr, said: Said, setup: str, source: str) -> Example:
    return Example(setup, ast.unparse(call), said.expected, said.raises, source[:400], False, said.current)


def _asserted(statement: ast.Assert, scope: Scope, source: str) -> Iterator[Example]:
    """An assert as an example: of `f(1) == 2` the sides, of anything else its truth."""
    test = statement.test
    calls = [item for item in ast.walk(test) if isinstance(item, ast.Call)]
    if not calls:
        return
    setup = scope.setup(test)
    if isinstance(test, ast.Compare):
        yield compared(test, setup, source)
    elif isinstance(test, ast.UnaryOp) and isinstance(test.op, ast.Not):
        yield Example(setup, f"bool({ast.unparse(test.operand)})", "False", "", source[:400])
    else:
        yield Example(setup, f"bool({ast.unparse(test)})", "True", "", source[:400])


def _of_prose(
    text: str, scope: Scope, description: Description, needed: tuple[str, ...] | None
) -> Iterator[Example]:
    """Asserts in the text, calls followed by words about them, and given inputs with their output."""
    text = "\n".join(_BULLET.sub("", line) for line in text.split("\n"))
    asserts = list(_prose_asserts(text, scope))
    yield from (example for _start, example in asserts)
    taken = {start for start, _example in asserts}
    position = seen = 0
    while seen < _CALLS and (match := _CALL.search(text, position)):
        seen += 1
        end = call_end(text, match.end() - 1)
        position = end if end > 0 else match.end()
        lead = text[max(0, match.start() - 300) : match.start()]
        if end < 0 or match.start() in taken or _PARTIAL.search(lead.rpartition("\n")[2].replace("(`", "`")):
            continue
        said = said_after(text[end : end + 2_000])
        call = expression(text[match.start() : end]) if said else None
        if said is None or call is None or not _fits(call, scope, description):
            continue
        position = end + said.end
        sentence = re.split(r"[.!?]\s|\n\s*\n", lead)[-1]
        doubted = description.report or bool(_NOW.search(sentence))
        if said.sure or said.current or not doubted:
            setup = scope.setup(call, only_imports=description.report)
            yield _told(_unprinted(call), said, setup, text[match.start() : position])
    if scope.entry:
        yield from _given(text, scope, needed)


def _prose_asserts(text: str, scope: Scope) -> Iterator[tuple[int, Example]]:
    tried = 0
    for number, line in enumerate(lines := text.split("\n")):
        for match in _ASSERT.finditer(line):
            told = line[match.start(1) :]
            cut = told.partition("`")[0] if line[: match.start(1)].rstrip().endswith("`") else told
            if (tried := tried + 1) > _ASSERTS:
                return
            for more in range(1, 12):
                tree = statements(cut.rstrip().rstrip(";")) if _balanced(cut) else None
                if tree and isinstance(tree[0], ast.Assert):
                    start = sum(len(item) + 1 for item in lines[:number]) + match.end(1)
                    for example in _asserted(tree[0], scope, cut):
                        yield start, example
                    break
                if number + more >= len(lines) or cut != told:
                    break
                told = cut = f"{cut}\n{lines[number + more]}"


def _balanced(text: str) -> bool:
    """Whether as many brackets close as open, strings left out; much cheaper than parsing."""
    if len(text) > CHARS:
        return False
    text = STRING.sub("", text)
    return all(text.count(left) == text.count(right) for left, right in ("()", "[]", "{}"))


def _fits(call: ast.expr, scope: Scope, description: Description) -> bool:
    """Whether everything that the call names can be there: no placeholders such as `n` in `f(n)`."""
    base = call
    while isinstance(base, ast.Call | ast.Attribute | ast.Subscript):
        base = base.func if isinstance(base, ast.Call) else base.value
    root = base.id if isinstance(base, ast.Name) else ""
    names = names_in(call)
    if scope.entry and scope.entry not in names | {
        item.attr for item in ast.walk(call) if isinstance(item, ast.Attribute)
    }:
        return False
    if not scope.entry and hasattr(builtins, root):
        return False
    if description.report and names & scope.assigned:
        return False  # prose often speaks of another `f` than the code above it
    functions = {
        item.func.id
        for item in ast.walk(call)
        if isinstance(item, ast.Call) and isinstance(item.func, ast.Name)
    }
    imported = {
        (alias.asname or alias.name).split(".")[0]
        for item in scope.before
        if isinstance(item, ast.Import | ast.ImportFrom)
        for alias in item.names
    }
    return all(
        name in functions | scope.assigned | imported | {root} or hasattr(builtins, name) for name in names
    )


def _given(text: str, scope: Scope, needed: tuple[str, ...] | None) -> Iterator[Example]:
    """`For lst = [1, 2] the output should be 3` and `Input: [1, 2]` over `Output: 3`."""
    for pattern in (_GIVEN, _INPUT):
        for match in pattern.finditer(text):
            arguments = _arguments(match[1], needed)
            said = said_in_comment(text[match.end() :].partition("\n")[0].replace("#", " "))
            if arguments and said and not said.current:
                call = expression(f"{scope.entry}({arguments})")
                if call is not None:
                    yield _told(call, said, scope.setup(call), match[0].strip())


def _arguments(text: str, needed: tuple[str, ...] | None) -> str:
    """`lst = [1], k = 2` as the arguments of a call; empty unless it is certain which is which."""
    named: list[tuple[str, str]] = []
    rest = text
    while len(named) < 9:
        name = ""
        if match := _ASSIGN.match(rest):
            name, rest = match[1], rest[match.end() :]
        value, rest = literal(rest)
        if not value:
            return ""
        named.append((name, value))
        between = re.match(r"[`\s]*(?:,\s*and\b|,|\band\b)\s*", rest)
        if not between:
            break
        rest = rest[between.end() :]
    if rest.strip(" `.,;:)"):
        return ""
    if len(named) == 1 and (needed is None or len(needed) == 1):
        return named[0][1]
    if needed is None or len(named) != len(needed):
        return ""
    if set(needed) == {name for name, _value in named}:
        return ", ".join(f"{name}={value}" for name, value in named)
    return ", ".join(value for _name, value in named) if not any(name for name, _value in named) else ""
