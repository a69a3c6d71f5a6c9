"""`adi complete`: code at a place in a file, for editors and scripts."""

import json
import sys
import time
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Final

import typer

from agent.complete import MAX_TOKENS, TOKENS, Chunk, Completed, Place, checked, complete, text_of
from agent.errors import UsageError
from agent.inert import inert
from agent.settings import directories, load

if TYPE_CHECKING:
    from sandbox.workcopy import WorkCopy

SCHEMA_VERSION: Final = 1
RECENT_S: Final = 3600.0
RECENT: Final = 3
MANY: Final = 20
"""More files than this, changed within RECENT_S, were changed by a checkout and not by a person."""


def complete_at(
    where: Annotated[str, typer.Argument(metavar="FILE:LINE:COL", help="Both count from 1, in characters.")],
    opened: Annotated[
        list[Path] | None, typer.Option("--open", help="A file that is open too; repeatable.")
    ] = None,
    stdin: Annotated[bool, typer.Option("--stdin", help="Read the text of FILE from stdin.")] = False,
    n: Annotated[int, typer.Option("--n", min=1, max=16, help="Alternatives to draw.")] = 1,
    max_tokens: Annotated[int, typer.Option(min=1, help="Most tokens to write.")] = MAX_TOKENS,
    tokens: Annotated[int, typer.Option(min=64, help="Most tokens of the prompt.")] = TOKENS,
    model: Annotated[str, typer.Option(help="Name or path of the model; empty: the default.")] = "",
    url: Annotated[str, typer.Option(help="OpenAI-compatible server.")] = "",
    as_json: Annotated[bool, typer.Option("--json", help="Text, range and cost for programs.")] = False,
) -> None:
    """Print what belongs at a place in a file. The repository around it is the context."""
    from agent.models import choice_of
    from model.connect import connect

    path, line, column = place_of(where)
    text = checked(sys.stdin.buffer.read(), "stdin") if stdin else text_of(path)
    files, own = _files(path)
    place = Place(own, text, line, column)
    place.hole()  # before a server is started for a place that is not there
    others = [Chunk(_inside(files, other), text_of(other)) for other in opened or []]
    flags = {"name": model or None, "url": url or None}
    settings = load(None, {"model": flags}).settings
    with closing(connect(choice_of(settings, directories()), _say)) as connected:
        done = complete(
            connected,
            place,
            files,
            opened=others,
            recent=_recent(files, own) if files else [],
            n=n,
            max_tokens=max_tokens,
            tokens=tokens,
        )
    if as_json:
        typer.echo(json.dumps(document(done, path, place), ensure_ascii=False))
        return
    shown = "\n---\n".join(done.texts)
    sys.stdout.write((inert(shown) + "\n") if sys.stdout.isatty() else shown)


def place_of(where: str) -> tuple[Path, int, int]:
    """`FILE:LINE:COL` taken apart; without COL the end of the line is meant, which is column 0."""
    parts = where.rsplit(":", 2)
    numbers = [part for part in parts[1:] if part.isascii() and part.isdigit()]
    if len(parts) == 3 and len(numbers) == 2:
        column = int(parts[2])
        if column < 1:
            raise UsageError("columns count from 1", "adi complete FILE:LINE:COL")
        return Path(parts[0]), int(parts[1]), column
    name, _, last = where.rpartition(":")
    if name and last.isascii() and last.isdigit():
        return Path(name), int(last), 0
    raise UsageError(f"{where!r} does not name a place in a file", "adi complete FILE:LINE:COL")


def document(done: Completed, path: Path, place: Place) -> dict[str, object]:
    """What `--json` prints."""
    column = place.column or len(place.hole().before) + 1
    cursor = {"line": place.line, "column": column}
    return {
        "schema_version": SCHEMA_VERSION,
        "type": "completion",
        "file": str(path),
        "model": done.model,
        "text": done.texts[0],
        "alternatives": list(done.texts[1:]),
        "range": {"start": cursor, "end": cursor},
        "usage": done.usage.model_dump(),
        "shown": {
            "first_line": done.around.first_line,
            "last_line": done.around.last_line,
            "context": list(done.around.used),
            "left_out": list(done.around.left_out),
        },
    }


def _files(path: Path) -> "tuple[WorkCopy | None, str]":
    """The repository around a file, and the file's path in it; outside of one, no other files are known."""
    from sandbox.errors import NotARepository, RepositoryState
    from sandbox.workcopy import WorkCopy, snapshot

    folder = path.absolute().parent
    if not folder.is_dir():
        raise UsageError(f"there is no directory {folder}", "adi complete FILE:LINE:COL")
    try:
        files = WorkCopy(snapshot(folder, directories().shadow))
    except NotARepository:
        return None, path.name
    except RepositoryState as error:
        _say(f"the repository is not used as context: {error}")
        return None, path.name
    return files, _inside(files, path)


def _inside(files: "WorkCopy | None", path: Path) -> str:
    """A file's path in the repository; its own path where it lies elsewhere."""
    full = path.absolute().parent.resolve() / path.name
    root = files.snapshot.repo.resolve() if files else None
    return full.relative_to(root).as_posix() if root and full.is_relative_to(root) else str(path)


def _recent(files: "WorkCopy", own: str) -> list[str]:
    """Source files that a person changed lately, newest first."""
    from agent.grammars import language_of

    now, found = time.time(), []
    for path in files.paths():
        if path == own or not language_of(path):
            continue
        try:
            changed = (files.snapshot.repo / path).lstat().st_mtime
        except OSError:
            continue
        if now - changed < RECENT_S:
            found.append((changed, path))
    return [] if len(found) > MANY else [path for _, path in sorted(found, reverse=True)[:RECENT]]


def _say(line: str) -> None:
    from agent.display_wrap import tell

    tell(line, sys.stderr)
