"""Who computes next in the batch lane, and whose keys and values may be shared.

The mechanics (budgets, blocks, splitting of prompts, forks) are those of transformers' scheduler and paged
cache; here is only what they lack: turns between clients, one adapter a batch, prefixes that never mix
adapters, forgetting the oldest prefixes instead of all, and a `Row` behind each request.
"""

import copy
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

from transformers.generation.continuous_batching.cache import PagedAttentionCache
from transformers.generation.continuous_batching.requests import (
    FutureRequestState,
    RequestState,
    RequestStatus,
)
from transformers.generation.continuous_batching.scheduler import FIFOScheduler

from model.backend import Drawn
from model.torch_row import Row

Book = dict[str, Row]
"""The rows of the batch lane by request id; those of children are there before they are forked."""

Use = Callable[[str], None]
"""Makes the model compute with an adapter; empty for none."""

DECODE_WEIGHT = 2
"""A written token counts as so many read ones when turns are taken between clients."""
ADAPTER_STEPS = 8
"""Steps that one adapter runs while another waits: switching costs a walk over all layers."""
UNLIMITED = 1 << 62


def child_id(request_id: str, number: int) -> str:
    """The id under which transformers forks the child `number` (from 0) of a request."""
    return f"{request_id}__child#{number}"


@dataclass
class Asked(RequestState):
    """A request whose answer is a Row: it decides what ends the answer, and shows it."""

    book: Book = field(default_factory=dict)
    drawn: Drawn | None = None
    """The token of the step that is being finished."""
    last_step: int = -1

    @property
    def row(self) -> Row:
        return self.book[self.request_id]

    def update_and_check_completion(self, token_id: int, logprob: float | None) -> bool:  # noqa: ARG002
        """Hand the drawn token to the row; true when its answer is whole. `drawn` is it, not `token_id`."""
        if self.drawn is None:
            raise RuntimeError(f"request {self.request_id} has no token")
        drawn, self.drawn = self.drawn, None
        reason = self.row.take(drawn)
        self.generated_tokens.append(drawn.id)
        self.tokens_to_process = [drawn.id]
        if reason is None:
            return False
        self.row.finish(reason)
        self.status = RequestStatus.FINISHED
        return True

    def fork(self, new_request_id: str) -> "Asked":
        """A sibling that shares what was read of the prompt; its row is the book's."""
        child = copy.copy(self)
        child.request_id = new_request_id
        child.generated_tokens, child.logprobs, child._timestamps = [], [], []
        child.tokens_to_process = self.tokens_to_process[:]
        child.remaining_prefill_tokens = self.remaining_prefill_tokens[:]
        child.row.cached = self.row.cached
        child.row.begin()
        return child

    def create_equivalent_initial_request(self) -> "Asked":
        """The same request to be read again from the start, when its blocks were needed by others."""
        again = super().create_equivalent_initial_request()
        return Asked(
            again.request_id,
            again.initial_tokens,
            max_new_tokens=None,
            num_children=again.num_children,
            book=self.book,
            _true_initial_tokens=again._true_initial_tokens,
        )


class SharedCache(PagedAttentionCache):
    """Paged keys and values whose prefixes are shared between requests of the same adapter only.

    Blocks are found by hashes chained from the first token on; a salt in the first two tokens keeps apart
    what was computed under other weights.
    """

    def __init__(self, book: Book, vocabulary: int, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self._book = book
        self._vocabulary = vocabulary

    def search_prefix_match(self, request_id: str, prompt_ids: list[int]) -> int:
        """As its base; a request with siblings is left two tokens at least, one to read before the fork."""
        row = self._book[request_id]
        tokens = prompt_ids[:-1] if row.job.n > 1 else prompt_ids
        return int(super().search_prefix_match(request_id, self._salted(row.salt, tokens)))

    def mark_complete_blocks(self, state: RequestState, complete_blocks: dict[str, int]) -> None:
        """As its base, under the salt, and also when the answer ended with this very step."""
        if not complete_blocks:
            return
        salted = copy.copy(state)
        salted.initial_tokens = self._salted(self._book[state.request_id].salt, state.initial_tokens)
        salted._status = RequestStatus.DECODING
        super().mark_complete_blocks(salted, complete_blocks)

    def free_blocks(self, request_id: str, no_cache: bool = False) -> None:
        """As its base, but the end of a prefix is let go before its start, which is of use without it."""
        for allocator in self.cache_allocators.values():
            allocator.block_table.get(request_id, []).reverse()
        super().free_blocks(request_id, no_cache)

    def evict_cached_blocks(self) -> bool:
        """Forget the quarter of the kept blocks that is unused for longest; false when none was kept."""
        evicted = False
        for allocator in self.cache_allocators.values():
            ledger = allocator.ledger
            oldest = list(ledger.cached_blocks)[: -(-len(ledger.cached_blocks) // 4)]
            for block in oldest:
                del ledger.cached_blocks[block]
                del ledger.hash_to_block[ledger.block_to_hash.pop(block)]
            self.pool.free_blocks(allocator.index, oldest)
            evicted = evicted or bool(oldest)
        return evicted

    def forget(self) -> None:
        """Forget all prefixes that no running request uses."""
        while self.evict_cached_blocks():
            pass

    def tokens_held(self) -> tuple[int, int]:
        """Tokens in pages of running requests, and in pages kept for prefixes only. Any thread may ask."""
        held = kept = 0
        for allocator in self.cache_allocators.values():
            free = self.pool.num_free_sectors * allocator.blocks_per_sector
            free += self.pool.count_free_blocks(allocator.index)
            cached = len(allocator.ledger.cached_blocks)
            held += (
                self.num_sectors * allocator.blocks_per_sector - free - cached
            ) * allocator.tokens_per_page
            kept += cached * allocator.tokens_per_page
        return held, kept

    def _salted(self, salt: int, tokens: list[int]) -> list[int]:
        """Tokens whose first two carry the salt; the sums stay below 2^31, which is what gets hashed."""
        high, low = divmod(salt, 2**31 // self._vocabulary)
        salts = (low * self._vocabulary, high * self._vocabulary)
        return [token + plus for token, plus in zip(tokens, salts, strict=False)] + tokens[2:]


class FairScheduler(FIFOScheduler):
    """Writing rows first, prompts in chunks beside them, both in turns between clients.

    Each client has a count of the tokens computed for it (as in virtual token counters, arXiv 2401.00588);
    who has least goes first. One who comes back starts at the least count of those present, so that idling
    earns nothing. When a step cannot hold all writing rows they take turns too, and one place stays free for
    whoever has still to be read.
    """

    adapter = ""
    """The adapter of the batch that was scheduled last."""
    indexed = True
    """Pages are read through an index that holds so many tokens; model/torch_pages.py needs none."""

    def reset(self) -> None:
        super().reset()
        self._spent: dict[str, float] = {}
        self._allotted: dict[str, int] = {}
        self._step = 0
        self._adapter_since = 0
        self._adapter_last: dict[str, int] = {}

    def add_waiting_request(self, state: RequestState) -> None:
        client = _asked(state).row.job.client
        if client not in self._spent:
            self._spent[client] = min(self._spent.values(), default=0.0)
        super().add_waiting_request(state)

    def schedule_batch(
        self, token_budget: int, cache_budget: int
    ) -> tuple[list[FutureRequestState] | None, bool, int, int]:
        """As its base says: the requests of the step, whether all write, tokens in, cached tokens read."""
        self._step += 1
        everyone = [_asked(state) for state in self.active_requests.values()]
        if not self.block_new_requests:
            everyone += [_asked(state) for state in self._get_waiting_candidates()]
        self._pick_adapter(everyone)
        here = [state for state in everyone if state.row.job.adapter == self.adapter]
        candidates = self._in_order(here, token_budget)
        gone: set[str] = set()
        scheduled, failed, decoding, queries, reads = self._process_candidates(
            candidates, token_budget, cache_budget if self.indexed else UNLIMITED, gone
        )
        self._cleanup_waiting_queue(gone)
        self._charge(scheduled)
        if not scheduled and failed:
            return None, decoding, 0, 0
        return scheduled, decoding, queries, reads if self.indexed else 0

    def _pick_adapter(self, everyone: list[Asked]) -> None:
        """Stay for some steps, then go on to the adapter that was not used for longest."""
        present = {state.row.job.adapter for state in everyone}
        long = self._step - self._adapter_since >= ADAPTER_STEPS
        if present and (self.adapter not in present or (long and len(present) > 1)):
            others = present - {self.adapter}
            self.adapter = min(others, key=lambda name: (self._adapter_last.get(name, 0), name))
            self._adapter_since = self._step
        self._adapter_last = {name: self._adapter_last.get(name, 0) for name in present}
        self._adapter_last[self.adapter] = self._step

    def _in_order(self, here: list[Asked], token_budget: int) -> list[RequestState]:
        """Who may compute in this step, best first; also sets how many tokens each client may have read."""
        spent = self._spent
        writing = [state for state in here if state.status == RequestStatus.DECODING]
        reading = [state for state in here if state.status != RequestStatus.DECODING]
        writing.sort(key=lambda state: (spent[state.row.job.client], state.last_step))
        if not reading:
            return [*writing]
        first = writing[: self.max_requests_per_batch - 1]
        needs: Counter[str] = Counter()
        for state in reading:
            needs[state.row.job.client] += len(state.remaining_prefill_tokens)
        self._allotted = _shares(max(token_budget - len(first), 1), needs)
        return [*first, *self._readers(reading), *writing[len(first) :]]

    def _readers(self, reading: list[Asked]) -> Iterator[Asked]:
        """Prompts in turns between clients, as many of each as its allotted tokens are for."""
        turn: Counter[str] = Counter()
        keyed = []
        for state in reading:
            client = state.row.job.client
            keyed.append(((turn[client], self._spent[client]), state))
            turn[client] += 1
        left = dict(self._allotted)
        for _, state in sorted(keyed, key=lambda pair: pair[0]):
            client = state.row.job.client
            if left[client] > 0:
                left[client] -= len(state.remaining_prefill_tokens)
                yield state

    def _infer_request_tokens(
        self, state: RequestState, request_ids_to_remove_from_waiting: set[str]
    ) -> list[int]:
        fresh = state.status == RequestStatus.PENDING and not state._true_initial_tokens
        tokens: list[int] = super()._infer_request_tokens(state, request_ids_to_remove_from_waiting)
        if fresh:
            _asked(state).row.cached = state.position_offset
        return tokens

    def _schedule_request(
        self,
        state: RequestState,
        request_tokens: list[int],
        token_budget: int,
        request_ids_to_remove_from_waiting: set[str],
    ) -> None:
        asked = _asked(state)
        asked.row.begin()
        reads = state.status != RequestStatus.DECODING
        client = asked.row.job.client
        if reads:
            token_budget = min(token_budget, max(self._allotted[client], 1))
        super()._schedule_request(state, request_tokens, token_budget, request_ids_to_remove_from_waiting)
        if reads:
            self._allotted[client] -= len(state.tokens_to_process)

    def _charge(self, scheduled: list[FutureRequestState]) -> None:
        """Count what this step computes for whom, and forget clients that have nothing here any more."""
        for future in scheduled:
            state = _asked(future.state)
            state.last_step = self._step
            weight = (
                DECODE_WEIGHT if future.has_new_token and future.query_length == 1 else future.query_length
            )
            self._spent[state.row.job.client] += weight
        states = [*self.active_requests.values(), *self.waiting_requests.values()]
        present = {_asked(state).row.job.client for state in states}
        self._spent = {client: spent for client, spent in self._spent.items() if client in present}


def _asked(state: RequestState) -> Asked:
    if not isinstance(state, Asked):
        raise TypeError(f"a request of the batch lane has a row, {state.request_id} has none")
    return state


def _shares(budget: int, needs: Counter[str]) -> dict[str, int]:
    """Divide tokens evenly between clients; what one does not need goes to the others."""
    shares: dict[str, int] = defaultdict(int)
    waiting = sorted(needs, key=lambda client: needs[client])
    for position, client in enumerate(waiting):
        shares[client] = min(needs[client], -(-budget // (len(waiting) - position)))
        budget -= shares[client]
    return dict(shares)
