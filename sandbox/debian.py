"""Work on the Debian or Ubuntu host itself: its packages, and an image made of them where no registry is."""

import os
import re
import shutil
import subprocess
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from sandbox.errors import ImageMissing, SandboxError

if TYPE_CHECKING:
    from docker import APIClient

Progress = Callable[[str], None]

_NAMESPACES = ("unshare", "--mount", "--pid", "--fork", "--kill-child")
_IMPORT_S = 600.0
_LOCK_S = 300
"""Longest wait for another apt to finish, in seconds."""
_LEFT_OUT = (
    "./dev/*",
    "./proc/*",
    "./sys/*",
    "./tmp/*",
    "./var/cache/*",
    "./var/lib/apt/lists/*",
    "./var/log/*",
)


def is_debian() -> bool:
    """True on Debian, Ubuntu and what is derived from them."""
    return shutil.which("apt-get") is not None and shutil.which("dpkg") is not None


def can_install() -> bool:
    """True when this process may install packages here."""
    return is_debian() and os.geteuid() == 0


def install(packages: Sequence[str], progress: Progress) -> None:
    """Install packages of the distribution. Raises SandboxError with apt's last words."""
    environment = {**os.environ, "DEBIAN_FRONTEND": "noninteractive", "NEEDRESTART_MODE": "l"}
    apt = ["apt-get", "-q", "-y", "-o", f"DPkg::Lock::Timeout={_LOCK_S}"]
    done = None
    for command in (["update"], ["install", "--no-install-recommends", "--", *packages]):
        progress(f"apt-get {' '.join(word for word in command if not word.startswith('-'))}")
        done = subprocess.run(
            [*apt, *command], env=environment, capture_output=True, check=False, stdin=subprocess.DEVNULL
        )
    if done is None or done.returncode:
        words = done.stderr.decode("utf-8", "replace").strip()[-300:] if done else ""
        raise SandboxError(
            f"apt-get could not install {' '.join(packages)}: {words}", "run it by hand to see why"
        )


@dataclass(frozen=True, slots=True)
class System:
    """What a minimal system holds beyond the essential packages."""

    packages: Sequence[str]
    """With dependencies so plain that debootstrap resolves them: one pass, no package lists fetched twice."""
    extra: Sequence[str]
    """The rest, which needs apt's own resolver."""
    setup: str
    """Shell commands to run in it at the end."""


def make(
    client: "APIClient", tag: str, system: System, labels: Mapping[str, str], progress: Progress
) -> None:
    """An image of a minimal system with the packages. Raises ImageMissing with the command that helps."""
    if not can_install():
        raise ImageMissing(
            "no sandbox image, no reachable container registry, and this is not root on Debian or Ubuntu",
            "make the image as root: sudo adi doctor --fix",
        )
    if shutil.which("debootstrap") is None:
        install(["debootstrap"], progress)
    suite, mirror = _release()
    with tempfile.TemporaryDirectory(prefix="adi-image-", ignore_cleanup_errors=True) as folder:
        root = Path(folder) / "root"
        _debootstrap(root, suite, mirror, system.packages, progress)
        if system.extra:
            progress(f"installing {' '.join(system.extra)}")
            _apt_inside(root, system.extra)
        _inside(root, system.setup)
        for name in ("resolv.conf", "hostname"):  # the host's own, which debootstrap copied
            (root / "etc" / name).unlink(missing_ok=True)
        progress("importing into Docker")
        _import(client, root, tag, labels)


def _inside(root: Path, script: str, *arguments: str) -> None:
    """Run a shell script in the new system, in namespaces of its own. Raises ImageMissing."""
    command = [*_NAMESPACES, "chroot", str(root), "/bin/sh", "-ec", script, "adi", *arguments]
    environment = {
        "PATH": "/usr/sbin:/usr/bin:/sbin:/bin",
        "LC_ALL": "C",
        "DEBIAN_FRONTEND": "noninteractive",
    }
    done = subprocess.run(
        command, env=environment, capture_output=True, check=False, stdin=subprocess.DEVNULL, cwd="/"
    )
    if done.returncode:
        words = done.stderr.decode("utf-8", "replace").strip()[-300:]
        raise ImageMissing(f"a step inside the new image failed: {words}", "try again: adi doctor --fix")


def _apt_inside(root: Path, packages: Sequence[str]) -> None:
    """Install packages with the new system's own apt, which fetches as the host's apt does."""
    shown = subprocess.run(["apt-config", "dump", "Acquire"], capture_output=True, check=False).stdout
    fetching = root / "etc/apt/apt.conf.d/zz-host"
    fetching.write_bytes(shown)
    no_services = root / "usr/sbin/policy-rc.d"
    no_services.write_text("#!/bin/sh\nexit 101\n")
    no_services.chmod(0o755)
    try:
        _inside(
            root,
            "mount -t proc proc /proc; apt-get -q update; "
            'apt-get -q -y install --no-install-recommends -- "$@"; apt-get clean',
            *packages,
        )
    finally:
        fetching.unlink()
        no_services.unlink()


def _os_release(key: str) -> str:
    for line in Path("/etc/os-release").read_text(encoding="utf-8").splitlines():
        name, _, value = line.partition("=")
        if name == key:
            return value.strip().strip('"')
    return ""


def _release() -> tuple[str, str]:
    """Suite and mirror that this host installs from, as apt tells them. Raises ImageMissing."""
    codename = _os_release("VERSION_CODENAME")
    shown = subprocess.run(
        ["apt-get", "indextargets", "--format", "$(CREATED_BY) $(RELEASE) $(COMPONENT) $(SITE)"],
        capture_output=True,
        check=False,
    ).stdout.decode("utf-8", "replace")
    for line in shown.splitlines():
        kind, release, component, *site = line.split(" ", 3)
        if (kind, release, component) == ("Packages", codename, "main") and site:
            return codename, site[0]
    raise ImageMissing(
        f"apt names no mirror for {codename or 'this release'}",
        "check /etc/apt/sources.list, then: apt-get update",
    )


def _debootstrap(root: Path, suite: str, mirror: str, packages: Sequence[str], progress: Progress) -> None:
    """A minimal system at `root`. Raises ImageMissing with debootstrap's last words.

    It runs in namespaces of its own: what it mounts and starts ends with it, however it ends.
    """
    command = [
        *_NAMESPACES,
        *("debootstrap", "--variant=minbase", f"--include={','.join(packages)}"),
        f"--components={'main,universe' if _os_release('ID') == 'ubuntu' else 'main'}",
        *(suite, str(root), mirror),
    ]
    environment = {**os.environ, **_proxies()}
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, stdin=subprocess.DEVNULL, env=environment
    ) as process:
        assert process.stdout is not None
        last = ""
        try:
            for raw in process.stdout:
                line = raw.decode("utf-8", "replace").strip()
                last = line or last
                if step := re.match(r"I: (Retrieving|Unpacking|Configuring) (\S+)", line):
                    progress(f"{step[1].lower()} {step[2].rstrip('.')}")
            process.wait()
        except BaseException:
            process.kill()
            raise
    if process.returncode:
        raise ImageMissing(f"debootstrap failed: {last[:300]}", "check the network, then: adi doctor --fix")


def _proxies() -> dict[str, str]:
    """The proxies apt uses, as variables for wget."""
    found = {}
    for scheme in ("http", "https"):
        asked = ["apt-config", "shell", "proxy", f"Acquire::{scheme}::Proxy"]
        shown = subprocess.run(asked, capture_output=True, check=False).stdout.decode("utf-8", "replace")
        value = shown.partition("=")[2].strip().strip("'")
        if value and value != "DIRECT":
            found[f"{scheme}_proxy"] = value
    return found


def _import(client: "APIClient", root: Path, tag: str, labels: Mapping[str, str]) -> None:
    """Stream the tree into the engine as one layer."""
    exclude = [f"--exclude={pattern}" for pattern in _LEFT_OUT]
    name, _, version = tag.partition(":")
    with subprocess.Popen(
        ["tar", "-C", str(root), "-c", "--numeric-owner", "--one-file-system", *exclude, "."],
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
    ) as process:
        assert process.stdout is not None
        patience, client.timeout = client.timeout, _IMPORT_S
        try:
            client.import_image(
                iter(partial(process.stdout.read, 1 << 20), b""),
                stream_src=True,
                repository=name,
                tag=version,
                changes=[f"LABEL {key}={value}" for key, value in labels.items()],
            )
        except BaseException:
            process.kill()
            raise
        finally:
            client.timeout = patience
