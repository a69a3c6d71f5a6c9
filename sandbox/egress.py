"""The one way out of the container that installs dependencies: a proxy on a unix socket with an allow-list.

The container itself has no network. Names are resolved here, the address is checked and then used, so that no
second answer can replace it. TLS is passed on unopened (CONNECT, RFC 9110 section 9.3.6), and the name inside
must be the name that was asked for. Plain HTTP is for registries on this machine only: one GET a connection.
"""

import contextlib
import select
import socket
import threading
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field, replace
from pathlib import Path
from types import TracebackType
from typing import Final
from urllib.parse import urlsplit

from sandbox.errors import SandboxError
from sandbox.hello import MAX_HELLO, NotTls, server_name
from sandbox.registries import Place, is_address, may_reach

SOCKET: Final = "proxy.sock"
_MAX_HEAD: Final = 16 * 1024
_MAX_NAMES: Final = 100
_CHUNK: Final = 1 << 16
_TICK_S: Final = 0.2

Resolver = Callable[[str, int], list[str]]
"""Addresses of a name; raises OSError."""


@dataclass(frozen=True, slots=True)
class EgressCaps:
    """Past the caps on bytes and connections everything is refused."""

    down_bytes: int = 4 * 1024**3
    up_bytes: int = 32 * 1024**2
    """Requests are small; more than this is somebody sending something away."""
    connections: int = 20_000
    at_once: int = 64
    head_s: float = 10.0
    connect_s: float = 15.0
    idle_s: float = 120.0


@dataclass(frozen=True, slots=True)
class Asked:
    """A host that was asked for, and what became of it."""

    host: str
    allowed: bool
    reason: str = ""
    """Why it was refused, or why an allowed one did not answer."""
    times: int = 1


@dataclass(slots=True)
class _Spent:
    down: int = 0
    up: int = 0
    connections: int = 0


class _Refused(Exception):
    """A request that is not answered with what it asked for."""

    def __init__(self, host: str, reason: str, *, allowed: bool = False) -> None:
        super().__init__(reason)
        self.asked = Asked(host[:253], allowed, reason)


def resolve(host: str, port: int) -> list[str]:
    """Addresses of a name as this machine sees it. Raises OSError."""
    found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    return list(dict.fromkeys(str(entry[4][0]) for entry in found))


@dataclass(slots=True)
class Egress:
    """Serves until it is closed; then every connection through it is cut."""

    folder: Path
    """Directory that will hold the socket and nothing else."""
    places: Iterable[Place]
    caps: EgressCaps = field(default_factory=EgressCaps)
    resolver: Resolver = resolve
    _allowed: dict[tuple[str, int], Place] = field(init=False)
    _listener: socket.socket = field(init=False)
    _spent: _Spent = field(init=False, default_factory=_Spent)
    _asked: dict[tuple[str, str], Asked] = field(init=False, default_factory=dict)
    _lock: threading.Lock = field(init=False, default_factory=threading.Lock)
    _over: threading.Event = field(init=False, default_factory=threading.Event)
    _slots: threading.BoundedSemaphore = field(init=False)
    _threads: list[threading.Thread] = field(init=False, default_factory=list)

    def __enter__(self) -> "Egress":
        self._allowed = {(place.host, place.port): place for place in self.places}
        self._slots = threading.BoundedSemaphore(self.caps.at_once)
        self._listener = socket.socket(socket.AF_UNIX)
        path = self.folder / SOCKET
        try:
            self._listener.bind(str(path))
            path.chmod(0o666)  # the commands' user is another one than ours; the folder above is closed
            self._listener.listen(64)
        except OSError as error:
            self._listener.close()
            raise SandboxError(f"no socket at {path}: {error}", "set TMPDIR to a short path") from error
        self._start(self._accept)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Cut everything; returns when no thread is left. May be called twice."""
        self._over.set()
        while self._threads:
            self._threads.pop().join()
        self._listener.close()
        (self.folder / SOCKET).unlink(missing_ok=True)

    @property
    def asked(self) -> tuple[Asked, ...]:
        """Every host that was asked for, in the order of the first time; at most _MAX_NAMES."""
        with self._lock:
            return tuple(self._asked.values())

    @property
    def down_bytes(self) -> int:
        return self._spent.down

    def _start(self, work: Callable[..., None], *arguments: object) -> None:
        thread = threading.Thread(target=work, args=arguments, daemon=True, name="adi-egress")
        self._threads.append(thread)
        thread.start()

    def _accept(self) -> None:
        while not self._over.is_set():
            if not select.select([self._listener], [], [], _TICK_S)[0]:
                continue
            client, _ = self._listener.accept()
            self._spent.connections += 1
            if not self._slots.acquire(blocking=False):
                client.close()
                continue
            self._threads[1:] = [thread for thread in self._threads[1:] if thread.is_alive()]
            self._start(self._serve, client)

    def _serve(self, client: socket.socket) -> None:
        with contextlib.closing(client), contextlib.suppress(OSError):
            try:
                self._answer(client)
            except _Refused as refused:
                self._note(refused.asked)
                text = f"refused by the sandbox: {refused.asked.reason}\n".encode()
                head = f"HTTP/1.1 403 Forbidden\r\nContent-Length: {len(text)}\r\nConnection: close\r\n\r\n"
                client.sendall(head.encode() + text)
            finally:
                self._slots.release()

    def _answer(self, client: socket.socket) -> None:
        head, rest = self._head(client)
        method, target, *_ = [*head.split(b"\r\n", 1)[0].decode("latin-1").split(" "), "", ""]
        if method == "CONNECT":
            place = self._place(*_host_and_port(target, 443), tls=True)
            with contextlib.closing(self._connect(place)) as server:
                client.sendall(b"HTTP/1.1 200 Connection established\r\n\r\n")
                hello = self._hello(client, rest, place)
                self._note(Asked(str(place), True))
                self._count(up=len(hello))
                server.sendall(hello)
                self._relay(client, server)
            return
        if method not in ("GET", "HEAD"):
            raise _Refused(target, f"the method {method[:20]!r} is not for this proxy")
        parts = urlsplit(target)
        if parts.scheme != "http" or parts.hostname is None:
            raise _Refused(target, "only CONNECT, or GET of an http address")
        place = self._place(parts.hostname.lower(), parts.port or 80, tls=False)
        self._note(Asked(str(place), True))
        with contextlib.closing(self._connect(place)) as server:
            path = parts.path or "/"
            server.sendall(_origin_form(head, method, f"{path}?{parts.query}" if parts.query else path))
            self._relay(client, server, up=False)

    def _head(self, client: socket.socket) -> tuple[bytes, bytes]:
        """The request's head, and what came behind it."""
        data = b""
        end = time.monotonic() + self.caps.head_s
        while b"\r\n\r\n" not in data:
            chunk = self._receive(client, end)
            data += chunk
            if not data:  # somebody only looked whether the socket is there
                raise ConnectionAbortedError
            if not chunk or len(data) > _MAX_HEAD:
                raise _Refused("?", "no HTTP request")
        head, _, rest = data.partition(b"\r\n\r\n")
        return head, rest

    def _hello(self, client: socket.socket, data: bytes, place: Place) -> bytes:
        """The client's first TLS record, once its name is the place's own."""
        end = time.monotonic() + self.caps.head_s
        try:
            while (name := server_name(data)) is None:
                chunk = self._receive(client, end)
                data += chunk
                if not chunk or len(data) > 2 * MAX_HELLO:
                    raise NotTls("it ends too early")
        except NotTls as error:
            raise _Refused(str(place), f"what was sent is no TLS: {error}") from None
        if name != place.host and not (not name and is_address(place.host)):
            raise _Refused(name or "?", f"another name inside a connection to {place}")
        return data

    def _receive(self, client: socket.socket, end: float) -> bytes:
        while time.monotonic() < end and not self._over.is_set():
            if select.select([client], [], [], _TICK_S)[0]:
                return client.recv(_CHUNK)
        return b""

    def _place(self, host: str, port: int, *, tls: bool) -> Place:
        place = self._allowed.get((host, port))
        if place is None or place.tls != tls:
            shown = host if port == 443 else f"{host}:{port}"
            raise _Refused(shown, "not on the allow-list")
        caps, spent = self.caps, self._spent
        if spent.connections > caps.connections:
            raise _Refused(str(place), f"more than {caps.connections} connections", allowed=True)
        return place

    def _connect(self, place: Place) -> socket.socket:
        """A connection to an address that was checked; no name is looked up a second time."""
        try:
            addresses = self.resolver(place.host, place.port)
        except OSError as error:
            raise _Refused(str(place), f"its name does not resolve: {error}", allowed=True) from None
        if not addresses or not all(may_reach(place, address) for address in addresses):
            raise _Refused(str(place), f"it stands for an inner address: {', '.join(addresses)[:100]}")
        reason = ""
        for address in addresses:
            try:
                return socket.create_connection((address, place.port), timeout=self.caps.connect_s)
            except OSError as error:
                reason = str(error)
        raise _Refused(str(place), f"it does not answer: {reason}", allowed=True)

    def _relay(self, client: socket.socket, server: socket.socket, *, up: bool = True) -> None:
        """Pass bytes both ways until the server ends, the client ends, or a cap is reached."""
        for end in (client, server):
            end.settimeout(self.caps.idle_s)
        open_ends, quiet = [client, server], time.monotonic()
        while server in open_ends and not self._over.is_set():
            ready = select.select(open_ends, [], [], _TICK_S)[0]
            if not ready and time.monotonic() - quiet > self.caps.idle_s:
                return
            for end in ready:
                quiet = time.monotonic()
                data = end.recv(_CHUNK)
                if not data:
                    open_ends.remove(end)
                    if end is client and up:
                        with contextlib.suppress(OSError):
                            server.shutdown(socket.SHUT_WR)
                elif end is server:
                    self._count(down=len(data))
                    client.sendall(data)
                elif up:
                    self._count(up=len(data))
                    server.sendall(data)

    def _count(self, *, down: int = 0, up: int = 0) -> None:
        """Raises OSError past a cap, which cuts the connection."""
        with self._lock:
            self._spent.down += down
            self._spent.up += up
            over = self._spent.down > self.caps.down_bytes or self._spent.up > self.caps.up_bytes
        if over:
            self._note(Asked("(all)", False, "the cap on bytes is reached"))
            raise ConnectionAbortedError("the cap on bytes is reached")

    def _note(self, asked: Asked) -> None:
        key = (asked.host, asked.reason)
        with self._lock:
            known = self._asked.get(key)
            if known is not None:
                self._asked[key] = replace(known, times=known.times + 1)
            elif len(self._asked) < _MAX_NAMES:
                self._asked[key] = asked


def _host_and_port(target: str, default: int) -> tuple[str, int]:
    host, colon, port = target.rpartition(":")
    if not colon or not port.isdigit():
        host, port = target, str(default)
    return host.strip("[]").lower().rstrip("."), int(port[:6])


def _origin_form(head: bytes, method: str, path: str) -> bytes:
    """The request as an origin server expects it, the connection to end after the answer."""
    kept = [
        line
        for line in head.split(b"\r\n")[1:]
        if not line.lower().startswith((b"connection:", b"proxy-", b"content-length:", b"transfer-encoding:"))
    ]
    first = f"{method} {path} HTTP/1.1".encode("latin-1")
    return b"\r\n".join([first, *kept, b"Connection: close", b"", b""])
