"""The sandbox of real runs: a hardened Docker container with a copy of the repository."""

import hashlib
import io
import tarfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from sandbox import counters, listing
from sandbox.archive import ArchiveCaps, read_archive
from sandbox.client import connect
from sandbox.command import WRAPPER, Command
from sandbox.container import WORK, Container, Ended
from sandbox.counters import Counters
from sandbox.errors import CopyOutRefused, DiskFull, SandboxError, SandboxLost
from sandbox.isolation import Isolation
from sandbox.owner import reap
from sandbox.packing import pack
from sandbox.paths import check_path
from sandbox.prepared import DEPS
from sandbox.protocol import ExecResult, ExecStatus, SandboxLimits, explain

if TYPE_CHECKING:
    from docker import APIClient

__all__ = ["DockerSandbox", "connect", "reap"]

MAX_COMMAND_BYTES = 100_000
"""The kernel's cap on one argument is 128 KiB."""
_MAX_LISTING_BYTES = 64 * 1024**2

_EXTRACT = 'rm -rf -- "$@" && exec tar -xpmf - --unlink-first --recursive-unlink'
_UNLOCK = f"""chmod 755 {WORK}; cd {WORK}
exec find . \\( -type d ! -perm -700 -o -type f ! -perm -400 \\) -execdir chmod u+rwX '{{}}' \\;"""
# Some programs want the folder itself, beside package.json.
_LINK_MODULES = (
    f"{{ [ ! -d {DEPS}/node_modules ] || [ -e node_modules ] || [ -L node_modules ] "
    f"|| ln -s {DEPS}/node_modules .; }} && "
)
_FETCH = "exec tar -cf - --format=pax --no-recursion --null --verbatim-files-from -T -"


def _nothing_ignored(_paths: list[str]) -> set[str]:
    return set()


class DockerSandbox:
    """A container with a copy of the repository in /work; implements sandbox.protocol.Sandbox.

    A lost container (or one that a command filled up) is replaced at the next use: archive, then all writes
    and all changes reported so far. Not safe to share between threads.
    """

    def __init__(
        self,
        archive: bytes,
        *,
        image: str,
        run_id: str,
        limits: SandboxLimits | None = None,
        ignored: Callable[[list[str]], set[str]] = _nothing_ignored,
        caps: ArchiveCaps | None = None,
        client: "APIClient | None" = None,
        isolation: Isolation | None = None,
        mounts: Mapping[str, Path] | None = None,
    ) -> None:
        """Start a container. `ignored` tells which new files are not worth copying out (WorkCopy.ignored).

        `mounts` are folders of the host by their place inside, read-only.
        Raises DockerMissing, ImageMissing, SandboxLost, WeakerThanAsked, DiskFull (the copy is larger than
        the work area).
        """
        self._isolation, self._mounts = isolation, mounts
        self._image, self._run_id, self._limits = image, run_id, limits or SandboxLimits()
        self._ignored, self._caps = ignored, caps or ArchiveCaps()
        self._archive = archive
        self._pruned = listing.pruned_names(_names(archive))
        self._overlay: dict[str, bytes | None] = {}
        self._written: dict[str, str] = {}
        self._listing: listing.Listing = {}
        self._notes: list[str] = []
        self._oom_kills = 0
        self._container: Container | None = None
        self._owns_client = client is None
        self._client = client or connect()
        try:
            self._ready()
        except BaseException:
            self.close()
            raise

    def __enter__(self) -> "DockerSandbox":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _ready(self) -> Container:
        """The container, a fresh one where there is none."""
        if self._container is None:
            container = Container(
                self._client, self._image, self._run_id, self._limits, self._isolation, self._mounts
            )
            try:
                list_script = f"{_LINK_MODULES}{listing.script(self._pruned)}"
                if self._overlay:
                    container.script(_EXTRACT, stdin=self._archive)
                    self._send(container, self._overlay)
                    shown = container.script(list_script, max_bytes=_MAX_LISTING_BYTES)
                else:
                    shown = container.script(
                        f"tar -xpmf - && {list_script}", stdin=self._archive, max_bytes=_MAX_LISTING_BYTES
                    )
                self._listing, _ = listing.parse(shown, self._limits.work_inodes)
            except BaseException:
                container.remove()
                raise
            self._oom_kills = 0
            self._container = container
        return self._container

    def run(
        self,
        command: str,
        *,
        timeout_s: float,
        stdin: bytes = b"",
        on_output: Callable[[bytes], None] | None = None,
    ) -> ExecResult:
        """Run a shell command in /work. Everything it started is dead when this returns or raises.

        Raises only what `on_output` raised, and KeyboardInterrupt.
        """
        encoded = command.encode("utf-8", "surrogateescape")
        if "\0" in command or len(encoded) > MAX_COMMAND_BYTES:
            return ExecResult("refused", None, b"", False, 0.0, explain("refused", self._limits, timeout_s))
        run = Command(self._limits, on_output)
        try:
            container = self._ready()
            ended = container.execute(
                ["/bin/sh", "-c", WRAPPER, "adi", command, "input" if stdin else "none"],
                timeout_s=timeout_s,
                on_frame=run.take,
                stdin=stdin or None,
                stop=run.must_stop,
            )
            run.ended()
            status = self._status(container, ended, run)
        except SandboxError as error:
            full = self._container is not None and self._container.died_of_memory()
            self._discard()
            reason = "its memory was used up" if full else error.message
            self._notes.append(f"the sandbox was lost, the next command gets a fresh one: {reason}")
            ended, status = Ended(None), "oom" if full else "sandbox-lost"
        except BaseException:
            self._stop_all()
            raise
        if run.failure is not None:
            raise run.failure
        return run.result(status, ended, explain(status, self._limits, timeout_s))

    def _status(self, container: Container, ended: Ended, run: Command) -> ExecStatus:
        """One status from the exit code and the kernel's counters, with nothing of the command alive."""
        swept = container.sweep()
        if not swept:
            self._drop_changes("it could not be emptied of processes")
        if run.over_cap:
            return "output-cap"
        if ended.exit_code == 0:
            return "ok"
        stopped: ExecStatus = "timeout" if ended.timed_out else "nonzero"
        return self._blame(container, run) or stopped if swept else stopped

    def _blame(self, container: Container, run: Command) -> ExecStatus | None:
        """Which limit a command that failed or did not end ran into, if any; a torn container is given up."""
        before = run.before.oom_kills
        try:
            found = Counters.read(container.script(counters.AFTER))
        except SandboxLost:
            raise
        except SandboxError:  # what commands left in memory leaves no room for a shell
            full = container.memory_is_full()
            self._drop_changes("nothing runs in it any more")
            return "oom" if full else None
        known, self._oom_kills = self._oom_kills, found.oom_kills or 0
        if self._oom_kills > (known if before is None else before):
            if found.held_bytes > self._limits.memory_bytes // 2:
                self._drop_changes("files in memory filled it")
            return "oom"
        if found.full:
            self._drop_changes("it was full")
            return "disk-full"
        return None

    def _stop_all(self) -> None:
        """End all commands, by removing the container where need be."""
        try:
            if self._container is not None and not self._container.sweep():
                self._discard()
        except SandboxError:
            self._discard()

    def _drop_changes(self, reason: str) -> None:
        """Start afresh at the next use, because what is in the container is torn; a note tells."""
        self._notes.append(f"the sandbox starts afresh, because {reason}: changes not yet seen are lost")
        self._discard()

    def _discard(self) -> None:
        """Give the container up; the next use makes a fresh one."""
        if self._container is not None:
            self._container.remove()
            self._container = None

    def write(self, files: Mapping[str, bytes | None]) -> None:
        """Write or delete files in the copy. Raises SandboxError.

        A container that is lost is replaced once, and one that cannot be written to: a command may have put a
        link in the place of a folder, or filled the work area.
        """
        for path in files:
            check_path(path)
        if not files:
            return
        try:
            self._send(self._ready(), files)
        except SandboxError as error:
            if isinstance(error, SandboxLost):
                self._discard()
            else:
                self._drop_changes("it could not be written to")
            self._send(self._ready(), files)
        self._overlay.update(files)
        self._written.update({path: _digest(data) for path, data in files.items()})

    def _send(self, container: Container, files: Mapping[str, bytes | None]) -> None:
        gone = [path for path, data in files.items() if data is None]
        for start in range(0, len(gone), 500):
            self._step(container, 'rm -rf -- "$@"', *(f"./{path}" for path in gone[start : start + 500]))
        present = {path: data for path, data in files.items() if data is not None}
        if present:
            self._step(container, _EXTRACT, stdin=pack(present))

    def _step(
        self,
        container: Container,
        text: str,
        *arguments: str,
        stdin: bytes | None = None,
        max_bytes: int = _MAX_LISTING_BYTES,
    ) -> bytes:
        """Output of a script of ours; when it fails, once more with what commands locked made accessible."""
        try:
            return container.script(text, *arguments, stdin=stdin, max_bytes=max_bytes)
        except (SandboxLost, CopyOutRefused, DiskFull):
            raise
        except SandboxError:
            container.script(_UNLOCK)
            return container.script(text, *arguments, stdin=stdin, max_bytes=max_bytes)

    def changes(self) -> dict[str, bytes | None]:
        """Regular files that commands changed, added or (None) deleted since the last call.

        `notes` tells what was left out. Raises CopyOutRefused past the caps (nothing is reported then),
        SandboxLost.
        """
        if self._container is None:
            return {}
        try:
            return self._changes(self._container)
        except SandboxLost:
            self._discard()
            raise

    def _changes(self, container: Container) -> dict[str, bytes | None]:
        shown = self._step(container, listing.script(self._pruned), max_bytes=_MAX_LISTING_BYTES)
        new, notes = listing.parse(shown, self._limits.work_inodes)
        found = listing.compare(self._listing, new, self._ignored, self._caps)
        files: dict[str, bytes | None] = dict.fromkeys(found.deleted)
        if found.fetch:
            names = b"".join(f"{path}\0".encode() for path in found.fetch)
            room = 2 * self._caps.total_bytes + 4096 * len(found.fetch)
            packed = self._step(container, _FETCH, stdin=names, max_bytes=room)
            contents = read_archive([packed], self._caps, wanted=frozenset(found.fetch))
            notes += contents.notes
            files.update(contents.files)
        own = [
            path for path, digest in self._written.items() if path in files and _digest(files[path]) == digest
        ]
        for path in own:  # what `write` put there is no change
            del files[path]
        self._written.clear()
        self._listing = new
        self._overlay.update(files)
        self._notes += notes + found.notes
        return dict(sorted(files.items()))

    @property
    def notes(self) -> list[str]:
        """What was not copied out and why, and how a sandbox was lost; cleared by reading."""
        notes, self._notes = self._notes, []
        return notes

    def close(self) -> None:
        """Remove the container; an interrupt waits for that."""
        try:
            self._discard()
        except KeyboardInterrupt:
            self._discard()
            raise
        finally:
            if self._owns_client:
                self._client.close()


def _names(archive: bytes) -> list[str]:
    with tarfile.open(fileobj=io.BytesIO(archive)) as tar:
        return tar.getnames()


def _digest(data: bytes | None) -> str:
    return "" if data is None else hashlib.sha256(data).hexdigest()
