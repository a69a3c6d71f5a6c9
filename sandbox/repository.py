"""Finds the user's repository and reads its HEAD by hand: no git process runs with its configuration."""

import os
import re
from dataclasses import dataclass
from pathlib import Path

from sandbox.errors import NotARepository, RepositoryState

_MAX_REF_FILE = 64 * 1024**2
_SYMREF_DEPTH = 5
_OBJECT_ID = re.compile(r"[0-9a-f]{40}([0-9a-f]{24})?")
_REF_NAME = re.compile(r"refs/[^\0-\x20\x7f~^:?*\[\\]+")


@dataclass(frozen=True, slots=True)
class Place:
    """Where a repository lives."""

    root: Path
    """Top of the work tree."""
    git_dir: Path
    """Its git directory: holds HEAD and the index."""
    common_dir: Path
    """The git directory that linked work trees share: holds objects and refs."""


@dataclass(frozen=True, slots=True)
class Head:
    """What is checked out; both empty when unknown."""

    commit: str
    branch: str


def locate(start: Path) -> Place:
    """The repository that holds `start`. Raises NotARepository with the step that helps."""
    folder = start.expanduser().resolve()
    if not folder.is_dir():
        raise NotARepository(f"not a directory: {start}", "give the path of a git repository")
    for root in (folder, *folder.parents):
        marker = root / ".git"
        if marker.is_dir() and (marker / "HEAD").exists():
            return Place(root, marker, _common(marker))
        if marker.is_file():
            git_dir = _linked(marker)
            return Place(root, git_dir, _common(git_dir))
        if _is_bare(root):
            raise NotARepository(f"{root} is a bare repository or a git directory", "clone it and run there")
    raise NotARepository(f"not a git repository: {start}", "make one first: git init")


def _is_bare(folder: Path) -> bool:
    return (folder / "HEAD").is_file() and (folder / "objects").is_dir() and (folder / "refs").is_dir()


def _linked(marker: Path) -> Path:
    """The git directory that a `.git` file names (linked work tree or submodule)."""
    text = _small(marker)
    git_dir = (marker.parent / text.removeprefix("gitdir:").strip()).resolve()
    if not text.startswith("gitdir:") or not (git_dir / "HEAD").is_file():
        raise NotARepository(f"{marker} names no git directory", "mend it: git worktree repair")
    return git_dir


def _common(git_dir: Path) -> Path:
    link = git_dir / "commondir"
    return (git_dir / _small(link).strip()).resolve() if link.is_file() else git_dir


def _small(path: Path) -> str:
    try:
        with path.open("rb") as file:
            return file.read(4096).decode("utf-8", "surrogateescape")
    except OSError as error:
        raise RepositoryState(f"cannot read {path}: {error.strerror}") from error


def read_head(place: Place) -> Head:
    """Commit and branch, read from the files of the refs backend; unknown backends give an empty Head."""
    text = _small(place.git_dir / "HEAD").strip()
    branch = ""
    for _ in range(_SYMREF_DEPTH):
        if not text.startswith("ref:"):
            return Head(text if _OBJECT_ID.fullmatch(text) else "", branch)
        name = text.removeprefix("ref:").strip()
        if not _REF_NAME.fullmatch(name) or ".." in name:
            return Head("", "")
        branch = branch or name.removeprefix("refs/heads/")
        text = _loose(place, name) or _packed(place, name)
    return Head("", branch)


def _loose(place: Place, name: str) -> str:
    for folder in (place.git_dir, place.common_dir):
        path = folder / name
        if path.is_file():
            return _small(path).strip()
    return ""


def _packed(place: Place, name: str) -> str:
    path = place.common_dir / "packed-refs"
    if not path.is_file() or path.stat().st_size > _MAX_REF_FILE:
        return ""
    wanted = os.fsencode(name)
    for line in path.read_bytes().splitlines():
        if line.endswith(b" " + wanted):
            return line.split(b" ", 1)[0].decode("ascii", "replace")
    return ""
