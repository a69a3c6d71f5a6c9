"""Short forward passes of two model families in as few kernels as plain torch has: the fast lane's on a GPU.

Written as in transformers, a layer of Qwen2 launches about 50 kernels, most of them smaller than their
launch. Here queries, keys and values are one product, gate and up another, a norm is one kernel, sums go
into the products: about 20. No weight is held twice: the merged matrices are the storage, and the model's own
parameters become views of their rows. Logits are the model's up to the order of sums.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from transformers import PreTrainedModel

from model.torch_graphs import Forward, Slots, hidden, whole

MOST = 32
"""Queries of the longest pass that is run so; a prompt gains nothing from fewer launches."""


def lean(model: PreTrainedModel) -> Forward | None:
    """A faster forward of the base model, to be made before adapters are put into it.

    None where the family has none, where a matrix is quantised, or where something is asked for that is not
    written here. `torch_graphs.passes` tries whether it gives the model's logits.
    """
    linears = [module for module in model.modules() if hasattr(module, "in_features")]
    if not all(type(m) is nn.Linear and type(m.weight.data) is Tensor for m in linears):
        return None
    short: Forward
    if model.config.model_type == "qwen2" and _usual_qwen2(model.config):
        short = Qwen2(model)
    elif model.config.model_type == "mpt" and not model.config.attn_config.clip_qkv:
        short = Mpt(model)
    else:
        return None
    general = whole(model)

    def forward(ids: Tensor, slots: Slots, keep: int) -> Tensor:
        return (short if ids.shape[1] <= MOST else general)(ids, slots, keep)

    return forward


def _usual_qwen2(config: Any) -> bool:
    return config.hidden_act == "silu" and all(kind == "full_attention" for kind in config.layer_types)


def merged(parts: Sequence[nn.Parameter]) -> Tensor:
    """One tensor of the rows of all parts, which become views of it."""
    together = torch.cat([part.data for part in parts])
    start = 0
    for part in parts:
        part.data = together[start : start + len(part)]
        start += len(part)
    return together


def attend(queries: Tensor, keys: Tensor, values: Tensor, bias: Tensor, scale: float) -> Tensor:
    """What queries (groups, rows, width) find in keys and values (groups, span, width): as many rows again.

    `bias`, float32 (1 or groups, rows, span), is added to the scaled scores, which are float32 throughout:
    those of Qwen2 are in the hundreds, where bf16 knows no halves. Products over the whole span, since
    kernels that attend tile by tile keep only as many processors of a GPU busy as there are groups.
    """
    across = keys.transpose(1, 2)
    if queries.dtype == torch.float32:
        scores = torch.bmm(queries, across)
    elif queries.device.type == "cuda":
        scores = torch.bmm(queries, across, out_dtype=torch.float32)
    else:
        scores = torch.bmm(queries.float(), across.float())
    shares = torch.add(bias, scores, alpha=scale).softmax(-1)
    return torch.bmm(shares.to(values.dtype), values)


@dataclass(frozen=True, slots=True)
class _Qwen2Layer:
    """Matrices are (out, in)."""

    before: Tensor
    """Weight of the norm before attention."""
    qkv: Tensor
    qkv_bias: Tensor
    out: Tensor
    after: Tensor
    gate_up: Tensor
    down: Tensor


class Qwen2:
    """`Forward` of a Qwen2ForCausalLM: rotated positions, groups of heads share keys and values."""

    def __init__(self, model: PreTrainedModel) -> None:
        config = model.config
        inner: Any = model.model
        first = inner.layers[0].self_attn
        self._size = first.head_dim
        self._groups = config.num_key_value_heads
        self._heads = config.num_attention_heads
        self._scale = first.scaling
        self._eps = config.rms_norm_eps
        self._embedding = inner.embed_tokens.weight
        self._rotary = inner.rotary_emb
        self._norm = inner.norm.weight
        self._head: Tensor = model.get_output_embeddings().weight  # type: ignore[no-untyped-call]
        self._layers = [self._of(layer) for layer in inner.layers]

    def _of(self, layer: Any) -> _Qwen2Layer:
        a, m = layer.self_attn, layer.mlp
        return _Qwen2Layer(
            before=layer.input_layernorm.weight,
            qkv=merged([a.q_proj.weight, a.k_proj.weight, a.v_proj.weight]),
            qkv_bias=merged([a.q_proj.bias, a.k_proj.bias, a.v_proj.bias]),
            out=a.o_proj.weight,
            after=layer.post_attention_layernorm.weight,
            gate_up=merged([m.gate_proj.weight, m.up_proj.weight]),
            down=m.down_proj.weight,
        )

    def __call__(self, ids: Tensor, slots: Slots, keep: int) -> Tensor:
        x = F.embedding(ids[0], self._embedding)
        cos, sin = self._rotary(x[None], slots.positions[None])
        half = self._size // 2
        # (queries, 1, width); with the sign in the sine, a rotation is the halves swapped
        cos, sin = cos[0, :, None], torch.cat((-sin[0, :, :half], sin[0, :, half:]), -1)[:, None]
        bias = hidden(slots.positions, slots.span, torch.float32)[0].repeat(1, self._heads // self._groups, 1)
        for number, layer in enumerate(self._layers):
            normed = F.rms_norm(x, x.shape[-1:], layer.before, self._eps)
            attended = self._attention(normed, layer, number, slots, cos, sin, bias)
            x = torch.addmm(x, attended, layer.out.t())
            normed = F.rms_norm(x, x.shape[-1:], layer.after, self._eps)
            gate, up = F.linear(normed, layer.gate_up).chunk(2, -1)
            x = torch.addmm(x, F.silu(gate) * up, layer.down.t())
        return F.linear(F.rms_norm(x[-keep:], x.shape[-1:], self._norm, self._eps), self._head)

    def _attention(
        self,
        x: Tensor,
        layer: _Qwen2Layer,
        number: int,
        slots: Slots,
        cos: Tensor,
        sin: Tensor,
        bias: Tensor,
    ) -> Tensor:
        """(queries, heads * width) before the output matrix; `bias` is for rows of (head in group, query)."""
        count, heads, groups, size = len(x), self._heads, self._groups, self._size
        qkv = F.linear(x, layer.qkv, layer.qkv_bias).view(count, heads + 2 * groups, size)
        turned = qkv[:, : heads + groups]
        turned = torch.addcmul(turned * cos, turned.roll(size // 2, -1), sin)
        keys, values = slots.update(
            turned[:, heads:].transpose(0, 1)[None], qkv[:, heads + groups :].transpose(0, 1)[None], number
        )
        rows = turned[:, :heads].view(count, groups, heads // groups, size).permute(1, 2, 0, 3)
        found = attend(rows.reshape(groups, -1, size), keys[0], values[0], bias, self._scale)
        return found.view(groups, heads // groups, count, size).permute(2, 0, 1, 3).reshape(count, -1)


class Mpt:
    """`Forward` of an MptForCausalLM: each head's scores fall with distance at its own slope (ALiBi)."""

    def __init__(self, model: PreTrainedModel) -> None:
        config = model.config
        inner: Any = model.transformer
        self._heads = config.n_heads
        self._eps = config.layer_norm_epsilon
        self._embedding = inner.wte.weight
        self._norm = inner.norm_f.weight
        self._head: Tensor = model.get_output_embeddings().weight  # type: ignore[no-untyped-call]
        self._blocks = list(inner.blocks)
        self._scale = self._blocks[0].attn.softmax_scale
        steps = inner.build_mpt_alibi_tensor(config.n_heads, 2, device=model.device)
        self._slopes = (steps[:, :, 1:] - steps[:, :, :1]).float()
        """(heads, 1, 1): how much a score falls with each token of distance."""

    def __call__(self, ids: Tensor, slots: Slots, keep: int) -> Tensor:
        x = F.embedding(ids[0], self._embedding)
        places = torch.arange(slots.span, device=x.device)
        away = (places - slots.positions[:, None]).float()
        bias = self._slopes * away + hidden(slots.positions, slots.span, torch.float32)[0]
        for number, block in enumerate(self._blocks):
            x = torch.addmm(x, self._attention(block, x, number, slots, bias), block.attn.out_proj.weight.t())
            normed = F.layer_norm(x, x.shape[-1:], block.norm_2.weight, None, block.norm_2.eps)
            x = torch.addmm(
                x, F.gelu(F.linear(normed, block.ffn.up_proj.weight)), block.ffn.down_proj.weight.t()
            )
        return F.linear(F.layer_norm(x[-keep:], x.shape[-1:], self._norm, None, self._eps), self._head)

    def _attention(self, block: Any, x: Tensor, number: int, slots: Slots, bias: Tensor) -> Tensor:
        """(queries, width) before the output matrix."""
        normed = F.layer_norm(x, x.shape[-1:], block.norm_1.weight, None, block.norm_1.eps)
        qkv = F.linear(normed, block.attn.Wqkv.weight).view(len(x), 3, self._heads, -1).permute(1, 2, 0, 3)
        keys, values = slots.update(qkv[1:2], qkv[2:], number)
        return attend(qkv[0], keys[0], values[0], bias, self._scale).transpose(0, 1).reshape(x.shape)
