"""A tiny model with random weights, written in well under a second: what engine tests serve.

It is a qwen2 of two layers with a byte-level vocabulary and the control tokens of Qwen2.5-Coder, so that
templates, fill-in-the-middle, grammars and token counts behave as with the real one. It knows nothing.
Needs the `gguf` package, which only tests install.
"""

from pathlib import Path

import gguf
import numpy as np

CONTROL = (
    "<|endoftext|>",
    "<|im_start|>",
    "<|im_end|>",
    "<|fim_prefix|>",
    "<|fim_middle|>",
    "<|fim_suffix|>",
    "<|fim_pad|>",
    "<|repo_name|>",
    "<|file_sep|>",
)
TEMPLATE = (
    "{% for message in messages %}"
    "{{ '<|im_start|>' + message.role + '\n' + message.content + '<|im_end|>' + '\n' }}"
    "{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
)
MERGES = (("Ġ", "Ġ"), ("d", "e"), ("r", "e"), ("i", "n"), ("Ġ", "="))
"""Pairs of tokens that become one, the first first."""
WIDTH, HEADS, LAYERS, HIDDEN = 64, 4, 2, 128
"""Model width, attention heads, layers, width of the feed-forward part."""


def byte_letters() -> list[str]:
    """The 256 letters that stand for bytes in a byte-level vocabulary, in the order of the bytes (GPT-2)."""
    shown = [*range(33, 127), *range(161, 173), *range(174, 256)]
    spare = iter(range(256, 512))
    return [chr(byte if byte in shown else next(spare)) for byte in range(256)]


def write_tiny(path: Path, *, n_ctx: int = 4096, seed: int = 0) -> Path:
    """Writes the model file; `n_ctx` is the window it says it was trained for, in tokens."""
    letters = byte_letters()
    tokens = [*letters, *(a + b for a, b in MERGES), *CONTROL]
    kinds = [gguf.TokenType.NORMAL] * (len(tokens) - len(CONTROL))
    kinds += [gguf.TokenType.CONTROL] * len(CONTROL)
    writer = gguf.GGUFWriter(path, "qwen2")
    writer.add_name("tiny")
    writer.add_context_length(n_ctx)
    writer.add_embedding_length(WIDTH)
    writer.add_block_count(LAYERS)
    writer.add_feed_forward_length(HIDDEN)
    writer.add_head_count(HEADS)
    writer.add_head_count_kv(HEADS)
    writer.add_rope_freq_base(10000.0)
    writer.add_layer_norm_rms_eps(1e-6)
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre("qwen2")
    writer.add_token_list(tokens)
    writer.add_token_types(kinds)
    writer.add_token_merges([f"{a} {b}" for a, b in MERGES])
    writer.add_eos_token_id(tokens.index("<|im_end|>"))
    writer.add_pad_token_id(tokens.index("<|endoftext|>"))
    writer.add_add_bos_token(False)
    writer.add_chat_template(TEMPLATE)
    for name, shape in shapes(len(tokens)).items():
        writer.add_tensor(name, weights(name, shape, seed))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path


def shapes(vocabulary: int) -> dict[str, tuple[int, ...]]:
    """Names and shapes of all tensors: (out, in) for matrices, (width,) for norms and biases."""
    named: dict[str, tuple[int, ...]] = {
        "token_embd.weight": (vocabulary, WIDTH),
        "output_norm.weight": (WIDTH,),
        "output.weight": (vocabulary, WIDTH),
    }
    for layer in range(LAYERS):
        block = f"blk.{layer}."
        for part in ("attn_q", "attn_k", "attn_v"):
            named[f"{block}{part}.weight"] = (WIDTH, WIDTH)
            named[f"{block}{part}.bias"] = (WIDTH,)
        named[f"{block}attn_output.weight"] = (WIDTH, WIDTH)
        named[f"{block}attn_norm.weight"] = (WIDTH,)
        named[f"{block}ffn_norm.weight"] = (WIDTH,)
        named[f"{block}ffn_gate.weight"] = (HIDDEN, WIDTH)
        named[f"{block}ffn_up.weight"] = (HIDDEN, WIDTH)
        named[f"{block}ffn_down.weight"] = (WIDTH, HIDDEN)
    return named


def weights(
    name: str, shape: tuple[int, ...], seed: int
) -> "np.ndarray[tuple[int, ...], np.dtype[np.float32]]":
    """Ones for norms, else drawn; the same for the same name and seed, whatever is written around it."""
    if name.endswith("norm.weight"):
        return np.ones(shape, dtype=np.float32)
    drawn = np.random.default_rng([seed, *name.encode()]).standard_normal(shape)
    return (drawn * 0.2).astype(np.float32)
