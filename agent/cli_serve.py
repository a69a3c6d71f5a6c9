"""`adi serve`: the server that runs a model, and its address for other programs."""

import json
import shlex
import sys
from collections.abc import Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Final

import typer

from agent.errors import UsageError
from agent.inert import inert_line
from agent.settings import directories, load

if TYPE_CHECKING:
    from model.connect import ModelChoice
    from model.state import ServerState

SCHEMA_VERSION: Final = 1
SHOWN: Final = (
    "name",
    "model",
    "engine",
    "device",
    "dtype",
    "quantize",
    "url",
    "openai",
    "pid",
    "n_ctx",
    "threads",
    "started",
)
"""Fields of a server's state for `--status --json`; its token is none of them."""


def serve(
    model: Annotated[str, typer.Option(help="Name or path of the model; empty: the default.")] = "",
    engine: Annotated[str | None, typer.Option(help="auto, llama or torch.")] = None,
    device: Annotated[str | None, typer.Option(help="Of engine torch, such as cpu or cuda:1.")] = None,
    quantize: Annotated[str | None, typer.Option(help="Of engine torch: int8 weights.")] = None,
    port: Annotated[int, typer.Option(min=0, max=65535, help="0 takes a free one.")] = 0,
    idle: Annotated[float | None, typer.Option(min=0, help="Idle seconds to leave after; 0: never.")] = None,
    status: Annotated[bool, typer.Option("--status", help="Say what runs, and end.")] = False,
    stop: Annotated[bool, typer.Option("--stop", help="End the running server.")] = False,
    env: Annotated[
        bool, typer.Option("--env", help='Address and key for OpenAI clients: eval "$(adi serve --env)".')
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="With --status: JSON for programs.")] = False,
) -> None:
    """Serve a model to this machine until Ctrl-C. `adi` finds it; it also starts one by itself."""
    from model.server import find
    from model.server import stop as end

    if sum((status, stop, env)) > 1:
        raise UsageError("--status, --stop and --env exclude each other", "adi serve --help")
    folder = directories().server
    if status:
        typer.echo(inert_line(_status(find(folder), as_json)))
    elif stop:
        ended = end(folder)
        _say(f"ended the server of {ended.name}" if ended else "no server was running")
    else:
        flags = {
            "name": model or None,
            "engine": engine,
            "device": device,
            "quantize": quantize,
            "idle_s": idle,
        }
        asked = any(value is not None for value in flags.values())
        if env and not asked and (running := find(folder)):
            typer.echo(_exports(running))
        elif env:
            from model.connect import running as started

            typer.echo(_exports(started(_choice(flags), _say)))
        else:
            raise typer.Exit(_serve(_choice(flags), port, folder))


def _choice(flags: Mapping[str, object]) -> "ModelChoice":
    from agent.models import choice_of

    if flags["engine"] == "url":
        raise UsageError("a URL is served by somebody else", "adi serve --engine auto, llama or torch")
    return choice_of(load(None, {"model": flags}).settings, directories())


def _serve(choice: "ModelChoice", port: int, folder: Path) -> int:
    """Serves in this process; the exit code."""
    from dataclasses import replace

    from model.errors import ServerFailed
    from model.hosting import host
    from model.server import find, starting

    told = replace(choice.serve(), port=port)
    with ExitStack() as start:
        start.enter_context(starting(folder, _say))
        if running := find(folder):
            raise ServerFailed(
                f"{running.name} is already served at {running.openai or running.url}", "adi serve --stop"
            )

        def ready(state: "ServerState") -> None:
            start.close()
            _say(f"serving {state.name} at {state.openai} ({state.how}; its key: adi serve --env)")

        left = host(told, folder, ready)
    _say(f"left: {left.reason}")
    return 128 + left.signal if left.signal else 0


def _exports(state: "ServerState") -> str:
    """Lines for a shell."""
    from model.errors import ServerFailed

    if not state.openai:
        raise ServerFailed(
            "the running server was started by an ADI that had no address for OpenAI clients",
            "adi serve --stop",
        )
    told = {"OPENAI_BASE_URL": state.openai, "OPENAI_API_KEY": state.token}
    return "\n".join(f"export {name}={shlex.quote(value)}" for name, value in told.items())


def _status(state: "ServerState | None", as_json: bool) -> str:
    """What runs, without its token."""
    if as_json:
        found = {field: getattr(state, field) for field in SHOWN} if state else None
        return json.dumps({"schema_version": SCHEMA_VERSION, "type": "server", "server": found})
    if state is None:
        return "no server runs; it starts with the first task"
    return (
        f"{state.name} at {state.openai or state.url}, {state.how}, process {state.pid}, "
        f"{state.threads} threads, window {state.n_ctx}, since {state.started}"
    )


def _say(line: str) -> None:
    from agent.display_wrap import tell

    tell(line, sys.stderr)
