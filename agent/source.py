"""Text of a source file: its lines as every traceback numbers them, and Python's own syntax tree of it."""

import ast
import re
import warnings
from dataclasses import dataclass

_LINE = re.compile(r"[^\r\n]*(?:\r\n|\r|\n)|[^\r\n]+")


@dataclass(frozen=True, slots=True)
class Span:
    """A function: its name and its first and last line, 1-based."""

    name: str
    first: int
    last: int
    owner: str = ""
    """Class, type or receiver that it is a method of."""
    head: int = 0
    """First line of the decorators, attributes and comments directly above; `first` when there are none."""

    @property
    def top(self) -> int:
        """First line with everything that belongs to the function."""
        return self.head or self.first


def decoded(data: bytes) -> str:
    """Text of a file for reading only; bytes that are no UTF-8 stay visible as escapes."""
    return data.decode("utf-8", "surrogateescape")


def lines_of(text: str, *, keepends: bool = False) -> list[str]:
    """Lines as Python and every traceback number them: a form feed or U+2028 ends none."""
    lines = _LINE.findall(text)
    return lines if keepends else [line.rstrip("\r\n") for line in lines]


def parsed(text: str) -> ast.Module | None:
    """Syntax tree of a `decoded` Python file, its BOM and declared encoding honoured; None without one."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # about the text, not about ADI
            return ast.parse(text.encode("utf-8", "surrogateescape"))
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return None
