"""From text to token ids and back for engine `torch`: what a Hugging Face tokenizer needs around it.

Ids are those of engine `llama` for the same chat: templates and contents are put together by model/prompt.py,
so that no text of a user becomes a control token, and texts are not normalised, so that an answer can repeat
them to the byte.
"""

import codecs
import re
import threading
from collections.abc import Sequence
from typing import Any

from jinja2 import TemplateError
from tokenizers import AddedToken
from transformers.convert_slow_tokenizer import bytes_to_unicode

from memory.records import Message
from model.catalogue import FimTokens
from model.errors import ModelError, RequestRefused, Unsupported
from model.prompt import Encoder, fill, marks

_LOOKS_CONTROL = re.compile(r"<\|.*\|>|<｜.*｜>|<pad>|<mask>|<unused\d*>")
"""Added tokens that published tokenizers forget to mark as special, such as Qwen's `<|fim_prefix|>`. The
converter to GGUF makes control tokens of them too."""
_PADDING = re.compile(r"\[PAD\d+\]")
"""How the converter to GGUF names rows of the embedding that belong to no token."""
_BYTE = re.compile(r"<0x([0-9A-Fa-f]{2})>")
_SPANS, _SPAN_CHARS = 256, 2_000_000


class Text:
    """Chats, texts and gaps as ids of one model, and ids as text. Calls may come from any thread."""

    def __init__(self, tokenizer: Any, fim: FimTokens | None, *, ends: frozenset[int]) -> None:
        """`tokenizer` is a fast one and this object's own from now on; `ends` are ids that end an answer.

        Without the tokens that `fim` names the model cannot fill gaps, and `fim` of this object is None.

        Raises ModelError for a tokenizer whose tokens are neither byte-level nor with bytes spelt out.
        """
        self.ends = ends
        self._outer = tokenizer
        self._inner = tokenizer.backend_tokenizer
        self._inner.no_truncation()
        self._inner.no_padding()
        if "NFC" in repr(self._inner.normalizer):
            self._inner.normalizer = None  # composed and decomposed letters differ in a user's file
        added = self._inner.get_added_tokens_decoder()
        unmarked = [token for token in added.values() if not token.special]
        self._inner.add_special_tokens(
            [AddedToken(t.content, normalized=False) for t in unmarked if _LOOKS_CONTROL.fullmatch(t.content)]
        )
        self._lock = threading.Lock()
        self._bytes = _table(self._inner)
        self._encoder = Encoder(self._tokenize, spans=_SPANS, chars=_SPAN_CHARS)
        begin = tokenizer.bos_token_id
        first = self._inner.encode("", add_special_tokens=True).ids[:1]
        self._begin = first if first == [begin] else []
        names = [fim.prefix, fim.suffix, fim.middle, fim.repo, fim.file] if fim is not None else []
        whole = all(len(self._tokenize(name, True)) == 1 for name in names if name)
        self.fim = fim if whole else None

    @property
    def vocabulary(self) -> int:
        """Ids that the tokenizer knows; a model's embedding may have more rows."""
        return len(self._bytes)

    @property
    def controls(self) -> tuple[int, ...]:
        """Ids of all control tokens."""
        added = self._inner.get_added_tokens_decoder()
        return tuple(sorted(id for id, token in added.items() if token.special))

    def chat_ids(self, messages: Sequence[Message]) -> list[int]:
        """See Backend.chat_ids. A last message of the assistant is left open, for the answer goes on from it.

        Raises Unsupported without a template, RequestRefused when it refuses the messages.
        """
        if not self._outer.chat_template:
            raise Unsupported("a chat", "the model has no chat template; ask for a completion instead")
        signs = marks(len(messages))
        turns = [{"role": m.role, "content": sign} for m, sign in zip(messages, signs, strict=True)]
        begun = bool(messages) and messages[-1].role == "assistant"
        closed = turns[:-1] if begun else turns
        try:
            rendered = self._outer.apply_chat_template(closed, tokenize=False, add_generation_prompt=True)
        except TemplateError as error:
            raise RequestRefused(f"the model's chat template refuses these messages: {error}") from error
        rendered += signs[-1] if begun else ""
        with self._lock:
            pieces = fill(self._encoder, rendered, [m.content for m in messages])
            return self._with_begin(self._encoder.encode(pieces))

    def text_ids(self, text: str) -> list[int]:
        """See Backend.text_ids."""
        with self._lock:
            return self._with_begin(list(self._encoder.plain(text)))

    def infill_ids(self, prefix: str, suffix: str, context: str = "") -> list[int]:
        """See Backend.infill_ids."""
        if self.fim is None:
            raise Unsupported("fill-in-the-middle", "no such tokens are known for this model")
        with self._lock:
            pieces = self.fim.pieces(prefix, suffix, context, self._encoder.control)
            return self._with_begin(self._encoder.encode(pieces))

    def infill_stops(self) -> tuple[int, ...]:
        """See Backend.infill_stops. Texts that are no single token of this model cannot be told as ids."""
        stops = self.fim.stops if self.fim is not None else ()
        with self._lock:
            spelt = [self._tokenize(text, True) for text in stops]
        found = {ids[0][0] for ids in spelt if len(ids) == 1}
        return tuple(sorted(found - self.ends))

    def decode(self, ids: Sequence[int]) -> str:
        """The text of ids, control tokens written out; bytes that are no text become U+FFFD."""
        return b"".join(self.bytes_of(id) for id in ids).decode("utf-8", "replace")

    def bytes_of(self, id: int) -> bytes:
        """The bytes of one token; none for a row of the embedding that belongs to no token."""
        return self._bytes[id] if 0 <= id < len(self._bytes) else b""

    def _with_begin(self, ids: list[int]) -> list[int]:
        return ids if ids[: len(self._begin)] == self._begin else [*self._begin, *ids]

    def _tokenize(self, text: str, control: bool) -> list[tuple[int, bytes]]:
        """See prompt.Tokenize. The lock is held, for the switch is a setting of the whole tokenizer."""
        self._inner.encode_special_tokens = not control
        try:  # the batch call lets other threads run meanwhile
            [found] = self._inner.encode_batch_fast([text], add_special_tokens=False)
        except TypeError as error:
            raise RequestRefused("a text holds half of a surrogate pair, which is no character") from error
        finally:
            self._inner.encode_special_tokens = False
        return [(id, self.bytes_of(id)) for id in found.ids]


class TextTail:
    """The text of one answer while its tokens arrive: whole characters, and nothing of a stop text.

    Of several stop texts the one that is whole first ends the answer, of those that are whole at the same
    character the longest, however the text was cut into tokens. Empty ones are no stop texts.
    """

    def __init__(self, text: Text, stop: Sequence[str] = ()) -> None:
        self.stopped = False
        """A stop text was met; it and what followed it are dropped."""
        self._text = text
        self._stop = tuple(sorted({word for word in stop if word}, key=len, reverse=True))
        self._decoder = codecs.getincrementaldecoder("utf-8")("replace")
        self._held = ""

    def feed(self, id: int) -> str:
        """Text that is now safe to show."""
        return self._scan(self._decoder.decode(self._text.bytes_of(id)), last=False)

    def flush(self) -> str:
        """The rest at the answer's end; half a character becomes U+FFFD."""
        return self._scan(self._decoder.decode(b"", final=True), last=True)

    def _scan(self, new: str, *, last: bool) -> str:
        if self.stopped:
            return ""
        self._held += new
        if not self._stop:
            safe, self._held = self._held, ""
            return safe
        ends = [(at + len(word), at) for word in self._stop if (at := self._held.find(word)) >= 0]
        if ends:
            self.stopped = True
            safe, self._held = self._held[: min(ends)[1]], ""
            return safe
        keep = 0 if last else self._begun()
        safe, self._held = self._held[: len(self._held) - keep], self._held[len(self._held) - keep :]
        return safe

    def _begun(self) -> int:
        """Characters at the end of the held text that may begin a stop text."""
        for count in range(min(len(self._stop[0]) - 1, len(self._held)), 0, -1):
            end = self._held[-count:]
            if any(word.startswith(end) for word in self._stop):
                return count
        return 0


def _table(inner: Any) -> list[bytes]:
    """The bytes of every id. Raises ModelError for a vocabulary whose tokens do not tell their bytes."""
    vocabulary = inner.get_vocab(with_added_tokens=True)
    added = inner.get_added_tokens_decoder()
    kind = repr(inner.decoder)
    letters = {letter: byte for byte, letter in bytes_to_unicode().items()}  # type: ignore[no-untyped-call]
    table = [b""] * (max(vocabulary.values(), default=-1) + 1)
    for token, id in vocabulary.items():
        if id in added:
            table[id] = added[id].content.encode("utf-8", "replace")
        elif _PADDING.fullmatch(token):
            continue
        elif "ByteLevel" in kind:
            table[id] = b"".join(
                bytes((letters[c],)) if c in letters else c.encode("utf-8", "replace") for c in token
            )
        elif "Metaspace" in kind or "▁" in kind:
            spelt = _BYTE.fullmatch(token)
            table[id] = bytes((int(spelt[1], 16),)) if spelt else token.replace("▁", " ").encode("utf-8")
        else:
            raise ModelError("the model's tokenizer is neither byte-level nor of the sentencepiece kind")
    return table
