"""An example: a call, and what a person says comes of it."""

from collections.abc import Iterable
from dataclasses import dataclass
from itertools import islice

COUNT = 20
"""Examples kept of one text."""
_READ = 200
"""Examples of one text that are compared with each other."""
CHARS = 4_096
"""Characters of one example; what is larger is left out."""


@dataclass(frozen=True, slots=True)
class Example:
    """One call with its expectation, as source text of the language."""

    setup: str
    """Statements to run before, such as imports; empty when there are none."""
    call: str
    """The expression to evaluate."""
    expected: str
    """The value as an expression, or the printed text when `exact`; empty when it raises."""
    raises: str = ""
    """Name of the exception that the call must raise; empty when it returns."""
    source: str = ""
    """The words that it was read from."""
    exact: bool = False
    """`expected` is what an interactive session shows: printed text and the value's repr."""
    current: str = ""
    """What the call gives today, a value or an exception's name, where the text tells it."""


def settled(examples: Iterable[Example]) -> tuple[Example, ...]:
    """In order, once each, at most COUNT; a call about which examples contradict each other is left out."""
    said: dict[tuple[str, str], set[tuple[str, str]]] = {}
    kept: dict[tuple[str, str], Example] = {}
    for item in islice(examples, _READ):
        if len(item.setup) + len(item.call) + len(item.expected) > CHARS:
            continue
        key = (item.setup, _plain(item.call))
        said.setdefault(key, set()).add((_plain(item.expected), item.raises))
        kept.setdefault(key, item)
    calls: dict[str, set[tuple[str, str]]] = {}
    for (setup, call), outcomes in said.items():
        if not _bound(setup, call):
            calls.setdefault(call, set()).update(outcomes)
    sure = [
        item
        for key, item in kept.items()
        if len(said[key]) == 1 and len(calls.get(key[1], {0})) == 1  # the same call after different imports
    ]
    return tuple(sure[:COUNT])


def _bound(setup: str, call: str) -> bool:
    """Whether the setup assigns a name of the call, so that the same words may give another value."""
    names = (line.partition("=")[0].strip() for line in setup.split("\n") if "=" in line)
    return any(name and name in call for name in names) or "def " in setup or "class " in setup


def _plain(text: str) -> str:
    return "".join(text.split()).replace('"', "'")
