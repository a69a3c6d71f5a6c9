"""A way to the model for other agents: OpenAI's dialect on a unix socket, equal rules, every call counted.

An agent in a container without a network reaches the model through this and nothing else. It is given no key.
What is passed on of a request, and what is put in its place, are the rules of model/gateway_calls.py, so that
all agents are compared on the same terms.
"""

import contextlib
import json
import socket
import threading
import time
from collections.abc import Callable, Generator, Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from socketserver import ThreadingMixIn, UnixStreamServer
from types import TracebackType
from typing import Final

import httpx2

from model.deadline import Deadline
from model.errors import ModelError, PromptTooLong, ServerFailed, StreamBroken, Unreachable
from model.gateway_calls import Call, Reader, Rules
from model.http import MAX_REFUSAL, Endpoint, Json, is_loopback, refused_as_too_long

SOCKET: Final = "model.sock"
_PATHS: Final = ("/v1/chat/completions", "/chat/completions")
_MAX_REQUEST: Final = 16 * 1024 * 1024
_IDLE_S: Final = 60.0
"""Longest wait for the agent to send or take something."""
_TIMEOUT: Final = httpx2.Timeout(10.0, read=600.0)
"""The second is the longest silence of the server: a long prompt is silent while it is read."""


class _Refused(Exception):
    """A request that is not passed on, or whose answer is not."""

    def __init__(self, status: int, code: str, message: str) -> None:
        super().__init__(message)
        self.status, self.code = status, code


@dataclass(slots=True)
class Gateway:
    """Serves until it is closed, which cuts every call. `find` is asked for the server before each call."""

    folder: Path
    """Holds the socket; short, a socket's path has at most 107 bytes."""
    find: Callable[[], Endpoint]
    rules: Rules
    wall_s: float
    """Seconds after which calls are refused, and those that run are cut."""
    stopping: threading.Event = field(default_factory=threading.Event)
    """When set, further calls are refused."""
    calls: list[Call] = field(init=False, default_factory=list)
    lost: ModelError | None = field(init=False, default=None)
    """Why the last call found no server, or one of another model; None when it found the right one."""
    _end: float = field(init=False)
    _server: "_Server" = field(init=False)
    _thread: threading.Thread = field(init=False)
    _running: set[Deadline] = field(init=False, default_factory=set)
    _clients: set[socket.socket] = field(init=False, default_factory=set)
    _lock: threading.Lock = field(init=False, default_factory=threading.Lock)

    def __enter__(self) -> "Gateway":
        self._end = time.monotonic() + self.wall_s
        path = self.folder / SOCKET
        try:
            self._server = _Server(str(path), _Handler)
        except OSError as error:
            raise ServerFailed(f"no socket at {path}: {error}", "set TMPDIR to a short path") from error
        self._server.gateway = self
        path.chmod(0o666)  # the agent's user is another one than ours; the folder above is closed
        self._thread = threading.Thread(
            target=self._server.serve_forever, args=(0.1,), daemon=True, name="adi-gateway"
        )
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._end = 0.0
        self._server.shutdown()
        self._thread.join()
        with self._lock:
            for deadline in self._running:
                deadline.cut()
            for client in self._clients:
                with contextlib.suppress(OSError):
                    client.shutdown(socket.SHUT_RDWR)
        self._server.server_close()  # waits for the threads
        (self.folder / SOCKET).unlink(missing_ok=True)

    def answer(self, asked: Json) -> Generator[tuple[int, bytes], None, None]:
        """Status and pieces of the answer's body, as they come. Raises _Refused before the first piece."""
        call = Call()
        try:
            body = self.rules.request(asked)
        except ValueError as error:
            raise _Refused(400, "invalid_request", str(error)) from None
        with self._lock:
            self.calls.append(call)
        try:
            yield from self._forward(body, call)
        except (httpx2.TransportError, ModelError) as error:
            if self._over():
                call.fate = "late"
                raise self._late() from error
            call.detail = str(error)
            if not isinstance(error, ModelError):
                error = StreamBroken(f"the answer of the model server broke off: {error}")
            self.lost = error
            raise _Refused(503, "server_error", str(error)) from error

    def _over(self) -> bool:
        return self.stopping.is_set() or time.monotonic() >= self._end

    def _late(self) -> _Refused:
        return _Refused(403, "time_is_up", "the time of this attempt is over")

    def _forward(self, body: Json, call: Call) -> Iterator[tuple[int, bytes]]:
        if self._over():
            call.fate = "late"
            raise self._late()
        with self._sent(body) as response:
            if response.status_code != 200:
                yield from self._refusal(response, call)
                return
            reader = Reader(call, streamed=bool(body.get("stream")))
            for chunk in response.iter_bytes():
                reader.feed(chunk)
                self._check(call)
                yield 200, chunk
            reader.end()
            self._check(call)
        if self._over():  # an answer without a length looks whole when its connection is cut
            call.fate = "late"
            return
        call.fate, self.lost = "answered", None

    @contextlib.contextmanager
    def _sent(self, body: Json) -> Iterator[httpx2.Response]:
        """The server's response; its connection is cut at the deadline. Raises ModelError, TransportError."""
        endpoint = self.find()
        headers = {"Authorization": f"Bearer {endpoint.token}"} if endpoint.token else {}
        url = f"{endpoint.url}/v1/chat/completions"
        with (
            httpx2.Client(timeout=_TIMEOUT, trust_env=not is_loopback(url)) as client,
            Deadline(max(0.0, self._end - time.monotonic())) as deadline,
        ):
            with self._lock:
                self._running.add(deadline)
            try:
                with client.stream(
                    "POST", url, json=body, headers=headers, extensions={"trace": deadline.trace}
                ) as response:
                    yield response
            except httpx2.ConnectError as error:
                raise Unreachable(f"no answer from {endpoint.url}: {error}", "adi serve --status") from error
            finally:
                with self._lock:
                    self._running.discard(deadline)

    @contextlib.contextmanager
    def serving(self, client: socket.socket) -> Iterator[None]:
        """The connection is cut when the gateway closes."""
        with self._lock:
            self._clients.add(client)
        try:
            yield
        finally:
            with self._lock:
                self._clients.discard(client)

    def _refusal(self, response: httpx2.Response, call: Call) -> Iterator[tuple[int, bytes]]:
        """An error of the server, passed on; a prompt past the window in the words that OpenAI has for it."""
        content = b""
        for chunk in response.iter_bytes():
            content += chunk
            if len(content) > MAX_REFUSAL:
                break
        call.detail = content.decode("utf-8", "replace")[:300]
        if too_long := refused_as_too_long(content):
            call.fate, self.lost = "too-long", None
            raise _Refused(400, "context_length_exceeded", self._said(too_long))
        call.fate = "refused"
        yield response.status_code, content

    def _said(self, error: PromptTooLong) -> str:
        window = error.n_ctx or self.rules.n_ctx
        return (
            f"This model's maximum context length is {window} tokens. However, your messages resulted in "
            f"{error.prompt_tokens or 'more'} tokens. Please reduce the length of the messages."
        )

    def _check(self, call: Call) -> None:
        """Raises ServerFailed when another model answers."""
        if call.model and call.model != self.rules.model:
            raise ServerFailed(
                f"the server answers with the model {call.model}, not {self.rules.model}",
                "adi serve --status",
            )


class _Handler(BaseHTTPRequestHandler):
    """One request of the agent, one connection."""

    server: "_Server"
    timeout = _IDLE_S

    def handle(self) -> None:
        with self.server.gateway.serving(self.connection):
            super().handle()

    def do_GET(self) -> None:
        rules = self.server.gateway.rules
        known = self.path in ("/v1/models", "/models")
        entry = {"id": rules.model, "object": "model", "owned_by": "adi", "context_length": rules.n_ctx}
        self._reply(200 if known else 404, {"object": "list", "data": [entry]} if known else {})

    def do_POST(self) -> None:
        try:
            asked = self._asked()
            pieces = self.server.gateway.answer(asked)
            with contextlib.closing(pieces), contextlib.suppress(OSError):
                self._pass_on(pieces, streamed=bool(asked.get("stream")))
        except _Refused as refused:
            error = {"message": str(refused), "type": "invalid_request_error", "code": refused.code}
            self._reply(refused.status, {"error": error})

    def _asked(self) -> Json:
        """The request's body. Raises _Refused."""
        length = self.headers.get("Content-Length", "")
        if self.path not in _PATHS:
            raise _Refused(404, "not_found", f"{self.path[:100]} is not served here")
        if not length.isdigit() or int(length) > _MAX_REQUEST:
            raise _Refused(
                413, "too_large", f"a body of at most {_MAX_REQUEST} bytes with its length is needed"
            )
        try:
            asked = json.loads(self.rfile.read(int(length)))
        except (ValueError, RecursionError, OSError) as error:
            raise _Refused(400, "invalid_request", f"no JSON: {error}") from None
        if not isinstance(asked, dict):
            raise _Refused(400, "invalid_request", "a JSON object is needed")
        return asked

    def _pass_on(self, pieces: Iterator[tuple[int, bytes]], *, streamed: bool) -> None:
        """A streamed answer as it comes, a whole one with its length. A broken stream ends without a mark."""
        if not streamed:
            found = list(pieces)
            self._send(found[0][0] if found else 200, b"".join(piece for _, piece in found))
            return
        begun = False
        try:
            for status, piece in pieces:
                if not begun:
                    self._head(status, "text/event-stream" if status == 200 else "application/json")
                    begun = True
                self.wfile.write(piece)
        except _Refused:
            if not begun:
                raise

    def _reply(self, status: int, value: Json) -> None:
        with contextlib.suppress(OSError):
            self._send(status, json.dumps(value).encode())

    def _send(self, status: int, data: bytes) -> None:
        self._head(status, "application/json", len(data))
        self.wfile.write(data)

    def _head(self, status: int, kind: str, length: int = -1) -> None:
        self.send_response(status)
        self.send_header("Content-Type", kind)
        if length >= 0:
            self.send_header("Content-Length", str(length))
        self.end_headers()

    def log_message(self, *_: object) -> None:
        """Quiet."""


class _Server(ThreadingMixIn, UnixStreamServer):
    daemon_threads = False
    request_queue_size = 64
    gateway: Gateway

    def handle_error(self, *_: object) -> None:
        """An agent that went away is its own affair."""
