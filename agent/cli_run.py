"""`adi run` and `adi undo`: from flags to a session, and from its outcome to an exit code."""

import contextlib
import os
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from agent.display import Display, make_console
from agent.display_wrap import tell
from agent.errors import UsageError
from agent.output import Format, Output
from agent.person import Person, TerminalPerson, Unattended
from agent.settings import Directories, Settings, directories, load, store_place
from sandbox.repository import locate

if TYPE_CHECKING:
    from agent.percolate import Listener
    from agent.session import Outcome, Session
    from memory.records import Event, RunSummary

Repo = Annotated[Path, typer.Option("--repo", help="Directory in the git repository.")]
Yes = Annotated[bool, typer.Option("--yes", "-y", help="Accept the change when the verdict does.")]
Color = Annotated[str | None, typer.Option("--color", help="auto, always or never.")]
HERE = Path()


@dataclass(frozen=True, slots=True)
class Front:
    """Everything between a person and a session."""

    repo: Path
    settings: Settings
    places: Directories
    display: Display
    output: Output
    person: Person


@contextlib.contextmanager
def front(
    repo: Path,
    flags: dict[str, dict[str, object]],
    *,
    yes: bool = False,
    review_plans: bool = True,
    form: Format = "text",
    verbosity: int = 0,
) -> Iterator[Front]:
    """Settings, display and person for one command; the terminal is given back at the end."""
    root = locate(repo).root
    loaded = load(root, flags)
    for warning in loaded.warnings:
        tell(f"warning: {warning}", sys.stderr)
    places = directories()
    output = Output(form, sys.stdout, places.patches)
    with Display(make_console(sys.stderr, loaded.settings.ui.color), verbosity=verbosity) as display:
        attended = form == "text" and not yes and somebody_is_there()
        person: Person = (
            TerminalPerson(display, sys.stdin, review_plans=review_plans)
            if attended
            else Unattended(yes, display)
        )
        yield Front(root, loaded.settings, places, display, output, person)


def somebody_is_there() -> bool:
    """True when questions can be asked and answered at a terminal."""
    return sys.stdin.isatty() and sys.stderr.isatty() and not os.environ.get("CI")


def explain_lessons(event: "Event") -> None:
    """Say of every lesson that a run is given why it was chosen, and what it costs."""
    from memory.records import Recalled

    if isinstance(event.payload, Recalled):
        for lesson in event.payload.lessons:
            cost = f"{lesson.tokens} tokens of the prompt" if lesson.tokens else "not shown to the model"
            tell(f"memory: {lesson.lesson_id} {lesson.claim} [{lesson.why}; {cost}]", sys.stderr)


def session_of(f: Front, *more: "Listener") -> "contextlib.AbstractContextManager[Session]":
    """The session behind the front; `more` hear of its events too."""
    from agent.session import open_session

    listeners = [f.display.on_event, f.output.on_event, *more]
    return open_session(
        f.settings, f.repo, f.person, listeners, on_text=f.display.on_text, on_output=f.display.on_output
    )


def run(
    task: Annotated[str, typer.Argument(help="What to do; - reads it from stdin.", metavar="TASK")],
    repo: Repo = HERE,
    check: Annotated[
        list[str] | None, typer.Option("--check", help="Command that must pass; may be repeated.")
    ] = None,
    yes: Yes = False,
    no_plan_review: Annotated[
        bool, typer.Option("--no-plan-review", help="Do not ask about the plan.")
    ] = False,
    output_format: Annotated[
        str, typer.Option("--output-format", help="text, json or stream-json.")
    ] = "text",
    steps: Annotated[int | None, typer.Option(help="Most actions of the model; 0 means no limit.")] = None,
    time: Annotated[float | None, typer.Option(help="Most seconds of the whole run.")] = None,
    tokens: Annotated[int | None, typer.Option(help="Most tokens that the model may write.")] = None,
    model: Annotated[str | None, typer.Option(help="Model by name.")] = None,
    url: Annotated[str | None, typer.Option(help="OpenAI-compatible server to ask.")] = None,
    color: Color = None,
    no_memory: Annotated[bool, typer.Option("--no-memory", help="Without what earlier runs taught.")] = False,
    explain: Annotated[
        bool, typer.Option("--explain", help="Tell which lessons it was given, and why.")
    ] = False,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="Only the verdict and the end.")] = False,
    verbose: Annotated[bool, typer.Option("--verbose", "-v", help="Every model call and candidate.")] = False,
) -> None:
    """Do one task in a git repository: plan it, work in a sandbox, prove the result, ask, apply."""
    prompt = (sys.stdin.read() if task == "-" else task).strip()
    if not prompt:
        raise UsageError("the task is empty", 'say what to do: adi run "make the failing test pass"')
    flags: dict[str, dict[str, object]] = {
        "run": {"steps": steps, "wall_s": time, "completion_tokens": tokens, "checks": check or None},
        "model": {"name": model, "url": url},
        "memory": {"recall": False if no_memory else None},
        "ui": {"color": color},
    }
    form, verbosity = _format(output_format), -1 if quiet else int(verbose)
    with front(repo, flags, yes=yes, review_plans=not no_plan_review, form=form, verbosity=verbosity) as f:
        try:
            with session_of(f, *([explain_lessons] if explain else [])) as session:
                outcome = _with_packages(f, lambda: session.run(prompt, f.settings.run.checks))
        except BaseException as error:
            f.output.fail(error)
            raise
        f.output.finish(outcome)
    raise typer.Exit(outcome.exit_code)


def _with_packages(f: Front, work: "Callable[[], Outcome]") -> "Outcome":
    """Do the work; where packages are missing, offer a person to install them, and do it again."""
    from agent.environment import DependenciesMissing

    try:
        return work()
    except DependenciesMissing as missing:
        if isinstance(f.person, Unattended):
            raise
        from agent.cli_prepare import prepare_repository

        f.person.tell(str(missing))
        if prepare_repository(f.settings, f.repo, yes=False):
            raise
    return work()


def undo(
    run_id: Annotated[str | None, typer.Argument(metavar="[RUN]", help="Default: the last applied.")] = None,
    repo: Repo = HERE,
    color: Color = None,
) -> None:
    """Take an applied change back, without touching anything else."""
    with front(repo, {"ui": {"color": color}}) as f, session_of(f) as session:
        outcome = session.undo(run_id)
        f.person.tell(outcome.detail)
    raise typer.Exit(outcome.exit_code)


def list_waiting(f: Front) -> "list[RunSummary]":
    """Print the results that wait in this repository, newest first."""
    from memory.store import Store

    store = Store.open(store_place(f.settings))
    try:
        waiting = store.pending(str(f.repo))
    finally:
        store.close()
    for summary in waiting:
        stat = summary.diffstat.strip().splitlines()[-1] if summary.diffstat.strip() else ""
        tell(f"{summary.id}  {summary.started[:16]}  {summary.prompt}  {stat}", sys.stderr)
    if not waiting:
        typer.echo("Nothing waits for a decision here.", err=True)
    return waiting


def _format(name: str) -> Format:
    forms: dict[str, Literal["text", "json", "stream-json"]] = {
        "text": "text",
        "json": "json",
        "stream-json": "stream-json",
    }
    if name not in forms:
        raise UsageError(f"no output format {name!r}", "use text, json or stream-json")
    return forms[name]
