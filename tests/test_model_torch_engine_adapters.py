"""Engine `torch` with adapters: chosen per request, replaced and unloaded while it serves."""

import copy
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from peft import LoraConfig, get_peft_model
from transformers import PreTrainedModel

from model.errors import RequestRefused
from model.torch_adapters import Adapters
from model.torch_engine import TorchEngine
from model.torch_files import quiet
from model.torch_single import SingleLane
from tests.torch_engine_kit import N_CTX, Heard, engine, job, prompt, tiny_model

pytestmark = pytest.mark.engine

IDS = prompt(100)


def saved(folder: Path, seed: int) -> str:
    """An adapter with random weights that change answers."""
    torch.manual_seed(seed)
    model = copy.deepcopy(tiny_model()[0])
    with quiet():
        tuned = get_peft_model(
            model, LoraConfig(task_type="CAUSAL_LM", r=4, target_modules=["q_proj", "down_proj"])
        )
    for name, weight in tuned.named_parameters():
        if "lora_" in name:
            torch.nn.init.normal_(weight, std=0.5)
    tuned.save_pretrained(str(folder), save_embedding_layers=False)
    return str(folder)


@pytest.fixture
def folders(tmp_path: Path) -> dict[str, str]:
    return {name: saved(tmp_path / name, seed) for seed, name in enumerate("ab")}


@pytest.fixture(params=[False, True], ids=["batch", "fast"])
def served(request: pytest.FixtureRequest) -> Iterator[TorchEngine]:
    model: PreTrainedModel = copy.deepcopy(tiny_model()[0])
    single = SingleLane(model, n_ctx=N_CTX) if request.param else None
    with engine(model, single=single, adapters=Adapters(model)) as one:
        yield one


def expected(folder: str | None) -> list[int]:
    """What transformers writes with this adapter, its end left out."""
    model: Any = copy.deepcopy(tiny_model()[0])
    adapters = Adapters(model)
    if folder is not None:
        adapters.load("it", Path(folder))
        adapters.use("it")
    out = model.generate(torch.tensor([IDS]), max_new_tokens=10, do_sample=False)[0, len(IDS) :].tolist()
    return [token for token in out if token not in tiny_model()[1].ends]


def answer(served: TorchEngine, adapter: str = "") -> tuple[list[int], int]:
    """Ids and cached tokens."""
    heard = Heard()
    served.submit(job(IDS, 10, adapter=adapter), heard)
    [end] = heard.ended()
    assert end.reason != "error", end.error
    return heard.ids(), end.cost.cached_tokens


def test_each_request_has_its_adapter_and_no_others_prefix(
    served: TorchEngine, folders: dict[str, str]
) -> None:
    for name, folder in folders.items():
        assert served.load_adapter(name, folder).name == name
    assert [one.name for one in served.adapters()] == ["a", "b"]
    want = {"": expected(None)} | {name: expected(folder) for name, folder in folders.items()}
    assert len({tuple(ids) for ids in want.values()}) == 3
    for name, ids in want.items():
        assert answer(served, name) == (ids, 0)
    for name, ids in want.items():
        assert answer(served, name)[0] == ids


def test_adapters_share_the_engine_at_the_same_time(served: TorchEngine, folders: dict[str, str]) -> None:
    want = {"": expected(None)}
    for name, folder in folders.items():
        served.load_adapter(name, folder)
        want[name] = expected(folder)
    heard = {(name, number): Heard() for name in want for number in range(3)}
    for (name, _), one in heard.items():
        served.submit(job(IDS, 10, adapter=name), one)
    for (name, _), one in heard.items():
        one.ended()
        assert one.ids() == want[name]


def test_a_replaced_adapter_ends_its_answers_first(served: TorchEngine, folders: dict[str, str]) -> None:
    served.load_adapter("x", folders["a"])
    assert answer(served, "x")[0] == expected(folders["a"])
    running, waiting = Heard(), Heard()
    served.submit(job(prompt(30, 7), 200, adapter="x"), running)
    running.begun()
    loading = threading.Thread(target=served.load_adapter, args=("x", folders["b"]))
    loading.start()
    loading.join()
    assert running.ended(timeout=0)[0].reason != "error"
    served.submit(job(IDS, 10, adapter="x"), waiting)
    assert waiting.ended()[0].cost.cached_tokens == 0
    assert waiting.ids() == expected(folders["b"])


def test_an_unloaded_adapter_is_refused(served: TorchEngine, folders: dict[str, str]) -> None:
    served.load_adapter("x", folders["a"])
    served.unload_adapter("x")
    assert served.adapters() == []
    with pytest.raises(RequestRefused, match="x"):
        served.submit(job(IDS, adapter="x"), Heard())
    with pytest.raises(RequestRefused):
        served.unload_adapter("x")
    with pytest.raises(RequestRefused):
        served.load_adapter("x", "/nowhere")
    assert answer(served) == (expected(None), 0)
