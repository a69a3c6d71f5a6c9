"""A LoRA adapter of PEFT as a GGUF file, which llama.cpp loads beside its model.

llama.cpp computes `W x + s * scale * B (A x)` with `scale` = alpha / rank, the rank taken from B, and one
alpha for the whole file (`adapter.lora.alpha`). A has the shape (rank, in) and B (out, rank), as in PEFT,
under the name of the base's tensor with `.lora_a` and `.lora_b`. Where PEFT scales a layer otherwise
(rank-stabilised LoRA, a pattern of alphas), B carries the difference.

For qwen2 and qwen3 the rows of q and k stand in a GGUF file as in transformers, so that nothing is permuted.
For the llama architecture they do not; it is refused here rather than written wrong.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import gguf
import torch

from model.errors import AdapterRefused

ARCHITECTURES: Final = {"qwen2": gguf.MODEL_ARCH.QWEN2, "qwen3": gguf.MODEL_ARCH.QWEN3}
"""transformers' model_type -> architecture, where tensors are the same in both."""


@dataclass(frozen=True, slots=True)
class Lora:
    """An adapter as tensors and numbers."""

    tensors: Mapping[str, torch.Tensor]
    """`<module>.lora_A.weight` (rank, in) and `<module>.lora_B.weight` (out, rank), without PEFT's prefix."""
    alpha: float
    scales: Mapping[str, float]
    """Module -> what B (A x) is multiplied with."""


def write_gguf(lora: Lora, config: Any, path: Path) -> None:
    """Write the file, in fp32. `config` is transformers' of the base. Raises AdapterRefused."""
    kind = str(config.model_type)
    if kind not in ARCHITECTURES:
        known = ", ".join(ARCHITECTURES)
        raise AdapterRefused(
            f"adapters of {kind} models are not converted for llama.cpp (only of {known})",
            "serve it with engine torch",
        )
    names = gguf.get_tensor_name_map(ARCHITECTURES[kind], config.num_hidden_layers)
    writer = gguf.GGUFWriter(path, kind)
    try:
        writer.add_type(gguf.GGUFType.ADAPTER)
        writer.add_string(gguf.Keys.Adapter.TYPE, "lora")
        writer.add_float32(gguf.Keys.Adapter.LORA_ALPHA, lora.alpha)
        for module, scale in sorted(lora.scales.items()):
            name = names.get_name(module)
            if name is None or (module == "lm_head" and config.tie_word_embeddings):
                raise AdapterRefused(
                    f"llama.cpp has no tensor for {module}", "train without it, or serve it with engine torch"
                )
            a, b = (lora.tensors[f"{module}.lora_{part}.weight"].float() for part in "AB")
            factor = scale * a.shape[0] / lora.alpha
            writer.add_tensor(f"{name}.weight.lora_a", a.contiguous().numpy())
            writer.add_tensor(f"{name}.weight.lora_b", (b if math.isclose(factor, 1) else b * factor).numpy())
        writer.write_header_to_file()
        writer.write_kv_data_to_file()
        writer.write_tensors_to_file()
    finally:
        writer.close()
