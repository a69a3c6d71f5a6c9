"""The batch lane: many answers at once, each as if it were alone."""

import copy
from dataclasses import replace
from itertools import pairwise
from typing import Any

import pytest
import torch
from transformers import PreTrainedModel

from model.backend import Draw, Grammar, Job
from model.torch_batch import PAGE_TOKENS, BatchLane, BatchSizes
from model.torch_grammar import Grammars
from model.torch_row import Row
from tests.torch_engine_kit import N_CTX, SIZES, Heard, generated, job, lane, prompt, rows, run, tiny_model

SAMPLED = Draw(max_tokens=12, temperature=1.0, top_p=0.9, seed=5)


@pytest.fixture
def batch() -> BatchLane:
    return lane()


def written(batch: BatchLane, one: Job) -> list[list[int]]:
    """The ids of all answers to a job that is alone."""
    many = rows(one)
    batch.begin(many)
    run(batch)
    return [row.out for row in many]


def test_greedy_equals_generate_for_several_prompts_at_once(batch: BatchLane) -> None:
    prompts = [prompt(length) for length in (1, 2, 31, 32, 33, 64, 100, 200)]
    many = [rows(job(ids, 20))[0] for ids in prompts]
    for row in many:
        batch.begin([row])
    run(batch)
    assert [row.out for row in many] == [generated(ids, 20) for ids in prompts]


def test_a_sampled_row_is_the_same_alone_and_among_others(batch: BatchLane) -> None:
    ids = prompt(50)
    [alone] = written(batch, job(ids, draw=SAMPLED))
    mixed = rows(job(ids, draw=SAMPLED))
    batch.begin(mixed)
    for seed in range(6):
        batch.begin(rows(job(prompt(20 + seed), draw=replace(SAMPLED, seed=100 * seed))))
    run(batch)
    assert mixed[0].out == alone


@pytest.mark.parametrize("length", [1, 2, 33, 150])
def test_answers_of_one_job_read_its_prompt_once(batch: BatchLane, length: int) -> None:
    one = job(prompt(length), draw=replace(SAMPLED, max_tokens=6), n=4)
    answers = written(batch, one)
    shared = 4 if length == 1 else length - 1 + 4
    assert batch.tokens_computed == shared + 4 * 5
    assert len({tuple(answer) for answer in answers}) > 1
    assert answers == written(batch, one)
    singly = [job(one.ids, draw=replace(one.draw, seed=5 + index)) for index in range(4)]
    assert answers == [written(batch, each)[0] for each in singly]


def test_a_prompt_is_found_again(batch: BatchLane) -> None:
    ids = prompt(300)
    first = rows(job(ids, 4))[0]
    batch.begin([first])
    run(batch)
    before = batch.tokens_computed
    again = rows(job(ids, 4))[0]
    batch.begin([again])
    run(batch)
    assert first.cost().cached_tokens == 0
    assert again.cost().cached_tokens >= len(ids) - PAGE_TOKENS - 1
    assert batch.tokens_computed - before == len(ids) - again.cached + 3
    assert again.out == first.out


def test_an_answer_of_one_token_leaves_its_prompt_to_be_found(batch: BatchLane) -> None:
    ids = prompt(60)
    written(batch, job(ids, 1))
    [again] = rows(job(ids, 1))
    batch.begin([again])
    run(batch)
    assert again.cached == PAGE_TOKENS


def test_the_next_step_of_an_agent_reads_only_what_is_new(batch: BatchLane) -> None:
    ids = prompt(200)
    [answer] = written(batch, job(ids, 40))
    longer = [*ids, *answer, *prompt(10, seed=1)]
    [row] = rows(job(longer, 4))
    batch.begin([row])
    run(batch)
    assert row.cached == (len(ids) + len(answer) - 1) // PAGE_TOKENS * PAGE_TOKENS
    assert row.out == generated(longer, 4)


def test_prefixes_of_adapters_are_kept_apart(batch: BatchLane) -> None:
    ids = prompt(100)
    cached = []
    for salt in (0, 1, 70_000_000, 0, 1, 70_000_000):
        [row] = rows(job(ids, 4))
        row.salt = salt
        batch.begin([row])
        run(batch)
        cached.append(row.cached)
    assert cached == [0, 0, 0, 96, 96, 96]


def test_one_adapter_a_batch_in_turns() -> None:
    used: list[str] = []
    batch = BatchLane(tiny_model()[0], SIZES, used.append)
    for name in ("", "a", "b"):
        batch.begin(rows(job(prompt(10), 30, adapter=name)))
    run(batch)
    assert set(used) == {"", "a", "b"}
    switches = sum(one != other for one, other in pairwise(used))
    assert 6 <= switches <= 15


def test_a_cancelled_job_gives_its_pages_back(batch: BatchLane) -> None:
    heard = Heard()
    given_up, other = rows(job(prompt(150), 100, n=3), heard), rows(job(prompt(90), 30))
    batch.begin(given_up)
    batch.begin(other)
    for _ in range(12):
        batch.step()
    heard.events.clear()
    for row in given_up:
        row.gone = True
    run(batch)
    assert heard.events == []
    assert other[0].out == generated(prompt(90), 30)
    assert all(row.ended for row in given_up)
    assert batch.cache.tokens_held()[0] == 0
    batch.cache.forget()
    assert batch.cache.tokens_held() == (0, 0)


def test_a_job_may_be_cancelled_before_its_answers_are_forked(batch: BatchLane) -> None:
    many = rows(job(prompt(300), n=4))
    batch.begin(many)
    batch.step()
    for row in many:
        row.gone = True
    assert run(batch) == 0
    assert batch.rows == []
    assert batch.cache.tokens_held()[0] == 0


def test_a_client_with_many_jobs_does_not_delay_another(batch: BatchLane) -> None:
    for seed in range(20):
        batch.begin(rows(job(prompt(120, seed), 60, client="busy")))
    for _ in range(25):
        batch.step()
    [row] = rows(job(prompt(30), 5, client="other"))
    before = batch.steps
    batch.begin([row])
    while not row.ended:
        batch.step()
    assert batch.steps - before <= 8
    run(batch)


def test_a_long_prompt_does_not_stop_those_who_write(batch: BatchLane) -> None:
    [writer] = rows(job(prompt(20), 40, client="a"))
    batch.begin([writer])
    for _ in range(3):
        batch.step()
    batch.begin(rows(job(prompt(1500), 2, client="b")))
    before = len(writer.out)
    for _ in range(20):
        batch.step()
    assert len(writer.out) - before == 20
    run(batch)


def test_a_long_prompt_does_not_stop_short_ones(batch: BatchLane) -> None:
    batch.begin(rows(job(prompt(1500), 2, client="a")))
    batch.step()
    [short] = rows(job(prompt(25), 1, client="b"))
    batch.begin([short])
    batch.step()
    assert short.ended
    run(batch)


def test_more_than_the_cache_holds_goes_on_in_turns() -> None:
    batch = lane(BatchSizes(rows=8, step_tokens=64, cache_tokens=512))
    prompts = [prompt(100, seed) for seed in range(6)]
    many = [rows(job(ids, 60))[0] for ids in prompts]
    for row in many:
        batch.begin([row])
    run(batch)
    assert [row.out for row in many] == [generated(ids, 60) for ids in prompts]
    assert batch.cache.tokens_held()[0] == 0


def test_many_answers_that_do_not_fit_at_once_are_the_same() -> None:
    small = lane(BatchSizes(rows=8, step_tokens=64, cache_tokens=256))
    one = job(prompt(70), draw=replace(SAMPLED, max_tokens=50), n=8)
    assert written(small, one) == written(lane(), one)


def test_the_oldest_prefixes_are_forgotten_first() -> None:
    batch = lane(BatchSizes(rows=4, step_tokens=128, cache_tokens=1024))
    for seed in range(12):
        batch.begin(rows(job(prompt(160, seed), 2)))
        run(batch)
    cached = []
    for seed in (11, 10, 0):
        [row] = rows(job(prompt(160, seed), 2))
        batch.begin([row])
        run(batch)
        cached.append(row.cached)
    assert cached == [128, 128, 0]


def test_logprobs_are_those_of_the_models_own_logits(batch: BatchLane) -> None:
    ids, heard = prompt(40), Heard()
    batch.begin(rows(job(ids, draw=Draw(max_tokens=5, logprobs=4)), heard))
    run(batch)
    model, _ = tiny_model()
    with torch.no_grad():
        logs = model(torch.tensor([[*ids, *heard.ids()]])).logits[0, len(ids) - 1 :].log_softmax(-1)
    for at, drawn in enumerate(heard.drawn()):
        assert drawn.logprob == pytest.approx(float(logs[at, drawn.id]), abs=1e-4)
        assert [value for _, _, value in drawn.top] == pytest.approx(
            logs[at].topk(4).values.tolist(), abs=1e-4
        )


def test_grammars_and_free_answers_share_a_batch(batch: BatchLane) -> None:
    text = tiny_model()[1]
    grammars, heard, free = Grammars(text), [Heard() for _ in range(3)], Heard()
    for number, one in enumerate(heard):
        grammar = Grammar("regex", f"[{'abc'[number]}x]{{5,9}}")
        asked = job(prompt(30, number), draw=Draw(max_tokens=20, temperature=1.0), grammar=grammar)
        batch.begin([Row(asked, 0, text, one, grammars.compile(grammar))])
    batch.begin(rows(job(prompt(30), 20), free))
    run(batch)
    for number, one in enumerate(heard):
        assert set(one.text()) <= {"abc"[number], "x"}
        assert 5 <= len(one.text()) <= 9
        [end] = one.ended()
        assert (end.reason, end.cost.grammar_us > 0) == ("stop", True)
    assert [*free.ids()] == generated(prompt(30), 20)[: len(free.ids())]


def failing(token: int, error: Exception) -> PreTrainedModel:
    """A model that cannot stand one token."""

    def hook(_: torch.nn.Module, _args: Any, kwargs: dict[str, torch.Tensor]) -> None:
        if (kwargs["input_ids"] == token).any():
            raise error

    model = copy.deepcopy(tiny_model()[0])
    model.register_forward_pre_hook(hook, with_kwargs=True)
    return model


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (RuntimeError("shapes do not match\nmore"), "RuntimeError: shapes do not match)"),
        (torch.OutOfMemoryError("CUDA out of memory"), "out of memory"),
    ],
)
def test_a_step_that_fails_ends_the_rows_of_its_batch_only(error: Exception, said: str) -> None:
    batch = BatchLane(failing(260, error), SIZES, lambda _: None)
    heard, outside = Heard(), Heard()
    batch.begin(rows(job((1, 2, 260), n=3), heard))
    batch.begin(rows(job(prompt(10), 5, adapter="another"), outside))
    run(batch)
    ends = heard.ended(3)
    assert {end.reason for end in ends} == {"error"}
    assert all(said in end.error for end in ends)
    assert outside.ended()[0].reason != "error"
    assert batch.cache.tokens_held()[0] == 0
    assert written(batch, job(prompt(70), 10)) == [generated(prompt(70), 10)]


def test_the_longest_row_that_can_be_asked_for_fits() -> None:
    batch = lane(BatchSizes(rows=2, step_tokens=64, cache_tokens=128))
    assert batch.capacity == 128 <= N_CTX
    assert written(batch, job(prompt(120), 8)) == [generated(prompt(120), 8)]
