"""The native dialect of a llama.cpp server: exact token counts, token ids, grammars, shared prefill."""

from collections.abc import Callable, Generator, Sequence
from contextlib import closing
from typing import Any, Literal

from memory.records import Completion, Message, Usage
from model.catalogue import FimTokens
from model.errors import PromptTooLong, ServerFailed, StreamBroken, Unsupported
from model.http import Json, Transport, check_answered, understood
from model.prompt import Encoder, Piece, fill, marks
from model.protocol import Capabilities, Sampling

TOP_K = 40
MIN_P = 0.05
"""llama.cpp's own defaults, sent along so that a server's settings cannot change them."""


class LlamaModel:
    """A model behind llama.cpp's HTTP server. Implements model.protocol.Model."""

    def __init__(
        self, transport: Transport, *, name: str = "", fim: FimTokens | None = None, exact: bool = False
    ) -> None:
        """With `exact` the name is sent along, and must be the one that answers: MODEL:ADAPTER."""
        self._http = transport
        self._exact = name if exact else ""
        self._encoder = Encoder(self._tokenize)
        self._fim = fim
        props = transport.get("/props")
        self._begin = [token for token, _ in self._tokenize("", True, add_special=True)]
        with understood(f"{transport.url}/props"):
            self._slots = max(1, int(props.get("total_slots", 1)))
            self._capabilities = Capabilities(
                n_ctx=int(props["default_generation_settings"]["n_ctx"]),
                grammar=True,
                infill=fim is not None,
                tokenize=True,
                token_ids=True,
                cached_tokens=True,
                model=name or str(props.get("model_alias") or props.get("model_path", "")),
            )

    @property
    def capabilities(self) -> Capabilities:
        return self._capabilities

    def close(self) -> None:
        self._http.close()

    def chat(
        self,
        messages: Sequence[Message],
        sampling: Sampling,
        on_text: Callable[[str], None] | None = None,
    ) -> list[Completion]:
        """See Model.chat."""
        return self._sample(self._chat_ids(messages), sampling, on_text)

    def infill(self, prefix: str, suffix: str, sampling: Sampling, *, context: str = "") -> list[Completion]:
        """See Model.infill. Generation also ends at the family's own fill-in-the-middle tokens."""
        if self._fim is None:
            raise Unsupported("fill-in-the-middle", "the catalogue names no such tokens for this model")
        pieces = self._fim.pieces(prefix, suffix, context, self._encoder.control)
        return self._sample(self._ids(pieces), sampling, None, self._fim.stops)

    def count(self, messages: Sequence[Message]) -> int:
        return len(self._chat_ids(messages))

    def count_text(self, text: str) -> int:
        return len(self._encoder.plain(text))

    def _chat_ids(self, messages: Sequence[Message]) -> list[int]:
        signs = marks(len(messages))
        turns = [{"role": m.role, "content": sign} for m, sign in zip(messages, signs, strict=True)]
        rendered = self._http.post("/apply-template", {"messages": turns})["prompt"]
        return self._ids(fill(self._encoder, rendered, [m.content for m in messages]))

    def _ids(self, pieces: Sequence[Piece]) -> list[int]:
        ids = self._encoder.encode(pieces)
        return ids if ids[: len(self._begin)] == self._begin else [*self._begin, *ids]

    def _tokenize(self, text: str, control: bool, *, add_special: bool = False) -> list[tuple[int, bytes]]:
        body = {
            "content": text,
            "parse_special": control,
            "add_special": add_special,
            "with_pieces": True,
        }
        answer = self._http.post("/tokenize", body)
        with understood(f"{self._http.url}/tokenize"):
            return [(t["id"], _bytes(t["piece"])) for t in answer["tokens"]]

    def _sample(
        self,
        ids: list[int],
        sampling: Sampling,
        on_text: Callable[[str], None] | None,
        stops: tuple[str, ...] = (),
    ) -> list[Completion]:
        """`sampling.n` answers, as many from one prefill as slots and window allow."""
        room = self._capabilities.n_ctx - len(ids)
        if room < sampling.max_tokens:
            raise PromptTooLong(len(ids), self._capabilities.n_ctx, sampling.max_tokens)
        together = max(1, min(self._slots, room // max(1, sampling.max_tokens)))
        answers: list[Completion] = []
        while len(answers) < sampling.n:
            count = min(together, sampling.n - len(answers))
            body = _request(ids, sampling, stops) | {
                "n_cmpl": count,
                "seed": sampling.seed + len(answers),
            }
            body |= {"model": self._exact} if self._exact else {}
            answers += self._stream(body, on_text if sampling.n == 1 else None, sampling.until)
        return answers

    def _stream(self, body: Json, on_text: Callable[[str], None] | None, until: float) -> list[Completion]:
        """One request; its answers in order. Ctrl-C closes the connection, so the server stops too."""
        parts = [_Answer() for _ in range(body["n_cmpl"])]
        where = f"{self._http.url}/completion"
        with closing(self._events(body, until, streamed=on_text is not None)) as events:
            for event in events:
                with understood(where):
                    parts[event.get("index", 0)].take(event)
                if on_text and event.get("content"):
                    on_text(event["content"])
        if any(part.last is None for part in parts):
            raise StreamBroken(f"the answer of {self._http.url} ended before its end was announced")
        with understood(where):
            answers = [
                part.completion(body, self._capabilities.model, first=index == 0)
                for index, part in enumerate(parts)
            ]
        if self._exact:
            for answer in answers:
                check_answered(answer.model, self._exact)
        return answers

    def _events(self, body: Json, until: float, *, streamed: bool) -> Generator[Json, None, None]:
        """The answers, piece by piece or whole. Only whole ones are sure to name all their tokens."""
        if streamed:
            yield from self._http.events("/completion", body | {"stream": True}, until=until)
            return
        whole = self._http.post("/completion", body, until=until)
        yield from whole if isinstance(whole, list) else [whole]


class _Answer:
    """One completion while its events arrive."""

    def __init__(self) -> None:
        self.text = ""
        self.ids: list[int] = []
        self.last: Json | None = None

    def take(self, event: Json) -> None:
        self.text += event.get("content", "")
        self.ids += event.get("tokens", [])
        if event.get("stop"):
            self.last = event

    def completion(self, body: Json, model: str, *, first: bool) -> Completion:
        """The record. Of answers that share a prefill, the first one carries its cost."""
        last: Json = self.last or {}
        if last.get("truncated"):
            raise ServerFailed("the server cut the prompt or the answer to its window")
        timings: dict[str, Any] = last.get("timings", {})
        new, cached = (int(timings.get(key, 0)) for key in ("prompt_n", "cache_n"))
        reason: Literal["stop", "length"] = "length" if last.get("stop_type") == "limit" else "stop"
        return Completion(
            text=self.text,
            token_ids=tuple(self.ids) if len(self.ids) == last.get("tokens_predicted") else (),
            finish_reason=reason,
            usage=Usage(
                prompt_tokens=new + cached if first else 0,
                cached_tokens=cached if first else 0,
                completion_tokens=int(last.get("tokens_predicted", len(self.ids))),
                prompt_ms=float(timings.get("prompt_ms", 0.0)) if first else 0.0,
                decode_ms=float(timings.get("predicted_ms", 0.0)),
            ),
            model=str(last.get("model") or model),
            temperature=body["temperature"],
            seed=body["seed"] + int(last.get("index", 0)),
        )


def _request(ids: list[int], sampling: Sampling, stops: tuple[str, ...]) -> Json:
    body: Json = {
        "prompt": ids,
        "n_predict": sampling.max_tokens,
        "temperature": sampling.temperature,
        "top_p": sampling.top_p,
        "top_k": TOP_K,
        "min_p": MIN_P,
        "stop": [*sampling.stop, *stops],
        "return_tokens": True,
        "cache_prompt": True,
    }
    return body | ({"grammar": sampling.grammar} if sampling.grammar else {})


def _bytes(piece: str | list[int]) -> bytes:
    """llama.cpp tells the bytes of a token as text, or as numbers where they are no whole character."""
    return piece.encode() if isinstance(piece, str) else bytes(piece)
