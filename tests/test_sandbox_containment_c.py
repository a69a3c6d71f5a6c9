"""Group C: the network, the host's surface, and what of the host can be seen from inside."""

import contextlib
import getpass
import json
import os
import re
import socket
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from tests.containment_kit import Contained

pytestmark = [pytest.mark.containment, pytest.mark.container]

PROGRAMS = r"""
import json, os, shutil, subprocess, sys, time
target, port = sys.argv[1], sys.argv[2]
commands = [
    ["curl", "-sS", f"http://{target}:{port}/"], ["wget", "-qO-", f"http://{target}:{port}/"],
    ["nc", "-w", "3", target, port], ["telnet", target, port], ["ping", "-c1", "-W2", target],
    ["ssh", "-oBatchMode=yes", "-oConnectTimeout=3", "-p", port, target, "true"],
    ["socat", "-u", "FILE:/etc/hostname", f"TCP:{target}:{port},connect-timeout=3"],
    ["socat", "-u", "FILE:/etc/hostname", f"UDP:{target}:{port}"],
    ["openssl", "s_client", "-connect", f"{target}:{port}"],
    ["getent", "hosts", "example.org"],
    ["getent", "ahosts", "x.example.org"], ["dig", "example.org"], ["nslookup", "example.org"],
    ["git", "ls-remote", f"git://{target}:{port}/x"],
    ["pip", "download", "--retries=0", "--timeout=2", "six"],
    ["bash", "-c", f"echo data > /dev/tcp/{target}/{port}"],
    ["bash", "-c", f"echo data > /dev/udp/{target}/{port}"],
    ["perl", "-MIO::Socket::INET", "-e", f"IO::Socket::INET->new('{target}:{port}') or die"],
]
found = {}
for command in commands:
    name = " ".join(command)[:40]
    if shutil.which(command[0]) is None:
        found[name] = ["absent", 0.0]
        continue
    began = time.monotonic()
    try:
        code = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, timeout=20).returncode
    except subprocess.TimeoutExpired:
        code = "hangs"
    found[name] = [code, time.monotonic() - began]
print(json.dumps(found))
"""

SOCKETS = r"""
import errno, json, socket, sys, time
hosts, port, abstract, path = json.loads(sys.argv[1]), int(sys.argv[2]), sys.argv[3], sys.argv[4]
found = {}
def attempt(name, act):
    began = time.monotonic()
    try:
        act()
        outcome = "reached"
    except socket.gaierror:
        outcome = "no name"
    except OSError as error:
        outcome = errno.errorcode.get(error.errno, type(error).__name__)
    found[name] = [outcome, time.monotonic() - began]
def opened(family, kind, protocol, address, send):
    with socket.socket(family, kind, protocol) as made:
        made.settimeout(3)
        made.sendto(b"secret", address) if send else made.connect(address)
for host in hosts:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    for number in {port, 53, 80, 2375, 4243}:
        attempt(f"tcp {host} {number}", lambda: opened(family, socket.SOCK_STREAM, 0, (host, number), False))
    attempt(f"udp {host}", lambda: opened(family, socket.SOCK_DGRAM, 0, (host, port), True))
    attempt(f"dns {host}", lambda: opened(family, socket.SOCK_DGRAM, 0, (host, 53), True))
    attempt(f"sctp {host}", lambda: opened(family, socket.SOCK_STREAM, 132, (host, port), False))
    attempt(f"raw {host}", lambda: opened(family, socket.SOCK_RAW, 1, (host, 0), True))
    attempt(f"ping {host}", lambda: opened(family, socket.SOCK_DGRAM, 1, (host, 0), True))
attempt("packet", lambda: socket.socket(socket.AF_PACKET, socket.SOCK_RAW))
attempt("vsock", lambda: socket.socket(socket.AF_VSOCK, socket.SOCK_STREAM).connect((2, port)))
attempt("abstract", lambda: opened(socket.AF_UNIX, socket.SOCK_STREAM, 0, "\0" + abstract, False))
hidden = "\0" + abstract + "d"
attempt("abstract datagram", lambda: opened(socket.AF_UNIX, socket.SOCK_DGRAM, 0, hidden, True))
for name in (path, "/var/run/docker.sock", "/run/docker.sock", "/run/containerd/containerd.sock",
             "/run/podman/podman.sock", "/run/dbus/system_bus_socket", "/run/systemd/private"):
    attempt(f"unix {name}", lambda: opened(socket.AF_UNIX, socket.SOCK_STREAM, 0, name, False))
for name in ("secret-data.example.org", "host.docker.internal", "gateway.docker.internal",
             "metadata.google.internal", "_gateway", "sandbox.local"):
    attempt(f"name {name}", lambda: socket.getaddrinfo(name, 80))
print(json.dumps(found))
"""


@contextlib.contextmanager
def listening(contained: Contained) -> Iterator[tuple[int, list[str]]]:
    """Services of the host that anything with a way out would reach: TCP and UDP on all addresses, Unix."""
    heard: list[str] = []
    made: list[socket.socket] = []

    def serve(one: socket.socket, name: str) -> None:
        while True:
            try:
                if one.type == socket.SOCK_DGRAM:
                    one.recvfrom(100)
                else:
                    one.accept()[0].close()
            except OSError:
                return
            heard.append(name)

    abstract = f"\0{contained.run_id}"
    tcp = socket.create_server(("0.0.0.0", 0))  # on every address of the host: to be reachable is the point
    port = tcp.getsockname()[1]
    made.append(tcp)
    for family, kind, address in (
        (socket.AF_INET, socket.SOCK_DGRAM, ("0.0.0.0", port)),
        (socket.AF_UNIX, socket.SOCK_STREAM, abstract),
        (socket.AF_UNIX, socket.SOCK_DGRAM, abstract + "d"),
        (socket.AF_UNIX, socket.SOCK_STREAM, str(contained.tmp / "host.sock")),
    ):
        one = socket.socket(family, kind)
        one.bind(address)
        if kind == socket.SOCK_STREAM:
            one.listen()
        made.append(one)
    threads = [
        threading.Thread(target=serve, args=(one, f"{one.family.name} {one.type.name}")) for one in made
    ]
    for one, thread in zip(made, threads, strict=True):
        one.settimeout(30)
        thread.start()
    try:
        yield port, heard
    finally:
        for one in made:
            with contextlib.suppress(OSError):
                one.shutdown(socket.SHUT_RDWR)
            one.close()
        for thread in threads:
            thread.join(timeout=35)
        (contained.tmp / "host.sock").unlink()


def gateway(contained: Contained) -> str:
    """The host's address on the engine's bridge, where a container with a network would find it."""
    assert contained.client is not None
    found = contained.client.inspect_network("bridge")["IPAM"]["Config"]
    return str(found[0].get("Gateway") or found[0]["Subnet"].rpartition(".")[0] + ".1")


def addresses(contained: Contained) -> set[str]:
    """All of the host's own addresses, and the one on the engine's bridge."""
    found = {one.address for group in psutil.net_if_addrs().values() for one in group}
    own = {one for one in found if re.fullmatch(r"[0-9.]+", one) and not one.startswith("127.")}
    return own | {gateway(contained)}


def test_sandbox_c01_no_program_gets_out_and_none_hangs(contained: Contained) -> None:
    with listening(contained) as (port, heard):
        address = sorted(addresses(contained))[-1]
        with contained.sandbox({"out.py": PROGRAMS.encode()}, output_bytes=100_000) as box:
            result = box.run(f"python3 out.py {address} {port}", timeout_s=120)
        assert result.status == "ok", result.output
        found = json.loads(result.output)
        tried = {name: code for name, (code, _) in found.items() if code != "absent"}
        assert len(tried) >= 7
        assert {name: code for name, code in tried.items() if code in (0, "hangs")} == {}
        assert max(seconds for _, seconds in found.values()) < 8
        assert heard == []
        with socket.create_connection(("127.0.0.1", port), timeout=5):
            deadline = time.monotonic() + 10  # the service is there: the host itself reaches it
            while not heard and time.monotonic() < deadline:
                time.sleep(0.01)
    assert heard == ["AF_INET SOCK_STREAM"]


def test_sandbox_c01_no_kind_of_socket_gets_out(contained: Contained) -> None:
    others = addresses(contained) | {
        "127.0.0.1", "::1", "1.1.1.1", "2606:4700:4700::1111", "224.0.0.1", "ff02::1",
        "198.51.100.1",
    }  # fmt: skip
    found = reach_nothing(contained, others)
    assert found["packet"] == found["vsock"] == "EPERM"
    assert {found[f"raw {host}"] for host in others} == {"EPERM"}
    assert found["udp 1.1.1.1"] == "ENETUNREACH"
    assert found["tcp 2606:4700:4700::1111 80"] in ("ENETUNREACH", "EADDRNOTAVAIL")


def test_sandbox_c02_neither_names_nor_sockets_nor_metadata(contained: Contained) -> None:
    """Names carry no data out, and no address or socket of the host or its cloud answers."""
    found = reach_nothing(contained, {*addresses(contained), "169.254.169.254", "fd00:ec2::254"})
    assert found["tcp 169.254.169.254 80"] == found[f"dns {gateway(contained)}"] == "ENETUNREACH"
    assert found["abstract"] == "ECONNREFUSED"
    assert found["unix /var/run/docker.sock"] == "ENOENT"
    assert found["name host.docker.internal"] == "no name"
    with contained.sandbox() as box:
        shown = box.run(
            "find / -xdev -type s 2>/dev/null; cat /proc/net/unix /proc/net/route /proc/net/ipv6_route; "
            "ls /sys/class/net; cat /etc/resolv.conf",
            timeout_s=20,
        ).output.decode()
    lines = [line for line in shown.splitlines() if not line.startswith(("Num", "Iface", "#"))]
    assert [line for line in lines if "/" in line] == []
    assert "lo" in lines
    assert {line for line in lines if re.match(r"(eth|en|wl|docker|br)", line)} == set()
    assert [line for line in lines if "nameserver" in line] == ["nameserver 127.0.0.1"]


def reach_nothing(contained: Contained, hosts: set[str]) -> dict[str, str]:
    """Every kind of socket from inside, against services that listen on the host; gives what happened."""
    with listening(contained) as (port, heard):
        arguments = f"'{json.dumps(sorted(hosts))}' {port} {contained.run_id} {contained.tmp}/host.sock"
        with contained.sandbox({"out.py": SOCKETS.encode()}, output_bytes=200_000) as box:
            result = box.run(f"python3 out.py {arguments}", timeout_s=60)
        assert result.status == "ok", result.output
        found = json.loads(result.output)
        assert heard == []
        with socket.socket(socket.AF_UNIX) as one:
            one.connect(f"\0{contained.run_id}")  # the service is there
    outcomes = {name: str(outcome) for name, (outcome, _) in found.items()}
    # what a datagram to its own loopback reaches is the container itself
    inside = {f"{kind} {host}" for kind in ("udp", "dns") for host in ("127.0.0.1", "::1")}
    assert {name for name, outcome in outcomes.items() if outcome == "reached"} <= inside
    assert max(seconds for _, seconds in found.values()) < 4
    return outcomes


LOOK = r"""
exec 2>/dev/null
env; set; id; hostname; uname -a; git config -l; git config -l --global; cat ~/.gitconfig
for file in /proc/[0-9]*/environ /proc/[0-9]*/cmdline /proc/[0-9]*/mountinfo /proc/[0-9]*/mounts \
    /proc/[0-9]*/maps /proc/[0-9]*/cgroup /proc/mounts /proc/keys /proc/net/* /proc/sys/kernel/* \
    /proc/self/auxv /proc/cmdline /proc/version; do cat "$file" | tr '\0' '\n'; done
find / -xdev \( -path /proc -o -path /sys \) -prune -o -printf '%p %l\n'
find /etc /home /root /srv /mnt /media /opt /run /tmp /work /var/tmp /var/log -xdev -type f -size -200k \
    -exec cat {} +
find / -xdev \( -path /proc -o -path /sys \) -prune -o -type f -newer /etc/debian_version -size -100k \
    -exec cat {} +
true
"""


def test_sandbox_c04_nothing_tells_of_the_host_or_its_user(
    contained: Contained, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What may be known: the kernel, the engine's own directory in the mount table, the container's id."""
    home = tmp_path / "home-of-ada-lovelace"
    home.mkdir()
    monkeypatch.setenv("HOME", str(home))
    for name in ("USER", "LOGNAME"):
        monkeypatch.setenv(name, "ada-lovelace")
    secrets = {"AWS_SECRET_ACCESS_KEY": "c04-aws", "HTTPS_PROXY": "http://ada:c04-proxy@127.0.0.1:1"}
    for name, value in secrets.items():
        monkeypatch.setenv(name, value)
    (home / ".gitconfig").write_text("[user]\n\tname = Ada Lovelace\n\temail = ada@example.org\n")
    (home / ".docker").mkdir()
    (home / ".docker/config.json").write_text('{"proxies":{"default":{"httpProxy":"http://c04-docker"}}}')
    forbidden = {
        "c04-", "ada-lovelace", "Ada Lovelace", "ada@example.org", str(home), str(tmp_path),
        str(contained.tmp), str(contained.home), str(Path(__file__).parent.parent), sys.prefix,
        str(Path.cwd()), "adi.host", "adi.pid",
    }  # fmt: skip
    if getpass.getuser() != "root":
        forbidden |= {getpass.getuser(), os.path.expanduser("~" + getpass.getuser())}  # noqa: PTH111 - of a name
    with contained.sandbox(
        {"look.sh": LOOK.encode()}, output_bytes=30_000_000, output_stop_bytes=60_000_000
    ) as box:
        result = box.run("bash look.sh", timeout_s=60)
        name = box.run(
            "hostname; cat /etc/hostname /proc/sys/kernel/hostname; cut -f2- /etc/hosts", timeout_s=9
        )
    assert result.status == "ok"
    assert not result.truncated
    assert len(result.output) > 100_000
    assert b"PATH=" in result.output
    assert b"/work rw,nosuid,nodev" in result.output
    seen = result.output.replace(LOOK.encode(), b"")
    assert [word for word in sorted(forbidden) if word.encode() in seen] == []
    assert name.output.split()[:3] == [b"sandbox"] * 3
    assert socket.gethostname().encode() not in name.output.split()
    mounts = {line.split()[3] for line in seen.decode("utf-8", "replace").splitlines() if " - ext4 " in line}
    assert not any(mount.startswith(("/home", "/root", "/Users")) for mount in mounts)
