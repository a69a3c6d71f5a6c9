"""The OpenAI-compatible HTTP front of an engine in this process (model/backend.py): the one async place.

It speaks the dialect of OpenAI's chats and completions with fill-in-the-middle, and vLLM's names for what
OpenAI has none for. What it does not serve is refused by name. docs/serving.md lists the fields.
"""

import asyncio
import resource
import socket
import threading
import time
import uuid
from collections.abc import Awaitable, Callable, Generator, Sequence
from contextlib import AsyncExitStack, contextmanager
from dataclasses import asdict
from typing import Annotated, Final

import uvicorn
from fastapi import Depends, FastAPI, Request, Response
from fastapi.responses import JSONResponse, PlainTextResponse
from fastapi.telemetry import TelemetryConfig
from starlette.exceptions import HTTPException
from starlette.types import ASGIApp, Lifespan

from model.backend import Adapter, Backend, Job
from model.errors import ModelError, PromptTooLong, RequestRefused
from model.front_answers import GONE, Desk, EventStream, submitted, unless_gone
from model.front_dialect import Chat, Dialect, Speech, Text
from model.front_guard import HEAD_S, MOST_CONNECTIONS, Guard, answer, protocol, read_body
from model.front_json import Kind, parse
from model.front_metrics import Metrics
from model.front_refusal import Json, Refusal, refusal, unknown_model
from model.front_requests import (
    AdapterAsked,
    Asked,
    ChatAsked,
    CountAsked,
    TextAsked,
    TextOfAsked,
    Turn,
    check_loaded,
    chosen,
)

GRACE_S: Final = 2
"""Seconds that answers under way get when the server leaves."""
END_S: Final = 1
"""Seconds in which their clients must take the word that they are cut off."""
KEEP_ALIVE_S: Final = 30
RESERVE: Final = 256
"""File descriptors that are no connections."""


def body(kind: type[Kind]) -> Callable[[Request], Awaitable[Kind]]:
    """What reads a request of this kind."""

    async def read(request: Request) -> Kind:
        return parse(kind, await read_body(request))

    return read


class Front:
    """What the routes do."""

    def __init__(self, backend: Backend) -> None:
        self.backend = backend
        self.metrics = Metrics()
        self.started = int(time.time())

    async def chat(self, request: Request, asked: Annotated[ChatAsked, Depends(body(ChatAsked))]) -> Response:
        return await self._counted(request, asked, Chat(), lambda: self._chat_ids(asked.messages), ())

    async def text(self, request: Request, asked: Annotated[TextAsked, Depends(body(TextAsked))]) -> Response:
        stops = () if asked.suffix is None else self.backend.infill_stops()
        ids = lambda: self._text_ids(asked.prompt, asked.suffix, asked.context)  # noqa: E731
        return await self._counted(request, asked, Text(), ids, stops)

    async def models(self) -> Json:
        return {"object": "list", "data": self._models()}

    async def model(self, name: str) -> Json:
        found = next((entry for entry in self._models() if entry["id"] == name), None)
        if found is None:
            raise unknown_model(name, self.backend.about.model)
        return found

    async def adapters(self) -> Json:
        return {"object": "list", "data": [_adapter(one) for one in self.backend.adapters()]}

    async def load(self, asked: Annotated[AdapterAsked, Depends(body(AdapterAsked))]) -> Json:
        return _adapter(await asyncio.to_thread(self.backend.load_adapter, asked.name, asked.path))

    async def unload(self, name: str) -> Json:
        check_loaded(name, self._loaded(), "name")
        await asyncio.to_thread(self.backend.unload_adapter, name)
        return {"id": name, "object": "adapter", "deleted": True}

    async def tokenize(self, asked: Annotated[CountAsked, Depends(body(CountAsked))]) -> Json:
        self._choose(asked.model, "")
        ids = await asyncio.to_thread(self._count, asked)
        return {"count": len(ids), "tokens": ids, "max_model_len": self.backend.about.n_ctx}

    async def detokenize(self, asked: Annotated[TextOfAsked, Depends(body(TextOfAsked))]) -> Json:
        self._choose(asked.model, "")
        self._check_ids(asked.tokens, "tokens")
        return {"prompt": await asyncio.to_thread(self.backend.decode, asked.tokens)}

    async def health(self) -> Json:
        return {"status": "ok"}

    async def page(self) -> Response:
        """Counters for Prometheus."""
        text = self.metrics.text(self.backend.about, self.backend.stats())
        return PlainTextResponse(text, media_type="text/plain; version=0.0.4")

    async def _counted(
        self,
        request: Request,
        asked: Asked,
        dialect: Dialect,
        ids: Callable[[], list[int]],
        stop_ids: tuple[int, ...],
    ) -> Response:
        try:
            return await self._answers(request, asked, dialect, ids, stop_ids)
        except ModelError as error:
            refused = refusal(error)
            if isinstance(error, RequestRefused) and (field := asked.form[1]):
                refused.error["param"] = field
            self.metrics.answered(dialect.name, refused.status)
            raise refused from error
        except Refusal as refused:
            self.metrics.answered(dialect.name, refused.status)
            raise

    async def _answers(
        self,
        request: Request,
        asked: Asked,
        dialect: Dialect,
        ids: Callable[[], list[int]],
        stop_ids: tuple[int, ...],
    ) -> Response:
        """Raises Refusal, and what Backend.submit raises."""
        adapter = self._choose(asked.model, asked.adapter)
        grammar, _ = asked.form
        self._check_ids(asked.stop_token_ids, "stop_token_ids")
        prompt = await asyncio.to_thread(ids)
        job = Job(
            ids=tuple(prompt),
            draw=asked.draw(self._room(prompt, asked)),
            n=asked.n,
            stop=tuple(asked.stop),
            stop_ids=(*asked.stop_token_ids, *stop_ids),
            grammar=grammar,
            adapter=adapter,
            client=f"user {asked.user}" if asked.user else f"connection {_peer(request)}",
        )
        desk = Desk(self._speech(asked, dialect, job), self.metrics)
        async with AsyncExitStack() as stack:
            mail = await stack.enter_async_context(submitted(self.backend, job))
            if asked.stream:
                kept = stack.pop_all()
                events = desk.chunks(mail, bool(asked.stream_options and asked.stream_options.include_usage))
                return EventStream(events, lambda left: self._close(kept, dialect, left))
            whole = await unless_gone(request.receive, desk.whole(mail))
        if whole is None:
            self.metrics.answered(dialect.name, GONE)
        return JSONResponse(whole)

    async def _close(self, stack: AsyncExitStack, dialect: Dialect, left: bool) -> None:
        if left:
            self.metrics.answered(dialect.name, GONE)
        await stack.aclose()

    def _speech(self, asked: Asked, dialect: Dialect, job: Job) -> Speech:
        about = self.backend.about
        head = {
            "id": dialect.ids + uuid.uuid4().hex,
            "created": int(time.time()),
            "model": f"{about.model}:{job.adapter}" if job.adapter else about.model,
            "system_fingerprint": about.fingerprint,
        }
        return Speech(dialect, head, job.ids, job.n, asked.alternatives is not None, asked.return_token_ids)

    def _room(self, ids: Sequence[int], asked: Asked) -> int:
        """Tokens that are left for the answer. Raises Refusal for no prompt, PromptTooLong for too much."""
        if not ids:
            raise Refusal(400, "The prompt is empty.", param="prompt")
        n_ctx = self.backend.about.n_ctx
        wanted = asked.limit or 1
        if len(ids) + wanted > n_ctx:
            raise PromptTooLong(len(ids), n_ctx, wanted)
        return n_ctx - len(ids)

    def _chat_ids(self, turns: Sequence[Turn]) -> list[int]:
        return self.backend.chat_ids([turn.message for turn in turns])

    def _text_ids(self, prompt: str | list[int], suffix: str | None, context: str | None) -> list[int]:
        """Raises Refusal for ids that are none of the model's, and for a gap that it cannot fill."""
        if isinstance(prompt, list):
            self._check_ids(prompt, "prompt")
            return prompt
        if suffix is None:
            return self.backend.text_ids(prompt)
        if not self.backend.about.infill:
            said = f"{self.backend.about.model} has no fill-in-the-middle tokens."
            raise Refusal(400, said, param="suffix", code="unsupported")
        return self.backend.infill_ids(prompt, suffix, context or "")

    def _count(self, asked: CountAsked) -> list[int]:
        if asked.messages is not None:
            return self._chat_ids(asked.messages)
        ids = self._text_ids(asked.prompt or "", asked.suffix, asked.context)
        begin = [] if asked.add_special_tokens else self.backend.text_ids("")
        return ids[len(begin) :] if ids[: len(begin)] == begin else ids

    def _check_ids(self, ids: Sequence[int], param: str) -> None:
        most = self.backend.about.vocabulary - 1
        if ids and max(ids) > most:
            raise Refusal(400, f"{param}: the model's token ids end at {most}.", param=param)

    def _choose(self, model: str, adapter: str) -> str:
        """The adapter that is asked for. Raises Refusal for what is not served."""
        return chosen(model, adapter, self.backend.about.model, self._loaded())

    def _loaded(self) -> list[str]:
        return [one.name for one in self.backend.adapters()]

    def _models(self) -> list[Json]:
        about = self.backend.about
        entry: Json = {
            "id": about.model,
            "object": "model",
            "created": self.started,
            "owned_by": "adi",
            "max_model_len": about.n_ctx,
        }
        return [entry] + [
            entry | {"id": f"{about.model}:{one.name}", "parent": about.model}
            for one in self.backend.adapters()
        ]


def _peer(request: Request) -> str:
    return f"{request.client.host}:{request.client.port}" if request.client else ""


def _adapter(one: Adapter) -> Json:
    return {"id": one.name, "object": "adapter", **asdict(one)}


def app(backend: Backend, token: str, *, local: bool = True) -> FastAPI:
    """The front of an engine. With `local` it answers only under a name of this machine."""
    front = Front(backend)
    api = bare(token, local=local)
    api.get("/health")(front.health)
    api.get("/metrics")(front.page)
    api.get("/v1/models")(front.models)
    api.get("/v1/models/{name:path}")(front.model)
    api.get("/v1/adapters")(front.adapters)
    api.post("/v1/adapters")(front.load)
    api.delete("/v1/adapters/{name}")(front.unload)
    api.post("/v1/chat/completions", response_model=None)(front.chat)
    api.post("/v1/completions", response_model=None)(front.text)
    api.post("/tokenize")(front.tokenize)
    api.post("/detokenize")(front.detokenize)
    return api


def bare(token: str, *, local: bool = True, lifespan: Lifespan[FastAPI] | None = None) -> FastAPI:
    """An app without routes that refuses in OpenAI's form, and knows who may talk to it."""
    silent = TelemetryConfig(tracing=False, metrics=False, logs=False, auto_configure=False)
    api = FastAPI(docs_url=None, redoc_url=None, openapi_url=None, telemetry=silent, lifespan=lifespan)

    async def refused(_: Request, error: Exception) -> Response:
        if isinstance(error, ModelError):
            return answer(refusal(error))
        if isinstance(error, HTTPException):
            return answer(Refusal(error.status_code, error.detail, code="no_such_route"))
        assert isinstance(error, Refusal)
        return answer(error)

    for kind in (Refusal, ModelError, HTTPException):
        api.add_exception_handler(kind, refused)
    api.add_middleware(Guard, token=token, local=local)
    return api


class _Server(uvicorn.Server):
    """Ends when it is told to, and leaves signals to its process."""

    def __init__(self, config: uvicorn.Config, stop: threading.Event) -> None:
        super().__init__(config)
        self._stop = stop

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Gives answers under way their time, then ends them with a word to their clients."""
        for server in self.servers:
            server.close()
        if tasks := [*self.server_state.tasks]:
            _, late = await asyncio.wait(tasks, timeout=GRACE_S)
            for task in late:
                task.cancel()
            await asyncio.wait(tasks, timeout=END_S)
        await super().shutdown(sockets)

    async def on_tick(self, counter: int) -> bool:
        return self._stop.is_set() or await super().on_tick(counter)

    @contextmanager
    def capture_signals(self) -> Generator[None]:
        yield


def serve(
    app: ASGIApp,
    sock: socket.socket,
    stop: threading.Event,
    *,
    most: int = MOST_CONNECTIONS,
    head_s: float = HEAD_S,
) -> None:
    """Answer on a bound socket, in the calling thread, until `stop` is set; the socket is closed then.

    Beyond `most` connections, or as many as the process may have files open, a new one gets 503.
    """
    files, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    most = max(16, min(most, files - RESERVE)) if files > 0 else most
    config = uvicorn.Config(
        app, loop="asyncio", http=protocol(most, head_s), ws="none", lifespan="on", access_log=False,
        log_config=None, log_level="error", server_header=False, proxy_headers=False,
        timeout_keep_alive=KEEP_ALIVE_S, timeout_graceful_shutdown=END_S,
    )  # fmt: skip
    _Server(config, stop).run(sockets=[sock])
