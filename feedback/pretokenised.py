"""Rows for trainers that take token ids as they are: what is learned is exactly what the model wrote.

One row is one call: the prompt through the model's own chat template, or with its tokens for filling a gap,
then the answer. `labels` is -100 everywhere but on the answer. The ids that the server told are kept where
they still spell the recorded text; else, as after a secret in it was replaced, the text is tokenized again,
and `retokenised` says so.
"""

from collections.abc import Iterator, Sequence
from typing import Any, Final

from feedback import columns
from feedback.candidate import Candidate
from feedback.format_base import GOOD, Context, Row, Table, Tokens
from feedback.format_chat import begun, trained_calls
from feedback.format_text import valid
from feedback.harvest import Call
from feedback.transcript import parents, transcript
from memory.checks import Record
from memory.records import GAP, Message

IGNORED: Final = -100
"""Label of a token that is not learned, as loss functions know it."""
_STOP: Final = 16
"""Tokens behind a text that may belong to the stop text that it was cut at."""


class Trained(Record):
    """One row: all ids, and the last ones of them, which are learned."""

    ids: tuple[int, ...]
    learned: tuple[int, ...]


def asked(call: Call, tokens: Tokens) -> list[int]:
    """Ids of what the model was sent; none of a raw prompt whose parts were not recorded."""
    if call.messages:
        return tokens.chat([Message(role=one.role, content=valid(one.content)) for one in call.messages])
    begin, gap = call.gap or (0, 0)
    if call.gap is None or call.prompt[gap : gap + 1] != GAP:  # a secret before it was replaced
        return []
    context, prefix, suffix = call.prompt[:begin], call.prompt[begin:gap], call.prompt[gap + 1 :]
    return tokens.infill(valid(prefix), valid(suffix), valid(context))


def answer(call: Call, text: str, tokens: Tokens) -> tuple[list[int], bool]:
    """Ids of what the model wrote, and whether they had to be made from the text.

    The token that ends an answer is among them where the model wrote it. Where no ids were told, that is
    taken of an answer to a chat which ended by itself and was not begun for the model: a begun one, and what
    fills a gap, is cut at the end of its line.
    """
    told = [*call.completion.token_ids]
    if kept := _spelling(told, text, tokens):
        return kept, False
    ended = told[-1] == tokens.end if told else bool(call.messages) and not begun(call.messages)
    end = [tokens.end] if ended and call.completion.finish_reason == "stop" else []
    return [*tokens.plain(text), *end], True


def _spelling(told: Sequence[int], text: str, tokens: Tokens) -> list[int]:
    """The ids that spell the text, with the end if that follows; none where they spell something else.

    Behind the text there may be what the answer was cut at. A token that lies half in the text is replaced by
    those of that half.
    """
    if not told or not tokens.decode(told).startswith(text):
        return []
    for size in range(len(told), max(0, len(told) - _STOP), -1):
        bare = [*told[:size]]
        ended = bare[-1] == tokens.end
        said = tokens.decode(bare[:-1] if ended else bare)
        rest = text.removeprefix(said)
        if tokens.end in bare[:-1] or not text.startswith(said) or (rest and ended):
            continue
        if not rest or tokens.decode(told[size : size + 1]).startswith(rest):
            return [*bare, *tokens.plain(rest)]
    return []


def decoded(row: Row, tokens: Tokens) -> tuple[str, str]:
    """The text of a row, and that of its learned part."""
    learned = [
        token for token, label in zip(row["input_ids"], row["labels"], strict=True) if label != IGNORED
    ]
    return tokens.decode(row["input_ids"]), tokens.decode(learned)


def _rows(candidate: Candidate, context: Context) -> Iterator[Row]:
    tokens = context.tokens
    if tokens is None:
        return
    before = parents(transcript(candidate))
    for call in trained_calls(candidate):
        prompt = asked(call, tokens)
        learned, again = answer(call, valid(call.completion.text), tokens)
        if not prompt or not learned:
            continue
        yield {
            "input_ids": [*prompt, *learned],
            "labels": [IGNORED] * len(prompt) + learned,
            "retokenised": again,
            "tokenizer": tokens.name,
            **columns.of_call(call, candidate, context),
            "parent_id": str(before.get(call.seq, "")),
        }


def _read(rows: Sequence[Row]) -> list[Trained]:
    return [
        Trained(
            ids=tuple(row["input_ids"]),
            learned=tuple(label for label in row["labels"] if label != IGNORED),
        )
        for row in rows
    ]


def _columns() -> list[tuple[str, Any]]:
    import pyarrow

    ids = pyarrow.list_(pyarrow.int32())
    return [
        ("input_ids", ids),
        ("labels", ids),
        ("retokenised", pyarrow.bool_()),
        ("tokenizer", pyarrow.string()),
    ]


def _needs(context: Context) -> str:
    return "" if context.tokens is not None else "no tokenizer: the model's file is not on this disk"


PRETOKENISED: Final = Table("pretokenised", _columns, _rows, _read, GOOD, _needs)
