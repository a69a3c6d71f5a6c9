"""Tiny random transformers models, written in a moment: what tests of engine `torch` serve.

The qwen2 kind has the very weights, vocabulary and template of the GGUF file that `model.tiny.write_tiny`
writes for the same seed, so that the engines can be compared token for token. The mpt kind has the shape of
the MPT family (ALiBi, no biases) with the same vocabulary. They know nothing.
"""

from pathlib import Path
from typing import Literal

import torch
from safetensors.torch import save_file
from transformers import MptConfig, Qwen2Config

from model import tiny, torch_vocabulary

_PARTS = {
    "attn_q": "self_attn.q_proj",
    "attn_k": "self_attn.k_proj",
    "attn_v": "self_attn.v_proj",
    "attn_output": "self_attn.o_proj",
    "attn_norm": "input_layernorm",
    "ffn_norm": "post_attention_layernorm",
    "ffn_gate": "mlp.gate_proj",
    "ffn_up": "mlp.up_proj",
    "ffn_down": "mlp.down_proj",
}
"""Names in a GGUF file -> names in transformers, inside one layer."""
_OUTER = {"token_embd": "model.embed_tokens", "output_norm": "model.norm", "output": "lm_head"}


def write_tiny_torch(
    folder: Path, *, kind: Literal["qwen2", "mpt"] = "qwen2", seed: int = 0, n_ctx: int = 4096
) -> Path:
    """Writes config.json, model.safetensors (fp32), tokenizer.json and tokenizer_config.json.

    `n_ctx` is the window in tokens. Greedy answers of the qwen2 kind equal those of `write_tiny(seed=seed)`.
    """
    folder.mkdir(parents=True, exist_ok=True)
    tokens = [*tiny.byte_letters(), *(a + b for a, b in tiny.MERGES), *tiny.CONTROL]
    if kind == "qwen2":
        _qwen2_config(tokens, n_ctx).save_pretrained(folder)
        weights = _qwen2_weights(len(tokens), seed)
    else:
        _mpt_config(tokens, n_ctx).save_pretrained(folder)
        weights = _mpt_weights(len(tokens), seed)
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
    letters = torch_vocabulary.Letters(
        tokens=tokens,
        merges=tiny.MERGES,
        cut="qwen2",
        control=tiny.CONTROL,
        roles={"eos_token": "<|im_end|>", "pad_token": "<|endoftext|>"},
        template=tiny.TEMPLATE,
    )
    torch_vocabulary.write(folder, letters, n_ctx)
    return folder


def _qwen2_config(tokens: list[str], n_ctx: int) -> Qwen2Config:
    return Qwen2Config(
        architectures=["Qwen2ForCausalLM"],
        vocab_size=len(tokens),
        hidden_size=tiny.WIDTH,
        intermediate_size=tiny.HIDDEN,
        num_hidden_layers=tiny.LAYERS,
        num_attention_heads=tiny.HEADS,
        num_key_value_heads=tiny.HEADS,
        max_position_embeddings=n_ctx,
        rms_norm_eps=1e-6,
        rope_parameters={"rope_type": "default", "rope_theta": 10000.0},
        tie_word_embeddings=False,
        dtype="float32",
        pad_token_id=tokens.index("<|endoftext|>"),
        eos_token_id=tokens.index("<|im_end|>"),
    )


def _mpt_config(tokens: list[str], n_ctx: int) -> MptConfig:
    return MptConfig(
        architectures=["MptForCausalLM"],
        vocab_size=len(tokens),
        d_model=tiny.WIDTH,
        n_heads=tiny.HEADS,
        n_layers=tiny.LAYERS,
        max_seq_len=n_ctx,
        learned_pos_emb=False,
        dtype="float32",
        pad_token_id=tokens.index("<|endoftext|>"),
        eos_token_id=tokens.index("<|im_end|>"),
    )


def _qwen2_weights(vocabulary: int, seed: int) -> dict[str, torch.Tensor]:
    """The tensors of the GGUF file by their names in transformers; shapes are the same in both."""
    weights = {}
    for name, shape in tiny.shapes(vocabulary).items():
        weights[_renamed(name)] = torch.from_numpy(tiny.weights(name, shape, seed))
    return weights


def _renamed(name: str) -> str:
    stem, _, kind = name.rpartition(".")
    if stem in _OUTER:
        return f"{_OUTER[stem]}.{kind}"
    _, layer, part = stem.split(".")
    return f"model.layers.{layer}.{_PARTS[part]}.{kind}"


def _mpt_weights(vocabulary: int, seed: int) -> dict[str, torch.Tensor]:
    """Output and input embeddings are one matrix, (vocabulary, width)."""
    draw = torch.Generator().manual_seed(seed)
    width = tiny.WIDTH

    def drawn(*shape: int) -> torch.Tensor:
        return torch.randn(*shape, generator=draw) * 0.2

    weights = {
        "transformer.wte.weight": drawn(vocabulary, width),
        "transformer.norm_f.weight": torch.ones(width),
    }
    for layer in range(tiny.LAYERS):
        block = f"transformer.blocks.{layer}."
        weights[f"{block}norm_1.weight"] = torch.ones(width)
        weights[f"{block}norm_2.weight"] = torch.ones(width)
        weights[f"{block}attn.Wqkv.weight"] = drawn(3 * width, width)
        weights[f"{block}attn.out_proj.weight"] = drawn(width, width)
        weights[f"{block}ffn.up_proj.weight"] = drawn(4 * width, width)
        weights[f"{block}ffn.down_proj.weight"] = drawn(width, 4 * width)
    return weights
