"""The allow-list of the step that installs dependencies: which hosts it may reach, and no other.

An entry is a URL. `pypi+` before it makes it the index that pip asks, `npm+` the registry that npm asks; a
plain URL only names a host that may be reached, such as the one that holds an index's files.
An empty list means that nothing may be reached (CVE-2025-66479: it once meant everything).
"""

import ipaddress
from collections.abc import Iterable
from dataclasses import dataclass
from urllib.parse import urlsplit

from sandbox.errors import RegistryRefused

DEFAULT = (
    "pypi+https://pypi.org/simple",
    "https://files.pythonhosted.org",
    "npm+https://registry.npmjs.org",
)
_KINDS = ("pypi", "npm")
_PORTS = {"https": 443, "http": 80}


@dataclass(frozen=True, slots=True)
class Place:
    """One host and port that may be reached."""

    host: str
    """Lower case; a name or an address, exactly as the list has it."""
    port: int
    tls: bool = True
    named: bool = False
    """The user wrote it down, so its address may lie in a private network."""

    @property
    def is_loopback(self) -> bool:
        return self.host == "localhost" or (is_address(self.host) and _address(self.host).is_loopback)

    def __str__(self) -> str:
        host = f"[{self.host}]" if ":" in self.host else self.host
        return host if self.port == _PORTS["https"] and self.tls else f"{host}:{self.port}"


@dataclass(frozen=True, slots=True)
class Registries:
    """A checked allow-list."""

    entries: tuple[str, ...]
    hosts: dict[str, tuple[Place, ...]]
    """Kind of the entry to its hosts; empty for plain URLs."""
    indexes: dict[str, str]
    """`pypi` and `npm`, as far as they are listed, to the URL without the prefix."""

    def places(self, kind: str) -> tuple[Place, ...]:
        """What installing from one kind of index may reach: not the other index, whose users can publish."""
        return tuple(dict.fromkeys((*self.hosts.get(kind, ()), *self.hosts.get("", ()))))


def parse(entries: Iterable[str]) -> Registries:
    """Check every entry. Raises RegistryRefused: one bad entry closes the whole list."""
    entries = tuple(entries)
    if not entries:
        raise RegistryRefused(
            "sandbox.registries is an empty list: nothing may be reached, so nothing can be installed",
            "name the registries in your own configuration, or remove the key for the public ones",
        )
    hosts: dict[str, tuple[Place, ...]] = {}
    indexes: dict[str, str] = {}
    for entry in entries:
        kind, plus, url = entry.partition("+")
        if not plus or kind not in _KINDS:
            kind, url = "", entry
        place = _place(url, named=entry not in DEFAULT)
        hosts[kind] = (*hosts.get(kind, ()), place)
        if kind and indexes.setdefault(kind, url.rstrip("/")) != url.rstrip("/"):
            raise RegistryRefused(f"sandbox.registries names two for {kind}", "leave one of them")
    return Registries(entries, hosts, indexes)


def _place(url: str, *, named: bool) -> Place:
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError:
        raise _refused(url, "it is no URL") from None
    host = (parts.hostname or "").rstrip(".")
    if parts.username is not None or parts.password is not None:
        raise RegistryRefused(
            f"the registry at {host} comes with a user or a password, and no secret enters a container",
            "use a mirror that needs no login, or a proxy on this machine that adds it",
        )
    if parts.scheme not in _PORTS or not host:
        raise _refused(url, "it is no URL of the form https://host/path")
    if parts.query or parts.fragment or any(char <= " " or char in "*\\%" for char in url):
        raise _refused(url, "it must be a plain URL, without wildcard, query or fragment")
    place = Place(host, port or _PORTS[parts.scheme], parts.scheme == "https", named)
    if not place.tls and not place.is_loopback:
        raise _refused(url, "plain http is for this machine's own addresses only")
    return place


def _refused(url: str, reason: str) -> RegistryRefused:
    hint = "write it as pypi+https://host/simple, npm+https://host/path or https://host"
    return RegistryRefused(f"sandbox.registries: {url[:200]!r} is refused: {reason}", hint)


Address = ipaddress.IPv4Address | ipaddress.IPv6Address

_METADATA = frozenset(map(ipaddress.ip_address, ("169.254.169.254", "100.100.100.200", "fd00:ec2::254")))
"""Where clouds hand out credentials to whoever asks from inside."""
_NAT64 = ipaddress.ip_network("64:ff9b::/96")
_EXAMPLES = tuple(
    map(ipaddress.ip_network, ("192.0.2.0/24", "198.51.100.0/24", "203.0.113.0/24", "2001:db8::/32"))
)
"""Blocks for documentation (RFC 5737, RFC 3849): nobody's network, but some gateways answer with them."""


def _address(text: str) -> Address:
    found = ipaddress.ip_address(text.partition("%")[0])
    if isinstance(found, ipaddress.IPv6Address):
        if found.ipv4_mapped is not None:
            return found.ipv4_mapped
        if found in _NAT64:
            return ipaddress.IPv4Address(int(found) & 0xFFFFFFFF)
    return found


def is_address(host: str) -> bool:
    """True for an IP address, False for a name."""
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return False
    return True


def may_reach(place: Place, address: str) -> bool:
    """Whether a host may stand for this address: never metadata, and no inner network unasked."""
    found = _address(address)
    if found in _METADATA or found.is_link_local or found.is_multicast or found.is_unspecified:
        return False
    if found.is_loopback:
        return place.is_loopback
    return found.is_global or place.named or any(found in block for block in _EXAMPLES)
