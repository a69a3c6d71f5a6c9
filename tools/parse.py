"""From a model's text to one call: ADI's own form, or a usual dialect of another one.

Only names of ADI's own tools are ever taken for calls, and only from what the model itself wrote: the
text ends at the first chat-template token. Prose is no call: `run the tests` in a sentence runs nothing.
When several calls are written, the first one counts: what follows it was written without its result.
"""

import json
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Final

from pydantic import JsonValue

from tools.protocol import Tool

MAX_CHARS: Final = 200_000
"""Longer texts are refused unread."""

_TEMPLATE = re.compile(r"<\|(?:im_start|im_end|endoftext|fim_\w{1,10}|repo_name|file_sep)\|>")
_FENCE = re.compile(r"^(`{3,})([\w+#.-]{0,20})[ \t]*$")
_TAG = re.compile(r"<(tool_call|tools|function_call)>")
_THOUGHT = re.compile(r"^\s*(?:#|//)(?!!)")
_SHELL = frozenset({"bash", "sh", "shell", "console", "zsh", "terminal"})
_DATA = frozenset({"json", "tool_call", "tools", "", "xml", "tool", "text", "adi"})


class Malformed(ValueError):
    """The text is no call; the message says what is wrong and shows the right form."""


@dataclass(frozen=True, slots=True)
class Call:
    """A call of a known tool with checked arguments."""

    tool: str
    arguments: Mapping[str, JsonValue]


def parse_call(text: str, tools: Mapping[str, Tool]) -> Call:
    """The first call in a model's text. Raises Malformed."""
    if len(text) > MAX_CHARS:
        raise Malformed(f"The answer is {len(text)} characters long. {_forms(tools)}")
    own = _TEMPLATE.split(text, maxsplit=1)[0].replace("\r\n", "\n")
    lines = own.split("\n")
    start = next((i for i, line in enumerate(lines) if line.strip() and not _THOUGHT.match(line)), None)
    if start is None:
        raise Malformed(f"The answer holds no action. {_forms(tools)}")
    call = _native(lines, start, tools)
    if call is None:
        call = _salvaged(own, lines, tools)
    if call is None:
        raise Malformed(f"The answer begins with no action but with `{lines[start][:60]}`. {_forms(tools)}")
    return call


def _forms(tools: Mapping[str, Tool]) -> str:
    heads = ", ".join(tool.card.split("\n", 1)[0] for tool in tools.values())
    return f"Answer with exactly one action, beginning with one of: {heads}"


def _native(lines: list[str], start: int, tools: Mapping[str, Tool]) -> Call | None:
    """A call in ADI's own form at this line; None when the line names no tool. Raises Malformed."""
    name, _, header = lines[start].strip().strip("`").partition(" ")
    tool = tools.get(name.rstrip(":"))
    if tool is None:
        return None
    body = _fenced(lines, start + 1) if tool.has_body else None
    return _built(tool, lambda: tool.parse(header, body))


def _built(tool: Tool, make: Callable[[], Mapping[str, JsonValue]]) -> Call:
    try:
        return Call(tool.name, make())
    except ValueError as error:
        raise Malformed(f"{tool.name}: {error}") from None


def _fenced(lines: list[str], start: int) -> str | None:
    """Text of the fence that begins at the next non-blank line; None without one. Raises Malformed."""
    while start < len(lines) and not lines[start].strip():
        start += 1
    match = _FENCE.match(lines[start].strip()) if start < len(lines) else None
    if match is None:
        return None
    end = _closing(lines, start + 1, match[1])
    if end is None:
        raise Malformed(
            "the fence is not closed: the answer was cut off, so nothing was changed. Write less."
        )
    return "".join(f"{line}\n" for line in lines[start + 1 : end])


def _closing(lines: list[str], start: int, fence: str) -> int | None:
    return next((i for i in range(start, len(lines)) if lines[i].strip() == fence), None)


def _salvaged(text: str, lines: list[str], tools: Mapping[str, Tool]) -> Call | None:
    """The first call in another dialect: tags, fenced JSON, bare JSON, a fenced command."""
    for value in _objects(text):
        call = _from_json(value, tools)
        if call is not None:
            return call
    for language, body in _fences(lines):
        inner = body.split("\n")
        first = next((i for i, line in enumerate(inner) if line.strip() and not _THOUGHT.match(line)), None)
        if first is None:
            continue
        if language in _SHELL and "run" in tools:
            return _shell(inner, tools["run"])
        if language in _DATA:
            call = _native(inner, first, tools)
            if call is not None and not tools[call.tool].has_body:
                return call
    return _after_prose(lines, tools)


def _after_prose(lines: list[str], tools: Mapping[str, Tool]) -> Call | None:
    """A call with a fenced body behind some prose; the fence shows that it is meant."""
    for index, line in enumerate(lines):
        tool = tools.get(line.strip().strip("`").partition(" ")[0])
        if tool is not None and tool.has_body and index + 1 < len(lines):
            return _native(lines, index, tools)
    return None


def _fences(lines: list[str]) -> Iterator[tuple[str, str]]:
    index = 0
    while index < len(lines):
        match = _FENCE.match(lines[index].strip())
        end = _closing(lines, index + 1, match[1]) if match else None
        if match and end is not None:
            yield match[2].lower(), "\n".join(lines[index + 1 : end])
            index = end
        index += 1


def _shell(lines: list[str], tool: Tool) -> Call:
    """A fenced shell block as one run; more than one command is refused, not guessed."""
    commands = [
        line.strip().removeprefix("$ ") for line in lines if line.strip() and not _THOUGHT.match(line)
    ]
    if len(commands) != 1 or commands[0].endswith("\\") or "<<" in commands[0]:
        raise Malformed("one action runs one command of one line. Write: run COMMAND")
    return _built(tool, lambda: tool.parse(commands[0], None))


def _objects(text: str) -> Iterator[object]:
    """JSON objects that begin an answer's tag, fence or line; a bounded number of tries."""
    decoder = json.JSONDecoder(strict=False)
    places = [match.end() for match in _TAG.finditer(text)]
    places += [match.start(1) for match in re.finditer(r"(?m)^[ \t]{0,20}(\{)", text)]
    for place in sorted(places)[:50]:
        begin = place + len(text[place:]) - len(text[place:].lstrip())
        try:
            yield decoder.raw_decode(text, begin)[0]
        except (ValueError, RecursionError):
            continue


def _from_json(value: object, tools: Mapping[str, Tool]) -> Call | None:
    """A call from `{"name": ..., "arguments": {...}}`; None when it names no tool of ours."""
    if not isinstance(value, dict):
        return None
    inner = value.get("function")
    if isinstance(inner, dict):
        value = inner
    name = next((value[key] for key in ("name", "tool", "function", "action") if key in value), None)
    tool = tools.get(name.strip().lower()) if isinstance(name, str) else None
    if tool is None:
        return None
    given: object = next(
        (value[key] for key in ("arguments", "parameters", "args", "input") if key in value), {}
    )
    if isinstance(given, str):
        try:
            given = json.loads(given, strict=False)
        except (ValueError, RecursionError):
            raise Malformed(f"{tool.name}: its arguments are no JSON object. {tool.card}") from None
    if not isinstance(given, dict):
        raise Malformed(f"{tool.name}: its arguments are no JSON object. {tool.card}")
    arguments: dict[str, object] = {str(key): item for key, item in given.items()}
    return _built(tool, lambda: tool.check(arguments))
