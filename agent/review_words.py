"""Marks on a page's diff: which words of a changed line are not on the other side."""

import re
from collections.abc import Iterator
from dataclasses import replace
from typing import Final

from markupsafe import Markup, escape

from agent.page_diff import Cell, DiffView, FileView, HunkView
from agent.page_room import Shown
from tools.runs import equal_runs

ALIKE: Final = 0.4
"""Share of equal text below which two lines are different ones, and every word would be marked."""
_WORDS: Final = re.compile(r"\w+|\s+|.", re.DOTALL)


def marked(view: DiffView) -> DiffView:
    """The same diff, with `<mark>` around the words that differ between two lines side by side."""
    return DiffView([_file(file) for file in view.files], view.left_out)


def _file(file: FileView) -> FileView:
    hunks = [HunkView(hunk.header, [_block(*block) for block in hunk.blocks]) for hunk in file.hunks]
    return replace(file, hunks=hunks)


def _block(kind: str, cells: list[Cell]) -> tuple[str, list[Cell]]:
    return (kind, list(_pairs(cells)) if kind == "changed" else cells)


def _pairs(cells: list[Cell]) -> Iterator[Cell]:
    waiting: Cell | None = None
    for cell in cells:
        if waiting is not None:
            yield from _compared(waiting, cell)
            waiting = None
        elif cell.kind == "old":
            waiting = cell
        else:
            yield cell
    if waiting is not None:
        yield waiting


def _compared(old: Cell, new: Cell) -> tuple[Cell, Cell]:
    if new.kind != "new" or _cut(old.text) or _cut(new.text):
        return old, new
    before, after = _words(old.text), _words(new.text)
    runs = [run for run in equal_runs(before, after) if run[2]]
    same = sum(len("".join(before[i : i + size]).strip()) for i, _, size in runs)
    whole = max(len("".join(before).strip()), len("".join(after).strip()))
    if not whole or same < ALIKE * whole:
        return old, new
    first = _marking(before, [(i, size) for i, _, size in runs])
    second = _marking(after, [(j, size) for _, j, size in runs])
    return replace(old, text=Shown(first)), replace(new, text=Shown(second))


def _cut(text: Shown | None) -> bool:
    return text is None or bool(text.left_out)


def _words(text: Shown | None) -> list[str]:
    return _WORDS.findall(text.head.unescape()) if text is not None else []


def _marking(words: list[str], equal: list[tuple[int, int]]) -> Markup:
    """The words, those between the equal runs marked."""
    made, at = Markup(), 0
    for start, size in [*equal, (len(words), 0)]:
        if between := "".join(words[at:start]):
            made += Markup("<mark>") + escape(between) + Markup("</mark>")
        made += escape("".join(words[start : start + size]))
        at = start + size
    return made
