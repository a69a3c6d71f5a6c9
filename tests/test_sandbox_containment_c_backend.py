"""C08: a sandbox backend that is missing, or does not do what it is asked: refused, and nothing runs."""

import json
import os
import subprocess
import sys
from collections.abc import Callable, Mapping
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any

import docker
import pytest

from agent.errors import ENVIRONMENT, exit_code_of
from memory.store import Store
from sandbox.client import connect
from sandbox.docker import DockerSandbox
from sandbox.errors import DockerMissing, IsolationMissing, SandboxLost, WeakerThanAsked
from sandbox.images import recipe
from sandbox.isolation import Engine, Isolation, choose
from tests.containment_kit import LIMITS, Contained, pack
from tests.engine_double import Change, Double, unchanged

pytestmark = [pytest.mark.containment, pytest.mark.container]
RepoFactory = Callable[[Mapping[str, str | bytes]], Path]
_KERNEL = "Your kernel does not support {} limit capabilities or the cgroup is not mounted. "
DROPPED = (
    _KERNEL.format("PIDs") + "PIDs limit discarded.",
    _KERNEL.format("memory") + "Limitation discarded.",
)
"""What engines say when they go on without a limit (moby, daemon/daemon_unix.go)."""


def sandbox(case: Contained, client: docker.APIClient, isolation: Isolation | None = None) -> DockerSandbox:
    return DockerSandbox(
        pack({"a.py": b"x = 1\n"}),
        image=recipe("python").tag,
        run_id=case.run_id,
        limits=LIMITS,
        client=client,
        isolation=isolation,
    )


def host(key: str, value: object) -> Change:
    """A change of one field of the host configuration; None drops it."""

    def change(body: dict[str, Any]) -> None:
        if value is None:
            del body["HostConfig"][key]
        else:
            body["HostConfig"][key] = value

    return change


def user(body: dict[str, Any]) -> None:
    body["User"] = "0"


def unlimited(body: dict[str, Any]) -> None:
    body["HostConfig"].update(Memory=0, MemorySwap=0)


def warn(text: str) -> Change:
    def change(answer: dict[str, Any]) -> None:
        answer["Warnings"] = [text]

    return change


WEAKER: Mapping[str, Change] = {
    "ReadonlyRootfs": host("ReadonlyRootfs", None),
    "NetworkMode": host("NetworkMode", "bridge"),
    "CapDrop": host("CapDrop", None),
    "CapAdd": host("CapAdd", ["SYS_ADMIN"]),
    "SecurityOpt": host("SecurityOpt", ["seccomp=unconfined"]),
    "Privileged": host("Privileged", True),
    "Memory": unlimited,
    "MemorySwap": host("MemorySwap", 2**31),
    "PidsLimit": host("PidsLimit", None),
    "CpuQuota": host("CpuQuota", None),
    "Ulimits": host("Ulimits", None),
    "Tmpfs": host("Tmpfs", {"/work": "rw", "/tmp": "rw", "/dev/shm": "rw"}),
    "Binds": host("Binds", ["/etc:/host:ro"]),
    "PidMode": host("PidMode", "host"),
    "Init": host("Init", False),
    "LogConfig": host("LogConfig", {"Type": "json-file"}),
    "user": user,
}


def refusal(case: Contained, double: Double) -> WeakerThanAsked:
    """Why no sandbox starts through this socket; nothing was started to find that out."""
    with (
        closing(docker.APIClient(base_url=double.address, version="1.41", timeout=30)) as client,
        pytest.raises(WeakerThanAsked) as caught,
    ):
        sandbox(case, client)
    assert any(asked.endswith("/containers/create") for asked in double.asked)
    assert not [asked for asked in double.asked if "/start" in asked or "/exec" in asked]
    assert exit_code_of(caught.value) == ENVIRONMENT
    assert caught.value.hint
    assert case.containers() == []
    return caught.value


def test_sandbox_c08_an_engine_that_does_not_take_a_field_is_refused(contained: Contained) -> None:
    for field, change in WEAKER.items():
        with Double(create=change) as double:
            assert field in str(refusal(contained, double)), field


def test_sandbox_c08_an_engine_that_warns_of_a_dropped_limit_is_refused(contained: Contained) -> None:
    for text in DROPPED:
        with Double(created=warn(text)) as double:
            assert text in str(refusal(contained, double))


def test_sandbox_c08_the_engine_refuses_an_unknown_runtime(contained: Contained) -> None:
    with closing(connect()) as client:
        engine = Engine.ask(client)
        with pytest.raises(IsolationMissing, match=r"no runtime 'none-such'; it has: .*runc") as caught:
            choose(engine, "auto", "none-such")
        assert exit_code_of(caught.value) == ENVIRONMENT
        pretended = replace(engine, runtimes={**engine.runtimes, "none-such": "none-such"})
        with pytest.raises(SandboxLost, match="none-such") as lost:  # the engine's own words
            sandbox(contained, client, choose(pretended, "container", "none-such"))
    assert exit_code_of(lost.value) == ENVIRONMENT
    assert "sandbox.isolation" in lost.value.hint
    assert contained.containers() == []


def test_sandbox_c08_no_permission_to_use_the_engine(contained: Contained) -> None:
    if os.geteuid() != 0:
        pytest.skip("only root can give a permission up for a moment")
    if Path("/var/run/docker.sock").stat().st_mode & 0o002:
        pytest.skip("on this machine everybody may use the engine")
    with pytest.MonkeyPatch.context() as patch:
        patch.delenv("DOCKER_HOST", raising=False)
        os.seteuid(65534)
        try:
            with pytest.raises(DockerMissing, match="no permission") as caught:
                connect()
        finally:
            os.seteuid(0)
    assert "usermod" in caught.value.hint
    assert exit_code_of(caught.value) == ENVIRONMENT
    assert contained.containers() == []


@pytest.mark.parametrize(
    ("environ", "create", "told"),
    [
        pytest.param(
            {"DOCKER_HOST": "unix:///nowhere/d.sock"}, unchanged, "no Docker engine", id="no engine"
        ),
        pytest.param({"ADI_SANDBOX__RUNTIME": "none-such"}, unchanged, "has no runtime", id="no runtime"),
        pytest.param({}, host("ReadonlyRootfs", None), "ReadonlyRootfs is False", id="field dropped"),
    ],
)
def test_sandbox_c08_a_run_ends_with_exit_6_and_runs_nothing(
    contained: Contained, make_repo: RepoFactory, environ: dict[str, str], create: Change, told: str
) -> None:
    marker = contained.tmp.parent / f"{contained.run_id}-ran"
    repo = make_repo({"a.py": "x = 1\n"})
    with Double(create=create) as double:
        done = subprocess.run(
            [sys.executable, "-P", "-c", "from agent.cli import main; main()", "run", "change a", "--yes",
             "--check", f"touch {marker}; sleep {contained.marker}", "--repo", str(repo),
             "--output-format", "json"],
            env={**os.environ, "DOCKER_HOST": double.address, **environ},
            capture_output=True, text=True, timeout=60, check=False,
        )  # fmt: skip
        assert not [asked for asked in double.asked if "/start" in asked or "/exec" in asked]
    assert done.returncode == ENVIRONMENT, done.stderr
    assert told in done.stderr
    assert "hint: " in done.stderr
    assert json.loads(done.stdout)["exit_code"] == ENVIRONMENT
    assert not marker.exists()
    assert contained.marked() == []
    with Store.open(contained.home / "adi.db") as store:
        (run,) = store.runs(limit=10)
    assert (run.ended is not None, run.stop) == (True, "environment")
