"""A git directory outside the user's tree: snapshots, blobs and patches without the user's git configuration.

Every git process here gets an environment of its own, an empty configuration, and this directory as its
GIT_DIR, so nothing that the repository carries (hooks, filters, fsmonitor, diff drivers, includes) runs.
GitPython is not used for these commands because its `Git.execute` always merges `os.environ`, and with it
GIT_DIR, GIT_CONFIG_COUNT and the like, into the child's environment.
"""

import contextlib
import fcntl
import hashlib
import os
import re
import shutil
import subprocess
import tempfile
import threading
import weakref
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from sandbox.errors import DiskFull, RepositoryState
from sandbox.stuck import PATIENCE_S, check_rule_files

MIN_GIT = (2, 30)
GIT_SECONDS = 300.0
"""Longest time of one git process: a FIFO where git expects a file would hold it for ever."""
_LARGEST_PIECE = "1g"
"""Most memory git may ask for at once: an object of a stranger's store can claim any size."""
_CONFIG = """\
[core]
\trepositoryformatversion = 0
\tbare = true
\tfilemode = true
\tsymlinks = true
\tfsmonitor = false
\tuntrackedCache = false
\thooksPath = /dev/null
\tattributesFile = /dev/null
\texcludesFile = /dev/null
\tlooseCompression = 1
\tbigFileThreshold = 4m
\tquotePath = false
[gc]
\tauto = 0
[protocol]
\tallow = never
"""
_ATTRIBUTES = "* -text -eol -ident -filter -working-tree-encoding -export-ignore -export-subst -merge\n"
_DIFF = ("diff-tree", "-r", "--no-ext-diff", "--no-textconv", "--no-renames", "--no-color")


@dataclass(frozen=True, slots=True)
class Entry:
    """One leaf of a tree."""

    mode: str
    """`100644`, `100755` or `120000` (a symbolic link)."""
    blob: str
    """Git object id."""
    size: int
    """Bytes."""

    @property
    def is_link(self) -> bool:
        return self.mode == "120000"


def blob_id(data: bytes) -> str:
    """Git object id of a blob."""
    return hashlib.sha1(b"blob %d\0" % len(data) + data, usedforsecurity=False).hexdigest()


def _search_path() -> str:
    """PATH without entries that are relative: those would name a folder of the user's tree."""
    entries = os.environ.get("PATH", os.defpath).split(os.pathsep)
    return os.pathsep.join(entry for entry in entries if Path(entry).is_absolute())


def clean_environment() -> dict[str, str]:
    """What every git process gets: nothing of the user's but PATH, no configuration, no network."""
    return {
        "PATH": _search_path(),
        "HOME": os.devnull,
        "LC_ALL": "C",
        "GIT_CONFIG_GLOBAL": os.devnull,
        "GIT_CONFIG_SYSTEM": os.devnull,
        "GIT_CONFIG_NOSYSTEM": "1",
        "GIT_ATTR_NOSYSTEM": "1",
        "GIT_TERMINAL_PROMPT": "0",
        "GIT_ALLOW_PROTOCOL": "",
        "GIT_NO_LAZY_FETCH": "1",
        "GIT_NO_REPLACE_OBJECTS": "1",
        "GIT_ALLOC_LIMIT": _LARGEST_PIECE,
    }


def git_program() -> str:
    """Path of git. Raises RepositoryState when it is missing or too old."""
    program = shutil.which("git", path=_search_path())
    if program is None:
        raise RepositoryState("git is not installed", "install git, such as: apt-get install git")
    return program


def check_git_version() -> str:
    """What git says of its version. Raises RepositoryState when git is missing or older than MIN_GIT."""
    shown = subprocess.run(
        [git_program(), "--version"],
        env=clean_environment(), cwd="/", stdin=subprocess.DEVNULL, capture_output=True, check=False,
        timeout=20,
    ).stdout.decode("utf-8", "replace")  # fmt: skip
    found = re.search(r"(\d+)\.(\d+)", shown)
    if found is None or (int(found[1]), int(found[2])) < MIN_GIT:
        wanted = ".".join(map(str, MIN_GIT))
        raise RepositoryState(
            f"git is too old: {shown.strip()[:80] or 'unknown version'}, {wanted} is needed",
            f"install git {wanted} or newer",
        )
    return shown.strip()


class Shadow:
    """One shadow git directory; several processes may use it, `locked` guards its index."""

    def __init__(self, directory: Path, seconds: float = GIT_SECONDS) -> None:
        self.directory = directory
        self.seconds = seconds
        """Longest time of one git process."""

    @classmethod
    def of(cls, root: Path, shadow_root: Path, seconds: float = GIT_SECONDS) -> "Shadow":
        """The shadow of the repository at `root`, made when missing. Raises RepositoryState."""
        check_git_version()
        key = hashlib.sha256(os.fsencode(root)).hexdigest()[:20]
        shadow = cls(shadow_root / f"{key}.git", seconds)
        shadow._prepare()
        return shadow

    def _prepare(self) -> None:
        try:
            self.directory.mkdir(parents=True, exist_ok=True)
            if not (self.directory / "HEAD").exists():
                self.git("init", "-q", "--bare", "--template=")
            (self.directory / "info").mkdir(exist_ok=True)
            for name, text in (("config", _CONFIG), ("info/attributes", _ATTRIBUTES)):
                _write_if_different(self.directory / name, text)
        except OSError as error:
            raise RepositoryState(
                f"cannot use {self.directory}: {error.strerror}", "check free space and rights"
            ) from error

    @contextlib.contextmanager
    def locked(self) -> Iterator[None]:
        """Hold the shadow's index; a lock file that a killed process left is removed."""
        with (self.directory / "adi.lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            (self.directory / "index.lock").unlink(missing_ok=True)
            yield

    def environment(self, extra: Mapping[str, str] | None = None) -> dict[str, str]:
        """All variables a git process gets, with this directory as its GIT_DIR."""
        home = str(self.directory)
        own = {"HOME": home, "GIT_DIR": home, "GIT_LITERAL_PATHSPECS": "1"}
        return {**clean_environment(), **own, **(extra or {})}

    def git(
        self,
        *arguments: str,
        stdin: bytes = b"",
        env: Mapping[str, str] | None = None,
        codes: tuple[int, ...] = (0,),
    ) -> bytes:
        """Standard output of one git command. Raises RepositoryState, or DiskFull."""
        done = self.run(*arguments, stdin=stdin, env=env)
        if done.returncode in codes:
            return done.stdout
        text = done.stderr.decode("utf-8", "replace").strip()
        if "No space left" in text:
            raise DiskFull(
                f"the disk of {self.directory} is full", f"free some space below {self.directory.parent}"
            )
        raise RepositoryState(f"git {arguments[0]} failed: {text[:500] or done.returncode}")

    def run(
        self, *arguments: str, stdin: bytes = b"", env: Mapping[str, str] | None = None
    ) -> subprocess.CompletedProcess[bytes]:
        """One finished git process, whatever its exit code. Raises RepositoryState when it hangs."""
        tree = (env or {}).get("GIT_WORK_TREE")
        command = [git_program(), *arguments]
        with subprocess.Popen(
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env=self.environment(env),
            cwd=tree or self.directory,
        ) as process:
            try:
                output, errors = self._communicate(process, stdin, tree)
            except subprocess.TimeoutExpired as error:
                process.kill()
                raise self.hung(arguments[0]) from error
            except BaseException:
                process.kill()
                raise
        return subprocess.CompletedProcess(command, process.returncode, output, errors)

    def _communicate(
        self, process: "subprocess.Popen[bytes]", stdin: bytes, tree: str | None
    ) -> tuple[bytes, bytes]:
        """All output; a work tree over which git is silent for long is looked at once."""
        if tree is None or self.seconds <= PATIENCE_S:
            return process.communicate(stdin, timeout=self.seconds)
        try:
            return process.communicate(stdin, timeout=PATIENCE_S)
        except subprocess.TimeoutExpired:
            check_rule_files(tree)
        return process.communicate(timeout=self.seconds)

    def hung(self, command: str) -> RepositoryState:
        """The error for a git process that took too long."""
        return RepositoryState(
            f"git {command} did not end within {self.seconds:.0f} s",
            "look for FIFOs and slow disks: find . -type p",
        )

    def entries(self, tree: str) -> dict[str, Entry]:
        """Leaves of a tree by path, submodules left out; names that are no UTF-8 keep surrogate escapes."""
        found: dict[str, Entry] = {}
        for line in self.git("ls-tree", "-r", "-l", "-z", "--full-tree", tree).split(b"\0"):
            if not line:
                continue
            meta, name = line.split(b"\t", 1)
            mode, kind, blob, size = meta.split()
            if kind == b"blob":
                found[os.fsdecode(name)] = Entry(mode.decode(), blob.decode(), int(size))
        return found

    def store(self, data: bytes) -> str:
        """Write a blob, give its id."""
        return self.git("hash-object", "-w", "--no-filters", "--stdin", stdin=data).decode().strip()

    @contextlib.contextmanager
    def index(self, tree: str) -> Iterator[dict[str, str]]:
        """A temporary index holding `tree`; gives the environment that selects it."""
        with tempfile.TemporaryDirectory(dir=self.directory, prefix="index-") as folder:
            env = {"GIT_INDEX_FILE": str(Path(folder) / "index")}
            self.git("read-tree", tree, env=env)
            yield env

    def tree_with(self, tree: str, changes: Mapping[str, tuple[str, bytes] | None]) -> str:
        """Id of `tree` with paths set to (mode, bytes) or, with None, removed."""
        lines = []
        for path, new in changes.items():
            mode, blob = ("0", "0" * 40) if new is None else (new[0], self.store(new[1]))
            lines.append(f"{mode} {blob}\t".encode() + os.fsencode(path) + b"\0")
        with self.index(tree) as env:
            removals_first = sorted(lines, key=lambda line: not line.startswith(b"0 "))
            self.git("update-index", "-z", "--index-info", stdin=b"".join(removals_first), env=env)
            return self.git("write-tree", env=env).decode().strip()

    def diff(self, old: str, new: str) -> bytes:
        """Patch from one tree to another, binary-safe; no driver, no configuration."""
        return self.git(
            *_DIFF, "-p", "--binary", "--full-index", "--src-prefix=a/", "--dst-prefix=b/", old, new
        )

    def changed_modes(self, old: str, new: str) -> list[tuple[str, str, str]]:
        """(old mode, new mode, path) of every difference between two trees."""
        fields = self.git(*_DIFF, "--raw", "-z", old, new).split(b"\0")
        pairs = zip(fields[::2], fields[1::2], strict=False)
        return [(meta[1:7].decode(), meta[8:14].decode(), os.fsdecode(name)) for meta, name in pairs]


def _write_if_different(path: Path, text: str) -> None:
    data = text.encode()
    if not path.exists() or path.read_bytes() != data:
        path.write_bytes(data)


class BlobReader:
    """Reads blobs through one `git cat-file --batch` that stays open; safe to share between threads."""

    def __init__(self, shadow: Shadow) -> None:
        self._shadow = shadow
        self._lock = threading.Lock()
        self._process: subprocess.Popen[bytes] | None = None

    def read(self, blob: str) -> bytes:
        """Content of a blob. Raises RepositoryState when the shadow lost it."""
        with self._lock:
            process = self._started()
            assert process.stdin is not None
            assert process.stdout is not None
            try:
                process.stdin.write(blob.encode() + b"\n")
                process.stdin.flush()
                header = process.stdout.readline().split()
                if len(header) == 3 and header[1] == b"blob":
                    data = process.stdout.read(int(header[2]) + 1)[:-1]
                    if len(data) == int(header[2]):
                        return data
            except OSError:
                pass
            self._process = None
            _stop(process)
        raise RepositoryState(f"object {blob} is gone from {self._shadow.directory}", "start the task again")

    def _started(self) -> subprocess.Popen[bytes]:
        if self._process is None:
            self._process = subprocess.Popen(
                [git_program(), "cat-file", "--batch"],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,
                env=self._shadow.environment(),
                cwd=self._shadow.directory,
                start_new_session=True,  # Ctrl-C at the terminal is for the agent alone
            )
            weakref.finalize(self, _stop, self._process)
        return self._process


def _stop(process: subprocess.Popen[bytes]) -> None:
    for stream in (process.stdin, process.stdout):
        if stream is not None:
            with contextlib.suppress(OSError):
                stream.close()
    process.kill()
    process.wait()
