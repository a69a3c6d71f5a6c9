"""A LoRA adapter as a GGUF file: names, orientation, scales, nothing permuted; and what has no such form."""

import math
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import gguf
import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from model.adapter_add import lora
from model.adapter_gguf import Lora, write_gguf
from model.adapter_store import GGUF, WEIGHTS
from model.errors import AdapterRefused
from model.torch_adapters import read
from model.torch_weights import skeleton
from tests.adapter_kit import Home

Q = "model.layers.1.self_attn.q_proj"


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Home:
    return Home(tmp_path_factory.mktemp("home"))


def tensors(path: Path) -> dict[str, Any]:
    """By name, in numpy's order of axes."""
    return {tensor.name: tensor.data for tensor in gguf.GGUFReader(path).tensors}


def value(path: Path, key: str) -> Any:
    return gguf.GGUFReader(path).fields[key].contents()


def test_every_tensor_is_there_as_peft_wrote_it_and_q_and_k_are_not_permuted(home: Home) -> None:
    folder = home.trained()
    path = home.store.path(home.add(folder).name) / GGUF
    assert (value(path, "general.type"), value(path, "adapter.type")) == ("adapter", "lora")
    assert (value(path, "general.architecture"), value(path, "adapter.lora.alpha")) == ("qwen2", 8.0)
    written, trained = tensors(path), load_file(folder / WEIGHTS)
    assert len(written) == len(trained) == 2 * 2 * 7
    names = {"q_proj": "attn_q", "k_proj": "attn_k", "down_proj": "ffn_down", "o_proj": "attn_output"}
    for ours, theirs in names.items():
        part = "mlp" if ours == "down_proj" else "self_attn"
        for ab in "AB":
            wanted = trained[f"base_model.model.model.layers.1.{part}.{ours}.lora_{ab}.weight"]
            found = written[f"blk.1.{theirs}.weight.lora_{ab.lower()}"]
            assert np.array_equal(found, wanted.numpy())  # (rank, in) and (out, rank), row by row


def test_other_scales_are_carried_by_b(home: Home, tmp_path: Path) -> None:
    model, names = skeleton(home.weights, home.cache)
    for more, factor in (
        ({"use_rslora": True}, {"q_proj": 2.0, "down_proj": 2.0}),
        ({"alpha_pattern": {"down_proj": 24}}, {"q_proj": 1.0, "down_proj": 3.0}),
        ({"rank_pattern": {"down_proj": 2}}, {"q_proj": 1.0, "down_proj": 1.0}),
    ):
        folder = home.trained(seed=5, target_modules=["q_proj", "down_proj"], **more)
        told = lora(read(folder, model, names))
        write_gguf(told, model.config, tmp_path / "a.gguf")
        written = tensors(tmp_path / "a.gguf")
        for module, part, theirs in (("q_proj", "self_attn", "attn_q"), ("down_proj", "mlp", "ffn_down")):
            key = f"model.layers.0.{part}.{module}"
            wanted = told.tensors[f"{key}.lora_B.weight"] * factor[module]
            found = written[f"blk.0.{theirs}.weight.lora_b"]
            assert np.allclose(found, wanted.numpy(), rtol=1e-6)
            rank = found.shape[1]  # what llama.cpp divides alpha by
            assert math.isclose(told.scales[key], told.alpha / rank * factor[module])


def test_what_llama_cpp_has_no_tensor_for_is_refused(tmp_path: Path) -> None:
    def one(module: str) -> Lora:
        pair = {f"{module}.lora_A.weight": torch.ones(1, 4), f"{module}.lora_B.weight": torch.ones(4, 1)}
        return Lora(pair, 2.0, {module: 2.0})

    config = SimpleNamespace(model_type="qwen2", num_hidden_layers=2, tie_word_embeddings=True)
    for module in ("lm_head", "model.layers.9.self_attn.q_proj", "model.layers.0.self_attn.z_proj"):
        with pytest.raises(AdapterRefused, match=f"no tensor for {module}"):
            write_gguf(one(module), config, tmp_path / "a.gguf")
    write_gguf(one(Q), config, tmp_path / "a.gguf")
    with pytest.raises(AdapterRefused, match="adapters of llama models are not converted") as caught:
        write_gguf(one(Q), SimpleNamespace(model_type="llama", num_hidden_layers=2), tmp_path / "b.gguf")
    assert caught.value.hint == "serve it with engine torch"
