"""What every containment case shares: names of its own, a small sandbox, and a look at what it left.

The cases and their ids are in docs/security.md. `Contained.leftovers` is the common post-check: nothing of
the case's own may be left (containers, networks, volumes, processes, children, mounts, temporary files, open
descriptors, threads), every run in the store has an end, and a next sandbox works.
"""

import gc
import io
import subprocess
import tarfile
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from uuid import uuid4

import docker
import psutil

from memory.records import RunSummary
from memory.store import Store
from sandbox.client import connect
from sandbox.docker import DockerSandbox
from sandbox.images import recipe
from sandbox.owner import RUN
from sandbox.protocol import SandboxLimits

LIMITS = SandboxLimits(
    memory_bytes=256 * 1024**2,
    work_bytes=32 * 1024**2,
    work_inodes=3000,
    pids=64,
    output_bytes=4096,
    output_stop_bytes=4 * 1024**2,
    ttl_s=300,
)
"""Small, so that a case reaches them quickly; the kind of limit is that of real runs."""

PATIENCE_S = 5.0
"""Longest wait for a leftover to go by itself: the kernel and the engine need a moment."""


def pack(files: Mapping[str, bytes]) -> bytes:
    """A tar archive of regular files, as WorkCopy.archive gives it."""
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w") as tar:
        for path, data in files.items():
            info = tarfile.TarInfo(path)
            info.size = len(data)
            tar.addfile(info, io.BytesIO(data))
    return stream.getvalue()


def _descriptors() -> dict[int, str]:
    """Open files of this process by number."""
    found = {}
    for entry in Path("/proc/self/fd").iterdir():
        try:
            found[int(entry.name)] = str(entry.readlink())
        except OSError:
            continue
    return found


def _mounts(tmp: Path, containers: set[str]) -> set[str]:
    """Mount points below a case's own directories, and those of its own containers."""
    points = {line.split()[4] for line in Path("/proc/self/mountinfo").read_text().splitlines()}
    return {p for p in points if p.startswith(str(tmp)) or any(c in p for c in containers)}


@dataclass(slots=True)
class Contained:
    """One case: what is its own, and how the machine was before it."""

    tmp: Path
    """TMPDIR of the case and of its children; must be empty after it."""
    home: Path
    """ADI_HOME of the case."""
    client: docker.APIClient | None
    """The engine; None for a case that needs none."""
    run_id: str = field(default_factory=lambda: f"case-{uuid4().hex[:10]}")
    """Label of the case's sandboxes; ids that begin with it count as the case's own too."""
    marker: str = field(default_factory=lambda: f"{uuid4().int % 10**9 + 10**9}")
    """A number for command lines (`sleep 1234567890`) by which a process is known from outside."""
    seen: set[str] = field(default_factory=set)
    """Containers of the case that were seen running."""
    _children: set[int] = field(default_factory=set)
    _descriptors: dict[int, str] = field(default_factory=dict)
    _threads: set[int] = field(default_factory=set)

    def begin(self) -> None:
        """Remember how the machine is now."""
        gc.collect()
        gc.freeze()  # what is there already is not the case's: looking through it again takes half a second
        self._children = {child.pid for child in psutil.Process().children(recursive=True)}
        self._threads = {thread.ident or 0 for thread in threading.enumerate()}
        self._descriptors = _descriptors()

    @contextmanager
    def sandbox(
        self,
        files: Mapping[str, bytes] | None = None,
        *,
        name: str = "",
        limits: SandboxLimits = LIMITS,
        **changed: int | float,
    ) -> Iterator[DockerSandbox]:
        """A real sandbox of the case's own; keywords replace single limits."""
        made = DockerSandbox(
            pack(files or {"a.py": b"x = 1\n"}),
            image=recipe("python").tag,
            run_id=self.run_id + name,
            limits=replace(limits, **changed),
            client=self.client,
        )
        with made:
            self.containers()
            yield made

    def containers(self) -> list[str]:
        """Ids of the case's own containers, running or not."""
        if self.client is None:
            return []
        runs = {run.id for run in self._runs()}
        found = [
            str(one["Id"])
            for one in self.client.containers(all=True, filters={"label": RUN})
            if one["Labels"][RUN].startswith(self.run_id) or one["Labels"][RUN] in runs
        ]
        self.seen.update(found)
        return found

    def inspect(self) -> dict[str, object]:
        """What the engine tells of the case's only container."""
        assert self.client is not None
        (container,) = self.containers()
        return dict(self.client.inspect_container(container))

    def marked(self) -> list[str]:
        """Command lines on this machine, containers included, that hold the marker."""
        found = []
        for process in psutil.process_iter():
            try:
                line = " ".join(process.cmdline())
                if self.marker in line and process.status() != psutil.STATUS_ZOMBIE:
                    found.append(line)
            except psutil.Error:
                continue
        return found

    def leftovers(self) -> list[str]:
        """What the case left behind, one sentence each, after a moment of patience.

        The case's connection to the engine is closed first, so that it hides no descriptor, then made anew.
        """
        if self.client is not None:
            self.client.close()
        found = _patiently(self._own_process)
        if self.client is not None:
            self.client = connect()
        return found + _patiently(self._elsewhere)

    def _elsewhere(self) -> list[str]:
        """What is left outside this process."""
        return [
            *(f"container {one[:12]}" for one in self.containers()),
            *self._engine_objects(),
            *(f"process {line[:80]}" for line in self.marked()),
            *(f"temporary file {path}" for path in self.tmp.iterdir()),
            *(f"mount {point}" for point in _mounts(self.tmp, self.seen)),
            *(f"run {run.id} has no end" for run in self._runs() if not run.ended),
        ]

    def _runs(self) -> list[RunSummary]:
        database = self.home / "adi.db"
        if not database.exists():
            return []
        with Store.open(database) as store:
            return list(store.runs(limit=100))

    def _engine_objects(self) -> list[str]:
        if self.client is None:
            return []
        own = {"label": f"{RUN}={self.run_id}"}
        networks = [f"network {one['Name']}" for one in self.client.networks(filters=own)]
        volumes = self.client.volumes(filters=own)["Volumes"] or []
        return networks + [f"volume {one['Name']}" for one in volumes]

    def _own_process(self) -> list[str]:
        gc.collect()
        now = psutil.Process().children(recursive=True)
        children = [f"child {child.pid}" for child in now if child.pid not in self._children]
        threads = [
            f"thread {thread.name}"
            for thread in threading.enumerate()
            if (thread.ident or 0) not in self._threads
        ]
        opened = [
            f"descriptor {number} {target}"
            for number, target in _descriptors().items()
            if self._descriptors.get(number) != target and not target.startswith("/proc/")
        ]
        return children + threads + opened

    def next_task_fails(self) -> str:
        """What keeps a sandbox from being started and used after the case; empty when nothing does."""
        if self.client is None:
            return ""
        with self.sandbox(name="-next") as made:
            result = made.run("echo next", timeout_s=60)
        return "" if (result.status, result.output) == ("ok", b"next\n") else repr(result)


def _patiently(look: Callable[[], list[str]]) -> list[str]:
    """What a look finds, once nothing goes away by itself any more."""
    deadline = time.monotonic() + PATIENCE_S
    while (found := look()) and time.monotonic() < deadline:
        time.sleep(0.1)
    return found


def alive(folder: Path) -> bool:
    """True while this machine answers: a process can be started, and the disk takes a file."""
    (folder / "alive").write_bytes(b"1" * 4096)
    (folder / "alive").unlink()
    return subprocess.run(["true"], check=False).returncode == 0  # unlike spawnvp it copies no page table
