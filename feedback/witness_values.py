"""Runs in the sandbox beside feedback/witness.py: short texts of values, frames and exceptions.

Copied there as `adi_values`; nothing of ADI is imported. Values belong to strangers: whatever their
`__repr__` does, a text comes out.
"""

import os
import re
import reprlib
import types
import unittest
from pathlib import Path
from typing import Any

HERE = str(Path(__file__).resolve().parent)
ROOT = str(Path(HERE).parent.parent)
FRAMES, NAMES, CHARS = 8, 12, 80
"""Frames of one failure, names of one frame, characters of one value."""
_FOREIGN = frozenset({"site-packages", "dist-packages", ".venv"})
_DULL = (types.ModuleType, types.FunctionType, types.BuiltinFunctionType, type, unittest.TestCase)
"""Kinds of values that tell nothing."""


class Values(reprlib.Repr):
    """Short texts of values: no addresses, plain objects with their attributes."""

    def __init__(self) -> None:
        super().__init__()
        self.maxlevel, self.maxstring, self.maxother = 4, 60, CHARS
        self.maxlist = self.maxtuple = self.maxset = self.maxfrozenset = self.maxdict = self.maxdeque = 8

    def repr_instance(self, x: Any, level: int) -> str:
        own: Any = type(x).__repr__
        if own is not object.__repr__:
            return super().repr_instance(x, level)
        held = list(getattr(x, "__dict__", {}).items())[:4] if level > 1 else []
        shown = "".join(f" {name}={self.repr1(value, level - 2)}" for name, value in held)
        return f"<{type(x).__name__}{shown}>"


_VALUES = Values()


def short(value: object, limit: int = CHARS) -> str:
    """One line of at most `limit` characters."""
    try:
        text = _VALUES.repr(value)
    except KeyboardInterrupt:
        raise
    except BaseException:  # noqa: BLE001 - whatever a stranger's __repr__ does
        text = f"<{type(value).__name__}>"
    return clip(re.sub(r" at 0x[0-9a-fA-F]+", "", text), limit)


def clip(text: str, limit: int) -> str:
    """One line of text that any encoding can carry."""
    line = " ".join(text[: 8 * limit].split()).encode("utf-8", "replace").decode("utf-8")
    return line if len(line) <= limit else line[: limit - 1] + "…"


def message_of(error: BaseException) -> str:
    """The exception's message, in the words that its class makes of it."""
    try:
        return clip(str(error), 400)
    except KeyboardInterrupt:
        raise
    except BaseException:  # noqa: BLE001 - whatever a stranger's __str__ does
        return ""


def is_inside(path: str) -> bool:
    """True for a file of the repository."""
    place = os.path.realpath(path)
    return (
        place.startswith(ROOT + os.sep)
        and not place.startswith(HERE + os.sep)
        and not _FOREIGN.intersection(Path(place).parts)
    )


def relative(path: str) -> str:
    """As the repository names it."""
    return os.path.relpath(os.path.realpath(path), ROOT)


def told(frames: list[tuple[Any, int]]) -> list[dict[str, Any]]:
    """Frames inside the repository, outermost first: of many the two outer and the inner ones."""
    inside = [(frame, line) for frame, line in frames if is_inside(frame.f_code.co_filename)]
    kept = inside if len(inside) <= FRAMES else [*inside[:2], *inside[2 - FRAMES :]]
    return [
        {
            "path": relative(frame.f_code.co_filename),
            "line": line or frame.f_code.co_firstlineno,
            "function": clip(frame.f_code.co_name, CHARS),
            # a module's names are many: they are told where it is the module that failed
            "values": _locals(frame) if frame.f_code.co_name != "<module>" or frame is kept[-1][0] else [],
        }
        for frame, line in kept
    ]


def _locals(frame: Any) -> list[tuple[str, str]]:
    found = [
        (name, value)
        for name, value in list(frame.f_locals.items())
        if name.isidentifier() and not name.startswith("__") and not isinstance(value, _DULL)
    ]
    return [(clip(name, CHARS), short(value)) for name, value in found[:NAMES]]


def compared(frames: list[tuple[Any, int]]) -> list[str] | None:
    """Left value, operator and right value of the unittest assertion that failed, if one did."""
    for frame, _ in reversed(frames):
        names = frame.f_locals
        if frame.f_globals.get("__name__") == "unittest.case" and {"first", "second"} <= names.keys():
            operator = "==" if "Equal" in frame.f_code.co_name and "Not" not in frame.f_code.co_name else ""
            return [short(names["first"]), operator or "against", short(names["second"])]
    return None
