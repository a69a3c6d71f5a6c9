"""From text to token ids, so that no text of a user can become a control token.

A chat template writes control tokens such as `<|im_end|>` between the messages. A file of a repository
may hold the same characters; they must stay characters. So the template is rendered with marks in place
of the contents, only what the template itself wrote is read as control tokens, and everything between
two of them is tokenized as plain text, in one piece: the ids equal those of the plain rendering
wherever the contents hold no such characters.
"""

from collections import OrderedDict
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise

from model.errors import ServerFailed

MARK = "\ue000{}\ue001"
"""Stands for a message while the template is rendered; private-use characters survive every template."""

Tokenize = Callable[[str, bool], list[tuple[int, bytes]]]
"""(text, parse control tokens) -> ids with their bytes (one token may hold a part of a character)."""


@dataclass(frozen=True, slots=True)
class Control:
    """A control token that the template wrote."""

    id: int


Piece = Control | str


class Encoder:
    """Turns rendered prompts into ids, with a cache of the spans already seen."""

    def __init__(self, tokenize: Tokenize, *, spans: int = 4096, chars: int = 100_000_000) -> None:
        """At most `spans` spans of at most `chars` characters together are kept, the last used ones."""
        self._tokenize = tokenize
        self._plain: OrderedDict[str, tuple[int, ...]] = OrderedDict()
        self._special: dict[int, bool] = {}
        self._spans = spans
        self._room = chars

    def plain(self, text: str) -> tuple[int, ...]:
        """Ids of a text in which nothing is a control token."""
        if not text:
            return ()
        ids = self._plain.get(text)
        if ids is None:
            ids = tuple(token for token, _ in self._tokenize(text, False))
            self._plain[text] = ids
            self._room -= len(text)
            while len(self._plain) > self._spans or self._room < 0:
                self._room += len(self._plain.popitem(last=False)[0])
        else:
            self._plain.move_to_end(text)
        return ids

    def control(self, text: str) -> int:
        """Id of one control token. Raises ServerFailed when the model has no such token."""
        ids = self._tokenize(text, True)
        if len(ids) != 1:
            raise ServerFailed(f"the model has no token {text!r}")
        return ids[0][0]

    def template(self, text: str) -> list[Piece]:
        """What a template wrote, cut at its control tokens."""
        pieces: list[Piece] = []
        run = b""
        for token, piece in self._tokenize(text, True) if text else []:
            if not self._is_special(token, piece):
                run += piece
                continue
            pieces += [run.decode("utf-8", "replace"), Control(token)]
            run = b""
        return [*pieces, run.decode("utf-8", "replace")]

    def _is_special(self, token: int, piece: bytes) -> bool:
        """A control token is what plain tokenizing of its own text does not give."""
        known = self._special.get(token)
        if known is None:
            try:
                text = piece.decode("utf-8")
            except UnicodeDecodeError:
                text = ""
            known = bool(text) and [t for t, _ in self._tokenize(text, False)] != [token]
            self._special[token] = known
        return known

    def encode(self, pieces: Sequence[Piece]) -> list[int]:
        """Ids of pieces; neighbouring texts are tokenized as one."""
        ids: list[int] = []
        text = ""
        for piece in pieces:
            if isinstance(piece, str):
                text += piece
                continue
            ids.extend(self.plain(text))
            ids.append(piece.id)
            text = ""
        ids.extend(self.plain(text))
        return ids


def marks(count: int) -> list[str]:
    return [MARK.format(index) for index in range(count)]


def fill(encoder: Encoder, rendered: str, contents: Sequence[str]) -> list[Piece]:
    """The pieces of a template rendered with marks, the marks replaced by the contents.

    Raises ServerFailed when the template drops, doubles or reorders a message.
    """
    spots = [(rendered.find(mark), len(mark)) for mark in marks(len(contents))]
    starts = [start for start, _ in spots]
    doubled = any(rendered.count(mark) != 1 for mark in marks(len(contents)))
    if doubled or any(a > b for a, b in pairwise(starts)):
        raise ServerFailed("the chat template of the model does not keep every message in its place")
    pieces: list[Piece] = []
    end = 0
    for (start, length), content in zip(spots, contents, strict=True):
        pieces += [*encoder.template(rendered[end:start]), content]
        end = start + length
    return [*pieces, *encoder.template(rendered[end:])]
