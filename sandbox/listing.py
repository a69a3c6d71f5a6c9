"""Finds out which files commands changed, from two listings of the work area, without reading any file."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

from sandbox.archive import ArchiveCaps
from sandbox.errors import CopyOutRefused, UnsafePath
from sandbox.paths import check_path

CACHES = frozenset(
    {
        "__pycache__", ".pytest_cache", ".mypy_cache", ".ruff_cache", ".hypothesis", ".tox", ".nox", ".venv",
        "node_modules", "target", ".gradle", ".cache",
    }
)  # fmt: skip
_JUNK_ENDS = (".pyc", ".pyo", "/.coverage", ".swp")
_KINDS = {"l": "a symbolic link", "p": "a FIFO", "s": "a socket", "b": "a device", "c": "a device"}


@dataclass(frozen=True, slots=True)
class Stamp:
    """What `find` tells of one entry; the change time cannot be forged from inside."""

    kind: str
    size: int
    times: bytes
    """Modification time, change time, inode."""


Listing = dict[str, Stamp]


def script(pruned: Iterable[str]) -> str:
    """Shell text that lists the work area below the current directory, caches left out."""
    names = " -o ".join(f"-name '{name}'" for name in sorted(pruned))
    return f"find . -mindepth 1 -type d \\( {names} \\) -prune -o -printf '%y %s %T@ %C@ %i %p\\0'"


def pruned_names(known: Iterable[str]) -> frozenset[str]:
    """Cache folders that the repository itself does not use as names of folders."""
    used = {part for path in known for part in path.split("/")[:-1]}
    return (CACHES - used) | {".git"}


def parse(output: bytes, cap: int) -> tuple[Listing, list[str]]:
    """Entries by path, and a note for each that cannot be named. Raises CopyOutRefused past the cap."""
    lines = output.split(b"\0")
    if len(lines) > cap:
        raise CopyOutRefused(f"more than {cap} files in the work area", "remove what the command generated")
    found: Listing = {}
    notes = []
    for line in filter(None, lines):
        kind, size, mtime, ctime, inode, name = line.split(b" ", 5)
        try:
            path = check_path(name.removeprefix(b"./").decode("utf-8"))
        except (UnicodeDecodeError, UnsafePath):
            notes.append(
                f"{name[:120].decode('utf-8', 'backslashreplace')!r} was not copied out: unsafe name"
            )
            continue
        found[path] = Stamp(kind.decode(), int(size), b" ".join((mtime, ctime, inode)))
    return found, notes


@dataclass(slots=True)
class Difference:
    """What has to be fetched, what is gone, and what is refused."""

    fetch: list[str] = field(default_factory=list)
    deleted: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)


def compare(
    old: Listing, new: Listing, ignored: Callable[[list[str]], set[str]], caps: ArchiveCaps
) -> Difference:
    """Regular files that differ. Raises CopyOutRefused when they are past the caps."""
    found = Difference()
    for path, stamp in sorted(new.items()):
        if stamp == old.get(path) or stamp.kind == "d" or path.endswith(_JUNK_ENDS):
            continue
        if stamp.kind == "f":
            found.fetch.append(path)
        elif path not in old or old[path].kind != stamp.kind:
            found.notes.append(
                f"{path!r} was not copied out: it is {_KINDS.get(stamp.kind, 'no regular file')}"
            )
    junk = ignored([path for path in found.fetch if path not in old])
    found.fetch = [path for path in found.fetch if path not in junk]
    _check_caps(found.fetch, new, caps)
    for path, stamp in sorted(old.items()):
        if stamp.kind == "f" and path not in new and not _hidden(path, new):
            found.deleted.append(path)
    return found


def _hidden(path: str, new: Listing) -> bool:
    """True when a link or the like took the place of one of the path's folders."""
    parts = path.split("/")
    parents = ("/".join(parts[:depth]) for depth in range(1, len(parts)))
    return any(parent in new and new[parent].kind not in "df" for parent in parents)


def _check_caps(paths: list[str], listing: Listing, caps: ArchiveCaps) -> None:
    if len(paths) > caps.entries:
        raise CopyOutRefused(
            f"commands changed {len(paths)} files, the cap is {caps.entries}", "remove generated files"
        )
    largest = max(paths, key=lambda path: listing[path].size, default=None)
    if largest is None:
        return
    total = sum(listing[path].size for path in paths)
    if listing[largest].size > caps.file_bytes or total > caps.total_bytes:
        raise CopyOutRefused(
            f"commands left {total} bytes, too many to copy out, {listing[largest].size} in {largest!r}",
            "remove what the command generated",
        )
