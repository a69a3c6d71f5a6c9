"""The way of answers from the engine's thread to a client: whole or as server-sent events.

The engine never waits for a client: what a slow one has not taken yet piles up here, no more than its own
max_tokens, and leaves in one chunk when it comes back.
"""

import asyncio
import threading
import time
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Sequence
from contextlib import aclosing, asynccontextmanager
from typing import Any, Final, TypeVar

from fastapi import Response
from pydantic_core import to_json
from starlette.types import Receive, Scope, Send

from model.backend import Backend, Drawn, Ended, Event, Job, Piece, Running
from model.front_dialect import Answer, Speech, costs_of, timings, usage
from model.front_guard import stopped
from model.front_metrics import Metrics
from model.front_refusal import Refusal

PING_S: Final = 15.0
"""Seconds of silence after which a stream gets a comment, so that nobody between takes it for dead."""
GONE: Final = 499
"""Status of a request that its client gave up, for the counters; nobody gets to see it."""
T = TypeVar("T")


class Mailbox:
    """Events of one job, put in by the engine's thread, taken out by the loop."""

    def __init__(self) -> None:
        """Must be made in the loop."""
        self._loop = asyncio.get_running_loop()
        self._lock = threading.Lock()
        self._events: list[Event] = []
        self._filled = asyncio.Event()

    def deliver(self, event: Event) -> None:
        """Any thread. The loop is woken once for all that waits."""
        with self._lock:
            first = not self._events
            self._events.append(event)
        if first:
            try:
                self._loop.call_soon_threadsafe(self._filled.set)
            except RuntimeError:  # the loop is closed: the server has left, and nobody listens
                return

    async def take(self) -> list[Event]:
        """All that waits, in order; waits until there is something. A cancelled call loses nothing."""
        await self._filled.wait()
        self._filled.clear()
        with self._lock:
            events, self._events = self._events, []
        return events


@asynccontextmanager
async def submitted(backend: Backend, job: Job) -> AsyncIterator[Mailbox]:
    """A running job, which is given up when this ends. Raises what Backend.submit raises."""
    mail = Mailbox()
    submitting = asyncio.ensure_future(asyncio.to_thread(backend.submit, job, mail.deliver))
    try:
        running = await asyncio.shield(submitting)
    except asyncio.CancelledError:
        submitting.add_done_callback(_cancel)
        raise
    try:
        yield mail
    finally:
        running.cancel()


def _cancel(submitting: "asyncio.Future[Running]") -> None:
    if not submitting.cancelled() and submitting.exception() is None:
        submitting.result().cancel()


async def gone(receive: Receive) -> None:
    """Returns when the client has hung up."""
    while (await receive())["type"] != "http.disconnect":
        pass


async def unless_gone(receive: Receive, work: Awaitable[T]) -> T | None:
    """What `work` gives; None, and the work cancelled, once the client has hung up."""
    working = asyncio.ensure_future(work)
    watching = asyncio.ensure_future(gone(receive))
    try:
        await asyncio.wait({working, watching}, return_when=asyncio.FIRST_COMPLETED)
        return working.result() if working.done() else None
    finally:
        watching.cancel()
        if not working.done():
            working.cancel()
            await asyncio.wait({working})


class Desk:
    """One request for answers, from its events to what the client reads."""

    def __init__(self, speech: Speech, metrics: Metrics) -> None:
        self._speech = speech
        self._metrics = metrics
        self._kind = speech.dialect.name
        self._answers = [Answer(index) for index in range(speech.n)]
        self._began = time.monotonic()

    @property
    def _open(self) -> bool:
        return any(answer.ended is None for answer in self._answers)

    async def whole(self, mail: Mailbox) -> dict[str, Any]:
        """The response. Raises Refusal when the engine failed; its caller counts that."""
        while self._open:
            for event in await mail.take():
                if isinstance(event, Piece):
                    self._answers[event.index].texts.append(event.text)
                    self._answers[event.index].drawn.extend(event.drawn)
                else:
                    self._end(event)
        self._done()
        return self._speech.whole(self._answers)

    async def chunks(self, mail: Mailbox, tell_usage: bool) -> AsyncGenerator[bytes]:
        """Events of a stream; a failure of the engine is one of them."""
        try:
            for chunk in self._speech.openings():
                yield self._event(chunk, tell_usage)
            while self._open:
                try:
                    events = await asyncio.wait_for(mail.take(), PING_S)
                except TimeoutError:
                    yield b": the model is at work\n\n"
                    continue
                for chunk in self._said(events):
                    if not self._open and not tell_usage and chunk["choices"][0]["finish_reason"]:
                        chunk |= {"timings": timings(costs_of(self._answers))}
                    yield self._event(chunk, tell_usage)
        except Refusal as failed:
            self._metrics.answered(self._kind, failed.status)
            yield sse(failed.body)
            return
        if tell_usage:
            costs = costs_of(self._answers)
            yield self._event(self._speech.of([]) | {"usage": usage(costs), "timings": timings(costs)}, False)
        self._done()
        yield b"data: [DONE]\n\n"

    def _said(self, events: Sequence[Event]) -> list[dict[str, Any]]:
        """Chunks for events: of each answer one with what is new, and one with its end."""
        new: dict[int, tuple[list[str], list[Drawn]]] = {}
        ended: list[Answer] = []
        for event in events:
            if isinstance(event, Piece):
                texts, drawn = new.setdefault(event.index, ([], []))
                texts.append(event.text)
                drawn.extend(event.drawn)
            else:
                self._end(event)
                ended.append(self._answers[event.index])
        chunks = []
        for index, (texts, drawn) in new.items():
            text = "".join(texts)
            chunks.append(self._speech.piece(index, text, drawn, self._answers[index].sent))
            self._answers[index].sent += len(text)
        return chunks + [self._speech.end(answer) for answer in ended]

    def _end(self, event: Ended) -> None:
        if event.reason == "error":
            said = event.error or "the engine failed"
            raise Refusal(500, said, kind="server_error", code="engine_failed")
        self._answers[event.index].ended = event

    def _done(self) -> None:
        self._metrics.answered(self._kind, 200)
        self._metrics.finished(time.monotonic() - self._began, costs_of(self._answers))

    def _event(self, chunk: dict[str, Any], tell_usage: bool) -> bytes:
        # OpenAI's chunks hold a null where the usage will be in the last one
        return sse(chunk | {"usage": None} if tell_usage else chunk)


class EventStream(Response):
    """A response of server-sent events, which ends with its client."""

    media_type = "text/event-stream"

    def __init__(self, events: AsyncGenerator[bytes], close: Callable[[bool], Awaitable[None]]) -> None:
        """`close` is called at the end, with True for a client that did not stay for it."""
        super().__init__(headers={"Cache-Control": "no-store", "X-Accel-Buffering": "no"})
        del self.headers["content-length"]
        self._events = events
        self._close = close

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        del scope
        left = True
        try:
            left = await unless_gone(receive, self._send(send)) is None
        finally:
            await self._close(left)

    async def _send(self, send: Send) -> bool:
        """True when all was sent. A server that leaves says so before it does."""
        await send({"type": "http.response.start", "status": 200, "headers": self.raw_headers})
        try:
            async with aclosing(self._events) as events:
                async for event in events:
                    await send({"type": "http.response.body", "body": event, "more_body": True})
        except asyncio.CancelledError:
            await send({"type": "http.response.body", "body": sse(stopped().body), "more_body": False})
            raise
        await send({"type": "http.response.body", "body": b"", "more_body": False})
        return True


def sse(body: dict[str, Any]) -> bytes:
    """One server-sent event."""
    return b"data: " + to_json(body) + b"\n\n"
