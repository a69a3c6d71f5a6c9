"""Bounded output: head and tail of a stream of any length."""

from collections import deque


class HeadTail:
    """Keeps the first and the last half of what is fed, at most `cap` bytes and one marker line."""

    def __init__(self, cap: int) -> None:
        self._head_cap = cap // 2
        self._tail_cap = cap - self._head_cap
        self._head = bytearray()
        self._tail: deque[bytes] = deque()
        self._tail_size = 0
        self.total = 0
        """Bytes fed so far."""

    def feed(self, data: bytes) -> None:
        self.total += len(data)
        room = self._head_cap - len(self._head)
        self._head += data[:room]
        rest = data[room:] if room > 0 else data
        if rest:
            self._tail.append(rest)
            self._tail_size += len(rest)
        while self._tail and self._tail_size - len(self._tail[0]) >= self._tail_cap:
            self._tail_size -= len(self._tail.popleft())

    @property
    def truncated(self) -> bool:
        return self.total > self._head_cap + self._tail_cap

    def bytes(self) -> bytes:
        """What was kept, with a line that tells how much is missing."""
        tail = b"".join(self._tail)[-self._tail_cap :] if self._tail_cap else b""
        if not self.truncated:
            return bytes(self._head) + tail
        missing = self.total - len(self._head) - len(tail)
        return bytes(self._head) + f"\n[... {missing} bytes cut ...]\n".encode() + tail
