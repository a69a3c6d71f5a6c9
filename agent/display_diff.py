"""A patch as lines for a terminal: coloured, but readable without colour, and inert.

Every file gets a header `path (+12 -3)`; long hunks are folded in the middle, the pager shows all.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Final

from rich.text import Text

from agent.doubts import doubts
from agent.inert import inert, inert_line

FOLD_LINES: Final = 60
"""Longer hunks are folded."""
HEAD_LINES: Final = 40
TAIL_LINES: Final = 10
STYLES: Final = {"+": "green", "-": "red", "\\": "dim", " ": ""}


@dataclass(slots=True)
class Hunk:
    """One place of a file: its `@@` line and the lines below it."""

    header: str
    lines: list[str] = field(default_factory=list)


@dataclass(slots=True)
class FileDiff:
    """One file of a patch."""

    path: str = ""
    notes: list[str] = field(default_factory=list)
    """What is not a line of text: new, deleted, mode, renamed, binary."""
    hunks: list[Hunk] = field(default_factory=list)

    @property
    def added(self) -> int:
        return sum(line.startswith("+") for hunk in self.hunks for line in hunk.lines)

    @property
    def removed(self) -> int:
        return sum(line.startswith("-") for hunk in self.hunks for line in hunk.lines)


def parse(patch: bytes) -> list[FileDiff]:
    """The files of a git patch. Never raises: what is no patch gives files without hunks, or none."""
    files: list[FileDiff] = []
    left = [0, 0]  # lines that the hunk's header still promises: old side, new side
    binary = False
    for line in patch.decode("utf-8", "backslashreplace").split("\n"):
        if files and files[-1].hunks and _belongs(line, left):
            files[-1].hunks[-1].lines.append(line)
        elif line.startswith("diff --git "):
            files.append(FileDiff(path=_named(line)))
            binary = False
        elif not files or binary:
            continue
        elif line.startswith("@@ "):
            files[-1].hunks.append(Hunk(line))
            left = _promised(line)
        elif line.startswith(("GIT binary patch", "Binary files ")):
            files[-1].notes.append("binary")
            binary = True
        else:
            _header(line, files[-1])
    return files


def diff_lines(patch: bytes, *, fold: bool = True) -> list[Text]:
    """The patch as lines to print."""
    return [line for file in parse(patch) for line in _file_lines(file, fold)]


def _belongs(line: str, left: list[int]) -> bool:
    """True for a line inside a hunk; counts it. Lines are never taken for headers while some are due."""
    if line.startswith("\\"):
        return True
    if left == [0, 0] or (line and line[0] not in "+- "):
        return False
    left[0] -= not line.startswith("+")
    left[1] -= not line.startswith("-")
    return True


def _promised(header: str) -> list[int]:
    """[old lines, new lines] of `@@ -1,7 +1,6 @@`; a count of 1 may be left out."""
    ranges = header.split(" ")[1:3]
    counts = [part.partition(",")[2] or "1" for part in ranges]
    return [int(count) if count.isdigit() else 0 for count in counts]


def _named(line: str) -> str:
    """Path in `diff --git a/x b/x`; both sides are equal unless the file was renamed."""
    rest = line.removeprefix("diff --git ")
    return rest[len(rest) // 2 + 1 :].strip('"').removeprefix("b/")


def _header(line: str, file: FileDiff) -> None:
    words = {"new file mode 120000": "new link", "new file": "new", "deleted file": "deleted"}
    words |= {"new mode ": line, "rename from ": line, "rename to ": line, "copy from ": line}
    for start, note in words.items():
        if line.startswith(start):
            file.notes.append(note)
            break
    if line.startswith("rename to "):
        file.path = line.removeprefix("rename to ")
    elif line.startswith(("+++ ", "--- ")) and line[4:].strip() != "/dev/null":
        file.path = line[4:].split("\t")[0].strip('"').removeprefix("a/").removeprefix("b/")


def _file_lines(file: FileDiff, fold: bool) -> Iterator[Text]:
    header = Text(inert_line(file.path), style="bold")
    header.append(f" (+{file.added} -{file.removed})", style="")
    if file.notes:
        header.append(f" {', '.join(inert_line(note) for note in file.notes)}", style="yellow")
    yield header
    texts = [file.path, *(line for hunk in file.hunks for line in hunk.lines if line.startswith("+"))]
    for doubt in doubts(texts):
        yield Text(f"! This holds {doubt}", style="yellow")
    for hunk in file.hunks:
        yield Text(inert_line(hunk.header), style="cyan")
        yield from _hunk_lines(hunk.lines, fold)


def _hunk_lines(lines: list[str], fold: bool) -> Iterator[Text]:
    if not fold or len(lines) <= FOLD_LINES:
        yield from map(_line, lines)
        return
    hidden = lines[HEAD_LINES:-TAIL_LINES]
    yield from map(_line, lines[:HEAD_LINES])
    counts = f"+{sum(x.startswith('+') for x in hidden)} -{sum(x.startswith('-') for x in hidden)}"
    yield Text(f"  … {len(hidden)} lines folded ({counts}); the pager shows them", style="dim italic")
    yield from map(_line, lines[-TAIL_LINES:])


def _line(line: str) -> Text:
    carriage = line.endswith("\r")
    text = Text(inert(line.removesuffix("\r")).expandtabs(4), style=STYLES.get(line[:1], ""))
    if carriage:
        text.append("␍", style="dim")
    return text
