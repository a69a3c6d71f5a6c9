"""The changed places of a unified diff, as git writes it."""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

_HEAD: Final = re.compile(r"@@ -\d+(?:,(\d+))? \+\d+(?:,(\d+))? @@")


@dataclass(frozen=True, slots=True)
class Region:
    """Lines that went and lines that came at one place; one of them may be empty."""

    path: str
    gone: tuple[str, ...]
    come: tuple[str, ...]


def regions(diff: str) -> Iterator[Region]:
    """The places in their order. Lines are counted by the heads, so a line `-- x` is no head of a file."""
    path, gone, come = "", list[str](), list[str]()
    left = [0, 0]  # lines of the hunk that are still to come, of the old and of the new text
    for line in [*diff.splitlines(), ""]:
        removes, adds = left[0] > 0 and line.startswith("-"), left[1] > 0 and line.startswith("+")
        if (gone or come) and not adds and not (removes and not come) and not line.startswith("\\"):
            yield Region(path, tuple(gone), tuple(come))
            gone, come = [], []
        if removes:
            gone.append(line[1:])
            left[0] -= 1
        elif adds:
            come.append(line[1:])
            left[1] -= 1
        elif head := _HEAD.match(line):
            left = [int(head[1] or 1), int(head[2] or 1)]
        elif any(left) and not line.startswith("\\"):
            left = [max(0, count - 1) for count in left]
        elif line.startswith("+++ "):
            path = line[4:].strip().removeprefix("b/")


def added(diff: str) -> list[str]:
    """All lines that a diff adds."""
    return [line for region in regions(diff) for line in region.come]
