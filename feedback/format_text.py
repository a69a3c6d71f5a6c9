"""Values as a data set can hold them: valid UTF-8, JSON without surprises, and hashes of it.

A recorded text may hold half of a character (bytes of a path that are no UTF-8, an answer cut in two). Arrow
refuses such text and so do most readers of JSON: each lone half becomes U+FFFD, and is counted.
"""

import hashlib
import json
import math
import re
from collections.abc import Callable, Mapping
from enum import Enum
from typing import Any, Final

_LONE: Final = re.compile("[\ud800-\udfff]")

Count = Callable[[int], None]
"""Told how many halves of characters were replaced."""


def valid(text: str, count: Count = lambda _: None) -> str:
    """The text with pairs of surrogates joined, and lone ones replaced."""
    try:
        text.encode("utf-8")
    except UnicodeEncodeError:
        joined = text.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "surrogatepass")
        text, number = _LONE.subn("\ufffd", joined)
        count(number)
    return text


def plain(value: Any, count: Count = lambda _: None) -> Any:
    """The value as JSON has it: valid text, lists, and numbers that are none by their names."""
    match value:
        case Enum():
            return plain(value.value, count)
        case str():
            return valid(value, count)
        case float() if not math.isfinite(value):
            return str(value)  # pydantic reads `nan` and `inf` back as numbers
        case Mapping():
            return {valid(str(key), count): plain(item, count) for key, item in value.items()}
        case list() | tuple():
            return [plain(item, count) for item in value]
    return value


def line(value: Any, *, by_key: bool = False) -> str:
    """One line of JSON in ASCII: no text in it can end the line for a reader that knows other line ends."""
    return json.dumps(value, separators=(",", ":"), sort_keys=by_key, allow_nan=False)


def digest(value: Any) -> str:
    """SHA-256 of a JSON value, whatever the order of its keys."""
    return hashlib.sha256(line(value, by_key=True).encode("ascii")).hexdigest()
