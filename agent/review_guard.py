"""Who may talk to the review page: a browser of this machine, with the address that ADI printed; nobody else.

A request is refused unless its Host is this machine (no name that a stranger's DNS points here), it carries
the cookie that the printed token was exchanged for, and, where it changes anything, the token of a form of
ours and no other origin. The cookie holds for one path that cannot be guessed, because browsers show cookies
to every port of a host. Answers may not be stored, framed or sniffed, and load only what this server serves.
"""

import hmac
import secrets
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from typing import Final
from urllib.parse import parse_qs, urlsplit

from fastapi import Request, Response

COOKIE: Final = "adi-review"
HOSTS: Final = frozenset({"127.0.0.1", "localhost"})
LARGEST: Final = 4_000_000
"""Bytes of a form."""
HEADERS: Final = {
    "Content-Security-Policy": "default-src 'none'; style-src 'self'; script-src 'self'; form-action 'self'; "
    "base-uri 'none'; frame-ancestors 'none'",
    "Cache-Control": "no-store",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Referrer-Policy": "same-origin",
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
}
Next = Callable[[Request], Awaitable[Response]]


@dataclass(slots=True)
class Keys:
    """Secrets of one server, made when it starts; nothing of them outlives it."""

    token: str = field(default_factory=lambda: secrets.token_urlsafe(24))
    """In the printed address; may be used again, by a second browser."""
    once: str = field(default_factory=lambda: secrets.token_urlsafe(24))
    """In the address given to a browser that ADI starts, where other users may read it: good for one use."""
    room: str = field(default_factory=lambda: secrets.token_hex(8))
    """First part of every path."""
    session: str = field(default_factory=lambda: secrets.token_urlsafe(24))
    form: str = field(default_factory=lambda: secrets.token_urlsafe(24))

    @property
    def cookie(self) -> str:
        """The cookie, unreadable for scripts and never sent from another site."""
        return f"{COOKIE}={self.session}; Path=/{self.room}; HttpOnly; SameSite=Strict"

    def admit(self, token: str) -> bool:
        """True for a token of an address; the other one dies of its use."""
        if self.once and same(token, self.once):
            self.once = ""
            return True
        return same(token, self.token)


class Refused(Exception):
    """The request is none that this server answers; `status` is the HTTP status."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status


@dataclass(frozen=True, slots=True)
class Guard:
    """A middleware in front of every page."""

    keys: Keys
    refusal: Callable[[int, str], Response]
    """The page that says why, from a status and a sentence."""
    entered: Callable[[], Response]
    """The page that leads on once the token was right."""
    failed: Callable[[Exception], Response]
    """The page for an error that no page expected."""

    async def __call__(self, request: Request, go_on: Next) -> Response:
        try:
            response = await self._answer(request, go_on)
        except Refused as refused:
            response = self.refusal(refused.status, str(refused))
        except Exception as error:  # noqa: BLE001 - the boundary to the browser
            response = self.failed(error)
        for name, value in HEADERS.items():
            response.headers.setdefault(name, value)
        return response

    async def _answer(self, request: Request, go_on: Next) -> Response:
        check_host(request.headers)
        if request.url.path.split("/")[1] != self.keys.room:
            raise Refused(403, "Open the address that adi review --web printed.")
        token = request.query_params.get("token", "")
        if token and request.method == "GET" and self.keys.admit(token):
            response = self.entered()
            response.headers["Set-Cookie"] = self.keys.cookie
            return response
        if not same(request.cookies.get(COOKIE, ""), self.keys.session):
            raise Refused(403, "Open the address that adi review --web printed.")
        if request.method not in ("GET", "HEAD"):
            request.state.form = await self._form(request)
        return await go_on(request)

    async def _form(self, request: Request) -> dict[str, str]:
        check_origin(request.headers)
        size = request.headers.get("content-length", "")
        if not size.isdecimal():
            raise Refused(411, "A form must say how long it is.")
        if int(size) > LARGEST:
            raise Refused(413, "The form is too large.")
        body = (await request.body()).decode("utf-8", "replace")
        form = {name: values[-1] for name, values in parse_qs(body, keep_blank_values=True).items()}
        if not same(form.get("form", ""), self.keys.form):
            raise Refused(403, "The form is not of this page; load it again.")
        return form


def check_host(headers: Mapping[str, str]) -> None:
    """Raises Refused for a name that is not this machine's. Any port will do: one may be forwarded here."""
    try:
        name = urlsplit(f"//{headers.get('host', '')}").hostname
    except ValueError:
        name = None
    if name not in HOSTS:
        raise Refused(400, "This page answers only as 127.0.0.1 or localhost.")


def check_origin(headers: Mapping[str, str]) -> None:
    """Raises Refused for a request that another site made."""
    origin = headers.get("origin")
    if origin is not None and origin != f"http://{headers.get('host', '')}":
        raise Refused(403, "The request came from another site.")
    if headers.get("sec-fetch-site", "same-origin") not in ("same-origin", "none"):
        raise Refused(403, "The request came from another site.")


def same(given: str, known: str) -> bool:
    """Compared in a time that tells nothing."""
    return hmac.compare_digest(given.encode(), known.encode())
