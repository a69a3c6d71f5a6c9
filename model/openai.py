"""Engine `url`: any server that speaks the OpenAI dialect (vLLM, SGLang, Ollama, hosted ones).

What a server cannot do is refused here, never dropped on the way; model/probe.py found out what it can.
"""

import re
from collections.abc import Callable, Sequence
from contextlib import closing
from dataclasses import dataclass, field

from memory.records import Completion, Message, Usage
from model.catalogue import FimTokens
from model.errors import PromptTooLong, ServerFailed, StreamBroken, Unsupported
from model.http import Json, Transport, understood
from model.probe import HINT, Probe
from model.protocol import Capabilities, Sampling

CONTROL = re.compile(
    r"<(?=\|[^|<>\s]{1,40}\|>|\uff5c[^\uff5c<>\s]{1,40}\uff5c>|/?s>|(?:bos|eos|pad|unk)>|(?:start|end)_of_turn>)"
    r"|\[(?=/?(?:INST|SYSTEM_PROMPT|TOOL_CALLS|TOOL_RESULTS|AVAILABLE_TOOLS)\])"
)
"""Start of a text that a server's tokenizer would read as a control token."""
WORST = 32
"""Bytes of text in one token at most, white space not counted: fewer tokens mean that text was lost."""
LONGEST = 256
"""Characters of one token at most: a server that writes more than was asked for is cut off."""
TOKEN_BYTES = 4
"""Bytes of text taken for one token where the server counts none."""
STOPS = 4
"""Stop texts that every server takes; further ones are applied here."""
TOGETHER = ("adi", "vllm", "sglang")
"""Servers that give several answers to one request, whatever they are asked for."""


class UrlModel:
    """A model behind an OpenAI-compatible server. Implements model.protocol.Model."""

    _stops = STOPS

    def __init__(self, transport: Transport, probe: Probe, fim: FimTokens | None = None) -> None:
        self._http = transport
        self._probe = probe
        self._fim = fim

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
        body = {"messages": self._turns(messages)}
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
        return self._count({"messages": self._turns(messages), "add_generation_prompt": True})

    def count_text(self, text: str) -> int:
        return self._count({"prompt": text, "add_special_tokens": False})

    def _turns(self, messages: Sequence[Message]) -> list[Json]:
        return [{"role": message.role, "content": _inert(message.content)} for message in messages]

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
        together = sampling.n if self._probe.server in TOGETHER else 1
        answers: list[Completion] = []
        while len(answers) < sampling.n:
            seed = sampling.seed + len(answers)
            request = body | {"n": together, "seed": seed}
            found = self._stream(path, request, on_text if sampling.n == 1 else None, sampling.until)
            answers += found
            _refuse_truncation(found[0].usage.prompt_tokens, text, self._probe.n_ctx)
        return [_cut(answer, stops[self._stops :]) for answer in answers]

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
            fields["stop"] = list(stops[: self._stops])
        return fields | self._form(sampling.grammar) if sampling.grammar else fields

    def _form(self, grammar: str) -> Json:
        """The fields that ask for a grammar. Raises Unsupported."""
        if self._probe.server == "vllm":
            return {"structured_outputs": {"grammar": grammar}}
        if self._probe.server == "sglang":
            return {"ebnf": grammar}
        raise Unsupported("grammars")

    def _stream(
        self, path: str, body: Json, on_text: Callable[[str], None] | None, until: float
    ) -> list[Completion]:
        answers = [Answer() for _ in range(body["n"])]
        room = body["max_tokens"] * LONGEST
        where = f"{self._http.url}{path}"
        with closing(self._http.events(path, body, until=until)) as events:
            for event in events:
                with understood(where):
                    pieces = _take(event, answers)
                if on_text:
                    for text in filter(None, pieces):
                        on_text(text)
                if any(len(answer.text) > room for answer in answers):
                    for answer in answers:
                        answer.reason = answer.reason or "length"
                    break
        ended = sum(bool(answer.reason) for answer in answers)
        if ended != len(answers):
            raise StreamBroken(f"{ended} of {len(answers)} answers of {self._http.url} came to an end")
        with understood(where):
            _estimate(answers)
            _divide(answers)
            return [self._completion(answer, body, index) for index, answer in enumerate(answers)]

    def _completion(self, answer: "Answer", body: Json, index: int) -> Completion:
        if answer.reason not in ("stop", "length"):
            raise ServerFailed(f"the server ended its answer with {answer.reason!r}", HINT)
        details = answer.usage.get("prompt_tokens_details") or {}
        return Completion(
            text=_whole(answer.text),
            token_ids=tuple(answer.ids),
            finish_reason="length" if answer.reason == "length" else "stop",
            usage=Usage(
                prompt_tokens=int(answer.usage.get("prompt_tokens") or 0),
                cached_tokens=int(details.get("cached_tokens") or 0),
                completion_tokens=int(answer.usage.get("completion_tokens") or 0),
            ),
            model=answer.model or self._probe.model,
            weights=answer.weights,
            temperature=body["temperature"],
            seed=body["seed"] + index,
        )


@dataclass(slots=True)
class Answer:
    """One completion while its events arrive."""

    text: str = ""
    ids: list[int] = field(default_factory=list)
    """Where the server was asked for them."""
    reason: str = ""
    """Why it ended; empty while it goes on."""
    usage: Json = field(default_factory=dict)
    """The cost of all answers of a request stands with the first one."""
    timings: Json = field(default_factory=dict)
    """What ADI's own server tells beside it, of all answers together."""
    model: str = ""
    weights: str = ""


def _whole(text: str) -> str:
    """The text with surrogate pairs, cut apart between two events, as characters; lone halves stay."""
    return text.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "surrogatepass")


def _take(event: Json, answers: list[Answer]) -> list[str]:
    """Adds what one event holds, chat or plain; gives the new pieces of text."""
    answers[0].usage = event.get("usage") or answers[0].usage
    answers[0].timings = event.get("timings") or answers[0].timings
    for answer in answers:
        answer.model = str(event.get("model") or answer.model)
        answer.weights = str(event.get("system_fingerprint") or answer.weights)
    pieces = []
    for choice in event.get("choices") or []:
        answer = answers[int(choice.get("index") or 0)]
        delta = choice.get("delta") or {}
        pieces.append(delta.get("content") or choice.get("text") or "")
        answer.text += pieces[-1]
        answer.ids += choice.get("token_ids") or []
        answer.reason = choice.get("finish_reason") or answer.reason
    return pieces


def _divide(answers: list[Answer]) -> None:
    """Give each further answer its own part of what was written, where the server told its tokens."""
    first, *others = answers
    written = int(first.usage.get("completion_tokens") or 0) - sum(len(answer.ids) for answer in others)
    if others and written >= 0 and all(answer.ids for answer in others):
        first.usage = {**first.usage, "completion_tokens": written}
        for answer in others:
            answer.usage = {"completion_tokens": len(answer.ids)}


def _estimate(answers: list[Answer]) -> None:
    """Count what was written where the server does not tell: it must spend the run's limit all the same."""
    if not answers[0].usage.get("completion_tokens"):
        for answer in answers:
            tokens = -(-len(answer.text.encode("utf-8", "replace")) // TOKEN_BYTES)
            answer.usage = {**answer.usage, "completion_tokens": tokens}


def _inert(text: str) -> str:
    """A text in which nothing reads as a control token; the server gets no ids that could say so."""
    return CONTROL.sub(lambda begin: f"{begin[0]}\u200b", text)


def _cut(answer: Completion, stops: Sequence[str]) -> Completion:
    """The answer up to the first of the stops that the server was not told."""
    ends = [end for stop in stops if (end := answer.text.find(stop)) >= 0]
    if not ends:
        return answer
    return answer.model_copy(update={"text": answer.text[: min(ends)], "finish_reason": "stop"})


def _refuse_truncation(prompt_tokens: int, text: str, n_ctx: int) -> None:
    """A prompt counted far below its possible size was cut by the server. 0 tokens: it did not tell."""
    least = sum(len(word.encode()) for word in text.split()) // WORST
    if prompt_tokens and prompt_tokens < least:
        raise PromptTooLong(least, n_ctx or prompt_tokens)
