"""What a backlog is read from: the JSON of issues, `gh` itself, Markdown, SWE-bench rows, Harbor tasks.

Everything is read as it is asked for, so that ten thousand issues take no more memory than one. A file or
row that is no item is told by name, and the rest is read. What an issue says is data: nothing in it chooses
a path, a command's place or a setting.
"""

import errno
from collections.abc import Iterator
from contextlib import nullcontext
from pathlib import Path
from typing import BinaryIO, Final, Literal

from agent import backlog_read_github as github
from agent import backlog_read_harbor as harbor
from agent import backlog_read_markdown as markdown
from agent import backlog_read_swebench as swebench
from agent.backlog_files import files_below
from agent.backlog_item import Bad, Item
from agent.backlog_repos import Found, Repos
from agent.backlog_rows import rows
from agent.errors import UsageError

Kind = Literal["github", "markdown", "swebench", "harbor"]
KINDS: Final[dict[Kind, str]] = {
    "github": "JSON of gh issue list or view, or gh:owner/name",
    "markdown": "a folder of Markdown issues, or one",
    "swebench": "rows in the form of SWE-bench, JSON lines or a list",
    "harbor": "a Harbor task folder, or a folder of such",
}
TRACKER: Final = "gh:"
STDIN: Final = "-"


def read(
    source: str,
    *,
    repo: Path | None = None,
    repos: Path | None = None,
    kind: Kind | None = None,
    grading: bool = False,
    since: str = "",
    state: str = "open",
    stdin: BinaryIO | None = None,
) -> Iterator[Item | Bad]:
    """Items of a source, and what of it is none.

    `repo` is the repository of all items, `repos` a folder with one of each project. `kind` overrides what
    the source looks like. `grading` keeps what only graders may see. `since` and `state` are for a tracker.
    Raises UsageError when there is nothing to read, and EnvironmentMissing where `gh` is missing, at the
    latest when the first item is asked for.
    """
    places = Repos(repo, repos)
    return _items(_found(source, kind, grading, since, state, stdin), places)


def _items(all_found: Iterator[Found | Bad], places: Repos) -> Iterator[Item | Bad]:
    """Each with its repository, and none twice."""
    known: dict[str, str] = {}
    for found in all_found:
        item = places.item(found) if isinstance(found, Found) else found
        if isinstance(item, Item) and isinstance(found, Found):
            if item.key in known:
                item = Bad(where=found.where, why=f"a second item {item.key}; the first is {known[item.key]}")
            else:
                known[item.key] = found.where
        yield item


def _found(
    source: str, kind: Kind | None, grading: bool, since: str, state: str, stdin: BinaryIO | None
) -> Iterator[Found | Bad]:
    if source.startswith(TRACKER):
        return github.read_tracker(source.removeprefix(TRACKER), since=since, state=state)
    if source == STDIN:
        if stdin is None:
            raise UsageError("there is nothing on stdin", "gh issue list --json ... | adi backlog add -")
        return _rows(stdin, "stdin", kind, grading)
    place = Path(source)
    if place.is_dir():
        return _folder(place, kind, grading)
    if not place.is_file():
        problem = "is not a file or folder" if place.exists() else "does not exist"
        raise UsageError(f"{source} {problem}", f"one of: {'; '.join(KINDS.values())}")
    if place.name == harbor.TOML or kind == "harbor":
        return harbor.read_folder(place.parent, grading=grading)
    if kind == "markdown" or (kind is None and place.suffix.lower() == ".md"):
        return iter([markdown.read_file(place, place.parent)])
    return _rows(place, place.name, kind, grading)


def _folder(folder: Path, kind: Kind | None, grading: bool) -> Iterator[Found | Bad]:
    if kind == "harbor" or (kind is None and harbor.tasks_in(folder)):
        if not harbor.tasks_in(folder):
            raise UsageError(
                f"no {harbor.TOML} in {folder}", "name a Harbor task folder, or one that holds some"
            )
        return harbor.read_folder(folder, grading=grading)
    if kind in ("github", "swebench"):
        raise UsageError(f"{folder} is a folder", f"for {kind} name the file")
    if next(files_below(folder, ".md"), None) is None:
        held = next(files_below(folder, ".jsonl"), None)
        hint = f"did you mean {held}?" if held else f"one of: {'; '.join(KINDS.values())}"
        raise UsageError(f"no issues in {folder}", hint)
    return markdown.read_folder(folder)


def _rows(place: Path | BinaryIO, name: str, kind: Kind | None, grading: bool) -> Iterator[Found | Bad]:
    """Rows of a file or stream, each read as what it looks like."""
    if kind in ("markdown", "harbor"):
        raise UsageError(f"{name} cannot be read as {kind}", f"name {KINDS[kind]}")
    try:
        with place.open("rb") if isinstance(place, Path) else nullcontext(place) as stream:
            for row in rows(stream, name):
                if isinstance(row, Bad):
                    yield row
                elif kind == "swebench" or (kind is None and swebench.is_instance(row.value)):
                    yield swebench.read_row(row, grading=grading)
                elif kind == "github" or github.is_issue(row.value):
                    yield github.read_row(row)
                else:
                    yield Bad(where=row.where, why="is neither an issue of GitHub nor a row of SWE-bench")
    except OSError as error:
        if isinstance(place, Path) and error.errno in (errno.EACCES, errno.EPERM):
            raise UsageError(f"cannot read {place}: {error.strerror}", "check its rights") from None
        yield Bad(where=name, why=f"cannot be read on: {error.strerror}")
