"""What a repository holds, as its last commit has it, or what a folder without git holds; read only.

Git runs on a git directory of ADI's own that borrows the repository's objects (sandbox/shadow.py), so no
hook, filter or configuration of the repository plays a part. Files of a folder are opened without following
links.
"""

import os
import re
import stat
import tempfile
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final, Protocol

from feedback.corpus_rules import ATTRIBUTES, NO_TRAIN, Attributes, OptOut, attributes, opt_out
from feedback.errors import DataError
from sandbox.errors import NotARepository, RepositoryState, UnsafePath
from sandbox.gitview import objects
from sandbox.listing import CACHES
from sandbox.paths import fault, is_git_name, past_caps
from sandbox.repository import Head, Place, locate, read_head
from sandbox.shadow import BlobReader, Shadow
from sandbox.tree import Tree

MAX_BYTES: Final = 1_000_000
"""Bytes of the largest file that is taken; The Stack has the same cap."""
MAX_FILES: Final = 1_000_000
_MAX_RULE_BYTES: Final = 1024**2
_BINARY_HEAD: Final = 8000
"""As many bytes as git looks at for a NUL."""
_CODING = re.compile(rb"^[ \t\f]*(?:#|//|/\*|%|;|--|\.\.)?.*?coding[:=][ \t]*([-_.a-zA-Z0-9]{2,30})")
_ENCODINGS: Final = re.compile(
    r"(?i)(?:latin[-_]?[19]|iso[-_]?8859[-_]\d{1,2}|(?:windows[-_]?|cp)125\d|koi8[-_][ru]|euc[-_](?:jp|kr)"
    r"|shift[-_]jis|gb(?:k|2312|18030)|big5|mac[-_]roman|ascii|us[-_]ascii)"
)
"""Those that turn bytes into text and nothing else."""


class _Store(Protocol):
    def load(self, path: str) -> bytes:
        """Bytes of a file that was listed. Raises OSError, UnsafePath, RepositoryState."""


@dataclass(slots=True)
class Source:
    """A repository or folder that is open for reading; feedback/files.py says what detectors need of it."""

    root: Path
    """Top of the repository, or the folder."""
    name: str
    """Of the folder that was named, such as `parser`."""
    commit: str
    """Empty without git, and before the first commit."""
    sizes: dict[str, int]
    """Bytes by path, of all regular files whose names are text, sorted."""
    left_out: Counter[str]
    """Reason -> entries that are no such file."""
    notes: list[str]
    """What a reader should know, one sentence each."""
    store: _Store
    prefix: str = ""
    """What paths of the named folder begin with, such as `src/`; the rest only rules them."""
    refused: OptOut = field(default_factory=OptOut)
    attributes: Attributes = field(default_factory=Attributes)

    def wanted(self) -> list[str]:
        """The files that were asked for."""
        return [path for path in self.sizes if path.startswith(self.prefix)]

    def paths(self) -> list[str]:
        return list(self.sizes)

    def exists(self, path: str) -> bool:
        return path in self.sizes

    def size(self, path: str) -> int:
        return self.sizes[path]

    def read(self, path: str) -> bytes:
        return self.store.load(path)


@contextmanager
def opened(folder: Path) -> Iterator[Source]:
    """The repository at or above `folder`, its files at or below it; or the folder where git tracks none.

    Raises DataError for what is no folder, and SandboxError for a repository that cannot be read.
    """
    start = folder.expanduser().resolve()
    if not start.is_dir():
        raise DataError(f"{folder} is no folder", "name a git repository or a folder of code")
    try:
        place: Place | None = locate(start)
    except NotARepository:
        if os.path.lexists(start / ".git"):  # damaged, or leading elsewhere: not to be read as mere files
            raise
        place = None
    if place is not None:
        with _of_git(place, start) as source:
            if place.root == start or source.wanted():
                yield _ruled(source)
                return
    try:
        tree = Tree(start)
    except OSError as error:
        raise DataError(f"{folder} cannot be read: {error.strerror}", "give yourself the right to") from error
    with tree:
        yield _ruled(_of_folder(start, tree))


@contextmanager
def _of_git(place: Place, start: Path) -> Iterator[Source]:
    head = read_head(place)
    _check_head(place, head)
    inside = start.relative_to(place.root).as_posix()
    prefix = "" if inside == "." else f"{inside}/"
    name = f"{place.root.name}/{inside}" if prefix else place.root.name
    with tempfile.TemporaryDirectory(prefix="adi-corpus-") as own:
        shadow = Shadow.of(place.root, Path(own))
        borrowed = shadow.directory / "objects" / "info" / "alternates"
        borrowed.parent.mkdir(parents=True, exist_ok=True)
        borrowed.write_text(objects(place) + "\n", encoding="utf-8", errors="surrogateescape")
        store = _Blobs(BlobReader(shadow), {})
        source = Source(place.root, name, head.commit, {}, Counter(), [], store, prefix)
        if head.commit:
            _list(shadow, head.commit, source, store)
        else:
            source.notes.append("it has no commit yet, so it holds nothing")
        yield source


def _check_head(place: Place, head: Head) -> None:
    if len(head.commit) == 64:
        raise RepositoryState(
            f"{place.root} names its objects by SHA-256, which ADI cannot read yet",
            "git clone into a repository of `git init --object-format=sha1`",
        )
    if not head.commit and not head.branch:
        raise RepositoryState(f"the HEAD of {place.root} cannot be read", "look at it: git status")


@dataclass(frozen=True, slots=True)
class _Blobs:
    reader: BlobReader
    ids: dict[str, str]

    def load(self, path: str) -> bytes:
        return self.reader.read(self.ids[path])


def _list(shadow: Shadow, commit: str, source: Source, store: _Blobs) -> None:
    try:
        listed = shadow.git("ls-tree", "-r", "-l", "-z", "--full-tree", f"{commit}^{{tree}}")
    except RepositoryState as error:
        raise RepositoryState(
            f"the last commit of {source.root} cannot be read: {error.message}", "look at it: git fsck"
        ) from error
    lines = listed.split(b"\0")
    for line in filter(None, lines):
        meta, name = line.split(b"\t", 1)
        mode, kind, blob, size = meta.split()
        path = os.fsdecode(name)
        reason = "submodule" if kind == b"commit" else "link" if mode == b"120000" else _bad_name(path)
        if reason or not size.isdigit():
            source.left_out[reason or "cannot be read"] += path.startswith(source.prefix)
        else:
            source.sizes[path], store.ids[path] = int(size), blob.decode()
    _check_count(source)
    source.sizes = dict(sorted(source.sizes.items()))


def _bad_name(path: str) -> str:
    return "name is no safe UTF-8 path" if fault(path) or past_caps(path) else ""


def _check_count(source: Source) -> None:
    if len(source.sizes) > MAX_FILES:
        raise DataError(f"{source.root} holds more than {MAX_FILES:,} files", "name a folder of it")


@dataclass(frozen=True, slots=True)
class _OnDisk:
    tree: Tree

    def load(self, path: str) -> bytes:
        found = self.tree.read(path, _MAX_RULE_BYTES)
        if found is None:
            raise FileNotFoundError(path)
        return found.data


def _of_folder(root: Path, tree: Tree) -> Source:
    """Files below a folder; caches and repositories in it are not entered, and that is told."""
    source, caches = Source(root, root.name, "", {}, Counter(), [], _OnDisk(tree)), list[str]()
    for folder, names, files in os.walk(root, onerror=lambda _: source.left_out.update(["cannot be read"])):
        inside = Path(folder).relative_to(root).as_posix()
        prefix = "" if inside == "." else f"{inside}/"
        for name in sorted(names):
            if name in CACHES:
                caches.append(f"{prefix}{name}")
            elif is_git_name(name) or os.path.lexists(Path(folder, name, ".git")):
                source.notes.append(f"{_shown(prefix + name)} was not entered: it is a git repository")
            elif Path(folder, name).is_symlink():
                source.left_out["link"] += 1
            else:
                continue
            names.remove(name)
        for name in files:
            _look(source, f"{prefix}{name}", Path(folder, name))
        _check_count(source)
    if caches:
        source.notes.append(f"caches were not entered: {len(caches)}, such as {_shown(min(caches))}")
    source.sizes = dict(sorted(source.sizes.items()))
    return source


def _shown(path: str) -> str:
    return path.encode("utf-8", "backslashreplace").decode()


def _look(source: Source, path: str, full: Path) -> None:
    try:
        info = full.lstat()
    except OSError:
        source.left_out["cannot be read"] += 1
        return
    reason = "link" if stat.S_ISLNK(info.st_mode) else "" if stat.S_ISREG(info.st_mode) else "no regular file"
    if reason := reason or _bad_name(path):
        source.left_out[reason] += 1
    else:
        source.sizes[path] = info.st_size


def _ruled(source: Source) -> Source:
    """With the rules that it carries, those at its top also as they are on the disk now."""
    refused = OptOut()
    if os.path.lexists(source.root / NO_TRAIN):
        refused |= opt_out(_on_disk(source.root, NO_TRAIN))
    if source.exists(NO_TRAIN):
        refused |= opt_out(_rules(source, NO_TRAIN))
    source.refused = refused
    files = [path for path in source.sizes if path.rpartition("/")[2] == ATTRIBUTES]
    source.attributes = attributes({path: _rules(source, path) for path in files})
    return source


def _rules(source: Source, path: str) -> bytes:
    """Empty for what is too large, or cannot be read."""
    with suppress(OSError, UnsafePath):
        return source.read(path) if source.size(path) <= _MAX_RULE_BYTES else b""
    return b""


def _on_disk(root: Path, path: str) -> bytes:
    """Empty, which says everything, for what is there and cannot be read."""
    with suppress(OSError, UnsafePath), Tree(root) as tree:
        found = tree.read(path, _MAX_RULE_BYTES)
        return found.data if found else b""
    return b""


def text_of(data: bytes) -> tuple[str, str]:
    """The text of a file and how it was encoded (`utf-8`, ...); an empty encoding for what is no text."""
    for mark, encoding in ((b"\xff\xfe", "utf-16"), (b"\xfe\xff", "utf-16")):
        if data.startswith(mark):
            return _decoded(data, encoding)
    if b"\0" in data[:_BINARY_HEAD]:
        return "", ""
    text, encoding = _decoded(data, "utf-8-sig")
    if encoding:
        return text, "utf-8"
    for line in data.split(b"\n", 2)[:2]:
        found = _CODING.match(line[:200])
        if found and _ENCODINGS.fullmatch(name := found[1].decode("ascii")):
            return _decoded(data, name.lower())
    return "", ""


def _decoded(data: bytes, encoding: str) -> tuple[str, str]:
    try:
        return data.decode(encoding), encoding
    except (UnicodeDecodeError, LookupError):
        return "", ""
