"""Engine `torch`: a Backend (model/backend.py) over a transformers model in this process.

One thread computes. A job that is alone goes to the fast lane (model/torch_single.py), jobs that meet others
share the batch lane (model/torch_batch.py); when both have work they take turns. Models that the paged cache
cannot serve have the fast lane only, one row after another.
"""

import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Protocol

import torch
from transformers import PreTrainedModel

from memory.records import Message
from model.backend import About, Adapter, Deliver, Job, Reason, Stats
from model.errors import ModelError, PromptTooLong, RequestRefused, ServerFailed
from model.torch_batch import BatchLane, BatchSizes, sentence
from model.torch_grammar import Grammars
from model.torch_queue import Ticket, TurnQueue
from model.torch_row import Row
from model.torch_single import SingleLane
from model.torch_text import Text

CLOSING = "the engine is closing"


@dataclass(frozen=True, slots=True)
class Limits:
    """How much is taken on at once."""

    waiting: int = 256
    """Jobs in the queue."""
    waiting_of_one: int = 64
    """Of these, jobs of one client."""
    answers: int = 64
    """Most answers of one job."""


class Adapting(Protocol):
    """What is needed of model/torch_adapters.py, on the engine's thread only but for the first `list`."""

    def load(self, name: str, path: Path) -> Adapter: ...

    def unload(self, name: str) -> None: ...

    def list(self) -> Sequence[Adapter]: ...

    def use(self, name: str) -> None:
        """Compute with this adapter from now on; empty for the base model."""
        ...


@dataclass(frozen=True, slots=True)
class Task:
    """Something to do between steps, once no row with this adapter runs."""

    adapter: str
    do: Callable[[], None]
    done: "Future[None]"


class TorchEngine:
    """Serves one model until `close`. Every method may be called from any thread."""

    def __init__(
        self,
        model: PreTrainedModel,
        text: Text,
        about: About,
        *,
        sizes: BatchSizes | None,
        limits: Limits | None = None,
        single: SingleLane | None = None,
        adapters: Adapting | None = None,
    ) -> None:
        """`about.n_ctx` is lowered to what the paged cache can hold.

        `sizes` None means that the paged cache cannot serve this model; a fast lane is needed then. Without
        `single` every job goes through the batch lane. The model must be in eval mode.
        """
        if sizes is None and single is None:
            raise ValueError("an engine needs a lane")
        self._model = model
        self._text = text
        self._limits = limits or Limits()
        self._grammars = Grammars(text)
        self._adapters = adapters
        self._single = single
        self._batch = None if sizes is None else BatchLane(model, sizes, self._use)
        self._rows_at_once = 2 * sizes.rows if sizes else 1
        n_ctx = about.n_ctx if self._batch is None else min(about.n_ctx, self._batch.capacity)
        self._about = replace(about, n_ctx=n_ctx)
        self._wake = threading.Condition()
        self._queue = TurnQueue(self._limits.waiting, self._limits.waiting_of_one)
        self._line: deque[Row] = deque()
        """Rows that are admitted to the fast lane, of a model that has no other."""
        self._tasks: deque[Task] = deque()
        self._loaded = {one.name: one for one in adapters.list()} if adapters else {}
        self._salts = {name: number for number, name in enumerate(self._loaded, 1)}
        self._salt = len(self._salts)
        self._stats = Stats()
        self._closing = False
        self._thread = threading.Thread(target=self._run, name="adi-torch-engine", daemon=True)
        self._thread.start()

    @property
    def about(self) -> About:
        return self._about

    def chat_ids(self, messages: Sequence[Message]) -> list[int]:
        return self._text.chat_ids(messages)

    def text_ids(self, text: str) -> list[int]:
        return self._text.text_ids(text)

    def infill_ids(self, prefix: str, suffix: str, context: str = "") -> list[int]:
        return self._text.infill_ids(prefix, suffix, context)

    def infill_stops(self) -> tuple[int, ...]:
        return self._text.infill_stops()

    def decode(self, ids: Sequence[int]) -> str:
        return self._text.decode(ids)

    def submit(self, job: Job, deliver: Deliver) -> Ticket:
        try:
            self._check(job)
            rows = []
            for index in range(job.n):
                matcher = self._grammars.compile(job.grammar) if job.grammar else None
                rows.append(Row(job, index, self._text, deliver, matcher, self._ended))
            ticket = Ticket(rows, self._notify)
            with self._wake:
                if self._closing:
                    raise ServerFailed(CLOSING)
                self._queue.put(ticket)
                self._count(requests=1)
                self._wake.notify_all()
        except ModelError:
            with self._wake:
                self._count(refused=1)
            raise
        return ticket

    def stats(self) -> Stats:
        with self._wake:
            extra: dict[str, float] = self._single.numbers() if self._single else {}
            if self._batch is not None:
                held, kept = self._batch.cache.tokens_held()
                extra |= {
                    "batch_steps": self._batch.steps,
                    "batch_tokens": self._batch.tokens_computed,
                    "cache_tokens_running": held,
                    "cache_tokens_kept": kept,
                    "cache_tokens_most": self._batch.capacity,
                }
            return replace(self._stats, waiting=self._queue.waiting + len(self._line), extra=extra)

    def adapters(self) -> Sequence[Adapter]:
        with self._wake:
            return list(self._loaded.values())

    def load_adapter(self, name: str, path: str) -> Adapter:
        adapters = self._adapters
        if adapters is None:
            raise RequestRefused("this model takes no adapters")

        def load() -> None:
            adapter = adapters.load(name, Path(path))
            with self._wake:
                self._loaded[name] = adapter

        self._between_steps(name, load)
        with self._wake:
            return self._loaded[name]

    def unload_adapter(self, name: str) -> None:
        adapters = self._adapters
        if adapters is None or name not in self._loaded:
            raise RequestRefused(f"no adapter {name!r} is loaded")

        def unload() -> None:
            adapters.unload(name)
            with self._wake:
                self._loaded.pop(name, None)

        self._between_steps(name, unload)

    def close(self) -> None:
        with self._wake:
            self._closing = True
            self._wake.notify_all()
        self._thread.join()
        self._grammars.close()

    # What follows until `_run` is called on clients' threads.

    def _check(self, job: Job) -> None:
        """Refuse what can never be served."""
        size, n_ctx = len(job.ids), self._about.n_ctx
        if not job.ids:
            raise RequestRefused("the prompt is empty")
        if job.draw.max_tokens < 1:
            raise RequestRefused(f"max_tokens must be 1 at least, not {job.draw.max_tokens}")
        if size + job.draw.max_tokens > n_ctx:
            raise PromptTooLong(size, n_ctx, job.draw.max_tokens)
        if not 1 <= job.n <= self._limits.answers:
            raise RequestRefused(f"n must be from 1 to {self._limits.answers}, not {job.n}")
        if min(job.ids) < 0 or max(job.ids) >= self._about.vocabulary:
            raise RequestRefused(f"token ids go from 0 to {self._about.vocabulary - 1}")
        if job.adapter and job.adapter not in self._loaded:
            raise RequestRefused(f"no adapter {job.adapter!r} is loaded")

    def _between_steps(self, adapter: str, do: Callable[[], None]) -> None:
        """Have the engine's thread do something to an adapter that no row uses; raises what it raises."""
        task = Task(adapter, do, Future())
        with self._wake:
            if self._closing:
                raise ServerFailed(CLOSING)
            self._tasks.append(task)
            self._wake.notify_all()
        task.done.result()

    def _notify(self) -> None:
        with self._wake:
            self._wake.notify_all()

    def _count(self, **plus: float) -> None:
        """Add to counters; the caller holds the lock."""
        sums = {name: getattr(self._stats, name) + value for name, value in plus.items()}
        self._stats = replace(self._stats, **sums)

    # What follows runs on the engine's thread.

    def _run(self) -> None:
        while self._wait():
            try:
                self._turn()
            except Exception as error:  # noqa: BLE001 - the engine outlives whatever one turn does
                self._end_all(sentence(error))
        self._close()

    def _wait(self) -> bool:
        """Sleep until there is something to do; false when the engine closes."""
        with self._wake:
            while not (self._closing or self._tasks or self._queue or self._line or self._running()):
                self._wake.wait()
            return not self._closing

    def _running(self) -> list[Row]:
        """Rows in the lanes."""
        rows = self._batch.rows if self._batch else []
        return [*rows, self._single.busy] if self._single and self._single.busy else rows

    def _turn(self) -> None:
        """What waits, then one step of each lane that has work."""
        start = time.monotonic()
        self._do_tasks()
        self._admit()
        single, batch = self._single, self._batch
        if single is not None and single.busy is not None:
            self._step_single(single, single.busy)
        if batch is not None and batch.rows:
            batch.step()
        with self._wake:
            self._count(busy_s=time.monotonic() - start)
            self._stats = replace(self._stats, running=len(self._running()))

    def _step_single(self, single: SingleLane, row: Row) -> None:
        try:
            self._use(row.job.adapter)
            with torch.no_grad():
                single.step()
        except Exception as error:  # noqa: BLE001 - whatever a model raises, the other lane's rows go on
            single.abort(sentence(error))

    def _use(self, adapter: str) -> None:
        if self._adapters is not None:
            self._adapters.use(adapter)

    def _do_tasks(self) -> None:
        """Those whose adapter no row uses; the others wait, and no new row may begin with theirs."""
        busy = {row.job.adapter for row in [*self._running(), *self._line]}
        with self._wake:
            ready = [task for task in self._tasks if task.adapter not in busy]
        for task in ready:
            try:
                task.do()
            except Exception as error:  # noqa: BLE001 - it is raised where it was asked for
                task.done.set_exception(error)
            else:
                task.done.set_result(None)
            finally:
                self._salt += 1
                self._salts[task.adapter] = self._salt
                if self._single is not None:
                    self._single.forget(task.adapter)
                with self._wake:
                    self._tasks.remove(task)

    def _admit(self) -> None:
        """Give waiting jobs to the lanes."""
        while True:
            with self._wake:
                ticket = self._queue.take(self._may_begin)
                alone = not self._queue
            if ticket is None:
                break
            self._begin(ticket, alone)
        while self._line and self._single is not None and self._single.busy is None:
            row = self._line.popleft()
            if row.gone:
                row.finish("stop")
            else:
                self._single.begin(row)

    def _may_begin(self, ticket: Ticket) -> bool:
        """A client that has nothing running may begin where others have to wait for room."""
        if ticket.gone:
            return True
        if any(task.adapter == ticket.job.adapter for task in self._tasks if task.adapter):
            return False
        if self._batch is None:
            return not self._line
        rows = self._running()
        mine = any(row.job.client == ticket.job.client for row in rows)
        room = self._rows_at_once * (1 if mine else 4)
        return len(rows) + len(ticket.rows) <= room or not rows

    def _begin(self, ticket: Ticket, alone: bool) -> None:
        adapter = ticket.job.adapter
        lost = bool(adapter) and adapter not in self._loaded
        if ticket.gone or lost:
            for row in ticket.rows:
                row.finish("error", f"the adapter {adapter!r} was unloaded while the request waited")
            return
        for row in ticket.rows:
            row.salt = self._salts.get(adapter, 0)
        single, first = self._single, ticket.rows[0]
        if self._batch is None:
            self._line.extend(ticket.rows)
        elif single is not None and alone and not self._running() and single.can(first):
            single.begin(first)
        else:
            self._batch.begin(ticket.rows)

    def _ended(self, row: Row, reason: Reason) -> None:
        """Count a row that ended."""
        cost, first = row.cost(), row.index == 0
        with self._wake:
            self._count(
                failed=int(reason == "error" and not row.gone),
                cancelled=int(first and row.gone),
                prompt_tokens=first * cost.prompt_tokens,
                cached_tokens=first * cost.cached_tokens,
                completion_tokens=cost.completion_tokens,
                drafted=cost.drafted,
                accepted=cost.accepted,
                grammar_us=cost.grammar_us,
            )

    def _end_all(self, why: str) -> None:
        """End every row in the lanes with reason `error`."""
        if self._single is not None:
            self._single.abort(why)
        if self._batch is not None:
            self._batch.fail(why)

    def _close(self) -> None:
        self._end_all(CLOSING)
        with self._wake:
            rows = [*self._line, *(row for ticket in self._queue for row in ticket.rows)]
            tasks = list(self._tasks)
            self._queue = TurnQueue(0, 0)
            self._line.clear()
            self._tasks.clear()
        for row in rows:
            row.finish("error", CLOSING)
        for task in tasks:
            task.done.set_exception(ServerFailed(CLOSING))
