"""Which local repository an item belongs to: one for all, or that of its name in a folder of repositories."""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from agent.backlog_item import Bad, Item, made
from agent.errors import UsageError

_NAME: Final = re.compile(r"(?!\.)[\w.+-]{1,150}(/(?!\.)[\w.+-]{1,150})?")


@dataclass(frozen=True, slots=True)
class Found:
    """What was read of an item before its repository is known."""

    where: str
    project: str
    """owner/name or a name, as the source says it; empty when it does not."""
    values: Mapping[str, Any]


class Repos:
    """Finds repositories; a name can never lead out of the folder, what the user linked into it may."""

    def __init__(self, repo: Path | None = None, repos: Path | None = None) -> None:
        """`repo` is the one of all items, `repos` a folder of several. Raises UsageError."""
        if repo is not None and not is_repository(repo):
            raise UsageError(
                f"{repo} is not a git repository", "--repo PATH of the one that the issues are about"
            )
        if repos is not None and not repos.is_dir():
            raise UsageError(f"{repos} is not a folder", "--repos DIR with a repository of each project")
        self._repo = str(repo.resolve()) if repo is not None else ""
        self._repos = repos

    def item(self, found: Found) -> Item | Bad:
        """The item with its repository; bad when that is missing."""
        item = made(found.where, found.values)
        if isinstance(item, Bad):
            return item
        if self._repo:
            return item.model_copy(update={"repo": self._repo})
        names = list(dict.fromkeys(_names(item.key, found.project)))
        for name in names:
            if self._repos is not None and is_repository(place := self._repos / name):
                return item.model_copy(update={"repo": str(place.resolve())})
        wanted = found.project or item.key
        if found.project and not _NAME.fullmatch(found.project):
            why = f"repository is missing: {wanted[:100]!r} is not a name such as owner/name"
        elif self._repos is None:
            why = f"repository is missing: where is {wanted[:100]!r}? name it with --repo or --repos"
        else:
            why = f"repository is missing: none of {', '.join(names)} is one in {self._repos}"
        return Bad(where=found.where, why=why)


def is_repository(place: Path) -> bool:
    """True for the root of a work tree."""
    try:
        return place.is_dir() and (place / ".git").exists()
    except (OSError, ValueError):
        return False


def _names(key: str, project: str) -> Iterator[str]:
    """Folders that may hold the repository, the nearest name first."""
    for name in (key, project):
        if _NAME.fullmatch(name):
            yield name.replace("/", "__")
            yield name
            if name == project:
                yield name.rpartition("/")[2]
