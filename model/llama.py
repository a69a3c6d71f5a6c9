"""The model server: llama.cpp's HTTP server inside a process of its own, on loopback, behind a token.

Run as `python -P -m model.llama` by model/server.py, or in the foreground by `adi serve`. It leaves by
itself: after an idle time, on SIGTERM, or when its state file no longer names it.
"""

import argparse
import os
import secrets
import signal
import sys
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from types import FrameType
from typing import Any, NamedTuple

import httpx2
import psutil

from model.errors import ModelError, ServerFailed
from model.machine import cores
from model.state import ServerState, read_state, write_state

MAX_SLOTS = 8
BATCH_PER_CORE = 128
MAX_BATCH = 2048
HOST_CACHE_MIB = 512
"""Memory for prefixes pushed out of the slots; llama.cpp's default of 8 GiB is a whole small machine."""
POLL_S = 2.0
SILENT_S = 600.0
"""A server that does not answer for this long is taken for dead, in seconds."""


@dataclass(frozen=True, slots=True)
class ServeChoice:
    """What to serve and how. `threads` 0 means the physical cores, `port` 0 any free one."""

    model: Path
    name: str
    sha256: str = ""
    n_ctx: int = 8192
    threads: int = 0
    port: int = 0
    idle_s: float = 900.0
    """Seconds without work after which the server leaves; 0 means never."""


class Left(NamedTuple):
    """Why a server left; `signal` is the number of the signal that asked for it, or 0."""

    reason: str
    signal: int = 0


def host(
    choice: ServeChoice, state_dir: Path, ready: Callable[[ServerState], None] = lambda _state: None
) -> Left:
    """Serves until told to leave. Raises ServerFailed when it cannot start."""
    check_file(choice.model)
    leave = threading.Event()
    signals: list[int] = []

    def on_signal(number: int, _frame: FrameType | None) -> None:
        signals.append(number)
        leave.set()

    before = {number: signal.signal(number, on_signal) for number in (signal.SIGTERM, signal.SIGINT)}
    try:
        token = secrets.token_urlsafe(32)
        server = _start(choice, token)
        state = ServerState(
            pid=os.getpid(),
            created=psutil.Process().create_time(),
            url=str(server.listening_address),
            token=token,
            name=choice.name,
            model=str(choice.model.resolve()),
            sha256=choice.sha256,
            n_ctx=choice.n_ctx,
            threads=choice.threads or cores(),
            started=datetime.now(UTC).isoformat(timespec="seconds"),
        )
        write_state(state_dir, state)
        try:
            ready(state)
            return Left(_watch(state, state_dir, choice.idle_s, leave), signals[0] if signals else 0)
        finally:
            if read_state(state_dir) == state:
                write_state(state_dir, None)
            del server
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def check_file(path: Path) -> None:
    """Refuses what is no GGUF file before a C++ library reads it."""
    try:
        with path.open("rb") as file:
            magic = file.read(4)
    except OSError as error:
        raise ServerFailed(f"cannot read the model {path}: {error.strerror}", "adi model list") from error
    if magic != b"GGUF":
        raise ServerFailed(f"{path} is not a GGUF file", "adi model verify")


def slots(threads: int) -> int:
    """Requests that run at once, also the most answers from one prefill: two a core, 2 to 8.

    On two cores four were faster than one and than eight (benchmarks/results/serving.md).
    """
    return min(MAX_SLOTS, max(2, 2 * threads))


def batch(threads: int) -> int:
    """Tokens of prompts that are read in one step.

    Only between steps the server notices that a call was given up, and the other slots wait for the step's
    end. A core of a laptop reads about 35 tokens a second, so that a step is some four seconds.
    """
    return min(MAX_BATCH, BATCH_PER_CORE * threads)


def parameters(choice: ServeChoice, token: str) -> Any:
    """llama.cpp's settings for what is to be served."""
    import xllamacpp

    threads = choice.threads or cores()
    params = xllamacpp.CommonParams()
    params.model.path = str(choice.model)
    params.model_alias = {choice.name}
    params.n_ctx = choice.n_ctx
    params.n_parallel = slots(threads)
    params.kv_unified = True  # one long prompt may use the whole window
    params.cpuparams.n_threads = threads
    params.cpuparams_batch.n_threads = threads
    params.n_batch = batch(threads)
    params.n_ubatch = min(params.n_ubatch, params.n_batch)
    params.hostnames = ["127.0.0.1"]
    params.port = choice.port
    params.api_keys = [token]
    params.cache_ram_mib = HOST_CACHE_MIB
    params.cors_origins = ""
    params.ui = False
    params.endpoint_metrics = True
    params.endpoint_slots = True
    params.sse_ping_interval = 10
    return params


def _start(choice: ServeChoice, token: str) -> Any:
    """The running server; it has loaded the model when this returns."""
    import xllamacpp

    try:
        return xllamacpp.Server(parameters(choice, token))
    except (RuntimeError, ValueError) as error:
        raise ServerFailed(f"llama.cpp cannot serve {choice.model}: {error}", "adi model verify") from error


def _watch(state: ServerState, state_dir: Path, idle_s: float, leave: threading.Event) -> str:
    """Waits for a reason to leave, and says which it was."""
    seen = ""
    last_work = last_answer = time.monotonic()
    headers = {"Authorization": f"Bearer {state.token}"}
    with httpx2.Client(headers=headers, timeout=30.0, trust_env=False) as client:
        while not leave.wait(min(POLL_S, idle_s / 4) if idle_s else POLL_S):
            if read_state(state_dir) != state:
                return "another server took over"
            found, now = work(client, state.url), time.monotonic()
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


class Work(NamedTuple):
    """What a server has done since its start, as its counters tell it, and whether it works now."""

    done: str
    running: bool


def work(client: httpx2.Client, url: str) -> Work | None:
    """None when the server does not answer, such as in the middle of a long prompt."""
    try:
        text = client.get(f"{url}/metrics").text
    except httpx2.TransportError:
        return None
    numbers = dict(line.rsplit(" ", 1) for line in text.splitlines() if line[:1] not in ("#", ""))
    done = [f"{key} {value}" for key, value in sorted(numbers.items()) if key.endswith("_total")]
    running = ("llamacpp:requests_processing", "llamacpp:requests_deferred")
    return Work("\n".join(done), any(float(numbers.get(key, 0)) > 0 for key in running))


def main(argv: list[str] | None = None) -> int:
    """Entry of the detached process; what it prints goes to the server's log."""
    parser = argparse.ArgumentParser(prog="adi serve")
    parser.add_argument("--state-dir", type=Path, required=True)
    parser.add_argument("--model", type=Path, required=True)
    parser.add_argument("--name", required=True)
    parser.add_argument("--sha256", default="")
    parser.add_argument("--n-ctx", type=int, required=True)
    parser.add_argument("--threads", type=int, required=True)
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--idle", dest="idle_s", type=float, required=True)
    given = vars(parser.parse_args(argv))
    state_dir = given.pop("state_dir")
    os.chdir(state_dir)  # the starter's directory must stay free to be removed
    try:
        left = host(replace(ServeChoice(Path(), ""), **given), state_dir)
    except ModelError as error:
        sys.stderr.write(f"error: {error.message}\n")
        return 6
    sys.stderr.write(f"left: {left.reason}\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
