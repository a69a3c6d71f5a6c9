"""Finds secrets in texts: tokens of known kinds, private keys, passwords beside their names, in base64 too.

Nothing here asks a network, and nothing goes by entropy alone. The plugins of detect-secrets are tried only
where a text has what they look for, so that a megabyte of plain output costs some tens of milliseconds
(benchmarks/planted_secrets.py).
"""

import binascii
import json
import os
import re
from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import cache
from importlib import import_module
from typing import Final

from feedback.secret_forms import Seen, Span, addresses, assigned, headers, private_keys
from feedback.secret_rules import (
    HINTS,
    PLUGINS,
    PREFIXED,
    Plugin,
    Prefixed,
    is_random,
    is_secret_variable,
    is_whole,
    wordiness,
)

REACH: Final = 2_048
"""Characters on both sides of a cut that are looked at together."""
_GENERIC = frozenset({"assigned-secret", "assigned-password", "basic-auth", "authorization-header", "cookie"})
"""Detectors whose name tells less than another's that found the same place."""
_SURE = frozenset({"environment-value", "private-key"})


@dataclass(frozen=True, slots=True, order=True)
class Found:
    """A secret in a text."""

    start: int
    end: int
    """The first character after it."""
    detector: str
    """Such as `github-token`; `base64-github-token` where it is encoded."""
    value: str = field(repr=False, default="")


def find(text: str, env_values: Collection[str] = ()) -> list[Found]:
    """All secrets of a text, in order and apart. `env_values` are texts that count wherever they stand."""
    if len(text) < 6:
        return []
    seen = Seen.of(text)
    spans = [*_plain(seen), *_known(text, env_values), *_encoded(seen, env_values)]
    return [Found(*span, text[span[0] : span[1]]) for span in _apart(spans)]


def across(left: str, right: str, env_values: Collection[str] = ()) -> tuple[list[Found], list[Found]]:
    """Secrets that begin at the end of one text and end at the beginning of the next: the part in each.

    What was printed around a text is skipped: white space, quotes, and the notes `[...]` below an output.
    """
    begin, end = fringe(left, right)
    first, last = max(0, end - REACH), min(len(right), begin + REACH)
    cut = end - first
    if not cut or begin == last:
        return [], []
    lefts, rights = list[Found](), list[Found]()
    joined = left[first:end] + right[begin:last]
    over = [found for found in find(joined, env_values) if found.start < cut < found.end]
    alone = {found.start for found in find(joined[:cut], env_values) if found.end == cut} if over else set()
    for found in over:
        whole = found.start in alone and is_whole(joined[found.start : cut])
        if not whole and (is_whole(found.value) or not _is_word(joined[cut : found.end])):
            lefts.append(Found(first + found.start, end, found.detector, found.value))
            rights.append(Found(begin, begin + found.end - cut, found.detector, found.value))
    return lefts, rights


def _is_word(text: str) -> bool:
    """True for what is a word of its own rather than the rest of a token; as such a rest it tells nothing."""
    plain = len(text) < 12 and text.isalpha() and (text.islower() or text.istitle() or text.isupper())
    return plain and (len(text) < 5 or wordiness(text) == 1)


def fringe(left: str, right: str) -> tuple[int, int]:
    """Where the second text begins and the first one ends, without what was printed around them."""
    end = len(left.rstrip(_FRINGE))
    for _ in range(8):  # notes
        begin = left.rfind("\n", 0, end) + 1
        if left[begin : begin + 1] != "[" or left[end - 1 : end] != "]":
            break
        end = len(left[:begin].rstrip(_FRINGE))
    return len(right) - len(right.lstrip(_FRINGE)), end


_FRINGE = " \t\r\n\"'`…\\"


def environment_values(environ: Mapping[str, str] | None = None) -> tuple[str, ...]:
    """Values of variables with secret-like names, 8 characters or more; of this process if not told."""
    found = {
        value.strip()
        for name, value in (os.environ if environ is None else environ).items()
        if is_secret_variable(name, value.strip())
    }
    return tuple(sorted(found))


def _plain(seen: Seen) -> Iterator[Span]:
    text, dense = seen.text, _dense(seen)
    for kind in PREFIXED:
        for begin in kind.begins:
            if begin.encode() in dense:
                yield from _tokens(seen, kind, begin)
    if b"PRIVATE KEY" in seen.raw or b"Private-MAC" in seen.raw:
        yield from private_keys(text)
    yield from addresses(seen)
    for hint in HINTS:
        yield from assigned(seen, hint)
    yield from headers(seen)
    if b"eyJ" in dense:
        yield from _jwts(text)
    if b"AKIA" in dense or b"ASIA" in dense:
        yield from _pairs(text)
    yield from _plugins(seen, dense)


def _dense(seen: Seen) -> bytes:
    """The parts of a text that have no white space for long: all tokens are there, and it is far shorter."""
    return b"\n".join(seen.raw[start:end] for start, end in _runs(seen.raw, 15, _TOKENS))


def _tokens(seen: Seen, kind: Prefixed, begin: str) -> Iterator[Span]:
    """Tokens with this beginning; one that is cut off by the end of the text counts from 11 characters on."""
    text = seen.text
    done = 0
    for at in seen.places(begin):
        after = at + len(begin)
        if at < done or not _starts(text, at):
            continue
        if body := kind.body.match(text, after):
            done = body.end()
            if len(set(body[0])) >= 6 and (not kind.random or is_random(body[0], words=kind.words)):
                yield at, done, kind.detector
        elif len(begin) >= 4 and (part := _PART.match(text, after)):
            done = part.end()
            if _CUT.match(text, done) and is_random(part[0]):
                yield at, done, kind.detector


_PART = re.compile(r"[A-Za-z0-9_.-]{11,}")
_CUT = re.compile(r"(?:…|\.{3})?[ \t\r]*\n*(?:\[[^\n]{0,300}\][ \t\r]*\n*){0,20}(?:\Z|(?<=\n)\[… )")
_LEAD = re.compile(
    r"(?:\\[abefnrtv0]|\\u[0-9a-fA-F]{4}|\\x[0-9a-fA-F]{2}|%[0-9A-Fa-f]{2}|\x1b\[[\d;]*[A-Za-z])\Z"
)


def _starts(text: str, at: int) -> bool:
    """True where no word goes on: after a sign, an escape such as `\\n` or `%20`, or a colour."""
    return (
        at == 0
        or not (text[at - 1].isascii() and text[at - 1].isalnum())
        or bool(_LEAD.search(text[max(0, at - 16) : at]))
    )


_JWT = re.compile(r"eyJ[A-Za-z0-9_-]{8,}(?:\.[A-Za-z0-9_-]*){1,4}")


def _jwts(text: str) -> Iterator[Span]:
    """JSON web tokens: a header in base64, and at least one part more."""
    for found in _JWT.finditer(text):
        header, _, rest = found[0].partition(".")
        try:
            told = json.loads(_decoded(header))
        except ValueError:
            continue
        if isinstance(told, dict) and len(rest) >= 8:
            yield *found.span(), "jwt"


_AWS_ID = re.compile(r"(?:AKIA|ASIA)[0-9A-Z]{16}")
_AWS_SECRET = re.compile(r"(?<![A-Za-z0-9/+=])[A-Za-z0-9/+]{40}(?![A-Za-z0-9/+=])")


def _pairs(text: str) -> Iterator[Span]:
    """The forty characters beside the id of an AWS key."""
    for key in _AWS_ID.finditer(text):
        for found in _AWS_SECRET.finditer(text, max(0, key.start() - 300), min(len(text), key.end() + 300)):
            if re.search("[a-z]", found[0]) and re.search("[A-Z]", found[0]) and re.search(r"\d", found[0]):
                yield *found.span(), "aws-secret-key"


def _plugins(seen: Seen, dense: bytes) -> Iterator[Span]:
    """What the plugins of detect-secrets find, tried where a text can hold it."""
    for plugin in PLUGINS:
        for begin in plugin.begins:
            if begin.encode() in dense:
                done = 0
                for at in seen.places(begin):
                    if at >= done:
                        line = seen.raw.find(b"\n", at)
                        done = at + 500 if line < 0 else min(at + 500, line)
                        yield from _asked(plugin, seen.text, max(0, at - 200), at + 1_100, at)
    for first, end in _runs(seen.raw, min(_LENGTHS), _NAMES):
        lead = seen.raw[first - 1 : first]
        start = first + (lead == b"\\" and seen.raw[first] in b"nrt")  # of an escape
        start += lead in (b"", b"\n") and seen.raw[first] in b"-"  # of a diff
        length = end - start
        if length not in _LENGTHS or (length > 40 and not _names_near(seen.lowered, start)):
            continue
        for plugin in PLUGINS:
            if length in plugin.lengths:
                yield from _asked(plugin, seen.text, max(0, start - 60), end + 60, start)


_LENGTHS = frozenset(length for plugin in PLUGINS for length in plugin.lengths)


def _names_near(lowered: bytes, at: int) -> bool:
    near = lowered[max(0, at - 40) : at]
    return any(word in near for word in (b"key", b"pw", b"pass", b"token", b"soap"))


def _asked(plugin: Plugin, text: str, first: int, last: int, hit: int) -> Iterator[Span]:
    first = max(first, text.rfind("\n", first, hit) + 1)
    stop = text.find("\n", hit, last)
    window = text[first : last if stop < 0 else stop]
    for expression in _expressions(plugin):
        for found in expression.finditer(window):
            group = plugin.group if expression.groups >= plugin.group else 0
            value = found[group].strip(' \t\r\n=:"')
            start = first + found.start(group) + found[group].find(value)
            end = start + len(value)
            ends = end >= len(text) or not (text[end].isascii() and text[end].isalnum())
            good = not plugin.random or (is_random(value) and any(char.isdigit() for char in value))
            if value and good and ends and _starts(text, start) and len(set(value)) >= 6:
                yield start, end, plugin.detector


@cache
def _expressions(plugin: Plugin) -> tuple["re.Pattern[str]", ...]:
    """Loaded when first needed: the package takes a tenth of a second."""
    module = import_module(f"detect_secrets.plugins.{plugin.module}")
    return tuple(getattr(module, plugin.name).denylist)


def _table(extra: bytes) -> bytes:
    kept = frozenset(b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789" + extra)
    return bytes(ord("a") if byte in kept else ord(" ") for byte in range(256))


_NAMES, _BASE64, _TOKENS = _table(b"_-"), _table(b"+/_-"), _table(b"+/_-.%=")
_READABLE = _table(bytes(range(32, 127)) + b"\n\r\t")


def _runs(raw: bytes, least: int, table: bytes) -> Iterator[tuple[int, int]]:
    """Where so many characters of a kind stand in a row. Far faster than an expression."""
    marks = raw.translate(table)
    needle = b"a" * least
    at = marks.find(needle)
    while at >= 0:
        end = marks.find(b" ", at)
        end = len(marks) if end < 0 else end
        yield at, end
        at = marks.find(needle, end)


def _known(text: str, values: Collection[str]) -> Iterator[Span]:
    for value in values:
        for form in {value, json.dumps(value)[1:-1]}:
            at = text.find(form) if form else -1
            while at >= 0:
                yield at, at + len(form), "environment-value"
                at = text.find(form, at + len(form))


_WRAP = re.compile(r"(?:\r?\n|\\r\\n|\\n)(?:[ \t>|+-]|\d{1,6}(?=[ \t|:]))*")
_LAST_LINE = re.compile(
    r"(?:\r?\n|\\r\\n|\\n)(?:[ \t>|+-]|\d{1,6}(?=[ \t|:]))*([A-Za-z0-9+/_-]{1,23})(?=[=\s\\\"']|$)"
)
_WRAPPED = 40
"""A line of base64 that goes on in the next one has at least so many characters."""


def _encoded(seen: Seen, env_values: Collection[str]) -> Iterator[Span]:
    """Secrets inside of base64, also where it is wrapped over lines: all of the encoded text."""
    text = seen.text
    for pieces in _blocks(seen):
        joined = "".join(text[start:end] for start, end in pieces)
        if joined.islower() or joined.isupper() or joined.isdigit():
            continue
        for offset in range(4):
            shown = _decoded(joined[offset:])
            if b"a" * 12 not in shown.translate(_READABLE):
                continue
            inner = shown.decode("latin-1")
            if found := _apart([*_plain(Seen.of(inner)), *_known(inner, env_values)]):
                start, end = pieces[0][0], pieces[-1][1]
                while text[end : end + 1] == "=":
                    end += 1
                yield start, end, f"base64-{found[0][2]}"
                break


def _blocks(seen: Seen) -> Iterator[list[tuple[int, int]]]:
    """Runs of base64; lines of one that is wrapped come together."""
    text, block = seen.text, list[tuple[int, int]]()
    for start, end in _runs(seen.raw, 20, _BASE64):
        follows = block and block[-1][1] - block[-1][0] >= _WRAPPED and start - block[-1][1] < 24
        if block and not (follows and _WRAP.fullmatch(text, block[-1][1], start)):
            yield _finished(text, block)
            block = []
        block.append((start, end))
    if block:
        yield _finished(text, block)


def _finished(text: str, block: list[tuple[int, int]]) -> list[tuple[int, int]]:
    start, end = block[-1]
    if end - start >= _WRAPPED and (last := _LAST_LINE.match(text, end)):
        return [*block, last.span(1)]
    return block


def _decoded(text: str) -> bytes:
    """Bytes of base64 or base64url without padding, as far as they are whole."""
    whole = text.replace("-", "+").replace("_", "/")
    spare = len(whole) % 4
    whole = whole[:-1] if spare == 1 else whole
    try:
        return binascii.a2b_base64(whole + "=" * (-len(whole) % 4))
    except binascii.Error:
        return b""


def _apart(spans: Iterable[Span]) -> list[Span]:
    """In order and apart: what overlaps becomes one, named by the most telling detector."""
    merged: list[Span] = []
    for span in sorted(set(spans), key=lambda one: (one[0], -one[1], one[2])):
        if merged and span[0] < merged[-1][1]:
            last = merged[-1]
            name = min(last, span, key=lambda one: (_rank(one[2]), one[0], -one[1], one[2]))[2]
            merged[-1] = (last[0], max(last[1], span[1]), name)
        else:
            merged.append(span)
    return merged


def _rank(detector: str) -> int:
    if detector in _SURE:
        return 0
    if detector in _GENERIC:
        return 3
    return 2 if detector.startswith("base64-") else 1
