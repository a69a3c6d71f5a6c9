"""`adi` without a command: the banner, and the prompt in the current repository."""

import sys
from pathlib import Path

from agent.cli import error_lines, invoke
from agent.cli_run import Front, front, list_waiting, session_of
from agent.display_wrap import tell
from agent.inert import inert_line
from agent.repl import Repl
from sandbox.repository import locate, read_head


def prompt() -> int:
    """Ask for tasks until the person leaves; gives the exit code."""
    with front(Path(), {}) as f:

        def say(text: str) -> None:
            f.display.pause()
            _say(text)

        for line in banner(f):
            _say(line)
        repl = Repl(
            lambda: session_of(f),
            checks=f.settings.run.checks,
            waiting=lambda: list_waiting(f),
            command_line=invoke,
            explain=error_lines,
            say=say,
            history=f.places.history,
        )
        return repl.run()


def banner(f: Front) -> list[str]:
    """Where ADI works, with which model, and where code runs."""
    from importlib.metadata import version

    from agent.doctor import docker_state, model_state

    branch = read_head(locate(f.repo)).branch or "no branch"
    return [
        f"ADI {version('adi-agent')} · {inert_line(str(f.repo))} ({inert_line(branch)})",
        f"model: {inert_line(model_state(f.settings, f.places))}",
        f"sandbox: {docker_state()}",
        "Type a task, or /help.",
    ]


def _say(text: str) -> None:
    tell(text, sys.stdout)
