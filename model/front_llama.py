"""The public address of a llama.cpp server: what it answers itself, and what OpenAI's clients also ask for.

Everything passes as it is, with the same token, but for four things: a completion with a `suffix` becomes a
prompt of the model's fill-in-the-middle tokens; `/v1/adapters` lists the adapters of the server's start; a
model that is not served is a 404, where llama.cpp would answer in its name; and fields that model/front.py
serves and llama.cpp would drop without a word are refused.

A client that leaves takes the connection to llama.cpp along. That ends a stream at once; an answer that was
asked for whole llama.cpp finishes all the same.
"""

from collections.abc import AsyncGenerator, AsyncIterator, Sequence
from contextlib import asynccontextmanager
from itertools import groupby
from pathlib import Path
from typing import Any, Final

import httpx2
from fastapi import FastAPI, Request, Response
from pydantic_core import to_json

from model.catalogue import FimTokens, load
from model.front import bare
from model.front_answers import EventStream, sse, unless_gone
from model.front_guard import read_body
from model.front_json import read_json
from model.front_refusal import Json, Refusal, unknown_model
from model.front_requests import check_gap
from model.prompt import Control, Piece

DROPPED: Final = {
    "adapter": "engine llama takes its adapters at start",
    "return_token_ids": "ask POST /completion with return_tokens",
    "structured_outputs": "use response_format or grammar",
}
"""Fields of model/front.py that llama.cpp does not know -> what to do instead."""
KEPT: Final = ("accept", "authorization", "content-type")
"""Headers of a request that are passed on."""
METHODS: Final = ["GET", "POST", "PUT", "DELETE"]


class Native:
    """llama.cpp's own server. All calls raise Refusal when it does not answer."""

    def __init__(self, url: str, token: str) -> None:
        self._headers = {"Authorization": f"Bearer {token}"}
        # silence is no failure: a long prompt is silent while it is read
        self._http = httpx2.AsyncClient(
            base_url=url,
            timeout=httpx2.Timeout(None, connect=10.0),
            limits=httpx2.Limits(max_connections=None, max_keepalive_connections=0),
            headers={"Accept-Encoding": "identity"},
            trust_env=False,
        )

    async def close(self) -> None:
        await self._http.aclose()

    async def send(self, request: Request, body: bytes) -> httpx2.Response:
        """The answer to a client's request with this body, of which only the head has been read."""
        path = httpx2.URL(path=request.url.path, query=request.url.query.encode())
        headers = {name: request.headers[name] for name in KEPT if name in request.headers}
        made = self._http.build_request(request.method, path, headers=headers, content=body)
        try:
            return await self._http.send(made, stream=True)
        except httpx2.TransportError as error:
            raise _lost(error) from error

    async def ask(self, method: str, path: str, body: Json | None = None) -> Any:
        """An answer as JSON to a question of our own."""
        try:
            answer = await self._http.request(method, path, json=body, headers=self._headers)
        except httpx2.TransportError as error:
            raise _lost(error) from error
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

    async def text(self, request: Request) -> Response:
        content = await read_body(request)
        body = await self._checked(content)
        if body.get("suffix") is None and body.get("context") is None:
            return await self._pass(request, content)
        return await self._pass(request, to_json(await self._gap(body)))

    async def chat(self, request: Request) -> Response:
        content = await read_body(request)
        await self._checked(content)
        return await self._pass(request, content)

    async def adapters(self) -> Json:
        found = await self._native.ask("GET", "/lora-adapters")
        data = [
            {"id": name, "object": "adapter", "name": name, "path": one["path"], "scale": one["scale"]}
            for one in found
            for name in (Path(one["path"]).stem,)
        ]
        return {"object": "list", "data": data}

    async def no_adapters(self) -> Response:
        raise Refusal(400, "Engine llama takes its adapters at start.", code="unsupported")

    async def other(self, request: Request) -> Response:
        return await self._pass(request, await read_body(request))

    async def _checked(self, content: bytes) -> Json:
        """The request. Raises Refusal for another model, and for fields that would be dropped."""
        body = read_json(content)
        served = await self._served()
        if (asked := body.get("model") or served) != served:
            raise unknown_model(str(asked), served)
        for name, instead in DROPPED.items():
            if body.get(name) not in (None, False):
                raise Refusal(400, f"Engine llama does not serve {name!r}: {instead}.", param=name)
        return body

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

    async def _pass(self, request: Request, body: bytes) -> Response:
        """llama.cpp's answer. A client that leaves closes the connection to it, which ends the answer."""
        answer = await unless_gone(request.receive, self._native.send(request, body))
        if answer is None:
            return Response(status_code=499)
        kind = answer.headers.get("content-type", "")
        if kind.startswith("text/event-stream"):
            return EventStream(_events(answer), lambda _left: answer.aclose())
        try:
            content = await unless_gone(request.receive, answer.aread())
        except httpx2.TransportError as error:
            raise _lost(error) from error
        finally:
            await answer.aclose()
        headers = {"Content-Type": kind} if kind else {}
        return Response(content or b"", answer.status_code, headers)


async def _events(answer: httpx2.Response) -> AsyncGenerator[bytes]:
    """A stream as it comes; should it break, its last event says so."""
    try:
        async for chunk in answer.aiter_raw():
            yield chunk
    except httpx2.TransportError as error:
        yield b"\n\n" + sse(_lost(error).body)


def _lost(error: Exception) -> Refusal:
    said = f"llama.cpp's server does not answer: {error or type(error).__name__}."
    return Refusal(503, said, kind="server_error", code="engine_gone", retry_after=1.0)


def app(url: str, token: str, *, fim: FimTokens | None = None, local: bool = True) -> FastAPI:
    """The front of the llama.cpp server at `url`, whose token is the public one.

    Without `fim` the tokens are those that the catalogue has for the served model.
    """
    native = Native(url, token)

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        yield
        await native.close()

    front = Front(native, fim)
    api = bare(token, local=local, lifespan=lifespan)
    api.post("/v1/completions", response_model=None)(front.text)
    api.post("/v1/chat/completions", response_model=None)(front.chat)
    api.get("/v1/adapters")(front.adapters)
    api.post("/v1/adapters", response_model=None)(front.no_adapters)
    api.delete("/v1/adapters/{name}", response_model=None)(front.no_adapters)
    api.api_route("/{path:path}", methods=METHODS, response_model=None)(front.other)
    return api
