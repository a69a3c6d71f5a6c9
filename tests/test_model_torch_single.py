"""The fast lane of engine `torch` on tiny random models: same answers whatever is drafted, kept or padded."""

import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

import pytest
import torch
from transformers import (
    AutoModelForCausalLM,
    AutoTokenizer,
    LlamaConfig,
    LlamaForCausalLM,
    PreTrainedModel,
    Qwen2Config,
    Qwen2ForCausalLM,
)

from model.backend import Draw, Ended, Event, Grammar, Job, Piece
from model.tiny_torch import write_tiny_torch
from model.torch_grammar import Grammars
from model.torch_graphs import EAGER, Captured, CudaGraphs, Growing, Passes, Slots, passes
from model.torch_lean import lean
from model.torch_row import Row
from model.torch_single import SingleLane
from model.torch_text import Text

N_CTX = 600
"""No power of two, so that the last span is not one either."""


@dataclass(frozen=True)
class Tiny:
    model: PreTrainedModel
    text: Text
    grammars: Grammars


@pytest.fixture(scope="module", autouse=True)
def _one_thread() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def load(folder: Path) -> Tiny:
    model = AutoModelForCausalLM.from_pretrained(folder).eval()
    ends = frozenset({model.config.eos_token_id})
    text = Text(AutoTokenizer.from_pretrained(folder), None, ends=ends)
    return Tiny(model, text, Grammars(text))


@pytest.fixture(scope="module", params=["qwen2", "mpt"])
def tiny(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Tiny:
    return load(write_tiny_torch(tmp_path_factory.mktemp("tiny"), kind=request.param, n_ctx=N_CTX))


@pytest.fixture(scope="module")
def grouped(qwen: "Tiny") -> Tiny:
    """Random weights of a qwen2 whose heads share keys and values, as those of the real ones do."""
    torch.manual_seed(0)
    config = Qwen2Config(
        vocab_size=270,
        hidden_size=96,
        intermediate_size=100,
        num_hidden_layers=2,
        num_attention_heads=6,
        num_key_value_heads=2,
        initializer_range=0.2,
        eos_token_id=qwen.model.config.eos_token_id,
        pad_token_id=qwen.model.config.pad_token_id,
    )
    return Tiny(Qwen2ForCausalLM(config).eval(), qwen.text, qwen.grammars)


@pytest.fixture(scope="module")
def qwen(tmp_path_factory: pytest.TempPathFactory) -> Tiny:
    return load(write_tiny_torch(tmp_path_factory.mktemp("tiny"), kind="qwen2", n_ctx=N_CTX))


def lane_of(
    tiny: Tiny, *, drafted: int = 6, chunk: int | None = None, over: Passes | None = None
) -> SingleLane:
    return SingleLane(tiny.model, n_ctx=N_CTX, drafted=drafted, chunk=chunk, over=over)


def row_of(
    tiny: Tiny, ids: Sequence[int], draw: Draw, *, grammar: Grammar | None = None, adapter: str = ""
) -> tuple[Row, list[Event]]:
    events: list[Event] = []
    job = Job(tuple(ids), draw, grammar=grammar, adapter=adapter)
    matcher = tiny.grammars.compile(grammar) if grammar else None
    return Row(job, 0, tiny.text, events.append, matcher), events


def write(lane: SingleLane, row: Row) -> Row:
    assert lane.can(row)
    lane.begin(row)
    while lane.busy:
        lane.step()
    return row


def written(tiny: Tiny, lane: SingleLane, ids: Sequence[int], draw: Draw, **more: object) -> Row:
    return write(lane, row_of(tiny, ids, draw, **more)[0])  # type: ignore[arg-type]


def generated(tiny: Tiny, ids: Sequence[int], count: int) -> list[int]:
    """Greedy ids as transformers writes them."""
    output = tiny.model.generate(torch.tensor([ids]), max_new_tokens=count, do_sample=False)
    return list(output[0, len(ids) :].tolist())  # type: ignore[union-attr, index]


def prompts(tiny: Tiny) -> list[list[int]]:
    texts = (
        "a",
        "def area(w, h):\n    return w * h\n",
        "x = 1\n" * 20,
        "".join(f"row {n % 3} = {n % 3}\n" for n in range(24)),
    )
    return [tiny.text.text_ids(text) for text in texts]


def test_greedy_answers_are_those_of_generate_with_and_without_drafts(tiny: Tiny) -> None:
    plain, drafting = lane_of(tiny, drafted=0), lane_of(tiny)
    accepted = 0
    for ids in prompts(tiny):
        expected = generated(tiny, ids, 60)
        assert written(tiny, plain, ids, Draw(60)).out == expected
        row = written(tiny, drafting, ids, Draw(60))
        assert row.out == expected
        assert row.accepted <= row.drafted
        accepted += row.accepted
    assert accepted > 0


def test_drawn_answers_are_the_same_with_and_without_drafts(tiny: Tiny) -> None:
    plain, drafting = lane_of(tiny, drafted=0), lane_of(tiny)
    accepted = 0
    for ids in prompts(tiny):
        for seed, temperature in ((1, 0.2), (2, 1.0)):
            draw = Draw(40, temperature=temperature, top_p=0.95, seed=seed)
            row = written(tiny, drafting, ids, draw)
            assert row.out == written(tiny, plain, ids, draw).out
            accepted += row.accepted
    assert accepted > 0


@pytest.mark.parametrize("padded", [False, True])
def test_slots_give_the_logits_of_a_growing_cache(tiny: Tiny, padded: bool) -> None:
    slotted = Captured(tiny.model, n_ctx=N_CTX, width=6, padded=padded)
    growing = Growing(tiny.model, n_ctx=N_CTX, width=6)
    ids = iter(torch.randint(0, 250, (2000,), generator=torch.Generator().manual_seed(0)).tolist())
    for start, count in ((0, 200), (200, 1), (201, 3), (204, 6), (210, 340), (300, 4), (304, 1), (305, 295)):
        part, keep = list(islice(ids, count)), min(count, 6)
        one, other = slotted.run(part, start, keep), growing.run(part, start, keep)
        assert one.shape == other.shape == (keep, tiny.model.config.vocab_size)
        assert (one - other).abs().max() < 1e-4
    with pytest.raises(ValueError, match="do not fit"):
        slotted.run([1], N_CTX, 1)
    with pytest.raises(ValueError, match="do not fit"):
        growing.run([1], N_CTX, 1)


def test_the_way_of_keeping_is_tried_not_looked_up(tiny: Tiny) -> None:
    asked = []

    def wrong(ids: torch.Tensor, _slots: Slots, keep: int) -> torch.Tensor:
        asked.append(keep)
        return torch.ones((keep, tiny.model.config.vocab_size)) * ids[0, -1]

    found = passes(tiny.model, n_ctx=N_CTX, width=4, forward=wrong)
    assert isinstance(found, Captured)
    assert asked == [5]
    asked.clear()
    assert (found.run([1], 0, 1) - Growing(tiny.model, n_ctx=9, width=1).run([1], 0, 1)).abs().max() < 1e-4
    assert asked == []


def test_a_model_that_reads_no_slots_gets_a_growing_cache() -> None:
    """Windows that slide want another mask in each layer than the one that is given."""
    config = Qwen2Config(
        vocab_size=99,
        hidden_size=32,
        intermediate_size=32,
        num_hidden_layers=2,
        num_attention_heads=2,
        num_key_value_heads=1,
        use_sliding_window=True,
        sliding_window=4,
        max_window_layers=1,
    )
    model = Qwen2ForCausalLM(config).eval()
    found = passes(model, n_ctx=64, width=4, forward=lean(model))
    assert isinstance(found, Growing)
    assert found.width == 1
    found.run([1, 2, 3], 0, 1)
    assert (found.rewind(3), found.rewind(2)) == (3, 0)


def test_short_passes_give_the_logits_of_the_model(tiny: Tiny, grouped: Tiny) -> None:
    for one in (tiny, grouped):
        before = Captured(one.model, n_ctx=N_CTX, width=6)
        ids = torch.randint(0, 250, (300,), generator=torch.Generator().manual_seed(0)).tolist()
        parts = [(0, 250), (250, 1), (251, 6), (257, 3), (255, 1)]
        expected = [before.run(ids[start : start + count], start, min(count, 6)) for start, count in parts]
        forward = lean(one.model)
        assert forward is not None
        for passing in (before, Captured(one.model, n_ctx=N_CTX, width=6, forward=forward, padded=True)):
            for (start, count), logits in zip(parts, expected, strict=True):
                found = passing.run(ids[start : start + count], start, min(count, 6))
                assert (found - logits).abs().max() < 1e-4


def test_short_passes_write_the_same_answers(grouped: Tiny) -> None:
    lane = SingleLane(grouped.model, n_ctx=N_CTX, short=True)
    for ids in prompts(grouped):
        assert written(grouped, lane, ids, Draw(40)).out == generated(grouped, ids, 40)


def test_what_short_passes_do_not_know_they_leave(qwen: Tiny) -> None:
    quantised = Qwen2ForCausalLM(qwen.model.config)
    head = torch.nn.Linear(64, 64, bias=False)
    head.weight = torch.nn.Parameter(_Packed(head.weight.data))
    quantised.model.layers[0].self_attn.o_proj = head
    assert lean(quantised) is None
    assert (
        lean(
            LlamaForCausalLM(
                LlamaConfig(vocab_size=9, hidden_size=8, num_hidden_layers=1, num_attention_heads=1)
            )
        )
        is None
    )


class _Packed(torch.Tensor):
    """What a quantised weight is: a tensor of a kind of its own."""


def test_a_growing_cache_serves_the_lane_too(tiny: Tiny) -> None:
    lane = lane_of(tiny, over=Growing(tiny.model, n_ctx=N_CTX, width=7))
    for ids in prompts(tiny):
        assert written(tiny, lane, ids, Draw(40)).out == generated(tiny, ids, 40)


def echo(compute: Callable[[], torch.Tensor]) -> tuple[Callable[[], None], torch.Tensor]:
    """Records a pass by keeping it: as often done and as fixed in its addresses as a CUDA graph."""
    compute()
    result = compute().clone()

    def replay() -> None:
        result.copy_(compute())

    return replay, result


@pytest.mark.parametrize("short", [False, True])
def test_recorded_passes_write_the_same_answers(tiny: Tiny, short: bool) -> None:
    """What a GPU does but for the graph: padded passes, fixed buffers, recordings of each shape and span."""
    forward = lean(tiny.model) if short else None
    over = Captured(tiny.model, n_ctx=N_CTX, width=7, padded=True, forward=forward, recorder=echo)
    lane = lane_of(tiny, over=over)
    longer = prompts(tiny)[3] * 2
    for ids in [*prompts(tiny), longer, prompts(tiny)[1]]:
        assert written(tiny, lane, ids, Draw(60)).out == generated(tiny, ids, 60)
    graphs = over.numbers()["single_graphs"]
    assert graphs >= 3
    night = written(tiny, lane, prompts(tiny)[0], Draw(40), adapter="night")
    assert night.out == generated(tiny, prompts(tiny)[0], 40)
    assert over.numbers()["single_graphs"] > graphs
    lane.forget("night")
    assert over.numbers() == {"single_graphs": graphs, "single_graphs_failed": 0}


def test_where_graphs_cannot_be_captured_passes_stay_eager(qwen: Tiny) -> None:
    """On a machine without CUDA: the real failure of a capture."""
    if torch.cuda.is_available():
        pytest.skip("graphs can be captured here")
    over = Captured(qwen.model, n_ctx=N_CTX, width=7, recorder=CudaGraphs(), padded=True)
    ids = prompts(qwen)[2]
    count = EAGER + 10
    assert written(qwen, lane_of(qwen, over=over), ids, Draw(count)).out == generated(qwen, ids, count)
    assert over.numbers() == {"single_graphs": 0, "single_graphs_failed": 1}


def test_a_prefix_is_read_once_and_changes_no_answer(tiny: Tiny) -> None:
    lane = lane_of(tiny, chunk=16)
    first, _, _, long = prompts(tiny)
    one = written(tiny, lane, long, Draw(20))
    assert one.cached == 0
    again = written(tiny, lane, long, Draw(20))
    assert (again.cached, again.out) == (len(long) - 1, one.out)
    longer = [*long, *one.out, *first]
    after = written(tiny, lane, longer, Draw(20))
    assert after.cached >= len(long) + 19
    assert after.out == generated(tiny, longer, 20)
    other = [*long[:30], *first, *long[40:]]
    forked = written(tiny, lane, other, Draw(20))
    assert forked.cached == 30
    assert forked.out == generated(tiny, other, 20)


def test_adapters_share_no_prefix(qwen: Tiny) -> None:
    lane = lane_of(qwen)
    ids = prompts(qwen)[1]
    assert written(qwen, lane, ids, Draw(4)).cached == 0
    assert written(qwen, lane, ids, Draw(4), adapter="night").cached == 0
    assert written(qwen, lane, ids, Draw(4), adapter="night").cached == len(ids) - 1
    lane.forget("night")
    assert written(qwen, lane, ids, Draw(4), adapter="night").cached == 0


def test_a_row_that_is_gone_or_aborted_leaves_the_lane_sound(tiny: Tiny) -> None:
    lane = lane_of(tiny, chunk=16)
    _, ids, _, long = prompts(tiny)
    row, events = row_of(tiny, long, Draw(50))
    lane.begin(row)
    lane.step()
    assert lane.busy is row
    assert not lane.can(row_of(tiny, ids, Draw(5))[0])
    row.gone = True
    lane.step()
    assert (lane.busy, events, row.out) == (None, [], [])

    row, events = row_of(tiny, long, Draw(50))
    lane.begin(row)
    while len(row.out) < 5:
        lane.step()
    lane.abort("the GPU fell off the bus")
    ended = events[-1]
    assert isinstance(ended, Ended)
    assert (ended.reason, ended.error) == ("error", "the GPU fell off the bus")
    assert row.cached > 0
    assert written(tiny, lane, ids, Draw(30)).out == generated(tiny, ids, 30)
    assert written(tiny, lane, long, Draw(30)).out == generated(tiny, long, 30)


def test_an_answer_ends_where_the_window_does(qwen: Tiny) -> None:
    ids = (prompts(qwen)[3] * 9)[: N_CTX - 20]
    row, events = row_of(qwen, ids, Draw(100))
    write(lane_of(qwen), row)
    assert len(row.out) == 20
    assert isinstance(events[-1], Ended)
    assert events[-1].reason == "length"
    assert row.out == generated(qwen, ids, 20)


@pytest.mark.parametrize("temperature", [0.0, 1.0])
def test_a_grammar_holds_with_drafts(tiny: Tiny, temperature: float) -> None:
    """The rules want what was there before, so that drafts are made, then an end or something else."""
    grammar = Grammar("regex", r"(x = 1\n){6}((y|z)[0-9]{3}\n)?")
    plain, drafting = lane_of(tiny, drafted=0), lane_of(tiny)
    ids = prompts(tiny)[2]
    accepted = 0
    for seed in range(4):
        draw = Draw(200, temperature=temperature, seed=seed)
        row, events = row_of(tiny, ids, draw, grammar=grammar)
        write(drafting, row)
        accepted += row.accepted
        text = "".join(event.text for event in events if isinstance(event, Piece))
        assert re.fullmatch(grammar.text, text)
        assert row.out == written(tiny, plain, ids, draw, grammar=grammar).out
    assert accepted > 0


def test_logprobs_are_told_with_drafts_too(qwen: Tiny) -> None:
    ids = prompts(qwen)[2]
    told = []
    for drafted in (0, 6):
        row, events = row_of(qwen, ids, Draw(30, logprobs=2))
        write(lane_of(qwen, drafted=drafted), row)
        pieces = [event for event in events if isinstance(event, Piece)]
        told.append([drawn for piece in pieces for drawn in piece.drawn])
    assert [drawn.id for drawn in told[0]] == [drawn.id for drawn in told[1]]
    for one, other in zip(*told, strict=True):
        assert one.logprob == pytest.approx(other.logprob, abs=1e-4)
        assert [top[0] for top in one.top] == [top[0] for top in other.top]
    assert row.drafted > 0


def test_broken_logits_end_one_answer_and_not_the_lane(qwen: Tiny) -> None:
    def broken(ids: torch.Tensor, _slots: Slots, keep: int) -> torch.Tensor:
        return torch.full((keep, qwen.model.config.vocab_size), float("nan")) * ids[0, -1]

    lane = lane_of(qwen, over=Captured(qwen.model, n_ctx=N_CTX, width=7, forward=broken))
    row, events = row_of(qwen, prompts(qwen)[1], Draw(5))
    write(lane, row)
    assert isinstance(events[-1], Ended)
    assert events[-1].reason == "error"
    assert "NaN" in events[-1].error
    assert row.out == []
