"""The texts of a recorded event: all of them, and the same event with other texts in their places.

Words that a schema fixes (kinds, roles, statuses) are no texts.
"""

from collections.abc import Callable, Iterator, Mapping
from enum import Enum
from functools import cache
from typing import Any, Literal, NamedTuple, TypeVar, get_args, get_origin

from memory.checks import Record
from memory.runtime import RuntimeEvidence

LONGEST_VALUE = 2_000
"""Characters of a text of runtime evidence: a longer one could not be read back."""
R = TypeVar("R", bound=Record)


class Place(NamedTuple):
    """One text of a record."""

    path: tuple[str | int, ...]
    """Fields, keys and indices from the record to it; the key of an entry ends with `-1`."""
    column: str
    """Its field, such as `output`."""
    text: str
    name: str = ""
    """The key, or the name of the variable, that it is the value of."""


def texts(record: Record) -> Iterator[Place]:
    """Every text, in the order of the fields."""
    yield from _texts(record, (), "", "")


def with_texts(record: R, change: Callable[[Place], str]) -> R:
    """The record with every text changed; itself where all stay the same."""
    changed: R = _changed(record, (), "", "", change)
    return changed


@cache
def _open_fields(kind: type[Record]) -> tuple[str, ...]:
    """Fields that can hold text of strangers."""
    return tuple(name for name, info in kind.model_fields.items() if not _fixed(info.annotation))


def _fixed(annotation: Any) -> bool:
    if get_origin(annotation) is Literal or annotation in (int, float, bool, type(None)):
        return True
    if isinstance(annotation, type) and issubclass(annotation, Enum):
        return True
    args = get_args(annotation)
    return bool(args) and all(_fixed(arg) for arg in args if arg is not Ellipsis)


def _texts(value: object, path: tuple[str | int, ...], column: str, name: str) -> Iterator[Place]:
    match value:
        case Enum():
            return
        case str():
            yield Place(path, column, value, name)
        case Record():
            for field in _open_fields(type(value)):
                yield from _texts(getattr(value, field), (*path, field), field, "")
        case Mapping():
            for key, item in value.items():
                if isinstance(key, str):
                    yield Place((*path, key, -1), column, key)
                yield from _texts(item, (*path, key), column, str(key))
        case (str() as key, str() as item):
            yield Place((*path, 0), column, key)
            yield Place((*path, 1), column, item, key)
        case tuple() | list():
            for index, item in enumerate(value):
                yield from _texts(item, (*path, index), column, "")


def _changed(
    value: Any, path: tuple[str | int, ...], column: str, name: str, change: Callable[[Place], str]
) -> Any:
    match value:
        case Enum():
            return value
        case str():
            return change(Place(path, column, value, name))
        case Record():
            return _record(value, path, change)
        case Mapping():
            found = dict[Any, Any]()
            for key, item in value.items():
                new = change(Place((*path, key, -1), column, key)) if isinstance(key, str) else key
                while new in found:  # two keys that have become alike stay two
                    new = f"{new}~"
                found[new] = _changed(item, (*path, key), column, str(key), change)
            return value if list(found.items()) == list(value.items()) else found
        case (str() as key, str() as item):
            return (change(Place((*path, 0), column, key)), change(Place((*path, 1), column, item, key)))
        case tuple() | list():
            items = [_changed(item, (*path, index), column, "", change) for index, item in enumerate(value)]
            return value if all(a is b for a, b in zip(items, value, strict=True)) else type(value)(items)
    return value


def _record(value: Record, path: tuple[str | int, ...], change: Callable[[Place], str]) -> Record:
    update = dict[str, Any]()
    limited = isinstance(value, RuntimeEvidence)
    for field in _open_fields(type(value)):
        old = getattr(value, field)
        held = (lambda place: change(place)[:LONGEST_VALUE]) if limited else change
        new = _changed(old, (*path, field), field, "", held)
        if new is not old and new != old:
            update[field] = new
    return value.model_copy(update=update) if update else value
