"""From the layout in which MPT models were published, such as replit-code-v1-3b, to that of transformers.

Published were a config.json in one of two spellings, code of its own, and tensors under one of two sets of
names. What is written needs no code: transformers' own MPT reads it. Only shapes that it computes rightly
are converted (ALiBi, no biases, one key for each query); all else is refused by name.

    python -m model.torch_mpt SRC DST
"""

import argparse
import json
import re
import shutil
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

import torch
from safetensors import safe_open
from transformers import MptConfig

from model.errors import ModelError
from model.torch_files import PICKLES, SIZES, Stream, empty, names_in, quiet, refuse_pickle

KINDS: Final = ("mpt", "mosaic_gpt")
"""How config.json calls the family."""
RENAMED: Final = (
    (r"^(model\.)?transformer\.", "transformer."),
    (r"\.ln_([12f])\.", r".norm_\1."),
    (r"\.mlp\.mlp_(up|down)\.", r".ffn.\1_proj."),
)
"""Early names and what they became."""
_SIMPLE: Final = ("d_model", "n_heads", "n_layers", "max_seq_len", "vocab_size")
_ATTENTION: Final = {"clip_qkv": "attn_clip_qkv", "qk_ln": "attn_qk_ln", "alibi": "alibi"}
"""Names inside attn_config, and those of the early spelling."""
_SENTENCEPIECE: Final = ("spiece.model", "tokenizer.model")


def is_modern(told: dict[str, Any]) -> bool:
    """Whether transformers reads a config.json of this family as it was meant."""
    return told.get("model_type") == "mpt" and isinstance(told.get("attn_config"), dict)


def config(told: dict[str, Any]) -> MptConfig:
    """The shape in transformers' words. Raises ModelError for what its MPT leaves out or does otherwise."""
    attention = told.get("attn_config")
    if not isinstance(attention, dict):
        attention = {new: told.get(old) for new, old in _ATTENTION.items()}
        for key in ("softmax_scale", "prefix_lm", "alibi_bias_max"):
            attention[key] = told.get(key)
    if missing := [key for key in _SIMPLE if not isinstance(told.get(key), int)]:
        raise ModelError(f"the model's config.json tells no {missing[0]}", "give the folder of an MPT model")
    _refuse(told, attention)
    ends = {key: told[key] for key in ("bos_token_id", "eos_token_id", "pad_token_id") if key in told}
    return MptConfig(
        **{key: told[key] for key in _SIMPLE},
        expansion_ratio=4,
        learned_pos_emb=False,
        attn_config={
            "alibi": True,
            "alibi_bias_max": int(attention.get("alibi_bias_max") or 8),
            "clip_qkv": attention.get("clip_qkv"),
            "softmax_scale": attention.get("softmax_scale"),
        },
        tie_word_embeddings=bool(told.get("tie_word_embeddings", True)),
        architectures=["MptForCausalLM"],
        dtype=str(told.get("torch_dtype") or told.get("dtype") or "float32"),
        **ends,
    )


def _refuse(told: dict[str, Any], attention: dict[str, Any]) -> None:
    heads = told["n_heads"]
    feed = told.get("ffn_config") or {}
    norm = str(told.get("norm_type", "low_precision_layernorm"))
    strange = {
        "positions other than ALiBi (alibi is not true)": not attention.get("alibi"),
        "rotated positions (rope)": attention.get("rope"),
        "norms of queries and keys (qk_ln)": attention.get("qk_ln") or attention.get("qk_gn"),
        "prefixes read both ways (prefix_lm)": attention.get("prefix_lm"),
        "shared keys (attn_type)": attention.get("attn_type", "multihead_attention") != "multihead_attention",
        "shared keys (kv_n_heads)": attention.get("kv_n_heads", heads) != heads,
        "a feed-forward part not four times as wide": told.get("expansion_ratio", told.get("mlp_ratio", 4))
        != 4,
        f"a feed-forward part of kind {feed.get('ffn_type')}": feed.get("ffn_type", "mptmlp") != "mptmlp",
        f"norms of kind {norm}": not norm.endswith("layernorm"),
        "scaled logits (logit_scale)": told.get("logit_scale") not in (None, 1, 1.0),
        "heads that do not divide its width": heads < 1 or told["d_model"] % heads,
    }
    if found := [what for what, there in strange.items() if there]:
        raise ModelError(
            f"the model has {' and '.join(found)}, which transformers' MPT does not compute",
            "serve a GGUF of it with engine llama",
        )


def renamed(name: str) -> str:
    """A tensor's name in transformers."""
    for old, new in RENAMED:
        name = re.sub(old, new, name)
    return name


def convert(source: Path, target: Path) -> None:
    """Write the folder `target`, which must not exist yet.

    Raises ModelError for pickled weights, for tensors that are not those of the config, and without a
    tokenizer.json; nothing is left behind then.
    """
    if target.exists():
        raise ModelError(f"{target} is there already", "name a new folder")
    shape = config(_json(source / "config.json"))
    places = _tensors(source, shape)
    part = target.with_name(target.name + ".part")
    shutil.rmtree(part, ignore_errors=True)
    part.mkdir(parents=True)
    try:
        _tokenizer(source, part)
        shape.save_pretrained(part)
        _copy(places, part / "model.safetensors")
        part.replace(target)
    finally:
        shutil.rmtree(part, ignore_errors=True)


def _json(path: Path) -> dict[str, Any]:
    try:
        told = json.loads(path.read_text("utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise ModelError(f"{path} cannot be read: {error}", "give the folder of an MPT model") from error
    if not isinstance(told, dict) or told.get("model_type") not in KINDS:
        raise ModelError(
            f"{path} is not that of an MPT model", f"its model_type is one of {', '.join(KINDS)}"
        )
    return told


def _tensors(source: Path, shape: MptConfig) -> dict[str, tuple[Path, str]]:
    """New name -> where the tensor is, as (file, old name). Raises ModelError unless all fit."""
    files = sorted(source.glob("*.safetensors"))
    if not files:
        for path in sorted(source.iterdir()):
            if path.suffix in PICKLES:
                refuse_pickle(path)
        raise ModelError(f"{source} holds no safetensors", "give the folder of an MPT model")
    with quiet():
        wanted = {name: tuple(tensor.shape) for name, tensor in empty(shape).state_dict().items()}
    if shape.tie_word_embeddings:
        wanted.pop("lm_head.weight", None)
    places: dict[str, tuple[Path, str]] = {}
    for path in files:
        for old, size in names_in(path).items():
            name = renamed(old)
            if name == "lm_head.weight" and shape.tie_word_embeddings:
                continue
            if name in places or wanted.get(name) != size:
                raise ModelError(
                    f"{path.name} has a tensor {old} of shape {size}, which the model of config.json has not",
                    "only models without biases, in a layout that was published, are converted",
                )
            places[name] = (path, old)
    if missing := wanted.keys() - places.keys():
        raise ModelError(f"{source} has no tensor for {min(missing)}", "fetch the model again")
    return {name: places[name] for name in wanted}


def _copy(places: dict[str, tuple[Path, str]], path: Path) -> None:
    """One tensor in memory at a time."""
    kinds: dict[str, tuple[str, tuple[int, ...]]] = {}
    for name, (file, old) in places.items():
        with safe_open(file, framework="pt") as opened:
            part = opened.get_slice(old)
            kinds[name] = (part.get_dtype(), tuple(part.get_shape()))
        if kinds[name][0] not in SIZES:
            raise ModelError(f"{file.name} keeps {old} as {kinds[name][0]}", f"one of {', '.join(SIZES)}")
    with Stream(path, kinds) as stream:
        for file, old in places.values():
            with safe_open(file, framework="pt") as opened:
                tensor = opened.get_tensor(old).contiguous()
                stream.write(tensor.reshape(-1).view(torch.uint8).numpy().tobytes())


def _tokenizer(source: Path, target: Path) -> None:
    """Its tokenizer.json as it is, its settings without code of its own."""
    if not (source / "tokenizer.json").is_file():
        named = next((name for name in _SENTENCEPIECE if (source / name).is_file()), "")
        raise ModelError(
            f"{source} has no tokenizer.json" + (f", only the SentencePiece model {named}" if named else ""),
            "make one where sentencepiece is installed (convert_slow_tokenizer of transformers), "
            "and put it beside config.json",
        )
    shutil.copyfile(source / "tokenizer.json", target / "tokenizer.json")
    told: dict[str, Any] = {}
    path = source / "tokenizer_config.json"
    if path.is_file():
        try:
            told = json.loads(path.read_text("utf-8"))
        except (OSError, ValueError, RecursionError) as error:
            raise ModelError(f"{path} cannot be read: {error}") from error
    kept = {key: value for key, value in told.items() if key.endswith("_token") or key == "chat_template"}
    kept |= {"tokenizer_class": "PreTrainedTokenizerFast", "clean_up_tokenization_spaces": False}
    (target / "tokenizer_config.json").write_text(json.dumps(kept, indent=1), "utf-8")


def main(arguments: Sequence[str] | None = None) -> int:
    """The command line; 0 when the folder was written, 1 when it could not be."""
    parser = argparse.ArgumentParser(
        prog="python -m model.torch_mpt",
        description="Convert an MPT model from the layout it was published in to that of transformers.",
    )
    parser.add_argument("source", type=Path, metavar="SRC", help="folder with config.json and safetensors")
    parser.add_argument("target", type=Path, metavar="DST", help="folder to write; must not exist yet")
    chosen = parser.parse_args(arguments)
    try:
        convert(chosen.source, chosen.target)
    except ModelError as error:
        sys.stderr.write(f"error: {error.message}\n" + (f"hint: {error.hint}\n" if error.hint else ""))
        return 1
    sys.stdout.write(f"{chosen.target}\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
