"""Engine `url`: any server that speaks the OpenAI dialect (vLLM, SGLang, Ollama, hosted ones).

What a server cannot do is refused here, never dropped on the way; model/probe.py found out what it can.
"""

import re
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing

from memory.records import Completion, Message, Usage
from model.catalogue import FimTokens
from model.errors import PromptTooLong, ServerFailed, StreamBroken, Unsupported
from model.http import Json, Transport
from model.probe import HINT, Probe
from model.protocol import Capabilities, Sampling

CONTROL = re.compile(r"<(?=\|[^|<>\s]{1,40}\|>)|<(?=/?s>|(?:start|end)_of_turn>)")
"""Start of a text that a server's tokenizer would read as a control token."""
WORST = 32
"""Bytes of text in one token at most, white space not counted: fewer tokens mean that text was lost."""
STOPS = 4
"""Stop texts that every server takes; further ones are applied here."""


class UrlModel:
    """A model behind an OpenAI-compatible server. Implements model.protocol.Model."""

    def __init__(
        self, transport: Transport, probe: Probe, fim: FimTokens | None = None, call_s: float = 1800.0
    ) -> None:
        self._http = transport
        self._probe = probe
        self._fim = fim
        self._call_s = call_s

    @property
    def capabilities(self) -> Capabilities:
        return Capabilities(
            n_ctx=self._probe.n_ctx,
            grammar=self._probe.server in ("vllm", "sglang"),
            infill=self._fim is not None and self._probe.server != "ollama",
            tokenize=self._probe.counts,
            token_ids=False,
            cached_tokens=self._probe.server in ("vllm", "sglang"),
            model=self._probe.model,
        )

    def close(self) -> None:
        self._http.close()

    def chat(
        self,
        messages: Sequence[Message],
        sampling: Sampling,
        on_text: Callable[[str], None] | None = None,
    ) -> list[Completion]:
        """See Model.chat. Control tokens in the messages are broken with a zero-width space."""
        body = {"messages": _turns(messages)}
        size = "".join(m.content for m in messages)
        tokens = self.count(messages) if self._probe.counts else len(size.encode()) + 16 * len(messages)
        return self._sample("/v1/chat/completions", body, tokens, size, sampling, on_text)

    def infill(self, prefix: str, suffix: str, sampling: Sampling, *, context: str = "") -> list[Completion]:
        """See Model.infill. The raw prompt goes to /v1/completions with the family's own tokens."""
        if self._fim is None or not self.capabilities.infill:
            raise Unsupported(
                "fill-in-the-middle", "use a model and a server that have it, such as engine llama"
            )
        prompt = self._fim.text(_inert(prefix), _inert(suffix), _inert(context))
        tokens = self.count_text(prompt) if self._probe.counts else len(prompt.encode())
        body = {"prompt": prompt, "stop": list(self._fim.stops)}
        return self._sample("/v1/completions", body, tokens, prompt, sampling, None)

    def count(self, messages: Sequence[Message]) -> int:
        return self._count({"messages": _turns(messages), "add_generation_prompt": True})

    def count_text(self, text: str) -> int:
        return self._count({"prompt": text, "add_special_tokens": False})

    def _count(self, body: Json) -> int:
        if not self._probe.counts:
            raise Unsupported("counting tokens")
        return int(self._http.post("/tokenize", body | {"model": self._probe.model})["count"])

    def _sample(
        self,
        path: str,
        body: Json,
        tokens: int,
        text: str,
        sampling: Sampling,
        on_text: Callable[[str], None] | None,
    ) -> list[Completion]:
        """`sampling.n` answers: in one request where the server has `n`, else one by one.

        `tokens` is the prompt's exact size, or its upper bound when the server cannot count.
        """
        if self._probe.n_ctx and tokens + sampling.max_tokens > self._probe.n_ctx:
            raise PromptTooLong(tokens, self._probe.n_ctx, sampling.max_tokens)
        stops = (*sampling.stop, *body.get("stop", ()))
        body |= self._fields(sampling, stops)
        together = sampling.n if self._probe.server in ("vllm", "sglang") else 1
        answers: list[Completion] = []
        while len(answers) < sampling.n:
            seed = sampling.seed + len(answers)
            request = body | {"n": together, "seed": seed}
            found = self._stream(path, request, on_text if sampling.n == 1 else None)
            answers += found
            _refuse_truncation(found[0].usage.prompt_tokens, text, self._probe.n_ctx)
        return [_cut(answer, stops[STOPS:]) for answer in answers]

    def _fields(self, sampling: Sampling, stops: tuple[str, ...]) -> Json:
        fields: Json = {
            "model": self._probe.model,
            "max_tokens": sampling.max_tokens,
            "temperature": sampling.temperature,
            "top_p": sampling.top_p,
            "stream": True,
            "stream_options": {"include_usage": True},
        }
        if stops:
            fields["stop"] = list(stops[:STOPS])
        if not sampling.grammar:
            return fields
        if self._probe.server == "vllm":
            return fields | {"structured_outputs": {"grammar": sampling.grammar}}
        if self._probe.server == "sglang":
            return fields | {"ebnf": sampling.grammar}
        raise Unsupported("grammars")

    def _stream(self, path: str, body: Json, on_text: Callable[[str], None] | None) -> list[Completion]:
        texts = [""] * body["n"]
        reasons: dict[int, str] = {}
        usage: Json = {}
        deadline = time.monotonic() + self._call_s
        with closing(self._http.events(path, body)) as events:
            for index, text, reason, told in _choices(events):
                texts[index] += text
                usage = told or usage
                if reason:
                    reasons[index] = reason
                if on_text and text:
                    on_text(text)
                if time.monotonic() > deadline:
                    raise StreamBroken(f"the answer was not done after {self._call_s:.0f} s")
        if len(reasons) != body["n"]:
            raise StreamBroken(f"{len(reasons)} of {body['n']} answers of {self._http.url} came to an end")
        return [
            self._completion(text, reasons[index], body, usage if index == 0 else {}, index)
            for index, text in enumerate(texts)
        ]

    def _completion(self, text: str, reason: str, body: Json, usage: Json, index: int) -> Completion:
        if reason not in ("stop", "length"):
            raise ServerFailed(f"the server ended its answer with {reason!r}", HINT)
        details = usage.get("prompt_tokens_details") or {}
        return Completion(
            text=text,
            finish_reason="length" if reason == "length" else "stop",
            usage=Usage(
                prompt_tokens=int(usage.get("prompt_tokens") or 0),
                cached_tokens=int(details.get("cached_tokens") or 0),
                completion_tokens=int(usage.get("completion_tokens") or 0),
            ),
            model=self._probe.model,
            temperature=body["temperature"],
            seed=body["seed"] + index,
        )


def _turns(messages: Sequence[Message]) -> list[Json]:
    return [{"role": message.role, "content": _inert(message.content)} for message in messages]


def _inert(text: str) -> str:
    """A text in which nothing reads as a control token; the server gets no ids that could say so."""
    return CONTROL.sub("<\u200b", text)


def _cut(answer: Completion, stops: Sequence[str]) -> Completion:
    """The answer up to the first of the stops that the server was not told."""
    ends = [end for stop in stops if (end := answer.text.find(stop)) >= 0]
    if not ends:
        return answer
    return answer.model_copy(update={"text": answer.text[: min(ends)], "finish_reason": "stop"})


def _choices(events: Iterator[Json]) -> Iterator[tuple[int, str, str, Json]]:
    """(index, text, finish reason or "", usage or {}) of each event, chat or plain."""
    for event in events:
        usage = event.get("usage") or {}
        choices = event.get("choices") or []
        if usage and not choices:
            yield 0, "", "", usage
        for choice in choices:
            delta = choice.get("delta") or {}
            text = delta.get("content") or choice.get("text") or ""
            yield int(choice.get("index") or 0), text, choice.get("finish_reason") or "", usage


def _refuse_truncation(prompt_tokens: int, text: str, n_ctx: int) -> None:
    """A prompt counted far below its possible size was cut by the server. 0 tokens: it did not tell."""
    least = sum(len(word.encode()) for word in text.split()) // WORST
    if prompt_tokens and prompt_tokens < least:
        raise PromptTooLong(least, n_ctx or prompt_tokens)
