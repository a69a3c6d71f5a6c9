"""The HTTP front of a scripted engine on a real socket of the loopback, and raw clients that misbehave."""

import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import httpx2
import openai
from starlette.types import ASGIApp

from model.front import app, serve
from model.scripted_backend import Script, ScriptedBackend

TOKEN = "the-token"


@dataclass(frozen=True, slots=True)
class Address:
    """Where a front answers."""

    host: str
    port: int
    backend: ScriptedBackend

    @property
    def url(self) -> str:
        return f"http://{self.host}:{self.port}"

    def http(self, **headers: str) -> httpx2.Client:
        """A client with the token, unless other headers say otherwise."""
        given = {"Authorization": f"Bearer {TOKEN}"} | headers
        return httpx2.Client(base_url=self.url, headers=given, timeout=20, trust_env=False)

    def openai(self) -> openai.OpenAI:
        http = openai.DefaultHttpxClient(trust_env=False)
        return openai.OpenAI(base_url=f"{self.url}/v1", api_key=TOKEN, max_retries=0, http_client=http)

    def dial(self) -> socket.socket:
        """A raw connection."""
        return socket.create_connection((self.host, self.port), timeout=20)


@contextmanager
def listening(made: ASGIApp, **limits: Any) -> Iterator[tuple[str, int]]:
    """An app, served by a thread until the end of the block."""
    sock = socket.socket()
    sock.bind(("127.0.0.1", 0))
    sock.listen(1024)
    host, port = sock.getsockname()
    stop = threading.Event()
    thread = threading.Thread(target=serve, args=(made, sock, stop), kwargs=limits)
    thread.start()
    try:
        yield host, port
    finally:
        stop.set()
        thread.join(20)
        assert not thread.is_alive()


@contextmanager
def fronted(script: Script, *, local: bool = True, limits: Any = None, **about: Any) -> Iterator[Address]:
    """A front whose engine follows a script."""
    backend = ScriptedBackend(script, **about)
    with listening(app(backend, TOKEN, local=local), **(limits or {})) as (host, port):
        yield Address(host, port, backend)
        backend.close()


def until(true: Callable[[], bool], within_s: float = 5.0) -> bool:
    """Whether something comes true in time."""
    end = time.monotonic() + within_s
    while not true():
        if time.monotonic() > end:
            return False
        time.sleep(0.01)
    return True


def said(body: str, *headers: str, path: str = "/v1/chat/completions") -> bytes:
    """A raw POST with the token."""
    data = body.encode()
    head = [
        f"POST {path} HTTP/1.1",
        "Host: 127.0.0.1",
        f"Authorization: Bearer {TOKEN}",
        "Content-Type: application/json",
        f"Content-Length: {len(data)}",
        *headers,
    ]
    return "\r\n".join(head).encode() + b"\r\n\r\n" + data
