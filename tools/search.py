"""`search TEXT`: lines of the repository that hold a text, or with `search /REGEX/` match a pattern.

Plain text is searched on the host. A pattern is untrusted and may be made to run for ever, so it runs in
the sandbox, by grep, whose automaton does not backtrack, and under a time limit.
"""

import shlex
import time
from collections.abc import Iterator, Mapping
from typing import Final

from pydantic import Field, JsonValue

from memory.records import Record, Status
from tools.arguments import checked, dumped, spelled
from tools.protocol import ToolResult, Workspace
from tools.text import MAX_BYTES, NotText, load, load_file

MATCHES: Final = 40
"""Lines shown."""
LINE: Final = 160
"""Characters shown of one line."""
SECONDS: Final = 5.0
"""Time a search may take."""
FORM: Final = "search TEXT or search /REGEX/"


class Arguments(Record):
    text: str = Field(min_length=1, max_length=300)
    regex: bool = False


class Search:
    """Finds lines in the repository's text files."""

    name = "search"
    arguments = Arguments
    card = "search TEXT\n  Find the lines that contain TEXT; search /REGEX/ matches a pattern."
    has_body = False
    header = '" " text'

    def parse(self, header: str, body: str | None) -> dict[str, JsonValue]:  # noqa: ARG002 - the Tool's form
        """See Tool."""
        text = header.strip()
        if len(text) > 2 and text.startswith("/") and text.endswith("/"):
            return self.check({"text": text[1:-1], "regex": True})
        quoted = len(text) > 2 and text[0] == text[-1] and text[0] in "\"'`"
        return self.check({"text": text[1:-1] if quoted else text})

    def check(self, arguments: Mapping[str, object]) -> dict[str, JsonValue]:
        """See Tool."""
        return dumped(checked(Arguments, arguments, FORM))

    def run(self, arguments: Mapping[str, object], workspace: Workspace) -> ToolResult:
        """Show `path:line: text` of the first matches."""
        record = checked(Arguments, arguments, FORM)
        if record.regex:
            return _by_grep(record.text, workspace)
        found: list[str] = []
        until, cut = time.monotonic() + SECONDS, False
        for line in _matches(record.text, workspace):
            found.append(line)
            cut = len(found) > MATCHES or time.monotonic() > until
            if cut:
                break
        return _result(record.text, found, cut)


def _matches(text: str, workspace: Workspace) -> Iterator[str]:
    """Lines that hold the text; case counts only where the text has capitals."""
    blind = text.lower() == text
    wanted = text.encode("utf-8", "replace")
    until = time.monotonic() + SECONDS
    for path in workspace.files.paths():
        if time.monotonic() > until:
            return
        if workspace.files.size(path) > MAX_BYTES:
            continue
        data = workspace.files.read(path)
        if b"\0" in data or wanted not in (data.lower() if blind else data):
            continue
        try:
            load(data)
        except NotText as error:
            yield f"{spelled(path)} holds it, but is not shown: {error}"
            continue
        for number, line in enumerate(data.split(b"\n"), 1):
            if wanted in (line.lower() if blind else line):
                yield f"{spelled(path)}:{number}: {line.decode('utf-8', 'replace').strip()[:LINE]}"


def _by_grep(pattern: str, workspace: Workspace) -> ToolResult:
    workspace.push()
    known = pattern.replace(r"\d", "[0-9]")
    listing = "\0".join(workspace.files.paths()).encode()
    command = f"xargs -0 grep -nHIE -m {MATCHES} -e {shlex.quote(known)} --"
    ended = workspace.sandbox.run(command, timeout_s=SECONDS, stdin=listing)
    lines = ended.output.decode("utf-8", "backslashreplace").splitlines()
    if ended.status not in ("ok", "nonzero"):
        return ToolResult(
            Status(ended.status), f"The search ended with {ended.status}.", f"/{pattern}/ {ended.status}"
        )
    faults = [line for line in lines if line.startswith(("grep: ", "xargs: "))]
    if faults:
        return ToolResult(Status.REFUSED, f"{faults[0]}. Write: {FORM}", f"/{pattern}/ is no pattern")
    found = list(dict.fromkeys(_grepped(line, workspace) for line in lines))
    return _result(f"/{pattern}/", found, len(found) > MATCHES)


def _grepped(line: str, workspace: Workspace) -> str:
    """A line of grep's, with a blank before the text; of a file that is no text, only its name."""
    path = line.partition(":")[0]
    try:
        if workspace.files.exists(path):
            load_file(workspace.files, path)
    except NotText as error:
        return f"{path} holds it, but is not shown: {error}"
    return line.replace(":", ": ", 2).replace(": ", ":", 1)[: LINE + 80]


def _result(text: str, found: list[str], cut: bool) -> ToolResult:
    if not found:
        return ToolResult(Status.OK, f"No line matches {text}.", f"{text}: none")
    more = "\n… there are more: search for something more specific." if cut else ""
    count = f"{MATCHES}+" if cut else str(len(found))
    return ToolResult(Status.OK, "\n".join(found[:MATCHES]) + more, f"{text}: {count} lines", truncated=cut)
