"""The server of engine `llama`: llama.cpp's HTTP server in a process of its own, on loopback, behind a token.

Run as `python -P -m model.llama` by model/server.py, or in the foreground by `adi serve`. ADI's own client
speaks to llama.cpp itself; in front of it, at an address of its own, model/front_llama.py answers every
OpenAI client. With adapters everybody speaks to the front, which alone knows how to ask for one.
"""

import sys
from contextlib import closing
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import httpx2

from model.backend import Adapter
from model.errors import RequestRefused, ServerFailed
from model.llama_child import Child
from model.llama_lanes import GGUF, Lane, Lanes, read_adapters
from model.machine import cores
from model.public import Public
from model.serving import (
    BUSY,
    Leave,
    Left,
    Ready,
    ServeChoice,
    Work,
    address,
    attend,
    bound,
    check_model,
    counters,
    described,
    detached,
    leaving,
    move,
    new_token,
)

MAX_SLOTS = 8
BATCH_PER_CORE = 128
MAX_BATCH = 2048
HOST_CACHE_MIB = 512
"""Memory for prefixes pushed out of the slots; llama.cpp's default of 8 GiB is a whole small machine."""


def host(choice: ServeChoice, state_dir: Path, ready: Ready = lambda _state: None) -> Left:
    """Serves until told to leave. Raises ServerFailed when it cannot start."""
    check_model(choice)
    with leaving() as leave, closing(bound(choice.port)) as sock:
        token, public = new_token(), address(sock)
        inner = replace(choice, port=0)
        first = _with_adapters(inner, token) if choice.adapters else Lane(_Inside(inner, token), direct=True)
        state = described(choice, first.url if first.direct else public, token, f"{public}/v1")
        headers = {"Authorization": f"Bearer {token}"}
        with httpx2.Client(headers=headers, timeout=30.0, trust_env=False) as client:
            lanes = Lanes(
                first,
                lambda adapters: _grown(inner, token, adapters),
                lambda url: _busy(client, url),
                lambda: move(state_dir, state, public),
            )
            with closing(lanes), Public(sock, partial(_front, lanes, token)):
                return attend(
                    state, state_dir, ready, choice.idle_s, leave, lambda: _work(client, lanes, leave)
                )


def _front(lanes: Lanes, token: str) -> Any:
    """The app of the public address; its web framework is imported with the first caller only."""
    from model.front_llama import app

    return app(lanes, token)


class _Inside:
    """A server in this very process: one without adapters starts faster so."""

    def __init__(self, choice: ServeChoice, token: str) -> None:
        """Raises ServerFailed."""
        self._server = start(choice, token)
        self.url = str(self._server.listening_address)

    def alive(self) -> bool:
        return self._server is not None

    def close(self) -> None:
        self._server = None


def _with_adapters(choice: ServeChoice, token: str) -> Lane:
    """Raises ServerFailed."""
    try:
        adapters = read_adapters(choice.adapters)
    except RequestRefused as error:
        raise ServerFailed(error.message, error.hint) from error
    return _grown(choice, token, adapters)


def _grown(choice: ServeChoice, token: str, adapters: tuple[Adapter, ...]) -> Lane:
    """A server with these adapters, in a process of its own. Raises ServerFailed."""
    told = tuple((one.name, one.path) for one in adapters)
    return Lane(Child(replace(choice, adapters=told), token), adapters)


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
    if choice.adapters:
        params.lora_adapters = [_lora(path) for _, path in choice.adapters]
        params.lora_init_without_apply = True
        params.cache_ram_mib = 0  # it would give one adapter's keys and values to another
    params.cors_origins = ""
    params.ui = False
    params.endpoint_metrics = True
    params.endpoint_slots = True
    params.sse_ping_interval = 10
    return params


def _lora(path: str) -> Any:
    """An adapter that is loaded and does nothing until a request asks for it."""
    import xllamacpp

    told = xllamacpp.CommonAdapterLoraInfo()
    told.path = str(Path(path) / GGUF) if Path(path).is_dir() else path
    told.scale = 0.0
    return told


def start(choice: ServeChoice, token: str) -> Any:
    """The running server; it has loaded the model when this returns."""
    import xllamacpp

    try:
        return xllamacpp.Server(parameters(choice, token))
    except (RuntimeError, ValueError) as error:
        beside = f" with {', '.join(name for name, _ in choice.adapters)}" if choice.adapters else ""
        raise ServerFailed(
            f"llama.cpp cannot serve {choice.model}{beside}: {error}", "adi model verify"
        ) from error


def _busy(client: httpx2.Client, url: str) -> bool:
    """Whether a server works; one that does not answer may."""
    found = work(client, url)
    return found is None or found.running


def _work(client: httpx2.Client, lanes: Lanes, leave: Leave) -> Work | None:
    """What the current lane has done. One that has died takes the server with it: the next one is whole."""
    if not lanes.current.server.alive():
        leave.asked.set()
    found = work(client, lanes.current.url)
    return found and Work(f"{lanes.current.url} {found.done}", found.running or lanes.finishing > 0)


def work(client: httpx2.Client, url: str) -> Work | None:
    """None when the server does not answer, such as in the middle of a long prompt."""
    numbers = counters(client, url)
    if numbers is None:
        return None
    done = [f"{key} {value}" for key, value in sorted(numbers.items()) if key.endswith("_total")]
    return Work("\n".join(done), any(numbers.get(key, 0) > 0 for key in BUSY))


if __name__ == "__main__":
    sys.exit(detached(None, "llama", host))
