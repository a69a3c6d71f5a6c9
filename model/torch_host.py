"""The server of engine `torch`: a transformers model in a process of its own, behind model/front.py.

Run as `python -P -m model.torch_host` by model/server.py, or in the foreground by `adi serve`. It listens and
tells where it is only once it can answer. Nothing is compiled or captured before that: graphs come with the
first answers.
"""

import gc
import sys
from contextlib import closing
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from model.errors import ModelError, ServerFailed
from model.machine import cores
from model.public import Public
from model.serving import (
    NOT_USED,
    Leave,
    Left,
    Ready,
    ServeChoice,
    Work,
    address,
    attend,
    bound,
    check_extra,
    check_model,
    described,
    detached,
    leaving,
    new_token,
)

if TYPE_CHECKING:
    from model.torch_engine import TorchEngine

MEMORY = 4.0, 1.5
"""Bytes on the GPU for a byte of a GGUF file, whose weights are widened, and for one of safetensors; with
room for keys and values."""


def host(choice: ServeChoice, state_dir: Path, ready: Ready = lambda _state: None) -> Left:
    """Serves until told to leave. Raises ServerFailed when it cannot start.

    With `choice.fallback` what keeps engine `torch` from it is told on stderr, and engine `llama` serves.
    """
    check_model(choice)
    if not choice.fallback:
        check_extra()
        return _host(choice, state_dir, ready)
    try:
        check_extra()
        _check_gpu(choice)
        return _host(choice, state_dir, ready)
    except ModelError as error:
        sys.stderr.write(f"{NOT_USED}: {error.message}; engine llama serves\n")
    from model.llama import host as host_llama

    return host_llama(replace(choice, engine="llama", fallback=False), state_dir, ready)


def _host(choice: ServeChoice, state_dir: Path, ready: Ready) -> Left:
    with leaving() as leave, closing(bound(choice.port)) as sock:
        token = new_token()
        with closing(_engine(choice, state_dir.parent)) as engine:
            url, about = address(sock), engine.about
            state = replace(
                described(choice, url, token, f"{url}/v1"),
                device=about.device,
                dtype=about.dtype,
            )
            with Public(sock, partial(_front, engine, token), at_once=True) as public:
                work = partial(_work, engine, public, leave)
                return attend(state, state_dir, ready, choice.idle_s, leave, work)


def _front(engine: "TorchEngine", token: str) -> Any:
    from model.front import app

    return app(engine, token)


def _work(engine: "TorchEngine", public: Public, leave: Leave) -> Work | None:
    """What the engine has done. A front that has ended takes the server with it: the next one is whole."""
    if not public.alive:
        leave.asked.set()
    stats = engine.stats()
    done = (stats.requests, stats.refused, stats.completion_tokens, stats.cancelled)
    return Work(repr(done), stats.running + stats.waiting > 0)


def _engine(choice: ServeChoice, data_dir: Path) -> "TorchEngine":
    """The engine, ready to answer. Raises ServerFailed."""
    import torch

    from model.torch_made import made

    torch.set_num_threads(choice.threads or cores())
    try:
        engine = made(choice, data_dir, _say)
        try:
            for name, path in choice.adapters:
                engine.load_adapter(name, path)
        except BaseException:
            engine.close()
            raise
    except torch.OutOfMemoryError as error:
        raise ServerFailed(
            f"{choice.name} does not fit the memory of {choice.device or 'the GPU'}",
            "adi serve --quantize int8",
        ) from error
    gc.collect()
    gc.freeze()  # torch's modules live as long as the process: no collection need walk them between two steps
    return engine


def _say(line: str) -> None:
    """To the server's log, or the terminal of `adi serve`."""
    sys.stderr.write(f"{line}\n")


def _check_gpu(choice: ServeChoice) -> None:
    """Raises ServerFailed when torch finds no GPU with room for the model."""
    import torch

    if choice.device.startswith("cpu"):
        raise ServerFailed("the device is a CPU, on which llama.cpp is faster")
    if not torch.cuda.is_available():
        raise ServerFailed("torch finds no GPU that works")
    free, _ = torch.cuda.mem_get_info(choice.device or None)
    size = sum(file.stat().st_size for file in _files(choice.model))
    need = size * MEMORY[choice.model.is_dir()]
    if free < need:
        raise ServerFailed(f"the GPU has {free / 1e9:.1f} GB free, {choice.name} takes {need / 1e9:.1f}")


def _files(model: Path) -> list[Path]:
    return sorted(model.glob("*.safetensors")) if model.is_dir() else [model]


if __name__ == "__main__":
    sys.exit(detached(None, "torch", host))
