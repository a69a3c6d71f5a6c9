"""A model's chat template and vocabulary, without the model: what turns texts into its token ids, and back.

The file's weights are mapped and never read: llama.cpp offers nothing that opens the vocabulary alone, but a
server that is asked for no text touches only the head of the file. Needs neither a GPU nor the network. The
ids are those of model/client.py for the same chat.
"""

import secrets
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path
from types import TracebackType
from typing import Any, Final

from memory.records import Message
from model.catalogue import FimTokens
from model.errors import ServerFailed
from model.http import Endpoint, Transport, understood
from model.llama import parameters
from model.prompt import Encoder, fill, marks
from model.serving import ServeChoice, check_file

_WINDOW: Final = 256
"""Tokens of the window that is never used."""


class Vocabulary:
    """The vocabulary of a GGUF file. Use as a context manager; one is enough for many texts."""

    def __init__(self, model: Path, name: str = "", fim: FimTokens | None = None) -> None:
        """Raises ServerFailed for what is no model."""
        self._fim = fim
        check_file(model)
        self.name = name or model.stem
        self._encoder = Encoder(self._tokenize)
        token = secrets.token_urlsafe(32)
        self._server = _serve(model, token)
        self._http = Transport(lambda: Endpoint(str(self._server.listening_address), token), attempts=1)
        props = self._http.get("/props")
        with understood(f"{self._http.url}/props"):
            self.template = str(props["chat_template"])
            self._end_text = str(props["eos_token"])
        self._begin = [token for token, _ in self._tokenize("", True, add_special=True)]
        self.end = self._encoder.control(self._end_text)

    def __enter__(self) -> "Vocabulary":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Give the file and the port back."""
        with closing(self._http):
            self._server = None

    def chat(self, messages: Sequence[Message]) -> list[int]:
        """Ids of a chat up to where the answer begins; an answer that was begun is left open.

        Raises ServerFailed when the template does not keep the messages as they are.
        """
        pieces = fill(self._encoder, self._template(messages), [item.content for item in messages])
        return self._begun(self._encoder.encode(pieces))

    def infill(self, prefix: str, suffix: str, context: str) -> list[int]:
        """Ids of a prompt with a gap, up to where the filling begins; none without such tokens."""
        if self._fim is None:
            return []
        return self._begun(
            self._encoder.encode(self._fim.pieces(prefix, suffix, context, self._encoder.control))
        )

    def rendered(self, messages: Sequence[Message]) -> str:
        """The same as text."""
        text = self._template(messages)
        for mark, item in zip(marks(len(messages)), messages, strict=True):
            before, _, after = text.partition(mark)
            text = f"{before}{item.content}{after}"
        return text

    def plain(self, text: str) -> list[int]:
        """Ids of a text in which nothing is a control token."""
        return [*self._encoder.plain(text)]

    def decode(self, ids: Sequence[int]) -> str:
        """The text of ids, control tokens written out; bytes that are no text become U+FFFD."""
        answer = self._http.post("/detokenize", {"tokens": [*ids]})
        with understood(f"{self._http.url}/detokenize"):
            return str(answer["content"])

    def _begun(self, ids: list[int]) -> list[int]:
        return ids if ids[: len(self._begin)] == self._begin else [*self._begin, *ids]

    def _template(self, messages: Sequence[Message]) -> str:
        """The template's text with a mark in place of each message."""
        signs = marks(len(messages))
        turns = [{"role": m.role, "content": sign} for m, sign in zip(messages, signs, strict=True)]
        return str(self._http.post("/apply-template", {"messages": turns})["prompt"])

    def _tokenize(self, text: str, control: bool, *, add_special: bool = False) -> list[tuple[int, bytes]]:
        body = {"content": text, "parse_special": control, "add_special": add_special, "with_pieces": True}
        answer = self._http.post("/tokenize", body)
        with understood(f"{self._http.url}/tokenize"):
            return [(t["id"], _bytes(t["piece"])) for t in answer["tokens"]]


def _bytes(piece: str | list[int]) -> bytes:
    return piece.encode() if isinstance(piece, str) else bytes(piece)


def _serve(model: Path, token: str) -> Any:
    """A server that reads as little of the file as there is."""
    import xllamacpp

    params = parameters(ServeChoice(model, model.stem, n_ctx=_WINDOW, threads=1), token)
    params.load_mode = xllamacpp.llama_load_mode.LLAMA_LOAD_MODE_MMAP
    params.no_extra_bufts = True  # would read all weights, to lay them out anew
    params.warmup = False
    params.fit_params = False
    params.cache_ram_mib = 0
    params.n_batch = params.n_ubatch = 32
    params.n_parallel = 1
    params.n_threads_http = 2
    params.verbosity = -1
    try:
        return xllamacpp.Server(params)
    except (RuntimeError, ValueError) as error:
        raise ServerFailed(f"llama.cpp cannot read {model}: {error}", "adi model verify") from error
