"""What the server processes of all engines share: what is to be served, and when a server leaves.

A server tells where it is in its state file once it answers (model/state.py). It leaves by itself: after an
idle time, on SIGTERM or SIGINT, or when its state file no longer names it.
"""

import argparse
import os
import secrets
import signal
import socket
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path
from types import FrameType
from typing import Literal, NamedTuple

import httpx2
import psutil

from model.adapter_store import MANIFEST, AdapterStore
from model.errors import ModelError, ServerFailed
from model.machine import cores, lacking
from model.state import ServerState, read_state, write_state

Engine = Literal["llama", "torch"]
Quantize = Literal["", "int8"]
Ready = Callable[[ServerState], None]
LOOPBACK = "127.0.0.1"
POLL_S = 2.0
SILENT_S = 600.0
"""A server that does not answer for this long is taken for dead, in seconds."""
BUSY = (
    "llamacpp:requests_processing",
    "llamacpp:requests_deferred",
    "adi_answers_running",
    "adi_answers_waiting",
)
"""Counters of requests that run or wait, under the names of both engines."""
NOT_USED = "engine torch is not used"
"""Beginning of the line that says why another engine serves."""
BACKLOG = 1024
"""Connections that may wait to be taken."""


@dataclass(frozen=True, slots=True)
class ServeChoice:
    """What to serve and how. `threads` 0 means the physical cores, `port` 0 any free one."""

    model: Path
    """A GGUF file; for engine `torch` also a folder of safetensors."""
    name: str
    sha256: str = ""
    n_ctx: int = 8192
    threads: int = 0
    port: int = 0
    """Of the OpenAI-compatible address."""
    idle_s: float = 900.0
    """Seconds without work after which the server leaves; 0 means never."""
    engine: Engine = "llama"
    device: str = ""
    """Of engine `torch`, such as `cpu` or `cuda:1`; empty means a GPU where there is one."""
    dtype: str = ""
    """Of engine `torch`, such as `bfloat16`; empty means what suits the device."""
    quantize: Quantize = ""
    """Of engine `torch`: `int8` weights; empty means none."""
    fallback: bool = False
    """Engine `torch` only where a GPU holds the model, else engine `llama`."""
    adapters: tuple[tuple[str, str], ...] = ()
    """(name, path) of LoRA adapters to load beside the model; paths as POST /v1/adapters takes them."""

    def arguments(self, state_dir: Path) -> list[str]:
        """The command line of the server's process, behind the interpreter."""
        told = {
            "state-dir": state_dir,
            "model": self.model.resolve(),
            "name": self.name,
            "sha256": self.sha256,
            "n-ctx": self.n_ctx,
            "threads": self.threads,
            "port": self.port,
            "idle": self.idle_s,
            "device": self.device,
            "dtype": self.dtype,
            "quantize": self.quantize,
        }
        module = "model.torch_host" if self.engine == "torch" else "model.llama"
        options = [text for name, value in told.items() for text in (f"--{name}", str(value))]
        options += [text for adapter in self.adapters for text in ("--adapter", *adapter)]
        return ["-P", "-m", module, *options, *(["--fallback"] if self.fallback else [])]


class Left(NamedTuple):
    """Why a server left; `signal` is the number of the signal that asked for it, or 0."""

    reason: str
    signal: int = 0


class Work(NamedTuple):
    """What a server has done since its start, as its counters tell it, and whether it works now."""

    done: str
    running: bool


@dataclass(slots=True)
class Leave:
    """Whether this process was asked to end."""

    asked: threading.Event = field(default_factory=threading.Event)
    signals: list[int] = field(default_factory=list)


@contextmanager
def leaving() -> Iterator[Leave]:
    """SIGTERM and SIGINT ask a server to leave for as long as this lasts."""
    leave = Leave()

    def on_signal(number: int, _frame: FrameType | None) -> None:
        leave.signals.append(number)
        leave.asked.set()

    before = {number: signal.signal(number, on_signal) for number in (signal.SIGTERM, signal.SIGINT)}
    try:
        yield leave
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def attend(
    state: ServerState,
    state_dir: Path,
    ready: Ready,
    idle_s: float,
    leave: Leave,
    work: Callable[[], Work | None],
) -> Left:
    """Tell that the server is ready, and wait until it has a reason to leave."""
    write_state(state_dir, state)
    try:
        ready(state)
        reason = _watch(state, state_dir, idle_s, leave, work)
        return Left(reason, leave.signals[0] if leave.signals else 0)
    finally:
        if _is_ours(state_dir, state):
            write_state(state_dir, None)


def move(state_dir: Path, state: ServerState, url: str) -> None:
    """Tell ADI's own clients another address of the same server."""
    if _is_ours(state_dir, state):
        write_state(state_dir, replace(state, url=url))


def _is_ours(state_dir: Path, state: ServerState) -> bool:
    """Whether the state file still names this server, wherever it answers by now."""
    found = read_state(state_dir)
    return found is not None and replace(found, url=state.url) == state


def _watch(
    state: ServerState, state_dir: Path, idle_s: float, leave: Leave, work: Callable[[], Work | None]
) -> str:
    """Waits for a reason to leave, and says which it was. `work` gives None when the server is silent."""
    seen = ""
    last_work = last_answer = time.monotonic()
    while not leave.asked.wait(min(POLL_S, idle_s / 4) if idle_s else POLL_S):
        if not _is_ours(state_dir, state):
            return "another server took over"
        found, now = work(), time.monotonic()
        if found is None:
            if now - last_answer > SILENT_S:
                return f"it did not answer itself for {SILENT_S:.0f} s"
            continue
        last_answer = now
        if found.running or found.done != seen:
            last_work, seen = now, found.done
        if idle_s and now - last_work > idle_s:
            return f"idle for {idle_s:.0f} s"
    return "asked to stop"


def counters(client: httpx2.Client, url: str) -> dict[str, float] | None:
    """The numbers of a server's /metrics by name, labels included; None when it does not answer."""
    try:
        text = client.get(f"{url}/metrics").text
    except httpx2.TransportError:
        return None
    lines = (line.rsplit(" ", 1) for line in text.splitlines() if line[:1] not in ("#", ""))
    return {name: float(value) for name, value in lines}


def described(choice: ServeChoice, url: str, token: str, openai: str) -> ServerState:
    """The state of a server in this process; what only the engine knows is still the choice's."""
    return ServerState(
        pid=os.getpid(),
        created=psutil.Process().create_time(),
        url=url,
        token=token,
        name=choice.name,
        model=str(choice.model.resolve()),
        sha256=choice.sha256,
        n_ctx=choice.n_ctx,
        threads=choice.threads or cores(),
        started=datetime.now(UTC).isoformat(timespec="seconds"),
        engine=choice.engine,
        device=choice.device or "cpu",
        dtype=choice.dtype,
        quantize=choice.quantize,
        openai=openai,
    )


def new_token() -> str:
    return secrets.token_urlsafe(32)


def bound(port: int) -> socket.socket:
    """A socket on loopback that takes connections at once. Raises ServerFailed when the port is taken."""
    sock = socket.socket()
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        sock.bind((LOOPBACK, port))
        sock.listen(BACKLOG)
    except OSError as error:
        sock.close()
        raise ServerFailed(
            f"cannot listen on port {port} of {LOOPBACK}: {error.strerror}", "adi serve --port 0"
        ) from error
    return sock


def address(sock: socket.socket) -> str:
    """Base URL of a bound socket, without `/v1`."""
    host, port = sock.getsockname()[:2]
    return f"http://{host}:{port}"


def check_extra() -> None:
    """Refuses engine `torch` without its packages. Raises ServerFailed."""
    if absent := lacking():
        raise ServerFailed(
            f"engine torch needs what is not installed: {', '.join(absent)}",
            "pip install 'adi-agent[torch]'",
        )


def check_model(choice: ServeChoice) -> None:
    """Refuses what the engine cannot read, before a C++ library reads it, and adapters that were changed.

    Raises ServerFailed, AdapterDamaged.
    """
    for name, path in choice.adapters:
        if (Path(path) / MANIFEST).exists():
            AdapterStore(Path(path).parent).check(name)
    if choice.engine == "torch" and choice.model.is_dir():
        return
    if choice.model.is_dir():
        hint = "set model.engine to torch, or name a GGUF file"
        raise ServerFailed(f"{choice.model} is a folder, which engine {choice.engine} does not serve", hint)
    check_file(choice.model)


def check_file(path: Path) -> None:
    """Refuses what is no GGUF file."""
    try:
        with path.open("rb") as file:
            magic = file.read(4)
    except OSError as error:
        raise ServerFailed(f"cannot read the model {path}: {error.strerror}", "adi model list") from error
    if magic != b"GGUF":
        raise ServerFailed(f"{path} is not a GGUF file", "adi model verify")


def detached(argv: list[str] | None, engine: Engine, host: Callable[[ServeChoice, Path, Ready], Left]) -> int:
    """Entry of a detached server; what it prints goes to the server's log. Gives the exit code."""
    parser = argparse.ArgumentParser(prog="adi serve")
    for name in ("state-dir", "model"):
        parser.add_argument(f"--{name}", type=Path, required=True)
    for name in ("name", "sha256", "device", "dtype"):
        parser.add_argument(f"--{name}", default="")
    parser.add_argument("--quantize", choices=("", "int8"), default="")
    for name in ("n-ctx", "threads", "port"):
        parser.add_argument(f"--{name}", type=int, required=True)
    parser.add_argument("--idle", dest="idle_s", type=float, required=True)
    parser.add_argument("--fallback", action="store_true")
    parser.add_argument("--adapter", dest="adapters", nargs=2, action="append", default=[])
    given = vars(parser.parse_args(argv))
    given["adapters"] = tuple((name, path) for name, path in given["adapters"])
    state_dir = given.pop("state_dir")
    os.chdir(state_dir)  # the starter's directory must stay free to be removed
    try:
        left = host(replace(ServeChoice(Path(), "", engine=engine), **given), state_dir, lambda _: None)
    except ModelError as error:
        sys.stderr.write(f"error: {error.message}\n" + (f"hint: {error.hint}\n" if error.hint else ""))
        return 6
    sys.stderr.write(f"left: {left.reason}\n")
    return 0
