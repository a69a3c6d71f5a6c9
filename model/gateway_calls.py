"""The terms on which other agents use a model, and what their calls cost, read from the answers that pass."""

import json
from dataclasses import dataclass
from typing import Final, Literal

from model.errors import ServerFailed, StreamBroken
from model.http import MAX_ANSWER, Json

PASSED: Final = ("messages", "stop", "stream", "tools", "tool_choice", "response_format")
"""Fields of a request that are the agent's own."""

Fate = Literal["answered", "too-long", "late", "refused", "broken"]
"""What became of a call: `refused` is another error of the server, `late` past the deadline."""


@dataclass(frozen=True, slots=True)
class Rules:
    """What every request is made to ask for, whoever asks."""

    model: str
    """Name of the model as its server knows it."""
    n_ctx: int = 0
    """Tokens of its window, told where a prompt was too long."""
    temperature: float = 0.0
    top_p: float = 0.95
    seed: int = 0
    max_tokens: int = 2048
    """Most tokens of one answer; an agent may ask for fewer."""

    def request(self, asked: Json) -> Json:
        """The request as it is sent. Raises ValueError when it is none."""
        if not isinstance(asked.get("messages"), list):
            raise ValueError("messages: a list is needed")
        limits = [asked.get(key) for key in ("max_tokens", "max_completion_tokens")]
        own = [limit for limit in limits if isinstance(limit, int) and limit > 0]
        body: Json = {key: asked[key] for key in PASSED if key in asked}
        body |= {"model": self.model, "temperature": self.temperature, "top_p": self.top_p}
        body |= {"seed": self.seed, "max_tokens": min([self.max_tokens, *own])}
        return body | ({"stream_options": {"include_usage": True}} if body.get("stream") else {})


@dataclass(slots=True)
class Call:
    """One call of the model. Tokens are 0 where the answer was broken off before the server told them."""

    fate: Fate = "broken"
    prompt_tokens: int = 0
    """Cached ones included."""
    cached_tokens: int = 0
    completion_tokens: int = 0
    model: str = ""
    """As the server names it."""
    detail: str = ""

    def take(self, event: Json) -> None:
        """Counts of an answer, or of one event of it: llama.cpp's `timings` before OpenAI's `usage`."""
        self.model = str(event.get("model") or self.model)
        usage, timings = event.get("usage") or {}, event.get("timings") or {}
        if usage:
            self.prompt_tokens = int(usage.get("prompt_tokens") or 0)
            self.completion_tokens = int(usage.get("completion_tokens") or 0)
            self.cached_tokens = int((usage.get("prompt_tokens_details") or {}).get("cached_tokens") or 0)
        if "prompt_n" in timings:
            self.cached_tokens = int(timings.get("cache_n", 0))
            self.prompt_tokens = int(timings["prompt_n"]) + self.cached_tokens
            self.completion_tokens = int(timings.get("predicted_n", self.completion_tokens))


class Reader:
    """Takes the counts out of an answer while it passes."""

    def __init__(self, call: Call, *, streamed: bool) -> None:
        self._call, self._streamed = call, streamed
        self._waiting = bytearray()
        self._size = 0
        self._done = False

    def feed(self, chunk: bytes) -> None:
        """Raises ServerFailed past MAX_ANSWER."""
        self._size += len(chunk)
        if self._size > MAX_ANSWER:
            raise ServerFailed(f"an answer of more than {MAX_ANSWER} bytes is no answer of a model")
        self._waiting += chunk
        while self._streamed and (end := self._waiting.find(b"\n")) >= 0:
            line = bytes(self._waiting[:end])
            del self._waiting[: end + 1]
            if line.strip() == b"data: [DONE]":
                self._done = True
            elif line.startswith(b"data:"):
                self._take(line.removeprefix(b"data:"))

    def end(self) -> None:
        """Raises ServerFailed, StreamBroken for an answer that is not whole."""
        if not self._streamed:
            self._take(bytes(self._waiting))
        elif not self._done:
            raise StreamBroken("the answer of the model server ended before its end was announced")

    def _take(self, text: bytes) -> None:
        """Raises ServerFailed for what is no object, or counts that are no numbers."""
        try:
            self._call.take(json.loads(text))
        except (ValueError, TypeError, AttributeError, RecursionError) as error:
            raise ServerFailed(f"the server did not answer with JSON: {text[:80]!r}") from error
