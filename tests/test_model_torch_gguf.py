"""GGUF files as weights for engine torch: converted once, exactly, by one process, or refused."""

import shutil
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import gguf
import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from transformers import AutoModelForCausalLM, LlamaConfig

from model import tiny
from model.errors import ModelError, NoSpace
from model.torch_files import quiet
from model.torch_gguf import Options, converted
from model.torch_weights import load

torch.set_num_threads(1)
Choose = Callable[[str, Any], tuple[Any, Any]]
"""(name in transformers, fp32 data) -> (data or None to leave it out, type or None for fp32)."""
PARTS = {
    "attn_q": "self_attn.q_proj",
    "attn_k": "self_attn.k_proj",
    "attn_v": "self_attn.v_proj",
    "attn_output": "self_attn.o_proj",
    "attn_norm": "input_layernorm",
    "ffn_norm": "post_attention_layernorm",
    "ffn_gate": "mlp.gate_proj",
    "ffn_up": "mlp.up_proj",
    "ffn_down": "mlp.down_proj",
    "token_embd": "model.embed_tokens",
    "output_norm": "model.norm",
    "output": "lm_head",
}


@pytest.fixture(scope="module")
def tiny_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny.write_tiny(tmp_path_factory.mktemp("gguf") / "tiny.gguf")


def test_a_gguf_file_is_converted_once_and_told_by_its_bytes(tiny_file: Path, tmp_path: Path) -> None:
    said: list[str] = []
    done: list[tuple[int, int]] = []
    options = Options(say=said.append, progress=lambda now, total: done.append((now, total)))
    folder = converted(tiny_file, tmp_path, options)
    assert done[-1][0] == done[-1][1] > 400_000
    assert len(said) == 1
    shutil.copyfile(tiny_file, tmp_path / "tiny.gguf")
    assert converted(tmp_path / "tiny.gguf", tmp_path, options) == folder
    assert len(said) == 1
    tiny.write_tiny(tmp_path / "tiny.gguf", seed=1)
    assert converted(tmp_path / "tiny.gguf", tmp_path, options) != folder
    assert [path.name for path in tmp_path.glob("*.part")] == []


def test_two_at_once_convert_once(tiny_file: Path, tmp_path: Path) -> None:
    """The lock is the file's, so that it holds between processes as between threads."""
    said: list[str] = []
    with ThreadPoolExecutor(2) as pool:
        found = [*pool.map(lambda _: converted(tiny_file, tmp_path, Options(say=said.append)), range(2))]
    assert found[0] == found[1]
    assert said.count("converting tiny.gguf for engine torch, once") == 1
    assert set(said) <= {
        "converting tiny.gguf for engine torch, once",
        "another process converts tiny.gguf; waiting for it",
    }


@pytest.mark.parametrize("kind", ["Q8_0", "Q4_0", "F16", "BF16"])
def test_what_was_rounded_becomes_bf16_and_the_rest_stays(tmp_path: Path, kind: str) -> None:
    """Rows are written a few at a time; the result is that of the whole."""
    names = gguf.GGMLQuantizationType[kind]
    path, wanted = rewritten(tmp_path, lambda _, data: (data, names if data.ndim == 2 else None))
    tensors = load_file(converted(path, tmp_path / "cache") / "model.safetensors")
    for name, (told, data) in wanted.items():
        tensor = tensors[name]
        matrix = data.ndim == 2
        assert tensor.dtype == (
            torch.float32 if not matrix else torch.float16 if kind == "F16" else torch.bfloat16
        )
        whole = torch.from_numpy(gguf.dequantize(told, names) if matrix else data)
        assert torch.equal(tensor, whole.to(tensor.dtype)), name


def rewritten(
    folder: Path, choose: Choose, arch: str = "qwen2", leave: tuple[str, ...] = ()
) -> tuple[Path, dict[str, tuple[Any, Any]]]:
    """A copy of the tiny file with other tensors; name in transformers -> (as written, in fp32)."""
    reader = gguf.GGUFReader(tiny.write_tiny(folder / "from.gguf"))
    path = folder / "to.gguf"
    writer = gguf.GGUFWriter(path, arch)
    for key, field in reader.fields.items():
        if key.startswith("GGUF.") or key == "general.architecture" or key in leave:
            continue
        kind, inner = field.types[0], field.types[-1] if len(field.types) > 1 else None
        writer.add_key_value(key.replace("qwen2.", f"{arch}."), field.contents(), kind, inner)
    found = {}
    for tensor in reader.tensors:
        stem, _, part = tensor.name.rpartition(".")
        layer, _, inner_name = stem.removeprefix("blk.").rpartition(".")
        name = f"model.layers.{layer}." * bool(layer) + f"{PARTS[inner_name]}.{part}"
        data, kind = choose(name, np.array(tensor.data))
        if data is not None:
            as_written = gguf.quantize(data, kind) if kind is not None else data
            writer.add_tensor(tensor.name, as_written, raw_dtype=kind)
            found[name] = (as_written, data)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path, found


def test_rows_of_a_llama_file_return_to_their_order(tmp_path: Path) -> None:
    """A llama model, its rows put in the order in which llama.cpp keeps them, comes back as it was."""
    config = LlamaConfig(
        vocab_size=270, hidden_size=64, intermediate_size=128, num_hidden_layers=2, num_attention_heads=4
    )
    torch.manual_seed(0)
    with quiet():
        model: Any = AutoModelForCausalLM.from_config(config)  # type: ignore[no-untyped-call]
    held = {name: weight.numpy() for name, weight in model.state_dict().items()}

    def choose(name: str, _data: Any) -> tuple[Any, Any]:
        data = held.get(name)
        if data is not None and (".q_proj." in name or ".k_proj." in name):
            data = data.reshape(4, 2, 8, 64).swapaxes(1, 2).reshape(64, 64)
        return data, None

    path, _ = rewritten(tmp_path, choose, arch="llama")
    loaded = load(path, device="cpu", cache=tmp_path / "cache")
    ids = torch.tensor([[1, 2, 3]])
    with torch.inference_mode():
        assert torch.allclose(loaded.model(ids).logits, model.eval()(ids).logits, atol=1e-5)


def test_no_room_and_damaged_gguf_files_leave_nothing_behind(tiny_file: Path, tmp_path: Path) -> None:
    whole = (tiny_file).read_bytes()
    with pytest.raises(NoSpace, match=r"takes 0\.3 GB as safetensors"):
        converted(tiny_file, tmp_path / "cache", Options(free_bytes=lambda _: 1000))
    for cut in (0, 3, 4, 20, 100, 5_000, len(whole) // 2, len(whole) - 100):
        (tmp_path / "cut.gguf").write_bytes(whole[:cut])
        with pytest.raises(ModelError, match=r"cut\.gguf"):
            converted(tmp_path / "cut.gguf", tmp_path / "cache")
    (tmp_path / "cut.gguf").write_bytes(whole.replace(b"qwen2", b"bloom", 1))
    with pytest.raises(ModelError, match="holds a bloom model"):
        converted(tmp_path / "cut.gguf", tmp_path / "cache")
    assert [path.name for path in (tmp_path / "cache").iterdir() if path.is_dir()] == ["hashes"]


def test_gguf_files_that_say_too_little_are_refused(tmp_path: Path) -> None:
    path, _ = rewritten(tmp_path, lambda name, data: (None if "layers.1.mlp" in name else data, None))
    with pytest.raises(ModelError, match=r"it has no tensor for model\.layers\.1\.mlp"):
        converted(path, tmp_path / "cache")
    path, _ = rewritten(tmp_path, lambda _, data: (data, None), leave=("qwen2.attention.head_count",))
    with pytest.raises(ModelError, match=r"it has no qwen2\.attention\.head_count"):
        converted(path, tmp_path / "cache")
