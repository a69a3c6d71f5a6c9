"""Which sandbox images are wanted: those that were named, or the one of the repository at hand."""

import os
from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import Final

from agent.errors import UsageError

FILES: Final = 20_000
"""Files of a repository that are looked at."""
_SKIPPED: Final = frozenset({"node_modules", "target", "build", "dist", "vendor", "venv"})


class Tree:
    """The files of a directory as detection wants them, read where they lie; links are not followed."""

    def __init__(self, root: Path) -> None:
        self._root = root
        self._paths = sorted(islice(self._walk(), FILES))

    def _walk(self) -> Iterator[str]:
        for folder, folders, names in os.walk(self._root):
            folders[:] = [name for name in folders if name not in _SKIPPED and not name.startswith(".")]
            yield from (Path(folder, name).relative_to(self._root).as_posix() for name in names)

    def paths(self) -> list[str]:
        return self._paths

    def exists(self, path: str) -> bool:
        place = self._root / path
        return place.is_file() and not place.is_symlink() and os.access(place, os.R_OK)

    def size(self, path: str) -> int:
        return (self._root / path).lstat().st_size

    def read(self, path: str) -> bytes:
        return (self._root / path).read_bytes()


def wanted(named: str, place: Path) -> tuple[str, ...]:
    """Image profiles: `all`, names separated by commas, or (empty) what the repository at `place` needs.

    The common image is always the first. Raises UsageError for an unknown name.
    """
    from sandbox.errors import ImageMissing
    from sandbox.images import PROFILES, recipe

    if named == "all":
        return PROFILES
    found = [name.strip() for name in named.split(",")] if named else [_of(place)]
    try:
        return tuple(dict.fromkeys(("python", *(recipe(name).profile for name in found))))
    except ImageMissing as error:
        raise UsageError(str(error), error.hint) from None


def _of(place: Path) -> str:
    """The profile of the repository around a directory; `python` outside of any."""
    root = next((folder for folder in (place, *place.parents) if (folder / ".git").exists()), None)
    if root is None:
        return "python"
    from feedback.detect import detect
    from feedback.profile import image_profile

    tree = Tree(root)
    return image_profile(detect(tree), tree.paths())
