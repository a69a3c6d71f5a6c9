"""The images that hold prepared environments: their names, which there are, and which stay."""

import contextlib
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from docker import APIClient

REPOSITORY: Final = "adi-deps"
BASE: Final = "adi.base"
HOME: Final = "adi.home"
"""Labels of the images."""
DEPS: Final = "/deps"
PYTHON: Final = f"{DEPS}/python"
SEARCH_PATH: Final = f"{PYTHON}/bin:{DEPS}/node_modules/.bin"
"""Where the programs of prepared packages are; before all others, for the repository's commands only."""
LINKS: Final[dict[str, dict[str, str]]] = {
    "pypi": {},
    "npm": {"/node_modules": f"{DEPS}/node_modules"},  # Node looks in every folder above a file
}


@dataclass(frozen=True, slots=True)
class Prepared:
    """One prepared environment on this machine."""

    tag: str
    base: str
    home: str
    """Whose it is: only environments of one's own are removed to make room."""
    size: int
    """Size of the image, what it shares with its base included."""
    created: int
    """Seconds since the epoch."""


def tag_of(key: str) -> str:
    return f"{REPOSITORY}:{key}"


def every(client: "APIClient") -> list[Prepared]:
    """All prepared environments, newest first."""
    found = [
        Prepared(
            tag,
            (image.get("Labels") or {}).get(BASE, ""),
            (image.get("Labels") or {}).get(HOME, ""),
            int(image["Size"]),
            int(image["Created"]),
        )
        for image in client.images(name=REPOSITORY)
        for tag in image.get("RepoTags") or ()
        if tag.startswith(f"{REPOSITORY}:")
    ]
    return sorted(found, key=lambda one: one.created, reverse=True)


def prune(client: "APIClient", keep: int, home: str) -> list[str]:
    """Remove all but the newest of one home; one that is in use stays. Gives the tags that are gone."""
    own = [one.tag for one in every(client) if one.home == home]
    return [tag for tag in own[keep:] if remove(client, tag)]


def remove(client: "APIClient", tag: str) -> bool:
    """Remove one environment; False when a container uses it or it is not there."""
    import docker

    with contextlib.suppress(docker.errors.APIError):
        client.remove_image(tag)
        return True
    return False
