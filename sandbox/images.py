"""Makes the sandbox images: one with Python for all, and on top of it one for each set of other languages.

The first comes from the base image where a registry answers, else from the host's packages (debian.py). The
others are built on the first, so each costs only its own packages, in time and on disk.
"""

import base64
import hashlib
import io
import shlex
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from sandbox import debian
from sandbox.client import connect
from sandbox.errors import ImageMissing

if TYPE_CHECKING:
    from docker import APIClient

BASE = "debian:bookworm-slim"
PULL_S = 20.0
"""Longest wait for the registry to begin an answer."""
_LABEL = "adi.recipe"
_BUILD_S = 1800.0

Progress = Callable[[str], None]

# git is left out: the work copy is no git repository inside, so nothing there could use it.
_COMMON = (
    "ca-certificates", "make", "patch", "procps", "socat",
    "python3", "python-is-python3", "python3-venv", "python3-pip",
    "python3-pytest", "python3-pytest-timeout", "python3-coverage",
)  # fmt: skip

# The commands' user has a name, because programs look it up; it owns nothing in the image.
_USER = (
    "echo 'adi:x:1000:1000::/tmp:/bin/bash' >> /etc/passwd; echo 'adi:x:1000:' >> /etc/group; mkdir -p /work"
)
_BACKPORTS = f"echo 'deb http://deb.debian.org/debian bookworm-backports main' > {debian.BACKPORTS}"
_NEWER = (
    "printf 'Package: %s\\nPin: release n=*-backports\\nPin-Priority: 500\\n' 'golang-* catch2' "
    "> /etc/apt/preferences.d/adi"
)
"""What ages fast is taken from the backports, where these are."""


@dataclass(frozen=True, slots=True)
class Language:
    """What a language adds to the common image."""

    packages: tuple[str, ...]
    """`a|b` means the first of them that the distribution has."""
    setup: tuple[str, ...] = ()
    """Shell commands after that."""


def _put(path: str, content: bytes, mode: str = "644") -> str:
    """Shell words that make a file in the image; a build gets no files of the host."""
    packed = base64.b64encode(content).decode()
    return f"mkdir -p {path.rpartition('/')[0]}; echo {packed} | base64 -d > {path}; chmod {mode} {path}"


# CMake projects fetch GoogleTest by names of their own: this answers for them with the installed one.
_GTEST = b"""\
include(CMakeFindDependencyMacro)
find_dependency(GTest)
foreach(library gtest gtest_main gmock gmock_main)
  if(NOT TARGET ${library})
    add_library(${library} ALIAS GTest::${library})
  endif()
endforeach()
"""
LANGUAGES: dict[str, Language] = {
    "python": Language(()),
    "cpp": Language(
        ("g++", "cmake", "libgtest-dev", "libgmock-dev", "catch2"),
        tuple(_put(f"/usr/lib/cmake/{name}/{name}Config.cmake", _GTEST) for name in ("googletest", "gtest")),
    ),
    # Newer ones come without the compiled standard library, which takes a minute in each fresh container.
    "go": Language(
        ("golang-go",),
        (
            "GOCACHE=/tmp/go GODEBUG=installgoroot=all go install std",
            "rm -rf /tmp/go /usr/share/go-*/api /usr/share/go-*/test",
        ),
    ),
    "java": Language(
        ("default-jdk-headless", "junit4", "junit5", "libpicocli-java"),
        (_put("/usr/local/bin/junit", Path(__file__).with_name("junit.py").read_bytes(), "755"),),
    ),
    "node": Language(("nodejs", "npm", "node-typescript", "mocha", "jest", "chai")),
    "php": Language(("php-cli", "php-sqlite3", "phpunit", "composer")),
    "rust": Language(("cargo-web|cargo", "rustc-web|rustc")),
}
PROFILES = tuple(LANGUAGES)
"""Profiles of one language; sorted names joined by `-` are a profile too."""


@dataclass(frozen=True, slots=True)
class Recipe:
    """What an image holds; its tag changes when this does."""

    profile: str
    parent: str
    """The image that it is built on."""
    packages: tuple[str, ...]
    setup: tuple[str, ...]

    @property
    def tag(self) -> str:
        return f"adi-sandbox:{self.profile}-{hashlib.sha256(self.dockerfile.encode()).hexdigest()[:12]}"

    @property
    def dockerfile(self) -> str:
        sources = _BACKPORTS if self.parent == BASE else _NEWER
        tidy = "rm -rf /var/lib/apt/lists/* /var/cache/apt/* /var/log/*"
        steps = (sources, _install(self.packages), *self.setup, tidy)
        return f"FROM {self.parent}\nRUN set -e; {'; '.join(steps)}\n"


def recipe(profile: str) -> Recipe:
    """The recipe of a profile. Raises ImageMissing for an unknown one."""
    names = sorted(set(profile.split("-")))
    if unknown := [name for name in names if name not in LANGUAGES]:
        raise ImageMissing(f"no sandbox profile {unknown[0]!r}", f"choose one of: {', '.join(PROFILES)}")
    common = Recipe("python", BASE, _COMMON, (_USER,))
    added = [name for name in names if name != common.profile]
    if not added:
        return common
    packages = tuple(sorted({package for name in added for package in LANGUAGES[name].packages}))
    setup = tuple(step for name in added for step in LANGUAGES[name].setup)
    return Recipe("-".join(added), common.tag, packages, setup)


def extended(profile: str, name: str, packages: Sequence[str]) -> Recipe:
    """A profile's image with packages that only one use of it needs, under a name of its own.

    Raises ImageMissing for an unknown profile.
    """
    parent = recipe(profile)
    return Recipe(f"{parent.profile}-{name}", parent.tag, tuple(packages), ())


def _install(packages: Sequence[str]) -> str:
    """Shell words that install packages; a mirror without backports is used without them."""
    return (
        f"apt-get -q update || {{ rm -f {debian.BACKPORTS}; apt-get -q update; }}; "
        f"chosen=; for any in {' '.join(map(shlex.quote, packages))}; do "
        "for one in $(echo \"$any\" | tr '|' ' '); do "
        'if apt-cache show -- "$one" >/dev/null 2>&1; then break; fi; done; chosen="$chosen $one"; done; '
        "DEBIAN_FRONTEND=noninteractive apt-get -q -y install --no-install-recommends -- $chosen"
    )


def is_present(tag: str, client: "APIClient") -> bool:
    """True when the engine has the image."""
    return bool(client.images(name=tag))


def ensure_image(
    profile: str = "python", progress: Progress = lambda _line: None, client: "APIClient | None" = None
) -> str:
    """Tag of the profile's image, made when it is not there: a minute or two. Nothing is pulled when it is.

    Raises DockerMissing, ImageMissing (with the command that helps).
    """
    return ensure(recipe(profile), progress, client)


def ensure(wanted: Recipe, progress: Progress = lambda _line: None, client: "APIClient | None" = None) -> str:
    """The same for a recipe; of its parents the common image is made when it is not there, no other."""
    engine = client or connect()
    try:
        if not is_present(wanted.tag, engine):
            progress(f"making the sandbox image {wanted.tag}, once")
            _make(engine, wanted, progress)
            progress(f"made {wanted.tag}")
    finally:
        if client is None:
            engine.close()
    return wanted.tag


def _make(client: "APIClient", wanted: Recipe, progress: Progress) -> None:
    if wanted.parent != BASE:
        ensure_image("python", progress, client)
        _build(client, wanted, progress)
    elif _base_is_there(client, progress):
        _build(client, wanted, progress)
    else:
        progress("no container registry is reachable: using the distribution's packages")
        debian.make(
            client, wanted.tag, wanted.packages, "; ".join(wanted.setup), {_LABEL: wanted.tag}, progress
        )


def _base_is_there(client: "APIClient", progress: Progress) -> bool:
    """True when the base image is present or could be pulled within the time a registry needs to answer."""
    import docker
    import requests

    if is_present(BASE, client):
        return True
    progress(f"pulling {BASE}")
    patience, client.timeout = client.timeout, PULL_S
    try:
        for event in client.pull(BASE, stream=True, decode=True):
            if "error" in event:
                return False
    except (docker.errors.DockerException, requests.RequestException):
        return False
    finally:
        client.timeout = patience
    return is_present(BASE, client)


def _build(client: "APIClient", wanted: Recipe, progress: Progress) -> None:
    """Build from the Dockerfile; no file of the host is sent.

    It has the host's network, as it must reach the mirror as the host does: through a proxy on loopback,
    and on machines whose engine has no bridge. What runs in it are the distribution's install scripts.
    """
    import docker
    import requests

    last = ""
    try:
        for event in client.build(
            fileobj=io.BytesIO(wanted.dockerfile.encode()),
            tag=wanted.tag,
            rm=True,
            forcerm=True,
            decode=True,
            timeout=_BUILD_S,
            labels={_LABEL: wanted.tag},
            network_mode="host",
            use_config_proxy=True,
            buildargs=debian.proxies(),
        ):
            last = str(event.get("error") or event.get("stream") or "").strip() or last
            if "error" in event:
                break
            if event.get("stream", "").strip():
                progress(event["stream"].strip()[:120])
    except (docker.errors.DockerException, requests.RequestException) as error:
        raise ImageMissing(f"building {wanted.tag} failed: {error}", "try again: adi doctor --fix") from error
    if not is_present(wanted.tag, client):
        raise ImageMissing(f"building {wanted.tag} failed: {last[:300]}", "try again: adi doctor --fix")


__all__ = ["LANGUAGES", "PROFILES", "Recipe", "ensure", "ensure_image", "extended", "is_present", "recipe"]
