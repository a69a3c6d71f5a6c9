"""LoRA adapters on a tiny model: loaded, chosen, replaced, unloaded, and refused when they do not fit."""

import json
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from peft import LoraConfig, get_peft_model
from safetensors.torch import load_file, save_file

from model.errors import RequestRefused
from model.tiny_torch import write_tiny_torch
from model.torch_adapters import Adapters
from model.torch_files import quiet
from model.torch_weights import Loaded, load, plain_name

torch.set_num_threads(1)
IDS = torch.tensor([[262, 100, 101, 102, 10, 32, 61, 257]])


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_tiny_torch(tmp_path_factory.mktemp("base") / "tiny")


@pytest.fixture(scope="module")
def served(base: Path, tmp_path_factory: pytest.TempPathFactory) -> Loaded:
    return load(base, device="cpu", cache=tmp_path_factory.mktemp("cache"))


@pytest.fixture
def adapters(served: Loaded) -> Adapters:
    return Adapters(served.model, served.names)


@pytest.fixture
def trained(base: Path, tmp_path: Path) -> Callable[..., Path]:
    """Writes an adapter as PEFT does, with random weights that change answers."""

    def write(name: str, seed: int = 0, **more: Any) -> Path:
        torch.manual_seed(seed)
        model = load(base, device="cpu", cache=tmp_path / "cache").model
        asked = {"r": 4, "lora_alpha": 16, "target_modules": ["q_proj", "down_proj"], **more}
        peft = with_lora(model, LoraConfig(task_type="CAUSAL_LM", **asked))
        for key, weight in peft.named_parameters():
            if "lora_" in key:
                torch.nn.init.normal_(weight, std=0.3)
        peft.save_pretrained(tmp_path / name)
        torch.save(logits(peft), tmp_path / f"{name}.logits")
        return tmp_path / name

    return write


def with_lora(model: Any, config: LoraConfig) -> Any:
    with quiet():  # PEFT asks transformers by an old name
        return get_peft_model(model, config)


def logits(model: Any) -> torch.Tensor:
    with torch.inference_mode():
        found: torch.Tensor = model(IDS).logits
    return found


def parameters(model: Any) -> int:
    return sum(weight.numel() for weight in model.parameters())


def edit(folder: Path, **fields: object) -> Path:
    path = folder / "adapter_config.json"
    path.write_text(json.dumps(json.loads(path.read_text("utf-8")) | fields), "utf-8")
    return folder


@pytest.mark.parametrize(
    "more",
    [
        {},
        {"use_rslora": True},
        {"rank_pattern": {"down_proj": 2}, "alpha_pattern": {"layers.1.mlp.down_proj": 3}},
        {"target_modules": "all-linear"},
    ],
)
def test_an_adapter_answers_as_with_peft_and_the_base_as_if_there_were_none(
    served: Loaded, adapters: Adapters, trained: Callable[..., Path], more: dict[str, Any]
) -> None:
    before, held = logits(served.model), parameters(served.model)
    folder = trained("one", **more)
    about = adapters.load("one", folder)
    assert (about.name, about.path, about.rank, len(about.sha256)) == ("one", str(folder), 4, 64)
    assert adapters.list() == (about,)
    assert torch.equal(logits(served.model), before)
    adapters.use("one")
    wanted = torch.load(f"{folder}.logits", weights_only=True)
    assert torch.allclose(logits(served.model), wanted, atol=1e-5)
    assert not torch.allclose(wanted, before, atol=0.1)
    assert parameters(served.model) > held
    adapters.use("")
    assert torch.equal(logits(served.model), before)
    adapters.use("one")
    adapters.unload("one")
    assert torch.equal(logits(served.model), before)
    assert (parameters(served.model), adapters.list(), adapters.used) == (held, (), "")
    assert not hasattr(served.model, "peft_config")


def test_adapters_are_kept_apart_and_replaced(
    served: Loaded, adapters: Adapters, trained: Callable[..., Path]
) -> None:
    one, two = trained("one", seed=1), trained("two", seed=2, target_modules=["v_proj"], r=2)
    adapters.load("a", one)
    adapters.load("b", two)
    first = adapters.serial("a")
    for name, folder in [("a", one), ("b", two), ("a", one)]:
        adapters.use(name)
        wanted = torch.load(f"{folder}.logits", weights_only=True)
        assert torch.allclose(logits(served.model), wanted, atol=1e-5)
    adapters.load("a", two)  # while it is in use
    assert adapters.used == ""
    assert adapters.serial("a") != first
    adapters.use("a")
    assert torch.allclose(logits(served.model), torch.load(f"{two}.logits", weights_only=True), atol=1e-5)
    (one / "adapter_model.safetensors").rename(one / "adapter_model.bin")
    with pytest.raises(RequestRefused, match="is a pickle"):
        adapters.load("a", one)
    assert [held.rank for held in adapters.list()] == [2, 2]  # the refused one replaced nothing
    adapters.unload("a")
    adapters.unload("b")


def test_generation_goes_through_the_adapter_in_use(
    served: Loaded, adapters: Adapters, trained: Callable[..., Path]
) -> None:
    adapters.load("one", trained("one"))

    def answer() -> list[int]:
        mask = torch.ones_like(IDS)
        written = served.model.generate(IDS, attention_mask=mask, max_new_tokens=12, do_sample=False)
        return [*map(int, written[0, IDS.shape[1] :])]

    base = answer()
    adapters.use("one")
    assert answer() != base
    adapters.unload("one")
    assert answer() == base


def test_choosing_costs_microseconds_and_unloading_gives_memory_back(
    adapters: Adapters, trained: Callable[..., Path]
) -> None:
    folder = trained("one")
    for name in ("a", "b"):
        adapters.load(name, folder)
    start = time.perf_counter()
    for _ in range(200):
        adapters.use("a")
        adapters.use("b")
    assert (time.perf_counter() - start) / 400 < 0.002
    weights = [
        weight
        for spot in adapters._held["a"].spots
        for weight in spot.adapted.parameters()
        if weight.ndim == 2
    ]
    counts = [sys.getrefcount(weight) for weight in weights[:1]]
    adapters.unload("a")
    assert sys.getrefcount(weights[0]) < counts[0]


def test_an_adapter_fits_a_quantised_base(base: Path, trained: Callable[..., Path], tmp_path: Path) -> None:
    served = load(base, device="cpu", quantize="int8", cache=tmp_path / "cache")
    adapters = Adapters(served.model, served.names)
    before = logits(served.model)
    adapters.load("one", trained("one"))
    adapters.use("one")
    assert not torch.allclose(logits(served.model), before, atol=0.1)
    adapters.unload("one")
    assert torch.equal(logits(served.model), before)


def test_an_adapter_of_an_mpt_model_is_served(tmp_path: Path) -> None:
    served = load(write_tiny_torch(tmp_path / "mpt", kind="mpt"), device="cpu", cache=tmp_path / "cache")
    before = logits(served.model)
    other = load(tmp_path / "mpt", device="cpu", cache=tmp_path / "cache").model
    peft = with_lora(other, LoraConfig(target_modules=["Wqkv"], init_lora_weights="gaussian"))
    torch.nn.init.normal_(peft.base_model.model.transformer.blocks[0].attn.Wqkv.lora_B["default"].weight)
    peft.save_pretrained(tmp_path / "one")
    adapters = Adapters(served.model, served.names)
    adapters.load("one", tmp_path / "one")
    adapters.use("one")
    assert torch.allclose(logits(served.model), logits(peft), atol=1e-5)
    assert not torch.allclose(logits(served.model), before, atol=1e-3)


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"base_model_name_or_path": "Qwen/Qwen2.5-Coder-7B"}, r"made for Qwen/.*7B, but tiny is served"),
        ({"peft_type": "IA3"}, "of kind 'IA3'"),
        ({"modules_to_save": ["lm_head"]}, "asks for modules_to_save"),
        ({"use_dora": True, "bias": "all"}, "asks for bias, use_dora"),
        ({"megatron_config": {"a": 1}}, "asks for megatron_config"),
        ({"init_lora_weights": "pissa"}, "asks for init_lora_weights"),
        ({"alpha_pattern": {"(a+)+$": 1}}, "alpha_pattern"),
        ({"lora_alpha": "16"}, "lora_alpha is no number"),
    ],
)
def test_what_an_adapter_may_not_ask_for(
    adapters: Adapters, trained: Callable[..., Path], fields: dict[str, object], said: str
) -> None:
    with pytest.raises(RequestRefused, match=said):
        adapters.load("one", edit(trained("one"), **fields))
    assert adapters.list() == ()


def test_an_adapter_of_another_shape_or_with_other_tensors_is_refused(
    adapters: Adapters, trained: Callable[..., Path]
) -> None:
    folder = trained("one")
    file = folder / "adapter_model.safetensors"
    tensors = load_file(file)
    key = min(tensors)
    wrong = {
        "made for .*tiny, not for tiny": {**tensors, key: torch.zeros(4, 96)},
        "which tiny does not have": {k.replace("layers.1", "layers.7"): v for k, v in tensors.items()},
        "no part of a plain LoRA": {**tensors, "base_model.model.lm_head.weight": torch.zeros(2, 2)},
        "has no tensors": {},
    }
    for said, changed in wrong.items():
        save_file(changed, file)
        with pytest.raises(RequestRefused, match=said):
            adapters.load("one", folder)
    file.write_bytes(b"\x80\x04")
    with pytest.raises(RequestRefused, match="no whole safetensors file"):
        adapters.load("one", folder)
    (folder / "adapter_config.json").write_text("[" * 100_000, "utf-8")
    with pytest.raises(RequestRefused, match="cannot be read"):
        adapters.load("one", folder)


def test_code_and_bad_names_and_what_is_not_loaded_are_refused(
    adapters: Adapters, trained: Callable[..., Path]
) -> None:
    folder = trained("one")
    with pytest.raises(RequestRefused, match="cannot be a model's name"):
        adapters.load("../one", folder)
    (folder / "model.py").write_text("raise SystemExit", "utf-8")
    with pytest.raises(RequestRefused, match="code of its own"):
        adapters.load("one", folder)
    for call in (adapters.use, adapters.unload):
        with pytest.raises(RequestRefused, match="no adapter 'one' is loaded"):
            call("one")


@pytest.mark.parametrize(
    "name",
    [
        "Qwen/Qwen2.5-Coder-1.5B-Instruct",
        "Qwen2.5 Coder 1.5B Instruct GGUF",
        "qwen2.5-coder-1.5b-instruct-q4_k_m",
        "/models/Qwen2.5-Coder-1.5B-Instruct/",
        "/hub/models--Qwen--Qwen2.5-Coder-1.5B-Instruct/snapshots/abc",
        "qwen2.5-coder-1.5b-instruct-fp16.gguf",
    ],
)
def test_one_model_has_many_names(name: str) -> None:
    assert plain_name(name) == "qwen25coder15binstruct"
