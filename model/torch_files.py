"""Files of weights: one process at a time, safetensors written as streams, no chatter."""

import fcntl
import json
import logging
import os
import time
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import Any, Final, Self

import torch
from safetensors import SafetensorError, safe_open
from transformers import AutoModelForCausalLM
from transformers.utils import logging as chatter

from model.errors import ModelError

SIZES: Final = {"F32": 4, "F16": 2, "BF16": 2}
"""Bytes an element, by the name that safetensors gives a type."""
PICKLES: Final = (".bin", ".pt", ".pth", ".pkl", ".ckpt")


@contextmanager
def alone(path: Path, say: Callable[[str], None], what: str) -> Iterator[None]:
    """Holds a lock file, over all processes; tells once that it waits."""
    with path.open("w") as lock:
        told = False
        while True:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                if not told:
                    say(f"another process {what}; waiting for it")
                told = True
                time.sleep(0.2)
        yield


def refuse_pickle(path: Path) -> None:
    """A pickle runs code when it is read. Raises ModelError for a file that is named like one."""
    if path.suffix.lower() in PICKLES:
        raise ModelError(
            f"{path} is a pickle, which can run code when it is read: only safetensors are loaded",
            "have it converted where it cannot harm (safetensors.torch.save_file), or take the publisher's "
            "safetensors or GGUF file",
        )


def names_in(path: Path) -> dict[str, tuple[int, ...]]:
    """Names and shapes of the tensors. Raises ModelError when the file is cut short or no safetensors."""
    try:
        with safe_open(path, framework="pt") as file:
            return {name: tuple(file.get_slice(name).get_shape()) for name in file.keys()}  # noqa: SIM118
    except (SafetensorError, OSError) as error:
        raise ModelError(
            f"{path} is no whole safetensors file: {error}", "fetch the file again, and compare its size"
        ) from error


class Stream:
    """A safetensors file that is written tensor by tensor, in the order of its names.

    Layout as published: eight bytes with the header's length, the header as JSON, the tensors' bytes.
    Use as a context manager; leaving it checks that all bytes came, and brings them to the disk.
    """

    def __init__(self, path: Path, tensors: Mapping[str, tuple[str, tuple[int, ...]]]) -> None:
        """`tensors`: name -> (a type of SIZES, shape)."""
        header: dict[str, object] = {"__metadata__": {"format": "pt"}}
        offset = 0
        for name, (kind, shape) in tensors.items():
            end = offset + size_of(kind, shape)
            header[name] = {"dtype": kind, "shape": list(shape), "data_offsets": [offset, end]}
            offset = end
        text = json.dumps(header, separators=(",", ":")).encode()
        text += b" " * (-len(text) % 8)
        self.total = offset
        self.done = 0
        self._file = path.open("wb")
        self._file.write(len(text).to_bytes(8, "little") + text)

    def write(self, data: bytes) -> None:
        self._file.write(data)
        self.done += len(data)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        with self._file:
            if error is None:
                assert self.done == self.total, (self.done, self.total)
                self._file.flush()
                os.fsync(self._file.fileno())


def size_of(kind: str, shape: Sequence[int]) -> int:
    """Bytes of a tensor."""
    size = SIZES[kind]
    for length in shape:
        size *= length
    return size


def empty(config: Any) -> Any:
    """The model of a config, without memory for its weights."""
    with torch.device("meta"):
        return AutoModelForCausalLM.from_config(config)  # type: ignore[no-untyped-call]


@contextmanager
def quiet() -> Iterator[None]:
    """No bars and no hints of the libraries: errors are told by us, once."""
    loggers = [logging.getLogger(name) for name in ("torchao", "torch", "transformers", "peft", "accelerate")]
    levels = [logger.level for logger in loggers]
    bars = chatter.is_progress_bar_enabled()
    for logger in loggers:
        logger.setLevel(logging.ERROR)
    chatter.disable_progress_bar()  # type: ignore[no-untyped-call]
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        if bars:
            chatter.enable_progress_bar()  # type: ignore[no-untyped-call]
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)
