"""The separate step that installs a repository's dependencies, and the images that keep the result.

Two containers, each without a network of its own. In the first one installers run, as the commands' user,
with the proxy's socket as the only way out and the dependency files as the only thing of the repository. Then
the proxy is closed for good, and only then does a package that must be installed itself see the repository's
copy. What the installers left in their folder is written into a second container that never runs, and that
becomes the image: so a hostile one can change what is in the folder, and neither the system nor the image's
settings.
"""

import contextlib
import shutil
import ssl
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import IO, TYPE_CHECKING, Final

from sandbox import owner
from sandbox.archive import shown
from sandbox.container import Container
from sandbox.dependencies import Wanted
from sandbox.egress import SOCKET, Asked, Egress, EgressCaps
from sandbox.errors import CopyOutRefused, DiskFull, PrepareFailed, SandboxError, SandboxLost
from sandbox.isolation import Isolation
from sandbox.layer import Layer
from sandbox.output import HeadTail
from sandbox.packing import pack
from sandbox.prepared import BASE, DEPS, HOME, LINKS, prune
from sandbox.protocol import SandboxLimits
from sandbox.registries import Registries
from sandbox.scripts import INSTALL, PROJECT, environment, gate_is_open
from sandbox.stream import STDOUT

if TYPE_CHECKING:
    from docker import APIClient

GATE: Final = "/gate"
KEPT: Final = 8
"""Prepared environments that stay; older ones are removed when a new one is made."""
MIB: Final = 1024**2
_ENTRIES: Final = 400_000
_STOP_BYTES: Final = 16 * MIB
_TAR: Final = f"exec tar -C {DEPS} -cf - --format=gnu --hard-dereference --numeric-owner ."

Progress = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class PrepareLimits:
    """What the step may use."""

    room_bytes: int = 3 * 1024**3
    """Size of the folder, in memory while it is made, downloads and unpacked files together."""
    memory_bytes: int = 2 * 1024**3
    """Memory for the installers themselves."""
    cpus: float = 2.0
    pids: int = 256
    install_s: float = 900.0
    project_s: float = 120.0

    @property
    def sandbox(self) -> SandboxLimits:
        return SandboxLimits(
            memory_bytes=self.memory_bytes + self.room_bytes,
            cpus=self.cpus,
            pids=self.pids,
            work_bytes=min(self.memory_bytes, 1024**3),
            ttl_s=self.install_s + self.project_s + 600,
        )


@dataclass(slots=True)
class Made:
    """What the step did."""

    tag: str
    asked: tuple[Asked, ...] = ()
    """Hosts that were asked for."""
    down_bytes: int = 0
    size: int = 0
    """Bytes of the files that were kept."""
    seconds: float = 0.0
    notes: list[str] = field(default_factory=list)


@dataclass(slots=True)
class Step:
    """One run of the step. Used once."""

    client: "APIClient"
    base: str
    """Image that the environment is added to."""
    tag: str
    wanted: Wanted
    registries: Registries
    run_id: str
    home: str = ""
    """Whose the result is: the eight newest of one home stay."""
    archive: Callable[[], bytes] = bytes
    """The repository's copy, asked for only when it is a package that must be installed itself."""
    limits: PrepareLimits = field(default_factory=PrepareLimits)
    caps: EgressCaps = field(default_factory=EgressCaps)
    isolation: Isolation | None = None
    """What the installers are kept apart by; None takes the engine's default runtime as it is."""
    progress: Progress = lambda _line: None
    asked: tuple[Asked, ...] = ()
    """Hosts that were asked for; also there when the step failed."""

    def run(self) -> Made:
        """Install, keep, and remove what is too old. Raises SandboxError; then nothing is kept."""
        began, made = time.monotonic(), Made(self.tag)
        with tempfile.TemporaryDirectory(prefix="adi-deps-") as folder, tempfile.TemporaryFile() as spool:
            self._check_disk(Path(folder))
            gate = Path(folder) / "gate"
            gate.mkdir()
            gate.chmod(0o755)
            workshop = _Workshop(self.client, self.base, self.run_id, self.limits, gate, self.isolation)
            try:
                self._install(workshop, gate, made)
                if self.wanted.installs_itself:
                    self._install_project(workshop, made)
                self._take_out(workshop, spool)
            finally:
                workshop.remove()
            self._keep(spool, made)
        prune(self.client, KEPT, self.home)
        made.seconds = time.monotonic() - began
        return made

    def _check_disk(self, folder: Path) -> None:
        needed = self.limits.room_bytes + 256 * MIB
        if shutil.disk_usage(folder).free < needed:
            raise DiskFull(
                f"{folder.parent} has less than {needed // MIB} MiB free for what is installed",
                "free some space, or lower sandbox.prepare_mb",
            )

    def _install(self, workshop: "_Workshop", gate: Path, made: Made) -> None:
        """The only part with a way out; it is closed before this returns or raises."""
        with Egress(gate, self.registries.places(self.wanted.kind), self.caps) as egress:
            try:
                if not gate_is_open(workshop, f"{GATE}/{SOCKET}"):
                    raise PrepareFailed(
                        "the container cannot reach the proxy's socket: this engine or runtime does not pass "
                        "unix sockets on",
                        "use an engine on this machine; with gVisor, give its runtime --host-uds=open, or "
                        "choose plain containers for this step: ADI_SANDBOX__ISOLATION=container adi prepare",
                    )
                given = {**self.wanted.inputs, "ca.pem": _trusted()}
                workshop.unpack(pack(given))
                variables = environment(self.wanted.kind, self.registries, GATE)
                self._execute(workshop, INSTALL[self.wanted.kind], variables, self.limits.install_s)
            finally:
                egress.close()
                self.asked = made.asked = egress.asked
                made.down_bytes = egress.down_bytes

    def _install_project(self, workshop: "_Workshop", made: Made) -> None:
        """With the repository's copy, and nothing to reach: the proxy is gone."""
        workshop.script("rm -rf -- ./* ./.[!.]*", timeout_s=30)
        workshop.unpack(self.archive())
        try:
            self._execute(workshop, PROJECT, {}, self.limits.project_s)
        except PrepareFailed as error:
            made.notes.append(f"the project itself is not installed, its packages are: {error.message}")

    def _execute(
        self, workshop: "_Workshop", script: str, variables: Mapping[str, str], timeout_s: float
    ) -> None:
        """Run an installer; everything it started is dead afterwards. Raises PrepareFailed."""
        output = HeadTail(64 * 1024)
        lines = _Lines(self.progress)

        def take(_kind: int, data: bytes) -> None:
            output.feed(data)
            lines.feed(data)

        ended = workshop.execute(
            ["/bin/sh", "-ec", script],
            timeout_s=timeout_s,
            on_frame=take,
            environment=variables,
            stop=lambda: output.total > _STOP_BYTES,
        )
        if not workshop.sweep():
            raise PrepareFailed("the installer left processes that cannot be ended", "look at its packages")
        if ended.exit_code != 0:
            raise PrepareFailed(*_explain(ended.exit_code, ended.timed_out, timeout_s, output.bytes()))

    def _take_out(self, workshop: "_Workshop", spool: IO[bytes]) -> None:
        """The folder as an archive on disk, bounded. Raises CopyOutRefused."""
        room = self.limits.room_bytes + 2048 * _ENTRIES

        def keep(kind: int, data: bytes) -> None:
            if kind == STDOUT:
                spool.write(data)

        ended = workshop.execute(
            ["/bin/sh", "-c", _TAR], timeout_s=600.0, on_frame=keep, stop=lambda: spool.tell() > room
        )
        if ended.exit_code != 0:
            raise CopyOutRefused("what was installed could not be copied out", "look at its packages")
        spool.seek(0)

    def _keep(self, spool: IO[bytes], made: Made) -> None:
        """Add the checked layer to the base in a container that never runs, and make it an image."""
        layer = Layer(DEPS, self.limits.room_bytes, _ENTRIES, LINKS[self.wanted.kind])
        chunks = iter(partial(spool.read, MIB), b"")
        with _engine("the prepared environment could not be kept"):
            labels = owner.labels(self.run_id)
            holder = self.client.create_container(
                self.base, ["/bin/true"], network_disabled=True, labels=labels, use_config_proxy=False
            )["Id"]
            patience, self.client.timeout = self.client.timeout, 600.0
            try:
                self.client.put_archive(holder, "/", layer.pack(chunks))
                repository, _, version = self.tag.partition(":")
                self.client.commit(
                    holder,
                    repository=repository,
                    tag=version,
                    message="dependencies installed by adi prepare",
                    conf={
                        "Labels": {**dict.fromkeys(labels, ""), BASE: self.base, HOME: self.home},
                        "Cmd": ["/bin/sh"],
                    },
                )
            finally:
                self.client.timeout = patience
                with contextlib.suppress(Exception):
                    self.client.remove_container(holder, force=True)
        made.size, made.notes = layer.size, made.notes + layer.notes


class _Workshop(Container):
    """A container as all others are, with a folder to install into and the proxy's socket."""

    def __init__(
        self,
        client: "APIClient",
        image: str,
        run_id: str,
        limits: PrepareLimits,
        gate: Path,
        isolation: Isolation | None = None,
    ) -> None:
        self._room = limits.room_bytes
        super().__init__(client, image, run_id, limits.sandbox, isolation, {GATE: gate})

    def _host_config(self, limits: SandboxLimits) -> dict[str, object]:
        config = super()._host_config(limits)
        tmpfs = config["Tmpfs"]
        assert isinstance(tmpfs, dict)
        room = f"rw,exec,nosuid,nodev,size={self._room},nr_inodes={_ENTRIES},uid=1000,gid=1000,mode=0755"
        config["Tmpfs"] = {**tmpfs, DEPS: room}
        return config

    def unpack(self, archive: bytes) -> None:
        """Files into the work area. Raises SandboxError."""
        if archive:
            self.script("exec tar -xpf -", stdin=archive)


def _trusted() -> bytes:
    """The authorities that this machine trusts, which are no secret: the image may lack a company's own."""
    found = ssl.get_default_verify_paths()
    for path in (found.cafile, "/etc/ssl/certs/ca-certificates.crt", "/etc/pki/tls/certs/ca-bundle.crt"):
        if path and Path(path).is_file():
            return Path(path).read_bytes()
    context = ssl.create_default_context()
    return "".join(map(ssl.DER_cert_to_PEM_cert, context.get_ca_certs(binary_form=True))).encode()


class _Lines:
    """Whole lines of output, as progress."""

    def __init__(self, progress: Progress) -> None:
        self._progress = progress
        self._rest = b""

    def feed(self, data: bytes) -> None:
        *whole, self._rest = (self._rest + data).split(b"\n")
        self._rest = self._rest[-1000:]
        for line in whole[:200]:
            if line.strip():
                self._progress(line.decode("utf-8", "backslashreplace").strip()[:160])


def _explain(code: int | None, timed_out: bool, timeout_s: float, output: bytes) -> tuple[str, str]:
    """Message and hint for an installer that failed."""
    lines = [line for line in output.decode("utf-8", "backslashreplace").splitlines() if line.strip()]
    told = [line for line in lines if line.startswith(("ERROR", "npm ERR!", "npm error"))] or lines[-3:]
    said = " ".join(line.strip() for line in told[:3])[:500]
    if timed_out:
        return f"the installer was stopped after {timeout_s:.0f} s", "see which package takes so long"
    if code is None:
        return "the installer wrote too much and was stopped", "look at its packages"
    if "No space left" in output.decode("utf-8", "replace"):
        return "what is installed is larger than its room", "raise sandbox.prepare_mb"
    if code == 137:
        return f"the installer was killed, probably for memory: {said}", "raise sandbox.memory_mb"
    if any(sign in said for sign in ("No matching distribution", "E404", "404 Not Found")):
        return f"the index does not have it: {said}", "check the name in the dependency file: is it a typo?"
    return (
        f"the installer failed: {said or shown(str(code))}",
        "mend the dependency file, or commit what is needed",
    )


@contextlib.contextmanager
def _engine(message: str) -> Iterator[None]:
    """Failures of the engine as SandboxLost."""
    import docker
    import requests

    try:
        yield
    except SandboxError:
        raise
    except (docker.errors.DockerException, requests.RequestException, OSError) as error:
        raise SandboxLost(f"{message}: {error}", "see whether the engine answers: adi doctor") from error


def limits_of(memory_mb: int, prepare_mb: int, cpus: float, pids: int) -> PrepareLimits:
    """Limits from settings, in MiB."""
    room, memory = prepare_mb * MIB, memory_mb * MIB
    return replace(PrepareLimits(), room_bytes=room, memory_bytes=memory, cpus=cpus, pids=pids)
