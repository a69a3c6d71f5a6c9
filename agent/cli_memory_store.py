"""`adi memory backup`, `restore` and `salvage`: the file of the memory, copied, put back, and rescued."""

import sys
from pathlib import Path
from typing import Annotated

import typer

File = Annotated[Path, typer.Argument(metavar="FILE", help="A file outside of ADI's own directory.")]


def backup(
    file: File,
    force: Annotated[bool, typer.Option("--force", help="Overwrite FILE when it is there.")] = False,
) -> None:
    """Copy the memory to FILE, while ADI may be working, and check the copy."""
    from memory.backup import backup as copy

    store = _file()
    _say(f"copying {store}")
    counts = copy(store, file, overwrite=force)
    _tell(f"{file}: {counts}, {counts.size / 1e6:.1f} MB, checked")


def restore(file: File) -> None:
    """Put the copy FILE in the memory's place; what is there now is kept beside it."""
    from memory.backup import restore as put_back

    store = _file()
    _say(f"checking {file}")
    done = put_back(file, store)
    before = f"; what was there is kept as {done.kept}" if done.kept else ""
    _tell(f"{store}: {done.counts}, from {file}{before}")
    if done.carried:
        told = ", ".join(f"{count} {name}" for name, count in sorted(done.carried.items()))
        _tell(f"kept of what was there: {told}")
    if done.returned:
        _tell(f"{len(done.returned)} forgotten runs came back; no data set takes them")
        _tell(f"adi data forget {' '.join(done.returned[:3])}{' ...' if len(done.returned) > 3 else ''}")


def salvage() -> None:
    """Read what is readable of a damaged memory into a new file; the damaged one stays and is kept twice."""
    from memory.salvage import salvage as rescue

    _say("reading what is readable, row by row")
    found = rescue(_file())
    lost = ", ".join(f"{count} {name}" for name, count in found.lost.items()) or "nothing that is known of"
    kept = ", ".join(f"{count} {name}" for name, count in found.kept.items() if count) or "nothing"
    _tell(f"{found.target}: rows kept: {kept}; lost: {lost}; the damaged file is kept as {found.damaged}")
    _tell(f"adi memory restore {found.target} puts it in place")


def _file() -> Path:
    """The memory's file. Raises UsageError where the memory is a database of a server."""
    from agent.errors import UsageError
    from agent.settings import load, store_place

    place = store_place(load().settings)
    if isinstance(place, Path):
        return place
    raise UsageError("the memory is a database of a server, whose own tools copy it", "pg_dump, pg_restore")


def _say(line: str) -> None:
    """Tell a person what happens; a program reads standard output only."""
    from agent.display_wrap import tell

    tell(line, sys.stderr)


def _tell(line: str) -> None:
    from agent.inert import inert_line

    typer.echo(inert_line(line))
