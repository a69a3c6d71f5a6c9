"""MPT models in the layouts in which they were published: converted, computed as defined, or refused."""

import json
import math
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file

from model.errors import ModelError
from model.tiny_torch import write_tiny_torch
from model.torch_mpt import convert, main
from model.torch_weights import load

torch.set_num_threads(1)
EARLY: dict[str, Any] = {
    "model_type": "mosaic_gpt",
    "auto_map": {"AutoModelForCausalLM": "mosaic_gpt.MosaicGPT"},
    "d_model": 48,
    "n_heads": 6,
    "n_layers": 2,
    "mlp_ratio": 4,
    "max_seq_len": 256,
    "vocab_size": 270,
    "alibi": True,
    "alibi_bias_max": 8,
    "attn_clip_qkv": 1.5,
    "attn_qk_ln": False,
    "prefix_lm": False,
    "no_bias": True,
    "logit_scale": None,
    "eos_token_id": 263,
}
LATE: dict[str, Any] = {
    **{key: EARLY[key] for key in ("d_model", "n_heads", "n_layers", "max_seq_len", "vocab_size", "no_bias")},
    "model_type": "mpt",
    "auto_map": {"AutoModelForCausalLM": "modeling_mpt.MPTForCausalLM"},
    "expansion_ratio": 4,
    "attn_config": {"alibi": True, "attn_type": "multihead_attention", "clip_qkv": None, "qk_ln": False},
    "norm_type": "low_precision_layernorm",
}
NAMES = {
    "early": ("ln_1", "ln_2", "ln_f", "mlp.mlp_up", "mlp.mlp_down"),
    "late": ("norm_1", "norm_2", "norm_f", "ffn.up_proj", "ffn.down_proj"),
}


def published(folder: Path, layout: str, config: dict[str, Any]) -> dict[str, torch.Tensor]:
    """Writes random weights as MPT models were published; returns them."""
    one, two, last, up, down = NAMES[layout]
    draw = torch.Generator().manual_seed(3)
    width, vocabulary = config["d_model"], config["vocab_size"]
    shapes: dict[str, tuple[int, ...]] = {
        "transformer.wte.weight": (vocabulary, width),
        f"transformer.{last}.weight": (width,),
    }
    for layer in range(config["n_layers"]):
        block = f"transformer.blocks.{layer}."
        shapes |= {
            f"{block}{one}.weight": (width,),
            f"{block}{two}.weight": (width,),
            f"{block}attn.Wqkv.weight": (3 * width, width),
            f"{block}attn.out_proj.weight": (width, width),
            f"{block}{up}.weight": (4 * width, width),
            f"{block}{down}.weight": (width, 4 * width),
        }
    tensors = {name: torch.randn(*shape, generator=draw) * 0.3 for name, shape in shapes.items()}
    folder.mkdir(exist_ok=True)
    save_file(tensors, folder / "model.safetensors")
    (folder / "config.json").write_text(json.dumps(config), "utf-8")
    write_tiny_torch(folder / "other")
    for name in ("tokenizer.json", "tokenizer_config.json"):
        (folder / "other" / name).rename(folder / name)
    shutil.rmtree(folder / "other")
    return tensors


def reference(
    tensors: dict[str, torch.Tensor], layout: str, config: dict[str, Any], ids: list[int]
) -> torch.Tensor:
    """Logits by the published definition: pre-norm blocks, ALiBi, causal attention, GELU; no biases."""
    one, two, last, up, down = NAMES[layout]
    heads, width = config["n_heads"], config["d_model"]
    clip = config.get("attn_clip_qkv") or config.get("attn_config", {}).get("clip_qkv")
    power = 2 ** math.ceil(math.log2(heads))
    slopes = [2 ** (-8 * (index + 1) / power) for index in range(power)]
    if power != heads:
        slopes = [*slopes[1::2], *slopes[::2]][:heads]
    where = torch.arange(len(ids))
    distance = where[:, None] - where[None, :]
    bias = -torch.tensor(slopes)[:, None, None] * distance
    bias = bias.masked_fill(distance < 0, -math.inf)

    def norm(x: torch.Tensor, name: str) -> torch.Tensor:
        return torch.nn.functional.layer_norm(x, (width,), tensors[f"{name}.weight"])

    x = tensors["transformer.wte.weight"][torch.tensor(ids)]
    for layer in range(config["n_layers"]):
        block = f"transformer.blocks.{layer}."
        qkv = norm(x, block + one) @ tensors[f"{block}attn.Wqkv.weight"].T
        if clip:
            qkv = qkv.clamp(-clip, clip)
        q, k, v = (part.view(len(ids), heads, -1).transpose(0, 1) for part in qkv.chunk(3, dim=-1))
        weights = torch.softmax(q @ k.transpose(1, 2) / math.sqrt(width / heads) + bias, dim=-1)
        mixed = (weights @ v).transpose(0, 1).reshape(len(ids), width)
        x = x + mixed @ tensors[f"{block}attn.out_proj.weight"].T
        inner = torch.nn.functional.gelu(norm(x, block + two) @ tensors[f"{block}{up}.weight"].T)
        x = x + inner @ tensors[f"{block}{down}.weight"].T
    return norm(x, f"transformer.{last}") @ tensors["transformer.wte.weight"].T


@pytest.mark.parametrize(("layout", "config"), [("early", EARLY), ("late", LATE), ("late", EARLY)])
def test_a_converted_model_computes_what_the_layout_means(
    tmp_path: Path, layout: str, config: dict[str, Any]
) -> None:
    tensors = published(tmp_path / "src", layout, config)
    convert(tmp_path / "src", tmp_path / "dst")
    loaded = load(tmp_path / "dst", device="cpu", cache=tmp_path / "cache")
    ids = torch.randint(270, (40,), generator=torch.Generator().manual_seed(0)).tolist()
    with torch.inference_mode():
        found = loaded.model(torch.tensor([ids])).logits[0]
    assert torch.allclose(found, reference(tensors, layout, config, ids), atol=1e-4)
    assert loaded.n_ctx == 256
    assert loaded.tokenizer.decode(loaded.tokenizer("x = 1")["input_ids"]) == "x = 1"
    assert not list((tmp_path / "dst").glob("*.py"))


def test_the_command_converts_and_tells_what_is_wrong(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    published(tmp_path / "src", "early", EARLY)
    arguments = [str(tmp_path / "src"), str(tmp_path / "dst")]
    assert main(arguments) == 0
    assert capsys.readouterr() == (f"{tmp_path / 'dst'}\n", "")
    assert main(arguments) == 1
    assert capsys.readouterr().err == f"error: {tmp_path / 'dst'} is there already\nhint: name a new folder\n"


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"alibi": False}, "positions other than ALiBi"),
        ({"attn_qk_ln": True}, "norms of queries and keys"),
        ({"prefix_lm": True}, "prefixes read both ways"),
        ({"mlp_ratio": 3}, "not four times as wide"),
        ({"logit_scale": "inv_sqrt_d_model"}, "scaled logits"),
        ({"norm_type": "rmsnorm"}, "norms of kind rmsnorm"),
        ({"attn_config": {"alibi": True, "attn_type": "multiquery_attention"}}, "shared keys"),
        ({"n_heads": None}, "tells no n_heads"),
        ({"model_type": "gpt2"}, "not that of an MPT model"),
        ({"d_model": 60}, "which the model of config.json has not"),
        ({"n_layers": 3}, "has no tensor for transformer.blocks.2"),
    ],
)
def test_shapes_that_would_be_computed_wrongly_are_refused(
    tmp_path: Path, fields: dict[str, Any], said: str
) -> None:
    published(tmp_path / "src", "early", EARLY)
    (tmp_path / "src" / "config.json").write_text(json.dumps(EARLY | fields), "utf-8")
    with pytest.raises(ModelError, match=said):
        convert(tmp_path / "src", tmp_path / "dst")
    assert [path.name for path in tmp_path.iterdir()] == ["src"]


def test_biases_pickles_and_missing_tokenizers_are_refused(tmp_path: Path) -> None:
    source, target = tmp_path / "src", tmp_path / "dst"
    tensors = published(source, "early", EARLY)
    save_file(tensors | {"transformer.ln_f.bias": torch.zeros(48)}, source / "model.safetensors")
    with pytest.raises(ModelError, match=r"has a tensor transformer\.ln_f\.bias"):
        convert(source, target)
    save_file(tensors, source / "model.safetensors")
    (source / "tokenizer.json").rename(source / "spiece.model")
    with pytest.raises(ModelError, match=r"only the SentencePiece model spiece\.model") as raised:
        convert(source, target)
    assert "convert_slow_tokenizer" in raised.value.hint
    (source / "model.safetensors").rename(source / "pytorch_model.bin")
    with pytest.raises(ModelError, match="is a pickle"):
        convert(source, target)
    assert not target.exists()


@pytest.mark.parametrize(("layout", "config"), [("early", EARLY), ("early", LATE)])
def test_a_published_layout_is_not_served_as_it_is(
    tmp_path: Path, layout: str, config: dict[str, Any]
) -> None:
    published(tmp_path / "src", layout, config)
    with pytest.raises(ModelError) as raised:
        load(tmp_path / "src", device="cpu", cache=tmp_path / "cache")
    assert raised.value.hint == f"python -m model.torch_mpt {tmp_path / 'src'} NEW_FOLDER"
