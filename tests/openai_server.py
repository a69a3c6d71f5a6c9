"""A small real server that speaks the OpenAI dialect on loopback and answers what a script says."""

import contextlib
import json
import socket
import threading
from collections.abc import Callable, Iterator
from enum import Enum, auto
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from memory.records import Message
from model.protocol import Sampling
from model.scripted import Asked


class Do(Enum):
    """What a server can do instead of answering."""

    BREAK = auto()  # close the connection in the middle of the stream
    HANG = auto()  # say nothing until the client is gone
    DRIP = auto()  # write on and on


Answer = Callable[[Asked], object]
"""Gives a text or a Do."""


class _Handler(BaseHTTPRequestHandler):
    server: "_Server"

    def do_GET(self) -> None:
        known = self.path == "/v1/models"
        self._json(
            200 if known else 404, {"data": [{"id": "tiny", "context_length": 32_768}]} if known else {}
        )

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        if self.path != "/v1/chat/completions":
            self._json(404, {})
            return
        messages = tuple(Message(**turn) for turn in body["messages"])
        answer = self.server.answer(Asked(Sampling(max_tokens=body["max_tokens"]), messages))
        self.send_response(200)
        self.send_header("Content-Type", "text/event-stream")
        self.end_headers()
        with contextlib.suppress(ConnectionError):
            self._stream(answer)

    def _stream(self, answer: object) -> None:
        if answer is Do.BREAK:
            self._event("It should")
            self.wfile.flush()
            self.connection.shutdown(socket.SHUT_RDWR)
            return
        while isinstance(answer, Do):
            self._event("on and on " if answer is Do.DRIP else "")
            if self.server.stopped.wait(0.1):
                return
        text = str(answer)
        self._event(text[: len(text) // 2])
        self._event(text[len(text) // 2 :], "stop")
        usage = {"prompt_tokens": 0, "completion_tokens": len(text) // 4}
        self.wfile.write(f"data: {json.dumps({'usage': usage, 'choices': []})}\n\ndata: [DONE]\n\n".encode())

    def _event(self, text: str, reason: str | None = None) -> None:
        choice = {"index": 0, "delta": {"content": text}, "finish_reason": reason}
        self.wfile.write(f"data: {json.dumps({'choices': [choice]})}\n\n".encode())
        self.wfile.flush()

    def _json(self, status: int, value: object) -> None:
        data = json.dumps(value).encode()
        self.send_response(status)
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def log_message(self, *_: object) -> None:
        """Quiet."""


class _Server(ThreadingHTTPServer):
    daemon_threads = False
    answer: Answer
    stopped: threading.Event

    def handle_error(self, *_: object) -> None:
        """A client that went away is part of the tests."""


@contextlib.contextmanager
def serve(answer: Answer) -> Iterator[str]:
    """A running server; gives its URL."""
    with _Server(("127.0.0.1", 0), _Handler) as server:
        server.answer, server.stopped = answer, threading.Event()
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_port}/v1"
        finally:
            server.stopped.set()
            server.shutdown()
            thread.join()
