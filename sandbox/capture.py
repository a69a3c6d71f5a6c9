"""Takes the user's files into the shadow: lists them as git would, hashes only what changed since last time.

Two indexes are at work. A copy of the user's own index tells which files are tracked; the shadow's index,
kept between runs, tells which files are unchanged since they were hashed. Neither is ever the user's.
"""

import contextlib
import os
import stat
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath

from sandbox import filters, gitview
from sandbox.credentials import HEAD_BYTES, asks_for_text, name_tells, text_tells
from sandbox.errors import RepositoryState, UnsafePath
from sandbox.paths import is_git_name, leads_out
from sandbox.repository import Place, beginning
from sandbox.shadow import GIT_SECONDS, Shadow
from sandbox.tree import Tree

_MAX_RULES = 1024**2
"""Bytes of a file of ignore rules."""


@dataclass(frozen=True, slots=True)
class CopyLimits:
    """Caps on what is copied out of the user's repository."""

    entries: int = 100_000
    total_bytes: int = 512 * 1024**2
    git_s: float = GIT_SECONDS
    """Longest time of one git process."""


@dataclass(slots=True)
class _Listing:
    """What will be copied, and what will not."""

    paths: list[bytes] = field(default_factory=list)
    sizes: dict[bytes, int] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)
    held_back: list[str] = field(default_factory=list)
    """Files that look like the user's secrets."""
    absent: set[bytes] = field(default_factory=set)
    """Tracked files that a sparse checkout keeps off the disk."""


@dataclass(frozen=True, slots=True)
class Captured:
    """What was copied."""

    tree: str
    """Git tree id in the shadow."""
    notes: tuple[str, ...]
    """What was left out or is special, one sentence each."""
    held_back: tuple[str, ...]
    """Files that look like the user's secrets and were not copied."""
    absent: frozenset[bytes]
    """Tracked paths that a sparse checkout keeps off the disk: not deleted, only not there."""


def capture(place: Place, shadow: Shadow, limits: CopyLimits) -> Captured:
    """Copy the files into the shadow. Raises RepositoryState, DiskFull. The caller holds its lock."""
    _copy_excludes(place, shadow)
    with Tree(place.root) as tree:
        listing = _list(place, shadow, limits, tree)
    _check_caps(listing, limits)
    if filters.asked_for(place, listing.paths):
        listing.notes += filters.notes(place, filters.filters(place, shadow, listing.paths))
    return Captured(
        _hash(place, shadow, listing),
        tuple(listing.notes),
        tuple(listing.held_back),
        frozenset(listing.absent),
    )


def _hash(place: Place, shadow: Shadow, listing: _Listing) -> str:
    env = {"GIT_WORK_TREE": str(place.root)}
    try:
        known = set(shadow.git("ls-files", "-z").split(b"\0")) - {b""}
    except RepositoryState:  # an index that a crash tore: hash everything anew
        (shadow.directory / "index").unlink(missing_ok=True)
        known = set()
    gone = known.difference(listing.paths)
    lines = b"".join(b"0 " + b"0" * 40 + b"\t" + path + b"\0" for path in sorted(gone))
    if lines:
        shadow.git("update-index", "-z", "--index-info", stdin=lines)
    names = b"".join(path + b"\0" for path in listing.paths)
    for attempt in (1, 2):
        try:
            shadow.git(
                "update-index", "-z", "--add", "--remove", "--replace", "--stdin", stdin=names, env=env
            )
            break
        except RepositoryState as error:  # a file that an editor replaced this very moment
            if attempt == 2:
                raise RepositoryState(f"cannot copy {place.root}: {error.message}", error.hint) from error
    return shadow.git("write-tree").decode().strip()


def _list(place: Place, shadow: Shadow, limits: CopyLimits, tree: Tree) -> _Listing:
    listing = _Listing()
    names = gitview.look(place, shadow, limits.entries, tree)
    real: dict[bytes, bool] = {b"": True}
    root = os.fsencode(place.root)
    for path in sorted(names.tracked | names.untracked):
        parts = os.fsdecode(path).split("/")
        if path.endswith(b"/") or any(is_git_name(part) for part in parts):
            listing.notes.append(
                f"{os.fsdecode(path)!r} was not copied: a nested repository or a name of git's own"
            )
        elif {"", ".", ".."} & set(parts):  # git writes no such index, but it reads one
            listing.notes.append(f"{os.fsdecode(path)!r} was not copied: it leads out of the repository")
        elif path in names.skipped and not os.path.lexists(root + b"/" + path):
            listing.absent.add(path)
        elif not _is_real(root, path.rpartition(b"/")[0], real):
            continue
        elif (path in names.untracked or path in names.edited) and _is_secret(tree, os.fsdecode(path)):
            listing.held_back.append(os.fsdecode(path))
        else:
            _look(root, path, listing)
    if listing.held_back:
        listing.notes.append(_held_back_note(listing.held_back))
    if listing.absent:
        count = len(listing.absent)
        listing.notes.append(f"{count} files outside the sparse checkout are not copied and stay as they are")
    return listing


def _is_secret(tree: Tree, path: str) -> bool:
    """True for what looks like a secret; a file that is only looked at is never followed or waited for."""
    return name_tells(path) or (asks_for_text(path) and text_tells(path, _head(tree, path, HEAD_BYTES)))


def _head(tree: Tree, path: str, size: int) -> bytes:
    """The beginning of a regular file; nothing for anything else."""
    try:
        return tree.head(path, size)
    except (OSError, UnsafePath):
        return b""


def _held_back_note(paths: list[str]) -> str:
    shown = ", ".join(repr(path) for path in paths[:5]) + (f" and {len(paths) - 5} more" * (len(paths) > 5))
    return (
        f"not copied, because it looks like a secret and git does not hold it so: {shown}; "
        "a test that needs it fails here. If it holds no secret: git add it"
    )


def _look(root: bytes, path: bytes, listing: _Listing) -> None:
    """Add one file to the listing, if it is still there and a regular file or a link."""
    full, name = root + b"/" + path, os.fsdecode(path)
    try:
        info = os.lstat(full)
        target = str(Path(os.fsdecode(full)).readlink()) if stat.S_ISLNK(info.st_mode) else ""
    except OSError:
        return
    if stat.S_ISDIR(info.st_mode):
        listing.notes.append(f"{name!r} was not copied: it is a submodule")
    elif not stat.S_ISREG(info.st_mode) and not stat.S_ISLNK(info.st_mode):
        listing.notes.append(f"{name!r} was not copied: it is no regular file")
    else:
        if stat.S_ISREG(info.st_mode) and not os.access(full, os.R_OK):
            raise RepositoryState(
                f"cannot read {name!r}", f"give yourself the right to read it, or ignore it: {name}"
            )
        if target and leads_out(name, target):
            listing.notes.append(f"{name!r} is not in the sandbox: it is a link out of the repository")
        listing.paths.append(path)
        listing.sizes[path] = info.st_size


def _is_real(root: bytes, folder: bytes, seen: dict[bytes, bool]) -> bool:
    """True when no part of the folder's path is a link."""
    if folder not in seen:
        parent = folder.rpartition(b"/")[0]
        is_folder = False
        if _is_real(root, parent, seen):
            with contextlib.suppress(OSError):
                is_folder = stat.S_ISDIR(os.lstat(root + b"/" + folder).st_mode)
        seen[folder] = is_folder
    return seen[folder]


def _check_caps(listing: _Listing, limits: CopyLimits) -> None:
    total = sum(listing.sizes.values())
    if len(listing.paths) > limits.entries:
        raise RepositoryState(
            f"too many files to copy: more than {limits.entries}", "name generated folders in .gitignore"
        )
    if total > limits.total_bytes:
        largest = sorted(listing.sizes, key=lambda path: -listing.sizes[path])[:3]
        shown = ", ".join(f"{os.fsdecode(path)!r} ({listing.sizes[path] / 1e6:.0f} MB)" for path in largest)
        raise RepositoryState(
            f"too large to copy: {total / 1e6:.0f} MB, the limit is {limits.total_bytes / 1e6:.0f} MB",
            f"name large data in .gitignore; the largest files are {shown}",
        )


def _copy_excludes(place: Place, shadow: Shadow) -> None:
    """Give the shadow the ignore rules that live outside the tree: info/exclude, the user's global file."""
    sources = [place.common_dir / "info" / "exclude", filters.users_file("core.excludesFile", "ignore")]
    text = b"\n".join(beginning(source, _MAX_RULES) for source in sources if source.is_file())
    target = shadow.directory / "info" / "exclude"
    if not target.is_file() or target.read_bytes() != text:
        target.write_bytes(text)


def differs(place: Place, shadow: Shadow, commit: str, captured: Captured) -> bool:
    """True when the copied files are not those of the commit; objects are read from the user's store."""
    if not commit:
        return bool(shadow.git("ls-tree", captured.tree))
    env = {"GIT_ALTERNATE_OBJECT_DIRECTORIES": gitview.objects(place)}
    arguments = ("-r", "--name-only", "-z", "--no-renames", "--ignore-submodules=all")
    done = shadow.run("diff-tree", *arguments, f"{commit}^{{tree}}", captured.tree, env=env)
    return done.returncode != 0 or not captured.absent.issuperset(set(done.stdout.split(b"\0")) - {b""})


def _is_below_link(root: Path, path: str) -> bool:
    """True when a folder of the path is a link in the user's tree; git refuses to judge such paths."""
    return any((root / parent).is_symlink() for parent in PurePosixPath(path).parents)


def ignored(root: Path, shadow: Shadow, paths: Iterable[str]) -> set[str]:
    """Those of the paths that ignore rules cover. Raises RepositoryState."""
    names = b"".join(os.fsencode(path) + b"\0" for path in paths if not _is_below_link(root, path))
    if not names:
        return set()
    env = {"GIT_WORK_TREE": str(root), "GIT_LITERAL_PATHSPECS": "0"}
    shown = shadow.git("check-ignore", "--no-index", "-z", "--stdin", stdin=names, env=env, codes=(0, 1))
    return {os.fsdecode(name) for name in shown.split(b"\0") if name}
