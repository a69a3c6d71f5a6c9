"""What a sandbox promises, apart from how Docker keeps the promise (sandbox/docker.py).

Guaranteed: the command never runs on the host; it is dead when `run` returns, its children too; its
output is capped; the network is off; no secret of the host is inside. Not guaranteed: that the
command tells the truth: everything that comes out is untrusted data.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Literal, Protocol

from sandbox.counters import NOTHING, Usage

ExecStatus = Literal["ok", "nonzero", "timeout", "oom", "output-cap", "disk-full", "sandbox-lost", "refused"]


@dataclass(frozen=True, slots=True)
class ExecResult:
    """How one command ended."""

    status: ExecStatus
    exit_code: int | None
    """None when the command did not end by itself."""
    output: bytes
    """stdout and stderr as they came, head and tail kept when cut."""
    truncated: bool
    duration_s: float
    detail: str = ""
    """What stopped the command and what helps, one line for a model; empty when it ended by itself."""
    used: Usage = NOTHING
    """Processor time and memory; zeros where the command did not end by itself."""


@dataclass(frozen=True, slots=True)
class SandboxLimits:
    """Resources of one container."""

    memory_bytes: int = 2 * 1024**3
    cpus: float = 2.0
    pids: int = 256
    work_bytes: int = 1024**3
    """Size of the work area, a tmpfs that counts as memory."""
    work_inodes: int = 200_000
    output_bytes: int = 256 * 1024
    """Output kept of one command, head and tail together."""
    output_stop_bytes: int = 32 * 1024**2
    """Output after which the command is killed with status `output-cap`."""
    ttl_s: float = 7200.0
    """The container ends itself after this time, whatever happens to its owner."""


def explain(status: ExecStatus, limits: SandboxLimits, timeout_s: float) -> str:
    """What stopped a command and what helps, in one line; empty for `ok` and `nonzero`."""
    memory, work = limits.memory_bytes >> 20, limits.work_bytes >> 20
    output = limits.output_stop_bytes >> 20
    told: dict[ExecStatus, str] = {
        "timeout": f"killed after {timeout_s:.0f} s: it did not end, or waits for something",
        "oom": f"killed: out of memory, the sandbox has {memory} MiB in all; hold less at once",
        "output-cap": f"killed: it wrote more than {output} MiB of output; print less",
        "disk-full": f"no space left: the work area holds {work} MiB and {limits.work_inodes} files. "
        "It starts afresh without what this command wrote; write less",
        "sandbox-lost": "the sandbox was lost and the result is unknown; the next command gets a fresh one",
        "refused": "not run: the command holds a NUL or is too long",
    }
    return told.get(status, "")


class Sandbox(Protocol):
    """One container (or a stand-in for tests) with a copy of the repository at its work directory."""

    def run(
        self,
        command: str,
        *,
        timeout_s: float,
        stdin: bytes = b"",
        on_output: Callable[[bytes], None] | None = None,
    ) -> ExecResult:
        """Run a shell command at the root of the copy; never raises for what the command does."""
        ...

    def write(self, files: Mapping[str, bytes | None]) -> None:
        """Write (or with None delete) files, paths relative to the root. Raises SandboxError."""
        ...

    def changes(self) -> dict[str, bytes | None]:
        """Files that commands changed, added or (None) deleted since the last call, read safely.

        Only regular files; what was skipped and why is in `notes`. Raises SandboxError past the caps.
        """
        ...

    @property
    def notes(self) -> list[str]:
        """What `changes` refused to copy out, one sentence each; cleared by reading."""
        ...

    def close(self) -> None:
        """Remove the container; idempotent, never raises."""
        ...
