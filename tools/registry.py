"""The tools there are, how a prompt presents them, and how one call is read and carried out."""

from collections.abc import Mapping, Sequence
from typing import Final

from pydantic import JsonValue

from memory.records import Status
from tools.edit import Edit
from tools.grammar import grammar_of
from tools.parse import Call, Malformed, parse_call
from tools.protocol import Tool, ToolResult, Workspace
from tools.read import Read
from tools.run import Run
from tools.search import Search
from tools.submit import Submit
from tools.write import Write

__all__ = ["TOOLS", "Call", "Malformed", "cards", "execute", "grammar", "parse", "schemas"]

TOOLS: Final[Mapping[str, Tool]] = {
    tool.name: tool for tool in (Read(), Search(), Edit(), Write(), Run(), Submit())
}
"""By name, in the order in which they are presented."""


def cards() -> str:
    """How to call each tool, for the prompt."""
    return "\n".join(tool.card for tool in TOOLS.values())


def schemas() -> list[dict[str, JsonValue]]:
    """The tools as JSON schemas of functions, as chat APIs in the dialect of OpenAI have them."""
    return [
        {
            "type": "function",
            "function": {
                "name": tool.name,
                "description": tool.card,
                "parameters": tool.arguments.model_json_schema(),
            },
        }
        for tool in TOOLS.values()
    ]


def grammar(paths: Sequence[str]) -> str:
    """GBNF of one whole answer; `read` and `edit` may name these paths only."""
    return grammar_of(list(TOOLS.values()), paths)


def parse(text: str) -> Call:
    """The one call in a model's answer. Raises Malformed with the right form."""
    return parse_call(text, TOOLS)


def execute(call: Call, workspace: Workspace) -> ToolResult:
    """Carry a call out; an unknown tool and wrong arguments are results. Raises SandboxError only."""
    tool = TOOLS.get(call.tool)
    if tool is None:
        return ToolResult(
            Status.REFUSED, f"There is no tool {call.tool}; there are {', '.join(TOOLS)}.", "unknown tool"
        )
    try:
        arguments = tool.check(call.arguments)
    except ValueError as error:
        return ToolResult(Status.REFUSED, str(error), f"{call.tool}: wrong arguments")
    return tool.run(arguments, workspace)
