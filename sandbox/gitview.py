"""What git sees of the user's files: which are tracked, untracked and not ignored, or held off the disk.

Asked of a copy of the user's index through the shadow, so that none of the user's configuration is read.
"""

import os
import select
import shutil
import subprocess
import tempfile
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from sandbox.credentials import asks_for_text, name_tells
from sandbox.errors import RepositoryState, UnsafePath
from sandbox.repository import Place, beginning, configured
from sandbox.shadow import Shadow, blob_id, git_program
from sandbox.stuck import PATIENCE_S, check_rule_files
from sandbox.tree import Tree

_MAX_INDEX = 512 * 1024**2
"""Bytes of the user's index files; one of 100,000 files has about 10 MB."""
_MAX_ALTERNATES = 1024**2


@dataclass(frozen=True, slots=True)
class Names:
    """Paths as git sees them."""

    tracked: set[bytes]
    edited: set[bytes]
    """Tracked paths that could hold secrets by their names, and differ from what was added to git."""
    untracked: set[bytes]
    """Those that git does not ignore."""
    skipped: set[bytes]
    """Tracked paths that a sparse checkout keeps off the disk."""


def look(place: Place, shadow: Shadow, cap: int, tree: Tree) -> Names:
    """All names; untracked ones end soon after `cap`. Raises RepositoryState."""
    with tempfile.TemporaryDirectory(dir=shadow.directory, prefix="user-index-") as folder:
        env = {
            "GIT_WORK_TREE": str(place.root),
            "GIT_INDEX_FILE": str(Path(folder) / "index"),
            "GIT_ALTERNATE_OBJECT_DIRECTORIES": objects(place),
        }
        try:
            _copy_index(place, shadow, Path(folder))
            shown = shadow.git("ls-files", "-t", "-s", "-z", "--cached", env=env).split(b"\0")
        except RepositoryState as error:
            if configured(place.common_dir / "config", "extensions.objectFormat") == "sha256":
                raise RepositoryState(
                    f"{place.root} names its objects by SHA-256, which ADI cannot read yet",
                    "git clone into a repository of `git init --object-format=sha1`",
                ) from error
            raise RepositoryState(
                f"cannot read the index of {place.root}: {error.message}", error.hint or "mend it: git status"
            ) from error
        finally:
            for leftover in shadow.directory.glob("sharedindex.*"):
                leftover.unlink()
        untracked = set(_bounded_untracked(shadow, env, cap))
    blobs, skipped = {}, set()
    for line in filter(None, shown):
        meta, _, path = line.partition(b"\t")
        tag, _, blob, _ = meta.split()
        blobs[path] = blob.decode()
        if tag == b"S":
            skipped.add(path)
    return Names(set(blobs), _edited(blobs, tree), untracked - {b""}, skipped)


def _edited(blobs: Mapping[bytes, str], tree: Tree) -> set[bytes]:
    """Those of the files that could hold secrets whose bytes are not the blob that git has."""
    found = set()
    for path, blob in blobs.items():
        name = os.fsdecode(path)
        if name_tells(name) or asks_for_text(name):
            try:
                now = tree.read(name)
            except (OSError, UnsafePath):
                continue
            if now is None or blob_id(now.data) != blob:
                found.add(path)
    return found


def _copy_index(place: Place, shadow: Shadow, folder: Path) -> None:
    """Raises RepositoryState for an index past its cap."""
    named = (place.git_dir / "index", *place.git_dir.glob("sharedindex.*"))
    sources = [path for path in named if path.is_file()]
    size = sum(source.stat().st_size for source in sources)
    if size > _MAX_INDEX:
        raise RepositoryState(f"it has {size / 1e6:.0f} MB", "make it anew: rm .git/index && git reset")
    for source in sources:
        # git looks for a split index beside GIT_DIR/index, not beside GIT_INDEX_FILE
        target = folder if source.name == "index" else shadow.directory
        shutil.copyfile(source, target / source.name)


def objects(place: Place) -> str:
    """The user's objects as one entry of GIT_ALTERNATE_OBJECT_DIRECTORIES. Raises RepositoryState."""
    more = place.common_dir / "objects" / "info" / "alternates"
    if os.path.lexists(more) and len(beginning(more, _MAX_ALTERNATES + 1)) > _MAX_ALTERNATES:
        raise RepositoryState(f"{more} is too large", f"look at it: head -c 300 {more}")
    path = str(place.common_dir / "objects")
    text = path.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
    return f'"{text}"'


def _bounded_untracked(shadow: Shadow, env: dict[str, str], cap: int) -> Iterator[bytes]:
    """Untracked paths, the listing stopped soon after the cap: a forgotten data folder can hold millions."""
    process = subprocess.Popen(
        [git_program(), "ls-files", "-z", "--others", "--exclude-standard"],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        env=shadow.environment(env),
        cwd=env["GIT_WORK_TREE"],
    )
    assert process.stdout is not None
    until = time.monotonic() + shadow.seconds
    try:
        with process.stdout as stream:
            rest, count = b"", 0
            if not _ready(stream.fileno(), min(PATIENCE_S, shadow.seconds)):
                check_rule_files(env["GIT_WORK_TREE"])
            while count <= cap and _ready(stream.fileno(), until - time.monotonic()):
                piece = os.read(stream.fileno(), 1 << 16)
                if not piece:
                    return
                *names, rest = (rest + piece).split(b"\0")
                count += len(names)
                yield from names
    finally:
        process.kill()
        process.wait()
    if time.monotonic() > until:
        raise shadow.hung("ls-files")


def _ready(file: int, seconds: float) -> bool:
    """True when the pipe has bytes, or has ended, within this time."""
    return bool(select.select([file], [], [], max(0.0, seconds))[0])
