"""`write PATH` and a fenced body: a new file, or the whole text of a small one."""

from collections.abc import Mapping
from typing import Final

from pydantic import JsonValue

from memory.records import Record, Status
from sandbox.errors import UnsafePath
from tools import guard
from tools.arguments import checked, clean_path, dumped, spelled
from tools.edit import decoded
from tools.protocol import ToolResult, Workspace
from tools.text import NotText, Text, load_file, new_file

REPLACED_LINES: Final = 200
"""Lines of the longest file that may be replaced as a whole."""
SHRINK_LINES: Final = 10
SHRINK_SHARE: Final = 0.5
CHECKS: Final = ".adi_"
"""Folders that only exist while a check runs begin so."""
FORM: Final = "write PATH, then the whole file between ``` fences"


class Arguments(Record):
    path: str
    body: str
    """The whole text; a newline at its end is added where it is missing."""


class Write:
    """Creates a file, or replaces a small one that was shown before."""

    name = "write"
    arguments = Arguments
    card = (
        "write src/double.py\n```\ndef double(number):\n    return 2 * number\n```\n"
        "  Create a file, or replace a small one; all of its text stands in the fence."
    )
    has_body = True
    header = '" " newpath'

    def parse(self, header: str, body: str | None) -> dict[str, JsonValue]:
        """See Tool."""
        if body is None:
            raise ValueError(f"write needs the file's text in a fence. Write: {FORM}")
        return self.check({"path": header.strip(), "body": body})

    def check(self, arguments: Mapping[str, object]) -> dict[str, JsonValue]:
        """See Tool."""
        record = checked(Arguments, arguments, FORM)
        return dumped(record.model_copy(update={"path": spelled(clean_path(record.path))}))

    def run(self, arguments: Mapping[str, object], workspace: Workspace) -> ToolResult:
        """Write the file, or say why not."""
        record = checked(Arguments, arguments, FORM)
        path = clean_path(record.path)
        name = spelled(path)
        try:
            old = load_file(workspace.files, path) if workspace.files.exists(path) else None
        except NotText as error:
            return _refused(path, f"{name} cannot be replaced by text: {error}.")
        lines = record.body.removesuffix("\n").split("\n")
        fault = _replace_fault(path, old, workspace) or _body_fault(path, lines, old)
        if fault:
            return _refused(path, fault)
        try:
            data = new_file(lines, old)
            if old is not None and data == old.bytes:
                return _refused(path, f"{name} reads so already; nothing was changed.")
            workspace.files.write(path, data)
        except UnicodeEncodeError:
            return _refused(path, f"{name} cannot hold these characters; use plain ones.")
        except UnsafePath as error:
            return _refused(path, error.message)
        workspace.spans.pop(path, None)
        workspace.seen.add(path)
        what = "replaced" if old is not None else "created"
        return ToolResult(
            Status.OK,
            f"{name} is {what}: {len(lines)} lines.",
            f"{name} {what}, {len(lines)} lines",
        )


def _refused(path: str, why: str) -> ToolResult:
    return ToolResult(Status.REFUSED, why, f"{spelled(path)}: not written")


def _replace_fault(path: str, old: Text | None, workspace: Workspace) -> str:
    """Why an existing file may not be replaced as a whole; empty when it may."""
    name = spelled(path)
    if path.startswith(CHECKS):
        return f"{name} belongs to a check, which nobody changes. Change the code that it tests."
    if old is None or not old.lines:
        return ""
    if len(old.lines) > REPLACED_LINES:
        return (
            f"{name} has {len(old.lines)} lines: change only what must change. Next: edit {name} FIRST-LAST"
        )
    if workspace.unseen(path, 1, len(old.lines)):
        return f"{name} exists and you have not seen all of it. Next: read {name}"
    return ""


def _body_fault(path: str, lines: list[str], old: Text | None) -> str:
    """Why this text is no whole file; empty when it is."""
    name = spelled(path)
    before = old.shown if old else []
    left_out = guard.placeholder(lines, before)
    if left_out:
        return f"The line `{left_out}` stands for code left out. Write the whole of {name}, or edit lines."
    text = "\n".join(lines)
    broken = guard.syntax_error(path, text)
    if broken and not (old and guard.syntax_error(path, decoded(old))):
        return f"{name} would not parse: {broken}. Nothing was written."
    lost = guard.lost_names(path, decoded(old), text) if old else []
    end = len(before) + 1
    if lost:
        names = ", ".join(lost[:8])
        return f"{name} would lose {names}. Write all of it, or append with: edit {name} {end}-{end}"
    if guard.shrinks(before, lines, SHRINK_LINES, SHRINK_SHARE):
        return f"{name} would shrink from {len(before)} to {len(lines)} lines. Next: edit {name} FIRST-LAST"
    return ""
