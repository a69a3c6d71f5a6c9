"""A snapshot of the user's repository, and cheap in-memory work copies on top of it.

The snapshot is a git tree in a shadow git directory: tracked files as they are on disk, uncommitted changes
included, and untracked files that git does not ignore. A WorkCopy is that tree plus an overlay of bytes; the
user's own files are never written here (sandbox/exchange.py does that, on acceptance).
"""

import io
import os
import tarfile
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from sandbox import capture, filters, repository
from sandbox.capture import CopyLimits
from sandbox.errors import PatchError, RepositoryState, UnsafePath
from sandbox.paths import check_path, leads_out, protected
from sandbox.shadow import BlobReader, Entry, Shadow, blob_id

__all__ = ["CopyLimits", "Snapshot", "WorkCopy", "protected", "snapshot"]


@dataclass(frozen=True, slots=True)
class Snapshot:
    """The state of a repository when it was copied."""

    repo: Path
    """Root of the user's work tree."""
    shadow: Path
    """Git directory outside it that holds the objects."""
    tree: str
    """Git tree id of the copied files."""
    base_commit: str = ""
    """HEAD; empty in a repository without commits."""
    branch: str = ""
    """Short branch name; empty when HEAD is detached."""
    dirty: bool = False
    """True when the files differ from HEAD, byte for byte."""
    notes: tuple[str, ...] = ()
    """What was left out and why, one sentence each."""
    held_back: tuple[str, ...] = ()
    """Files that look like the user's secrets: not copied, and not to be written."""


def snapshot(repo: Path, shadow_root: Path, limits: CopyLimits | None = None) -> Snapshot:
    """Copy the repository that holds `repo` into its shadow below `shadow_root`.

    Raises NotARepository, RepositoryState (too large, unreadable, no git), DiskFull.
    """
    place = repository.locate(repo)
    limits = limits or CopyLimits()
    shadow = Shadow.of(place.root, shadow_root, limits.git_s)
    head = repository.read_head(place)
    with shadow.locked():
        found = capture.capture(place, shadow, limits)
        dirty = capture.differs(place, shadow, head.commit, found)
    return Snapshot(
        place.root,
        shadow.directory,
        found.tree,
        head.commit,
        head.branch,
        dirty,
        found.notes,
        found.held_back,
    )


class _Base:
    """What all forks of one snapshot share: the tree's entries and one reader of blobs."""

    def __init__(self, snapshot: Snapshot) -> None:
        self.snapshot = snapshot
        self.shadow = Shadow(snapshot.shadow)
        self.entries: dict[str, Entry] = {}
        self.links: dict[str, Entry] = {}
        for path, entry in self.shadow.entries(snapshot.tree).items():
            (self.links if entry.is_link else self.entries)[path] = entry
        self.blobs = BlobReader(self.shadow)


class WorkCopy:
    """Files of a snapshot plus what was written since; not safe to share between threads, forks are."""

    def __init__(self, snapshot: Snapshot, _base: _Base | None = None) -> None:
        self.snapshot = snapshot
        self._base = _base or _Base(snapshot)
        self._overlay: dict[str, bytes | None] = {}
        self._modes: dict[str, str] = {}
        self._pending: set[str] = set()

    def fork(self) -> "WorkCopy":
        """An independent copy of the present state; shares everything that was not written."""
        twin = WorkCopy(self.snapshot, self._base)
        twin._overlay = dict(self._overlay)
        twin._modes = dict(self._modes)
        twin._pending = set(self._pending)
        return twin

    def paths(self) -> list[str]:
        """Regular files, sorted; links, and names that are not UTF-8, are left out."""
        kept = (path for path in self._base.entries if path not in self._overlay and _is_text(path))
        return sorted([*kept, *(path for path, data in self._overlay.items() if data is not None)])

    def links(self) -> list[str]:
        """Symbolic links, sorted; they are copied into the sandbox and never followed on the host."""
        return sorted(path for path in self._base.links if _is_text(path))

    def exists(self, path: str) -> bool:
        """True for a regular file that is there now."""
        if path in self._overlay:
            return self._overlay[path] is not None
        return path in self._base.entries

    def size(self, path: str) -> int:
        """Bytes of a file, its content not read. Raises FileNotFoundError."""
        data = self._overlay.get(path)
        if data is not None:
            return len(data)
        return self._entry(path).size

    def read(self, path: str) -> bytes:
        """Content of a file. Raises FileNotFoundError."""
        data = self._overlay.get(path)
        return data if data is not None else self._base.blobs.read(self._entry(path).blob)

    def _entry(self, path: str) -> Entry:
        if path not in self._base.entries or path in self._overlay:
            raise FileNotFoundError(path)
        return self._base.entries[path]

    def write(self, path: str, data: bytes) -> None:
        """Write a file, its mode kept. Raises UnsafePath for what no change may touch."""
        check_path(path, new=path not in self._base.entries)
        self._check_place(path)
        self._set(path, data)
        self._pending.add(path)

    def delete(self, path: str) -> None:
        """Remove a file. Raises FileNotFoundError."""
        if not self.exists(path):
            raise FileNotFoundError(path)
        self._set(path, None)
        self._pending.add(path)

    def _check_place(self, path: str) -> None:
        """Raises UnsafePath where a directory or a link is in the way."""
        if path in self._base.links:
            raise UnsafePath(f"refused path {path!r}: it is a symbolic link")
        if path in self.snapshot.held_back:
            raise UnsafePath(f"refused path {path!r}: the user has such a file, and it looks like a secret")
        parts = path.split("/")
        for depth in range(1, len(parts)):
            parent = "/".join(parts[:depth])
            if parent in self._base.links or self.exists(parent):
                raise UnsafePath(f"refused path {path!r}: {parent!r} is not a directory")
        if not self.exists(path) and any(known.startswith(path + "/") for known in self.paths()):
            raise UnsafePath(f"refused path {path!r}: it is a directory")

    def _set(self, path: str, data: bytes | None) -> None:
        base = self._base.entries.get(path)
        self._overlay[path] = data
        if data is None:
            self._modes.pop(path, None)
        same = data is not None and base is not None and base.size == len(data) and base.blob == blob_id(data)
        if same or (data is None and base is None):
            del self._overlay[path]

    def mode(self, path: str) -> str:
        """Git mode of a file: `100644` or `100755`."""
        entry = self._base.entries.get(path)
        return self._modes.get(path) or (entry.mode if entry else "100644")

    def modes(self) -> dict[str, str]:
        """Git modes of the files that `changed` names, for `exchange` to give to those it makes."""
        return {path: self.mode(path) for path in self._overlay}

    def changed(self) -> dict[str, tuple[bytes | None, bytes | None]]:
        """Paths that differ from the snapshot, with their bytes before and after (None: no file)."""
        return {
            path: (
                self._base.blobs.read(self._base.entries[path].blob) if path in self._base.entries else None,
                data,
            )
            for path, data in sorted(self._overlay.items())
        }

    def diff(self) -> bytes:
        """The change as a git patch, binary-safe; empty when nothing changed."""
        if not self._overlay:
            return b""
        news = {
            path: None if data is None else (self.mode(path), data) for path, data in self._overlay.items()
        }
        shadow = self._base.shadow
        return shadow.diff(self.snapshot.tree, shadow.tree_with(self.snapshot.tree, news))

    def since(self, tree: str) -> bytes:
        """What the person changed between an earlier snapshot and this one, as a patch.

        Empty where nothing did, or where the earlier one is not kept any more.
        """
        try:
            return self._base.shadow.diff(tree, self.snapshot.tree) if tree else b""
        except RepositoryState:
            return b""

    def pending(self) -> dict[str, bytes | None]:
        """Writes that the sandbox has not been given yet; the call clears them."""
        waiting = {path: self.read(path) if self.exists(path) else None for path in sorted(self._pending)}
        self._pending.clear()
        return waiting

    def absorb(self, changes: Mapping[str, bytes | None]) -> list[str]:
        """Take over what `Sandbox.changes` reported; gives the paths that really changed.

        New files that the repository ignores, and unsafe paths, are left out.
        """
        new = [path for path, data in changes.items() if data is not None and not self.exists(path)]
        left_out = self.ignored(new)
        taken = []
        for path, data in sorted(changes.items(), key=lambda item: (item[1] is not None, item[0])):
            if path in left_out or (data is None and not self.exists(path)):
                continue
            try:
                check_path(path, new=path not in self._base.entries)
                if data is not None:
                    self._check_place(path)
            except UnsafePath:
                continue
            if data is None or not self.exists(path) or self.read(path) != data:
                self._set(path, data)
                taken.append(path)
            self._pending.discard(path)
        return sorted(taken)

    def ignored(self, paths: Iterable[str]) -> set[str]:
        """Those of the paths that the repository's ignore rules cover."""
        return capture.ignored(self.snapshot.repo, self._base.shadow, paths)

    def filters(self) -> dict[str, str]:
        """Names of the git filters by path, of the changed files that git would pass through one.

        Raises NotARepository, RepositoryState.
        """
        place = repository.locate(self.snapshot.repo)
        paths = [os.fsencode(path) for path, data in self._overlay.items() if data is not None]
        return {
            os.fsdecode(path): name for path, name in filters.filters(place, self._base.shadow, paths).items()
        }

    def patched(self, patch: bytes) -> "WorkCopy":
        """A new copy: the snapshot with the patch applied. Raises PatchError; never a part of a patch."""
        twin = WorkCopy(self.snapshot, self._base)
        if not patch.strip():
            return twin
        shadow, tree = self._base.shadow, self.snapshot.tree
        new_tree = _apply(shadow, tree, patch)
        changes = shadow.changed_modes(tree, new_tree)
        for old, new, path in changes:
            _check_modes(old, new, path)
        news = shadow.entries(new_tree)
        for _, new, path in changes:
            twin._overlay[path] = None if new == "000000" else self._base.blobs.read(news[path].blob)
            if new != "000000":
                twin._modes[path] = new
            twin._pending.add(path)
        return twin

    def archive(self) -> bytes:
        """A tar archive of the present state: regular files, and symbolic links that stay inside."""
        stream = io.BytesIO()
        with tarfile.open(fileobj=stream, mode="w", format=tarfile.PAX_FORMAT) as tar:
            for path, entry in sorted(self._base.links.items()):
                target = self._base.blobs.read(entry.blob)
                if not leads_out(path, os.fsdecode(target)):  # its text may tell of the user's home
                    self._add(tar, path, target, link=True)
            for path, entry in sorted(self._base.entries.items()):
                if path not in self._overlay:
                    self._add(tar, path, self._base.blobs.read(entry.blob))
            for path, data in sorted(self._overlay.items()):
                if data is not None:
                    self._add(tar, path, data)
        return stream.getvalue()

    def _add(self, tar: tarfile.TarFile, path: str, data: bytes, *, link: bool = False) -> None:
        info = tarfile.TarInfo(path)
        info.mode = 0o755 if self.mode(path) == "100755" else 0o644
        if link:
            info.type, info.linkname = tarfile.SYMTYPE, os.fsdecode(data)
            tar.addfile(info)
        else:
            info.size = len(data)
            tar.addfile(info, io.BytesIO(data))


def _is_text(path: str) -> bool:
    """True for a name that is valid UTF-8."""
    return not any("\udc80" <= char <= "\udcff" for char in path)


def _apply(shadow: Shadow, tree: str, patch: bytes) -> str:
    """Tree id of `tree` with the patch applied; hunk counts that a person's edit broke are recounted."""
    reason = ""
    for extra in ([], ["--recount"]):
        with shadow.index(tree) as env:
            done = shadow.run("apply", "--cached", "--whitespace=nowarn", *extra, stdin=patch, env=env)
            if done.returncode == 0:
                try:
                    return shadow.git("write-tree", env=env).decode().strip()
                except RepositoryState as error:
                    raise PatchError("the patch makes no valid tree", error.message) from error
            reason = reason or done.stderr.decode("utf-8", "replace").strip()
    raise PatchError(f"the patch does not apply: {reason[:500]}", "check its context lines")


def _check_modes(old: str, new: str, path: str) -> None:
    """Raises PatchError for links, submodules, mode changes and unsafe names."""
    regular = ("000000", "100644", "100755")
    if old not in regular or new not in regular:
        raise PatchError(f"the patch makes or changes a link or submodule: {path!r}")
    if "000000" not in (old, new) and old != new:
        raise PatchError(f"the patch changes the file mode of {path!r}", "change the mode by hand")
    try:
        check_path(path, new=old == "000000")
    except UnsafePath as error:
        raise PatchError(error.message) from error
