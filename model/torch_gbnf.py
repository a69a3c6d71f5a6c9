"""GBNF, llama.cpp's notation of grammars, as Lark rules for llguidance.

The library reads GBNF and can write it as Lark, but makes of every part a lexeme of which the longest wins:
`[a-z]+ "b"` then matches nothing. llama.cpp knows no lexemes. So here a grammar without recursion becomes one
regular expression, which means the same. With recursion, the stretches between two rules that recur become
one expression each; only where a stretch could also take the beginning of the next one are strings lost, and
none is won.
"""

import re
from collections.abc import Iterator, Sequence

from llguidance.gbnf_to_lark import (
    AlternativeNode,
    ASTNode,
    GbnfToLarkError,
    GrammarParser,
    LiteralNode,
    RegexNode,
    RepetitionNode,
    RuleNode,
    RuleRefNode,
    SequenceNode,
)

_LONG_ESCAPE = re.compile(r"\\(?:u([0-9A-Fa-f]{4})|U([0-9A-Fa-f]{8})|(.))", re.DOTALL)
_CHAR = re.compile(r"\\x([0-9A-Fa-f]{2})|\\([nrt])|\\?(.)", re.DOTALL)
_NAMED = {"n": "\n", "r": "\r", "t": "\t"}


def lark_of(text: str) -> str:
    """The same grammar as Lark rules that begin at `start`. Raises ValueError with the reason."""
    try:
        rules = GrammarParser().parse(_LONG_ESCAPE.sub(_short, text))
        return _Writer(rules).written()
    except GbnfToLarkError as error:
        raise ValueError(str(error)) from error
    except RecursionError as error:
        raise ValueError("the grammar is nested too deeply") from error


def _short(found: re.Match[str]) -> str:
    """A long escape as the character itself: the library's parser drops leading zeros of long ones."""
    digits = found[1] or found[2]
    if not digits:
        return found[0]
    code = int(digits, 16)
    if code > 0x10FFFF or 0xD800 <= code < 0xE000:
        raise ValueError(f"{found[0]} is no character")
    return f"\\x{code:02x}" if code < 128 else chr(code)


class _Writer:
    """Writes the rules that are reached from `root`: upper-case names are regular, lower-case ones recur."""

    def __init__(self, rules: dict[str, RuleNode]) -> None:
        self._rules = rules
        reached = self._reached()
        self._regular = self._without_recursion(reached)
        self._names = {
            name: f"{'R' if name in self._regular else 'r'}{number}" for number, name in enumerate(reached)
        }
        self._stretches: list[str] = []

    def written(self) -> str:
        lines = [f"start: {self._names['root']}"]
        for name, own in self._names.items():
            body = self._rules[name].alternatives
            lines.append(f"{own}: {self._expression(body) if name in self._regular else self._rule(body)}")
        return "\n".join([*lines, *self._stretches]) + "\n"

    def _reached(self) -> list[str]:
        pending, reached = ["root"], dict.fromkeys(["root"])
        while pending:
            name = pending.pop()
            if name not in self._rules:
                raise ValueError(f"no rule is called {name}")
            for other in _named(self._rules[name]):
                if other not in reached:
                    reached[other] = None
                    pending.append(other)
        return list(reached)

    def _without_recursion(self, reached: Sequence[str]) -> set[str]:
        """Rules that lead to no rule which leads to itself: those whose rules are all of that kind."""
        waits = {name: set(_named(self._rules[name])) for name in reached}
        users: dict[str, list[str]] = {}
        for name, others in waits.items():
            for other in others:
                users.setdefault(other, []).append(name)
        ready = [name for name, others in waits.items() if not others]
        regular: set[str] = set()
        while ready:
            name = ready.pop()
            regular.add(name)
            for user in users.get(name, []):
                waits[user].discard(name)
                if not waits[user]:
                    ready.append(user)
        return regular

    def _is_regular(self, node: ASTNode) -> bool:
        return all(name in self._regular for name in _named(node))

    def _rule(self, node: ASTNode) -> str:
        """Lark for a part that recurs, or for a regular part in the midst of such."""
        if self._is_regular(node):
            return self._stretch([node], " ")
        if isinstance(node, RuleRefNode):
            return self._names[node.name]
        if isinstance(node, RepetitionNode):
            return f"({self._rule(node.node)}){_times(node)}"
        if isinstance(node, AlternativeNode):
            plain = [one for one in node.alternatives if self._is_regular(one)]
            parts = [self._rule(one) for one in node.alternatives if not self._is_regular(one)]
            return "(" + " | ".join([*([self._stretch(plain, " | ")] if plain else []), *parts]) + ")"
        parts, run = [], []
        for child in node.children():
            if self._is_regular(child):
                run.append(child)
                continue
            parts += [*([self._stretch(run, " ")] if run else []), self._rule(child)]
            run = []
        return " ".join([*parts, *([self._stretch(run, " ")] if run else [])])

    def _stretch(self, nodes: Sequence[ASTNode], between: str) -> str:
        """The name of a new expression for these parts."""
        name = f"S{len(self._stretches)}"
        self._stretches.append(f"{name}: {between.join(self._expression(node) for node in nodes)}")
        return name

    def _expression(self, node: ASTNode) -> str:
        """A regular part in Lark's notation of expressions."""
        if isinstance(node, RuleRefNode):
            return self._names[node.name]
        if isinstance(node, LiteralNode):
            return f"/{''.join(_spelt(char) for char, _ in _chars(node.value))}/" if node.value else '""'
        if isinstance(node, RegexNode):
            return "/(?s:.)/" if node.rx == "." else f"/{_class(node.rx)}/"
        if isinstance(node, RepetitionNode):
            return f"({self._expression(node.node)}){_times(node)}"
        if isinstance(node, AlternativeNode):
            return "(" + " | ".join(self._expression(one) for one in node.alternatives) + ")"
        assert isinstance(node, SequenceNode)
        return "(" + " ".join(self._expression(one) for one in node.nodes) + ")" if node.nodes else '""'


def _named(node: ASTNode) -> Iterator[str]:
    """Names of the rules that a part refers to."""
    pending = [node]
    while pending:
        found = pending.pop()
        if isinstance(found, RuleRefNode):
            yield found.name
        pending.extend(found.children())


def _times(node: RepetitionNode) -> str:
    least, most = node.min_times, node.max_times
    if most is not None and most < least:
        raise ValueError(f"nothing can be repeated at least {least} and at most {most} times")
    return f"{{{least},{'' if most is None else most}}}"


def _chars(raw: str) -> Iterator[tuple[str, bool]]:
    """The characters of a literal or class, escapes resolved, and whether each was escaped."""
    for found in _CHAR.finditer(raw):
        char = chr(int(found[1], 16)) if found[1] else _NAMED.get(found[2], "") or found[3]
        yield char, found[0][0] == "\\" and len(found[0]) > 1


def _class(raw: str) -> str:
    """A class such as `[^a-z]` as a regular expression; `raw` is what the library's parser made of it."""
    negated = raw.startswith("[^")
    chars = list(_chars(raw[2 if negated else 1 : -1]))
    spans, at = "", 0
    while at < len(chars):
        if at + 2 < len(chars) and chars[at + 1] == ("-", False):
            first, last = chars[at][0], chars[at + 2][0]
            if last < first:
                raise ValueError(f"the range {first}-{last} is the wrong way round")
            spans += f"{_spelt(first)}-{_spelt(last)}"
            at += 3
        else:
            spans += _spelt(chars[at][0])
            at += 1
    if not spans:
        if negated:
            return "(?s:.)"
        raise ValueError("the class [] matches nothing")
    return f"[{'^' if negated else ''}{spans}]"


def _spelt(char: str) -> str:
    return char if char.isascii() and char.isalnum() else f"\\x{{{ord(char):x}}}"
