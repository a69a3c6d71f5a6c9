"""Installs and starts a Docker engine, where that is allowed: root on Debian or Ubuntu."""

import os
import shutil
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

from sandbox import debian
from sandbox.client import connect
from sandbox.errors import DockerMissing, SandboxError

_START_S = 60.0
_OTHER_S = 10.0
_MANUAL = "https://docs.docker.com/engine/install/"
_PACKAGES = ("docker.io", "iptables")

Progress = Callable[[str], None]


def engine_answers() -> bool:
    """True when a Docker engine can be used now."""
    try:
        connect().close()
    except DockerMissing:
        return False
    return True


def install_engine(progress: Progress, log: Path) -> None:
    """Make a Docker engine answer: install it, start it, wait. Does nothing when one answers.

    `log` takes the engine's output where there is no systemd. Raises DockerMissing.
    """
    if engine_answers():
        return
    if os.environ.get("DOCKER_HOST"):
        connect()  # a remote engine cannot be started from here: raise what is wrong with it
    if os.geteuid() != 0:
        how = "sudo adi doctor --fix" if debian.is_debian() else _MANUAL
        raise DockerMissing("no Docker engine answers, and this is not root", f"install it: {how}")
    if shutil.which("dockerd") is None:
        if not debian.is_debian():
            raise DockerMissing(
                "Docker is not installed, and this is not Debian or Ubuntu",
                f"install it: {_MANUAL}",
            )
        try:
            debian.install(_PACKAGES, progress)
        except SandboxError as error:
            raise DockerMissing(error.message, error.hint) from error
    _start(progress, log)


def _start(progress: Progress, log: Path) -> None:
    """Start the engine and wait until it answers. Raises DockerMissing."""
    deadline = time.monotonic() + _START_S
    process: subprocess.Popen[bytes] | None = None
    if Path("/run/systemd/system").is_dir():
        progress("systemctl start docker")
        subprocess.run(["systemctl", "start", "docker"], capture_output=True, check=False)
        where = "journalctl -u docker"
    else:
        progress("starting dockerd")
        log.parent.mkdir(parents=True, exist_ok=True)
        where = f"tail {log}"
        with log.open("ab") as output:
            process = subprocess.Popen(
                ["dockerd"],
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                start_new_session=True,  # it outlives this process and its terminal
                cwd="/",
            )
    while time.monotonic() < deadline:
        if engine_answers():
            progress("the Docker engine answers")
            _disown(process)
            return
        if process is not None and process.poll() is not None:
            # perhaps the package's own script has just started one, which ours gave way to
            deadline, process = min(deadline, time.monotonic() + _OTHER_S), None
        time.sleep(0.3)
    raise DockerMissing("the Docker engine did not start", f"see why: {where}")


def _disown(process: subprocess.Popen[bytes] | None) -> None:
    """The engine is meant to run on: keep the interpreter from warning that it still does."""
    if process is not None:
        process.returncode = 0
