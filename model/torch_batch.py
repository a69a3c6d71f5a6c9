"""The batch lane: many answers at once, over transformers' continuous batching driven from our own thread.

A step schedules requests (model/torch_schedule.py), runs the model once over all their new tokens, draws a
token for each row that is through its prompt (model/torch_draw.py) and hands it to the row. Keys and values
live in pages; answers to one prompt share its pages, and later prompts find them again.
"""

import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from transformers import PreTrainedModel
from transformers.generation.configuration_utils import ContinuousBatchingConfig
from transformers.generation.continuous_batching.cb_logits_processors import (
    ContinuousBatchingLogitsProcessorList,
)
from transformers.generation.continuous_batching.continuous_api import (
    BackgroundThreadStatus,
    ContinuousBatchProcessor,
    OutputRouter,
)
from transformers.generation.continuous_batching.distributed import DistributedHelper
from transformers.generation.continuous_batching.initialization import (
    resolve_continuous_batching_config,
    update_cb_config_after_cache_creation,
)
from transformers.generation.continuous_batching.input_outputs import ContinuousBatchingIOs
from transformers.generation.continuous_batching.model_runner import ModelRunner
from transformers.generation.continuous_batching.requests import RequestState
from transformers.generation.continuous_batching.utils import stream_context
from transformers.generation.logits_process import LogitsProcessorList

from model import torch_pages
from model.torch_draw import draw, fill_masks
from model.torch_row import Row
from model.torch_schedule import Asked, Book, FairScheduler, SharedCache, Use, child_id

PAGE_TOKENS = 32
"""Tokens of a page: prefixes are shared in whole pages, and every page costs an entry in the index."""


@dataclass(frozen=True, slots=True)
class BatchSizes:
    """How much the lane holds."""

    rows: int = 32
    """Answers computed in one step; more may be begun, they take turns."""
    step_tokens: int = 256
    """New tokens of one step, prompts and answers together: a longer prompt is read in several steps."""
    cache_tokens: int = 32768
    """Tokens whose keys and values fit, shared prefixes counted once."""


class Silent(OutputRouter):
    """Drops transformers' outputs: rows have delivered their own."""

    def deliver(self, output: object) -> None:
        pass

    def deliver_batch(self, outputs: list[Any]) -> None:
        pass


class Processor(ContinuousBatchProcessor):
    """Its base also tidies up when the interpreter ends, when what that needs is gone already."""

    def __del__(self) -> None:
        if not sys.is_finalizing():
            super().__del__()


def waited(ios: object) -> ContinuousBatchingIOs:
    """Inputs and outputs of a lane that waits for each step."""
    if not isinstance(ios, ContinuousBatchingIOs):
        raise TypeError("the batch lane does not run steps ahead")
    return ios


class Runner(ModelRunner):
    """Runs the model and leaves its logits to us.

    The forward, which may be a captured graph, ends in a fixed buffer; tokens are drawn outside of it. Masks
    of grammars are filled on the CPU while a GPU works on the forward.
    """

    def __init__(
        self, vocabulary: int, device: torch.device, rows: int, *, pages: bool, **kwargs: Any
    ) -> None:
        super().__init__(do_sample=False, return_logprobs=False, **kwargs)
        self.logits = torch.zeros(rows, vocabulary, dtype=torch.float32, device=device)
        """Raw logits of the rows of the last step that get a token, in the order of the batch."""
        self.pages = pages
        """Whether the model attends by model/torch_pages.py."""

    def compute_batch(self, model: torch.nn.Module, batch_data: dict[str, Any]) -> None:
        ios = waited(self.inputs_and_outputs)
        stream = ios.compute_stream
        if stream is not None:  # the inputs were copied on the thread's own stream
            stream.wait_stream(torch.cuda.current_stream(stream.device))
        if self.pages:
            batch_data["pages"] = torch_pages.plan(ios.requests_in_batch, self.cache, self.logits.device)
        super().compute_batch(model, batch_data)
        futures = [future for future in ios.requests_in_batch if future.has_new_token]
        states = [future.state for future in futures if isinstance(future.state, Asked)]
        if not states:
            return
        rows = [state.row for state in states]
        masks = fill_masks(rows, self.logits.shape[1], pinned=stream is not None)
        with stream_context(stream):
            for state, drawn in zip(states, draw(self.logits[: len(rows)], rows, masks), strict=True):
                state.drawn = drawn

    def _forward_process_and_sample(
        self,
        model: torch.nn.Module,
        batch_data: dict[str, Any],
        carry_over_ids: torch.Tensor,  # noqa: ARG002 (tokens are never carried over: each step is waited for)
        prev_output_ids: torch.Tensor,  # noqa: ARG002
        output_ids: torch.Tensor,  # noqa: ARG002
    ) -> None:
        logits = model(**batch_data).logits
        if "logits_to_keep" not in batch_data:
            logits = logits[:, batch_data["logits_indices"], :]
        self.logits[: logits.shape[1]].copy_(logits[0])


class BatchLane:
    """Rows in, events out; one thread calls everything here.

    A step that fails ends the rows of its batch with reason `error` and gives their pages back; rows that
    were not in it go on.
    """

    def __init__(
        self, model: PreTrainedModel, sizes: BatchSizes, use: Use, attention: str | None = None
    ) -> None:
        """`attention` is the implementation to run with: the model's own, or model/torch_pages.py for sdpa.

        The model has its own again after each step.
        """
        self._model = model
        own = model.config._attn_implementation
        fits = own == "sdpa" and torch_pages.serves(model.config.get_text_config())
        self.attention = attention or (torch_pages.NAME if fits else own)
        self._use = use
        self._book: Book = {}
        self._serial = 0
        self.steps = 0
        self.tokens_computed = 0
        """Tokens that went through the model, so that sharing can be checked."""
        with self._attending():
            self.cache, self._scheduler, self._processor = self._build(sizes)
        self._ios = waited(self._processor.inputs_and_outputs)
        self.capacity = self.cache.num_blocks * PAGE_TOKENS
        """Tokens of the longest row, prompt and answer together."""

    def _build(self, sizes: BatchSizes) -> tuple[SharedCache, FairScheduler, Processor]:
        model = self._model
        config = model.config.get_text_config()
        vocabulary = config.vocab_size
        wanted = ContinuousBatchingConfig(
            page_size=PAGE_TOKENS,
            num_blocks=-(-sizes.cache_tokens // PAGE_TOKENS),
            max_batch_tokens=sizes.step_tokens,
            max_requests_per_batch=sizes.rows,
            use_async_batching=False,
            auto_switch_to_flash=False,
            seed=0,
        )
        resolved = resolve_continuous_batching_config(config, wanted, None, False, model.device)
        nothing = ContinuousBatchingLogitsProcessorList(LogitsProcessorList())
        alone = DistributedHelper(device_mesh=None, cpu_group_timeout=None, tp_plan={})
        cache = SharedCache(
            self._book,
            vocabulary,
            config=config,
            continuous_batching_config=resolved,
            device=model.device,
            distributed_helper=alone,
            dtype=model.dtype,
            model_supports_logits_to_keep=_slices(model),
        )
        update_cb_config_after_cache_creation(resolved, cache.num_blocks, cache.max_batch_tokens)
        rows = min(sizes.rows, cache.max_batch_tokens)
        scheduler = FairScheduler(cache, resolved.safety_margin, rows)
        scheduler.indexed = self.attention != torch_pages.NAME
        processor = Processor(
            cache=cache,
            config=config,
            generation_config=model.generation_config,
            continuous_batching_config=resolved,
            logit_processor=nothing,
            input_queue=None,
            cancel_queue=None,
            output_router=Silent(),
            background_thread_status=BackgroundThreadStatus(),
            model_device=model.device,
            model_dtype=model.dtype,
            scheduler=scheduler,
            distributed_helper=alone,
        )
        processor.model_runner = Runner(
            vocabulary,
            model.device,
            rows,
            pages=not scheduler.indexed,
            logit_processor=nothing,
            cb_config=resolved,
            inputs_and_outputs=processor.inputs_and_outputs,
            cache=cache,
        )
        return cache, scheduler, processor

    @property
    def rows(self) -> list[Row]:
        """Rows that were begun and have not ended."""
        return list(self._book.values())

    def begin(self, rows: Sequence[Row]) -> None:
        """Take over the rows of one job; its prompt is read once for all of them."""
        self._serial += 1
        first = f"{self._serial}"
        ids = [first, *(child_id(first, number) for number in range(len(rows) - 1))]
        self._book.update(zip(ids, rows, strict=True))
        # one token cannot be read before a fork and be there to be read after it: such rows stay apart
        together = len(rows) > 1 and len(rows[0].ids) > 1
        for request_id, row in list(zip(ids, rows, strict=True))[: 1 if together else len(rows)]:
            children = len(rows) - 1 if together else 0
            self._scheduler.add_waiting_request(
                Asked(request_id, list(row.ids), max_new_tokens=None, num_children=children, book=self._book)
            )

    def step(self) -> bool:
        """Compute once; false when there was nothing to do."""
        self.sweep()
        if not self._book:
            return False
        batch: list[RequestState] | None = None
        try:
            if not self._processor.prepare_next_batch():
                raise RuntimeError("no row could be scheduled")
            batch = [future.state for future in self._ios.requests_in_batch]
            self.tokens_computed += self._ios.total_seqlen_q
            self._use(self._scheduler.adapter)
            with self._attending():
                self._processor._generation_step(self._model)
            self._processor.update_batch()
        except Exception as error:  # noqa: BLE001 - whatever a model raises, rows outside of this batch go on
            self._fail(batch, sentence(error))
        self.steps += 1
        self._strike_ended()
        return True

    def sweep(self) -> None:
        """Drop the rows that nobody wants any more, and give their pages back."""
        gone = [(request_id, row) for request_id, row in self._book.items() if row.gone]
        for request_id, _ in gone:
            self._scheduler.set_request_cancellation(request_id)
        if gone:
            self._scheduler.clear_cancelled_requests()
            self._scheduler.block_new_requests = False
        for _, row in gone:
            row.finish("stop")
        self._strike_ended()

    def fail(self, why: str, which: Callable[[Row], bool] = lambda _: True) -> None:
        """End rows with reason `error`."""
        scheduler = self._scheduler
        states = [*scheduler.active_requests.values(), *scheduler.waiting_requests.values()]
        self._fail([state for state in states if which(self._book[state.request_id])], why)
        self._strike_ended()

    def _fail(self, states: Sequence[RequestState] | None, why: str) -> None:
        """End the rows of these states and their siblings still unborn; None, when no batch was made: all."""
        scheduler = self._scheduler
        everyone = [*scheduler.active_requests.values(), *scheduler.waiting_requests.values()]
        doomed = everyone if states is None else states
        scheduler._requests_to_fork.clear()
        scheduler.block_new_requests = False
        for state in doomed:
            scheduler.set_request_cancellation(state.request_id)
            self._book[state.request_id].finish("error", why)
        scheduler.clear_cancelled_requests()
        alive = {*scheduler.active_requests, *scheduler.waiting_requests}
        unborn = {id(self._book[state.request_id].job) for state in doomed}
        for request_id, row in self._book.items():
            if request_id not in alive and id(row.job) in unborn:
                row.finish("error", why)

    def _strike_ended(self) -> None:
        for request_id in [request_id for request_id, row in self._book.items() if row.ended]:
            del self._book[request_id]

    @contextmanager
    def _attending(self) -> Iterator[None]:
        """The model with this lane's attention; the fast lane, which shares it, has another."""
        config = self._model.config
        own = config._attn_implementation
        config._attn_implementation = self.attention
        try:
            yield
        finally:
            config._attn_implementation = own


def sentence(error: Exception) -> str:
    """What a client is told of a failed step."""
    if isinstance(error, torch.OutOfMemoryError):
        return "the device ran out of memory in the middle of this batch"
    first = str(error).strip().partition("\n")[0]
    return f"the model failed in the middle of this batch ({type(error).__name__}: {first})"


def _slices(model: PreTrainedModel) -> bool:
    """Whether the model computes logits of asked positions only, which bounds what a long prompt needs."""
    asked: Any = model
    return bool(asked._supports_logits_to_keep())
