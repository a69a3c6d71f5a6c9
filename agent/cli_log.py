"""`adi log`, `adi show` and `adi replay`: what the memory holds, printed back."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from rich.console import Console

    from agent.display import Display
    from memory.records import Event, RunSummary
    from memory.store import Store

Id = Annotated[str, typer.Argument(metavar="ID", help="A run's id, or the beginning of it.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON for programs.")]


def log(
    repo: Annotated[Path | None, typer.Option(help="Only runs of this repository.")] = None,
    everywhere: Annotated[bool, typer.Option("--all", help="Runs of all repositories.")] = False,
    limit: Annotated[int, typer.Option(min=0, help="How many runs; 0 means all of them.")] = 20,
    as_json: AsJson = False,
) -> None:
    """List runs and how each one ended, newest first: of this repository, or of all outside one."""
    from agent.display_log import run_rows, run_table, runs_document
    from agent.inert import inert_line
    from memory.copies import runs_of

    root = None if everywhere else root_of(repo)
    with _store() as store:
        runs = runs_of(store, str(root), limit) if root else store.runs(limit=limit)
    console = _console()
    if as_json:
        typer.echo(runs_document(runs))
    elif not console.is_terminal:
        typer.echo("\n".join(run_rows(runs)))
    elif runs:
        console.print(run_table(runs, with_repo=root is None))
    else:
        where = f"no runs in {inert_line(str(root))} yet; adi log --all lists every repository"
        typer.echo(where if root else "no runs yet")


def show(
    run: Id,
    file: Annotated[
        str, typer.Argument(metavar="[FILE]", help="Where --html writes: adi-run-ID.html; - is stdout.")
    ] = "",
    as_json: AsJson = False,
    html: Annotated[
        bool, typer.Option("--html", help="Write one HTML page that needs nothing else.")
    ] = False,
    force: Annotated[bool, typer.Option("--force", help="Let --html replace a file.")] = False,
) -> None:
    """Tell what happened in a run: what it cost, plan, actions, checks, verdict, decisions and the diff."""
    from agent.display_diff import diff_lines
    from agent.display_log import head_lines, run_document, story_lines
    from agent.display_story import story_head
    from agent.display_wrap import print_line
    from agent.story import told

    _check_form(file, as_json, html, force)
    with _store() as store:
        found = store.run(run)
        events = store.events(found.id)
        diff = store.artifact(found.diff_sha256) if found.diff_sha256 else b""
        trajectory = store.trajectory(found.id)
    if html:
        _write_page(found, events, diff, file, force)
        return
    if as_json:
        typer.echo(run_document(found, trajectory, events, diff))
        return
    console, story = _console(), told(events, alive=found.alive)
    lines = (*head_lines(found, events), *story_head(story), *story_lines(events))
    for line in (*lines, *diff_lines(diff, fold=False)):
        print_line(console, line)


def _check_form(file: str, as_json: bool, html: bool, force: bool) -> None:
    """One form at a time; a file, and replacing one, belong to the page."""
    from agent.errors import UsageError

    if html and as_json:
        raise UsageError("--html and --json are two forms of the same run", "give one of them")
    if (file or force) and not html:
        raise UsageError("only --html writes a file", "adi show ID --html [FILE] [--force]")


def _write_page(run: "RunSummary", events: "list[Event]", diff: bytes, file: str, force: bool) -> None:
    import sys

    from agent.display_wrap import tell
    from agent.page import page
    from agent.page_file import write

    content = page(run, events, diff)
    if file == "-":
        typer.echo(content, nl=False)
        return
    place = Path(file or f"adi-run-{run.id}.html")
    write(place, content, force=force)
    tell(f"wrote {place} ({len(content) / 1000:,.0f} kB)", sys.stdout)


def replay(
    run: Id,
    speed: Annotated[
        float, typer.Option(min=0, help="1 is the speed it ran at, 10 ten times that; 0 does not wait.")
    ] = 0,
    step: Annotated[bool, typer.Option("--step", help="Wait for Enter before each event.")] = False,
) -> None:
    """Show a run again, as it was drawn."""
    import time

    from agent.display import Display
    from agent.display_log import replay as play

    with _store() as store:
        events = store.events(store.run(run).id)
    with Display(_console(), quiet=()) as display:
        if step:
            _step_through(events, display)
        else:
            play(events, display.on_event, time.sleep, speed)


def _step_through(events: "list[Event]", display: "Display") -> None:
    import sys

    from agent.errors import UsageError

    if not sys.stdin.isatty():
        raise UsageError("--step waits for Enter and needs a terminal", "adi replay ID --speed 1")
    for event in events:
        display.on_event(event)
        display.pause()
        if not sys.stdin.readline():
            return


@contextmanager
def _store() -> "Iterator[Store]":
    from agent.settings import load, store_place
    from memory.store import Store

    with Store.open(store_place(load().settings)) as store:
        yield store


def _console() -> "Console":
    import sys

    from agent.display import make_console

    return make_console(sys.stdout)


def root_of(repo: Path | None) -> Path | None:
    """The repository's root; None when none was named and this is none."""
    from sandbox.errors import NotARepository
    from sandbox.repository import locate

    try:
        return locate(repo or Path.cwd()).root
    except NotARepository:
        if repo:
            raise
        return None
