"""`adi eval`: measure an agent on a suite of tasks, resumable, and report what was measured."""

import difflib
import json
import os
from collections.abc import Sequence
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

import typer
from typer.core import TyperGroup

from agent.errors import UsageError
from agent.inert import inert_line
from agent.mechanisms import Mechanism
from agent.suite_read import SUITES, Part
from agent.suite_report import compare, comparison_lines, figures, report_lines, task_lines
from agent.suite_results import read_rows
from agent.suite_task import Row, SuiteTask

BENCH: str = "ADI_BENCH"
"""Environment variable that names the folder of the suites."""


class AgentName(StrEnum):
    """Whom to measure."""

    ADI = "adi"
    ONESHOT = "oneshot"
    AIDER = "aider"
    MINI = "mini"


class Suites(TyperGroup):
    """A command for each suite, and the nearest one for a typo."""

    def resolve_command(self, ctx: Any, args: list[str]) -> Any:
        name = args[0]
        if name not in self.commands and not name.startswith("-"):
            near = difflib.get_close_matches(name, self.commands, n=1)
            raise UsageError(
                f"no suite {name!r}",
                f"did you mean adi eval {near[0]}?" if near else f"one of: {', '.join(self.commands)}",
            )
        return super().resolve_command(ctx, args)


app = typer.Typer(
    cls=Suites,
    help="Measure an agent on a suite of tasks.",
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode=None,
)

Table = Annotated[Path | None, typer.Option(help="Write the report here too, as Markdown.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print the figures as JSON for programs.")]


@app.command()
def report(
    files: Annotated[list[Path], typer.Argument()], table: Table = None, as_json: AsJson = False
) -> None:
    """Report finished results without running anything, and compare every pair of agents."""
    measured = [_rows_of(file) for file in files]
    lines = [line for rows in measured for line in (*report_lines(rows), "")]
    if len(measured) > 1:
        lines += comparison_lines(measured)
    _print(lines, measured, table, as_json)


def evaluate(
    context: typer.Context,
    agent: Annotated[AgentName, typer.Option(help="Whom to measure.")] = AgentName.ADI,
    data: Annotated[
        Path | None, typer.Option(help=f"Folder of the suites, of this one, or its file; else ${BENCH}.")
    ] = None,
    out: Annotated[
        Path | None, typer.Option(help="Results, JSON lines; tasks that it has are not run again.")
    ] = None,
    jobs: Annotated[int, typer.Option(min=1, help="Tasks at once.")] = 1,
    resume: Annotated[bool, typer.Option(help="Go on with the results, or begin anew.")] = True,
    seed: Annotated[int, typer.Option(min=0, help="Told in every row; each seed has its own results.")] = 0,
    limit: Annotated[int, typer.Option(min=0, help="Only the first so many tasks; 0 means all.")] = 0,
    only: Annotated[list[str] | None, typer.Option(help="Only the task of this name; repeatable.")] = None,
    part: Annotated[str, typer.Option(help="dev, unseen or all.")] = "all",
    languages: Annotated[str, typer.Option(help="Of multipl_e: such as py,java; empty means all.")] = "",
    tokens: Annotated[int | None, typer.Option(min=0, help="Tokens the model may write in one try.")] = None,
    wall: Annotated[float | None, typer.Option(min=0, help="Seconds of one try.")] = None,
    without: Annotated[
        list[Mechanism] | None, typer.Option(help="Measure ADI with this switched off; repeatable.")
    ] = None,
    table: Table = None,
    as_json: AsJson = False,
    compare_with: Annotated[
        Path | None, typer.Option("--compare", help="Another agent's results of the same tasks.")
    ] = None,
) -> None:
    from agent import suite_measure
    from agent.settings import directories, load

    suite = str(context.info_name)
    tasks = _tasks(suite, data, languages, part, only or [], limit)
    other = _rows_of(compare_with) if compare_with else []
    settings = load(
        None,
        {
            "run": {
                "check_s": suite_measure.check_s(suite),
                "completion_tokens": tokens,
                "wall_s": wall,
                "without": without,
                "seed": seed,
            }
        },
    ).settings
    name = suite_measure.full_name(agent, settings)
    results = out or directories().data / "eval" / f"{suite}-{name}-{seed}.jsonl"
    if not resume:
        suite_measure.put_aside(results)
    rows = suite_measure.measure(tasks, agent, results, settings, jobs=jobs, seed=seed)
    lines = [*task_lines(rows), "", *report_lines(rows, len(tasks), max(task.tries for task in tasks))]
    if compare_with:
        lines += ["", *comparison_lines([rows, other])]
    _print(lines, [rows, other] if compare_with else [rows], table, as_json)
    typer.echo(f"results: {inert_line(str(results))}", err=True)


for _name in SUITES:
    app.command(_name, help=f"The suite {_name}.")(evaluate)


def _tasks(
    suite: str, data: Path | None, languages: str, part: str, only: Sequence[str], limit: int
) -> list[SuiteTask]:
    """The tasks that were asked for. Raises UsageError when a name fits none."""
    from agent.suite_read import read_suite

    place = data or (Path(os.environ[BENCH]) if os.environ.get(BENCH) else None)
    if place is None:
        raise UsageError("where is the suite's data?", f"name its folder with --data, or in {BENCH}")
    tasks, problems = read_suite(
        suite, place, languages=[each for each in languages.split(",") if each], part=_part(part)
    )
    for problem in problems:
        typer.echo(f"warning: {inert_line(problem)}", err=True)
    names = {task.name: task for task in tasks}
    for name in only:
        if name not in names:
            near = difflib.get_close_matches(name, names, n=1)
            raise UsageError(
                f"{suite} has no task {name!r} among the {len(names)} that were read",
                f"did you mean {near[0]}?" if near else f"such as {next(iter(names), 'none')}",
            )
    chosen = [names[name] for name in dict.fromkeys(only)] or tasks
    if not chosen:
        raise UsageError(f"part {part} of {suite} has no tasks", "--part all")
    return chosen[:limit] if limit else chosen


def _part(name: str) -> Part:
    parts: dict[str, Part] = {"all": "all", "dev": "dev", "unseen": "unseen"}
    if name not in parts:
        raise UsageError(f"no part {name!r}", f"--part {', '.join(parts)}")
    return parts[name]


def _rows_of(file: Path) -> list[Row]:
    """Rows of a finished measurement; damaged lines are told."""
    if not file.is_file():
        raise UsageError(f"there are no results in {file}", "name the file that --out wrote")
    rows, bad = read_rows(file)
    if bad:
        typer.echo(f"warning: {bad} damaged line(s) of {inert_line(str(file))} left out", err=True)
    return rows


def _print(
    lines: Sequence[str], measured: Sequence[Sequence[Row]], table: Path | None, as_json: bool
) -> None:
    if as_json:
        pairs = [compare(first, second) for at, first in enumerate(measured) for second in measured[at + 1 :]]
        told = {
            "measured": [figures(rows) for rows in measured],
            "mcnemar": [pair.record() for pair in pairs],
        }
        typer.echo(json.dumps(told))
    else:
        typer.echo("\n".join(map(inert_line, lines)))
    if table is not None:
        table.write_text("\n".join(lines) + "\n", encoding="utf-8")
