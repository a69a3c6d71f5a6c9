"""From logits to tokens: every row by its own rules, whatever shares the step."""

import math
from collections import Counter
from dataclasses import replace
from typing import Any

import pytest
import torch

from model.backend import Draw, Drawn, Grammar, Job
from model.torch_draw import draw, fill_masks
from model.torch_grammar import Grammars
from model.torch_row import Row
from tests.torch_engine_kit import Heard, tiny_model

VOCABULARY = 265


def row(index: int = 0, grammar: Grammar | None = None, **rules: Any) -> Row:
    text = tiny_model()[1]
    matcher = Grammars(text).compile(grammar) if grammar else None
    return Row(Job((1,), Draw(max_tokens=50, **rules), n=index + 1), index, text, Heard(), matcher)


def logits(rows: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(rows, VOCABULARY, generator=torch.Generator().manual_seed(seed)) * 3


def often(rules: dict[str, Any], scores: torch.Tensor, times: int = 400) -> Counter[int]:
    """How often each token is drawn with as many seeds."""
    many = [row(seed=seed, **rules) for seed in range(times)]
    return Counter(drawn.id for drawn in draw(scores.repeat(times, 1), many))


def test_greedy_is_the_largest_logit() -> None:
    scores = logits(3)
    assert [drawn.id for drawn in draw(scores.clone(), [row(), row(), row()])] == scores.argmax(-1).tolist()


def test_a_row_draws_the_same_alone_and_among_others() -> None:
    scores = logits(5)
    rules: list[dict[str, Any]] = [
        {},
        {"temperature": 1.0, "seed": 3},
        {"temperature": 0.7, "top_k": 20, "seed": 4},
        {"temperature": 1.3, "top_p": 0.8, "seed": 5},
        {"temperature": 1.0, "min_p": 0.1, "top_p": 0.95, "top_k": 50, "seed": 6},
    ]
    together = draw(scores.clone(), [row(**one) for one in rules])
    alone = [draw(scores[i : i + 1].clone(), [row(**one)])[0] for i, one in enumerate(rules)]
    assert together == alone


def test_tokens_come_as_often_as_the_temperature_says() -> None:
    scores = torch.full((1, VOCABULARY), -1e9)
    scores[0, 7], scores[0, 9] = 1.0, 0.0
    odds = 1 / (1 + math.exp(-1 / 0.5))
    seen = often({"temperature": 0.5}, scores, 2000)
    assert set(seen) == {7, 9}
    assert abs(seen[7] / 2000 - odds) < 0.03


@pytest.mark.parametrize(
    ("rules", "allowed"),
    [
        ({"top_k": 2}, {0, 1}),
        ({"top_p": 0.6}, {0, 1}),
        ({"top_p": 0.5}, {0}),
        ({"min_p": 0.35}, {0, 1}),
        ({"top_k": 3, "top_p": 0.55}, {0}),
        ({"top_p": 1e-9}, {0}),
        ({"top_k": 10_000}, {0, 1, 2, 3}),
    ],
)
def test_cuts_keep_what_they_say(rules: dict[str, Any], allowed: set[int]) -> None:
    scores = torch.full((1, VOCABULARY), float("-inf"))
    scores[0, :4] = torch.tensor([0.5, 0.2, 0.16, 0.14]).log()
    assert set(often({"temperature": 1.0, **rules}, scores)) == allowed


def test_answers_of_one_job_differ_and_repeat() -> None:
    scores = logits(1).repeat(8, 1) * 0.1
    rows = [row(index, temperature=1.0, seed=11) for index in range(8)]
    once = [drawn.id for drawn in draw(scores.clone(), rows)]
    assert once == [drawn.id for drawn in draw(scores.clone(), rows)]
    assert len(set(once)) > 4
    shifted = [row(temperature=1.0, seed=11 + index) for index in range(8)]
    assert once == [drawn.id for drawn in draw(scores.clone(), shifted)]


def test_numbers_lie_in_the_unit_interval_and_change_with_every_token() -> None:
    one = row(temperature=1.0)
    numbers = []
    for _ in range(50):
        numbers.append(one.uniform())
        one.take(Drawn(65, b"b", 0.0))
    assert len(set(numbers)) == 50
    assert all(0 <= number < 1 for number in numbers)


def test_logprobs_are_the_models_own_before_temperature_and_masks() -> None:
    scores = logits(2)
    grammar = Grammar("regex", "[ab]+")
    rows = [row(logprobs=3, temperature=0.3, grammar=grammar), row()]
    drawn = draw(scores.clone(), rows)
    logs = scores.log_softmax(-1)
    best = logs[0].topk(3)
    assert drawn[0].data in (b"a", b"b")
    assert drawn[0].logprob == pytest.approx(float(logs[0, drawn[0].id]), abs=1e-6)
    assert [token for token, _, _ in drawn[0].top] == best.indices.tolist()
    assert [value for _, _, value in drawn[0].top] == pytest.approx(best.values.tolist(), abs=1e-6)
    assert drawn[1].top == ()


def test_no_alternatives_when_none_are_asked_for() -> None:
    drawn = draw(logits(1), [row(logprobs=0)])[0]
    assert drawn.top == ()
    assert drawn.logprob < 0


@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
def test_logits_that_are_no_numbers_end_their_row_only(bad: float) -> None:
    scores = logits(3)
    want = scores.argmax(-1).tolist()
    scores[1, 5] = bad
    rows = [row(), row(temperature=1.0), row()]
    drawn = draw(scores, rows)
    assert [drawn[0].id, drawn[2].id] == [want[0], want[2]]
    assert [bool(one.error) for one in rows] == [False, True, False]
    assert rows[1].take(drawn[1]) == "error"
    assert rows[1].out == []


def test_masks_are_filled_before_there_are_logits() -> None:
    rows = [row(), row(grammar=Grammar("regex", "a"))]
    masks = fill_masks(rows, VOCABULARY)
    assert masks is not None
    assert masks[0].eq(-1).all()
    assert draw(logits(2), rows, masks)[1].data == b"a"
    assert fill_masks([row()], VOCABULARY) is None


def test_a_grammar_that_allows_nothing_ends_its_row() -> None:
    rows = [row(grammar=Grammar("regex", "a")), row()]
    masks = fill_masks(rows, VOCABULARY)
    assert masks is not None
    masks[0] = 0
    draw(logits(2), rows, masks)
    assert "grammar" in rows[0].error
    assert not rows[1].error


def test_seeds_may_be_any_number() -> None:
    one = row(temperature=1.0, seed=-(2**70))
    assert 0 <= one.uniform() < 1
    assert (
        one.uniform()
        != Row(replace(one.job, draw=replace(one.draw, seed=2**70)), 0, tiny_model()[1], Heard()).uniform()
    )
