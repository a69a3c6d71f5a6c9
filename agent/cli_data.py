"""`adi data`: recorded runs as data sets, checked, compared, counted, and forgotten."""

import json
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Final

import typer

from agent import cli_data_consent, cli_data_corpus

if TYPE_CHECKING:
    from feedback.export import Made, Query, Sources
    from feedback.harvest import Harvest
    from memory.store import Store

app: Final = typer.Typer(
    help="Data sets from what was recorded: export, check, compare, count, forget.",
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode=None,
    context_settings={"help_option_names": ["-h", "--help"]},
)
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON for programs.")]
Synthetic = Annotated[bool, typer.Option(help="Runs on tasks that a program made; their rows say so.")]
Formats = Annotated[list[str] | None, typer.Option("--format", help="A configuration; all by default.")]
Folder = Annotated[Path, typer.Argument(metavar="FOLDER", help="A data set.")]


@app.command()
def export(
    target: Annotated[Path | None, typer.Argument(metavar="FOLDER", help="To write; not there yet.")] = None,
    repo: Annotated[list[Path] | None, typer.Option(help="Only of this repository; may be repeated.")] = None,
    since: Annotated[str, typer.Option(help="Runs that began then or later, ISO 8601 (UTC).")] = "",
    until: Annotated[str, typer.Option(help="Runs that began before.")] = "",
    grade: Annotated[list[str] | None, typer.Option(help="gold, silver, negative; all by default.")] = None,
    min_reward: Annotated[float, typer.Option(help="From -1 to 1.")] = -1.0,
    form: Formats = None,
    jsonl: Annotated[bool, typer.Option("--jsonl", help="JSON lines beside Parquet.")] = False,
    any_licence: Annotated[
        bool, typer.Option("--any-licence", help="Unknown and other licences too: to train here only.")
    ] = False,
    per_task: Annotated[int, typer.Option(help="Runs of one task; 0 is no limit.")] = 2,
    per_repository: Annotated[int, typer.Option(help="Runs of one repository; 0 is no limit.")] = 0,
    held_out: Annotated[
        list[Path] | None, typer.Option(help="A suite of tasks to keep out; file or folder, may be repeated.")
    ] = None,
    synthetic: Synthetic = True,
    split_by: Annotated[str, typer.Option(help="repository or time.")] = "repository",
    frozen: Annotated[
        Path | None, typer.Option("--splits", help="An earlier data set, whose splits stay.")
    ] = None,
    store: Annotated[list[Path] | None, typer.Option(help="Another store; may be repeated.")] = None,
    seed: Annotated[int, typer.Option(help="Of the splits.")] = 0,
    preview: Annotated[bool, typer.Option("--preview", help="Only count; write nothing.")] = False,
    force: Annotated[bool, typer.Option("--force", help="Replace a data set that is there.")] = False,
    as_json: AsJson = False,
) -> None:
    """Write what was recorded, and allowed, as a data set; each step tells what it left out."""
    from agent.data_sources import needs_data
    from agent.errors import UsageError

    needs_data()
    from feedback import export as exporting

    if split_by not in ("repository", "time"):
        raise UsageError(f"no split by {split_by!r}", "use repository or time")
    if target is None and not preview:
        raise UsageError("a data set needs a folder", "adi data export FOLDER, or --preview")
    query = _query(
        repos=tuple(str(_root(path)) for path in repo or ()),
        since=_time(since),
        until=_time(until),
        **({"grades": tuple(grade)} if grade else {}),
        min_reward=min_reward,
        formats=tuple(form or ()),
        jsonl=jsonl,
        any_licence=any_licence,
        per_task=per_task,
        per_repository=per_repository,
        synthetic=synthetic,
        by_time=split_by == "time",
        seed=seed,
    )
    with _stores(store or ()) as stores, _sources(stores, held_out or (), frozen) as sources:
        made = exporting.make(_harvests(stores), query, sources, _say)
        manifest = exporting.write(made, target, force=force) if target and not preview else None
        if target is not None and manifest is not None:
            _remember(stores[0], target, manifest)
    _tell(made, str(target or ""), as_json, written=manifest is not None)


@app.command()
def validate(folder: Folder, as_json: AsJson = False) -> None:
    """Check a data set: its files, columns, consent, secrets, splits. Exit code 3 when something is wrong."""
    from agent.data_sources import needs_data
    from agent.inert import inert_line

    needs_data()
    from feedback.validate import validate as checks_of

    checks = checks_of(folder)
    wrong = any(check.problems for check in checks)
    if as_json:
        found = [{"name": c.name, "looked_at": c.looked_at, "problems": c.problems} for c in checks]
        _document("validation", checks=found, valid=not wrong)
    else:
        for check in checks:
            typer.echo(f"{'ok  ' if not check.problems else 'FAIL'} {check.name} ({check.looked_at:,})")
            for problem in check.problems:
                typer.echo(f"     {inert_line(problem)}")
    if wrong:
        raise typer.Exit(3)


@app.command()
def diff(first: Folder, second: Folder, as_json: AsJson = False) -> None:
    """Compare two data sets row by row."""
    from agent.data_sources import needs_data
    from agent.inert import inert_line

    needs_data()
    from feedback.compare import asked_otherwise, compare

    found, asked = compare(first, second), asked_otherwise(first, second)
    if as_json:
        rows = [
            {"config": d.config, "same": d.same, "added": d.added, "removed": d.removed, "moved": d.moved}
            for d in found
        ]
        _document("difference", configurations=rows, query=asked)
        return
    for name, (before, after) in asked.items():
        typer.echo(f"{name}: {inert_line(str(before))} -> {inert_line(str(after))}")
    typer.echo(f"{'configuration':24}{'same':>8}{'added':>8}{'removed':>8}{'moved':>8}")
    for d in found:
        typer.echo(f"{d.config:24}{d.same:>8,}{len(d.added):>8,}{len(d.removed):>8,}{len(d.moved):>8,}")


@app.command()
def stats(folder: Folder, as_json: AsJson = False) -> None:
    """Count the rows of a data set by split, label, licence, language and so on."""
    from agent.inert import inert_line
    from feedback.folder import manifest_of

    manifest_of(folder)
    found = json.loads((folder / "meta" / "stats.json").read_text(encoding="utf-8"))
    if as_json:
        _document("stats", configurations=found)
        return
    for name, counts in found.items():
        typer.echo(f"{name}: {counts.pop('rows'):,} rows")
        for column, values in counts.items():
            told = ", ".join(
                f"{inert_line(value) or '(none)'} {number:,}" for value, number in values.items()
            )
            typer.echo(f"    {column:18}{told}")


app.command("consent")(cli_data_consent.consent)
app.command("opt-out")(cli_data_consent.opt_out)
app.command("forget")(cli_data_consent.forget)
app.command("corpus")(cli_data_corpus.corpus)


def _query(**values: Any) -> "Query":
    from pydantic import ValidationError

    from agent.errors import UsageError
    from feedback.export import Query

    try:
        return Query(**values)
    except ValidationError as error:
        first = error.errors()[0]
        raise UsageError(f"{first['loc'][0]}: {first['msg']}", "adi data export --help") from error


@contextmanager
def _stores(others: Sequence[Path]) -> "Iterator[list[Store]]":
    """The memory, and copies of the other stores that were named: what is read is not brought up to date."""
    from tempfile import TemporaryDirectory

    from agent.errors import UsageError
    from agent.settings import load, store_place
    from memory.backup import backup
    from memory.store import Store

    with ExitStack() as stack:
        copies = Path(stack.enter_context(TemporaryDirectory(prefix="adi-data-")))
        found = [stack.enter_context(Store.open(store_place(load().settings)))]
        for number, place in enumerate(others):
            if not place.is_file():
                raise UsageError(f"no store at {place}", "name the file adi.db of another data directory")
            copy = copies / f"{number}.db"
            backup(place, copy)
            found.append(stack.enter_context(Store.open(copy)))
        yield found


@contextmanager
def _sources(stores: "Sequence[Store]", held_out: Sequence[Path], frozen: Path | None) -> "Iterator[Sources]":
    """Everything that an export reads besides the runs; where it needs a model's vocabulary, that too."""
    from agent.data_sources import sources
    from agent.settings import directories, load
    from feedback.folder import manifest_of

    earlier: dict[str, str] = {}
    if frozen is not None:
        manifest_of(frozen)
        earlier = json.loads((frozen / "meta" / "splits.json").read_text(encoding="utf-8"))["repositories"]
    with sources(load().settings, directories(), stores, held_out, earlier) as found:
        yield found


def _harvests(stores: "Sequence[Store]") -> "list[Harvest]":
    """Runs of all stores; the same run in two of them counts once."""
    from feedback.harvest import harvests, ordered

    found = {harvest.run_id: harvest for store in reversed(stores) for harvest in harvests(store)}
    return ordered([*found.values()])


def _remember(store: "Store", target: Path, manifest: dict[str, Any]) -> None:
    """So that whoever forgets a run is told that it still lies there, and what makes the data set again."""
    import hashlib
    import shlex
    import sys

    from feedback.folder import MANIFEST
    from memory.exports import record_export

    digest = hashlib.sha256((target / MANIFEST).read_bytes()).hexdigest()
    again = [part for part in sys.argv[1:] if part != "--force"]
    record_export(store, target, digest, manifest["runs"], shlex.join(["adi", *again, "--force"]))


def _tell(made: "Made", target: str, as_json: bool, *, written: bool) -> None:
    """What was left out at each step, and what came of it."""
    from feedback.steps import table

    if as_json:
        steps = [
            {"name": c.name, "in": c.rows_in, "out": c.rows_out, "dropped": c.reasons} for c in made.steps
        ]
        rows = {name: len(found) for name, found in made.rows.items()}
        _document(
            "export", steps=steps, rows=rows, not_made=dict(made.unwritten), redacted=dict(made.redacted),
            folder=target if written else "",
        )  # fmt: skip
        return
    typer.echo(f"{table(made.steps)}\n")
    for name, found in made.rows.items():
        typer.echo(f"{name:24}{len(found):>8,} rows")
    for name, why in made.unwritten.items():
        typer.echo(f"{name:24} not made: {why}")
    typer.echo(f"replaced: {sum(made.redacted.values()):,} secrets, names and paths", err=True)
    if written:
        typer.echo(f"written to {target}; adi data validate {target}", err=True)


def _root(path: Path) -> Path:
    from agent.cli_log import root_of

    return root_of(path) or path.absolute()


def _time(text: str) -> str:
    """A time in the form that the store has, so that texts compare as times do."""
    from datetime import UTC, datetime

    from agent.errors import UsageError

    if not text:
        return ""
    try:
        given = datetime.fromisoformat(text)
    except ValueError as error:
        raise UsageError(f"no time {text!r}", "write 2026-11-23 or 2026-11-23T10:00") from error
    aware = given if given.tzinfo else given.replace(tzinfo=UTC)
    return aware.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def _say(line: str) -> None:
    typer.echo(line, err=True)


def _document(kind: str, **content: Any) -> None:
    typer.echo(json.dumps({"schema_version": 1, "type": kind, **content}, ensure_ascii=True))
