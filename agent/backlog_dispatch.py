"""Backlogs of a shared store through procrastinate, a queue on the same Postgres: workers on many machines.

The queue says who comes next and wakes whoever waits; the store says who has an item. So a job is only a word
that an item may be worked on: one that comes twice finds nothing to claim, and one that is lost is given anew
at any worker's next look at the store. One job per item waits at a time (`queueing_lock`), and where asked
one per repository runs (`lock`). Jobs of machines that fell silent are closed, so that they block nobody.
"""

import asyncio
import contextlib
import logging
import queue
import signal
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime
from pathlib import Path
from typing import Any, Final

import procrastinate
from procrastinate.exceptions import AlreadyEnqueued, ConnectorException
from procrastinate.jobs import Status

from agent.backlog_run import Orders, Signals, Supervisor
from memory.backlog import Backlog
from memory.backlog_records import Item, State
from memory.errors import StoreBusy, StoreUnavailable
from memory.store import Store

SCHEMA: Final = "adi_queue"
"""Schema of the queue's tables: apart from ADI's own and from another program's queue."""
QUEUE: Final = "backlog"
TASK: Final = "adi.work"
LOCK: Final = 0x41444932
LOOK_S: Final = 10.0
"""Between two looks at the store for items that have no job."""
SILENT_S: Final = 60.0
"""A machine that was not heard of for so long is gone."""
OnEvent = Callable[[Mapping[str, Any]], object]


def application(address: str, size: int = 4) -> procrastinate.App:
    """The queue at a store's address."""
    scheme, _, rest = address.partition("://")
    connector = procrastinate.PsycopgConnector(
        conninfo=f"{scheme.partition('+')[0]}://{rest}",
        kwargs={"options": f"-c search_path={SCHEMA}", "application_name": "adi-queue"},
        min_size=1,
        max_size=size,
    )
    return procrastinate.App(connector=connector)


def prepare(address: str) -> None:
    """Make the queue's tables, once; several machines may begin at the same moment."""
    with application(address, size=1).open() as app:
        ask = app.connector.get_sync_connector()
        ask.execute_query(f"SELECT pg_advisory_lock({LOCK})")  # the pool has one connection, which holds it
        try:
            ask.execute_query(f"CREATE SCHEMA IF NOT EXISTS {SCHEMA}")
            found = ask.execute_query_one(f"SELECT to_regclass('{SCHEMA}.procrastinate_jobs')::text AS found")
            if not found["found"]:
                app.schema_manager.apply_schema()
        finally:
            ask.execute_query(f"SELECT pg_advisory_unlock({LOCK})")


@dataclass(slots=True)
class Crew:
    """The workers of this machine, for every open backlog of a store, or for one."""

    address: str
    orders: Orders
    logs: Path
    on_event: OnEvent
    only: str = ""
    """Id of the one backlog to work on."""
    until_done: bool = False
    """Leave when nothing waits or runs."""
    signals: Signals = field(default_factory=Signals)
    look_s: float = LOOK_S
    silent_s: float = SILENT_S
    _slots: "queue.Queue[int]" = field(default_factory=queue.Queue)

    def run(self) -> int:
        """Until told to leave; the exit code of the signal that did, else 0."""
        prepare(self.address)
        for slot in range(self.orders.jobs):
            self._slots.put(slot)
        logging.getLogger("procrastinate").setLevel(logging.CRITICAL)  # ADI tells what happens to items
        asyncio.run(self._run())
        return self.signals.exit_code

    async def _run(self) -> None:
        app = application(self.address)
        app.task(name=TASK, queue=QUEUE)(self.work)
        loop = asyncio.get_running_loop()
        done = asyncio.Event()

        def arrived(number: int) -> None:
            self.signals.arrived(number)
            done.set()

        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            loop.add_signal_handler(number, arrived, number)
        async with app.open_async():
            while not await self._shift(app, done):
                with contextlib.suppress(TimeoutError):  # the server went away; it may come back
                    await asyncio.wait_for(done.wait(), self.look_s)

    async def _shift(self, app: procrastinate.App, done: asyncio.Event) -> bool:
        """Work until it is time to leave, which is True, or until the queue's server goes away."""
        worker = asyncio.create_task(
            app.run_worker_async(
                queues=[QUEUE], concurrency=self.orders.jobs, install_signal_handlers=False,
                stalled_worker_timeout=self.silent_s, delete_jobs="successful",
                fetch_job_polling_interval=self.look_s,
            )
        )  # fmt: skip
        try:
            return await self._looking(app, worker, done)
        finally:
            worker.cancel()  # fetches no more jobs, and waits for those that run
            await asyncio.gather(worker, return_exceptions=True)

    async def _looking(
        self, app: procrastinate.App, worker: "asyncio.Task[None]", done: asyncio.Event
    ) -> bool:
        """Give jobs to items that have none, until it is time to leave; False when the worker's loop died."""
        while not done.is_set() and not worker.done():
            try:
                waiting, left = await asyncio.to_thread(self._waiting)
                for backlog_id, item in waiting:
                    await self._defer(app, backlog_id, item)
                for job in await app.job_manager.get_stalled_jobs(seconds_since_heartbeat=self.silent_s):
                    await app.job_manager.finish_job(job, status=Status.FAILED, delete_job=False)
                if self.until_done and not left:
                    return True
            except (ConnectorException, StoreUnavailable, StoreBusy, OSError) as error:
                self.on_event({"kind": "store-away", "worker": 0, "detail": str(error)})
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(done.wait(), self.look_s)
        return done.is_set()

    def _waiting(self) -> tuple[list[tuple[str, Item]], int]:
        """Items that nobody works on, and how many are not ended in all."""
        found, left = [], 0
        with Store.open(self.address) as store:
            for info in Backlog.all(store):
                if info.state != "open" or self.only not in ("", info.id):
                    continue
                backlog = Backlog(store, info.id)
                now = backlog.status()
                if now.spent:
                    continue
                left += now.counts[State.QUEUED] + now.counts[State.RUNNING]
                states = (State.QUEUED, State.RUNNING) if now.expired else (State.QUEUED,)
                # The claim decides about running ones: it takes back only what ran out.
                found += [(info.id, item) for item in backlog.each(states=states)]
        return found, left

    async def _defer(self, app: procrastinate.App, backlog_id: str, item: Item) -> None:
        told = app.configure_task(
            TASK, queue=QUEUE, queueing_lock=f"{backlog_id}/{item.id}",
            lock=item.repo or None if self.orders.one_per_repo else None,
            schedule_at=datetime.fromisoformat(item.not_before) if item.not_before else None,
        )  # fmt: skip
        try:
            await told.defer_async(backlog=backlog_id, key=item.key)
        except AlreadyEnqueued:
            return

    def work(self, backlog: str, key: str) -> None:
        """The job, in a thread: claim the item and work on it in a process of its own."""
        slot = self._slots.get()
        try:
            with Store.open(self.address) as store:
                orders = replace(self.orders, jobs=1, only=key)
                logs = self.logs / f"slot-{slot}"
                hear = lambda told: self.on_event({**told, "worker": slot + 1})  # noqa: E731
                Supervisor(Backlog(store, backlog), orders, logs, hear).run(self.signals)
        finally:
            self._slots.put(slot)
