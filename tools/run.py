"""`run COMMAND`: a shell command in the sandbox, never on the host."""

from collections.abc import Mapping
from typing import Final

from pydantic import Field, JsonValue

from memory.records import Record, Status
from sandbox.errors import CopyOutRefused
from tools.arguments import checked, dumped
from tools.protocol import ToolResult, Workspace

CHARS: Final = 4_000
"""Characters of output for the model, head and tail."""
FORM: Final = "run COMMAND"


class Arguments(Record):
    command: str = Field(min_length=1, max_length=2_000)


class Run:
    """Runs a command at the root of the copy; what it changes is taken over."""

    name = "run"
    arguments = Arguments
    card = "run COMMAND\n  Run a shell command at the root of the repository, without network or input."
    has_body = False
    header = '" " text'

    def parse(self, header: str, body: str | None) -> dict[str, JsonValue]:  # noqa: ARG002 - the Tool's form
        """See Tool."""
        return self.check({"command": header.strip()})

    def check(self, arguments: Mapping[str, object]) -> dict[str, JsonValue]:
        """See Tool."""
        record = checked(Arguments, arguments, FORM)
        command = record.command.strip()
        if not command or "\0" in command:
            raise ValueError(f"no command. Write: {FORM}")
        return dumped(record.model_copy(update={"command": command}))

    def run(self, arguments: Mapping[str, object], workspace: Workspace) -> ToolResult:
        """Run it with the workspace's time limit; its output is untrusted text. Raises SandboxError."""
        record = checked(Arguments, arguments, FORM)
        workspace.push()
        ended = workspace.sandbox.run(record.command, timeout_s=workspace.command_s)
        status = Status(ended.status)
        notes = []
        try:
            changed = [] if status == Status.SANDBOX_LOST else workspace.pull()
        except CopyOutRefused as error:
            changed = []
            notes.append(f"[nothing was taken over: {error.message}; {error.hint or 'delete what was made'}]")
        for path in changed:
            workspace.seen.discard(path)
            workspace.spans.pop(path, None)
        output = ended.output.decode("utf-8", "backslashreplace").rstrip()
        shown = _cut(output, CHARS)
        how = f"exit code {ended.exit_code}" if ended.exit_code is not None else f"ended: {status.value}"
        notes.insert(0, f"[{ended.detail or how}]")
        if changed:
            notes.append(f"[changed: {', '.join(changed[:20])}]")
        notes += [f"[{note}]" for note in workspace.sandbox.notes[:5]]
        return ToolResult(
            status,
            "\n".join([shown, *notes] if shown else notes),
            f"{record.command[:80].splitlines()[0]} ({how})",
            truncated=ended.truncated or shown != output,
        )


def _cut(text: str, limit: int) -> str:
    """Head and tail of a long output."""
    if len(text) <= limit:
        return text
    head = limit * 2 // 5
    tail = limit - head
    return f"{text[:head]}\n[… {len(text) - limit} characters left out …]\n{text[-tail:]}"
