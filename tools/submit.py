"""`submit`: the model's word that it is done. It proves nothing: the loop runs the checks."""

from collections.abc import Mapping
from typing import Final

from pydantic import JsonValue

from memory.records import Record, Status
from tools.arguments import checked, dumped
from tools.protocol import ToolResult, Workspace

FORM: Final = "submit"


class Arguments(Record):
    pass


class Submit:
    """Ends a step, if anything was changed."""

    name = "submit"
    arguments = Arguments
    card = "submit\n  Say that the task is done; the checks then decide."
    has_body = False
    header = '""'

    def parse(self, header: str, body: str | None) -> dict[str, JsonValue]:  # noqa: ARG002 - the Tool's form
        """See Tool; words behind `submit` are ignored."""
        return self.check({})

    def check(self, arguments: Mapping[str, object]) -> dict[str, JsonValue]:  # noqa: ARG002 - it takes none
        """See Tool."""
        return dumped(checked(Arguments, {}, FORM))

    def run(self, arguments: Mapping[str, object], workspace: Workspace) -> ToolResult:  # noqa: ARG002
        """Refused while nothing is changed."""
        if not workspace.files.changed():
            return ToolResult(
                Status.REFUSED, "Nothing has been changed yet, so nothing is done.", "nothing changed"
            )
        return ToolResult(Status.OK, "Submitted.", "submitted")
