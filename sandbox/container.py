"""One hardened container and the commands in it.

The main process is a sleep that ends after the TTL, under a user id of its own; commands run under another.
So one `kill -9 -1` as the commands' user ends everything they started, `setsid` children and fork bombs too,
and cannot touch the main process: the container need not be restarted for a timeout.
"""

import contextlib
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING
from uuid import uuid4

from sandbox import seccomp
from sandbox.errors import CopyOutRefused, DiskFull, ImageMissing, SandboxError, SandboxLost
from sandbox.isolation import PROOF, Isolation, refuse_dropped, refuse_weaker
from sandbox.owner import labels
from sandbox.protocol import SandboxLimits
from sandbox.stream import STDOUT, Hijacked, remaining

if TYPE_CHECKING:
    from docker import APIClient

WORK = "/work"
MAIN_USER = "65533:65533"
COMMAND_USER = "1000:1000"
ENVIRONMENT = {
    "HOME": "/tmp",
    "PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
    "LANG": "C.UTF-8",
    "PYTHONDONTWRITEBYTECODE": "1",
    "GOCACHE": "/tmp/go-cache",
    "GOPATH": "/tmp/go",
    "GOTOOLCHAIN": "local",
    "GOPROXY": "off",
    "CARGO_HOME": "/tmp/cargo",
    "CARGO_NET_OFFLINE": "true",
    "CARGO_TARGET_DIR": "/tmp/cargo-target",  # beside the work area: what is built there is no change
    "GODEBUG": "installgoroot=all",  # or Go would compile its standard library anew
}
"""All variables a command gets; nothing of the host."""

SHM_BYTES = 64 * 1024**2
_POLL_S = 0.5
_SWEEP_S = 5.0
_REMOVE_S = 10.0
_WITHDRAW_S = 3.0
_MAIN_PROCESSES = 2  # init and the sleep
_ENGINE = "see whether the engine answers: adi doctor"


@dataclass(frozen=True, slots=True)
class Ended:
    """How an exec ended."""

    exit_code: int | None
    """None when it was still running: at the deadline, or when `stop` asked for the end."""
    timed_out: bool = False


class Container:
    """A running container. Every method raises SandboxLost when the container or the engine is gone."""

    def __init__(
        self,
        client: "APIClient",
        image: str,
        run_id: str,
        limits: SandboxLimits,
        isolation: Isolation | None = None,
        mounts: Mapping[str, Path] | None = None,
    ) -> None:
        """Start it; `isolation` None takes the engine's default runtime as it is.

        `mounts` are folders of the host by their place inside, where nothing can be written to them.
        Raises WeakerThanAsked, with nothing run in it, when not all that was asked for is in force.
        """
        self._client = client
        self._isolation = isolation
        self._mounts = dict(mounts or {})
        self._own_kernel = False
        self.id = f"adi-{uuid4().hex[:16]}"
        """What the engine calls it: a name of ours until the engine has told its id."""
        hint = isolation.hint if isolation else _ENGINE
        with _lost_as("the container could not be started", image, hint):
            try:
                self._create(image, run_id, limits)
                client.start(self.id)
                if isolation is not None and isolation.needs_proof:
                    self._own_kernel = isolation.has_own_kernel(self._ask(PROOF))
            except KeyboardInterrupt:
                self._withdraw()
                raise
            except BaseException:
                self.remove()
                raise

    def _create(self, image: str, run_id: str, limits: SandboxLimits) -> None:
        asked = self._host_config(limits)
        made = self._client.create_container(
            image,
            ["/bin/sleep", f"{limits.ttl_s:.0f}"],
            name=self.id,
            user=MAIN_USER,
            working_dir=WORK,
            hostname="sandbox",
            environment=ENVIRONMENT,
            entrypoint=[],
            labels=labels(run_id),
            host_config=asked,
            use_config_proxy=False,  # proxy addresses of the host may hold a password
        )
        self.id = made["Id"]
        refuse_dropped(made.get("Warnings") or ())
        refuse_weaker(asked, MAIN_USER, self._client.inspect_container(self.id))

    def _host_config(self, limits: SandboxLimits) -> dict[str, object]:
        own = "uid=1000,gid=1000,mode=0755"
        small = max(1 << 20, min(limits.work_bytes // 2, 512 * 1024**2))
        common = f"rw,exec,nosuid,nodev,nr_inodes={limits.work_inodes}"
        config: dict[str, object] = self._client.create_host_config(
            network_mode="none",
            dns=["127.0.0.1"],  # else the engine copies the host's resolv.conf: its servers and domain
            dns_search=["."],
            cap_drop=["ALL"],
            security_opt=["no-new-privileges", f"seccomp={seccomp.profile()}"],
            read_only=True,
            init=True,
            ipc_mode="private",
            tmpfs={
                WORK: f"{common},size={limits.work_bytes},{own}",
                "/tmp": f"{common},size={small},mode=1777",
                "/dev/shm": f"{common.replace('exec', 'noexec')},size={SHM_BYTES},mode=1777",
            },
            mem_limit=limits.memory_bytes,
            memswap_limit=limits.memory_bytes,
            pids_limit=self._isolation.tasks(limits.pids) if self._isolation else limits.pids,
            runtime=self._isolation.runtime if self._isolation else None,
            cpu_period=100_000,
            cpu_quota=max(1000, int(limits.cpus * 100_000)),
            log_config={"Type": "none"},
            ulimits=[{"Name": "core", "Soft": 0, "Hard": 0}, {"Name": "nofile", "Soft": 4096, "Hard": 4096}],
            auto_remove=True,
            binds=[f"{folder}:{inside}:ro" for inside, folder in self._mounts.items()],
        )
        return config

    def execute(
        self,
        argv: Sequence[str],
        *,
        timeout_s: float,
        on_frame: Callable[[int, bytes], None],
        stdin: bytes | None = None,
        stop: Callable[[], bool] = lambda: False,
        environment: Mapping[str, str] | None = None,
        user: str = COMMAND_USER,
    ) -> Ended:
        """Run a program, as the commands' user, and pass its output on, stdout and stderr apart.

        Returns when the program itself ends, even if a child still holds its output open. At the deadline,
        or as soon as `stop` is true, it returns without having killed anything: `sweep` does that.
        """
        deadline = time.monotonic() + timeout_s
        with _lost_as("the command could not be started"):
            exec_id = self._client.exec_create(
                self.id,
                list(argv),
                user=user,
                workdir=WORK,
                stdin=stdin is not None,
                environment=dict(environment or {}),
            )["Id"]
            stream = Hijacked(self._client.exec_start(exec_id, socket=True))
        with contextlib.closing(stream), _lost_as("the command's output was lost"):
            if stdin is not None:
                stream.send(stdin)
            quiet_checks = 0.05
            while not stop():
                if time.monotonic() >= deadline:
                    return self._at_deadline(exec_id, stream, on_frame)
                before = time.monotonic()
                if not stream.pump(remaining(deadline, quiet_checks), on_frame):
                    return self._ended(exec_id)
                if time.monotonic() - before >= quiet_checks:
                    quiet_checks = min(2 * quiet_checks, _POLL_S)
                    if not self._client.exec_inspect(exec_id)["Running"]:
                        stream.pump(0, on_frame)
                        return self._ended(exec_id)
            return Ended(None)

    def _at_deadline(self, exec_id: str, stream: Hijacked, on_frame: Callable[[int, bytes], None]) -> Ended:
        """Over time, unless it was this process that slept: then the command may be long done."""
        if self._client.exec_inspect(exec_id)["Running"]:
            return Ended(None, timed_out=True)
        patience = time.monotonic() + _POLL_S
        while stream.pump(0.05, on_frame) and time.monotonic() < patience:
            continue
        return self._ended(exec_id)

    def _ended(self, exec_id: str) -> Ended:
        """Exit code of an exec whose stream closed; the engine may tell it a moment later."""
        for pause in (0, 0.01, 0.05, 0.2, 1.0, 2.0, 4.0):
            time.sleep(pause)
            found = self._client.exec_inspect(exec_id)
            if not found["Running"]:
                return Ended(found["ExitCode"])
        raise SandboxLost("the engine lost the command")

    def script(
        self,
        text: str,
        *arguments: str,
        stdin: bytes | None = None,
        max_bytes: int = 64 * 1024**2,
        timeout_s: float = 120.0,
    ) -> bytes:
        """Standard output of a shell script of ours. Raises SandboxError when it fails, or past the cap."""
        output, errors = bytearray(), bytearray()

        def keep(kind: int, data: bytes) -> None:
            if kind == STDOUT:
                output.extend(data)
            elif len(errors) < 4096:
                errors.extend(data)

        ended = self.execute(
            ["/bin/sh", "-c", text, "adi", *arguments],
            timeout_s=timeout_s,
            on_frame=keep,
            stdin=stdin,
            stop=lambda: len(output) > max_bytes,
        )
        if len(output) > max_bytes:
            raise CopyOutRefused(f"more than {max_bytes} bytes to copy out")
        if ended.exit_code != 0:
            shown = errors.decode("utf-8", "replace").strip()[:500]
            if "No space left" in shown or "Wrote only" in shown:
                raise DiskFull("the sandbox's work area is full", "raise the sandbox's work_bytes")
            raise SandboxError(f"a step inside the sandbox failed: {shown or ended}")
        return bytes(output)

    def _ask(self, text: str) -> bytes:
        """Output of a few lines of shell as the main user, whom no command can touch. Raises SandboxLost."""
        told = bytearray()
        ended = self.execute(
            ["/bin/sh", "-c", text],
            timeout_s=_SWEEP_S,
            on_frame=lambda kind, data: told.extend(data[: 4096 if kind == STDOUT else 0]),
            user=MAIN_USER,
        )
        if ended.exit_code != 0:
            raise SandboxLost("the container does not answer", "start the command again")
        return bytes(told)

    def process_count(self) -> int:
        """Processes in the container beyond its own two, as the engine sees them from outside.

        A kernel of the container's own numbers its processes itself, so that the engine would look up
        strangers' processes: there its own process table is read.
        """
        if self._own_kernel:
            return int(self._ask("set -- /proc/[0-9]*; echo $#")) - _MAIN_PROCESSES - 1
        with _lost_as("the container does not answer"):
            found = self._client.top(self.id)["Processes"]
        if not found:
            raise SandboxLost("the container has ended", "start the command again")
        return len(found) - _MAIN_PROCESSES

    def memory_is_full(self) -> bool:
        """True when what is left in memory explains that no shell starts, as the engine sees it from outside.

        Starting one takes some ten MiB for a moment, so it fails well below the limit.
        """
        with _lost_as("the container does not answer"):
            memory = self._client.stats(self.id, stream=False, one_shot=True)["memory_stats"]
        return bool(memory["usage"] > 0.5 * memory["limit"])

    def died_of_memory(self) -> bool:
        """True when the engine wrote down that the kernel killed the whole container for want of memory.

        So a container with a kernel of its own ends: to the machine its kernel is one process. Never raises.
        """
        if not self._own_kernel:
            return False
        try:
            with _lost_as("the engine does not tell what became of the container"):
                now = datetime.fromisoformat(self._client.info()["SystemTime"]).timestamp()
                names = {"container": self.id, "event": ["oom", "die"]}
                told = self._client.events(since=0, until=int(now) + 1, filters=names, decode=True)
                with contextlib.closing(told):
                    return [event["Action"] for event in told][-2:] == ["oom", "die"]
        except SandboxLost:
            return False

    def sweep(self) -> bool:
        """Kill everything that commands started; True when nothing is left, within some seconds.

        What was killed is seen for a moment longer, on a busy machine for a long one.
        """
        deadline, pause = time.monotonic() + _SWEEP_S, 0.0
        while self.process_count() > 0:
            if time.monotonic() >= deadline:
                return False
            ended = self.execute(
                ["/bin/sh", "-c", "kill -9 -1"], timeout_s=_SWEEP_S, on_frame=lambda _kind, _data: None
            )
            if ended.timed_out:
                return False
            time.sleep(pause)
            pause = min(max(2 * pause, 0.02), _POLL_S)
        return True

    def remove(self) -> None:
        """Kill and remove the container, as far as the engine answers; raises nothing of its own."""
        patience = self._client.timeout
        self._client.timeout = min(patience, _REMOVE_S)
        try:
            self._remove()
        except KeyboardInterrupt:
            self._remove()  # the interrupted call may not have reached the engine
            raise
        finally:
            self.id = ""
            self._client.timeout = patience

    def _remove(self) -> bool:
        """False when the engine does not know the container, or does not answer."""
        if self.id:
            with contextlib.suppress(SandboxLost), _lost_as("the container could not be removed"):
                self._client.remove_container(self.id, force=True)
                return True
        return False

    def _withdraw(self) -> None:
        """Remove a container whose making was broken off: the engine may finish it a moment later."""
        deadline = time.monotonic() + _WITHDRAW_S
        while not self._remove() and time.monotonic() < deadline:
            time.sleep(0.1)
        self.id = ""


@contextlib.contextmanager
def _lost_as(message: str, image: str = "", hint: str = _ENGINE) -> Iterator[None]:
    """Turn every failure of the engine into SandboxLost, or ImageMissing."""
    import docker
    import requests
    import urllib3

    try:
        yield
    except docker.errors.ImageNotFound as error:
        raise ImageMissing(f"the sandbox image {image} is not there", "make it: adi doctor --fix") from error
    except (
        docker.errors.DockerException,
        requests.RequestException,
        urllib3.exceptions.HTTPError,
        OSError,
    ) as error:
        raise SandboxLost(f"{message}: {error}", hint) from error
