"""A model and its tokenizer, ready to serve: from a safetensors folder or a GGUF file, in a chosen precision.

No code that comes with a model is run, and no pickle is read: a folder holds what transformers knows, or it
is refused. What is loaded is told by a fingerprint, which changes when answers may.
"""

import hashlib
import json
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Literal, get_args

import torch
from transformers import AutoConfig, AutoModelForCausalLM, AutoTokenizer, PreTrainedTokenizerFast

from model import torch_gguf, torch_mpt
from model.errors import ModelError, ModelMissing
from model.store import content_hash
from model.torch_files import PICKLES, empty, names_in, quiet, refuse_pickle

Quantize = Literal["", "int8"]
"""int8 holds a model's quality: over 1,024 tokens of this repository the 0.5B has a loss of 2.013, in bf16
2.011, and 98% of its likeliest tokens stay. int4 is not offered: 2.066, and only 92% stayed."""
SMALL: Final = 1 << 30
"""Bytes of weights up to which fp32 is affordable on a CPU, where it is exact and as fast as bf16."""
ENDS: Final = (
    "<|im_end|>",
    "<|endoftext|>",
    "<|eot_id|>",
    "<|eom_id|>",
    "<|end_of_text|>",
    "<|end|>",
    "<|fim_pad|>",
    "<|repo_name|>",
    "<|file_sep|>",
)
"""Control tokens that end an answer whatever the folder says, as in llama.cpp."""


@dataclass(frozen=True, slots=True)
class Loaded:
    """A model on its device, not training, no gradients."""

    model: Any
    """A transformers PreTrainedModel with generate()."""
    tokenizer: Any
    """A transformers PreTrainedTokenizerBase."""
    n_ctx: int
    """Tokens of the window the model was trained for."""
    ends: tuple[int, ...]
    """Token ids that end an answer."""
    fingerprint: str
    """Names weights, data type and quantisation."""
    names: tuple[str, ...]
    """What the model is called: an adapter made for another one is refused."""
    device: torch.device
    dtype: torch.dtype
    quantize: Quantize


def load(
    source: Path,
    *,
    device: str = "auto",
    dtype: str = "auto",
    quantize: Quantize = "",
    cache: Path,
    options: torch_gguf.Options | None = None,
) -> Loaded:
    """Load a folder or a GGUF file; `cache` is where converted files and hashes are kept.

    `device`: auto (a GPU when there is one), cpu, cuda, cuda:1, mps. `dtype`: auto, float32, bfloat16,
    float16. Raises ModelMissing when nothing is there, ModelError for what cannot be loaded, NoSpace when a
    GGUF file cannot be converted.
    """
    if quantize not in get_args(Quantize):
        raise ModelError(f"weights cannot be quantised to {quantize!r}", "int8, or none at all")
    folder = _folder(source, cache, options)
    files = _weight_files(folder)
    place = _device(device)
    kind = _dtype(dtype, place, sum(path.stat().st_size for path in files), quantize)
    config = _config(folder, sum(len(names_in(path)) for path in files))
    with quiet():
        model = _model(folder, config, place, kind, quantize)
        tokenizer = _tokenizer(folder)
    ends = _ends(model, tokenizer)
    model.generation_config.eos_token_id = list(ends)
    told = content_hash([source] if source.is_file() else files, cache)
    mark = hashlib.sha256(f"{told} {kind} {quantize}".encode()).hexdigest()[:16]
    precision = quantize or str(kind).removeprefix("torch.")
    return Loaded(
        model=model,
        tokenizer=tokenizer,
        n_ctx=_window(config),
        ends=ends,
        fingerprint=f"torch-{mark}-{precision}",
        names=_names(source, folder),
        device=place,
        dtype=kind,
        quantize=quantize,
    )


def skeleton(source: Path, cache: Path) -> tuple[Any, tuple[str, ...]]:
    """The model of a source without memory for its weights, and its names. Raises as `load` does."""
    folder = _folder(source, cache, None)
    config = _config(folder, sum(len(names_in(path)) for path in _weight_files(folder)))
    return empty(config), tuple(dict.fromkeys((*_names(source, folder), folder.name)))


def _folder(source: Path, cache: Path, options: torch_gguf.Options | None) -> Path:
    """The safetensors folder of a source."""
    if source.is_dir():
        return source
    if not source.is_file():
        raise ModelMissing(f"there is no model at {source}", "adi model list")
    refuse_pickle(source)
    if source.suffix == ".safetensors":
        raise ModelError(f"{source} is one file of a model", f"serve its folder: {source.parent}")
    return torch_gguf.converted(source, cache, options)


def _weight_files(folder: Path) -> list[Path]:
    """All files of weights, each checked to be whole."""
    index = folder / "model.safetensors.index.json"
    if (folder / "model.safetensors").is_file():
        names = ["model.safetensors"]
    elif index.is_file():
        names = sorted(set(_json(index).get("weight_map", {}).values()))
    else:
        for path in sorted(folder.iterdir()):
            if path.suffix in PICKLES:
                refuse_pickle(path)
        raise ModelError(f"{folder} holds no model.safetensors", "give a model's folder, or a GGUF file")
    for name in names:
        if not isinstance(name, str) or Path(name).name != name or not (folder / name).is_file():
            raise ModelError(f"{index} names a file that is not there: {name!r}", "fetch the model again")
        names_in(folder / name)
    return [folder / name for name in names]


def _json(path: Path) -> dict[str, Any]:
    try:
        told = json.loads(path.read_text("utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise ModelError(f"{path} cannot be read: {error}", "fetch the model again") from error
    if not isinstance(told, dict):
        raise ModelError(f"{path} holds no settings", "fetch the model again")
    return told


def _config(folder: Path, tensors: int) -> Any:
    """The model's shape, of which there are so many tensors.

    Raises ModelError for one that only code of its own would know.
    """
    told = _json(folder / "config.json")
    layers = [told.get(key) for key in ("num_hidden_layers", "n_layers", "n_layer")]
    if any(isinstance(count, int) and count > tensors for count in layers):  # would be made one by one
        raise ModelError(f"{folder} holds fewer tensors than layers", "fetch the model again")
    if (kind := told.get("model_type")) in torch_mpt.KINDS:
        torch_mpt.config(told)  # refuses what transformers would leave out in silence
        if not torch_mpt.is_modern(told):
            raise ModelError(
                f"{folder} has the layout that {kind} models were published in", _mpt_hint(folder)
            )
    try:
        with quiet():
            return AutoConfig.from_pretrained(folder, trust_remote_code=False, local_files_only=True)
    except Exception as error:  # of every library on the way
        why = "it brings code of its own, which is never run" if "auto_map" in told else _first_line(error)
        raise ModelError(
            f"{folder} holds a model that transformers does not know: {why}",
            "serve a GGUF of it with engine llama",
        ) from error


def _mpt_hint(folder: Path) -> str:
    return f"python -m model.torch_mpt {folder} NEW_FOLDER"


def _device(name: str) -> torch.device:
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        place = torch.device(name)
        torch.empty(1, device=place)
    except (RuntimeError, AssertionError) as error:
        raise ModelError(
            f"there is no device {name!r} for torch: {_first_line(error)}", "set the device to auto or cpu"
        ) from error
    return place


def _dtype(name: str, place: torch.device, size: int, quantize: Quantize) -> torch.dtype:
    """On a GPU bf16: half the bytes, and one token costs reading all of them once.

    On a CPU small models are fp32, which has no rounding to differ by; large ones are bf16, because fp32
    would take twice the memory. int8 is multiplied in bf16.
    """
    if name == "auto":
        exact = place.type == "cpu" and size <= SMALL and not quantize
        return torch.float32 if exact else torch.bfloat16
    kinds = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}
    if name not in kinds:
        raise ModelError(f"{name!r} is no data type of weights", f"one of auto, {', '.join(kinds)}")
    return kinds[name]


def _model(folder: Path, config: Any, place: torch.device, kind: torch.dtype, quantize: Quantize) -> Any:
    try:
        loaded: Any = AutoModelForCausalLM.from_pretrained(
            folder,
            config=config,
            dtype=kind,
            device_map={"": place},
            quantization_config=_quantization(quantize),
            trust_remote_code=False,
            use_safetensors=True,
            local_files_only=True,
            output_loading_info=True,
        )
    except torch.OutOfMemoryError as error:
        raise ModelError(
            f"{folder.name} does not fit the memory of {place}", "quantize it to int8, or use a smaller one"
        ) from error
    except Exception as error:  # of every library on the way
        raise ModelError(f"{folder} cannot be loaded: {_first_line(error)}") from error
    model, told = loaded
    wrong = [*told["missing_keys"], *told["unexpected_keys"], *(str(k) for k in told["mismatched_keys"])]
    if wrong:
        raise ModelError(
            f"the weights in {folder} are not those of its config.json: {', '.join(sorted(wrong)[:3])}",
            _mpt_hint(folder) if config.model_type == "mpt" else "fetch the model again",
        )
    model.eval().requires_grad_(False)
    return model


def _quantization(quantize: Quantize) -> Any:
    """Weights in fewer bits, multiplied in the data type; None for all their bits."""
    if not quantize:
        return None
    from torchao.quantization import Int8WeightOnlyConfig
    from transformers import TorchAoConfig

    return TorchAoConfig(quant_type=Int8WeightOnlyConfig())


def _tokenizer(folder: Path) -> Any:
    """As its tokenizer.json says, nothing added by a class of the model's."""
    try:
        if (folder / "tokenizer.json").is_file():
            return PreTrainedTokenizerFast.from_pretrained(folder, local_files_only=True)
        return AutoTokenizer.from_pretrained(folder, trust_remote_code=False, local_files_only=True)
    except Exception as error:
        raise ModelError(
            f"{folder} has no tokenizer that can be read: {_first_line(error)}",
            "put the publisher's tokenizer.json and tokenizer_config.json beside the weights",
        ) from error


def _ends(model: Any, tokenizer: Any) -> tuple[int, ...]:
    found: set[int] = set()
    for told in (model.generation_config.eos_token_id, model.config.eos_token_id, tokenizer.eos_token_id):
        found.update([told] if isinstance(told, int) else told or [])
    control = {token.content: index for index, token in tokenizer.added_tokens_decoder.items()}
    found.update(control[text] for text in ENDS if text in control)
    return tuple(sorted(found))


def _window(config: Any) -> int:
    for key in ("max_position_embeddings", "max_seq_len", "n_positions"):
        if isinstance(length := getattr(config, key, None), int) and length > 0:
            return length
    raise ModelError("the model's config.json tells no length of its window")


def _names(source: Path, folder: Path) -> tuple[str, ...]:
    names = [source.stem if source.is_file() else source.name]
    if (folder / "adi.json").is_file():
        names.append(str(_json(folder / "adi.json").get("general.name", "")))
    names.append(str(_json(folder / "config.json").get("_name_or_path", "")))
    return tuple(dict.fromkeys(filter(None, names)))


def plain_name(name: str) -> str:
    """A model's name without publisher, path, file type, quantisation, case and punctuation."""
    snapshot = re.search(r"models--[^/]*--([^/]+)", name)
    last = snapshot[1] if snapshot else name.rstrip("/").rpartition("/")[2]
    last = re.sub(r"\.(gguf|safetensors)$", "", last.lower())
    last = re.sub(r"([-_. ](gguf|awq|gptq|i?q\d\w*|bf16|f(p)?16|f(p)?32))+$", "", last)
    return re.sub(r"[^a-z0-9]", "", last)


def _first_line(error: BaseException) -> str:
    return (str(error).strip() or type(error).__name__).splitlines()[0][:300]
