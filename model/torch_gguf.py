"""A GGUF file as a source of weights for torch: dequantised once, kept as a safetensors folder.

The folder lies in the cache under the hash of the file, so that copies of a file share it. Tensors go from
file to file a few rows at a time: memory does not grow with the model. What was not quantised is kept as it
is; what was becomes bf16, which costs less than the quantisation did. The vocabulary is written beside it,
nothing of it normalised, so that ids are those of llama.cpp.
"""

import json
import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import gguf
import numpy as np
import torch
from transformers import AutoConfig

from model import torch_vocabulary
from model.errors import ModelError, NoSpace
from model.partial import Progress
from model.store import content_hash
from model.torch_files import Stream, alone, empty, quiet, size_of

FORMAT: Final = 1
"""Raised when the same file would be written otherwise; older folders are then left unread."""
SPARE: Final = 256 << 20
"""Bytes that must stay free besides what is written."""
CHUNK: Final = 1 << 20
"""Elements that are dequantised at once: what the processor's caches hold."""
AS_IS: Final = {
    gguf.GGMLQuantizationType.F32: "F32",
    gguf.GGMLQuantizationType.F16: "F16",
    gguf.GGMLQuantizationType.BF16: "BF16",
}
"""Types that are not quantised, by their name in safetensors."""
ARCHITECTURES: Final = {
    "qwen2": gguf.MODEL_ARCH.QWEN2,
    "qwen3": gguf.MODEL_ARCH.QWEN3,
    "llama": gguf.MODEL_ARCH.LLAMA,
}
"""By name, which transformers has in common with GGUF."""
_BROKEN: Final = (ValueError, IndexError, KeyError, OverflowError, TypeError, AttributeError, OSError)
"""What gguf raises for a file that is cut short, or is none."""
_CONTROL, _ADDED = gguf.TokenType.CONTROL, gguf.TokenType.USER_DEFINED


def _free_bytes(folder: Path) -> int:
    return shutil.disk_usage(folder).free


@dataclass(frozen=True, slots=True)
class Options:
    """How a conversion may go about it."""

    progress: Progress = lambda _done, _total: None
    """Gets the bytes written of the new weights, and all there will be."""
    say: Callable[[str], None] = lambda _line: None
    free_bytes: Callable[[Path], int] = _free_bytes


def is_gguf(path: Path) -> bool:
    """Whether a file begins like one."""
    with path.open("rb") as file:
        return file.read(4) == b"GGUF"


def converted(source: Path, cache: Path, options: Options | None = None) -> Path:
    """The folder that holds the file's weights as safetensors, written when it is not there yet.

    Two processes at once: the second waits. Raises ModelError for what is no whole GGUF file of a known
    architecture, and NoSpace; nothing is left behind then.
    """
    options = options or Options()
    cache.mkdir(parents=True, exist_ok=True)
    target = cache / f"{source.stem}-{content_hash([source], cache)[:16]}-v{FORMAT}"
    if not target.is_dir():
        with alone(target.with_name(target.name + ".lock"), options.say, f"converts {source.name}"):
            if not target.is_dir():
                _convert(source, target, options)
    return target


def _convert(source: Path, target: Path, options: Options) -> None:
    part = target.with_name(target.name + ".part")
    shutil.rmtree(part, ignore_errors=True)  # of a conversion that was killed
    part.mkdir()
    try:
        with quiet():
            _File(source).write(part, options)
        part.replace(target)
    finally:
        shutil.rmtree(part, ignore_errors=True)


@dataclass(slots=True)
class _File:
    """An opened GGUF file, mapped rather than read."""

    source: Path
    reader: Any = field(init=False)
    arch: str = field(init=False)

    def __post_init__(self) -> None:
        try:
            if not is_gguf(self.source):
                raise ValueError("it does not begin with GGUF")
            self.reader = gguf.GGUFReader(self.source)
            self.arch = str(self.value("general.architecture"))
        except _BROKEN as error:
            raise ModelError(
                f"{self.source} is no whole GGUF file: {error}", "adi model verify, or fetch the file again"
            ) from error
        if self.arch not in ARCHITECTURES:
            known = ", ".join(ARCHITECTURES)
            raise ModelError(
                f"{self.source} holds a {self.arch} model; engine torch reads GGUF files of {known}",
                "serve it with engine llama, or serve the publisher's safetensors folder",
            )

    def value(self, key: str, default: object = None) -> Any:
        """Raises KeyError when it is missing and has no default."""
        if key in self.reader.fields:
            return self.reader.fields[key].contents()
        if default is None:
            raise KeyError(f"it has no {key}")
        return default

    def write(self, folder: Path, options: Options) -> None:
        try:
            config = self.config()
            tensors = self.tensors(config)
            letters = self.letters()
        except Exception as error:  # of gguf, transformers and torch
            raise ModelError(f"{self.source} cannot be read as a {self.arch} model: {error}") from error
        kinds = {name: AS_IS.get(tensor.tensor_type, "BF16") for name, tensor in tensors.items()}
        shapes = {name: tuple(map(int, tensor.shape[::-1])) for name, tensor in tensors.items()}
        need = sum(size_of(kinds[name], shapes[name]) for name in tensors) + SPARE
        if (free := options.free_bytes(folder)) < need:
            raise NoSpace(
                f"{self.source.name} takes {need / 1e9:.1f} GB as safetensors, but {folder.parent} has "
                f"{free / 1e9:.1f} GB free",
                "free some space, or move ADI's files with ADI_HOME",
            )
        options.say(f"converting {self.source.name} for engine torch, once")
        config.architectures = [type(empty(config)).__name__]
        config.save_pretrained(folder)
        torch_vocabulary.write(folder, letters, int(self.value(f"{self.arch}.context_length")))
        told = {"general.name": str(self.value("general.name", self.source.stem)), "file": self.source.name}
        (folder / "adi.json").write_text(json.dumps(told), "utf-8")
        with Stream(folder / "model.safetensors", {n: (kinds[n], shapes[n]) for n in tensors}) as stream:
            for name, tensor in tensors.items():
                for data in self._rows(tensor, name):
                    stream.write(data)
                    options.progress(stream.done, stream.total)

    def config(self) -> Any:
        """What transformers must know of the model, as its config."""
        arch, names = self.arch, {tensor.name: tensor for tensor in self.reader.tensors}
        if self.value(f"{arch}.rope.scaling.type", "none") != "none":
            raise ValueError("it scales its rotation, which is not converted")
        if int(self.value(f"{arch}.block_count")) > len(names):
            raise ValueError("it has fewer tensors than layers")
        heads = int(self.value(f"{arch}.attention.head_count"))
        width = int(self.value(f"{arch}.embedding_length"))
        more = {"attention_bias": "blk.0.attn_q.bias" in names} if arch == "llama" else {}
        end = int(self.value("tokenizer.ggml.eos_token_id"))
        return AutoConfig.for_model(
            arch,
            vocab_size=int(names["token_embd.weight"].shape[1]),
            hidden_size=width,
            intermediate_size=int(self.value(f"{arch}.feed_forward_length")),
            num_hidden_layers=int(self.value(f"{arch}.block_count")),
            num_attention_heads=heads,
            num_key_value_heads=int(self.value(f"{arch}.attention.head_count_kv", heads)),
            head_dim=int(self.value(f"{arch}.attention.key_length", width // heads)),
            max_position_embeddings=int(self.value(f"{arch}.context_length")),
            rms_norm_eps=_shortest(self.value(f"{arch}.attention.layer_norm_rms_epsilon")),
            rope_parameters={
                "rope_type": "default",
                "rope_theta": _shortest(self.value(f"{arch}.rope.freq_base", 10000.0)),
            },
            tie_word_embeddings="output.weight" not in names,
            eos_token_id=end,
            pad_token_id=int(self.value("tokenizer.ggml.padding_token_id", end)),
            bos_token_id=None,
            dtype="float32" if self._plain() else "bfloat16",
            **more,
        )

    def _plain(self) -> bool:
        """Whether nothing in it was rounded to fewer bits than fp32 has."""
        return all(t.tensor_type == gguf.GGMLQuantizationType.F32 for t in self.reader.tensors)

    def tensors(self, config: Any) -> dict[str, Any]:
        """The file's tensors by their names in transformers. Raises ValueError for others."""
        held = {tensor.name: tensor for tensor in self.reader.tensors}
        names = gguf.get_tensor_name_map(ARCHITECTURES[self.arch], config.num_hidden_layers)
        found = {}
        for name, wanted in empty(config).state_dict().items():
            if name == "lm_head.weight" and config.tie_word_embeddings:
                continue
            stem, _, kind = name.rpartition(".")
            tensor = held.pop(f"{names.get_name(stem)}.{kind}", None)
            if tensor is None:
                raise ValueError(f"it has no tensor for {name}")
            if tuple(tensor.shape[::-1]) != tuple(wanted.shape):
                raise ValueError(f"{tensor.name} is {tuple(tensor.shape[::-1])}, not {tuple(wanted.shape)}")
            found[name] = tensor
        if held:
            raise ValueError(f"it has tensors that are not converted, such as {min(held)}")
        return found

    def _rows(self, tensor: Any, name: str) -> Iterator[bytes]:
        """The bytes of a tensor in safetensors, some rows at a time."""
        data = tensor.data
        order = self._order(name, len(data))
        step = max(1, CHUNK // int(tensor.shape[0]))
        for start in range(0, len(data), step):
            rows = data[start : start + step] if order is None else data[order[start : start + step]]
            if tensor.tensor_type in AS_IS:
                yield rows.tobytes()
                continue
            whole = torch.from_numpy(gguf.dequantize(rows, tensor.tensor_type))
            yield whole.to(torch.bfloat16).view(torch.uint8).numpy().tobytes()

    def _order(self, name: str, rows: int) -> "np.ndarray[Any, np.dtype[np.int64]] | None":
        """Where each row of q and k comes from: llama files hold them in pairs, transformers in halves."""
        kv = ".k_proj." in name
        if self.arch != "llama" or not (kv or ".q_proj." in name):
            return None
        heads = int(self.value("llama.attention.head_count"))
        heads = int(self.value("llama.attention.head_count_kv", heads)) if kv else heads
        return np.arange(rows).reshape(heads, -1, 2).swapaxes(1, 2).reshape(rows)

    def letters(self) -> torch_vocabulary.Letters:
        """The vocabulary. Raises ValueError when it is not a byte-level one."""
        if (model := self.value("tokenizer.ggml.model")) != "gpt2":
            raise ValueError(f"its vocabulary is of kind {model}, only byte-level ones are converted")
        cut = str(self.value("tokenizer.ggml.pre", "gpt-2"))
        if cut not in torch_vocabulary.CUTS:
            raise ValueError(f"it cuts texts the {cut} way, which is not known")
        tokens = self.value("tokenizer.ggml.tokens")
        kinds = self.value("tokenizer.ggml.token_type", [gguf.TokenType.NORMAL] * len(tokens))
        merges = [tuple(pair.split(" ")) for pair in self.value("tokenizer.ggml.merges")]
        if len(set(tokens)) != len(tokens) or len(kinds) != len(tokens) or {len(m) for m in merges} != {2}:
            raise ValueError("its vocabulary contradicts itself")
        end = tokens[self.value("tokenizer.ggml.eos_token_id")]
        roles = {"eos_token": end}
        if "tokenizer.ggml.padding_token_id" in self.reader.fields:
            roles["pad_token"] = tokens[self.value("tokenizer.ggml.padding_token_id")]
        if self.value("tokenizer.ggml.add_bos_token", cut == "llama-bpe"):
            roles["bos_token"] = tokens[self.value("tokenizer.ggml.bos_token_id")]
        return torch_vocabulary.Letters(
            tokens=tokens,
            merges=merges,
            cut=cut,
            control=[token for token, kind in zip(tokens, kinds, strict=True) if kind == _CONTROL],
            added=[token for token, kind in zip(tokens, kinds, strict=True) if kind == _ADDED],
            roles=roles,
            template=str(self.value("tokenizer.chat_template", "")),
        )


def _shortest(number: float) -> float:
    """1e-6 for the fp32 number 9.99999997e-07: what the file's writer was told."""
    return float(str(np.float32(number)))
