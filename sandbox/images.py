"""Makes the sandbox images: from a Dockerfile where a registry answers, else from the host's packages."""

import hashlib
import io
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from sandbox import debian
from sandbox.client import connect
from sandbox.errors import ImageMissing, SandboxError

if TYPE_CHECKING:
    from docker import APIClient

BASE = "debian:bookworm-slim"
PULL_S = 20.0
"""Longest wait for the registry to begin an answer."""
_LABEL = "adi.recipe"
_COMMON = (
    "ca-certificates", "make", "patch", "procps",
    "python3", "python-is-python3", "python3-pytest", "python3-pytest-timeout", "python3-coverage",
)  # fmt: skip
_EXTRA: dict[str, tuple[str, ...]] = {
    "python": (),
    "node": ("nodejs", "npm"),
    "go": ("golang-go",),
    "rust": ("cargo", "rustc"),
}
PROFILES = tuple(_EXTRA)
_BUILD_S = 1800.0

Progress = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class Recipe:
    """What an image holds; its tag changes when this does."""

    profile: str
    packages: tuple[str, ...]

    @property
    def tag(self) -> str:
        text = "\n".join((BASE, _SETUP, *self.packages))
        return f"adi-sandbox:{self.profile}-{hashlib.sha256(text.encode()).hexdigest()[:12]}"

    @property
    def dockerfile(self) -> str:
        return (
            f"FROM {BASE}\n"
            "RUN apt-get update && DEBIAN_FRONTEND=noninteractive apt-get install -y --no-install-recommends "
            f"{' '.join(self.packages)} && {_SETUP} && rm -rf /var/lib/apt/lists/* /var/cache/apt/*\n"
        )


# The commands' user has a name, because programs look it up; it owns nothing in the image.
_SETUP = (
    "echo 'adi:x:1000:1000::/tmp:/bin/bash' >> /etc/passwd && echo 'adi:x:1000:' >> /etc/group "
    "&& mkdir -p /work"
)


def recipe(profile: str) -> Recipe:
    """The recipe of a profile. Raises ImageMissing for an unknown one."""
    if profile not in _EXTRA:
        raise ImageMissing(f"no sandbox profile {profile!r}", f"choose one of: {', '.join(PROFILES)}")
    return Recipe(profile, tuple(sorted({*_COMMON, *_EXTRA[profile]})))


def is_present(tag: str, client: "APIClient") -> bool:
    """True when the engine has the image."""
    return bool(client.images(name=tag))


def ensure_image(
    profile: str = "python", progress: Progress = lambda _line: None, client: "APIClient | None" = None
) -> str:
    """Tag of the profile's image, made when it is not there: about a minute. Nothing is pulled when it is.

    Raises DockerMissing, ImageMissing (with the command that helps).
    """
    wanted = recipe(profile)
    engine = client or connect()
    try:
        if not is_present(wanted.tag, engine):
            progress(f"making the sandbox image {wanted.tag}, once")
            if _base_is_there(engine, progress):
                _build(engine, wanted, progress)
            else:
                progress("no container registry is reachable: using the distribution's packages")
                extra = [name for name in wanted.packages if name not in _COMMON]
                system = debian.System(_COMMON, extra, _SETUP)
                debian.make(engine, wanted.tag, system, {_LABEL: wanted.tag}, progress)
            progress(f"made {wanted.tag}")
    finally:
        if client is None:
            engine.close()
    return wanted.tag


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
    """Build from the Dockerfile; no file of the host is sent."""
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
            use_config_proxy=True,
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


__all__ = ["PROFILES", "Recipe", "SandboxError", "ensure_image", "is_present", "recipe"]
