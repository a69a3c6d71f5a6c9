"""The OpenAI-compatible address of a server process, answered by a thread of its own."""

import selectors
import socket
import threading
from collections.abc import Callable
from types import TracebackType
from typing import Any

END_S = 5.0
"""Longest wait for the thread when the server leaves."""


class Public:
    """Answers on a bound socket for as long as the `with` block lasts.

    The web framework takes a second to import, which a server that only ADI's own client talks to never
    spends: the first caller waits for it in the socket's backlog.
    """

    def __init__(self, sock: socket.socket, make_app: Callable[[], Any], *, at_once: bool = False) -> None:
        """`make_app` gives the ASGI application. With `at_once` it is made before anybody calls."""
        self._sock = sock
        self._make_app = make_app
        self._at_once = at_once
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="public", daemon=True)
        self._wake, self._woken = socket.socketpair()

    def __enter__(self) -> "Public":
        self._thread.start()
        return self

    def __exit__(
        self, _kind: type[BaseException] | None, _error: BaseException | None, _trace: TracebackType | None
    ) -> None:
        self._stop.set()
        self._wake.close()
        self._thread.join(END_S)
        self._woken.close()

    @property
    def alive(self) -> bool:
        """False once the thread has ended, whatever ended it."""
        return self._thread.is_alive()

    def _run(self) -> None:
        if not self._at_once:
            self._wait_for_a_caller()
        if self._stop.is_set():
            return
        from model.front import serve

        serve(self._make_app(), self._sock, self._stop)

    def _wait_for_a_caller(self) -> None:
        with selectors.DefaultSelector() as selector:
            selector.register(self._sock, selectors.EVENT_READ)
            selector.register(self._woken, selectors.EVENT_READ)
            selector.select()
