"""The command line: finds the command, and turns every failure into lines and an exit code.

Only typer and the standard library are imported here; a command's module is imported when it is called.
Exit codes: 0 accepted, 1 unexpected error, 2 usage, 3 not accepted, 4 needs a person, 5 budget spent,
6 environment missing, 130 Ctrl-C, 143 SIGTERM.
"""

import difflib
import errno
import importlib
import io
import os
import signal
import sys
import threading
from typing import Annotated, Any, Final, NoReturn, TextIO

import typer
from typer.core import TyperGroup

COMMANDS: Final[dict[str, tuple[str, str, str]]] = {
    "run": ("agent.cli_run", "run", "Do one task in a git repository and prove the result."),
    "backlog": ("agent.cli_backlog", "app", "Work off a backlog of issues without anybody there."),
    "worker": ("agent.cli_worker", "worker", "Work on backlogs of a store that machines share."),
    "review": ("agent.cli_review", "review", "Decide on results that wait, one by one."),
    "undo": ("agent.cli_run", "undo", "Take an applied change back."),
    "log": ("agent.cli_log", "log", "List past runs and how they ended."),
    "show": ("agent.cli_log", "show", "Show one run: plan, steps, verdict, diff."),
    "replay": ("agent.cli_log", "replay", "Play a run back as it looked."),
    "memory": ("agent.cli_memory", "app", "What ADI has learned: list, correct, forget, write out."),
    "data": ("agent.cli_data", "app", "Data sets from what was recorded: export, check, forget."),
    "learn": ("agent.cli_learn", "app", "Learn from accepted work: train, judge, promote or not."),
    "prepare": ("agent.cli_prepare", "prepare", "Install what a repository's checks need, shown first."),
    "model": ("agent.cli_model", "app", "List, fetch and verify models."),
    "serve": ("agent.cli_serve", "serve", "Serve a model to this machine."),
    "complete": ("agent.cli_complete", "complete_at", "Complete code at a place in a file."),
    "eval": ("agent.cli_eval", "app", "Measure the agent on a suite of tasks."),
    "doctor": ("agent.cli_doctor", "doctor", "Check what ADI needs, and mend it with --fix."),
}
"""Command -> (module, its typer app or function, one line of help)."""

EPILOG: Final = (
    "Without a command ADI opens a prompt in the current repository. "
    "--debug, anywhere, shows tracebacks. ADI_HOME moves all of ADI's files."
)


class LazyCommands(TyperGroup):
    """Commands whose modules are imported when they are called."""

    def list_commands(self, ctx: Any) -> list[str]:  # noqa: ARG002
        return list(COMMANDS)

    def get_command(self, ctx: Any, cmd_name: str) -> Any:  # noqa: ARG002
        if cmd_name not in COMMANDS:
            return None
        module, attribute, text = COMMANDS[cmd_name]
        found = getattr(importlib.import_module(module), attribute)
        if not isinstance(found, typer.Typer):
            function, found = found, typer.Typer(add_completion=False, rich_markup_mode=None)
            found.command(cmd_name, help=text if not function.__doc__ else None)(function)
        return typer.main.get_command(found)

    def resolve_command(self, ctx: Any, args: list[str]) -> Any:
        from agent.errors import UsageError

        name = args[0]
        if name not in COMMANDS and not name.startswith("-"):
            near = difflib.get_close_matches(name, COMMANDS, n=1)
            raise UsageError(f"no command {name!r}", f"did you mean adi {near[0]}?" if near else "adi --help")
        return super().resolve_command(ctx, args)

    def format_commands(self, ctx: Any, formatter: Any) -> None:  # noqa: ARG002
        with formatter.section("Commands"):
            formatter.write_dl([(name, text) for name, (_, _, text) in COMMANDS.items()])


app = typer.Typer(
    name="adi",
    cls=LazyCommands,
    help="A coding agent that runs on your own hardware.",
    epilog=EPILOG,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


def _version(wanted: bool) -> None:
    if wanted:
        from importlib.metadata import version

        typer.echo(f"adi {version('adi-agent')}")
        raise typer.Exit


@app.callback(invoke_without_command=True)
def start(
    context: typer.Context,
    _version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version.")
    ] = False,
) -> None:
    """A coding agent that runs on your own hardware."""
    if context.invoked_subcommand is not None:
        return
    if not (sys.stdin.isatty() and sys.stdout.isatty() and sys.stderr.isatty()):
        typer.echo(context.get_help(), err=True)
        raise typer.Exit(2)
    from agent.cli_repl import prompt

    raise typer.Exit(prompt())


def main() -> NoReturn:
    """The console script."""
    arguments = sys.argv[1:]
    own = arguments[: arguments.index("--")] if "--" in arguments else arguments
    debug = "--debug" in own
    if debug:
        arguments.remove("--debug")
    _say_anything()
    code = _guarded(arguments, debug)
    for stream in (sys.stdout, sys.stderr):
        try:
            stream.flush()
        except OSError as error:
            if error.errno not in (errno.EPIPE, errno.EIO):  # a reader that left, a closed terminal
                raise
            _forget(stream)
    sys.exit(code)


def _say_anything() -> None:
    """No character ends a command in a locale that lacks it; what a thread dies of is shown inert too."""
    from agent.inert import inert

    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")

    def report(died: threading.ExceptHookArgs) -> None:
        import traceback

        trace = traceback.format_exception(died.exc_type, died.exc_value, died.exc_traceback)
        sys.stderr.write(inert("".join(trace)))

    threading.excepthook = report


def _guarded(arguments: list[str], debug: bool) -> int:
    """Run the command line; every way out is an exit code."""
    from agent.errors import exit_code_of
    from agent.interrupts import INTERRUPTS

    try:
        from agent.root import check_root

        check_root()
        INTERRUPTS.install()
        return invoke(arguments)
    except BrokenPipeError:
        _forget(sys.stdout)
        return 128 + signal.SIGPIPE
    except BaseException as error:  # noqa: BLE001 - the one place where everything ends
        _report(error, debug)
        return getattr(error, "exit_code", None) or exit_code_of(error)


def invoke(arguments: list[str]) -> int:
    """Run one command line in this process; its errors pass through."""
    command = typer.main.get_command(app)
    if "_ADI_COMPLETE" in os.environ:
        command.main(arguments, prog_name="adi")
    try:
        with command.make_context("adi", arguments) as context:
            result = command.invoke(context)
    except typer.Exit as end:
        return end.exit_code
    return result if isinstance(result, int) else 0


def _report(error: BaseException, debug: bool) -> None:
    """Say on stderr what failed, why, and what helps."""
    if isinstance(error, SystemExit):
        return
    try:
        if debug:
            import traceback

            from agent.inert import inert

            sys.stderr.write(inert("".join(traceback.format_exception(error))))
        for line in "\n".join(error_lines(error)).split("\n"):
            _print_error(line)
    except OSError:  # the terminal is gone
        return


def _print_error(line: str) -> None:
    """One line to stderr; at a terminal it is broken so that nothing in it looks like a line of its own."""
    if not sys.stderr.isatty():
        sys.stderr.write(f"{line}\n")
        return
    from agent.display_wrap import tell

    tell(line, sys.stderr)


def error_lines(error: BaseException) -> list[str]:
    """What to print for an error; the traceback of an unexpected one is saved."""
    from agent.errors import expected, render, save_traceback

    if hasattr(error, "format_message"):  # a usage error of typer's own parser
        return _usage_lines(error)
    if expected(error):
        return render(error)
    from agent.settings import directories

    return render(error, save_traceback(error, directories().logs))


def _usage_lines(error: Any) -> list[str]:
    from agent.inert import inert

    text = inert(error.format_message())
    context = getattr(error, "ctx", None)
    path = context.command_path if context is not None else "adi"
    if text.startswith("Usage:"):
        return [text]
    return [f"error: {text}", f"hint: {path} --help"]


def _forget(stream: TextIO) -> None:
    """Nobody reads this output any more: let the interpreter's last flush go nowhere."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())
