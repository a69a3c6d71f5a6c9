"""Reads TOML, JSON and ini files that strangers wrote, on the host, in bounded time and memory.

The standard library's readers are correct, not hardened. A dotted TOML key of n parts costs n * n (200 kB of
`a.a.a` are 40 GB), deep brackets raise RecursionError and integers of 5,000 digits a bare ValueError, and
ConfigParser is quadratic in runs of blanks, in faulty lines, and in defaults times sections.
"""

import json
import re
import tomllib

MAX_CHARS = 1024**2
"""Longer files are not read unless the caller allows more; reading that many takes at most about a second."""
MAX_LOCK_CHARS = 4 * 1024**2
"""For lock files, which have two or three million characters in large projects."""
_PARTS = 32
_LONG_KEY = re.compile(rf"(?<![\w-])(?:(?:[\w-]++|\"[^\"\n]*+\"|'[^'\n]*+')[ \t]*+\.[ \t]*+){{{_PARTS}}}")
"""A dotted name of so many parts that it is an attack, or the text of one inside a string."""


class Unreadable(ValueError):
    """A file is malformed, or too large or too deep to be read safely."""


def read_toml(text: str, limit: int = MAX_CHARS) -> dict[str, object]:
    """Tables of a TOML file of at most `limit` characters. Raises Unreadable."""
    _check_size(text, limit)
    if _LONG_KEY.search(text):
        raise Unreadable(f"a dotted key has more than {_PARTS} parts")
    try:
        return tomllib.loads(text)
    except (ValueError, RecursionError) as error:
        raise Unreadable(_reason(error)) from error


def read_json(text: str, limit: int = MAX_LOCK_CHARS) -> object:
    """Value of a JSON file of at most `limit` characters. Raises Unreadable."""
    _check_size(text, limit)
    try:
        return json.loads(text)
    except (ValueError, RecursionError) as error:
        raise Unreadable(_reason(error)) from error


def read_ini(text: str) -> dict[str, dict[str, str]]:
    """Sections of an ini file, values of several lines joined by newlines. Raises Unreadable.

    As ConfigParser reads them (keys in lower case, `#` and `;` comments on lines of their own, keys without
    a value), save that `[DEFAULT]` is a section like any other.
    """
    _check_size(text, MAX_CHARS)
    found: dict[str, dict[str, list[str]]] = {}
    section: dict[str, list[str]] | None = None
    value: list[str] | None = None
    for number, line in enumerate(text.split("\n"), 1):
        bare = line.strip()
        if not bare or bare[0] in "#;":
            continue
        if value is not None and line[0] in " \t":
            value.append(bare)
        elif bare[0] == "[" and "]" in bare:
            section, value = found.setdefault(bare[1 : bare.rindex("]")], {}), None
        elif section is None:
            raise Unreadable(f"line {number} stands before any section")
        else:
            key, first = _option(bare)
            if not key:
                raise Unreadable(f"line {number} has no key")
            section[key] = value = [first]
    return {name: {key: "\n".join(lines) for key, lines in held.items()} for name, held in found.items()}


def _option(line: str) -> tuple[str, str]:
    """Key and value of one line; the first `=` or `:` parts them."""
    places = [place for place in (line.find("="), line.find(":")) if place >= 0]
    end = min(places, default=len(line))
    return line[:end].strip().lower(), line[end + 1 :].strip()


def _check_size(text: str, limit: int) -> None:
    if len(text) > limit:
        raise Unreadable(f"it has more than {limit} characters")


def _reason(error: Exception) -> str:
    if isinstance(error, RecursionError):
        return "it is nested too deep"
    return str(error)[:300]
