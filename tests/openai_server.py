"""A small real server that speaks the OpenAI dialect on loopback and answers what a script says."""

import contextlib
import json
import socket
import ssl
import struct
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from enum import Enum, auto
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

from memory.records import Message
from model.protocol import Sampling
from model.scripted import Asked


class Do(Enum):
    """What a server can do instead of answering."""

    BREAK = auto()  # close the connection in the middle of the stream
    HANG = auto()  # say nothing until the client is gone
    DRIP = auto()  # write on and on, slowly
    PING = auto()  # send keep-alive comments and nothing else
    LETTERS = auto()  # send one byte of an event at a time, which never ends
    FLOOD = auto()  # write on and on, as fast as it goes, whatever was asked for
    DEAF = auto()  # not even a status line


@dataclass(frozen=True, slots=True)
class Cut:
    """So much of an answer, then the connection is gone; `abort` resets it (TCP RST)."""

    text: str
    abort: bool = False


@dataclass(frozen=True, slots=True)
class Fails:
    """An HTTP error."""

    status: int
    retry_after: str = ""
    text: str = "out of order"


@dataclass(frozen=True, slots=True)
class Said:
    """An answer with what the server claims about its model."""

    text: str
    model: str
    weights: str = ""
    tokens: int = 0
    """What it claims to have cost; 0 is a quarter of its length."""


@dataclass(frozen=True, slots=True)
class Bytewise:
    """An answer one byte a packet, its first character beyond the BMP cut into two events."""

    text: str


Answer = Callable[[Asked], object]
"""Gives a text, a Do, a Cut, Fails, Said or Bytewise."""


class _Handler(BaseHTTPRequestHandler):
    server: "_Server"

    def do_GET(self) -> None:
        entry = {"id": "tiny"} | ({"context_length": self.server.n_ctx} if self.server.n_ctx else {})
        known = self.path == "/v1/models"
        self._json(200 if known else 404, {"data": [entry]} if known else {})

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        if self.path != "/v1/chat/completions":
            self._json(404, {})
            return
        messages = tuple(Message(**turn) for turn in body["messages"])
        answer = self.server.answer(Asked(Sampling(max_tokens=body["max_tokens"]), messages))
        with contextlib.suppress(OSError):
            self._reply(answer)

    def _reply(self, answer: object) -> None:
        if isinstance(answer, Fails):
            headers = {"Retry-After": answer.retry_after} if answer.retry_after else {}
            self._json(answer.status, {"error": {"message": answer.text}}, headers)
            return
        if answer is Do.DEAF:
            self.server.stopped.wait()
            return
        self.send_response(200)
        self.send_header("Content-Type", "text/event-stream")
        self.end_headers()
        if answer is Do.BREAK:
            answer = Cut("It should")
        if isinstance(answer, Cut):
            self._cut(answer)
        elif isinstance(answer, Bytewise):
            self._bytewise(answer.text)
        elif isinstance(answer, Do):
            self._misbehave(answer)
        else:
            self._stream(answer if isinstance(answer, Said) else Said(str(answer), ""))

    def _bytewise(self, text: str) -> None:
        place = next(index for index, char in enumerate(text) if ord(char) > 0xFFFF)
        pair = text[place].encode("utf-16-le")
        halves = [pair[at : at + 2].decode("utf-16-le", "surrogatepass") for at in (0, 2)]
        for piece, reason in (
            (text[:place], None),
            (halves[0], None),
            (halves[1], None),
            (text[place + 1 :], "stop"),
        ):
            choice = {"index": 0, "delta": {"content": piece}, "finish_reason": reason}
            body = json.dumps({"choices": [choice]}, ensure_ascii=piece in halves)
            for byte in f"data: {body}\n\n".encode():
                self.wfile.write(bytes([byte]))
                self.wfile.flush()
        self.wfile.write(b"data: [DONE]\n\n")

    def _cut(self, answer: Cut) -> None:
        if answer.text:
            self._event(answer.text)
        if answer.abort:
            self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            self.connection.close()
        else:
            self.connection.shutdown(socket.SHUT_RDWR)

    def _misbehave(self, what: Do) -> None:
        pause = 0.0 if what is Do.FLOOD else 0.1
        while not self.server.stopped.wait(pause):
            if what in (Do.PING, Do.LETTERS):
                self.wfile.write(b": ping\n\n" if what is Do.PING else b"d")
                self.wfile.flush()
            else:
                self._event("" if what is Do.HANG else "on and on ")

    def _stream(self, said: Said) -> None:
        told = {"model": said.model} if said.model else {}
        told |= {"system_fingerprint": said.weights} if said.weights else {}
        half = len(said.text) // 2
        self._event(said.text[:half], **told)
        self._event(said.text[half:], "stop", **told)
        tokens = said.tokens or len(said.text) // 4
        usage = {"prompt_tokens": 0, "completion_tokens": tokens}
        self.wfile.write(f"data: {json.dumps({'usage': usage, 'choices': []})}\n\ndata: [DONE]\n\n".encode())

    def _event(self, text: str, reason: str | None = None, **more: str) -> None:
        choice = {"index": 0, "delta": {"content": text}, "finish_reason": reason}
        self.wfile.write(f"data: {json.dumps({'choices': [choice], **more})}\n\n".encode())
        self.wfile.flush()

    def _json(self, status: int, value: object, headers: dict[str, str] | None = None) -> None:
        data = json.dumps(value).encode()
        self.send_response(status)
        for name, text in (headers or {}).items():
            self.send_header(name, text)
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def log_message(self, *_: object) -> None:
        """Quiet."""


class _Server(ThreadingHTTPServer):
    daemon_threads = False
    answer: Answer
    n_ctx: int
    stopped: threading.Event
    tls: ssl.SSLContext | None

    def finish_request(self, request: object, client_address: object) -> None:
        assert isinstance(request, socket.socket)
        if self.tls is not None:  # in the connection's own thread: a handshake may hang
            request = self.tls.wrap_socket(request, server_side=True)
        try:
            super().finish_request(request, client_address)  # type: ignore[arg-type]
        finally:
            request.close()

    def handle_error(self, *_: object) -> None:
        """A client that went away is part of the tests."""


@contextlib.contextmanager
def serve(answer: Answer, *, n_ctx: int = 32_768, certificate: Path | None = None) -> Iterator[str]:
    """A running server; gives its URL. `n_ctx` 0 tells no window; a certificate (PEM, with key) means TLS."""
    with _Server(("127.0.0.1", 0), _Handler) as server:
        server.answer, server.n_ctx, server.stopped, server.tls = answer, n_ctx, threading.Event(), None
        if certificate is not None:
            server.tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            server.tls.load_cert_chain(certificate)
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
        thread.start()
        try:
            scheme = "https" if certificate else "http"
            yield f"{scheme}://127.0.0.1:{server.server_port}/v1"
        finally:
            server.stopped.set()
            server.shutdown()
            thread.join()
