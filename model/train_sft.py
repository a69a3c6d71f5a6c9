"""Supervised fine-tuning on rows of ids and labels with TRL's trainer.

TRL prepares nothing: no template, no masks of its own, nothing cut, nothing dropped in silence. What is added
is the weight of a row. The loss of a step is the sum over its learned tokens of weight times negative log
probability, divided by their number.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from datasets import Dataset
from transformers import PreTrainedTokenizerBase
from trl import SFTConfig, SFTTrainer

from model.train_job import RATES, Corpus
from model.train_lion import LionW
from model.train_rows import IGNORED, Row
from model.train_watch import Watch, Watched, arguments

FLOOR = 0.1
"""Where the rate of continued training ends, as a share of its top (2403.08763)."""


@dataclass(frozen=True, slots=True)
class Padded:
    """Makes a batch of rows: padded at the right, padding neither seen nor learned."""

    pad: int

    def __call__(self, rows: Sequence[dict[str, Any]]) -> dict[str, torch.Tensor]:
        longest = max(len(row["input_ids"]) for row in rows)
        shape = (len(rows), longest)
        ids = torch.full(shape, self.pad)
        labels, mask = torch.full(shape, IGNORED), torch.zeros(shape, dtype=torch.long)
        for at, row in enumerate(rows):
            size = len(row["input_ids"])
            ids[at, :size] = torch.tensor(row["input_ids"])
            labels[at, :size] = torch.tensor(row["labels"])
            mask[at, :size] = 1
        weights = torch.tensor([row["weight"] for row in rows])
        return {"input_ids": ids, "attention_mask": mask, "labels": labels, "weight": weights}


class Sft(SFTTrainer):  # type: ignore[misc]
    """TRL's trainer with weights and with somebody who watches."""

    def __init__(self, watched: Watched, **more: Any) -> None:
        self._on = watched
        super().__init__(**more)

    def create_model_card(self, *_: Any, **__: Any) -> None:
        """None: what an adapter is, its facts say."""

    def compute_loss(
        self,
        model: Any,
        inputs: dict[str, Any],
        return_outputs: bool = False,
        num_items_in_batch: torch.Tensor | int | None = None,
    ) -> torch.Tensor:
        """See the module. `num_items_in_batch`: learned tokens of the whole step, over all processes."""
        assert not return_outputs
        weights = inputs["weight"]
        given = {name: value for name, value in inputs.items() if name != "weight"}
        scores = model(**given, use_cache=False, fused_lm_head=True).log_probs  # 0 where nothing is learned
        learned = (
            (inputs["labels"][:, 1:] != IGNORED).sum() if num_items_in_batch is None else num_items_in_batch
        )
        loss: torch.Tensor = -(scores.sum(dim=1) * weights.to(scores)).sum() / torch.as_tensor(learned).clamp(
            min=1
        )
        self._on.check(loss)
        self._on.tokens += int(inputs["attention_mask"].sum())
        return loss * self._on.processes  # gradients are averaged over the processes


def trainer(
    watched: Watched,
    watch: Watch,
    model: Any,
    tokenizer: PreTrainedTokenizerBase,
    rows: Sequence[Row],
    corpus: Corpus | None = None,
) -> Sft:
    """A trainer of answers, or with `corpus` of continued training, whose rows are in their order."""
    asked = watched.settings
    epochs = asked.epochs if corpus is None else 1
    told = arguments(watched, len(rows), epochs, asked.rate(), asked.micro_rows)
    optimizer = asked.optimizer
    if corpus is not None:
        optimizer = corpus.optimizer
        told |= schedule(corpus, corpus.lr or RATES[optimizer])
    config = SFTConfig(**told, max_length=None, dataset_kwargs={"skip_prepare_dataset": True})
    lion = (LionW, {"lr": told["learning_rate"], "weight_decay": asked.weight_decay})
    return Sft(
        watched,
        model=model,
        args=config,
        train_dataset=dataset(rows),
        processing_class=tokenizer,
        data_collator=Padded(int(tokenizer.pad_token_id or 0)),
        callbacks=[watch],
        optimizer_cls_and_kwargs=lion if optimizer == "lion" else None,
    )


def schedule(corpus: Corpus, rate: float) -> dict[str, Any]:
    """The rows in their order, the rate re-warmed and re-decayed, or low throughout."""
    told: dict[str, Any] = {"train_sampling_strategy": "sequential"}
    if corpus.schedule == "constant":
        return {**told, "learning_rate": rate * FLOOR, "lr_scheduler_type": "constant", "warmup_steps": 0}
    return {
        **told,
        "learning_rate": rate,
        "lr_scheduler_type": "cosine_with_min_lr",
        "lr_scheduler_kwargs": {"min_lr_rate": FLOOR},
    }


def dataset(rows: Sequence[Row]) -> Dataset:
    return Dataset.from_dict(
        {
            "input_ids": [list(row.ids) for row in rows],
            "labels": [list(row.labels) for row in rows],
            "weight": [row.weight for row in rows],
        }
    )
