"""What is trained on: rows of token ids with a label for each, texts of a corpus; and their files.

A label is the token itself where it is learned, and -100 where it is only context, as loss functions know it.
Labels alone decide: nothing here or later guesses from a chat template what an assistant said, and an output
of a tool that stands between two answers stays context. A row is taken whole or left out, never cut, because
a cut run loses its end, which is where the fix is.
"""

import hashlib
import json
import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, Generic, TypeVar

from model.train_errors import RowsRefused

IGNORED: Final = -100
_HINT: Final = "adi data validate FOLDER"
T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Row:
    """One sequence."""

    ids: tuple[int, ...]
    labels: tuple[int, ...]
    """As many as ids; each is its id or -100."""
    weight: float = 1.0
    """How much its loss counts, above 0."""
    source: str = ""
    """Where it is from, such as a run's id."""

    @property
    def trained(self) -> int:
        """Tokens that are learned. The first of a row is never predicted, so it does not count."""
        return sum(label != IGNORED for label in self.labels[1:])

    @property
    def prompt(self) -> tuple[int, ...]:
        """The ids before the first one that is learned."""
        at = next((i for i, label in enumerate(self.labels) if label != IGNORED), len(self.ids))
        return self.ids[:at]


@dataclass(frozen=True, slots=True)
class Judged:
    """One answer, and whether it was good; the labels of the row tell which tokens are the model's."""

    row: Row
    good: bool


@dataclass(frozen=True, slots=True)
class Pair:
    """Two answers to the same prompt, to the token."""

    chosen: Row
    rejected: Row


@dataclass(frozen=True, slots=True)
class Document:
    """One text of a corpus."""

    text: str
    general: bool = False
    """Of the kind that shall not be forgotten, and not of the code that shall be learned."""


@dataclass(frozen=True, slots=True)
class Rows:
    """All that one training is given; each kind is a stage of its own, in this order."""

    documents: Sequence[Document] = ()
    answers: Sequence[Row] = ()
    judged: Sequence[Judged] = ()
    pairs: Sequence[Pair] = ()


@dataclass(frozen=True, slots=True)
class Fit(Generic[T]):
    """The rows that fit a window, and what they are."""

    rows: Sequence[T]
    left_out: int
    """Rows that were longer."""
    longest: int
    """Tokens, of all rows."""
    tokens: int
    """Of the rows that stay."""
    trained: int
    """Tokens of these that are learned."""
    lengths: tuple[int, int, int] = field(default=(0, 0, 0))
    """Tokens of all rows: median, 95th percentile, longest."""


def fit(rows: Sequence[T], max_length: int, max_left_out: float, what: str) -> Fit[T]:
    """Rows of at most so many tokens. `max_left_out`: the share, 0 to 1, above which the job is refused.

    Raises RowsRefused for that, for malformed rows, and where nothing is learned.
    """
    sizes = []
    for number, one in enumerate(rows):
        for row in parts(one):
            check(row, f"{what} row {number}")
        if isinstance(one, Pair) and one.chosen.prompt != one.rejected.prompt:
            raise RowsRefused(f"{what} row {number} compares answers to two different prompts", _HINT)
        sizes.append(max(len(row.ids) for row in parts(one)))
    kept = [one for one, size in zip(rows, sizes, strict=True) if size <= max_length]
    left_out = len(rows) - len(kept)
    if left_out > max_left_out * len(rows):
        order = sorted(sizes)
        raise RowsRefused(
            f"{left_out} of {len(rows)} {what} rows have more than {max_length} tokens (95% have at most "
            f"{_at(order, 0.95)}, the longest {order[-1]}); at most {max_left_out:.0%} may be left out",
            "raise max_length, or max_left_out",
        )
    trained = sum(row.trained for one in kept for row in parts(one))
    if not trained:
        raise RowsRefused(
            f"there is nothing to learn in {len(kept)} {what} rows: no token is a target", _HINT
        )
    if empty := sum(any(not row.trained for row in parts(one)) for one in kept):
        raise RowsRefused(f"{empty} of {len(kept)} {what} rows have no token that is a target", _HINT)
    order = sorted(sizes)
    tokens = sum(len(row.ids) for one in kept for row in parts(one))
    lengths = (_at(order, 0.5), _at(order, 0.95), order[-1])
    return Fit(kept, left_out, order[-1], tokens, trained, lengths)


def _at(order: Sequence[int], share: float) -> int:
    return order[min(len(order) - 1, math.ceil(share * len(order)) - 1)]


def parts(one: object) -> tuple[Row, ...]:
    """The sequences of a row of any kind."""
    match one:
        case Row():
            return (one,)
        case Judged(row=row):
            return (row,)
        case Pair(chosen=chosen, rejected=rejected):
            return chosen, rejected
    raise AssertionError(one)


def check(row: Row, name: str) -> None:
    """Raises RowsRefused for a row that is none."""
    why = ""
    if len(row.ids) != len(row.labels):
        why = f"has {len(row.ids)} ids and {len(row.labels)} labels"
    elif any(label not in (token, IGNORED) for token, label in zip(row.ids, row.labels, strict=True)):
        why = "has a label that is neither its token nor -100"
    elif any(token < 0 for token in row.ids):
        why = "has a token below 0"
    elif not (math.isfinite(row.weight) and row.weight > 0):
        why = f"has the weight {row.weight}"
    if why:
        raise RowsRefused(f"{name} {why}", _HINT)


def write(folder: Path, rows: Rows) -> str:
    """Writes a file a kind, JSON lines; gives the SHA-256 of them all."""
    digest = hashlib.sha256()
    for kind, lines in _lines(rows):
        with (folder / f"{kind}.jsonl").open("wb") as file:
            for line in lines:
                data = json.dumps(line, separators=(",", ":")).encode() + b"\n"
                digest.update(data)
                file.write(data)
        digest.update(kind.encode())
    return digest.hexdigest()


def _lines(rows: Rows) -> Iterator[tuple[str, Iterable[Any]]]:
    yield "documents", ([one.text, one.general] for one in rows.documents)
    yield "answers", (_packed(one) for one in rows.answers)
    yield "judged", ([_packed(one.row), one.good] for one in rows.judged)
    yield "pairs", ([_packed(one.chosen), _packed(one.rejected)] for one in rows.pairs)


def _packed(row: Row) -> list[Any]:
    return [row.ids, row.labels, row.weight, row.source]


def read(folder: Path) -> Rows:
    """What `write` wrote."""

    def told(kind: str) -> list[Any]:
        with (folder / f"{kind}.jsonl").open(encoding="utf-8") as file:
            return [json.loads(line) for line in file]

    return Rows(
        documents=[Document(text, general) for text, general in told("documents")],
        answers=[_row(*one) for one in told("answers")],
        judged=[Judged(_row(*one), good) for one, good in told("judged")],
        pairs=[Pair(_row(*chosen), _row(*rejected)) for chosen, rejected in told("pairs")],
    )


def _row(ids: list[int], labels: list[int], weight: float, source: str) -> Row:
    return Row(tuple(ids), tuple(labels), weight, source)
