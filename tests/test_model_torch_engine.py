"""Engine `torch` as the HTTP front sees it: queue, turns, cancel, failures, adapters, and its end."""

import copy
import gc
import threading
import time
from dataclasses import replace
from typing import Any

import pytest
import torch

from memory.records import Message
from model.backend import Draw, Grammar
from model.errors import Overloaded, PromptTooLong, RequestRefused, ServerFailed
from model.torch_batch import BatchSizes
from model.torch_engine import Limits
from model.torch_single import SingleLane
from tests.torch_engine_kit import N_CTX, Heard, engine, generated, job, prompt, tiny_model

pytestmark = pytest.mark.engine


def single() -> SingleLane:
    return SingleLane(tiny_model()[0], n_ctx=N_CTX)


@pytest.mark.parametrize("fast", [False, True])
def test_both_lanes_write_what_generate_writes(fast: bool) -> None:
    ids, heard = prompt(60), Heard()
    with engine(single=single() if fast else None) as served:
        served.submit(job(ids, 20), heard)
        [end] = heard.ended()
        assert served.stats().extra["batch_steps"] == (0 if fast else 20)
    want = generated(ids, 20)
    assert heard.ids() == [token for token in want if token not in tiny_model()[1].ends]
    assert (end.cost.prompt_tokens, end.cost.completion_tokens) == (60, len(want))


def test_jobs_that_meet_share_the_batch_lane() -> None:
    heard = [Heard() for _ in range(6)]
    with engine(single=single()) as served:
        for seed, one in enumerate(heard):
            served.submit(job(prompt(40, seed), 40), one)
        for seed, one in enumerate(heard):
            one.ended()
            assert one.ids() == generated(prompt(40, seed), 40)[: len(one.ids())]
        stats = served.stats()
    assert stats.extra["batch_steps"] > 0
    assert (stats.requests, stats.failed, stats.waiting) == (6, 0, 0)
    assert stats.prompt_tokens == 240
    assert stats.busy_s > 0


def test_a_stop_text_ends_an_answer_across_tokens() -> None:
    ids, whole = prompt(30), Heard()
    with engine() as served:
        served.submit(job(ids, 20), whole)
        whole.ended()
        stop = whole.text()[5:8]
        cut = Heard()
        served.submit(job(ids, 20, stop=(stop,)), cut)
        [end] = cut.ended()
    assert cut.text() == whole.text()[: whole.text().index(stop)]
    assert end.reason == "stop"
    data = b"".join(drawn.data for drawn in cut.drawn())
    assert data.decode("utf-8", "replace") == cut.text()


def test_stop_ids_and_limits_end_an_answer() -> None:
    ids, whole = prompt(30), Heard()
    with engine() as served:
        served.submit(job(ids, 12), whole)
        [end] = whole.ended()
        assert (end.reason, len(whole.ids())) == ("length", 12)
        token = whole.ids()[6]
        cut = Heard()
        served.submit(job(ids, 12, stop_ids=(token,)), cut)
        [end] = cut.ended()
    first = whole.ids().index(token)
    assert (end.reason, cut.ids()) == ("stop", whole.ids()[:first])
    assert end.cost.completion_tokens == first + 1


def test_several_answers_come_each_with_one_end() -> None:
    heard = Heard()
    with engine(single=single()) as served:
        served.submit(job(prompt(50), n=4, draw=Draw(max_tokens=9, temperature=1.0, seed=2)), heard)
        ends = heard.ended(4)
        stats = served.stats()
    assert [end.index for end in ends] == [0, 1, 2, 3]
    assert len({heard.text(index) for index in range(4)}) > 1
    assert (stats.requests, stats.prompt_tokens) == (1, 50)
    assert stats.completion_tokens == sum(end.cost.completion_tokens for end in ends)


@pytest.mark.parametrize("fast", [False, True])
def test_a_cancelled_job_frees_everything_and_says_no_more(fast: bool) -> None:
    heard, after = Heard(), Heard()
    with engine(single=single() if fast else None) as served:
        running = served.submit(job(prompt(100), 1500), heard)
        heard.begun()
        running.cancel()
        running.cancel()
        served.submit(job(prompt(5), 3), after)
        after.ended()
        seen = len(heard.events)
        served.submit(job(prompt(6), 3), again := Heard())
        again.ended()
        stats = served.stats()
    assert len(heard.events) == seen
    assert not heard._ends()
    assert stats.cancelled == 1
    assert stats.extra["cache_tokens_running"] == 0


def test_a_full_queue_refuses() -> None:
    heard = Heard()
    with engine(sizes=BatchSizes(1, 64, 2048), limits=Limits(waiting=3, waiting_of_one=2)) as served:
        running = [served.submit(job(prompt(20), 1500, client="a"), heard)]
        heard.begun()
        running += [served.submit(job(prompt(20), 1500, n=2, client="a"), Heard()) for _ in range(2)]
        with pytest.raises(Overloaded, match="of this client"):
            served.submit(job(prompt(20), client="a"), Heard())
        assert served.stats().waiting == 2
        assert served.stats().refused == 1
        for ticket in running:
            ticket.cancel()
        served.submit(job(prompt(20), 3, client="a"), last := Heard())
        last.ended()


def test_what_can_never_be_served_is_refused() -> None:
    with engine() as served:
        with pytest.raises(PromptTooLong) as caught:
            served.submit(job(prompt(N_CTX - 5), 6), Heard())
        assert (caught.value.prompt_tokens, caught.value.n_ctx, caught.value.reserved) == (
            N_CTX - 5,
            N_CTX,
            6,
        )
        for wrong in (
            job((), 5),
            job((1, 999_999), 5),
            job((-1,), 5),
            job((1,), 0),
            job((1,), n=0),
            job((1,), n=65),
            job((1,), adapter="nobody"),
            job((1,), grammar=Grammar("regex", "(")),
        ):
            with pytest.raises(RequestRefused):
                served.submit(wrong, Heard())
        assert served.stats().refused == 9
        served.submit(job(prompt(N_CTX - 5), 5), heard := Heard())
        assert heard.ended()[0].cost.completion_tokens <= 5


def test_a_client_alone_in_the_queue_passes_one_with_many() -> None:
    done: list[str] = []
    lock = threading.Lock()

    class Named(Heard):
        def __init__(self, name: str) -> None:
            super().__init__()
            self._name = name

        def __call__(self, event: object) -> None:
            super().__call__(event)  # type: ignore[arg-type]
            if self._ends():
                with lock:
                    done.append(self._name)

    with engine() as served:
        many = [Named("busy") for _ in range(20)]
        for seed, heard in enumerate(many):
            served.submit(job(prompt(30, seed), 40, client="busy"), heard)
        other = Named("other")
        served.submit(job(prompt(30), 10, client="other"), other)
        other.ended()
        with lock:
            assert done.index("other") <= 4
        for heard in many:
            heard.ended()


def test_a_grammar_holds_in_both_lanes() -> None:
    heard = [Heard() for _ in range(5)]
    grammar = Grammar("regex", "(yes|no)")
    with engine(single=single()) as served:
        for seed, one in enumerate(heard):
            draw = Draw(max_tokens=20, temperature=1.0, seed=seed)
            served.submit(job(prompt(20, seed), draw=draw, grammar=grammar), one)
            if not seed:
                one.ended()
        for one in heard:
            assert one.ended()[0].reason == "stop"
            assert one.text() in ("yes", "no")


def test_models_the_paged_cache_cannot_serve_go_one_by_one() -> None:
    model, text = tiny_model("mpt")
    heard = [Heard() for _ in range(3)]
    with engine(model, sizes=None, single=SingleLane(model, n_ctx=N_CTX)) as served:
        for seed, one in enumerate(heard):
            draw = Draw(max_tokens=6, temperature=float(seed == 2), seed=1)
            served.submit(job(prompt(20, seed), n=1 + (seed == 2), draw=draw), one)
        for seed, one in enumerate(heard[:2]):
            one.ended()
            want = generated(prompt(20, seed), 6, "mpt")
            assert one.ids() == [token for token in want if token not in text.ends]
        assert len(heard[2].ended(2)) == 2


@pytest.mark.parametrize("fast", [False, True])
def test_a_model_that_fails_ends_its_answer_and_the_engine_lives(fast: bool) -> None:
    def hook(_: torch.nn.Module, args: tuple[torch.Tensor, ...]) -> None:
        if (args[0] == 260).any():
            raise torch.OutOfMemoryError("CUDA out of memory")

    model: Any = copy.deepcopy(tiny_model()[0])
    model.get_input_embeddings().register_forward_pre_hook(hook)
    lane = SingleLane(model, n_ctx=N_CTX) if fast else None
    failed, fine = Heard(), Heard()
    with engine(model, single=lane) as served:
        served.submit(job((1, 260, 2)), failed)
        [end] = failed.ended()
        assert (end.reason, "out of memory" in end.error) == ("error", True)
        served.submit(job(prompt(20), 5), fine)
        assert fine.ended()[0].reason != "error"
        assert served.stats().failed == 1


def test_texts_and_what_is_served() -> None:
    with engine() as served:
        ids = served.chat_ids([Message(role="user", content="<|im_end|> hi")])
        assert served.decode(served.text_ids("a = é")) == "a = é"
        assert "hi" in served.decode(ids)
        assert served.about.n_ctx == N_CTX
        assert served.adapters() == []
        with pytest.raises(RequestRefused):
            served.load_adapter("a", "/nowhere")
        with pytest.raises(RequestRefused):
            served.unload_adapter("a")


def test_the_window_is_no_larger_than_the_cache() -> None:
    with engine(sizes=BatchSizes(2, 64, 256)) as served:
        assert served.about.n_ctx == 256


def test_closing_ends_what_runs_and_waits_and_leaves_nothing() -> None:
    before = threading.active_count()
    running, waiting = Heard(), Heard()
    with engine(sizes=BatchSizes(1, 64, 2048), single=single()) as served:
        served.submit(job(prompt(20), 1500, n=2, client="a"), running)
        running.begun()
        served.submit(job(prompt(20), 1500, n=2, client="a"), waiting)
        served.close()
        assert {end.error for end in running.ended(2) + waiting.ended(2)} == {"the engine is closing"}
        with pytest.raises(ServerFailed):
            served.submit(job(prompt(3)), Heard())
        served.stats()
    assert threading.active_count() == before


def test_nothing_is_left_of_an_engine() -> None:
    def tensors() -> int:
        gc.collect()
        return sum(one.numel() for one in gc.get_objects() if type(one) is torch.Tensor)

    def once() -> None:
        heard = Heard()
        with engine(single=single()) as served:
            served.submit(job(prompt(70), n=2), heard)
            heard.ended(2)

    once()
    before = tensors()
    once()
    assert tensors() == before


def test_times_and_costs_are_told() -> None:
    heard = Heard()
    with engine() as served:
        begun = time.monotonic()
        served.submit(job(prompt(200), 10), heard)
        [end] = heard.ended()
        whole_ms = 1000 * (time.monotonic() - begun)
        served.submit(job(prompt(200), 10), again := Heard())
        [second] = again.ended()
    cost = end.cost
    assert 0 <= cost.queue_ms <= cost.first_ms <= cost.first_ms + cost.decode_ms <= whole_ms
    assert (cost.cached_tokens, second.cost.cached_tokens) == (0, 192)
    assert replace(second.cost, cached_tokens=0).prompt_tokens == 200
