"""An end to one request, however steadily its server drips.

The timeouts of httpx bound each single read: a server that sends a byte, or a keep-alive comment, a minute
never meets them. At the deadline the request's connection is shut down under it, which ends the read.
"""

import contextlib
import socket
import threading
from collections.abc import Mapping
from types import TracebackType
from typing import Any, Self


class Deadline:
    """For one request: `trace` is its trace extension (httpcore), by which the connection is known."""

    def __init__(self, seconds: float) -> None:
        self.passed = False
        self._lock = threading.Lock()
        self._socket: socket.socket | None = None
        self._timer = threading.Timer(seconds, self.cut)
        self._timer.daemon = True

    def __enter__(self) -> Self:
        self._timer.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        with self._lock:
            self._socket = None  # its number may soon be another connection's
        self._timer.cancel()

    def trace(self, event: str, info: Mapping[str, Any]) -> None:
        """Remember the connection; TLS puts a new socket in the place of the first one."""
        if event.endswith(("connect_tcp.complete", "start_tls.complete")):
            with self._lock:
                self._socket = info["return_value"].get_extra_info("socket")
                if self.passed:
                    self._shut()

    def cut(self) -> None:
        """End the request: the deadline is here, or somebody calls it off."""
        with self._lock:
            self.passed = True
            self._shut()

    def _shut(self) -> None:
        if self._socket is not None:
            with contextlib.suppress(OSError, ValueError):
                # the plain socket's method: that of TLS takes its encryption away from a reading thread
                socket.socket.shutdown(self._socket, socket.SHUT_RDWR)
