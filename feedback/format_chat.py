"""Formats for supervised training: chats in the form of OpenAI, and single calls to the letter.

`sft` puts ADI's own dialect of calls into `tool_calls`, for trainers and models that speak that; arguments
and `tools` are JSON strings in every row, as Arrow would fill absent keys of structs with nulls.
`prompt_completion` and `infill` hold what was really sent and written, which is what ADI's own model has to
be trained on: a trained prompt that differs from the served one is why such training fails.
"""

import json
from collections.abc import Iterator, Sequence
from typing import Any, Final

from feedback import columns
from feedback.candidate import Candidate
from feedback.format_base import GOOD, Context, Row, Table
from feedback.format_text import line, plain
from feedback.harvest import Call
from feedback.transcript import Transcript, Turn, parents, transcript
from memory.checks import Record
from memory.records import Action, Message

NO_TOOLS: Final = "[]"


class Said(Record):
    """One message of a conversation, as `sft` carries it."""

    role: str
    content: str
    action: Action | None = None
    """The call of an answer; what answers it has its id in `answers`."""
    answers: str = ""
    trainable: bool = False


class Example(Record):
    """One call of the model. The prompt is a chat or a text, never both."""

    prompt: tuple[Message, ...] = ()
    text: str = ""
    completion: str


def message_type() -> Any:
    """The Arrow type of a message with tool calls; what a message does not have is null."""
    import pyarrow

    text = pyarrow.string()
    function = pyarrow.struct([("name", text), ("arguments", text)])
    call = pyarrow.struct([("id", text), ("type", text), ("function", function)])
    parts = [("role", text), ("content", text), ("tool_calls", pyarrow.list_(call)), ("tool_call_id", text)]
    return pyarrow.struct(parts)


def plain_message_type() -> Any:
    """The Arrow type of a message of text alone."""
    import pyarrow

    return pyarrow.struct([("role", pyarrow.string()), ("content", pyarrow.string())])


def said(turn: Turn) -> Said:
    """The turn as `sft` carries it: of a call, only the thought before it stays text."""
    content = _thought(turn.content) if turn.role == "assistant" and turn.action else turn.content
    return Said(
        role=turn.role,
        content=turn.begun + content,
        action=turn.action if turn.role == "assistant" else None,
        answers=turn.action.id if turn.role == "tool" and turn.action else "",
        trainable=turn.trainable,
    )


def _thought(text: str) -> str:
    """The comment that ADI's grammar allows before a call."""
    first = text.lstrip().split("\n", 1)[0]
    return first.removeprefix("#").strip() if first.startswith("#") else ""


def message(one: Said) -> Row:
    """The message in the form of OpenAI."""
    row: Row = {"role": one.role, "content": one.content}
    if one.action is not None:
        function = {"name": one.action.tool, "arguments": line(plain(one.action.arguments))}
        row["tool_calls"] = [{"id": one.action.id, "type": "function", "function": function}]
    if one.role == "tool":
        row["tool_call_id"] = one.answers
    return row


def read_message(row: Row, trainable: bool) -> Said:
    """The message of a row, also of one where Arrow filled in nulls."""
    action = None
    for call in row.get("tool_calls") or ():
        arguments = json.loads(call["function"]["arguments"])
        action = Action(id=call["id"], tool=call["function"]["name"], arguments=arguments)
    return Said(
        role=row["role"],
        content=row["content"],
        action=action,
        answers=row.get("tool_call_id") or "",
        trainable=trainable,
    )


def conversations(told: Transcript) -> Iterator[tuple[Turn, ...]]:
    """Threads that a chat trainer can use: something in them is a target.

    An answer that was begun for the model, such as with a fence, is trained as a whole, beginning included:
    a trainer of chats knows no half messages. `pretokenised` trains what the model wrote and no more.
    """
    for thread in told.threads():
        if thread[0].purpose != "infill" and any(turn.trainable for turn in thread):
            yield thread


def _sft(candidate: Candidate, context: Context) -> Iterator[Row]:
    calls = {call.seq: call for call in candidate.harvest.calls}
    for thread in conversations(transcript(candidate)):
        last = next(turn for turn in reversed(thread) if turn.completion is not None)
        spoken = [said(turn) for turn in thread]
        acts = any(turn.action for turn in thread)
        yield {
            "messages": [message(one) for one in spoken],
            "tools": line(plain(context.tools)) if acts else NO_TOOLS,
            "trainable": [one.trainable for one in spoken],
            **columns.of_call(calls[last.seq], candidate, context),
            "is_copied_context": any(turn.copied and turn.role == "assistant" for turn in thread),
        }


def _read_sft(rows: Sequence[Row]) -> list[tuple[Said, ...]]:
    return [
        tuple(read_message(*pair) for pair in zip(row["messages"], row["trainable"], strict=True))
        for row in rows
    ]


def trained_calls(candidate: Candidate) -> Iterator[Call]:
    """The calls whose completions are targets of training."""
    return (call for call in candidate.harvest.calls if candidate.targets.get(call.seq, "not judged") == "")


def chat(messages: Sequence[Message]) -> list[Row]:
    return [{"role": item.role, "content": item.content} for item in messages]


def read_chat(rows: Sequence[Row]) -> tuple[Message, ...]:
    return tuple(Message(role=row["role"], content=row["content"]) for row in rows)


def begun(messages: Sequence[Message]) -> bool:
    """Whether the chat ends with the beginning of the answer: the column `continues`.

    Trainers that render prompt and completion as two messages would put the end of one between the two;
    `pretokenised` holds such rows as they were.
    """
    return bool(messages) and messages[-1].role == "assistant"


def _single(candidate: Candidate, context: Context, *, raw: bool) -> Iterator[Row]:
    before = parents(transcript(candidate))
    for call in trained_calls(candidate):
        if raw != (not call.messages):
            continue
        text = call.completion.text
        row: Row = {"prompt": call.prompt, "completion": text}
        if not raw:
            completion = [{"role": "assistant", "content": text}]
            row = {"prompt": chat(call.messages), "completion": completion, "continues": begun(call.messages)}
        parent = str(before.get(call.seq, ""))
        yield row | columns.of_call(call, candidate, context) | {"parent_id": parent}


def _read_chats(rows: Sequence[Row]) -> list[Example]:
    return [
        Example(prompt=read_chat(row["prompt"]), completion=row["completion"][0]["content"]) for row in rows
    ]


def _read_texts(rows: Sequence[Row]) -> list[Example]:
    return [Example(text=row["prompt"], completion=row["completion"]) for row in rows]


def _sft_columns() -> list[tuple[str, Any]]:
    import pyarrow

    messages = pyarrow.list_(message_type())
    return [
        ("messages", messages),
        ("tools", pyarrow.string()),
        ("trainable", pyarrow.list_(pyarrow.bool_())),
    ]


def _chat_columns() -> list[tuple[str, Any]]:
    import pyarrow

    turns = pyarrow.list_(plain_message_type())
    return [("prompt", turns), ("completion", turns), ("continues", pyarrow.bool_())]


def _text_columns() -> list[tuple[str, Any]]:
    import pyarrow

    return [("prompt", pyarrow.string()), ("completion", pyarrow.string())]


SFT: Final = Table("sft", _sft_columns, _sft, _read_sft, GOOD)
PROMPT_COMPLETION: Final = Table(
    "prompt_completion",
    _chat_columns,
    lambda one, context: _single(one, context, raw=False),
    _read_chats,
    GOOD,
)
INFILL: Final = Table(
    "infill", _text_columns, lambda one, context: _single(one, context, raw=True), _read_texts, GOOD
)
