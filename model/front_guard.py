"""Who may talk to the HTTP front, and how much of it one client may take up.

A request is refused unless it carries the token and, where only this machine is served, its Host is this
machine: a web page whose name points here (DNS rebinding) has another. Whatever a browser sends on behalf of
a page, which has an Origin, is refused too. A connection that is slow with its headers is closed.
"""

import asyncio
import hmac
import logging
from collections.abc import Mapping
from typing import Any, Final
from urllib.parse import urlsplit

from fastapi import Request
from fastapi.responses import JSONResponse
from starlette.datastructures import Headers
from starlette.requests import ClientDisconnect
from starlette.types import ASGIApp, Message, Receive, Scope, Send
from uvicorn.protocols.http.h11_impl import H11Protocol

from model.front_refusal import Refusal

LARGEST_BODY: Final = 16 * 1024 * 1024
"""Bytes."""
THROWN_AWAY: Final = 4 * LARGEST_BODY
"""Bytes of a body that is too large which are still taken, so that its sender comes to read why."""
BODY_S: Final = 60.0
"""Longest time for a whole body, in seconds."""
HEAD_S: Final = 10.0
"""Longest time from connecting, or from the first byte of a further request, to the end of its headers."""
MOST_CONNECTIONS: Final = 2048
OPEN: Final = frozenset({"/health"})
"""Paths that need no token: they tell nothing."""
LOOPBACK: Final = frozenset({"127.0.0.1", "localhost", "::1"})

log = logging.getLogger("adi.front")


class Guard:
    """ASGI middleware in front of everything else."""

    def __init__(self, app: ASGIApp, token: str, local: bool) -> None:
        """`local`: only this machine is served. Raises ValueError without a token."""
        if not token:
            raise ValueError("a server without a token would serve everybody")
        self._app = app
        self._known = f"Bearer {token}".encode()
        self._local = local

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            await self._app(scope, receive, send)
            return
        if scope["type"] != "http":  # a websocket, which uvicorn refuses when nobody takes it
            await send({"type": "websocket.close"})
            return
        started = False

        async def watched(message: Message) -> None:
            nonlocal started
            started = True
            await send(message)

        try:
            self._check(scope)
            await self._app(scope, receive, watched)
        except Refusal as refused:
            await answer(refused)(scope, receive, send)
        except asyncio.CancelledError:  # the server leaves; a stream that has begun has said so itself
            if not started:
                await answer(stopped())(scope, receive, send)
        except Exception:
            log.exception("the HTTP front failed")
            if started:
                raise
            failed = Refusal(500, "The server failed; its log says why.", kind="server_error")
            await answer(failed)(scope, receive, send)

    def _check(self, scope: Scope) -> None:
        """Raises Refusal."""
        headers = Headers(scope=scope)
        if self._local:
            check_host(headers)
        check_origin(headers)
        if scope["path"] in OPEN:
            return
        given = headers.get("authorization", "").encode("latin-1", "replace")
        if not hmac.compare_digest(given, self._known):
            raise Refusal(
                401,
                "The token is missing or wrong: send Authorization: Bearer TOKEN.",
                code="invalid_api_key",
            )


def stopped() -> Refusal:
    """For requests that a server which leaves does not finish."""
    return Refusal(503, "The server was stopped.", kind="server_error", code="server_stopped")


def answer(refused: Refusal) -> JSONResponse:
    """A refusal as a response."""
    return JSONResponse(refused.body, refused.status, refused.headers)


def check_host(headers: Mapping[str, str]) -> None:
    """Raises Refusal for a name that is not this machine's. Any port will do: one may be forwarded here."""
    try:
        name = urlsplit(f"//{headers.get('host', '')}").hostname
    except ValueError:
        name = None
    if name not in LOOPBACK:
        raise Refusal(403, "This server answers only as 127.0.0.1 or localhost.", code="wrong_host")


def check_origin(headers: Mapping[str, str]) -> None:
    """Raises Refusal for a request that a web page made: no page is served here."""
    if "origin" in headers or headers.get("sec-fetch-site", "none") not in ("none", "same-origin"):
        raise Refusal(403, "This server does not serve web pages.", code="wrong_origin")


async def read_body(request: Request) -> bytes:
    """The body. Raises Refusal when it is too large or takes too long."""
    body = bytearray()
    size = 0
    try:
        async with asyncio.timeout(BODY_S):
            async for chunk in request.stream():
                size += len(chunk)
                if size > THROWN_AWAY:
                    break
                if size <= LARGEST_BODY:
                    body += chunk
    except ClientDisconnect:
        raise Refusal(400, "The body broke off.") from None
    except TimeoutError:
        raise Refusal(408, f"The body did not come within {BODY_S:.0f} s.", code="body_too_slow") from None
    if size > LARGEST_BODY:
        raise Refusal(413, f"The body is larger than {LARGEST_BODY} bytes.", code="body_too_large")
    return bytes(body)


class Connection(H11Protocol):
    """A connection that must get its headers here in time, and one of not too many."""

    most: int = MOST_CONNECTIONS
    head_s: float = HEAD_S
    _clock: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        if len(self.connections) > self.most:
            transport.write(
                b"HTTP/1.1 503 Service Unavailable\r\nRetry-After: 1\r\nContent-Length: 0\r\n"
                b"Connection: close\r\n\r\n"
            )
            transport.close()
            return
        self._wind_up()

    def data_received(self, data: bytes) -> None:
        before = self.cycle
        super().data_received(data)
        if self.cycle is not before:
            self._stop_clock()
        elif self._clock is None and (before is None or before.response_complete):
            self._wind_up()

    def connection_lost(self, exc: Exception | None) -> None:
        self._stop_clock()
        super().connection_lost(exc)

    def _wind_up(self) -> None:
        self._clock = self.loop.call_later(self.head_s, self._too_late)

    def _stop_clock(self) -> None:
        if self._clock is not None:
            self._clock.cancel()
            self._clock = None

    def _too_late(self) -> None:
        self._clock = None
        self.transport.abort()


def protocol(most: int, head_s: float) -> type[Connection]:
    """A kind of connection with limits of its own."""
    limits: dict[str, Any] = {"most": most, "head_s": head_s}
    return type("LimitedConnection", (Connection,), limits)
