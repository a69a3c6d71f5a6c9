"""Learning which answers are better with TRL: KTO for answers that were judged, DPO for pairs.

TRL counts every token after the prompt as the model's, also the output of a tool between two answers. Here
labels say which tokens count, and TRL is given its masks ready made. The model that answers are compared
with is the one that the stage began with: TRL keeps a frozen copy of the adapter under the name "ref".

KTO needs to know how far the model has moved, which it estimates on answers to other prompts (the KL term of
2402.01306). TRL takes them from the same batch, which may hold one prompt only; here they are of all rows.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from datasets import Dataset
from transformers import PreTrainedTokenizerBase
from trl import DPOConfig, DPOTrainer, KTOConfig, KTOTrainer

from model.train_errors import RowsRefused
from model.train_rows import IGNORED, Judged, Pair, Row
from model.train_watch import Watch, Watched, arguments


def _batch(
    ids: Sequence[Sequence[int]], labels: Sequence[Sequence[int]], pad: int
) -> dict[str, torch.Tensor]:
    """Padded ids, and which of them there are and which count."""
    shape = (len(ids), max(map(len, ids)))
    found = {"input_ids": torch.full(shape, pad)}
    found |= {name: torch.zeros(shape, dtype=torch.long) for name in ("attention_mask", "completion_mask")}
    for at, (own, label) in enumerate(zip(ids, labels, strict=True)):
        found["input_ids"][at, : len(own)] = torch.tensor(own)
        found["attention_mask"][at, : len(own)] = 1
        found["completion_mask"][at, : len(own)] = (torch.tensor(label) != IGNORED).long()
    return found


@dataclass(frozen=True, slots=True)
class _Pairs:
    """A batch for DPO: all chosen rows, then all rejected ones."""

    pad: int

    def __call__(self, rows: Sequence[dict[str, Any]]) -> dict[str, torch.Tensor]:
        sides = ("chosen", "rejected")
        ids = [row[f"{side}_ids"] for side in sides for row in rows]
        return _batch(ids, [row[f"{side}_labels"] for side in sides for row in rows], self.pad)


@dataclass(frozen=True, slots=True)
class _Answers:
    """A batch for KTO."""

    pad: int

    def __call__(self, rows: Sequence[dict[str, Any]]) -> dict[str, torch.Tensor]:
        own = _batch([row["ids"] for row in rows], [row["labels"] for row in rows], self.pad)
        other = _batch([row["other_ids"] for row in rows], [row["other_labels"] for row in rows], self.pad)
        label = {"label": torch.tensor([row["label"] for row in rows])}
        return own | {f"KL_{name}": value for name, value in other.items()} | label


class _Ready:
    """For a trainer whose rows are ready: it prepares nothing, and each loss is looked at."""

    _on: Watched

    def _prepare_dataset(self, dataset: Dataset, *_: Any, **__: Any) -> Dataset:
        return dataset

    def create_model_card(self, *_: Any, **__: Any) -> None:
        """None: what an adapter is, its facts say."""

    def compute_loss(
        self,
        model: Any,
        inputs: dict[str, Any],
        return_outputs: bool = False,
        num_items_in_batch: torch.Tensor | int | None = None,
    ) -> Any:
        loss = super().compute_loss(model, inputs, return_outputs, num_items_in_batch)  # type: ignore[misc]
        self._on.check(loss)
        self._on.tokens += int(inputs["attention_mask"].sum())
        return loss


class Kto(_Ready, KTOTrainer):  # type: ignore[misc]
    """TRL's trainer for judged answers."""

    def __init__(self, watched: Watched, **more: Any) -> None:
        self._on = watched
        super().__init__(**more)


class Dpo(_Ready, DPOTrainer):  # type: ignore[misc]
    """TRL's trainer for pairs."""

    def __init__(self, watched: Watched, **more: Any) -> None:
        self._on = watched
        super().__init__(**more)


def kto(
    watched: Watched, watch: Watch, model: Any, tokenizer: PreTrainedTokenizerBase, rows: Sequence[Judged]
) -> Kto:
    """Raises RowsRefused when all answers are to one prompt."""
    asked, (good, bad) = watched.settings.kto, weights(rows)
    told = arguments(watched, len(rows), asked.epochs, asked.lr, max(2, watched.settings.micro_rows))
    config = KTOConfig(
        **told | {"train_sampling_strategy": "sequential"},  # TRL wants the order that others were drawn in
        beta=asked.beta,
        desirable_weight=good,
        undesirable_weight=bad,
        max_length=None,
    )
    table = _judged_table(rows, watched.settings.seed)
    return Kto(
        watched,
        model=model,
        args=config,
        train_dataset=table,
        processing_class=tokenizer,
        data_collator=_Answers(int(tokenizer.pad_token_id or 0)),
        callbacks=[watch],
    )


def dpo(
    watched: Watched, watch: Watch, model: Any, tokenizer: PreTrainedTokenizerBase, rows: Sequence[Pair]
) -> Dpo:
    """The rows' prompts are the same on both sides."""
    asked = watched.settings.dpo
    told = arguments(watched, len(rows), asked.epochs, asked.lr, watched.settings.micro_rows)
    table = Dataset.from_dict(
        {
            "chosen_ids": [list(row.chosen.ids) for row in rows],
            "chosen_labels": [list(row.chosen.labels) for row in rows],
            "rejected_ids": [list(row.rejected.ids) for row in rows],
            "rejected_labels": [list(row.rejected.labels) for row in rows],
        }
    )
    return Dpo(
        watched,
        model=model,
        args=DPOConfig(**told, beta=asked.beta, max_length=None),
        train_dataset=table,
        processing_class=tokenizer,
        data_collator=_Pairs(int(tokenizer.pad_token_id or 0)),
        callbacks=[watch],
    )


def weights(rows: Sequence[Judged]) -> tuple[float, float]:
    """How much good and bad answers count: the rarer kind as many times more as it is rarer (KTO, eq. 8)."""
    good = sum(row.good for row in rows)
    bad = len(rows) - good
    if not good or not bad:
        return 1.0, 1.0
    return max(1.0, bad / good), max(1.0, good / bad)


def _judged_table(rows: Sequence[Judged], seed: int) -> Dataset:
    order = torch.randperm(len(rows), generator=torch.Generator().manual_seed(seed)).tolist()
    shuffled = [rows[at] for at in order]
    others = list(others_of([row.row for row in shuffled]))
    return Dataset.from_dict(
        {
            "ids": [list(row.row.ids) for row in shuffled],
            "labels": [list(row.row.labels) for row in shuffled],
            "other_ids": [list(row.ids) for row in others],
            "other_labels": [list(row.labels) for row in others],
            "label": [row.good for row in shuffled],
        }
    )


def others_of(rows: Sequence[Row]) -> Iterator[Row]:
    """For each row its prompt with the answer of the next row that has another prompt.

    Raises RowsRefused when there is none.
    """
    for at, row in enumerate(rows):
        prompt = row.prompt
        following = (rows[(at + step) % len(rows)] for step in range(1, len(rows)))
        other = next((one for one in following if one.prompt != prompt), None)
        if other is None:
            raise RowsRefused(
                "all judged answers are to one prompt, so nothing tells how far the model moves on others",
                "collect feedback on more tasks",
            )
        start = len(other.prompt)
        yield Row((*prompt, *other.ids[start:]), (*[IGNORED] * len(prompt), *other.labels[start:]))
