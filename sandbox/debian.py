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
BACKPORTS = "/etc/apt/sources.list.d/backports.list"
"""Where an image names the distribution's newer packages."""
_SLIM = """\
path-exclude=/usr/share/doc/*
path-include=/usr/share/doc/*/copyright
path-exclude=/usr/share/groff/*
path-exclude=/usr/share/info/*
path-exclude=/usr/share/lintian/*
path-exclude=/usr/share/locale/*
path-exclude=/usr/share/man/*
"""
"""What dpkg leaves out: nobody reads manuals in the sandbox, and its language is C.UTF-8."""
# debootstrap unpacks the first packages without dpkg. Some install scripts want the folder of manuals.
_UNDOCUMENTED = (
    "find /usr/share/doc -type f ! -name copyright -delete; "
    "rm -rf /usr/share/info/* /usr/share/locale/* /usr/share/man/*; mkdir -p /usr/share/man/man1"
)
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


def make(
    client: "APIClient",
    tag: str,
    packages: Sequence[str],
    setup: str,
    labels: Mapping[str, str],
    progress: Progress,
) -> None:
    """An image of a minimal system with packages whose dependencies are plain enough for debootstrap.

    `setup` are shell commands to run in it at the end. Raises ImageMissing with the command that helps.
    """
    if not can_install():
        raise ImageMissing(
            "no sandbox image, no reachable container registry, and this is not root on Debian or Ubuntu",
            "make the image as root: sudo adi doctor --fix",
        )
    if shutil.which("debootstrap") is None:
        install(["debootstrap"], progress)
    sources = _sources()
    with tempfile.TemporaryDirectory(prefix="adi-image-", ignore_cleanup_errors=True) as folder:
        root = Path(folder) / "root"
        slim = root / "etc/dpkg/dpkg.cfg.d/adi-slim"
        slim.parent.mkdir(parents=True)
        slim.write_text(_SLIM)
        _debootstrap(root, sources[0], packages, progress)
        _write_sources(root, sources)
        _inside(root, f"{_UNDOCUMENTED}; {setup}")
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


def _os_release(key: str) -> str:
    for line in Path("/etc/os-release").read_text(encoding="utf-8").splitlines():
        name, _, value = line.partition("=")
        if name == key:
            return value.strip().strip('"')
    return ""


@dataclass(frozen=True, slots=True)
class Source:
    """A place that apt fetches packages from."""

    site: str
    release: str


def _sources() -> list[Source]:
    """Where this host gets the distribution's own packages, the release itself first. Raises ImageMissing.

    Updates and security fixes of the same distributor are kept, other vendors' lines are not.
    """
    codename = _os_release("VERSION_CODENAME")
    wanted = "$(CREATED_BY)|$(COMPONENT)|$(ORIGIN)|$(RELEASE)|$(SITE)"
    shown = subprocess.run(
        ["apt-get", "indextargets", "--format", wanted], capture_output=True, check=False
    ).stdout.decode("utf-8", "replace")
    lines = [line.split("|", 4) for line in shown.splitlines() if line.startswith("Packages|main|")]
    main = next((line for line in lines if line[3] == codename), None)
    if main is None:
        raise ImageMissing(
            f"apt names no mirror for {codename or 'this release'}",
            "check /etc/apt/sources.list, then: apt-get update",
        )
    others = [line for line in lines if line[2] == main[2] and line is not main]
    return list(dict.fromkeys(Source(line[4], line[3]) for line in (main, *others)))


def _components() -> Sequence[str]:
    return ("main", "universe") if _os_release("ID") == "ubuntu" else ("main",)


def _write_sources(root: Path, sources: Sequence[Source]) -> None:
    """The same places for the new system's apt, and Debian's backports, which may be absent."""
    components = " ".join(_components())
    text = "".join(f"deb {source.site} {source.release} {components}\n" for source in sources)
    (root / "etc/apt/sources.list").write_text(text)
    if _os_release("ID") == "debian":
        line = f"deb {sources[0].site} {sources[0].release}-backports {components}\n"
        (root / BACKPORTS.lstrip("/")).write_text(line)


def _debootstrap(root: Path, source: Source, packages: Sequence[str], progress: Progress) -> None:
    """A minimal system at `root`. Raises ImageMissing with debootstrap's last words.

    It runs in namespaces of its own: what it mounts and starts ends with it, however it ends.
    """
    command = [
        *_NAMESPACES,
        *("debootstrap", "--variant=minbase", f"--include={','.join(packages)}"),
        f"--components={','.join(_components())}",
        *(source.release, str(root), source.site),
    ]
    environment = {**os.environ, **proxies()}
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


def proxies() -> dict[str, str]:
    """The proxies that this host's apt uses, as environment variables."""
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
