"""Takes the user's files into the shadow: lists them as git would, hashes only what changed since last time.

Two indexes are at work. A copy of the user's own index tells which files are tracked; the shadow's index,
kept between runs, tells which files are unchanged since they were hashed. Neither is ever the user's.
"""

import contextlib
import os
import shutil
import stat
import subprocess
import tempfile
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath

from sandbox.errors import RepositoryState
from sandbox.paths import is_git_name
from sandbox.repository import Place
from sandbox.shadow import Shadow, git_program


@dataclass(frozen=True, slots=True)
class CopyLimits:
    """Caps on what is copied out of the user's repository."""

    entries: int = 100_000
    total_bytes: int = 512 * 1024**2


@dataclass(slots=True)
class _Listing:
    """What will be copied, and what will not."""

    paths: list[bytes] = field(default_factory=list)
    sizes: dict[bytes, int] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)


def capture(place: Place, shadow: Shadow, limits: CopyLimits) -> tuple[str, list[str]]:
    """Tree id and notes. Raises RepositoryState, DiskFull. The caller holds the shadow's lock."""
    _copy_excludes(place, shadow)
    listing = _list(place, shadow, limits)
    _check_caps(listing, limits)
    if any(_has_filters(place.root, path) for path in listing.paths):
        listing.notes.append("git filters (such as LFS) are not run: files are copied as they are on disk")
    return _hash(place, shadow, listing), listing.notes


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


def _list(place: Place, shadow: Shadow, limits: CopyLimits) -> _Listing:
    listing = _Listing()
    tracked, untracked = _git_lists(place, shadow, limits)
    real: dict[bytes, bool] = {b"": True}
    root = os.fsencode(place.root)
    for path in sorted(tracked | untracked):
        if path.endswith(b"/") or any(is_git_name(part) for part in os.fsdecode(path).split("/")):
            listing.notes.append(
                f"{os.fsdecode(path)!r} was not copied: a nested repository or a name of git's own"
            )
        elif _is_real(root, path.rpartition(b"/")[0], real):
            _look(root, path, listing)
    return listing


def _has_filters(root: Path, path: bytes) -> bool:
    """True for a .gitattributes file that asks for filters."""
    if path.rpartition(b"/")[2] != b".gitattributes":
        return False
    full = root / os.fsdecode(path)
    return not full.is_symlink() and b"filter=" in full.read_bytes()[: 1 << 20]


def _look(root: bytes, path: bytes, listing: _Listing) -> None:
    """Add one file to the listing, if it is still there and a regular file or a link."""
    full = root + b"/" + path
    try:
        info = os.lstat(full)
    except OSError:
        return
    if stat.S_ISDIR(info.st_mode):
        listing.notes.append(f"{os.fsdecode(path)!r} was not copied: it is a submodule")
    elif stat.S_ISREG(info.st_mode) or stat.S_ISLNK(info.st_mode):
        if stat.S_ISREG(info.st_mode) and not os.access(full, os.R_OK):
            name = os.fsdecode(path)
            raise RepositoryState(
                f"cannot read {name!r}", f"give yourself the right to read it, or ignore it: {name}"
            )
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


def _git_lists(place: Place, shadow: Shadow, limits: CopyLimits) -> tuple[set[bytes], set[bytes]]:
    """Tracked and untracked-not-ignored paths, as git sees them through a copy of the user's index."""
    with tempfile.TemporaryDirectory(dir=shadow.directory, prefix="user-index-") as folder:
        env = {
            "GIT_WORK_TREE": str(place.root),
            "GIT_INDEX_FILE": str(Path(folder) / "index"),
            "GIT_ALTERNATE_OBJECT_DIRECTORIES": _quoted(place.common_dir / "objects"),
        }
        for source in (place.git_dir / "index", *place.git_dir.glob("sharedindex.*")):
            if source.is_file():
                # git looks for a split index beside GIT_DIR/index, not beside GIT_INDEX_FILE
                target = Path(folder) if source.name == "index" else shadow.directory
                shutil.copyfile(source, target / source.name)
        try:
            tracked = set(shadow.git("ls-files", "-z", "--cached", env=env).split(b"\0"))
        except RepositoryState as error:
            raise RepositoryState(
                f"cannot read the index of {place.root}: {error.message}", "mend it: git status"
            ) from error
        finally:
            for leftover in shadow.directory.glob("sharedindex.*"):
                leftover.unlink()
        untracked = set(_bounded_untracked(shadow, env, limits.entries))
    return tracked - {b""}, untracked - {b""}


def _bounded_untracked(shadow: Shadow, env: dict[str, str], cap: int) -> Iterator[bytes]:
    """Untracked paths, the listing stopped soon after the cap: a forgotten data folder can hold millions."""
    command = [git_program(), "ls-files", "-z", "--others", "--exclude-standard"]
    process = subprocess.Popen(
        command,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        env=shadow.environment(env),
        cwd=env["GIT_WORK_TREE"],
    )
    assert process.stdout is not None
    with process.stdout as stream:
        rest, count = b"", 0
        while count <= cap and (piece := os.read(stream.fileno(), 1 << 16)):
            *names, rest = (rest + piece).split(b"\0")
            count += len(names)
            yield from names
    process.kill()
    process.wait()


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


def _quoted(path: Path) -> str:
    """A path as one entry of GIT_ALTERNATE_OBJECT_DIRECTORIES, whatever characters it holds."""
    text = str(path).replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
    return f'"{text}"'


def _copy_excludes(place: Place, shadow: Shadow) -> None:
    """Give the shadow the ignore rules that live outside the tree: info/exclude, the user's global file."""
    sources = [place.common_dir / "info" / "exclude", _global_excludes()]
    text = b"\n".join(
        source.read_bytes()[: 1 << 20] for source in sources if source is not None and source.is_file()
    )
    target = shadow.directory / "info" / "exclude"
    if not target.is_file() or target.read_bytes() != text:
        target.write_bytes(text)


def _global_excludes() -> Path | None:
    """The user's own core.excludesFile, asked outside every repository."""
    done = subprocess.run(
        [git_program(), "config", "--global", "--type=path", "--get", "core.excludesFile"],
        capture_output=True,
        check=False,
        cwd="/",
        stdin=subprocess.DEVNULL,
    )
    named = done.stdout.decode("utf-8", "surrogateescape").rstrip("\n")
    if named:
        return Path(named).expanduser()
    config = os.environ.get("XDG_CONFIG_HOME") or Path("~/.config").expanduser()
    return Path(config) / "git" / "ignore"


def differs(place: Place, shadow: Shadow, commit: str, tree: str) -> bool:
    """True when the copied files are not those of the commit; objects are read from the user's store."""
    if not commit:
        return bool(shadow.git("ls-tree", tree))
    env = {"GIT_ALTERNATE_OBJECT_DIRECTORIES": _quoted(place.common_dir / "objects")}
    done = shadow.run("diff-tree", "--quiet", "--ignore-submodules=all", f"{commit}^{{tree}}", tree, env=env)
    return done.returncode != 0


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
