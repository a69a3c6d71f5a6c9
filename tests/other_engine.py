"""A second Docker engine for a test: its own folders, socket and mount namespace, none of it on the machine.

The engine is a child of the test. It sees users and their id ranges of its own, because `/etc/passwd` and its
like are covered in its mount namespace only; its layers are mounted there too, so that they go when it goes.
"""

import contextlib
import json
import os
import shutil
import subprocess
import tempfile
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Literal, NamedTuple
from uuid import uuid4

import docker
import psutil
import pytest

from sandbox.client import connect
from sandbox.images import recipe

Kind = Literal["plain", "remap", "rootless"]
USER = "aditest"
ROOTLESS_UID = 64321
FIRST_ID = 1_000_000
"""Where the containers' ids begin on the machine."""
NEEDED: Mapping[Kind, tuple[str, ...]] = {
    "plain": (),
    "remap": (),
    "rootless": ("rootlesskit", "newuidmap", "setpriv"),
}
RUNSC = ["/usr/bin/runsc", "--platform=ptrace", "--network=none"]
_START_S = 60.0


class Other(NamedTuple):
    """A running engine."""

    client: docker.APIClient
    address: str
    """For DOCKER_HOST."""


def skip_without(*programs: str) -> None:
    """Skip where a second engine cannot be started, with the reason."""
    if os.geteuid() != 0:
        pytest.skip("starting a second Docker engine needs root")
    if not Path("/etc/subuid").exists():
        pytest.skip("there is no /etc/subuid (try: apt-get install uidmap)")
    for program in ("dockerd", "unshare", *programs):
        if shutil.which(program) is None:
            pytest.skip(f"{program} is not installed (try: apt-get install runsc uidmap rootlesskit)")


@contextlib.contextmanager
def other_engine(
    kind: Kind, runtimes: Mapping[str, list[str]] | None = None, *, image: bool = True
) -> Iterator[Other]:
    """An engine of this kind, with the sandbox image in it.

    `runtimes` maps names to a program and its arguments.
    """
    skip_without(*NEEDED[kind])
    with _folder() as folder:
        run = folder / "run"
        run.mkdir()
        run.chmod(0o700 if kind == "rootless" else 0o711)
        command = _command(kind, folder, runtimes or {})
        with (folder / "log").open("wb") as log:  # containerd leaves its stacks in TMPDIR when it ends slowly
            own = {**os.environ, "TMPDIR": str(run)}
            process = subprocess.Popen(command, stdout=log, stderr=log, env=own)
        try:
            with contextlib.closing(_answering(run / "d.sock", process, folder / "log")) as client:
                if image:
                    _load(client)
                yield Other(client, f"unix://{run}/d.sock")
        finally:
            _stop(process, folder)
            _remove_cgroups(folder.name)


@contextlib.contextmanager
def _folder() -> Iterator[Path]:
    folder = Path(tempfile.mkdtemp(prefix=f"e{uuid4().hex[:4]}"))
    for one in (folder, folder.parent):  # the mapped root must reach its files
        if not one.stat().st_mode & 0o001:
            one.chmod(0o711)
    try:
        yield folder
    finally:
        shutil.rmtree(folder)


def _command(kind: Kind, folder: Path, runtimes: Mapping[str, list[str]]) -> list[str]:
    users = [] if kind == "plain" else _users(folder)
    own = "".join(f'mount --bind "{folder}/{name}" /etc/{name}\n' for name in users)
    config = folder / "daemon.json"
    found = {name: {"path": argv[0], "runtimeArgs": argv[1:]} for name, argv in runtimes.items()}
    config.write_text(json.dumps({"runtimes": found}))
    run = folder / "run"
    engine = (
        f"dockerd --config-file {config} --data-root {run}/data --exec-root {run}/x --pidfile {run}/pid "
        f"-H unix://{run}/d.sock --bridge=none --iptables=false --ip6tables=false"
    )
    if kind == "rootless":
        os.chown(run, ROOTLESS_UID, ROOTLESS_UID)
        start = (
            f"exec setpriv --reuid={ROOTLESS_UID} --regid={ROOTLESS_UID} --clear-groups "
            f'env HOME={run} XDG_RUNTIME_DIR={run} PATH="$PATH" '
            f"rootlesskit --net=host --copy-up=/etc --copy-up=/run --state-dir={run}/kit "
            f"sh -c 'rm -f /run/docker /run/containerd; exec {engine} --rootless'"
        )
    else:
        remap = f" --userns-remap={USER}" if kind == "remap" else ""
        start = f"exec {engine}{remap} --cgroup-parent=/adi-test-{folder.name}"
    return ["unshare", "--mount", "--propagation", "private", "sh", "-ec", own + start]


def _users(folder: Path) -> list[str]:
    """Write the user files that the engine sees instead of the machine's; their names."""
    for name in ("passwd", "group"):
        shutil.copy(f"/etc/{name}", folder / name)
    with (folder / "passwd").open("a") as passwd:
        passwd.write(f"{USER}:x:{ROOTLESS_UID}:{ROOTLESS_UID}::/nonexistent:/bin/sh\n")
    with (folder / "group").open("a") as group:
        group.write(f"{USER}:x:{ROOTLESS_UID}:\n")
    for name in ("subuid", "subgid"):
        (folder / name).write_text(f"{USER}:{FIRST_ID}:65536\n")
    return ["passwd", "group", "subuid", "subgid"]


def _answering(path: Path, process: subprocess.Popen[bytes], log: Path) -> docker.APIClient:
    deadline = time.monotonic() + _START_S
    while time.monotonic() < deadline and process.poll() is None:
        if path.exists():
            client = docker.APIClient(base_url=f"unix://{path}", version="1.41", timeout=60)
            with contextlib.suppress(docker.errors.DockerException, OSError):
                client.ping()
                return client
            client.close()
        time.sleep(0.1)
    told = log.read_text(errors="replace")[-2000:]
    raise AssertionError(f"the second engine did not start: {told}")


def _load(client: docker.APIClient) -> None:
    with contextlib.closing(connect()) as main:
        chunks = main.get_image(recipe("python").tag)
        try:
            for event in client.load_image(chunks, quiet=True) or ():
                assert "error" not in event, event
        finally:
            chunks.close()


def _stop(process: subprocess.Popen[bytes], folder: Path) -> None:
    """End the engine, asking first, and wait for what it started: containerd tidies up after it."""
    process.terminate()
    try:
        process.wait(30)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait(10)
    deadline = time.monotonic() + 20
    while left := _processes_of(folder):
        if time.monotonic() > deadline:
            for one in left:
                one.kill()
        time.sleep(0.1)


def _processes_of(folder: Path) -> list[psutil.Process]:
    """Processes that name the engine's folder, which has a name of its own, in their command line."""
    found = []
    for process in psutil.process_iter():
        with contextlib.suppress(psutil.Error):
            if any(str(folder) in word for word in process.cmdline()):
                found.append(process)
    return found


def _remove_cgroups(token: str) -> None:
    for parent in Path("/sys/fs/cgroup").glob(f"**/adi-test-{token}"):
        for path in sorted(parent.glob("**/"), reverse=True):
            path.rmdir()
