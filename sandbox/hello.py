"""The server name in the first bytes of a TLS connection (RFC 8446 section 4.1.2, RFC 6066 section 3).

A proxy that passes TLS on without opening it knows only the name that it was asked for. Behind one address
many names may live, so the name inside the connection must be the same one.
"""

MAX_HELLO = 1 << 14
_HANDSHAKE, _CLIENT_HELLO, _SERVER_NAME, _HOST_NAME = 22, 1, 0, 0


class NotTls(Exception):
    """The bytes are no ClientHello."""


def server_name(data: bytes) -> str | None:
    """Name that a ClientHello asks for, lower case, empty when it names none; None when bytes are missing.

    Raises NotTls.
    """
    if len(data) < 5:
        return None
    length = int.from_bytes(data[3:5], "big")
    if data[0] != _HANDSHAKE or data[1] != 3 or not 4 < length <= MAX_HELLO:
        raise NotTls("no TLS handshake")
    if len(data) < 5 + length:
        return None
    body = _Reader(data[5 : 5 + length])
    if body.number(1) != _CLIENT_HELLO:
        raise NotTls("no ClientHello")
    hello = _Reader(body.block(3))
    hello.take(2 + 32)  # version and random
    hello.block(1)  # session
    hello.block(2)  # ciphers
    hello.block(1)  # compressions
    if not hello.left:
        return ""
    extensions = _Reader(hello.block(2))
    while extensions.left:
        kind, content = extensions.number(2), extensions.block(2)
        if kind == _SERVER_NAME:
            return _name(_Reader(_Reader(content).block(2)))
    return ""


def _name(names: "_Reader") -> str:
    if names.number(1) != _HOST_NAME:
        raise NotTls("an unknown kind of server name")
    name = names.block(2)
    if names.left:
        raise NotTls("more than one server name")
    try:
        return name.decode("ascii").lower().rstrip(".")
    except UnicodeDecodeError:
        raise NotTls("a server name that is not ASCII") from None


class _Reader:
    """Exact reads of numbers and of blocks that carry their length."""

    def __init__(self, data: bytes) -> None:
        self._data = data

    @property
    def left(self) -> int:
        return len(self._data)

    def take(self, count: int) -> bytes:
        if count > len(self._data):
            raise NotTls("it ends too early")
        taken, self._data = self._data[:count], self._data[count:]
        return taken

    def number(self, size: int) -> int:
        return int.from_bytes(self.take(size), "big")

    def block(self, size: int) -> bytes:
        """What a length of `size` bytes announces."""
        return self.take(self.number(size))
