"""`adi data forget`: runs are gone, with what was derived from them, and stay out of every later data set."""

import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, NamedTuple

import typer

if TYPE_CHECKING:
    from memory.exports import Export
    from memory.hidden import HiddenKind
    from memory.lesson import Tombstone
    from memory.store import Store

KEPT = "backups made before still hold it; delete those too if it must be gone"


class Chosen(NamedTuple):
    """What is to be forgotten."""

    runs: list[str]
    kind: "HiddenKind | None"
    """None where the runs themselves were named."""
    name: str


def forget(
    runs: Annotated[list[str] | None, typer.Argument(metavar="[RUN]...", help="Runs.")] = None,
    session: Annotated[
        str, typer.Option(metavar="ID", help="All runs of a session, or of a run's session.")
    ] = "",
    repo: Annotated[Path | None, typer.Option(help="All runs in a repository, and its lessons.")] = None,
    author: Annotated[str, typer.Option(metavar="EMAIL", help="All runs that one person began.")] = "",
    reason: Annotated[str, typer.Option(help="Kept with the tombstones.")] = "",
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON for programs.")] = False,
) -> None:
    """Remove runs and all that was derived from them; what a backup brings back stays out of data sets."""
    from agent.settings import directories, load, store_place
    from memory.exports import exports_with
    from memory.forget import forget_runs
    from memory.store import Store

    place = store_place(load().settings)
    with Store.open(place) as store:
        chosen = _chosen(store, runs or [], session, repo, author)
        if not yes:
            _ask(chosen)
        stones = forget_runs(store, chosen.runs, chosen.kind, chosen.name, reason)
        held = exports_with(store, chosen.runs)
    for run_id in chosen.runs:
        (directories().patches / f"{run_id}.patch").unlink(missing_ok=True)
    copies = _copies(place)
    if as_json:
        _document(stones, held, chosen.runs, copies)
    else:
        _tell(stones, held, chosen.runs, copies)


def _chosen(store: "Store", runs: Sequence[str], session: str, repo: Path | None, author: str) -> Chosen:
    """Raises UsageError unless exactly one way to choose was used; NotFound, Ambiguous, NotARepository."""
    from agent import data_named
    from agent.errors import UsageError
    from memory.copies import runs_of
    from memory.forget import runs_by

    if sum(map(bool, (runs, session, repo is not None, author.strip()))) != 1:
        raise UsageError(
            "say what to forget, in one way", "name runs, or one of --session ID, --repo PATH, --author EMAIL"
        )
    if session:
        name = data_named.session(store, session)
        return Chosen([run for run, of in data_named.sessions(store).items() if of == name], "session", name)
    if repo is not None:
        name = data_named.root(store, repo)
        return Chosen([run.id for run in reversed(runs_of(store, name, limit=0))], "repository", name)
    if author:
        return Chosen(runs_by(store, author), "author", author)
    return Chosen([*dict.fromkeys(store.run(name).id for name in runs)], None, "")


def _ask(chosen: Chosen) -> None:
    """Returns when a person says yes. Raises AdiError, exit code 4, when they do not or nobody is there."""
    from agent.errors import NEEDS_PERSON, AdiError
    from agent.inert import inert_line

    count = f"{len(chosen.runs)} run{'' if len(chosen.runs) == 1 else 's'}"
    what = f"{count} of {chosen.kind} {chosen.name}" if chosen.kind else f"{count}: {' '.join(chosen.runs)}"
    if not (sys.stdin.isatty() and sys.stderr.isatty()):
        raise AdiError(f"to forget {what} needs a person's yes", "add --yes", NEEDS_PERSON)
    typer.echo(
        inert_line(f"Forget {what}, with events, patches and lessons? Nothing brings them back. [y/N] "),
        nl=False, err=True,
    )  # fmt: skip
    if sys.stdin.readline().strip().lower() not in ("y", "yes"):
        raise AdiError("nothing was forgotten", "", NEEDS_PERSON)


def _tell(
    stones: "Sequence[Tombstone]", held: "Sequence[Export]", runs: list[str], copies: list[Path]
) -> None:
    from agent.inert import inert_line

    for stone in stones:
        gone = ", ".join(f"{count} {what}" for what, count in stone.removed.items()) or "nothing else"
        what = stone.id if stone.kind in ("run", "session") else f"the {stone.kind}"
        typer.echo(f"{inert_line(what)} is forgotten: {gone}")
    for made in held:
        count = len(set(made.run_ids) & set(runs))
        if Path(made.path).exists():
            typer.echo(inert_line(f"the data set {made.path} still holds {count} of them: {_command(made)}"))
        else:
            typer.echo(
                inert_line(f"a data set with {count} of them was written to {made.path} and is not there now")
            )
    typer.echo(KEPT, err=True)
    for copy in copies:
        typer.echo(inert_line(f"  may hold it: {copy}"), err=True)


def _document(
    stones: "Sequence[Tombstone]", held: "Sequence[Export]", runs: list[str], copies: list[Path]
) -> None:
    sets = [
        {
            "path": made.path,
            "present": Path(made.path).exists(),
            "runs": sorted(set(made.run_ids) & set(runs)),
            "command": _command(made),
        }
        for made in held
    ]
    content: dict[str, Any] = {
        "tombstones": [stone.model_dump() for stone in stones],
        "data_sets": sets,
        "copies": [str(copy) for copy in copies],
    }
    typer.echo(json.dumps({"schema_version": 1, "type": "forgotten", **content}, ensure_ascii=True))


def _command(made: "Export") -> str:
    """What writes a data set again."""
    import shlex

    return made.command or shlex.join(("adi", "data", "export", made.path, "--force"))


def _copies(place: Path | str) -> list[Path]:
    """Copies that ADI itself keeps beside the memory's file: of upgrades, restores and rescues."""
    if not isinstance(place, Path):
        return []
    return sorted(path for path in place.parent.glob(f"{place.name}.*") if path.is_file())
