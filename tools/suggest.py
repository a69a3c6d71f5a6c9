"""What to say when a path is not there: the nearest ones, and the exact next call."""

from difflib import get_close_matches
from pathlib import PurePosixPath

from memory.records import Status
from sandbox.workcopy import WorkCopy
from tools.arguments import spelled
from tools.protocol import ToolResult

LISTED = 30
"""Files listed of a folder."""


def missing(files: WorkCopy, path: str, tool: str) -> ToolResult:
    """The answer to a call about a file that does not exist."""
    paths = files.paths()
    inside = [item for item in paths if item.startswith(path.rstrip("/") + "/")]
    if inside:
        listed = "\n".join(spelled(item) for item in inside[:LISTED])
        more = f"\n… and {len(inside) - LISTED} more" if len(inside) > LISTED else ""
        name = spelled(path)
        return ToolResult(Status.REFUSED, f"{name} is a folder with:\n{listed}{more}", f"{name}: a folder")
    near = [spelled(item) for item in nearest(paths, path)]
    hint = f" Did you mean: {', '.join(near)}? Next: {tool} {near[0]}" if near else ""
    path = spelled(path)
    return ToolResult(Status.REFUSED, f"There is no file {path}.{hint}", f"{path}: no such file")


def nearest(paths: list[str], path: str) -> list[str]:
    """At most three paths that look like this one, of equal name first."""
    name = PurePosixPath(path).name
    same = [item for item in paths if PurePosixPath(item).name == name]
    return (same or get_close_matches(path, paths[:5000], 3, 0.5))[:3]
