"""Attention over pages for the batch lane, in plain torch.

transformers' own way without a flash-attention package lays the keys of all rows side by side and masks what
is not a row's own: its cost grows with the square of the number of rows, and so does its mask. Here rows that
bring one token are computed together, each over its own pages only, and each part of a prompt by itself. It
is an attention implementation like others (`NAME`), for models whose layers all see everything before them.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import scaled_dot_product_attention
from transformers import AttentionInterface, PreTrainedConfig
from transformers.generation.continuous_batching.cache import (
    PagedAttentionCache,
    group_layers_by_attn_type,
)
from transformers.generation.continuous_batching.cache_allocators import FULL_ATTENTION
from transformers.generation.continuous_batching.requests import FutureRequestState

NAME = "adi_pages"
LEAST_PAGES = 4
"""Rows of up to so many pages are padded to the same length; above, to twice the length at most."""


@dataclass(frozen=True, slots=True)
class Writers:
    """Rows that bring one token each."""

    at: Tensor | None
    """Where in the step's tokens, int64 [rows]; None when they are all of it, in order."""
    slots: Tensor
    """Where the keys of each are, int64 [rows x length]."""
    seen: Tensor
    """Which of them are its own, bool [rows, 1, 1, length]."""


@dataclass(frozen=True, slots=True)
class Part:
    """Tokens of one prompt."""

    start: int
    stop: int
    """In the step's tokens."""
    slots: Tensor | None
    """Where the keys of the whole prompt so far are, int64 [length]; None when it begins with this part."""
    seen: Tensor | None
    """bool [1, 1, tokens, length]; None with `slots`."""


@dataclass(frozen=True, slots=True)
class Plan:
    """How the tokens of one step attend. The same for all layers."""

    writers: tuple[Writers, ...]
    parts: tuple[Part, ...]


def serves(config: PreTrainedConfig) -> bool:
    """Whether this attention is one for the model: all its layers see everything before them."""
    return list(group_layers_by_attn_type(config)) == [FULL_ATTENTION]


def plan(futures: Sequence[FutureRequestState], cache: PagedAttentionCache, device: torch.device) -> Plan:
    """The plan of a batch that is prepared: its tokens are in the order of `futures`."""
    allocator = cache.cache_allocators[FULL_ATTENTION]
    page, stride = allocator.tokens_per_page, allocator.block_physical_stride
    within = torch.arange(page, device=device)
    parts: list[Part] = []
    alone: dict[int, list[tuple[int, int, list[int]]]] = {}
    start = 0
    for future in futures:
        length, stop = future.state.position_offset, start + future.query_length
        pages = allocator.block_table[future.state.request_id][: -(-length // page)]
        if future.query_length == 1:
            alone.setdefault(_padded(len(pages)), []).append((start, length, pages))
        elif length == future.query_length:
            parts.append(Part(start, stop, None, None))
        else:
            first = torch.tensor(pages, device=device) * stride
            slots = (first[:, None] + within).flatten()[:length]
            seen = torch.ones(stop - start, length, dtype=torch.bool, device=device)
            parts.append(Part(start, stop, slots, seen.tril_(length - (stop - start))[None, None]))
        start = stop
    writers = []
    for most, rows in alone.items():
        told = [[at, length, *pages, *[0] * (most - len(pages))] for at, length, pages in rows]
        table = torch.tensor(told, device=device)
        slots = (table[:, 2:, None] * stride + within).flatten()
        seen = torch.arange(most * page, device=device) < table[:, 1:2]
        whole = len(rows) == start
        writers.append(Writers(None if whole else table[:, 0], slots, seen[:, None, None]))
    return Plan(tuple(writers), tuple(parts))


def _padded(pages: int) -> int:
    return max(LEAST_PAGES, 1 << (pages - 1).bit_length())


def attend(
    module: torch.nn.Module,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Tensor | None,  # noqa: ARG001 - the library's signature
    *,
    cache: PagedAttentionCache,
    write_index: list[Tensor],
    pages: Plan,
    scaling: float | None = None,
    **_: Any,
) -> tuple[Tensor, None]:
    """Keep keys and values, and attend. `query` is [1, heads, tokens, width], key and value alike.

    The answer is [1, tokens, heads, width].
    """
    layer: Any = module
    allocator: Any = cache.layer_to_allocator[layer.layer_idx]
    keys, values = allocator._kv_token_views[layer.layer_idx]
    keys.index_copy_(0, write_index[allocator.index], key[0].transpose(0, 1))
    values.index_copy_(0, write_index[allocator.index], value[0].transpose(0, 1))
    asked = query[0].transpose(0, 1)
    out = torch.empty_like(asked, memory_format=torch.contiguous_format)
    for group in pages.writers:
        mine = asked if group.at is None else asked[group.at]
        found = _write(mine, keys, values, group, scaling)
        if group.at is None:
            out = found
        else:
            out.index_copy_(0, group.at, found)
    for part in pages.parts:
        span = slice(part.start, part.stop)
        if part.slots is None:
            known = key[:, :, span], value[:, :, span]
        else:
            known = _gathered(keys, part.slots), _gathered(values, part.slots)
        out[span] = _read(query[:, :, span], *known, part.seen, scaling)
    return out[None], None


def _write(asked: Tensor, keys: Tensor, values: Tensor, group: Writers, scaling: float | None) -> Tensor:
    """[rows, heads, width] of one token each: the heads that share a key-value head are its queries."""
    rows, heads, width = asked.shape
    shared = keys.shape[1]
    shape = (rows, -1, shared, width)
    found = scaled_dot_product_attention(
        asked.reshape(rows, shared, heads // shared, width),
        keys.index_select(0, group.slots).view(shape).transpose(1, 2),
        values.index_select(0, group.slots).view(shape).transpose(1, 2),
        attn_mask=group.seen,
        scale=scaling,
    )
    return found.reshape(rows, heads, width)


def _read(asked: Tensor, keys: Tensor, values: Tensor, seen: Tensor | None, scaling: float | None) -> Tensor:
    """[tokens, heads, width] of a part of a prompt."""
    times = asked.shape[1] // keys.shape[1]
    if seen is not None and times > 1:  # the fast kernels take a mask or fewer key heads, not both
        keys, values = keys.repeat_interleave(times, 1), values.repeat_interleave(times, 1)
    found = scaled_dot_product_attention(
        asked,
        keys,
        values,
        attn_mask=seen,
        is_causal=seen is None,
        scale=scaling,
        enable_gqa=keys.shape[1] != asked.shape[1],
    )
    return found[0].transpose(0, 1)


def _gathered(views: Tensor, slots: Tensor) -> Tensor:
    return views.index_select(0, slots).transpose(0, 1)[None]


AttentionInterface.register(NAME, attend)
