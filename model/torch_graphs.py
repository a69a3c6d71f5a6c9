"""Forward passes of one sequence: keys and values at fixed addresses, and graphs captured over them.

A small model is bound by the launches of its kernels, not by memory. A captured CUDA graph launches them all
at once, but only over tensors that stay where they are and shapes that stay the same. So keys and values live
in `Slots` of the whole window, ids and positions in small buffers, and each pass looks at the first `span`
slots, one of a few spans, so that a short text does not read the window. The same pass runs eagerly on a
CPU and before its graph is captured; capture and replay are the only lines that need a GPU.

Models whose attention wants more than a mask over slots (sliding windows, recurrent states) get `Growing`,
transformers' own cache, with the same calls and no graphs. `passes` tries and decides.
"""

import logging
from collections.abc import Callable, Sequence
from typing import Any, Protocol

import torch
from torch import Tensor
from transformers import Cache, DynamicCache, PreTrainedModel

log = logging.getLogger(__name__)

SPANS = (256, 512, 1024, 2048, 4096, 8192, 16384, 32768, 65536, 131072)
"""Lengths of the part of the window that a pass reads, in tokens; the window itself is always the last."""
EAGER = 4
"""Passes of one shape that run eagerly before it is recorded: a short answer waits for no recording."""


class Passes(Protocol):
    """Forward passes over one sequence, of which the first tokens are known already."""

    n_ctx: int
    width: int
    """Most tokens of a pass that may be taken back afterwards; 1 where none may."""

    def run(self, ids: Sequence[int], start: int, keep: int, adapter: str = "") -> Tensor:
        """Read `ids` at positions `start`, `start + 1`, ... and return logits (keep, vocabulary) of the last.

        What was known from `start` on is forgotten. Returns before a GPU is done; the result is overwritten
        by the next pass.
        """
        ...

    def rewind(self, length: int) -> int:
        """How many of the first `length` tokens stay known; 0 where the model cannot go back."""
        ...

    def forget(self, adapter: str) -> None:
        """The adapter's weights changed or went: captured graphs over them must go too."""
        ...

    def numbers(self) -> dict[str, float]:
        """What to tell on /metrics, by name."""
        ...


class Slots(Cache):
    """Keys and values of one sequence, each (1, heads, n_ctx, width) for a layer, allocated when first seen.

    Set `positions`, (queries,) on the device, and `span` before a forward: keys go to those slots, and the
    first `span` slots are what attention gets, past the end too. A mask must hide what is not written yet.
    """

    def __init__(self, n_ctx: int) -> None:
        super().__init__(layers=[])
        self.n_ctx = n_ctx
        self.positions = torch.empty(0, dtype=torch.long)
        self.span = n_ctx
        self._kept: list[tuple[Tensor, Tensor]] = []

    def update(
        self, key_states: Tensor, value_states: Tensor, layer_idx: int, *_args: Any, **_kwargs: Any
    ) -> tuple[Tensor, Tensor]:
        while len(self._kept) <= layer_idx:
            # Zeros, not garbage: a masked slot weighs 0, and 0 times NaN is NaN.
            self._kept.append((self._room(key_states), self._room(value_states)))
        keys, values = self._kept[layer_idx]
        keys.index_copy_(2, self.positions, key_states)
        values.index_copy_(2, self.positions, value_states)
        return keys[:, :, : self.span], values[:, :, : self.span]

    def get_seq_length(self, layer_idx: int = 0) -> int:  # noqa: ARG002 - the library's signature
        """Positions are always given, so nobody may count on a length."""
        return 0

    def _room(self, like: Tensor) -> Tensor:
        return like.new_zeros((1, like.shape[1], self.n_ctx, like.shape[3]))


Forward = Callable[[Tensor, Slots, int], Tensor]
"""(ids (1, queries), slots made ready, keep) -> logits (keep, vocabulary) of the last `keep` queries."""


def hidden(positions: Tensor, span: int, dtype: torch.dtype) -> Tensor:
    """What each query may not see: (1, 1, queries, span), 0 or the least number of `dtype`, to be added."""
    later = torch.arange(span, device=positions.device) > positions[:, None]
    mask = torch.zeros(later.shape, dtype=dtype, device=positions.device)
    return mask.masked_fill_(later, torch.finfo(dtype).min)[None, None]


def whole(model: PreTrainedModel) -> Forward:
    """The forward of any transformers model that takes a ready mask."""

    def forward(ids: Tensor, slots: Slots, keep: int) -> Tensor:
        output = model(
            input_ids=ids,
            attention_mask=hidden(slots.positions, slots.span, model.dtype),
            position_ids=slots.positions[None],
            past_key_values=slots,
            use_cache=True,
            logits_to_keep=keep,
        )
        return output.logits[0]  # type: ignore[no-any-return]

    return forward


Recorder = Callable[[Callable[[], Tensor]], tuple[Callable[[], None], Tensor]]
"""Takes a pass over fixed inputs; gives what does it again, and the tensor that the result is then in.

May do the pass any number of times. Raises RuntimeError or AssertionError where it cannot be recorded.
"""


class CudaGraphs:
    """Records passes as CUDA graphs, which share memory: only the newest result of them all is ever read."""

    def __init__(self) -> None:
        self._pool: Any = None

    def __call__(self, compute: Callable[[], Tensor]) -> tuple[Callable[[], None], Tensor]:
        side = torch.cuda.Stream()  # type: ignore[no-untyped-call]
        side.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(side):
            # Libraries choose and allocate on first use, which must not happen while a graph is captured.
            for _ in range(2):
                compute()
        torch.cuda.current_stream().wait_stream(side)
        graph = torch.cuda.CUDAGraph()
        # Threads of the HTTP front may use CUDA meanwhile; that must not fail this.
        with torch.cuda.graph(graph, pool=self._pool, capture_error_mode="thread_local"):
            logits = compute()
        self._pool = graph.pool()
        return graph.replay, logits


class Step:
    """One shape of a pass: `queries` tokens over `span` slots, logits of all; inputs stay where they are."""

    def __init__(self, forward: Forward, slots: Slots, queries: int, span: int, device: torch.device) -> None:
        self.passes = 0
        """Since the start."""
        self._forward, self._slots, self._span = forward, slots, span
        self._inputs = torch.zeros((2, queries), dtype=torch.long, device=device)
        """Ids and positions, in one tensor: one copy to the GPU for each pass."""
        self._staged = torch.zeros((2, queries), dtype=torch.long, pin_memory=device.type == "cuda")
        self._recorded: tuple[Callable[[], None], Tensor] | None = None

    @property
    def recorded(self) -> bool:
        return self._recorded is not None

    def fill(self, ids: Sequence[int], start: int) -> None:
        """What the next pass reads."""
        # The last copy from `_staged` is done: whoever wanted its logits has waited for them since.
        self._staged.copy_(torch.tensor([list(ids), list(range(start, start + len(ids)))]))
        self._inputs.copy_(self._staged, non_blocking=True)

    def record(self, recorder: Recorder) -> None:
        """Have later passes replayed. Only with the inputs of a pass that is due: its slots are written."""
        self._recorded = recorder(self._compute)

    def run(self) -> Tensor:
        """Logits (queries, vocabulary), overwritten by the next pass."""
        self.passes += 1
        if self._recorded is None:
            return self._compute()
        replay, logits = self._recorded
        replay()
        return logits

    def _compute(self) -> Tensor:
        """The pass itself; done twice over the same inputs it changes nothing."""
        self._slots.positions, self._slots.span = self._inputs[1], self._span
        return self._forward(self._inputs[:1], self._slots, self._inputs.shape[1])


class Captured:
    """Passes over slots, with graphs where there is a recorder for them."""

    def __init__(
        self,
        model: PreTrainedModel,
        *,
        n_ctx: int,
        width: int,
        forward: Forward | None = None,
        padded: bool | None = None,
        recorder: Recorder | None = None,
    ) -> None:
        """`width` is the widest decoding pass, 1 + the most drafted tokens.

        `forward` replaces the model's own where no adapter is active. Padded, by default on a GPU, a pass of
        2 to `width` tokens runs as one of `width`, so that two shapes serve all. `recorder` is by default
        CudaGraphs on a GPU, none elsewhere.
        """
        self.n_ctx, self.width = n_ctx, width
        self._device = model.device
        on_gpu = self._device.type == "cuda"
        self._recorder: Recorder | None = CudaGraphs() if recorder is None and on_gpu else recorder
        self._padded = on_gpu if padded is None else padded
        self._general = whole(model)
        self._base = forward or self._general
        self._slots = Slots(n_ctx)
        self._steps: dict[tuple[str, int, int], Step] = {}
        self._failed = 0

    def span(self, end: int) -> int:
        """Slots that a pass reads whose last token is at `end - 1`."""
        return min(next(span for span in (*SPANS, self.n_ctx) if span >= min(end, self.n_ctx)), self.n_ctx)

    @torch.inference_mode()
    def run(self, ids: Sequence[int], start: int, keep: int, adapter: str = "") -> Tensor:
        if start + len(ids) > self.n_ctx:
            raise ValueError(f"{start + len(ids)} tokens do not fit into {self.n_ctx}")
        queries = self.width if self._padded and 1 < len(ids) < self.width else len(ids)
        if queries > self.width or start + queries > self.n_ctx:
            return self._read(ids, start, keep, adapter)
        # What pads is written to slots that no query sees before they are written again.
        step = self._step(adapter, queries, self.span(start + queries))
        step.fill([*ids, *([ids[-1]] * (queries - len(ids)))], start)
        if self._recorder is not None and not step.recorded and step.passes >= EAGER:
            self._record(step, self._recorder)
        return step.run()[len(ids) - keep : len(ids)]

    def rewind(self, length: int) -> int:
        return length

    def forget(self, adapter: str) -> None:
        for key in [key for key in self._steps if key[0] == adapter]:
            del self._steps[key]

    def numbers(self) -> dict[str, float]:
        return {
            "single_graphs": float(sum(step.recorded for step in list(self._steps.values()))),
            "single_graphs_failed": float(self._failed),
        }

    def _forward(self, adapter: str) -> Forward:
        return self._general if adapter else self._base

    def _read(self, ids: Sequence[int], start: int, keep: int, adapter: str) -> Tensor:
        """A part of a prompt: any length, always eager, logits of the last `keep` tokens only."""
        self._slots.span = self.span(start + len(ids))
        self._slots.positions = torch.arange(start, start + len(ids), device=self._device)
        there = torch.tensor([list(ids)], device=self._device)
        return self._forward(adapter)(there, self._slots, keep)

    def _step(self, adapter: str, queries: int, span: int) -> Step:
        key = (adapter, queries, span)
        step = self._steps.get(key)
        if step is None:
            step = Step(self._forward(adapter), self._slots, queries, span, self._device)
            self._steps[key] = step
        return step

    def _record(self, step: Step, recorder: Recorder) -> None:
        try:
            step.record(recorder)
        except (RuntimeError, AssertionError) as error:  # out of memory is a RuntimeError too
            self._recorder = None
            self._failed += 1
            log.warning("no more graphs are captured, other passes stay eager: %s", error)


class Growing:
    """Passes over transformers' own cache; always eager."""

    def __init__(self, model: PreTrainedModel, *, n_ctx: int, width: int) -> None:
        self.n_ctx = n_ctx
        self._model = model
        self._cache = DynamicCache(config=model.config)
        self._length = 0
        self._back = all(getattr(layer, "is_croppable", False) for layer in self._cache.layers)
        self._back = self._back and not any(
            getattr(layer, "is_sliding", False) for layer in self._cache.layers
        )
        self.width = width if self._back else 1

    @torch.inference_mode()
    def run(self, ids: Sequence[int], start: int, keep: int, adapter: str = "") -> Tensor:  # noqa: ARG002
        if start + len(ids) > self.n_ctx:
            raise ValueError(f"{start + len(ids)} tokens do not fit into {self.n_ctx}")
        if self.rewind(start) != start:
            raise ValueError(f"position {start} does not follow on {self._length} known tokens")
        device = self._model.device
        output = self._model(
            input_ids=torch.tensor([list(ids)], device=device),
            position_ids=torch.arange(start, start + len(ids), device=device)[None],
            past_key_values=self._cache,
            use_cache=True,
            logits_to_keep=keep,
        )
        self._length = start + len(ids)
        return output.logits[0]  # type: ignore[no-any-return]

    def rewind(self, length: int) -> int:
        if length < self._length and (not self._back or not length):
            self._cache, self._length = DynamicCache(config=self._model.config), 0
        elif length < self._length:
            self._cache.crop(length - self._length)
            self._length = length
        return min(length, self._length)

    def forget(self, adapter: str) -> None:
        """Nothing is captured."""

    def numbers(self) -> dict[str, float]:
        return {}


def passes(
    model: PreTrainedModel, *, n_ctx: int, width: int, forward: Forward | None = None
) -> Captured | Growing:
    """Slots where the model gives the same logits over them as over its own cache, else its own cache.

    `forward` is preferred where it agrees too. Tried on a few tokens: no list of models could stay true.
    """
    growing = Growing(model, n_ctx=n_ctx, width=width)
    for one in (forward, None) if forward else (None,):
        slotted = Captured(model, n_ctx=n_ctx, width=width, forward=one)
        if _agree(slotted, growing):
            return slotted
    growing.rewind(0)
    return growing


def _agree(slotted: Captured, growing: Growing) -> bool:
    growing.rewind(0)
    try:
        return all(
            _same(slotted.run(ids, start, len(ids)), growing.run(ids, start, len(ids)))
            for ids, start in (([1, 2, 3, 5, 8], 0), ([13], 5), ([21], 6))
        )
    except (RuntimeError, ValueError, TypeError, AttributeError) as error:
        log.info("no fixed slots: %s", error)
        return False


def _same(one: Tensor, other: Tensor) -> bool:
    """Within what another order of sums does to bf16; a wrong mask or position is far off."""
    one, other = one.float(), other.float()
    return bool((one - other).norm() <= 0.05 * other.norm())
