"""Examples become checks: what a person wrote in a task or a doc comment, as a command that can fail.

A wrong example is worse than none, so whatever is not certain is left out. The text is untrusted: it is
read and never run here, and only its beginning counts (TEXT characters).
"""

from collections.abc import Sequence

from feedback.example import Example, settled
from feedback.example_check import python_check
from feedback.example_python import python_examples
from memory.records import Check

__all__ = ["Example", "check_of_examples", "find_examples"]

_PYTHON = ("py", "python")


def find_examples(text: str, language: str, *, entry: str = "") -> tuple[Example, ...]:
    """The examples in a text about code of `language` (such as `py` or `rs`), in order, at most COUNT.

    `entry` is the function that the text is about; with it, prose about other functions is passed over.
    """
    if language in _PYTHON:
        return settled(python_examples(text, entry))
    return ()


def check_of_examples(examples: Sequence[Example], path: str, language: str) -> Check | None:
    """The check that runs each example apart on the file at `path`; None where there is nothing to run."""
    if not examples:
        return None
    if language in _PYTHON:
        return python_check(examples, path)
    return None
