"""A socket before the Docker engine's that changes what passes; the real engine answers, requests are kept.

Only for what is refused before a command runs: streams (exec, attach) do not pass.
"""

import http.client
import json
import socket
import socketserver
import tempfile
import threading
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from types import TracebackType
from typing import Any

Change = Callable[[dict[str, Any]], None]
ENGINE = "/var/run/docker.sock"


def unchanged(_: dict[str, Any]) -> None:
    return


class _Connection(http.client.HTTPConnection):
    """HTTP over the engine's Unix socket."""

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.settimeout(30)
        self.sock.connect(ENGINE)


class Double:
    """The socket; `asked` has the method and path of every request so far."""

    def __init__(self, create: Change = unchanged, created: Change = unchanged) -> None:
        """`create` changes the body of a container's creation, `created` the answer to it."""
        self.asked: list[str] = []
        self.create, self.created = create, created
        self._folder = tempfile.TemporaryDirectory(prefix="double-")
        path = str(Path(self._folder.name) / "d.sock")
        self.address = f"unix://{path}"
        double = self

        class Handler(BaseHTTPRequestHandler):
            def handle_one_request(self) -> None:
                self.raw_requestline = self.rfile.readline(65537)
                self.close_connection = True
                if self.raw_requestline and self.parse_request():
                    double._pass_on(self)

            def address_string(self) -> str:
                return "-"

            def log_message(self, *_: object) -> None:
                return

        class Server(socketserver.ThreadingUnixStreamServer):
            daemon_threads = False
            block_on_close = True

        self._server = Server(path, Handler)
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.05,))

    def _pass_on(self, handler: BaseHTTPRequestHandler) -> None:
        path = handler.path.partition("?")[0]
        self.asked.append(f"{handler.command} {path}")
        body = handler.rfile.read(int(handler.headers.get("Content-Length") or 0))
        creates = path.endswith("/containers/create")
        if creates:
            body = _changed(body, self.create)
        headers = {"Host": "docker", "Content-Type": handler.headers.get("Content-Type", "")}
        connection = _Connection("docker")
        try:
            connection.request(handler.command, handler.path, body, headers)
            answer = connection.getresponse()
            told = answer.read()
        finally:
            connection.close()
        if creates and answer.status == 201:
            told = _changed(told, self.created)
        handler.send_response(answer.status)
        for name in ("Content-Type", "Api-Version", "Docker-Experimental"):
            if answer.getheader(name):
                handler.send_header(name, str(answer.getheader(name)))
        handler.send_header("Content-Length", str(len(told)))
        handler.end_headers()
        handler.wfile.write(told)

    def __enter__(self) -> "Double":
        self._thread.start()
        return self

    def __exit__(
        self, _kind: type[BaseException] | None, _error: BaseException | None, _trace: TracebackType | None
    ) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()
        self._folder.cleanup()


def _changed(body: bytes, change: Change) -> bytes:
    found = json.loads(body)
    change(found)
    return json.dumps(found).encode()
