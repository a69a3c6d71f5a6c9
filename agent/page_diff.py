"""A patch as rows for a page: old text beside new where the window is wide, one below the other where not."""

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import groupby, zip_longest
from typing import Final

from agent.display_diff import FileDiff, Hunk, parse
from agent.page_room import Room, Shown, line

DIFF_LINES: Final = 2_000
"""Lines shown of all files together."""
WIDEST: Final = 400
"""Characters shown of one line."""
_STARTS: Final = re.compile(r"@@ -(\d+)(?:,\d+)? \+(\d+)(?:,\d+)? @@ ?(.*)", re.DOTALL)


@dataclass(frozen=True, slots=True)
class Cell:
    """One line of one side."""

    kind: str
    """`old`, `new`, `same`, `copy` (the same line on the other side), `note`, or `none` for a gap."""
    number: str = ""
    text: Shown | None = None


@dataclass(frozen=True, slots=True)
class HunkView:
    """One place of a file: blocks of cells, two cells a row."""

    header: str
    blocks: list[tuple[str, list[Cell]]]
    """`same` or `changed`, and the cells."""


@dataclass(frozen=True, slots=True)
class FileView:
    """One file of a patch."""

    path: str
    added: int
    removed: int
    notes: str
    hunks: list[HunkView]


@dataclass(slots=True)
class DiffView:
    """A patch, as far as it fits."""

    files: list[FileView] = field(default_factory=list)
    left_out: int = 0
    """Lines that are not shown."""


def diff_view(patch: bytes, room: Room) -> DiffView:
    """The patch as it stands on the page."""
    shown, left = DiffView(), DIFF_LINES
    for file in parse(patch):
        hunks = []
        for hunk in file.hunks:
            kept = hunk.lines[: max(0, left)] if room.left > 0 else []
            shown.left_out += len(hunk.lines) - len(kept)
            left -= len(kept)
            if kept:
                hunks.append(_hunk(Hunk(hunk.header, kept), room))
        shown.files.append(_file(file, hunks))
    return shown


def _file(file: FileDiff, hunks: list[HunkView]) -> FileView:
    return FileView(line(file.path), file.added, file.removed, line(", ".join(file.notes)), hunks)


def _hunk(hunk: Hunk, room: Room) -> HunkView:
    found = _STARTS.match(hunk.header)
    old, new = (int(found[1]), int(found[2])) if found else (1, 1)
    blocks = []
    for same, lines in groupby(hunk.lines, key=lambda text: text[:1] not in ("+", "-", "\\")):
        texts = list(lines)
        removed = [text for text in texts if text.startswith("-")]
        added = [text for text in texts if text.startswith("+")]
        if same:
            blocks.append(("same", list(_same(texts, old, new, room))))
            old, new = old + len(texts), new + len(texts)
        else:
            notes = [text for text in texts if text.startswith("\\")]
            blocks.append(("changed", list(_changed(removed, added, notes, old, new, room))))
            old, new = old + len(removed), new + len(added)
    return HunkView(line(found[3] if found else hunk.header), blocks)


def _same(texts: list[str], old: int, new: int, room: Room) -> Iterator[Cell]:
    for place, text in enumerate(texts):
        shown = _shown(text, room)
        yield Cell("same", str(old + place), shown)
        yield Cell("copy", str(new + place), shown)


def _changed(
    removed: list[str], added: list[str], notes: list[str], old: int, new: int, room: Room
) -> Iterator[Cell]:
    for place, (before, after) in enumerate(zip_longest(removed, added)):
        none = Cell("none")
        yield none if before is None else Cell("old", str(old + place), _shown(before, room))
        yield none if after is None else Cell("new", str(new + place), _shown(after, room))
    for note in notes:
        yield Cell("note", "", room.show(note[1:].strip(), WIDEST))


def _shown(text: str, room: Room) -> Shown:
    return room.show(text[1:].removesuffix("\r"), WIDEST)
