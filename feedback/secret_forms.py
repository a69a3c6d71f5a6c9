"""Secrets that are told by what stands around them: private keys, values of names, addresses, headers.

Each function yields start, end and detector of what is secret in a text: the value, or all of a private key.
"""

import base64
import binascii
import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

from feedback.secret_rules import (
    has_kinds,
    is_password_name,
    is_placeholder,
    is_random,
    is_secret_name,
    wordiness,
)

Span = tuple[int, int, str]


@dataclass(frozen=True, slots=True)
class Seen:
    """A text, and forms of it in which finding is fast; the places are the same in all."""

    text: str
    raw: bytes
    """With `?` for what is not ASCII."""
    lowered: bytes

    @classmethod
    def of(cls, text: str) -> "Seen":
        """The forms of a text."""
        raw = text.encode("ascii", "replace")
        return cls(text, raw, raw.lower())

    def places(self, part: str) -> Iterator[int]:
        """Where an ASCII text stands."""
        return _places(self.raw, part.encode())

    def places_lowered(self, part: str) -> Iterator[int]:
        """Where a text in small letters stands, in whatever letters."""
        return _places(self.lowered, part.encode())


def _places(text: bytes, part: bytes) -> Iterator[int]:
    at = text.find(part)
    while at >= 0:
        yield at
        at = text.find(part, at + len(part))


KEY_CHARS: Final = 16_000
"""No private key is longer, as text with line numbers."""
BLOCKS: Final = 100
"""Of a text that holds more blocks than these, the rest is taken as one: nobody's output does."""
_BEGIN = re.compile(r"-{4,5} ?BEGIN [A-Z0-9 ]{0,40}PRIVATE KEY(?: BLOCK)? ?-{4,5}")
_END = re.compile(r"-{4,5} ?END [A-Z0-9 ]{0,40}PRIVATE KEY(?: BLOCK)? ?-{4,5}")
_ESCAPE = r"(?:\\{1,4}[nrt]|\\{1,4}u000[aA])"
_LINE = re.compile(
    rf"(?:[ \t\r\n>|+\-:\"',]|{_ESCAPE}|\d{{1,6}}(?=[ \t|:])"
    rf"|(?:Proc-Type|DEK-Info|Comment|Version):[^\n\\]*)*(?:[A-Za-z0-9+/=]{{16,}}|[A-Za-z0-9+/]{{1,80}}={{0,2}}(?=\s|\\|[\"']|-|$))"
)
_BODY = re.compile(r"[A-Za-z0-9+/=]{32,}")
_SHORT_BODY = re.compile(rf"(?:[\w+/=.: \t\r\n-]|{_ESCAPE})*")
_PUTTY = re.compile(r"Private-Lines:[\s\S]{1,8000}?Private-MAC: ?[0-9a-fA-F]{16,}")


def private_keys(text: str) -> Iterator[Span]:
    """PEM and PGP blocks of private keys, with real or escaped newlines, quoted in a diff or numbered.

    A block whose end is missing is taken as far as its lines go, and one whose beginning is missing likewise.
    """
    after = 0
    for count, begin in enumerate(_BEGIN.finditer(text)):
        if begin.start() < after:
            continue
        if count >= BLOCKS:
            yield begin.start(), len(text), "private-key"
            return
        end = _END.search(text, begin.end(), begin.end() + KEY_CHARS)
        if end is not None and _is_body(text[begin.end() : end.start()]):
            after = end.end()
            yield begin.start(), after, "private-key"
        elif end is None and (last := _lines_from(text, begin.end())) > begin.end():
            after = last
            yield begin.start(), after, "private-key"
    for count, end in enumerate(_END.finditer(text)):
        if count >= BLOCKS:
            yield end.start(), len(text), "private-key"
            return
        if end.start() >= after and _BEGIN.search(text, max(0, end.start() - KEY_CHARS), end.start()) is None:
            first = _lines_before(text, end.start())
            if first < end.start():
                yield first, end.end(), "private-key"
        after = max(after, end.end())
    for found in _PUTTY.finditer(text):
        yield *found.span(), "private-key"


def _is_body(body: str) -> bool:
    if _BODY.search(body):
        return True
    return _SHORT_BODY.fullmatch(body) is not None and re.search(r"[A-Za-z0-9+/=]{8,}", body) is not None


def _lines_from(text: str, start: int) -> int:
    """Where the lines of a key end that begin here."""
    if not _BODY.search(text, start, start + 400):
        rest = text[start:].strip(" \t\r\n\\nrt")
        tail = re.fullmatch(r"[A-Za-z0-9+/=]{6,}", rest)
        return len(text) if tail else start
    stop = min(len(text), start + KEY_CHARS)
    while found := _LINE.match(text, start, stop):
        start = found.end()
    return start


def _lines_before(text: str, end: int) -> int:
    """Where the lines of a key begin that end here; `end` where there are none."""
    lead = max(0, end - KEY_CHARS)
    first, bodies = (
        end,
        list(
            re.finditer(
                r"[A-Za-z0-9+/=]{16,}|[A-Za-z0-9+/]{1,15}={0,2}(?=(?:\s|\\[nrt])*-{4})", text[lead:end]
            )
        ),
    )
    for body in reversed(bodies):
        between = text[lead + body.end() : first]
        if not re.fullmatch(rf"(?:[ \t\r\n>|+\-:\"',]|{_ESCAPE}|\d{{1,6}}[ \t|:])*", between):
            break
        first = lead + body.start()
    return first


_JOIN = re.compile(
    r"[A-Za-z0-9_-]{0,24}\\*[\"'`]?\]?"
    r"(?:[ \t]{0,4}(?P<sep>:[ \t]{0,2}[A-Za-z&][\w.|& ]{0,30}(?:\[\w+\])?[ \t]{0,2}="
    r"|=>|:=|={1,3}|:|,(?=[ \t]{0,4}\\*[\"'`])|!=|>(?=[^<>\s]))[ \t]{0,4}|(?P<gap>[ \t]{1,4}))"
)
_NAME = re.compile(r"[A-Za-z0-9_.-]*$")
_QUOTED = re.compile(r"[bBrRuUfF@]{0,2}(?P<quote>\\*[\"'`])(?P<value>[^\s\"'`]{6,4096}?)(?P=quote)")
_BARE = re.compile(r"(?P<value>[^\s\"'`,;<>&|(){}\[\]\\]{6,4096})(?P<next>.?)")
_WHOLE = re.compile(r"(?P<value>[^\s\"'`\\]{6,4096})(?=[ \t]*(?:$|#|\r|\\[nr]))", re.MULTILINE)
_LINE_START = re.compile(
    r"(?:^|\n|\\n)[ \t+\-|>\d]*(?:(?:export|set|ENV|ARG|-e|--env|env|Environment=)[ \t]+)*\"?$"
)
_FLAG = re.compile(r"(?:--?|\blogin[ \t]+\S{1,80}[ \t]+|ENV[ \t]+)$")


def assigned(seen: Seen, hint: str) -> Iterator[Span]:
    """Values of secret-like names: in code, JSON, YAML, `.env`, flags, XML; quotes may be escaped."""
    text = seen.text
    done = 0
    for at in seen.places_lowered(hint):
        if at < done:  # inside of a long value that was looked at
            continue
        if joined := _JOIN.match(text, at + len(hint)):
            start = at - len(_NAME.search(text[max(0, at - 48) : at])[0])  # type: ignore[index]
            name = re.match(r"[A-Za-z0-9_.-]*", text[start : joined.end()])[0]  # type: ignore[index]
            start += len(name) - len(name.lstrip("-."))
            name = name.strip("-.")
            if is_secret_name(name):
                first, last, good = _value(text, start, joined, name)
                done = last if last - first > 200 else done
                if good:
                    yield first, last, "assigned-password" if is_password_name(name) else "assigned-secret"


def _value(text: str, start: int, joined: "re.Match[str]", name: str) -> tuple[int, int, bool]:
    """Where the value after a secret-like name is, and whether it looks secret."""
    at, password = joined.end(), is_password_name(name)
    if joined["gap"]:
        lead = text[max(0, start - 100) : start]
        found = _BARE.match(text, at) if _FLAG.search(lead) else None
        good = found is not None and is_random(found["value"], words=False)
    elif found := _QUOTED.match(text, at):
        value = found["value"]
        short = password and len(value) < 8 and has_kinds(value) and is_random(value, words=True, least=6)
        good = short or is_random(value, words=password and any(char.isdigit() for char in value))
    else:
        found, good = _bare(text, start, joined, name)
    return (*found.span("value"), good) if found else (at, at, False)


def _bare(text: str, start: int, joined: "re.Match[str]", name: str) -> tuple["re.Match[str] | None", bool]:
    """A value without quotes: all of the line as in `.env`, else one word that no code would be."""
    at = joined.end()
    line = _LINE_START.search(text[max(0, start - 60) : start]) is not None
    setting = line and joined["sep"] == "=" and name == name.upper() and joined[0].endswith("=")
    if setting and (found := _WHOLE.match(text, at)) and not re.match(r"[A-Za-z_][\w.]*\(", found["value"]):
        value = found["value"]
        short = is_password_name(name) and has_kinds(value) and is_random(value, words=True, least=6)
        return found, short or is_random(value, words=True)
    found = _WHOLE.match(text, at) if line and joined["sep"] in (":", "=") else None
    if found is None or re.search(r"[(){}\[\];<>]|,$", found["value"]):
        found = _BARE.match(text, at)
        if found is None or found["next"] in ("(", "[", "{"):
            return None, False
    value = found["value"]
    if joined["sep"] == ">":  # of an element: no code stands there
        return found, is_random(value)
    digits = sum(char.isdigit() for char in value)
    signs = any(char in "!@#$%^&*?~" for char in value)
    named = re.fullmatch(r"[A-Za-z_][\w.]*", value) is not None and digits < 2 and wordiness(value) > 0.4
    return found, (digits > 0 or signs or len(value) >= 20) and not named and is_random(value)


_ADDRESS = re.compile(r"(?P<user>[^\s/@:\"'`<>\\]*):(?P<word>[^\s/\"'`<>\\]{3,512})@(?=[\w.\[-])")
_USER = re.compile(r"(?P<word>[A-Za-z0-9_-]{20,255})(?::x-oauth-basic)?@(?=[\w.-])")


def addresses(seen: Seen) -> Iterator[Span]:
    """Passwords in URLs; a password that is the user's name or a placeholder is none."""
    text = seen.text
    for at in seen.places("://"):
        if found := _ADDRESS.match(text, at + 3):
            word, user = found["word"], found["user"]
            if word != user and not is_placeholder(word, 3) and not re.search(r"[{}$%(][\w(]", word[:2]):
                yield *found.span("word"), "basic-auth"
        elif (found := _USER.match(text, at + 3)) and is_random(found["word"]):
            yield *found.span("word"), "basic-auth"


_AUTHORIZATION = re.compile(
    r"authorization\\*[\"'`]?\]?[ \t]*[=:,][ \t]*(?:[bf]?\\*[\"'`])?(?P<scheme>[A-Za-z-]{3,20})[ \t]+"
    r"(?P<value>[A-Za-z0-9._~+/=:-]{8,4096})",
    re.IGNORECASE,
)
_BEARER = re.compile(r"(?:bearer)(?:[ \t]+|%20|\+)(?P<value>[A-Za-z0-9._~+/=-]{12,4096})", re.IGNORECASE)
_COOKIES = re.compile(
    r"cookie\\*[\"'`]?\]?[ \t]*[=:,][ \t]*\\*[\"'`]?(?P<all>[^\r\n\"'`]{8,8192})", re.IGNORECASE
)
_COOKIE = re.compile(r"(?:[;,]|\\n|)\s*\b(?P<name>[\w.-]+)=(?P<value>[^;,\s\\]{8,4096})")
_SESSION = re.compile(r"sess|sid|auth|token|csrf|jwt|remember", re.IGNORECASE)


def headers(seen: Seen) -> Iterator[Span]:
    """Credentials in Authorization headers, and values of cookies that look random."""
    for found in _matches(seen, "authorization", _AUTHORIZATION):
        value, basic = found["value"], found["scheme"].lower() == "basic"
        if _is_basic(value) if basic else is_random(value):
            yield *found.span("value"), "authorization-header"
    for found in _matches(seen, "bearer", _BEARER):
        if is_random(found["value"]) and any(char.isdigit() for char in found["value"]):
            yield *found.span("value"), "authorization-header"
    for header in _matches(seen, "cookie", _COOKIES):
        for found in _COOKIE.finditer(seen.text, *header.span("all")):
            least = 8 if _SESSION.search(found["name"]) else 16
            if is_random(found["value"], least=least):
                yield *found.span("value"), "cookie"


def _matches(seen: Seen, word: str, rule: "re.Pattern[str]") -> Iterator["re.Match[str]"]:
    """Matches that begin with a word, one after another."""
    done = 0
    for at in seen.places_lowered(word):
        if at >= done and (found := rule.match(seen.text, at)):
            done = found.end()
            yield found


def _is_basic(value: str) -> bool:
    """True for `user:password` in base64, where the password is no placeholder."""
    try:
        _, colon, word = base64.b64decode(value, validate=True).decode("utf-8").partition(":")
    except (binascii.Error, ValueError):
        return False
    return bool(colon) and not is_placeholder(word, 3)
