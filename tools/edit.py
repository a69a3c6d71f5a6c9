"""`edit PATH FIRST-LAST` and a fenced body: replace those lines by the body, byte-exact around them."""

import re
from collections.abc import Mapping, Sequence
from typing import Final

from pydantic import Field, JsonValue

from memory.records import Record, Status
from sandbox.errors import UnsafePath
from tools import guard
from tools.arguments import checked, clean_path, dumped, spelled, split_range
from tools.protocol import ToolResult, Workspace
from tools.suggest import missing
from tools.text import NotText, Text, load_file, numbered

SHRINK_LINES: Final = 20
"""Lines of a region from which on a much shorter body is refused."""
SHRINK_SHARE: Final = 0.2
AROUND: Final = 3
"""Lines shown on each side of an edit."""
SHOWN: Final = 60
"""Lines shown of an edited region."""
FORM: Final = "edit PATH FIRST-LAST, then the new lines between ``` fences"


class Arguments(Record):
    path: str
    first: int = Field(ge=1)
    """First line replaced, 1-based; one past the end appends."""
    last: int = Field(ge=0)
    """Last line replaced, inclusive."""
    body: str
    """The new lines, each with its newline; empty deletes."""


class Edit:
    """Replaces a range of lines that was shown before."""

    name = "edit"
    arguments = Arguments
    card = (
        "edit src/shop.py 12-13\n```\n    total = price * count\n    return total\n```\n"
        "  Replace lines 12 to 13 by those in the fence; to insert, repeat the old line too."
    )
    has_body = True
    header = '" " path " " number "-" number'

    def parse(self, header: str, body: str | None) -> dict[str, JsonValue]:
        """See Tool."""
        path, first, last = split_range(header, FORM)
        if first is None or last is None:
            raise ValueError(f"edit needs the line numbers to replace. Write: {FORM}")
        if body is None:
            raise ValueError(f"edit needs the new lines in a fence. Write: {FORM}")
        return self.check({"path": path, "first": first, "last": last, "body": body})

    def check(self, arguments: Mapping[str, object]) -> dict[str, JsonValue]:
        """See Tool."""
        record = checked(Arguments, arguments, FORM)
        return dumped(record.model_copy(update={"path": spelled(clean_path(record.path))}))

    def run(self, arguments: Mapping[str, object], workspace: Workspace) -> ToolResult:
        """Write the new text, or say why not and show the lines as they are."""
        record = checked(Arguments, arguments, FORM)
        path = clean_path(record.path)
        if record.last < record.first:  # no grammar can order numbers, so it is no matter of form
            return _refused(path, f"Line {record.last} is before line {record.first}. Write: {FORM}")
        if not workspace.files.exists(path):
            return missing(workspace.files, path, "read")
        try:
            text = load_file(workspace.files, path)
        except NotText as error:
            return _refused(path, f"{spelled(path)} cannot be edited by lines: {error}.")
        first, last = record.first, min(record.last, max(len(text.lines), record.first))
        fault = _place_fault(text, path, first, last, workspace)
        if fault:
            return fault
        return _edited(text, path, first, min(last, len(text.lines)), record.body, workspace)


def _refused(path: str, why: str) -> ToolResult:
    return ToolResult(Status.REFUSED, why, f"{spelled(path)}: not edited")


def _place_fault(text: Text, path: str, first: int, last: int, workspace: Workspace) -> ToolResult | None:
    """A range outside the file, or one whose text was never shown; shows what is there."""
    name = spelled(path)
    total = len(text.lines)
    if first > total + 1:
        near = _excerpt(text, path, max(1, total - 9), total, workspace)
        return _refused(
            path,
            f"{name} has only {total} lines. Its end:\n{near}\nNext: edit {name} {total}-{total}",
        )
    if first <= total and workspace.unseen(path, first, min(last, total)):
        near = _excerpt(text, path, max(1, first - AROUND), min(total, last + AROUND), workspace)
        why = f"You have not seen lines {first}-{min(last, total)} of {name}; nothing was changed. They are:"
        return _refused(path, f"{why}\n{near}\nNext: edit {name} {first}-{min(last, total)}")
    if path not in workspace.seen:
        return _refused(path, f"You have not seen {name}. Next: read {name}")
    return None


def _excerpt(text: Text, path: str, first: int, last: int, workspace: Workspace) -> str:
    """Numbered lines, which count as shown from now on."""
    last = min(last, first + SHOWN - 1)
    if text.lines:
        workspace.show(path, first, last)
    return numbered(text.shown[first - 1 : last], first)


def _edited(text: Text, path: str, first: int, last: int, body: str, workspace: Workspace) -> ToolResult:
    name = spelled(path)
    old = text.shown[first - 1 : last]
    lines = without_numbers(body.removesuffix("\n").split("\n") if body else [], first, old)
    fault = _body_fault(path, first, last, lines, old)
    if fault:
        return _refused(path, fault)
    try:
        new, moved = _fitting(text, path, first, last, lines)
        data = new.bytes
    except UnicodeEncodeError:
        return _refused(
            path, f"{name} is {text.encoding} text and cannot hold these characters; use plain ones."
        )
    if data == text.bytes:
        near = numbered(old[:SHOWN], first)
        return _refused(path, f"These are the lines that stand there already; nothing was changed:\n{near}")
    broken = guard.syntax_error(path, decoded(new))
    if broken and not guard.syntax_error(path, decoded(text)):
        whole = _region(new, first, len(new.lines) - len(text.lines) + last)
        return _refused(
            path,
            f"{name} would not parse: {broken}. Nothing was changed. With your lines it would read:\n"
            f"{whole}\nWrite the edit of lines {first}-{last} again, complete and correctly indented.",
        )
    orphans = guard.orphaned(path, decoded(text), decoded(new))
    if orphans:
        names = ", ".join(orphans[:5])
        return _refused(
            path,
            f"Lines {first}-{last} hold {names}, which is used elsewhere in {name}; nothing was changed. "
            f"Repeat it in your lines, or edit other lines. They are:\n{numbered(old[:SHOWN], first)}",
        )
    if twice := guard.doubled(path, decoded(text), decoded(new)):
        names = ", ".join(twice[:5])
        return _refused(
            path,
            f"{name} would then define {names}; nothing was changed. To write a function anew, replace all "
            f"of its lines. Lines {first}-{last} are:\n{numbered(old[:SHOWN], first)}",
        )
    try:
        workspace.files.write(path, data)
    except UnsafePath as error:
        return _refused(path, error.message)
    return _told(new, path, first, last, len(new.lines) - len(text.lines), moved, workspace)


def _body_fault(path: str, first: int, last: int, lines: Sequence[str], old: Sequence[str]) -> str:
    """Why these lines are no honest replacement; empty when they are."""
    name = spelled(path)
    left_out = guard.placeholder(lines, old)
    if left_out:
        return f"The line `{left_out}` stands for code left out. Write all of lines {first}-{last} of {name}."
    if lines and guard.shrinks(old, lines, SHRINK_LINES, SHRINK_SHARE):
        return (
            f"{len(old)} lines would become {len(lines)}; nothing was changed. Name only the lines that "
            f"change, or delete the others with an edit whose fence is empty."
        )
    return ""


def without_numbers(lines: list[str], first: int, old: Sequence[str]) -> list[str]:
    """The lines without the numbers that a model copied from what it was shown.

    Only when every line carries its own number, and the file's lines do not begin with theirs.
    """
    matches = [re.match(r"^ {0,6}(\d{1,7})(?: |$)", line) for line in lines]
    copied = all(match and int(match[1]) == first + index for index, match in enumerate(matches))
    counted = any(line.lstrip().startswith(str(first + index)) for index, line in enumerate(old))
    if not copied or counted or not any(line.strip(" 0123456789") for line in lines):
        return lines
    return [line[match.end() :] for line, match in zip(lines, matches, strict=True) if match]


def _fitting(text: Text, path: str, first: int, last: int, lines: list[str]) -> tuple[Text, bool]:
    """The new text, its body moved to the replaced lines' column where that parses; and whether it moved."""
    plain = text.replaced(first, last, lines)
    moved = guard.reindented(path, text.shown[first - 1 : last], lines)
    if moved is None:
        return plain, False
    shifted = text.replaced(first, last, moved)
    if guard.syntax_error(path, decoded(shifted)) and not guard.syntax_error(path, decoded(plain)):
        return plain, False
    return shifted, True


def decoded(text: Text) -> str:
    """The file as one string."""
    return "\n".join(text.shown)


def _region(text: Text, first: int, last: int) -> str:
    start = max(1, first - AROUND)
    shown = text.shown[start - 1 : min(last + AROUND, start + SHOWN)]
    return numbered(shown, start)


def _told(
    text: Text, path: str, first: int, last: int, by: int, moved: bool, workspace: Workspace
) -> ToolResult:
    """The region as it reads now, with its new numbers."""
    workspace.shift(path, last, by)
    end = last + by
    workspace.show(path, max(1, first - AROUND), min(len(text.lines), end + AROUND))
    note = " Your lines were indented to fit." if moved else ""
    now = f"It now has {len(text.lines)} lines and reads:\n{_region(text, first, end)}"
    removed, added = last - first + 1, end - first + 1
    return ToolResult(
        Status.OK, f"{spelled(path)} is changed.{note} {now}", f"{spelled(path)}:{first} -{removed} +{added}"
    )
