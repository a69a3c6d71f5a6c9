"""Personal data and what tells a host: e-mail and IP addresses, telephone numbers, homes, names.

Each gets a pseudonym that is the same wherever the same value stands, within an export and across exports.
It comes from a keyed hash (HMAC-SHA-256): who does not have the key, which never leaves ADI's data directory,
cannot try values against it.

What stays: addresses that are made for documentation or lead nowhere (`example.com`, `127.0.0.1`, private
networks), version numbers, accounts of services (`git@github.com`), and names that tell nobody (`root`).
"""

import contextlib
import getpass
import hashlib
import hmac
import ipaddress
import os
import re
import secrets
import socket
import tempfile
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from feedback.errors import DataError

KEY_FILE: Final = "pseudonyms.key"
KEY_BYTES: Final = 32
DIGITS: Final = 8
"""Hexadecimal digits of a pseudonym: of 10,000 people, two share one with a chance of 1 in 86."""


def load_key(folder: Path) -> bytes:
    """The key of this user's pseudonyms, made when first asked for, for its owner only. Raises DataError."""
    path = folder / KEY_FILE
    try:
        folder.mkdir(parents=True, exist_ok=True)
        if not path.exists():
            _make(path)
        handle = os.open(path, os.O_RDONLY | getattr(os, "O_NOFOLLOW", 0))
        with os.fdopen(handle, "rb") as file:
            if os.fstat(handle).st_mode & 0o077:
                os.fchmod(handle, 0o600)
            key = file.read()
    except OSError as error:
        raise DataError(
            f"{path} cannot be read or made: {error.strerror}", "it must be a file of your own"
        ) from error
    if len(key) != KEY_BYTES:
        raise DataError(
            f"{path} is no key: {len(key)} bytes", f"delete {path}; pseudonyms will be others from then on"
        )
    return key


def _make(path: Path) -> None:
    """Written beside its place and linked there whole: of two processes one wins, and both read the same."""
    handle, fresh = tempfile.mkstemp(dir=path.parent, prefix=f".{KEY_FILE}.")  # its mode is 0600
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(secrets.token_bytes(KEY_BYTES))
            file.flush()
            os.fsync(handle)
        with contextlib.suppress(FileExistsError):
            os.link(fresh, path)
    finally:
        Path(fresh).unlink()


class Pseudonyms:
    """Names that stand for values: the same key and value give the same name."""

    def __init__(self, key: bytes) -> None:
        if len(key) < 16:
            raise ValueError("a key has at least 16 bytes")
        self._key = key

    def of(self, kind: str, value: str) -> str:
        """Such as `user-1f3a9c04`."""
        told = hmac.new(self._key, f"{kind}\0{value}".encode("utf-8", "surrogatepass"), hashlib.sha256)
        return f"{kind}-{told.hexdigest()[:DIGITS]}"


@dataclass(frozen=True, slots=True)
class Machine:
    """What tells the machine and its user apart from others; empty texts are nothing to look for."""

    user: str = ""
    host: str = ""
    home: str = ""
    paths: tuple[str, ...] = ()
    """Absolute folders of the host, such as ADI's own."""

    @classmethod
    def here(cls, *paths: Path | str) -> "Machine":
        """This machine, and folders on it."""
        try:
            user = getpass.getuser()
        except (OSError, KeyError):
            user = ""
        return cls(user, socket.gethostname(), str(Path.home()), tuple(str(path) for path in paths))


_COMMON: Final = frozenset(
    {
        "root", "user", "users", "admin", "administrator", "ubuntu", "debian", "fedora", "centos",
        "runner", "docker", "vagrant", "test", "tests", "guest", "home", "node", "app", "dev", "work",
        "build", "builder", "code", "coder", "agent", "adi", "git", "www", "data", "me", "you", "ada",
        "alice", "bob", "nobody", "daemon", "service", "jenkins", "travis", "circleci", "default",
        "public", "shared", "local", "localhost", "localdomain", "host", "machine", "laptop", "desktop",
        "server", "main", "master", "python", "name", "username", "linux", "windows", "macos", "system",
        "none",
    }
)  # fmt: skip
"""Names that tell nobody, or that a text holds for other reasons."""
_MARK = "@"
_EMAIL = re.compile(
    r"(?<![\w.+%@-])(?<!\w/)(?P<local>[A-Za-z0-9][A-Za-z0-9._%+-]{0,63})@(?P<domain>(?:[A-Za-z0-9](?:[A-Za-z0-9-]{0,61}[A-Za-z0-9])?\.)+"
    r"(?P<top>[A-Za-z]{2,24}))(?![\w(@-]|\.\w)"
)
_TOPS = frozenset(
    {
        "com", "org", "net", "edu", "gov", "mil", "int", "info", "biz", "name", "pro", "dev", "app", "io",
        "ai", "cloud", "tech", "online", "site", "xyz", "email", "mail", "me", "tv", "cc", "club", "shop",
        "blog", "page", "software", "systems", "solutions", "agency", "company", "consulting", "digital",
        "group", "network", "team", "world", "work", "zone", "codes", "engineering", "health", "science",
        "space", "store", "studio", "ventures", "berlin", "london", "paris", "wien", "koeln", "hamburg",
        "museum", "aero", "coop",
    }
)  # fmt: skip
_NO_TOPS = frozenset(
    {
        "py", "js", "ts", "md", "sh", "rs", "so", "cc", "pl", "pm", "ps", "go", "rb", "cs", "vb", "mk",
        "in",
    }
)  # fmt: skip
"""Endings of files that are countries too: an address that ends so needs a point more, or a known host."""
_RESERVED = re.compile(
    r"(?:^|\.)(?:example\.(?:com|org|net|edu)|example|invalid|test|localhost|local|localdomain|internal|noreply\.github\.com)$",
    re.IGNORECASE,
)
_SERVICE = frozenset(
    {
        "git", "hg", "svn", "noreply", "no-reply", "actions", "dependabot",
    }
)  # fmt: skip
_PERSON = re.compile(
    r"(?P<lead>\b(?:Author|Committer|Commit|Signed-off-by|Co-authored-by|Reviewed-by|Acked-by|Tested-by"
    r"|Reported-by|Suggested-by|Helped-by|From|Cc|author|committer):?[ \t]+)"
    r"(?P<name>[^\s<>@:][^<>@:\n\r]{0,60}?)(?=[ \t]+<[^\s<>]+@)"
)
_IPV4 = re.compile(r"(?<![\w.+-])(?:\d{1,3}\.){3}\d{1,3}(?![\w-]|\.\d)")
_VERSION = re.compile(r"(?:version|release|v|[=~<>^]=?|build|==)[ \t\"'=:]*$", re.IGNORECASE)
_IPV6 = re.compile(r"(?<![\w:.])[0-9A-Fa-f]{1,4}(?::{1,2}[0-9A-Fa-f]{1,4}){3,7}(?![\w:.])")
_PHONE = re.compile(
    r"(?<![\w.+/*=-])\+[1-9]\d{0,2}(?:[ .-]?\(0\))?(?:[ .-]?\(?\d{2,5}\)?){2,5}(?![\w-]|\.\d)"
)
_PHONE_US = re.compile(r"(?<![\w(])\([2-9]\d{2}\) ?[2-9]\d{2}-\d{4}(?![\w-])")
_HOMES = re.compile(
    r"(?P<lead>(?:(?<![\w.~-])|(?<=\\[nrt]))/(?:home|Users|media|run/media|var/folders|export/home)/|\b[A-Za-z]:(?:\\{1,4}|/)Users(?:\\{1,4}|/))"
    r"(?P<name>[A-Za-z0-9_][\w.@-]{0,62}(?<!\.)(?:(?: [\w.-]{1,30}){1,2}(?=\\))?)"
)
_ROOT = re.compile(r"(?:(?<![\w.~/>)\]-])|(?<=\\[nrt]))/root(?=/[\w.]|[\s\"'`:;,)\]]|$)")
_PSEUDONYM = re.compile(r"(?:user|host|path|repo|email|person)-[0-9a-f]{8}\b")
_SHARED = frozenset({"Shared", "Public", "All", "Default", "linuxbrew"})


class Personal:
    """Puts pseudonyms in place of personal data. Deterministic: the machine is given, not asked."""

    def __init__(
        self, pseudonyms: Pseudonyms, machine: Machine | None = None, repo: str = "", copy: str = ""
    ) -> None:
        """`copy` is where a copy of the repository was worked on; it gets the repository's pseudonym."""
        self._names = pseudonyms
        self._known = _known(machine or Machine(), repo, copy, pseudonyms)

    def text(self, text: str) -> tuple[str, Counter[str]]:
        """The text, and how many of each kind were replaced, such as `email`, `ip`, `home-path`."""
        counts: Counter[str] = Counter()
        for kind, rule, new in self._known:
            text, found = rule.subn(new, text)
            counts[kind] += found
        for kind, mark, rule, change in self._rules():
            if mark in text:
                text = _replaced(kind, rule, change, text, counts)
        return text, +counts

    def _rules(self) -> Sequence[tuple[str, str, "re.Pattern[str]", Callable[["re.Match[str]"], str]]]:
        return (
            ("person", _MARK, _PERSON, self._person),
            ("email", _MARK, _EMAIL, self._email),
            ("home-path", "/", _HOMES, self._home),
            ("home-path", "\\", _HOMES, self._home),
            ("home-path", "/root", _ROOT, lambda _: f"/home/{self._names.of('user', 'root')}"),
            ("ip", ".", _IPV4, self._ip),
            ("ip", ":", _IPV6, self._ip),
            ("phone", "+", _PHONE, self._phone),
            ("phone", "(", _PHONE_US, self._phone),
        )

    def _person(self, found: "re.Match[str]") -> str:
        if _PSEUDONYM.fullmatch(found["name"]):
            return found[0]
        return f"{found['lead']}{self._names.of('person', found['name'].casefold())}"

    def _email(self, found: "re.Match[str]") -> str:
        domain, top = found["domain"].lower(), found["top"]
        known = top.lower() in _TOPS or (len(top) == 2 and top.lower() not in _NO_TOPS)
        if (
            not known
            or _RESERVED.search(domain)
            or found["local"].lower() in _SERVICE
            or not re.search("[a-z]", domain)
        ):
            return found[0]
        value = f"{found['local']}@{domain}".lower()
        return f"{self._names.of('user', value)}@example.invalid"

    def _home(self, found: "re.Match[str]") -> str:
        name = found["name"]
        if name in _SHARED or _PSEUDONYM.fullmatch(name):
            return found[0]
        return f"{found['lead']}{self._names.of('user', name)}"

    def _ip(self, found: "re.Match[str]") -> str:
        text, before = found[0], found.string[max(0, found.start() - 16) : found.start()]
        try:
            address = ipaddress.ip_address(text)
        except ValueError:
            return text
        if not address.is_global or address.is_multicast:
            return text
        if (
            address.version == 4
            and (max(address.packed) < 32 or _VERSION.search(before))
            and "://" not in before
        ):
            return text
        if address.version == 6 and not (0x2000 <= int.from_bytes(address.packed[:2], "big") < 0x4000):
            return text
        return f"<{self._names.of('ip', str(address)).replace('-', ':')}>"

    def _phone(self, found: "re.Match[str]") -> str:
        digits = re.sub(r"\D", "", found[0])
        begins = found.start() == 0 or found.string[found.start() - 1] == "\n"
        signs = len(re.findall(r"[ .()-]+", found[0].strip()))
        if not 10 <= len(digits) <= 15 or digits[-7:-2] == "55501" or (begins and signs < 2):
            return found[0]
        return f"<{self._names.of('phone', digits).replace('-', ':')}>"


def _replaced(
    kind: str,
    rule: "re.Pattern[str]",
    change: Callable[["re.Match[str]"], str],
    text: str,
    counts: Counter[str],
) -> str:
    def changed(found: "re.Match[str]") -> str:
        new = change(found)
        counts[kind] += new != found[0]
        return new

    return rule.sub(changed, text)


def _known(
    machine: Machine, repo: str, copy: str, names: Pseudonyms
) -> list[tuple[str, "re.Pattern[str]", str]]:
    """Rules for what is known of the host: the longest paths first, then names."""
    rules = list[tuple[str, "re.Pattern[str]", str]]()
    repo, copy = ("" if _PSEUDONYM.fullmatch(place[1:]) else place for place in (repo, copy))
    paths = {place: ("repo-path", f"/{names.of('repo', repo)}") for place in (repo, copy) if repo and place}
    parent = str(Path(repo).parent) if repo else ""
    for path in (*machine.paths, *([parent] if parent.count("/") > 1 else [])):
        paths.setdefault(path.rstrip("/"), ("host-path", f"/{names.of('path', path.rstrip('/'))}"))
    if machine.home.count("/") > 1 or machine.home == "/root":
        user = machine.home.rpartition("/")[2]
        paths.setdefault(machine.home, ("home-path", f"/home/{names.of('user', user)}"))
    for path, (kind, new) in sorted(paths.items(), key=lambda item: (-len(item[0]), item[0])):
        if len(path) > 3:
            rules.append(
                (kind, re.compile(rf"(?:(?<![\w.~/-])|(?<=\\[nrt])){re.escape(path)}(?![\w-]|\.\w)"), new)
            )
    for kind, name in (
        ("user", machine.user),
        ("host", machine.host),
        ("host", machine.host.partition(".")[0]),
    ):
        if len(name) >= 4 and name.casefold() not in _COMMON:
            rule = re.compile(rf"(?<![A-Za-z0-9_-]){re.escape(name)}(?![A-Za-z0-9_-])", re.IGNORECASE)
            rules.append((f"{kind}-name", rule, names.of(kind, name.casefold() if kind == "host" else name)))
    return rules
