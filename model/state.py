"""The state file of the model server: who serves what, where, and with which token."""

import json
import os
from contextlib import suppress
from dataclasses import asdict, dataclass, fields
from pathlib import Path

import psutil

FILE = "server.json"


@dataclass(frozen=True, slots=True)
class ServerState:
    """One running server, as it described itself when it was ready."""

    pid: int
    created: float
    """Start of the process, seconds since the epoch: tells it from a later one with the same pid."""
    url: str
    """Where ADI's own client talks to it, without `/v1`."""
    token: str
    name: str
    model: str
    """Path of the weights: a file, or for engine `torch` a folder."""
    sha256: str
    n_ctx: int
    """Tokens of the window that was asked for; the model's own may be smaller."""
    threads: int
    started: str
    """UTC, ISO 8601."""
    engine: str = "llama"
    """`llama` or `torch`; a state of before there was a choice says nothing, and means `llama`."""
    device: str = "cpu"
    dtype: str = ""
    """Of the weights as they are computed with; empty where the file decides."""
    quantize: str = ""
    openai: str = ""
    """Base URL for any OpenAI client, with `/v1`; empty for a server of before there was one."""

    @property
    def how(self) -> str:
        """Engine, device and numbers, as a person reads them."""
        return " ".join(filter(None, (f"engine {self.engine} on {self.device}", self.dtype, self.quantize)))

    def alive(self) -> bool:
        """True while this very process lives."""
        try:
            process = psutil.Process(self.pid)
            same = abs(float(process.create_time()) - self.created) < 2.0
            return same and bool(process.status() != psutil.STATUS_ZOMBIE)
        except psutil.Error:
            return False


def read_state(folder: Path) -> ServerState | None:
    """None when there is no state, or what is there is no state of ours.

    Fields that a later version of ADI added are passed over.
    """
    try:
        told = json.loads((folder / FILE).read_text("utf-8"))
        known = {field.name for field in fields(ServerState)}
        return ServerState(**{name: value for name, value in told.items() if name in known})
    except (OSError, ValueError, TypeError, AttributeError):
        return None


def write_state(folder: Path, state: ServerState | None) -> None:
    """Replaces the state in one step, readable by its owner only; None removes it."""
    path = folder / FILE
    if state is None:
        path.unlink(missing_ok=True)
        return
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    new = path.with_suffix(f".{os.getpid()}")
    with suppress(FileNotFoundError):
        new.unlink()
    handle = os.open(new, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(handle, "w", encoding="utf-8") as file:
        json.dump(asdict(state), file)
        file.flush()
        os.fsync(file.fileno())
    new.replace(path)
