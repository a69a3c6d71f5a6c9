"""Examples become checks: what a person wrote in a task or a doc comment, as a command that can fail.

A wrong example is worse than none, so whatever is not certain is left out. The text is untrusted: it is
read and never run here, and only its beginning counts (TEXT characters).
"""

from collections.abc import Sequence

from feedback.example import Example, settled
from feedback.example_check import FOLDER, NAME, python_check
from feedback.example_comments import LANGUAGES, comment_examples
from feedback.example_output import tests_in_output
from feedback.example_programs import program_check
from feedback.example_python import python_examples
from memory.records import Check

__all__ = ["Example", "check_of_examples", "find_examples", "tests_in_output"]

_PYTHON = ("py", "python")


def find_examples(text: str, language: str, *, entry: str = "") -> tuple[Example, ...]:
    """The examples in a text about code of `language` (such as `py` or `rs`), in order, at most COUNT.

    `entry` is the function that the text is about; with it, prose about other functions is passed over.
    """
    if language in _PYTHON:
        return settled(python_examples(text, entry))
    return settled(comment_examples(text, entry)) if language in LANGUAGES else ()


def check_of_examples(examples: Sequence[Example], path: str, language: str) -> Check | None:
    """The check that runs each example apart on the file at `path`; None where there is nothing to run.

    Examples may come of several texts: where these contradict each other, the call is left out.
    """
    sure = settled(examples)
    if sure and language in _PYTHON:
        return python_check(sure, path)
    return program_check(sure, path, language, FOLDER, NAME) if sure and language in LANGUAGES else None
