"""Known ways out of a container, by the version of the runtime that starts it.

Only what lets code inside a container reach the machine through runc, the runtime of plain containers. Left
out: escapes through the machine's kernel (its distribution's matter) and through BuildKit (no stranger's
Dockerfile is built); CVE-2020-15257 of containerd (needs the host's network); CVE-2024-41110 of moby (past an
authorisation plugin, from the engine's socket, which no container has).
Source: the CVE records (github.com/CVEProject/cvelistV5) and the advisories named. The newest entry is of
2025-11-06: what was published later is not known here.
"""

import gzip
import re
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Literal

from sandbox.isolation import Isolation, is_local

Version = tuple[int, int, int, float]
"""Major, minor, patch, release candidate; a release is candidate infinity."""
State = Literal["open", "unknown", "fixed"]

CHANGELOGS: Final = Path("/usr/share/doc")
_DISTRIBUTION = re.compile(r"deb|ubuntu|[+~]ds|dfsg|\.el\d|\.fc\d|amzn|-\d+ubuntu", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Advisory:
    """One published escape."""

    cve: str
    source: str
    fixed: tuple[str, ...]
    """First good version of each branch, oldest first; older branches have none."""
    since: str = "0.0"

    def affects(self, version: Version) -> bool:
        if version < _parse(self.since):
            return False
        fixes = [_parse(fix) for fix in self.fixed]
        same = [fix for fix in fixes if fix[:2] == version[:2]]
        return version < same[0] if same else version[:2] < fixes[-1][:2]


_NOVEMBER_2025 = ("1.2.8", "1.3.3", "1.4.0-rc.3")
RUNC: Final = (
    Advisory("CVE-2019-5736", "openwall.com/lists/oss-security/2019/02/11/2", ("1.0.0-rc7",)),
    Advisory("CVE-2021-30465", "GHSA-c3xm-pvg7-gh7r", ("1.0.0-rc95",)),
    Advisory("CVE-2024-21626", "GHSA-xr7r-f8xq-vfvv", ("1.1.12",), since="1.0.0-rc93"),
    Advisory("CVE-2025-31133", "GHSA-9493-h29p-rfm2", _NOVEMBER_2025),
    Advisory("CVE-2025-52565", "GHSA-qw9x-cqr3-wc7r", _NOVEMBER_2025, since="1.0.0-rc3"),
    Advisory("CVE-2025-52881", "GHSA-cgrx-mc8f-2prm", _NOVEMBER_2025),
)


@dataclass(frozen=True, slots=True)
class Known:
    """Whether one escape is open in the runtime of an engine."""

    advisory: Advisory
    state: State
    """`fixed`: the distribution's changelog names it; `unknown`: it may be fixed, and nothing here tells."""


def known_escapes(isolation: Isolation, changelogs: Path = CHANGELOGS) -> tuple[str, list[Known]]:
    """The build of runc that starts the containers, and the escapes of its upstream version.

    Empty where another runtime starts them, or where the engine does not tell runc's version.
    """
    if not isolation.runtime.removeprefix("io.containerd.").startswith("runc"):
        return "", []
    version, commit = isolation.engine.builds.get("runc", ("", ""))
    if not re.match(r"v?\d+\.\d+", version):
        return "", []
    build = commit if _DISTRIBUTION.search(commit) else version
    found = [advisory for advisory in RUNC if advisory.affects(_parse(version))]
    if not _DISTRIBUTION.search(build):
        return f"runc {build}", [Known(advisory, "open") for advisory in found]
    named = _named_in_changelog("runc", build, changelogs) if is_local() else None
    return f"runc {build}", [Known(advisory, _state(advisory, named)) for advisory in found]


def describe(build: str, known: Iterable[Known]) -> str:
    """One line on escapes that are open or may be; empty when there are none."""
    parts = []
    for state, words in (("open", "known escapes not fixed"), ("unknown", "known escapes, perhaps fixed")):
        found = [one.advisory for one in known if one.state == state]
        if found:
            names = ", ".join(advisory.cve for advisory in found)
            fixes = ", ".join(dict.fromkeys(fix for advisory in found for fix in advisory.fixed))
            parts.append(f"{words} in {build}: {names} (fixed upstream in {fixes})")
    return "; ".join(parts)


def _state(advisory: Advisory, named: frozenset[str] | None) -> State:
    if named is None:
        return "unknown"
    return "fixed" if advisory.cve in named else "open"


def _named_in_changelog(package: str, build: str, changelogs: Path) -> frozenset[str] | None:
    """CVE ids in the distribution's changelog of this very build; None where that is not on this machine."""
    path = changelogs / package / "changelog.Debian.gz"
    try:
        with gzip.open(path, "rt", encoding="utf-8", errors="replace") as stream:
            text = stream.read(4 * 1024**2)
    except (OSError, EOFError):
        return None
    head = re.match(r"\S+ \(([^)]+)\)", text)
    if head is None or head[1] != build:
        return None
    return frozenset(re.findall(r"CVE-\d{4}-\d{4,}", text))


def _parse(text: str) -> Version:
    """`1.1.5+ds1`, `1.4.0~rc.2`, `1.0-rc6`. Raises ValueError for what begins with no number."""
    found = re.match(r"v?(\d+)\.(\d+)(?:\.(\d+))?(?:[-~+.]?rc\.?(\d+))?", text)
    if found is None:
        raise ValueError(f"no version: {text!r}")
    major, minor, patch, candidate = found.groups()
    return int(major), int(minor), int(patch or 0), float(candidate or "inf")
