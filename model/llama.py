"""The server of engine `llama`: llama.cpp's HTTP server in a process of its own, on loopback, behind a token.

Run as `python -P -m model.llama` by model/server.py, or in the foreground by `adi serve`. ADI's own client
speaks to llama.cpp itself; in front of it, at an address of its own, model/front_llama.py answers every
OpenAI client.
"""

import sys
from contextlib import closing
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import httpx2

from model.errors import ServerFailed
from model.machine import cores
from model.public import Public
from model.serving import (
    BUSY,
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
        token = new_token()
        server = _start(replace(choice, port=0), token)
        try:
            url = str(server.listening_address)
            state = described(choice, url, token, f"{address(sock)}/v1")
            headers = {"Authorization": f"Bearer {token}"}
            with (
                Public(sock, partial(_front, url, token)),
                httpx2.Client(headers=headers, timeout=30.0, trust_env=False) as client,
            ):
                return attend(state, state_dir, ready, choice.idle_s, leave, lambda: work(client, url))
        finally:
            del server


def _front(url: str, token: str) -> Any:
    """The app of the public address; its web framework is imported with the first caller only."""
    from model.front_llama import app

    return app(url, token)


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


def work(client: httpx2.Client, url: str) -> Work | None:
    """None when the server does not answer, such as in the middle of a long prompt."""
    numbers = counters(client, url)
    if numbers is None:
        return None
    done = [f"{key} {value}" for key, value in sorted(numbers.items()) if key.endswith("_total")]
    return Work("\n".join(done), any(numbers.get(key, 0) > 0 for key in BUSY))


if __name__ == "__main__":
    sys.exit(detached(None, "llama", host))
