"""The raw stream of one Docker exec: frames in, input out, with deadlines the Docker client does not have."""

import select
import socket
import time
from collections.abc import Callable
from typing import Any

STDOUT, STDERR = 1, 2
_MAX_FRAME = 1 << 24


class Hijacked:
    """A non-blocking exec stream. `close` always."""

    def __init__(self, started: Any) -> None:
        """`started` is what `APIClient.exec_start(socket=True)` gives."""
        self._started = started
        self._socket: socket.socket = getattr(started, "_sock", started)
        self._socket.setblocking(False)
        self._buffer = bytearray(_already_read(started))
        self._unseen = bool(self._buffer)
        self._poll = select.poll()
        self._unsent = memoryview(b"")
        self._sending = False

    def send(self, data: bytes) -> None:
        """Queue all input of the command; its end of file follows."""
        self._unsent, self._sending = memoryview(data), True

    def pump(self, wait_s: float, on_frame: Callable[[int, bytes], None]) -> bool:
        """Move bytes both ways for at most `wait_s`; False when the engine closed the stream."""
        self._poll.register(self._socket, select.POLLIN | (select.POLLOUT if self._sending else 0))
        if not self._unseen and not self._poll.poll(max(0.0, wait_s) * 1000):
            return True
        self._unseen = False
        if self._sending:
            self._push()
        open_ = True
        try:
            data = self._socket.recv(1 << 18)
            self._buffer += data
            open_ = bool(data)
        except BlockingIOError:
            pass
        except OSError:
            open_ = False
        self._frames(on_frame)
        return open_

    def _push(self) -> None:
        try:
            while self._unsent:
                self._unsent = self._unsent[self._socket.send(self._unsent[: 1 << 18]) :]
            self._socket.shutdown(socket.SHUT_WR)
        except BlockingIOError:
            return
        except OSError:  # the command ended without reading its input
            pass
        self._sending = False

    def _frames(self, on_frame: Callable[[int, bytes], None]) -> None:
        """Hand over whole frames: kind, three zero bytes, length, data."""
        while len(self._buffer) >= 8:
            length = int.from_bytes(self._buffer[4:8], "big")
            if length > _MAX_FRAME:
                raise OSError("the engine sent a broken frame")
            if len(self._buffer) < 8 + length:
                return
            kind, data = self._buffer[0], bytes(self._buffer[8 : 8 + length])
            del self._buffer[: 8 + length]
            on_frame(kind, data)

    def close(self) -> None:
        """Give the connection up; the command is not told."""
        response = getattr(self._started, "_response", None)
        if response is not None:
            response.close()
        self._started.close()
        self._socket.close()


def _already_read(started: Any) -> bytes:
    """Bytes that came with the response's headers and wait in the HTTP library's buffer."""
    try:
        reader = started._response.raw._fp.fp
        return bytes(reader.read1(1 << 16) or b"")
    except (AttributeError, OSError, ValueError):
        return b""


def remaining(deadline: float, step_s: float) -> float:
    """Seconds until the deadline, at most `step_s`, never negative."""
    return max(0.0, min(step_s, deadline - time.monotonic()))
