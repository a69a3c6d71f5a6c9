"""What a tool is, and what it may touch."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Protocol

from pydantic import JsonValue

from memory.records import Check, Record, Status
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
    spans: dict[str, list[tuple[int, int]]] = field(default_factory=dict)
    """Lines shown of a seen path, first and last, 1-based; a path without an entry was shown whole."""

    def show(self, path: str, first: int, last: int) -> None:
        """Remember that these lines were shown."""
        if path not in self.seen:
            self.spans[path] = []
        self.seen.add(path)
        if path in self.spans:
            self.spans[path].append((first, last))

    def unseen(self, path: str, first: int, last: int) -> tuple[int, int] | None:
        """The first run of these lines that was never shown, or None."""
        if path not in self.seen:
            return first, last
        if path not in self.spans:
            return None
        missing = [
            line for line in range(first, last + 1) if not any(a <= line <= b for a, b in self.spans[path])
        ]
        return (missing[0], missing[-1]) if missing else None

    def shift(self, path: str, after: int, by: int) -> None:
        """Move what was shown behind line `after` by so many lines, as an edit did."""
        moved = []
        for first, last in self.spans.get(path, []):
            start = first + by if first > after else first
            end = last + by if last > after else last
            moved.append((start, max(start, end)))
        if path in self.spans:
            self.spans[path] = moved

    def push(self) -> None:
        """Bring the sandbox's replica up to date. Raises SandboxError."""
        waiting = self.files.pending()
        if waiting:
            self.sandbox.write(waiting)

    def pull(self) -> list[str]:
        """Take over what a command changed; gives the paths. Raises SandboxError."""
        return self.files.absorb(self.sandbox.changes())


class Tool(Protocol):
    """One action a plan may call. A call is a header line, and for some a raw fenced body.

    `edit src/a.py 10-14` followed by a fence is the call edit(path, first, last, body).
    """

    name: str
    card: str
    """How to call it, for the prompt: the header form and one sentence."""
    has_body: bool
    header: str
    """GBNF of the header after the tool's name, from the rules `path`, `newpath`, `number` and `text`."""

    @property
    def arguments(self) -> type[Record]:
        """What a call of it carries."""
        ...

    def parse(self, header: str, body: str | None) -> dict[str, JsonValue]:
        """Checked arguments from the text after the name. Raises ValueError with the right form."""
        ...

    def check(self, arguments: Mapping[str, object]) -> dict[str, JsonValue]:
        """Checked arguments from a mapping, as JSON dialects give it. Raises ValueError."""
        ...

    def run(self, arguments: Mapping[str, object], workspace: Workspace) -> ToolResult:
        """Do it. Expected failure is a ToolResult; SandboxError passes through."""
        ...
