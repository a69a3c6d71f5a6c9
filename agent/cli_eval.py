"""`adi eval`: measure the agent on a suite of tasks, resumable."""

import contextlib
import sys
from pathlib import Path
from typing import Annotated

import typer

from agent import suites
from agent.display import Display, make_console
from agent.inert import inert_line
from agent.session import docker_sandboxes, open_session
from agent.settings import Settings, directories, load

app = typer.Typer(
    help="Measure the agent on a suite of tasks.",
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode=None,
)


@app.callback()
def suite() -> None:
    """Measure the agent on a suite of tasks."""


@app.command()
def quixbugs(
    data: Annotated[Path, typer.Option(help="quixbugs.jsonl, or the folder that holds it.")],
    out: Annotated[
        Path | None, typer.Option(help="Results, JSON lines; tasks that it has are not run again.")
    ] = None,
    limit: Annotated[int, typer.Option(help="Only the first so many tasks; 0 means all.")] = 0,
    only: Annotated[list[str] | None, typer.Option(help="Only the task of this name; repeatable.")] = None,
    table: Annotated[Path | None, typer.Option(help="Write the summary here too, as Markdown.")] = None,
) -> None:
    """Mend the programs of QuixBugs (Python): each task is a repository with its failing tests."""
    tasks = [task for task in suites.read_quixbugs(data) if not only or task.name in only]
    tasks = tasks[:limit] if limit else tasks
    settings = load(None, {"run": {"check_s": suites.CHECK_S}}).settings
    results = out or directories().data / "eval" / "quixbugs.jsonl"
    rows = suites.run_suite("quixbugs", tasks, results, _opener(settings), _tell, _tell_bad)
    lines = suites.summary_lines(rows)
    typer.echo("\n".join(map(inert_line, lines)))
    if table is not None:
        table.write_text("\n".join(lines) + "\n", encoding="utf-8")
    typer.echo(f"results: {inert_line(str(results))}", err=True)


def _tell(row: suites.Row) -> None:
    verdict = "solved" if row.solved else f"not solved ({row.stop})"
    typer.echo(
        f"{inert_line(row.name)}: {verdict} in {row.wall_s:.0f} s, {row.executed} candidates run", err=True
    )


def _tell_bad(count: int, kept: Path) -> None:
    typer.echo(f"warning: {count} damaged line(s) skipped, their tasks run again; see {kept}", err=True)


def _opener(settings: Settings) -> "suites.Opener":
    """Opens a session on a task's repository, with a quiet display for what goes wrong."""

    def open_task(repo: Path, tally: suites.Tally) -> suites.OpenTask:
        stack = contextlib.ExitStack()
        display = stack.enter_context(Display(make_console(sys.stderr), verbosity=-1))
        listeners = [tally.on_event, display.on_event]
        session = stack.enter_context(open_session(settings, repo, suites.unattended(), listeners))
        make = docker_sandboxes(settings, lambda _: None, "python")
        return suites.OpenTask(session, make, stack.close)

    return open_task
