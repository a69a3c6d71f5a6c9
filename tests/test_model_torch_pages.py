"""Attention over pages: what a row sees is what it would see alone."""

from functools import cache

import pytest
import torch
from transformers import PreTrainedModel, Qwen2Config, Qwen2ForCausalLM

from model.backend import Draw
from model.torch_batch import BatchLane, BatchSizes
from model.torch_pages import NAME, serves
from model.torch_row import Row
from tests.torch_engine_kit import Heard, job, prompt, run, tiny_model

SIZES = BatchSizes(rows=16, step_tokens=96, cache_tokens=8192)
CONFIG = Qwen2Config(
    vocab_size=270,
    hidden_size=64,
    intermediate_size=96,
    num_hidden_layers=3,
    num_attention_heads=8,
    num_key_value_heads=2,
    max_position_embeddings=2048,
    eos_token_id=None,
    pad_token_id=269,
)


@cache
def grouped() -> PreTrainedModel:
    """A model in which four heads share one key-value head."""
    torch.manual_seed(1)
    model: PreTrainedModel = Qwen2ForCausalLM(CONFIG).requires_grad_(False)
    return model


def answers(attention: str | None, prompts: list[tuple[int, ...]], draw: Draw, n: int = 1) -> list[list[int]]:
    lane = BatchLane(grouped(), SIZES, lambda _: None, attention)
    rows = [
        [Row(job(ids, draw=draw, n=n), index, tiny_model()[1], Heard()) for index in range(n)]
        for ids in prompts
    ]
    for one in rows:
        lane.begin(one)
    run(lane)
    return [row.out for one in rows for row in one]


@pytest.mark.parametrize("attention", [None, "sdpa"])
def test_prompts_of_all_lengths_are_answered_as_by_generate(attention: str | None) -> None:
    prompts = [prompt(length) for length in (1, 2, 5, 31, 32, 33, 96, 97, 130, 300, 700)]
    found = answers(attention, prompts, Draw(max_tokens=30))
    for ids, out in zip(prompts, found, strict=True):
        want = grouped().generate(torch.tensor([ids]), max_new_tokens=30, do_sample=False)  # type: ignore[operator]
        assert out == want[0, len(ids) :].tolist()[: len(out)]


def test_several_answers_and_known_prefixes_are_the_same_either_way() -> None:
    prompts = [prompt(200), prompt(200) + prompt(40, 2), prompt(64), prompt(65, 3)]
    draw = Draw(max_tokens=20, temperature=1.0, seed=9)
    assert answers(None, prompts, draw, n=3) == answers("sdpa", prompts, draw, n=3)


def test_the_model_keeps_its_own_attention() -> None:
    own = grouped().config._attn_implementation
    lane = BatchLane(grouped(), SIZES, lambda _: None)
    lane.begin([Row(job(prompt(5)), 0, tiny_model()[1], Heard())])
    run(lane)
    assert own == grouped().config._attn_implementation == "sdpa"
    assert lane.attention == NAME


def test_models_that_see_a_window_keep_theirs() -> None:
    assert serves(CONFIG)
    window = Qwen2Config(**{**CONFIG.to_dict(), "layer_types": ["sliding_attention"] * 3})
    assert not serves(window)
