"""The way out of the installing container: what the allow-list lets through, and everything it refuses."""

import contextlib
import http.server
import socket
import ssl
import threading
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sandbox.egress import SOCKET, Egress, EgressCaps
from sandbox.errors import RegistryRefused
from sandbox.hello import NotTls, server_name
from sandbox.registries import DEFAULT, Place, may_reach, parse

HOSTILE = "evil.example"


class Echo:
    """A server on loopback that gives back what it gets, and counts who came."""

    def __init__(self) -> None:
        self.came = 0
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.port = self.listener.getsockname()[1]
        self.threads = [threading.Thread(target=self._accept)]
        self.threads[0].start()

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                client, _ = self.listener.accept()
                self.came += 1
                self.threads.append(threading.Thread(target=self._echo, args=(client,)))
                self.threads[-1].start()

    def _echo(self, client: socket.socket) -> None:
        with contextlib.closing(client), contextlib.suppress(OSError):
            while data := client.recv(65536):
                client.sendall(data)

    def close(self) -> None:
        with contextlib.suppress(OSError):
            self.listener.shutdown(socket.SHUT_RDWR)
        self.listener.close()
        for thread in self.threads:
            thread.join()


@pytest.fixture
def echo() -> Iterator[Echo]:
    server = Echo()
    yield server
    server.close()


@pytest.fixture
def folder() -> Iterator[Path]:
    """A short path: a unix socket's is at most 107 bytes."""
    with TemporaryDirectory(prefix="adi-e-") as name:
        yield Path(name)


def hello(name: str | None) -> bytes:
    """The first bytes that a real TLS client sends."""
    incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
    context = ssl.create_default_context()
    context.check_hostname = False
    with contextlib.suppress(ssl.SSLWantReadError):
        context.wrap_bio(incoming, outgoing, server_hostname=name).do_handshake()
    return outgoing.read()


def ask(folder: Path, *parts: bytes, to_end: bool = False) -> bytes:
    """Send the parts one after the other, each after an answer to the one before; all that came back."""
    with socket.socket(socket.AF_UNIX) as client:
        client.settimeout(5.0)
        client.connect(str(folder / SOCKET))
        got = b""
        with contextlib.suppress(ConnectionError):
            for part in parts:
                client.sendall(part)
                got += client.recv(65536)
            while to_end and (data := client.recv(65536)):
                got += data
        return got


def local(port: int, name: str = "mirror.example") -> Place:
    return Place(name, port, named=True)


def test_an_allowed_host_is_reached_and_its_bytes_are_passed_both_ways(folder: Path, echo: Echo) -> None:
    place, first = Place("127.0.0.1", echo.port, named=True), hello(None)
    with Egress(folder, [place]) as egress:
        got = ask(folder, f"CONNECT 127.0.0.1:{echo.port} HTTP/1.1\r\n\r\n".encode(), first, b"and more")
    assert got == b"HTTP/1.1 200 Connection established\r\n\r\n" + first + b"and more"
    assert [(one.host, one.allowed) for one in egress.asked] == [(f"127.0.0.1:{echo.port}", True)]
    assert egress.down_bytes == len(first) + len(b"and more")


@pytest.mark.parametrize(
    ("request_line", "named"),
    [
        ("CONNECT evil.example:443", "evil.example"),
        ("CONNECT pypi.org:22", "pypi.org:22"),
        ("CONNECT pypi.org.evil.example:443", "pypi.org.evil.example"),
        ("CONNECT evil.example:443:pypi.org:443", "evil.example:443:pypi.org"),
        ("CONNECT 169.254.169.254:80", "169.254.169.254:80"),
        ("CONNECT 127.0.0.1:443", "127.0.0.1"),
        ("CONNECT [::1]:443", "::1"),
        ("CONNECT host.docker.internal:443", "host.docker.internal"),
        ("GET http://pypi.org/simple/", "pypi.org:80"),
        ("GET https://pypi.org/simple/", "https://pypi.org/simple/"),
        ("POST http://pypi.org/simple/", "http://pypi.org/simple/"),
        ("GET /simple/", "/simple/"),
        ("", "?"),
    ],
)
def test_everything_else_is_refused_and_named(folder: Path, request_line: str, named: str) -> None:
    with Egress(folder, parse(DEFAULT).places("pypi"), EgressCaps(head_s=0.3)) as egress:
        got = ask(folder, f"{request_line} HTTP/1.1\r\n\r\n".encode() if request_line else b"\r\n")
    assert got.startswith(b"HTTP/1.1 403 Forbidden\r\n")
    assert [(one.host, one.allowed) for one in egress.asked] == [(named, False)]


@pytest.mark.parametrize("name", [HOSTILE, None])
def test_the_name_inside_tls_must_be_the_one_that_was_asked_for(
    folder: Path, echo: Echo, name: str | None
) -> None:
    """Many names live behind one address of a content network: CONNECT to one, TLS to the other."""
    place = local(echo.port)
    with Egress(folder, [place], resolver=lambda _h, _p: ["127.0.0.1"]) as egress:
        got = ask(folder, f"CONNECT mirror.example:{echo.port} HTTP/1.1\r\n\r\n".encode(), hello(name))
    assert b"200" not in got  # a name of the network that stands for this machine is refused before that
    assert not egress.asked[0].allowed

    place = Place("localhost", echo.port, named=True)
    with Egress(folder, [place]) as egress:
        got = ask(folder, f"CONNECT localhost:{echo.port} HTTP/1.1\r\n\r\n".encode(), hello(name))
    assert b"another name inside a connection to localhost" in got
    assert [(one.host, one.allowed) for one in egress.asked] == [(name or "?", False)]


def test_what_is_no_tls_does_not_get_through(folder: Path, echo: Echo) -> None:
    place = Place("localhost", echo.port, named=True)
    with Egress(folder, [place]) as egress:
        got = ask(folder, f"CONNECT localhost:{echo.port} HTTP/1.1\r\n\r\n".encode(), b"SSH-2.0-client\r\n")
    assert b"no TLS" in got
    assert b"SSH" not in got
    assert not egress.asked[0].allowed


@pytest.mark.parametrize(
    ("named", "address", "allowed"),
    [
        (False, "151.101.0.223", True),
        (False, "2a04:4e42::223", True),
        (False, "203.0.113.80", True),
        (False, "127.0.0.1", False),
        (False, "::1", False),
        (False, "::ffff:127.0.0.1", False),
        (False, "64:ff9b::7f00:1", False),
        (False, "100.64.0.9", False),
        (False, "fd00::1", False),
        (False, "0.0.0.0", False),
        (False, "169.254.169.254", False),
        (True, "fd00::1", True),
        (True, "100.64.0.9", True),
        (True, "127.0.0.1", False),
        (True, "169.254.169.254", False),
        (True, "fe80::1%eth0", False),
        (True, "fd00:ec2::254", False),
        (True, "100.100.100.200", False),
        (True, "224.0.0.1", False),
    ],
)
def test_which_addresses_a_name_may_stand_for(named: bool, address: str, allowed: bool) -> None:
    assert may_reach(Place("mirror.example", 443, named=named), address) is allowed


def test_the_address_that_was_checked_is_the_one_that_is_used(folder: Path, echo: Echo) -> None:
    """A name whose second answer is another address (DNS rebinding) is asked once."""
    asked: list[str] = []

    def rebinding(host: str, _port: int) -> list[str]:
        asked.append(host)
        return ["198.51.100.1", "127.0.0.1"]

    with Egress(folder, [Place("pypi.org", echo.port)], resolver=rebinding) as egress:
        got = ask(folder, f"CONNECT pypi.org:{echo.port} HTTP/1.1\r\n\r\n".encode(), hello("pypi.org"))
    assert b"inner address" in got
    assert asked == ["pypi.org"]
    assert echo.came == 0
    assert not egress.asked[0].allowed


def test_too_much_sent_away_cuts_the_connection_and_what_follows(folder: Path, echo: Echo) -> None:
    place, first = Place("127.0.0.1", echo.port, named=True), hello(None)
    connect = f"CONNECT 127.0.0.1:{echo.port} HTTP/1.1\r\n\r\n".encode()
    with Egress(folder, [place], EgressCaps(up_bytes=len(first) + 10)) as egress:
        assert first in ask(folder, connect, first)
        assert b"secret" not in ask(folder, connect, first, b"secret" * 4)
    assert "the cap on bytes is reached" in {one.reason for one in egress.asked}


def test_a_slow_or_endless_head_holds_nothing_up(folder: Path) -> None:
    with Egress(folder, parse(DEFAULT).places("pypi"), EgressCaps(head_s=0.3, at_once=2)):
        assert b"403" in ask(folder, b"CONNECT pypi.org")
        assert b"403" in ask(folder, b"x" * 40_000)


def test_it_ends_with_the_step_and_leaves_no_thread(folder: Path, echo: Echo) -> None:
    before = set(threading.enumerate())
    place = Place("127.0.0.1", echo.port, named=True)
    with socket.socket(socket.AF_UNIX) as client, Egress(folder, [place]):
        client.connect(str(folder / SOCKET))
        client.sendall(f"CONNECT 127.0.0.1:{echo.port} HTTP/1.1\r\n\r\n".encode())
        assert client.recv(100).startswith(b"HTTP/1.1 200")
    mine = {thread for thread in set(threading.enumerate()) - before if thread.name == "adi-egress"}
    assert mine == set()
    assert not list(folder.iterdir())


class _Pages(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        body = f"{self.path} {self.headers.get('Proxy-Authorization')}".encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:
        pass


def test_plain_http_reaches_only_the_registry_on_this_machine(folder: Path) -> None:
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), _Pages) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        port = server.server_address[1]
        places = parse([f"pypi+http://127.0.0.1:{port}/simple"]).places("pypi")
        target = f"http://127.0.0.1:{port}/simple/x/?a=b"
        with Egress(folder, places) as egress:
            got = ask(
                folder,
                f"GET {target} HTTP/1.1\r\nHost: x\r\nProxy-Authorization: p\r\n\r\n".encode(),
                to_end=True,
            )
            # a second request in the same connection goes nowhere
            second = f"GET {target} HTTP/1.1\r\nHost: x\r\n\r\nGET /other HTTP/1.1\r\nHost: x\r\n\r\n"
            assert b"/other" not in ask(folder, second.encode(), to_end=True)
        server.shutdown()
        thread.join()
    assert got.endswith(b"/simple/x/?a=b None")
    assert [one.times for one in egress.asked] == [2]


@pytest.mark.parametrize(
    "entries",
    [
        [],
        ["pypi.org"],
        ["pypi+ftp://pypi.org/simple"],
        ["https://*.pypi.org"],
        ["https://"],
        ["pypi+http://mirror.example/simple"],
        ["https://pypi.org:port"],
        ["https://pypi.org/?x=y"],
        ["https://pypi.org", "nonsense"],
        ["pypi+https://a.example/simple", "pypi+https://b.example/simple"],
        ["https://ma\nil.example"],
    ],
)
def test_one_bad_entry_closes_the_list(entries: list[str]) -> None:
    with pytest.raises(RegistryRefused) as caught:
        parse(entries)
    assert caught.value.hint


@pytest.mark.parametrize(
    "url", ["https://user:hunter2@pypi.org/simple", "ftp://:hunter2@x", "https://token@x"]
)
def test_a_registry_with_a_password_is_refused_and_not_repeated(url: str) -> None:
    with pytest.raises(RegistryRefused, match="no secret enters") as caught:
        parse([f"pypi+{url}"])
    assert "hunter2" not in str(caught.value) + caught.value.hint
    assert "token" not in str(caught.value)


def test_the_default_list_is_the_public_indexes_by_tls_each_for_its_own_kind() -> None:
    found = parse(DEFAULT)
    assert set(map(str, found.places("pypi"))) == {"pypi.org", "files.pythonhosted.org"}
    assert set(map(str, found.places("npm"))) == {"files.pythonhosted.org", "registry.npmjs.org"}
    assert all(place.tls and not place.named for kind in ("pypi", "npm") for place in found.places(kind))


@settings(deadline=None)
@given(st.binary(max_size=200))
def test_no_bytes_break_the_reader_of_names(data: bytes) -> None:
    with contextlib.suppress(NotTls):
        assert server_name(b"\x16\x03\x01" + len(data).to_bytes(2, "big") + data) is not None


def test_a_real_hello_tells_its_name_when_it_is_whole() -> None:
    whole = hello("PyPI.org")
    assert server_name(whole) == "pypi.org"
    assert server_name(hello(None)) == ""
    assert all(server_name(whole[:cut]) is None for cut in (0, 4, 5, 100, len(whole) - 1))
