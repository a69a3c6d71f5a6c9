"""Judged answers and pairs: which tokens count, what they are compared with, and that answers move."""

from pathlib import Path
from typing import Any

import pytest
import torch

from model import train_preference
from model.torch_adapters import Adapters
from model.torch_files import quiet
from model.train_errors import RowsRefused, TrainingStopped
from model.train_rows import IGNORED, Judged, Pair, Row, Rows
from model.train_watch import Watch
from tests.train_kit import (
    answers,
    began,
    judged,
    loaded,
    pairs,
    row,
    same,
    stop_after,
    tiny_base,
    trained,
    watched,
    with_adapter,
)


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_base(tmp_path_factory.mktemp("base"))


def with_tool_output(seed: int) -> tuple[Row, list[int]]:
    """An answer, a tool's output, another answer; and what the model wrote of it."""
    one = row(seed, answer=12)
    labels = [*one.labels]
    labels[9:13] = [IGNORED] * 4
    return Row(one.ids, tuple(labels)), [token for token in labels if token != IGNORED]


def likelihoods(model: Any, rows: list[Row]) -> list[float]:
    """Log probability of what is learned in each row."""
    found = []
    for one in rows:
        with torch.no_grad():
            scores = torch.log_softmax(model(torch.tensor([one.ids])).logits[0], -1)
        found.append(
            sum(float(scores[at - 1, label]) for at, label in enumerate(one.labels) if label != IGNORED)
        )
    return found


def test_a_tools_output_between_two_answers_does_not_count(base: Path, tmp_path: Path) -> None:
    (one, wrote), (other, wrote_too) = with_tool_output(1), with_tool_output(2)
    model, tokenizer = with_adapter(base, tmp_path)
    on = watched(tmp_path / "kto", "kto")
    with quiet():
        trainer = train_preference.kto(
            on, Watch(on, began("kto")), model, tokenizer, [Judged(one, True), Judged(other, False)]
        )
    [batch] = trainer.get_train_dataloader()
    learned = [
        ids[mask == 1].tolist()
        for ids, mask in zip(batch["input_ids"], batch["completion_mask"], strict=True)
    ]
    compared = [
        ids[mask == 1].tolist()
        for ids, mask in zip(batch["KL_input_ids"], batch["KL_completion_mask"], strict=True)
    ]
    assert sorted(learned) == sorted([wrote, wrote_too])
    assert compared == [learned[1], learned[0]]
    model.eval()
    with quiet():
        loss = float(trainer.compute_loss(model, batch).detach())
    assert loss == pytest.approx(0.5, abs=1e-5)  # nothing has moved yet: both answers are worth a half


def test_a_pair_is_masked_on_both_sides(base: Path, tmp_path: Path) -> None:
    one, wrote = with_tool_output(1)
    other = Row((*one.prompt, 7, 8, 9), (*[IGNORED] * len(one.prompt), 7, IGNORED, 9))
    model, tokenizer = with_adapter(base, tmp_path)
    on = watched(tmp_path / "dpo", "dpo")
    with quiet():
        trainer = train_preference.dpo(on, Watch(on, began("dpo")), model, tokenizer, [Pair(one, other)])
    [batch] = trainer.get_train_dataloader()
    learned = [
        ids[mask == 1].tolist()
        for ids, mask in zip(batch["input_ids"], batch["completion_mask"], strict=True)
    ]
    assert learned == [wrote, [7, 9]]
    assert set(model.peft_config) == {"default", "ref"}
    assert not any(weight.requires_grad for name, weight in model.named_parameters() if ".ref." in name)


def test_answers_are_compared_with_the_adapter_that_the_stage_began_with(base: Path, tmp_path: Path) -> None:
    """All stages, one on the other: what was preferred is likelier afterwards than what was not."""
    rows = Rows(answers=answers().answers, judged=judged().judged, pairs=pairs().pairs)
    told = list[Any]()
    facts = trained(base, tmp_path / "all", rows, told.append, epochs=4)
    assert [stage.stage for stage in facts.stages] == ["sft", "kto", "dpo"]
    losses = [event.loss for event in told if event.kind == "progressed" and event.stage == "dpo"]
    assert losses[0] == pytest.approx(0.6931, abs=1e-3)  # nothing has moved since this stage began
    trained(base, tmp_path / "first", answers(), epochs=4)
    chosen = [one.chosen for one in pairs().pairs]
    rejected = [one.rejected for one in pairs().pairs]
    margins = []
    for name in ("first", "all"):
        served = loaded(base, tmp_path)
        adapters = Adapters(served.model, served.names)
        adapters.load("one", tmp_path / name / "out" / "adapter")
        adapters.use("one")
        margins.append(sum(likelihoods(served.model, chosen)) - sum(likelihoods(served.model, rejected)))
    assert margins[1] > margins[0]
    assert sorted(path.name for path in (tmp_path / "all/out/adapter").iterdir()) == [
        "adapter_config.json", "adapter_model.safetensors",
    ]  # fmt: skip


def test_a_stopped_comparison_goes_on_to_the_same_end(base: Path, tmp_path: Path) -> None:
    rows = Rows(answers=answers().answers, judged=judged(8).judged)
    trained(base, tmp_path / "whole", rows, epochs=1)
    with pytest.raises(TrainingStopped, match="stage kto"):
        trained(base, tmp_path / "parts", rows, stop=stop_after(4), epochs=1)
    facts = trained(base, tmp_path / "parts", rows, epochs=1)
    assert ([stage.stage for stage in facts.stages], facts.resumed) == (["sft", "kto"], 1)
    assert same(tmp_path / "parts", tmp_path / "whole", atol=1e-6)


def test_the_rarer_kind_counts_more() -> None:
    good, bad = Judged(row(1), True), Judged(row(2), False)
    assert train_preference.weights([good, bad, bad, bad]) == (3.0, 1.0)
    assert train_preference.weights([good, good, bad]) == (1.0, 2.0)
    assert train_preference.weights([good]) == (1.0, 1.0)


def test_the_other_answer_is_to_another_prompt() -> None:
    rows = [row(1, prompt_seed=1), row(2, prompt_seed=1), row(3, prompt_seed=3)]
    found = list(train_preference.others_of(rows))
    assert [one.prompt for one in found] == [one.prompt for one in rows]
    assert [one.ids[6:] for one in found] == [rows[2].ids[6:], rows[2].ids[6:], rows[0].ids[6:]]
    with pytest.raises(RowsRefused, match="one prompt"):
        list(train_preference.others_of(rows[:2]))
