"""Answers in the exact shapes of OpenAI's API: chats and completions, whole and in chunks.

Beside OpenAI's fields stand `timings` and, on request, `token_ids` and `prompt_token_ids` as vLLM has them.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Protocol

from model.backend import Cost, Drawn, Ended
from model.front_refusal import Json

LEAST = -9999.0
"""Stands for a log-probability of minus infinity, which JSON has not."""


@dataclass(slots=True)
class Answer:
    """One of the answers of a request, as far as it is written."""

    index: int
    texts: list[str] = field(default_factory=list)
    """Empty in a stream, which keeps nothing of what it sent; so is `drawn`."""
    drawn: list[Drawn] = field(default_factory=list)
    sent: int = 0
    """Characters of a stream."""
    ended: Ended | None = None

    @property
    def text(self) -> str:
        return "".join(self.texts)


class Dialect(Protocol):
    """Where chats and completions differ."""

    name: str
    """For counters."""
    ids: str
    """How the id of an answer begins."""
    whole: str
    """`object` of a whole answer."""
    chunk: str
    """`object` of a chunk."""

    def opening(self, index: int) -> Json | None:
        """What an answer's first chunk says before there is any text; None for no such chunk."""
        ...

    def said(self, text: str) -> Json:
        """The text of a whole choice."""
        ...

    def more(self, text: str) -> Json:
        """The text of a choice in a chunk."""
        ...

    def probabilities(self, drawn: Sequence[Drawn], before: int) -> Json:
        """Log-probabilities of tokens, `before` characters after the answer's beginning."""
        ...


class Chat:
    """`/v1/chat/completions`."""

    name = "chat"
    ids = "chatcmpl-"
    whole = "chat.completion"
    chunk = "chat.completion.chunk"

    def opening(self, index: int) -> Json | None:
        delta = {"role": "assistant", "content": ""}
        return {"index": index, "delta": delta, "logprobs": None, "finish_reason": None}

    def said(self, text: str) -> Json:
        return {"message": {"role": "assistant", "content": text, "refusal": None}}

    def more(self, text: str) -> Json:
        return {"delta": {"content": text} if text else {}}

    def probabilities(self, drawn: Sequence[Drawn], before: int) -> Json:
        del before
        content = [
            _token(one.data, one.logprob)
            | {"top_logprobs": [_token(data, logprob) for _, data, logprob in one.top]}
            for one in drawn
        ]
        return {"content": content, "refusal": None}


class Text:
    """`/v1/completions`."""

    name = "text"
    ids = "cmpl-"
    whole = chunk = "text_completion"

    def opening(self, index: int) -> Json | None:
        del index
        return None

    def said(self, text: str) -> Json:
        return {"text": text}

    more = said

    def probabilities(self, drawn: Sequence[Drawn], before: int) -> Json:
        offsets, data = [], b""
        for one in drawn:
            offsets.append(before + len(data.decode("utf-8", "ignore")))
            data += one.data
        return {
            "tokens": [_name(one.data) for one in drawn],
            "token_logprobs": [_finite(one.logprob) for one in drawn],
            "top_logprobs": [
                {_name(data): _finite(logprob) for _, data, logprob in reversed(one.top)} for one in drawn
            ],
            "text_offset": offsets,
        }


@dataclass(frozen=True, slots=True)
class Speech:
    """All that the answers of one request have in common."""

    dialect: Dialect
    head: Json
    """id, created, model, system_fingerprint."""
    prompt: tuple[int, ...]
    n: int
    tell_logprobs: bool
    tell_ids: bool

    def whole(self, answers: Sequence[Answer]) -> Json:
        """The response to a request that is not streamed; all answers have ended."""
        choices = [self._choice(answer) for answer in answers]
        if self.tell_ids and isinstance(self.dialect, Text):
            choices = [choice | {"prompt_token_ids": self.prompt} for choice in choices]
        costs = costs_of(answers)
        body = {
            **self._head(self.dialect.whole),
            "choices": choices,
            "usage": usage(costs),
            "timings": timings(costs),
        }
        chat_ids = self.tell_ids and isinstance(self.dialect, Chat)
        return body | ({"prompt_token_ids": self.prompt} if chat_ids else {})

    def openings(self) -> list[Json]:
        """Chunks that come before all text."""
        found = [choice for index in range(self.n) if (choice := self.dialect.opening(index))]
        chunks = [self.of([choice]) for choice in found]
        if not self.tell_ids:
            return chunks
        if chunks:
            chunks[0]["prompt_token_ids"] = self.prompt
            return chunks
        empty = [
            {
                "index": index,
                **self.dialect.more(""),
                "logprobs": None,
                "finish_reason": None,
                "token_ids": [],
                "prompt_token_ids": self.prompt,
            }
            for index in range(self.n)
        ]
        return [self.of([choice]) for choice in empty]

    def piece(self, index: int, text: str, drawn: Sequence[Drawn], before: int) -> Json:
        """A chunk with more of an answer, `before` characters after its beginning."""
        choice = {"index": index, **self.dialect.more(text), **self._told(drawn, before)}
        return self.of([choice | {"finish_reason": None}])

    def end(self, answer: Answer) -> Json:
        """The last chunk of an answer."""
        reason = answer.ended.reason if answer.ended else None
        ids: Json = {"token_ids": []} if self.tell_ids else {}
        choice = {"index": answer.index, **self.dialect.more(""), "logprobs": None, **ids}
        return self.of([choice | {"finish_reason": reason}])

    def of(self, choices: list[Json]) -> Json:
        return {**self._head(self.dialect.chunk), "choices": choices}

    def _head(self, kind: str) -> Json:
        return {"id": self.head["id"], "object": kind, **self.head}

    def _choice(self, answer: Answer) -> Json:
        reason = answer.ended.reason if answer.ended else None
        said = {"index": answer.index, **self.dialect.said(answer.text)}
        return {**said, **self._told(answer.drawn, 0), "finish_reason": reason}

    def _told(self, drawn: Sequence[Drawn], before: int) -> Json:
        probabilities = self.dialect.probabilities(drawn, before) if self.tell_logprobs and drawn else None
        told: Json = {"logprobs": probabilities}
        return told | ({"token_ids": [one.id for one in drawn]} if self.tell_ids else {})


def costs_of(answers: Sequence[Answer]) -> list[Cost]:
    return [answer.ended.cost for answer in answers if answer.ended]


def usage(costs: Sequence[Cost]) -> Json:
    """Tokens of a request; its answers share one prompt, which the first one tells of."""
    written = sum(cost.completion_tokens for cost in costs)
    prompt = costs[0].prompt_tokens
    return {
        "prompt_tokens": prompt,
        "completion_tokens": written,
        "total_tokens": prompt + written,
        "prompt_tokens_details": {"cached_tokens": costs[0].cached_tokens},
    }


def timings(costs: Sequence[Cost]) -> Json:
    """Of a request: its answers run side by side, so `tok_s` is that of all of them together."""
    written = sum(max(0, cost.completion_tokens - 1) for cost in costs)
    longest_s = max(cost.decode_ms for cost in costs) / 1000
    return {
        "queue_ms": round(min(cost.queue_ms for cost in costs), 3),
        "ttft_ms": round(min(cost.first_ms for cost in costs), 3),
        "tok_s": round(written / longest_s, 2) if longest_s > 0 else 0.0,
        "drafted": sum(cost.drafted for cost in costs),
        "accepted": sum(cost.accepted for cost in costs),
        "grammar_us": round(sum(cost.grammar_us for cost in costs), 1),
    }


def _token(data: bytes, logprob: float) -> Json:
    return {"token": data.decode("utf-8", "replace"), "logprob": _finite(logprob), "bytes": [*data]}


def _name(data: bytes) -> str:
    """A token as text; a part of a character as OpenAI writes it."""
    try:
        return data.decode("utf-8")
    except UnicodeDecodeError:
        return "bytes:" + "".join(f"\\x{byte:02x}" for byte in data)


def _finite(logprob: float) -> float:
    return max(logprob, LEAST) if not math.isnan(logprob) else LEAST
