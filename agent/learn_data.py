"""What a round of Learn is trained on: rows from the memory, with every run that was left out and why.

The same steps as an export (feedback/export.py): consent, provenance, secrets, quality, labels, held-out
tasks, near-duplicates, caps. Licences do not matter for training on this machine; consent always does. Rows
are token ids with masks that facts made; a person's or a test's word on two answers makes a pair.
"""

from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from agent.errors import UsageError
from feedback.corpus_read import texts
from feedback.errors import DataError
from feedback.export import Made, Query, Sources, make
from feedback.format_base import Tokens
from feedback.formats import FORMATS
from feedback.harvest import Harvest
from feedback.heldout import HeldOut
from feedback.pretokenised import IGNORED
from feedback.steps import table
from model.train_rows import Document, Pair, Row, Rows

WEIGHTS: Final = {"gold": 1.0, "silver": 0.5}
"""Of a row's loss: two things speak for gold, one for silver."""
LEAST: Final = 10
"""Accepted runs below which nothing is trained: an adapter of fewer is a memory of them."""


class TooLittle(UsageError):
    """There is not enough to learn from."""


@dataclass(frozen=True)
class Prepared:
    """The rows of one round, and where they are from."""

    rows: Rows
    runs: tuple[str, ...]
    """Accepted runs that rows are of, sorted."""
    labels: Mapping[str, int]
    """Runs that are left, by grade."""
    synthetic: int
    """Of the accepted runs, those on tasks that a program made."""
    left_out: Mapping[str, int]
    """`step: reason` -> runs."""
    told: str
    """All steps as a table."""

    @property
    def tokens(self) -> tuple[int, int]:
        """All, and those that are learned."""
        rows = self.rows.answers
        return sum(len(row.ids) for row in rows), sum(row.trained for row in rows)


def prepare(
    harvests: Sequence[Harvest],
    sources: Sources,
    say: Callable[[str], None] = lambda _: None,
    *,
    corpus: Sequence[Document] = (),
    synthetic: bool = True,
    per_task: int = 2,
) -> Prepared:
    """Rows of all runs that may be trained on. Raises DataError where there is no tokenizer."""
    query = Query(
        formats=("pretokenised", "preference"), any_licence=True, synthetic=synthetic, per_task=per_task
    )
    made = make(harvests, query, sources, say)
    tokens = sources.context.tokens
    assert tokens is not None  # or the format had been refused
    answers = [_row(row) for row in made.rows["pretokenised"]]
    refuse_overlap(made, sources.held_out)
    return Prepared(
        rows=Rows(corpus, answers, (), [*_pairs(made.rows["preference"], tokens)]),
        runs=tuple(sorted({row.source for row in answers})),
        labels=Counter(candidate.label.grade for candidate in made.candidates),
        synthetic=len(
            {c.id for c in made.candidates if c.harvest.synthetic} & {row.source for row in answers}
        ),
        left_out={f"{c.name}: {why}": n for c in made.steps for why, n in c.reasons.items()},
        told=table(made.steps),
    )


def refuse_overlap(made: Made, held_out: HeldOut) -> None:
    """Look once more at what is left, apart from the filter that dropped what shares something.

    Raises DataError with the overlap: a row that a held-out task knows would make the gate worthless.
    """
    shared = [
        f"run {candidate.id} shares a {match.reason} with {match.item or 'a suite'}"
        for candidate in made.candidates
        if (match := held_out.match(candidate.harvest)) is not None
    ]
    if shared:
        raise DataError(
            f"{len(shared)} training runs overlap the held-out tasks: {'; '.join(shared[:5])}",
            "adi learn seed with other repositories, or leave these runs out: adi data consent refuse",
        )


def enough(prepared: Prepared, least: int = LEAST) -> None:
    """Raises TooLittle with the counts, and what would bring more."""
    count = len(prepared.runs)
    if count >= least or prepared.rows.documents:
        return
    negative, unjudged = prepared.labels.get("negative", 0), prepared.left_out.get("label: grade none", 0)
    asked = prepared.left_out.get("consent: consent not given", 0)
    more = [
        f"{asked} wait for consent (adi data consent grant --repo PATH)" if asked else "",
        f"{unjudged} for a decision (adi review)" if unjudged else "",
    ]
    waiting = f"; {' and '.join(filter(None, more))}" if any(more) else ""
    raise TooLittle(
        f"{count} accepted runs are too few, {least} are needed: {prepared.labels.get('gold', 0)} gold, "
        f"{prepared.labels.get('silver', 0)} silver, {negative} negative{waiting}",
        "adi learn seed REPO... and adi learn collect make more; adi learn --dry-run tells what was left out",
    )


def _row(row: Mapping[str, Any]) -> Row:
    return Row(
        ids=tuple(row["input_ids"]),
        labels=tuple(row["labels"]),
        weight=WEIGHTS.get(row["label"], 1.0),
        source=row["trajectory_id"],
    )


def _pairs(rows: Sequence[Mapping[str, Any]], tokens: Tokens) -> Iterator[Pair]:
    """Pairs as token ids; the prompt is tokenised once, so that both have the very same."""
    for row, told in zip(rows, FORMATS["preference"].read([dict(row) for row in rows]), strict=True):
        prompt = tokens.chat(told.prompt)
        end = [] if row["continues"] else [tokens.end]  # an answer that was begun is cut at its line's end
        yield Pair(
            *(
                Row(
                    ids=(*prompt, *answer),
                    labels=(*[IGNORED] * len(prompt), *answer),
                    source=row["trajectory_id"],
                )
                for answer in ([*tokens.plain(text), *end] for text in (told.chosen, told.rejected))
            )
        )


def corpus_of(folder: Path, held_out: HeldOut, *, general: bool = False) -> tuple[list[Document], int]:
    """Texts of a corpus that `adi data corpus` wrote, and how many were left out for a held-out task's words.

    `general` ones are shown again against forgetting, and are not what is to be learned.
    Raises DataError for a folder that is none, or where nothing is left.
    """
    found = texts(folder)
    kept = [text for text in found if not held_out.text(text)]
    if not kept:
        raise DataError(
            f"{folder} has no text to train on ({len(found)} share words with held-out tasks)",
            "adi data corpus REPO --local --to FOLDER",
        )
    return [Document(text, general) for text in kept], len(found) - len(kept)
