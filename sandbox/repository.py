"""Finds the user's repository and reads its HEAD by hand: no git process runs with its configuration.

A `.git` that is no directory of its own (a file or a link, as in linked work trees and submodules) is
followed only to a git directory that names this work tree in return. So a stranger's archive cannot make
ADI enter a repository elsewhere on the disk (CVE-2022-24765 and its kin).
"""

import os
import re
import stat
import subprocess
from dataclasses import dataclass
from pathlib import Path

from sandbox.errors import NotARepository, RepositoryState
from sandbox.shadow import clean_environment, git_program

_MAX_REF_FILE = 64 * 1024**2
_MAX_CONFIG = 1024**2
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
        if marker.is_symlink() or marker.is_file():
            git_dir = _linked(marker)
            return Place(root, git_dir, _common(git_dir))
        if marker.is_dir() and (marker / "HEAD").exists():
            return Place(root, marker, _common(marker))
        if _is_bare(root):
            raise NotARepository(f"{root} is a bare repository or a git directory", "clone it and run there")
    raise NotARepository(f"not a git repository: {start}", "make one first: git init")


def _is_bare(folder: Path) -> bool:
    return (folder / "HEAD").is_file() and (folder / "objects").is_dir() and (folder / "refs").is_dir()


def _linked(marker: Path) -> Path:
    """The git directory that a `.git` file or link names, if that one names this work tree too."""
    if marker.is_symlink():
        git_dir = marker.resolve()
    else:
        text = _small(marker)
        git_dir = _path_in(text.removeprefix("gitdir:"), marker.parent)
        if not text.startswith("gitdir:"):
            raise NotARepository(f"{marker} names no git directory", "mend it: git worktree repair")
    if not (git_dir / "HEAD").is_file():
        raise NotARepository(f"{marker} names no git directory", "mend it: git worktree repair")
    if not _names(git_dir, marker):
        raise NotARepository(
            f"{marker} leads to {git_dir}, which does not name this work tree",
            f"if it is yours: git --git-dir={git_dir} config core.worktree {marker.parent}",
        )
    return git_dir


def _names(git_dir: Path, marker: Path) -> bool:
    """True when a git directory elsewhere says that this work tree is its own.

    A linked work tree is named by the file `gitdir`, a submodule's by `core.worktree`.
    """
    back = git_dir / "gitdir"
    if back.is_file() and _path_in(_small(back), git_dir) == marker.parent / ".git":
        return True
    named = configured(git_dir / "config", "core.worktree")
    return bool(named) and _path_in(named, git_dir) == marker.parent


def _path_in(text: str, folder: Path) -> Path:
    """The path that a file of git holds, relative to a folder. Raises RepositoryState for no path at all."""
    try:
        path = (folder / text.strip()).resolve()
        path.exists()  # a name that is too long shows only here
        return path
    except (ValueError, OSError, RuntimeError) as error:  # a NUL, a name too long, a loop of links
        raise RepositoryState(
            f"a file of git near {folder} holds no path", "mend it: git worktree repair"
        ) from error


def configured(file: Path, key: str) -> str:
    """One value of a configuration file, its includes not followed; empty when there is none."""
    if not file.is_file() or file.stat().st_size > _MAX_CONFIG:
        return ""
    done = subprocess.run(
        [git_program(), "config", "--file", str(file), "--no-includes", "--get", key],
        env=clean_environment(), cwd="/", stdin=subprocess.DEVNULL, capture_output=True, check=False,
        timeout=20,
    )  # fmt: skip
    return os.fsdecode(done.stdout).removesuffix("\n")


def _common(git_dir: Path) -> Path:
    """The directory that holds objects and refs: another one only where that one lists this work tree."""
    link = git_dir / "commondir"
    if not link.is_symlink() and not link.exists():
        return git_dir
    common = _path_in(_small(link), git_dir) if link.is_file() else None
    if common is None or git_dir.resolve().parent != common / "worktrees":
        raise NotARepository(
            f"{link} leads to {common or 'nowhere'}, of which this is no work tree",
            "mend it: git worktree repair",
        )
    return common


def _small(path: Path) -> str:
    return beginning(path, 4096).decode("utf-8", "surrogateescape")


def beginning(path: Path, count: int) -> bytes:
    """At most the first `count` bytes of a regular file. Raises RepositoryState; never waits for a FIFO."""
    try:
        handle = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
        try:
            if not stat.S_ISREG(os.fstat(handle).st_mode):
                raise RepositoryState(f"cannot read {path}: it is no regular file", "look at it: ls -l")
            with os.fdopen(handle, "rb", closefd=False) as file:
                return file.read(count)
        finally:
            os.close(handle)  # a file object takes no folder, and leaves it open
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
        if not _REF_NAME.fullmatch(name) or ".." in name or "/." in name:  # `.invalid`: refs kept in tables
            return Head("", "")
        branch = branch or name.removeprefix("refs/heads/")
        text = _loose(place, name) or _packed(place, name)
    return Head("", branch)


def read_ref(place: Place, name: str) -> str:
    """Object id of a ref such as `refs/heads/main`; empty where there is none, or refs are kept in tables."""
    if not _REF_NAME.fullmatch(name) or ".." in name or "/." in name:
        return ""
    try:
        found = _loose(place, name) or _packed(place, name)
    except RepositoryState:  # a name too long, or no regular file
        return ""
    return found if _OBJECT_ID.fullmatch(found) else ""


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
