"""Room for long texts on a page: each is cut, and all of them together are."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, Generic, TypeVar

from markupsafe import Markup, escape

from agent.inert import inert, inert_line

TEXT_CHARS: Final = 4_000
"""Characters shown of one text."""
PAGE_CHARS: Final = 1_200_000
"""Characters of HTML for all of them."""
LINE_CHARS: Final = 300
"""Characters of what stands on a line of its own, such as a name."""
NOTHING: Final = Markup()
T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Shown:
    """A text as the page holds it."""

    head: Markup
    left_out: int = 0
    """Characters missing between the two parts."""
    tail: Markup = NOTHING


@dataclass(slots=True)
class Room:
    """What is left of the page."""

    left: int = PAGE_CHARS

    def show(self, text: str, limit: int = TEXT_CHARS) -> Shown:
        """Two thirds of the limit from the beginning, a third from the end; nothing when the page is full."""
        if self.left <= 0:
            return Shown(NOTHING, len(text))
        if len(text) <= limit:
            return Shown(self._take(text))
        tail = limit // 3
        return Shown(
            self._take(text[: limit - tail]), len(text) - limit, self._take(text[len(text) - tail :])
        )

    def _take(self, text: str) -> Markup:
        made = escape(inert(text))
        self.left -= len(made)
        return made


def line(text: str, limit: int = LINE_CHARS) -> str:
    """A text on one line, inert and cut."""
    shown = inert_line(text[: limit + 1])
    return shown if len(shown) <= limit else f"{shown[: limit - 1]}…"


@dataclass(frozen=True, slots=True)
class Some(Generic[T]):
    """The first and the last of many, and how many are left out between them."""

    first: list[T]
    left_out: int
    last: list[T]


def some(items: Sequence[T], most: tuple[int, int]) -> Some[T]:
    """All of them, or as many as `most` says."""
    first, last = most
    if len(items) <= first + last:
        return Some(list(items), 0, [])
    return Some(list(items[:first]), len(items) - first - last, list(items[-last:]))
