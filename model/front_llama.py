"""The public address of a llama.cpp server: what it answers itself, and what OpenAI's clients also ask for.

Everything passes as it is, with the same token, but for four things: a completion with a `suffix` becomes a
prompt of the model's fill-in-the-middle tokens; `/v1/adapters` lists, loads and unloads adapters, which
requests ask for by name; a model that is not served is a 404, where llama.cpp would answer in its name; and
fields that model/front.py serves and llama.cpp would drop without a word are refused.

An adapter is loaded by a second server beside the one that answers (model/llama_lanes.py). New requests go to
it once it is ready, and each answer says which adapter it is of.

A client that leaves takes the connection to llama.cpp along. That ends a stream at once; an answer that was
asked for whole llama.cpp finishes all the same.
"""

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import asdict
from itertools import groupby
from typing import Any, Final

import httpx2
from fastapi import FastAPI, Request, Response
from pydantic_core import to_json

from model.backend import Adapter
from model.catalogue import FimTokens, load
from model.front import bare
from model.front_answers import EventStream, sse, unless_gone
from model.front_guard import read_body
from model.front_json import parse, read_json
from model.front_refusal import Json, Refusal
from model.front_requests import AdapterAsked, check_gap, check_loaded, chosen
from model.llama_lanes import Lane, Lanes
from model.prompt import Control, Piece

DROPPED: Final = {
    "return_token_ids": "ask POST /completion with return_tokens",
    "structured_outputs": "use response_format or grammar",
}
"""Fields of model/front.py that llama.cpp does not know -> what to do instead."""
KEPT: Final = ("accept", "authorization", "content-type")
"""Headers of a request that are passed on."""
METHODS: Final = ["GET", "POST", "PUT", "DELETE"]
ANSWERING: Final = ("/completion", "/completions", "/infill", "/chat/completions")
"""Addresses of llama.cpp's own that write answers, and know its field `lora`."""
HARMLESS: Final = ("/tokenize", "/detokenize", "/apply-template")
"""What else may be posted where adapters are loaded: it computes nothing."""


class Native:
    """llama.cpp's own server. All calls raise Refusal when it does not answer."""

    def __init__(self, lanes: Lanes, token: str) -> None:
        self.lanes = lanes
        self._headers = {"Authorization": f"Bearer {token}"}
        # silence is no failure: a long prompt is silent while it is read
        self._http = httpx2.AsyncClient(
            timeout=httpx2.Timeout(None, connect=10.0),
            limits=httpx2.Limits(max_connections=None, max_keepalive_connections=0),
            headers={"Accept-Encoding": "identity"},
            trust_env=False,
        )

    async def close(self) -> None:
        await self._http.aclose()

    async def send(self, lane: Lane, request: Request, body: bytes) -> httpx2.Response:
        """The answer to a client's request with this body, of which only the head has been read."""
        path = httpx2.URL(lane.url).copy_with(path=request.url.path, query=request.url.query.encode())
        headers = {name: request.headers[name] for name in KEPT if name in request.headers}
        made = self._http.build_request(request.method, path, headers=headers, content=body)
        try:
            return await self._http.send(made, stream=True)
        except httpx2.TransportError as error:
            raise _lost(error) from error

    async def ask(self, method: str, path: str, body: Json | None = None) -> Any:
        """An answer as JSON to a question of our own."""
        lane = self.lanes.enter()
        try:
            url = f"{lane.url}{path}"
            answer = await self._http.request(method, url, json=body, headers=self._headers)
        except httpx2.TransportError as error:
            raise _lost(error) from error
        finally:
            self.lanes.leave(lane)
        if answer.status_code != 200:
            raise Refusal(502, f"llama.cpp answered {path} with {answer.status_code}.", kind="server_error")
        return answer.json()

    async def ids(self, text: str, *, control: bool = False, special: bool = False) -> list[int]:
        """Ids of a text; with `special` the beginning-of-text token in front, if any."""
        body = {"content": text, "parse_special": control, "add_special": special}
        return list((await self.ask("POST", "/tokenize", body))["tokens"])


class Front:
    """What the routes do."""

    def __init__(self, native: Native, fim: FimTokens | None) -> None:
        self._native = native
        self._fim = fim
        self._name = ""
        self._controls: dict[str, int] = {}

    async def answers(self, request: Request) -> Response:
        """What writes text, in OpenAI's dialect or llama.cpp's own."""
        content = await read_body(request)
        return await self._in_a_lane(lambda lane: self._answered(request, content, lane))

    async def models(self) -> Json:
        found: Json = await self._native.ask("GET", "/v1/models")
        [model, *_] = found["data"]
        more = [
            model | {"id": f"{model['id']}:{one.name}", "parent": model["id"]}
            for one in self._native.lanes.current.adapters
        ]
        return found | {"data": [*found["data"], *more]}

    async def adapters(self) -> Json:
        return {"object": "list", "data": [_entry(one) for one in self._native.lanes.current.adapters]}

    async def load(self, request: Request) -> Json:
        asked = parse(AdapterAsked, await read_body(request))
        return _entry(await asyncio.to_thread(self._native.lanes.load, asked.name, asked.path))

    async def unload(self, name: str) -> Json:
        check_loaded(name, [one.name for one in self._native.lanes.current.adapters], "name")
        self._native.lanes.unload(name)
        return {"id": name, "object": "adapter", "deleted": True}

    async def other(self, request: Request) -> Response:
        content = await read_body(request)
        path = request.url.path
        if self._native.lanes.current.loaded and request.method != "GET" and path not in HARMLESS:
            said = f"{path} does not know adapters, and is not served while some are loaded."
            raise Refusal(400, said, code="unsupported")
        return await self._in_a_lane(lambda lane: self._pass(lane, request, content, ""))

    async def _in_a_lane(self, do: Callable[[Lane], Awaitable[Response]]) -> Response:
        """The lane is held until the answer is whole, or a stream of it is left."""
        lanes = self._native.lanes
        lane = lanes.enter()
        try:
            made = await do(lane)
        except BaseException:
            lanes.leave(lane)
            raise
        if not isinstance(made, EventStream):
            lanes.leave(lane)
        return made

    async def _answered(self, request: Request, content: bytes, lane: Lane) -> Response:
        body = read_json(content)
        served = await self._served()
        names = [one.name for one in lane.adapters]
        adapter = chosen(str(body.get("model") or ""), str(body.get("adapter") or ""), served, names)
        for name, instead in DROPPED.items():
            if body.get(name) not in (None, False):
                raise Refusal(400, f"Engine llama does not serve {name!r}: {instead}.", param=name)
        gap = request.url.path == "/v1/completions" and (
            body.get("suffix") is not None or body.get("context") is not None
        )
        if not gap and not lane.loaded:
            return await self._pass(lane, request, content, "")
        if lane.loaded and "lora" in body:
            raise Refusal(400, "Ask for an adapter by its name.", param="lora")
        body = await self._gap(body) if gap else body
        body = {name: value for name, value in body.items() if name != "adapter"} | {"model": served}
        body |= {"lora": lane.loras(adapter)} if lane.loaded else {}
        return await self._pass(lane, request, to_json(body), f"{served}:{adapter}" if adapter else "")

    async def _served(self) -> str:
        if not self._name:
            self._name = str((await self._native.ask("GET", "/v1/models"))["data"][0]["id"])
        return self._name

    async def _gap(self, body: Json) -> Json:
        """The same request with the gap's prompt as token ids."""
        kept = {name: value for name, value in body.items() if name not in ("suffix", "context")}
        suffix, context, prompt = (body.get(name) for name in ("suffix", "context", "prompt"))
        for name, value in (("suffix", suffix), ("context", context)):
            if not isinstance(value, (str, type(None))):
                raise Refusal(400, f"{name}: a string is needed.", param=name)
        check_gap(prompt, suffix, context)
        fim = await self._tokens()
        pieces = fim.pieces(str(prompt), str(suffix), context or "", self._controls.__getitem__)
        stop = body.get("stop") or []
        stops = [*([stop] if isinstance(stop, str) else stop), *fim.stops]
        return kept | {"prompt": await self._ids(pieces), "stop": stops}

    async def _tokens(self) -> FimTokens:
        """The family's tokens, their ids known. Raises Refusal where there are none."""
        if self._fim is None:
            catalogue = load()
            served = await self._served()
            entry = catalogue.models.get(served)
            family = entry.family if entry and entry.family else catalogue.family_of(served)
            self._fim = catalogue.fim(family)
        if self._fim is None:
            said = f"{self._name} has no fill-in-the-middle tokens that are known."
            raise Refusal(400, said, param="suffix", code="unsupported")
        fim = self._fim
        for name in filter(None, (fim.prefix, fim.suffix, fim.middle, fim.repo, fim.file)):
            if name not in self._controls:
                ids = await self._native.ids(name, control=True)
                if len(ids) != 1:
                    raise Refusal(400, f"The model has no token {name!r}.", param="suffix")
                self._controls[name] = ids[0]
        return fim

    async def _ids(self, pieces: Sequence[Piece]) -> list[int]:
        ids = await self._native.ids("", control=True, special=True)
        for plain, run in groupby(pieces, lambda piece: isinstance(piece, str)):
            if plain:
                ids += await self._native.ids("".join(piece for piece in run if isinstance(piece, str)))
            else:
                ids += [piece.id for piece in run if isinstance(piece, Control)]
        return ids

    async def _pass(self, lane: Lane, request: Request, body: bytes, name: str) -> Response:
        """llama.cpp's answer, in the name of an adapter where one is given.

        A client that leaves closes the connection to it, which ends the answer.
        """
        answer = await unless_gone(request.receive, self._native.send(lane, request, body))
        if answer is None:
            return Response(status_code=499)
        renamed = _renaming(self._name, name)
        kind = answer.headers.get("content-type", "")
        if kind.startswith("text/event-stream"):

            async def close(_left: bool) -> None:
                self._native.lanes.leave(lane)
                await answer.aclose()

            return EventStream(_events(answer, renamed), close)
        try:
            content = await unless_gone(request.receive, answer.aread())
        except httpx2.TransportError as error:
            raise _lost(error) from error
        finally:
            await answer.aclose()
        headers = {"Content-Type": kind} if kind else {}
        return Response(renamed(content or b""), answer.status_code, headers)


async def _events(answer: httpx2.Response, renamed: Callable[[bytes], bytes]) -> AsyncGenerator[bytes]:
    """A stream as it comes, line by line; should it break, its last event says so."""
    begun = b""
    try:
        async for chunk in answer.aiter_raw():
            whole, end, begun = (begun + chunk).rpartition(b"\n")
            if end:
                yield renamed(whole + end)
        yield renamed(begun)
    except httpx2.TransportError as error:
        yield b"\n\n" + sse(_lost(error).body)


def _renaming(served: str, name: str) -> Callable[[bytes], bytes]:
    """What puts another model's name into llama.cpp's JSON.

    A text in it cannot be mistaken for the field: its quotation marks are escaped.
    """
    if not name:
        return lambda content: content
    old, new = (b'"model":' + to_json(text) for text in (served, name))
    return lambda content: content.replace(old, new)


def _entry(one: Adapter) -> Json:
    return {"id": one.name, "object": "adapter", **asdict(one)}


def _lost(error: Exception) -> Refusal:
    said = f"llama.cpp's server does not answer: {error or type(error).__name__}."
    return Refusal(503, said, kind="server_error", code="engine_gone", retry_after=1.0)


def app(lanes: Lanes, token: str, *, fim: FimTokens | None = None, local: bool = True) -> FastAPI:
    """The front of llama.cpp servers whose token is the public one.

    Without `fim` the tokens are those that the catalogue has for the served model.
    """
    native = Native(lanes, token)

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        yield
        await native.close()

    front = Front(native, fim)
    api = bare(token, local=local, lifespan=lifespan)
    for path in ("/v1/completions", "/v1/chat/completions", *ANSWERING):
        api.post(path, response_model=None)(front.answers)
    api.get("/v1/models")(front.models)
    api.get("/v1/adapters")(front.adapters)
    api.post("/v1/adapters")(front.load)
    api.delete("/v1/adapters/{name}")(front.unload)
    api.api_route("/{path:path}", methods=METHODS, response_model=None)(front.other)
    return api
