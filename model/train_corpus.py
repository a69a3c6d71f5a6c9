"""From the texts of a corpus to rows for continued training: pieces, gaps, replay, passes, blocks.

A text is cut at line ends into pieces that fit a block. Half of them (`infill`) have their middle moved to
the end, in the PSM form of Bavarian et al. 2022 (2207.14255), between any two characters, before they are
tokenised; the draw is new in each pass. Pieces of one pass are shuffled with the general ones that keep the
model from forgetting (2403.08763), and packed into blocks, whole, so that no gap is torn from its middle.
"""

import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from model.torch_text import Text
from model.train_errors import RowsRefused
from model.train_job import Corpus
from model.train_rows import Document, Row

_GAP = 3
"""Control tokens of a gap."""


@dataclass(frozen=True, slots=True)
class Mixed:
    """The rows of all passes in their order, and what is in them."""

    rows: Sequence[Row]
    infilled: int
    """Pieces that were cut."""
    pieces: int
    replayed: float
    """Share of the tokens that are of general texts."""


def mixed(documents: Sequence[Document], text: Text, end: int, settings: Corpus, seed: int) -> Mixed:
    """The rows of a corpus; `end` is the token after each text.

    Raises RowsRefused where there are no texts, or none but general ones.
    """
    room = settings.block - len(text.text_ids("")) - _GAP - 1
    own = [piece for one in documents if not one.general for piece in pieces(one.text, text, room)]
    general = [piece for one in documents if one.general for piece in pieces(one.text, text, room)]
    if not own:
        raise RowsRefused("the corpus holds no texts", "adi data corpus REPO --to FOLDER")
    infill = settings.infill if text.fim is not None else 0.0
    rows, infilled, count, tokens, replayed = list[Row](), 0, 0, 0, 0
    for epoch in range(settings.epochs):
        dice = random.Random(f"adi-corpus:{seed}:{epoch}")
        ids = list[list[int]]()
        for piece in own:
            chosen = dice.random() < infill
            infilled += chosen
            ids.append([*(gap(piece, text, dice) if chosen else text.text_ids(piece)), end])
        size = sum(map(len, ids))
        tokens += size
        for more in _replay(general, text, end, size, settings.replay, dice):
            ids.append(more)
            replayed += len(more)
        count += len(ids)
        dice.shuffle(ids)
        rows += blocks(ids, settings.block)
    return Mixed(rows, infilled, count, replayed / (tokens + replayed))


def pieces(text: str, encoder: Text, room: int) -> Iterator[str]:
    """The text in parts of at most so many tokens each, counted line by line; a long line is cut, too."""
    begin = len(encoder.text_ids(""))
    held, size = list[str](), 0
    for line in _lines(text, room):
        more = len(encoder.text_ids(line)) - begin
        if held and size + more > room:
            yield "".join(held)
            held, size = [], 0
        held.append(line)
        size += more
    if held:
        yield "".join(held)


def _lines(text: str, room: int) -> Iterator[str]:
    """Lines with their ends, in parts that fit: a character has at most four bytes, a token at least one."""
    most = max(1, room // 4)
    for line in text.splitlines(keepends=True):
        for at in range(0, len(line), most):
            yield line[at : at + most]


def gap(piece: str, text: Text, dice: random.Random) -> list[int]:
    """Prefix, suffix, middle, with the tokens of the gap; the ends of the middle are drawn uniformly."""
    first, second = sorted((dice.randint(0, len(piece)), dice.randint(0, len(piece))))
    begin = len(text.text_ids(""))
    middle = text.text_ids(piece[first:second])[begin:]
    return [*text.infill_ids(piece[:first], piece[second:]), *middle]


def _replay(
    general: Sequence[str], text: Text, end: int, size: int, share: float, dice: random.Random
) -> Iterator[list[int]]:
    """General pieces in a drawn order until they have their share of all tokens; again from the start where
    there are too few."""
    left = size * share / (1 - share)
    while general and left > 0:
        for piece in dice.sample(general, len(general)):
            ids = [*text.text_ids(piece), end]
            if left < len(ids) * dice.random():  # right on average, however small the share
                return
            yield ids
            left -= len(ids)


def blocks(texts: Sequence[Sequence[int]], size: int) -> Iterator[Row]:
    """Texts packed into rows of at most so many tokens, in their order; all tokens are learned."""
    held = list[int]()
    for ids in texts:
        for at in range(0, len(ids), size):  # a gap cuts words, and its parts may have more tokens
            part = ids[at : at + size]
            if held and len(held) + len(part) > size:
                yield Row(tuple(held), tuple(held))
                held = []
            held += part
    if len(held) > 1:
        yield Row(tuple(held), tuple(held))
