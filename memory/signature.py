"""Error signatures: what stays the same of a failure when lines, paths, values and times change.

Grouping by exception type, normalised message and the innermost frames is how crash reporters deduplicate
(Kim, Zimmermann and Nagappan 2011, "Crash graphs"; Lohman et al. 2021 for the choice of frames). Names that
the program itself chose (functions, attributes, keys) stay: they say which error it is.
"""

import hashlib
import re
from typing import Final

from memory.checks import Failure

FRAMES: Final = 2
"""Innermost functions of the repository that belong to a signature."""

_NORMAL: Final = (
    (re.compile(r"0x[0-9a-fA-F]+"), "<address>"),
    (re.compile(r"\b[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}\b"), "<uuid>"),
    (re.compile(r"\b\d{4}-\d\d-\d\d(?:[T ]\d\d:\d\d(?::\d\d(?:\.\d+)?)?)?(?:Z|[+-]\d\d:?\d\d)?"), "<time>"),
    (re.compile(r"(?<![\w.])(?:[A-Za-z]:\\|~?/)[\w.@+~-]+(?:[\\/][\w.@+~-]+)*"), "<path>"),
    (re.compile(r"\b[0-9a-f]{12,}\b"), "<hex>"),
    (re.compile(r"\bline \d+"), "line <n>"),
    (re.compile(r"(?<![A-Za-z_])[-+]?\d+(?:[._]\d+)*(?:[eE][-+]?\d+)?(?![A-Za-z_])"), "<n>"),
)
_VALUE: Final = re.compile(r"""(?P<open>["'])(?P<text>(?:(?!(?P=open)).){0,400})(?P=open)""")
_NAME: Final = re.compile(r"[A-Za-z_][\w.-]{0,60}")
_ASSERTION: Final = re.compile(
    r"^(?:assert\b|AssertionError|expected\b|.*(?:==|!=|is not|not in)\s)", re.I | re.S
)
_SPACE: Final = re.compile(r"\s+")


def normal(message: str) -> str:
    """The first line of a message without what changes from run to run; a comparison is only named one."""
    first = message.strip().partition("\n")[0][:400]
    if _ASSERTION.match(first):
        return "<comparison>"
    # A quoted word may be the name that is missing; a quoted text is a value.
    text = _VALUE.sub(
        lambda found: f"'{found['text']}'" if _NAME.fullmatch(found["text"]) else "<text>", first
    )
    for pattern, stands in _NORMAL:
        text = pattern.sub(stands, text)
    return _SPACE.sub(" ", text).strip()


def signature(failure: Failure) -> str:
    """Such as `KeyError: 'user' in load < handle #1f3a9c`: readable, and the same for the same error."""
    functions = [frame.function for frame in reversed(failure.frames) if frame.function][:FRAMES]
    error = failure.error.rpartition(".")[2] or "failure"
    told = f"{error}: {normal(failure.message)}".rstrip(": ")
    where = " < ".join(functions) or failure.test.rpartition("::")[2].partition("[")[0]
    text = f"{told} in {where}" if where else told
    return f"{text[:160]} #{hashlib.sha256(text.encode('utf-8', 'replace')).hexdigest()[:6]}"
