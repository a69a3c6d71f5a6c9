"""Continued training on texts: pieces, gaps, replay, passes, the learning rate, the optimizer."""

import math
import random
from pathlib import Path
from typing import Any

import pytest
import torch

from model.catalogue import FimTokens
from model.torch_text import Text
from model.train_corpus import blocks, gap, mixed, pieces
from model.train_errors import RowsRefused
from model.train_job import RATES, Corpus, Job, Progressed
from model.train_lion import LionW
from model.train_rows import Document, Rows
from model.train_run import run
from tests.train_kit import job, loaded, text_of, tiny_base, trained

FIM = FimTokens(prefix="<|fim_prefix|>", suffix="<|fim_suffix|>", middle="<|fim_middle|>")
CODE = "def add(a, b):\n    return a + b\n\n\ndef twice(x):\n    return add(x, x)\n"


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_base(tmp_path_factory.mktemp("base"))


@pytest.fixture(scope="module")
def text(base: Path, tmp_path_factory: pytest.TempPathFactory) -> Text:
    return text_of(loaded(base, tmp_path_factory.mktemp("cache")), FIM)


def end_of(text: Text) -> int:
    [end] = [id for id in text.controls if text.decode([id]) == "<|endoftext|>"]
    return end


def test_pieces_are_the_text_and_fit(text: Text) -> None:
    long = "".join(f"line {n} of a long text\n" for n in range(40)) + "x" * 300
    found = list(pieces(long, text, 50))
    assert "".join(found) == long
    assert all(len(text.text_ids(piece)) <= 50 for piece in found)
    assert sum(piece.endswith("\n") for piece in found) > len(found) / 2


def test_a_gap_is_the_text_with_its_middle_last(text: Text) -> None:
    for seed in range(50):
        told = text.decode(gap(CODE, text, random.Random(seed)))
        prefix, _, rest = told.removeprefix(FIM.prefix).partition(FIM.suffix)
        suffix, _, middle = rest.partition(FIM.middle)
        assert prefix + middle + suffix == CODE
    odd = "a <|fim_middle|> b"  # of a text that only talks of the token
    ids = gap(odd, text, random.Random(1))
    assert sum(id in text.controls for id in ids) == 3


def test_half_of_the_texts_are_cut_and_each_pass_cuts_anew(text: Text) -> None:
    documents = [Document(f"# {n}\n{CODE}") for n in range(200)]
    one = mixed(documents, text, end_of(text), Corpus(block=128), 0)
    assert 0.4 < one.infilled / one.pieces < 0.6
    two = mixed(documents, text, end_of(text), Corpus(block=128, epochs=2), 0)
    assert two.rows[: len(one.rows)] == one.rows
    assert two.rows[len(one.rows) :] != one.rows
    assert two.pieces == 2 * one.pieces
    assert mixed(documents, text, end_of(text), Corpus(block=128, infill=0), 0).infilled == 0
    assert mixed(documents, text, end_of(text), Corpus(block=128), 1).rows != one.rows


def test_texts_stay_whole_in_their_blocks(text: Text) -> None:
    end = end_of(text)
    found = mixed([Document(f"# {n}\n{CODE}") for n in range(20)], text, end, Corpus(block=128), 0)
    assert all(len(row.ids) <= 128 and row.ids == row.labels for row in found.rows)
    assert all(row.ids[-1] == end for row in found.rows)
    assert [len(row.ids) for row in blocks([[1] * 3, [2] * 3, [3] * 9], 6)] == [6, 6, 3]


@pytest.mark.parametrize("share", [0.0, 0.05, 0.2])
def test_general_texts_have_their_share(text: Text, share: float) -> None:
    documents = [
        *(Document(f"# {n}\n{CODE}") for n in range(300)),
        *(Document(f"General words, number {n}, about nothing.\n", general=True) for n in range(30)),
    ]
    found = mixed(documents, text, end_of(text), Corpus(block=256, replay=share), 0)
    assert found.replayed == pytest.approx(share, abs=0.01)


def test_a_corpus_needs_texts_and_at_most_four_passes(text: Text) -> None:
    with pytest.raises(RowsRefused, match="no texts"):
        mixed([Document("general\n", general=True)], text, end_of(text), Corpus(), 0)
    with pytest.raises(ValueError, match="less than or equal to 4"):
        Corpus(epochs=5)


def rates(base: Path, folder: Path, **corpus: Any) -> list[float]:
    told = list[Any]()
    rows = Rows(documents=[Document(f"# {n}\n{CODE}") for n in range(16)])
    asked: Job = job(
        base, folder, corpus=Corpus(block=128, **corpus), warmup=0.25, batch_rows=1, micro_rows=1
    )
    (folder / "work").mkdir(parents=True)
    run(asked.model_copy(update={"fim": FIM}), rows, told.append, lambda: False)
    return [event.rate for event in told if isinstance(event, Progressed)]


def test_the_rate_is_warmed_up_again_and_falls_to_a_tenth(base: Path, tmp_path: Path) -> None:
    found = rates(base, tmp_path, optimizer="lion")
    top = RATES["lion"]
    assert found[0] == 0
    assert max(found) == pytest.approx(top)
    assert found.index(max(found)) == len(found) // 4
    assert found[-1] == pytest.approx(top / 10, rel=0.3)
    assert found[-1] >= top / 10


def test_without_a_new_warming_it_stays_where_training_had_ended(base: Path, tmp_path: Path) -> None:
    [rate] = set(rates(base, tmp_path, schedule="constant"))
    assert rate == pytest.approx(RATES["adamw"] / 10)


def test_an_adapter_learns_the_code(base: Path, tmp_path: Path) -> None:
    rows = Rows(documents=[Document(CODE) for _ in range(8)])
    facts = trained(
        base, tmp_path, rows, corpus=Corpus(block=128, lr=1e-2, epochs=4), batch_rows=1, micro_rows=1
    )
    [stage] = facts.stages
    assert stage.stage == "corpus"
    assert stage.last_loss < 0.7 * stage.first_loss


def test_lion_moves_as_the_paper_says() -> None:
    weight = torch.nn.Parameter(torch.tensor([1.0, -2.0, 3.0]))
    lion = LionW([weight], lr=0.1, betas=(0.9, 0.99), weight_decay=0.5)
    value, momentum = [1.0, -2.0, 3.0], [0.0, 0.0, 0.0]
    for grad in ([0.5, -1.0, 0.0], [-0.01, 2.0, 0.0], [-3.0, 0.1, 0.0]):
        weight.grad = torch.tensor(grad)
        lion.step()
        for at, g in enumerate(grad):
            mix = 0.9 * momentum[at] + 0.1 * g
            sign = math.copysign(1, mix) if mix else 0.0
            value[at] = value[at] * (1 - 0.1 * 0.5) - 0.1 * sign
            momentum[at] = 0.99 * momentum[at] + 0.01 * g
        assert weight.tolist() == pytest.approx(value, rel=1e-5)
    assert lion.step(lambda: 7.0) == 7.0
    with pytest.raises(ValueError, match="no setting"):
        LionW([weight], lr=-1)
