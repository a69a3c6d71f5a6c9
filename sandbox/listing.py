"""Finds out which files commands changed, from two listings of the work area, without reading any file."""

import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

from sandbox.archive import ArchiveCaps, add_note, shown
from sandbox.errors import CopyOutRefused
from sandbox.paths import MAX_PATH_BYTES, fault

CACHES = frozenset(
    {
        "__pycache__", ".pytest_cache", ".mypy_cache", ".ruff_cache", ".hypothesis", ".tox", ".nox", ".venv",
        "node_modules", "target", ".gradle", ".cache",
    }
)  # fmt: skip
_JUNK_ENDS = (".pyc", ".pyo", "/.coverage", ".swp")
_ENTRY = re.compile(
    rb"([a-zA-Z]) (\d{1,19}) (-?\d{1,19}(?:\.\d{1,20})? -?\d{1,19}(?:\.\d{1,20})? \d{1,20}) (?:\./)?(.*)",
    re.DOTALL,
)
"""Kind, size, stamps and path, as `script` prints them."""
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
    """Entries by path, and notes on those that cannot be named.

    The listing came out of the container: whatever printed it. Raises CopyOutRefused when it is malformed or
    past the cap on entries. Paths past the caps of `compare` stay in it, so that only new ones are refused.
    """
    if output.count(b"\0") > cap:
        raise CopyOutRefused(f"more than {cap} files in the work area", "remove what the command generated")
    found: Listing = {}
    notes: list[str] = []
    for line in filter(None, output.split(b"\0")):
        entry = _ENTRY.fullmatch(line)
        if entry is None:
            raise CopyOutRefused("the listing of the work area is malformed", "run the command again")
        kind, size, times, name = entry.groups()
        path = name.decode("utf-8", "surrogateescape")
        reason = fault(path) if len(name) <= MAX_PATH_BYTES else ""
        if reason:
            add_note(notes, f"{shown(path)} was not copied out: unsafe name: {reason}")
        else:
            found[path] = Stamp(kind.decode(), int(size), times)
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
            caps.check(path)
            found.fetch.append(path)
        elif path not in old or old[path].kind != stamp.kind:
            kind = _KINDS.get(stamp.kind, "no regular file")
            add_note(found.notes, f"{shown(path)} was not copied out: it is {kind}")
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
            f"commands left {total} bytes, too many to copy out, {listing[largest].size} in {shown(largest)}",
            "remove what the command generated",
        )
