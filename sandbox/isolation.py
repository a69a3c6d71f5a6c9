"""How a container is kept apart from this machine: what the engine offers, what is asked, what is in force.

Three levels, weakest first. `container`: namespaces, cgroups and seccomp on this machine's kernel. `userns`:
as well, root in the container is nobody on the machine (userns-remap, or a rootless engine). `gvisor`: system
calls are answered by a kernel of the container's own, in user space (gvisor.dev/docs/architecture_guide).
A level is chosen from what the engine says and then proven from inside the running container; what the engine
was asked for is compared with what it wrote down. Where either falls short, nothing runs.
"""

import os
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import TYPE_CHECKING, Any, Final, Literal

from sandbox.errors import IsolationMissing, WeakerThanAsked

if TYPE_CHECKING:
    from docker import APIClient

Level = Literal["container", "userns", "gvisor"]
Wanted = Literal["auto", "container", "userns", "gvisor"]

PROOF: Final = "cat /proc/version /proc/self/uid_map"
"""Shell text whose output `Isolation.has_own_kernel` judges; run before any command."""
GVISOR_TASKS: Final = 12
"""Threads that gVisor's kernel may need on the machine for one process: 10 were measured (ptrace)."""
GVISOR_SPARE_TASKS: Final = 128
HOW_TO_GET: Final = {
    "gvisor": "sudo apt-get install runsc, name it in /etc/docker/daemon.json and restart Docker: "
    "docs/isolation.md, or unset sandbox.isolation",
    "userns": 'set "userns-remap": "default" in /etc/docker/daemon.json and restart Docker: '
    "docs/isolation.md, or unset sandbox.isolation",
}
_CGROUPS = "turn on its cgroups; a rootless engine needs cgroup v2 with delegation: docs/isolation.md"
_NO_SWAP_LIMIT = "Memory limited without swap"
_PLAIN = frozenset({"runc", "crun", "io.containerd.runc.v1", "io.containerd.runc.v2"})


@dataclass(frozen=True, slots=True)
class Engine:
    """What an engine tells about itself."""

    runtimes: Mapping[str, str]
    """Program or type of each runtime, by the name that a container is started with."""
    default: str
    userns: bool
    rootless: bool
    kernel: str
    """Release of the kernel that the engine runs on."""
    cgroup: str
    limits: Mapping[str, bool]
    """Which limits its kernel can keep: memory, swap, processes, CPU."""
    builds: Mapping[str, tuple[str, str]]
    """Version and build of each part: engine, containerd, runc."""

    @classmethod
    def ask(cls, client: "APIClient") -> "Engine":
        """Raises what the Docker library raises."""
        info, version = client.info(), client.version()
        options = [option.split(",")[0] for option in info.get("SecurityOptions") or ()]
        parts = {
            part["Name"].lower(): (part.get("Version", ""), (part.get("Details") or {}).get("GitCommit", ""))
            for part in version.get("Components") or ()
        }
        return cls(
            runtimes={
                name: found.get("path") or found.get("runtimeType") or ""
                for name, found in (info.get("Runtimes") or {}).items()
            },
            default=info.get("DefaultRuntime") or "runc",
            userns="name=userns" in options,
            rootless="name=rootless" in options,
            kernel=info.get("KernelVersion", ""),
            cgroup=info.get("CgroupVersion") or "1",
            limits={
                name: bool(info.get(key, True))
                for name, key in (
                    ("memory", "MemoryLimit"),
                    ("swap", "SwapLimit"),
                    ("processes", "PidsLimit"),
                    ("CPU", "CpuCfsQuota"),
                )
            },
            builds=parts,
        )

    def level(self, runtime: str) -> Level:
        """What a container of this runtime is kept apart by, as far as the engine says."""
        program = PurePosixPath(self.runtimes.get(runtime, "")).name
        if any("runsc" in word for word in (runtime, program)):
            return "gvisor"
        return "userns" if self.userns or self.rootless else "container"


@dataclass(frozen=True, slots=True)
class Isolation:
    """The level and runtime that were chosen for the containers of a run."""

    level: Level
    runtime: str
    """Name that containers are started with."""
    engine: Engine

    def __str__(self) -> str:
        mapped = self.engine.userns or self.engine.rootless
        how = "rootless engine" if self.engine.rootless else "userns-remap"
        space = f"user namespace ({how})" if mapped else "no user namespace"
        if self.level == "gvisor":
            return f"gVisor (runtime {self.runtime}), a kernel of its own, {space}"
        version = self.engine.builds.get(self.runtime, ("", ""))[0]
        return (
            f"containers ({self.runtime}{f' {version}' if version else ''}), {space}, "
            f"cgroup v{self.engine.cgroup}"
        )

    @property
    def needs_proof(self) -> bool:
        """False for plain containers, where there is nothing beyond what the engine wrote down."""
        return self.level != "container" or self.runtime not in _PLAIN

    @property
    def hint(self) -> str:
        """What helps when a container of this level does not start."""
        if not self.needs_proof:
            return "see whether the engine answers: adi doctor"
        return f"the runtime {self.runtime} does not work here: docs/isolation.md, or set sandbox.isolation"

    def tasks(self, processes: int) -> int:
        """The engine's limit of tasks for that many processes; gVisor's own threads count in it."""
        return processes * GVISOR_TASKS + GVISOR_SPARE_TASKS if self.level == "gvisor" else processes

    def has_own_kernel(self, told: bytes) -> bool:
        """Whether the container has a kernel of its own.

        `told` is the output of PROOF, as a user that no command runs as. Raises WeakerThanAsked when the
        level is not in force.
        """
        version, _, table = told.decode("utf-8", "replace").partition("\n")
        release = version.split()[2] if version.startswith("Linux version ") else ""
        own = bool(release) and release != self.engine.kernel
        mapped = re.search(r"^\s*0\s+(\d+)\s+\d+\s*$", table, re.MULTILINE)
        root = int(mapped[1]) if mapped else 0
        if self.level == "gvisor" and not own:
            problem = f"it runs on this machine's kernel {release}: its runtime {self.runtime} is no gVisor"
        elif self.level == "userns" and root == 0:
            problem = "its root is the machine's root: it has no user namespace"
        else:
            return own
        raise WeakerThanAsked(f"the container is weaker than asked for: {problem}", "adi doctor")


def choose(engine: Engine, wanted: Wanted = "auto", runtime: str = "") -> Isolation:
    """The isolation that is asked for; for `auto` the strongest that the engine has.

    Raises IsolationMissing when the engine has not what is asked for; nothing weaker takes its place.
    Raises WeakerThanAsked when it cannot keep a limit: a rootless engine without cgroups takes every limit
    without a warning, writes it down, and keeps none (seen with Docker 20.10 on cgroup v1).
    """
    lacking = ", ".join(name for name, kept in engine.limits.items() if not kept and name != "swap")
    if lacking:
        raise WeakerThanAsked(f"the Docker engine cannot limit: {lacking}", _CGROUPS)
    if runtime and runtime not in engine.runtimes:
        raise IsolationMissing(
            f"the Docker engine has no runtime {runtime!r}; it has: {', '.join(sorted(engine.runtimes))}",
            "name one of these as sandbox.runtime, or unset it",
        )
    names = [runtime] if runtime else sorted(engine.runtimes, key=lambda name: (name != "runsc", name))
    strong = [name for name in names if engine.level(name) == "gvisor"]
    plain = runtime or engine.default
    if wanted in ("auto", "gvisor") and strong:
        return Isolation("gvisor", plain if plain in strong else strong[0], engine)
    found = Isolation(engine.level(plain), plain, engine)
    if wanted == "gvisor":
        what = f"the runtime {runtime!r} is no gVisor" if runtime else "the Docker engine has no gVisor"
        raise IsolationMissing(f"{what}, and sandbox.isolation requires it", HOW_TO_GET["gvisor"])
    if wanted == "userns" and not (engine.userns or engine.rootless):
        raise IsolationMissing(
            "the Docker engine has no user namespaces, and sandbox.isolation requires them",
            HOW_TO_GET["userns"],
        )
    return found


def refuse_dropped(warnings: Iterable[str]) -> None:
    """Raises WeakerThanAsked when the engine says that it dropped something of what was asked for.

    A kernel that does not count swap is let pass (`adi doctor` warns): memory itself is limited.
    """
    for warning in warnings:
        if "discarded" in warning and _NO_SWAP_LIMIT not in warning:
            raise WeakerThanAsked(
                f"the Docker engine cannot keep a limit: {warning}",
                _CGROUPS,
            )


def refuse_weaker(asked: Mapping[str, Any], user: str, found: Mapping[str, Any]) -> None:
    """Compare a host configuration with what `docker inspect` tells of the container made from it.

    Raises WeakerThanAsked, naming each difference.
    """
    config = found["HostConfig"]
    wrong = [
        f"{key} is {config.get(key)!r}, not {value!r}"
        for key, value in asked.items()
        if not _agrees(key, value, config.get(key))
    ]
    wrong += [f"{key} is {config[key]!r}" for key in _NEVER if config.get(key) and key not in asked]
    if found["Config"]["User"] != user:
        wrong.append(f"its user is {found['Config']['User']!r}")
    if wrong:
        raise WeakerThanAsked(
            f"the Docker engine made a container that is weaker than asked for: {'; '.join(wrong)}",
            "see what stands before the engine: adi doctor",
        )


_NEVER: Final = (
    "Privileged", "CapAdd", "Devices", "DeviceRequests", "PidMode", "UTSMode", "UsernsMode",
    "Binds", "Mounts", "VolumesFrom", "GroupAdd", "ExtraHosts", "PortBindings", "PublishAllPorts",
)  # fmt: skip
"""Fields that would give a container more; they must be empty unless asked for."""


def _agrees(key: str, asked: Any, found: Any) -> bool:
    if key == "MemorySwap" and found == -1:
        return True  # this kernel does not count swap; the engine's warning told
    if isinstance(asked, dict) and isinstance(found, dict):
        return all(_agrees("", value, found.get(name)) for name, value in asked.items())
    return bool(asked == found) or (not asked and not found)


def is_local() -> bool:
    """True when the engine is on this machine, so that this machine's packages tell about it."""
    return os.environ.get("DOCKER_HOST", "unix://").startswith("unix://")
