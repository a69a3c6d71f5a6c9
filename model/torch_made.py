"""From a choice to a running engine `torch`: its weights, its lanes, and how much each of them holds."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from model.backend import About
from model.catalogue import load as load_catalogue
from model.serving import ServeChoice
from model.store import CONVERTED
from model.torch_adapters import Adapters
from model.torch_batch import BatchSizes
from model.torch_engine import TorchEngine
from model.torch_gguf import Options
from model.torch_single import SingleLane
from model.torch_text import Text
from model.torch_weights import Loaded, load

SHARE = 0.6
"""Of the GPU's free memory, for keys and values of the batch lane; the rest is for passes and graphs."""
MOST_TOKENS = 1 << 20
GPU_ROWS, GPU_STEP = 128, 2048
CPU_ROWS, CPU_STEP = 16, 256


def made(choice: ServeChoice, data_dir: Path, say: Callable[[str], None] = lambda _: None) -> TorchEngine:
    """The engine, ready to answer. Raises ModelError, and what torch raises when memory is short."""
    loaded = load(
        choice.model,
        device=choice.device or "auto",
        dtype=choice.dtype or "auto",
        quantize=choice.quantize,
        cache=data_dir / CONVERTED,
        options=Options(say=say),
    )
    model = loaded.model
    catalogue = load_catalogue()
    known = catalogue.models.get(choice.name)
    family = known.family if known else ""
    names = " ".join((choice.name, *loaded.names))
    text = Text(
        loaded.tokenizer, catalogue.fim(family or catalogue.family_of(names)), ends=frozenset(loaded.ends)
    )
    n_ctx = min(choice.n_ctx, loaded.n_ctx)
    single = SingleLane(model, n_ctx=n_ctx)  # before adapters: it may lay out the weights anew
    return TorchEngine(
        model,
        text,
        About(
            model=choice.name,
            fingerprint=loaded.fingerprint,
            n_ctx=n_ctx,
            vocabulary=int(model.config.get_text_config().vocab_size),
            infill=text.fim is not None,
            device=str(loaded.device),
            dtype=str(loaded.dtype).removeprefix("torch."),
        ),
        sizes=_sizes(loaded, n_ctx),
        single=single,
        adapters=Adapters(model, loaded.names),
    )


def _sizes(loaded: Loaded, n_ctx: int) -> BatchSizes | None:
    """How much the batch lane holds; None where the paged cache cannot serve the model (ALiBi)."""
    config = loaded.model.config.get_text_config()
    if loaded.model.config._attn_implementation != "sdpa":
        return None
    if loaded.device.type != "cuda":
        return BatchSizes(rows=CPU_ROWS, step_tokens=CPU_STEP, cache_tokens=2 * n_ctx)
    free, _ = torch.cuda.mem_get_info(loaded.device)
    fitting = int(SHARE * free) // token_bytes(config, loaded.dtype)
    return BatchSizes(rows=GPU_ROWS, step_tokens=GPU_STEP, cache_tokens=min(MOST_TOKENS, fitting))


def token_bytes(config: Any, dtype: torch.dtype) -> int:
    """Bytes of the keys and values of one token: layers x key-value heads x width of a head x 2 x size."""
    heads = int(getattr(config, "num_key_value_heads", None) or config.num_attention_heads)
    width = int(getattr(config, "head_dim", None) or config.hidden_size // config.num_attention_heads)
    return int(config.num_hidden_layers) * heads * width * 2 * dtype.itemsize
