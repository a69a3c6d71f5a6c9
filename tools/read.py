"""`read PATH` or `read PATH 10-40`: show numbered lines."""

from collections.abc import Mapping
from typing import Final

from pydantic import Field, JsonValue

from memory.records import Record, Status
from tools.arguments import checked, clean_path, dumped, spelled, split_range
from tools.protocol import ToolResult, Workspace
from tools.suggest import missing
from tools.text import NotText, load_file, numbered

LINES: Final = 160
"""Lines shown at once."""
CHARS: Final = 8_000
"""Characters shown at once."""
FORM: Final = "read PATH or read PATH 10-40"


class Arguments(Record):
    path: str
    first: int | None = Field(default=None, ge=1)
    """First line, 1-based; None means the beginning."""
    last: int | None = Field(default=None, ge=1)


class Read:
    """Shows a file's lines with their numbers."""

    name = "read"
    arguments = Arguments
    card = "read PATH [FIRST-LAST]\n  Show a file, or some of its lines, with line numbers."
    has_body = False
    header = '" " path (" " number "-" number)?'

    def parse(self, header: str, body: str | None) -> dict[str, JsonValue]:  # noqa: ARG002 - the Tool's form
        """See Tool."""
        path, first, last = split_range(header, FORM)
        return self.check({"path": path, "first": first, "last": last})

    def check(self, arguments: Mapping[str, object]) -> dict[str, JsonValue]:
        """See Tool."""
        record = checked(Arguments, arguments, FORM)
        return dumped(record.model_copy(update={"path": spelled(clean_path(record.path))}))

    def run(self, arguments: Mapping[str, object], workspace: Workspace) -> ToolResult:
        """Show the lines, cut to LINES and CHARS."""
        record = checked(Arguments, arguments, FORM)
        path = clean_path(record.path)
        name = spelled(path)
        if not workspace.files.exists(path):
            return missing(workspace.files, path, "read")
        try:
            lines = load_file(workspace.files, path).shown
        except NotText as error:
            return ToolResult(Status.REFUSED, f"{name} is not shown: {error}.", f"{name}: {error}")
        if not lines:
            workspace.show(path, 1, 1)
            return ToolResult(Status.OK, f"{name} is empty.", f"{name} empty")
        first = min(record.first or 1, len(lines))
        last = _last(lines, first, max(first, record.last or len(lines)))
        workspace.show(path, first, last)
        return _shown(name, lines, first, last, min(record.last or len(lines), len(lines)))


def _last(lines: list[str], first: int, wanted: int) -> int:
    """Last line that the caps allow."""
    last = size = 0
    for number in range(first, min(wanted, len(lines), first + LINES - 1) + 1):
        size += len(lines[number - 1][:300]) + 6
        if last and size > CHARS:
            break
        last = number
    return last


def _shown(name: str, lines: list[str], first: int, last: int, wanted: int) -> ToolResult:
    title = f"{name} lines {first}-{last} of {len(lines)}:"
    text = f"{title}\n{numbered(lines[first - 1 : last], first)}"
    cut = last < wanted
    if cut:
        text += f"\nMore: read {name} {last + 1}-{min(len(lines), last + LINES)}"
    return ToolResult(Status.OK, text, f"{name} {first}-{last} of {len(lines)}", truncated=cut)
