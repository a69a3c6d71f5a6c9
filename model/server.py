"""Finding, starting and stopping the one model server of a data directory."""

import fcntl
import os
import signal
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import httpx2

from model.adapter_store import AdapterStore
from model.errors import ServerFailed
from model.http import Json, understood
from model.serving import BUSY, NOT_USED, ServeChoice, check_extra, check_model, counters
from model.state import ServerState, read_state, write_state

Progress = Callable[[str], None]
START_S = 180.0
"""Longest wait for a start; loading from a cold disk is what takes time."""
LOG = "server.log"
ERROR_LINE, HINT_LINE = "error: ", "hint: "
"""How a server's last words begin (model/serving.py)."""
HINT = "adi serve --status"


def ensure(choice: ServeChoice, folder: Path, progress: Progress = lambda _: None) -> ServerState:
    """A server that serves `choice`: the running one, or a new one. Raises ServerFailed.

    A server of another model is replaced, but never while it works for somebody.
    """
    state = _ensure(choice, folder, progress)
    return adapted(state, choice.adapters, folder, progress) if choice.adapters else state


def _ensure(choice: ServeChoice, folder: Path, progress: Progress) -> ServerState:
    running = find(folder)
    if running and fits(running, choice):
        return running
    with starting(folder, progress):
        running = find(folder)
        if running and fits(running, choice):
            return running
        if running:
            _wait_until_free(running, progress)
            progress(f"replacing the server of {running.name}")
            stop(folder)
        check_model(choice)
        if choice.engine == "torch" and not choice.fallback:
            check_extra()
        return _launch(choice, folder, progress)


def adapted(
    state: ServerState,
    adapters: tuple[tuple[str, str], ...],
    folder: Path,
    progress: Progress = lambda _: None,
) -> ServerState:
    """The same server once it serves these adapters, (name, path); loaded without anybody noticing.

    Raises AdapterDamaged before a changed file is loaded, RequestRefused, and ServerFailed for a server that
    does not say that it serves the very bytes.
    """
    for name, path in adapters:
        kept = AdapterStore(Path(path).parent)
        with _client(state, START_S) as client:
            served = adapters_of(client, state)
            if name not in served:
                kept.check(name)
                progress(f"loading the adapter {name}")
                served[name] = _loaded(client, state, name, path)
        if served[name] not in kept.get(name).files.values():
            raise ServerFailed(f"the server serves other bytes as {name}", "adi serve --stop")
    return read_state(folder) or state


def loaded(state: ServerState) -> dict[str, str]:
    """sha256 by the name of each adapter that a server serves, as it tells. Raises ServerFailed."""
    with _client(state, 10.0) as client:
        return adapters_of(client, state)


def adapters_of(client: httpx2.Client, state: ServerState) -> dict[str, str]:
    """The same over a connection that is there."""
    told = _asked(client, state, "GET")
    return {str(one["name"]): str(one["sha256"]) for one in told["data"]}


def _loaded(client: httpx2.Client, state: ServerState, name: str, path: str) -> str:
    """Have a server load an adapter; the sha256 of what it read."""
    return str(_asked(client, state, "POST", {"name": name, "path": path})["sha256"])


def _asked(client: httpx2.Client, state: ServerState, method: str, body: Json | None = None) -> Json:
    where = f"{state.openai or state.url}/adapters"
    try:
        answer = client.request(method, where, json=body)
    except httpx2.TransportError as error:
        raise ServerFailed(f"{where} does not answer: {error}", HINT) from error
    with understood(where):
        told: Json = answer.json()
        if answer.status_code != 200:
            raise ServerFailed(f"the server does not serve it: {told['error']['message']}", HINT)
        return told


def fits(state: ServerState, choice: ServeChoice) -> bool:
    """Whether a running server can stand for the one asked for.

    What the choice leaves open (device, dtype) is taken as it runs; weights of fewer bits are not.
    """
    if state.sha256 != choice.sha256 or state.model != str(choice.model.resolve()):
        return False
    if state.n_ctx < choice.n_ctx:
        return False
    if state.engine != choice.engine:
        return choice.fallback and state.engine == "llama"
    if choice.engine == "llama":
        return True
    device = not choice.device or state.device.split(":")[: choice.device.count(":") + 1] == (
        choice.device.split(":")
    )
    return device and choice.dtype in ("", state.dtype) and choice.quantize == state.quantize


def find(folder: Path) -> ServerState | None:
    """The running server that answers, or None. A dead server's state is removed."""
    state = read_state(folder)
    if state is None:
        return None
    if not state.alive():
        if read_state(folder) == state:
            write_state(folder, None)
        return None
    return state if answers(state) else None


def answers(state: ServerState, timeout_s: float = 10.0) -> bool:
    """Whether the server serves its own token's owner now."""
    try:
        with _client(state, timeout_s) as client:
            return client.get(f"{state.url}/v1/models").status_code == 200
    except httpx2.TransportError:
        return False


def stop(folder: Path, timeout_s: float = 10.0) -> ServerState | None:
    """Ends the server and waits until it is gone; returns the one that ran."""
    state = read_state(folder)
    if state is None:
        return None
    for number in (signal.SIGTERM, signal.SIGKILL):
        if state.alive():
            with suppress(ProcessLookupError):
                os.kill(state.pid, number)
            _wait_for_end(state, timeout_s)
    if read_state(folder) == state:
        write_state(folder, None)
    return state


def _wait_for_end(state: ServerState, timeout_s: float) -> None:
    deadline = time.monotonic() + timeout_s
    while state.alive() and time.monotonic() < deadline:
        time.sleep(0.02)
    with suppress(ChildProcessError):  # when it was started by this process, nothing of it stays
        # its threads end after it looks dead, and it can be collected only then
        while os.waitpid(state.pid, os.WNOHANG) == (0, 0) and time.monotonic() < deadline:
            time.sleep(0.02)


@contextmanager
def starting(folder: Path, progress: Progress = lambda _: None) -> Iterator[None]:
    """One starter at a time, over all processes of this machine."""
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    with (folder / "lock").open("w") as lock:
        deadline = time.monotonic() + START_S
        told = False
        while True:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                if time.monotonic() > deadline:
                    raise ServerFailed("another start of the model server does not end", HINT) from None
            if not told:
                progress("another process is starting the model server")
                told = True
            time.sleep(0.1)
        yield


def _launch(choice: ServeChoice, folder: Path, progress: Progress) -> ServerState:
    """Starts the detached process and waits until it answers."""
    progress(f"loading {choice.name}" + (" with engine torch" if choice.engine == "torch" else ""))
    log = folder / LOG
    pid = _spawn(choice, folder, log)
    deadline = time.monotonic() + START_S
    while time.monotonic() < deadline:
        if os.waitpid(pid, os.WNOHANG) != (0, 0):
            hint = _said(log, HINT_LINE).removeprefix(HINT_LINE) or f"less {log}"
            raise ServerFailed(f"the model server did not start: {_last_words(log)}", hint)
        state = read_state(folder)
        if state and state.pid == pid and answers(state):
            if state.engine != choice.engine:
                progress(_said(log, NOT_USED))
            return state
        time.sleep(0.05)
    os.kill(pid, signal.SIGKILL)
    os.waitpid(pid, 0)
    raise ServerFailed(f"the model server was not ready after {START_S:.0f} s", f"less {log}")


def _spawn(choice: ServeChoice, folder: Path, log: Path) -> int:
    """A process of its own session, so that Ctrl-C at the agent's terminal does not reach it; its pid."""
    argv = [sys.executable, *choice.arguments(folder)]
    with suppress(FileNotFoundError):
        log.replace(log.with_suffix(".old.log"))
    append = os.O_WRONLY | os.O_CREAT | os.O_APPEND
    files = [
        (os.POSIX_SPAWN_OPEN, 0, os.devnull, os.O_RDONLY, 0),
        (os.POSIX_SPAWN_OPEN, 1, str(log), append, 0o600),
        (os.POSIX_SPAWN_DUP2, 1, 2),
    ]
    return os.posix_spawn(sys.executable, argv, os.environ, file_actions=files, setsid=True)


def _wait_until_free(state: ServerState, progress: Progress, wait_s: float = 120.0) -> None:
    deadline = time.monotonic() + wait_s
    with _client(state, 10.0) as client:
        while _busy(client, state):
            if time.monotonic() > deadline:
                raise ServerFailed(f"the server is busy with {state.name}", "adi serve --stop")
            progress(f"waiting for the server of {state.name}")
            time.sleep(1.0)


def _busy(client: httpx2.Client, state: ServerState) -> bool:
    """Whether requests run or wait, as the server's own counters tell; a silent server is busy."""
    numbers = counters(client, state.url)
    return numbers is None or any(numbers.get(key, 0) > 0 for key in BUSY)


def _client(state: ServerState, timeout_s: float) -> httpx2.Client:
    headers = {"Authorization": f"Bearer {state.token}"}
    return httpx2.Client(headers=headers, timeout=timeout_s, trust_env=False)


def _said(log: Path, beginning: str) -> str:
    """The first line of a log that begins so; empty without one."""
    lines = log.read_text("utf-8", "replace").splitlines() if log.is_file() else []
    return next((line for line in lines if line.startswith(beginning)), "")


def _last_words(log: Path) -> str:
    """The lines of a log that say why, in one line."""
    if told := _said(log, ERROR_LINE):
        return told.removeprefix(ERROR_LINE)
    lines = log.read_text("utf-8", "replace").splitlines() if log.is_file() else []
    errors = [line for line in lines if "error" in line.lower()] or lines
    return " / ".join(line.strip() for line in errors[-3:])[:600] or "it left no message"
