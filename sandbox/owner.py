"""Labels that tell whose a container is, and the reaper of containers whose owner is dead."""

import contextlib
import os
import socket
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import TYPE_CHECKING

import psutil

if TYPE_CHECKING:
    from docker import APIClient

RUN = "adi.run"
HOST = "adi.host"
PID = "adi.pid"
STARTED = "adi.pid-started"
VERSION = "adi.version"


def host_key() -> str:
    """This machine's boot and process namespace: within it a process id means one process."""
    return " ".join((socket.gethostname(), _boot_id(), _pid_namespace()))


def _boot_id() -> str:
    try:
        return Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    except OSError:
        return "-"


def _pid_namespace() -> str:
    try:
        return str(Path("/proc/self/ns/pid").readlink())
    except OSError:
        return "-"


def process_start(pid: int) -> str:
    """When a process began, in a form that survives changes of the clock; empty when it is gone."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        return "" if fields[0] == "Z" else fields[19]
    except (OSError, IndexError):
        pass
    try:
        return f"{psutil.Process(pid).create_time():.0f}"
    except psutil.Error:
        return ""


def labels(run_id: str) -> dict[str, str]:
    """Labels of a container that this process owns."""
    try:
        installed = version("adi-agent")
    except PackageNotFoundError:
        installed = ""
    pid = os.getpid()
    return {RUN: run_id, HOST: host_key(), PID: str(pid), STARTED: process_start(pid), VERSION: installed}


def is_orphan(found: dict[str, str]) -> bool:
    """True when the labels name a process of this machine that is dead."""
    host, pid = found.get(HOST, ""), found.get(PID, "")
    if host.split(" ")[0] != socket.gethostname() or not pid.isdigit():
        return False
    if host != host_key():
        # another boot of this machine is over for sure; another process namespace may be alive
        return host.split(" ")[1:2] != host_key().split(" ")[1:2]
    return process_start(int(pid)) != found.get(STARTED)


def reap(client: "APIClient | None" = None) -> list[str]:
    """Remove containers whose owner died; gives their run ids. Raises DockerMissing."""
    import docker
    import requests

    from sandbox.client import connect

    engine = client or connect()
    removed = []
    try:
        for container in engine.containers(all=True, filters={"label": [RUN, PID]}):
            found = container.get("Labels") or {}
            if is_orphan(found):
                with contextlib.suppress(docker.errors.APIError, requests.RequestException):
                    engine.remove_container(container["Id"], force=True)
                    removed.append(found[RUN])
    finally:
        if client is None:
            engine.close()
    return removed
