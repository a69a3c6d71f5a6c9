"""What a tool is, and what it may touch."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from memory.records import Check, Status
from sandbox.protocol import Sandbox
from sandbox.workcopy import WorkCopy


@dataclass(frozen=True, slots=True)
class ToolResult:
    """What a tool gives back, before the loop makes an Observation of it."""

    status: Status
    output: str
    """Text for the model."""
    summary: str
    """One line for the screen."""
    truncated: bool = False


@dataclass(slots=True)
class Workspace:
    """The work copy on the host, its replica in the sandbox, and what the task allows."""

    files: WorkCopy
    sandbox: Sandbox
    checks: tuple[Check, ...]
    command_s: float = 60.0
    """Wall time of one command, in seconds."""
    seen: set[str] = field(default_factory=set)
    """Paths whose text the model has been shown."""


class Tool(Protocol):
    """One action a plan may call. A call is a header line, and for some a raw fenced body.

    `edit src/a.py 10-14` followed by a fence is the call edit(path, first, last, body).
    """

    name: str
    card: str
    """How to call it, for the prompt: the header form and one sentence."""
    has_body: bool

    def grammar(self, paths: Sequence[str]) -> str:
        """GBNF for the header after the tool's name, newline not included; rule bodies only."""
        ...

    def parse(self, header: str, body: str | None) -> Mapping[str, object]:
        """Arguments from the text after the tool's name. Raises ValueError with a helpful sentence."""
        ...

    def run(self, arguments: Mapping[str, object], workspace: Workspace) -> ToolResult:
        """Do it. Expected failure is a ToolResult; SandboxError passes through."""
        ...
