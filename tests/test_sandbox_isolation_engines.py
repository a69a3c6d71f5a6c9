"""The sandbox's contract on engines that isolate more strongly, started here: gVisor, user namespaces.

Needs root and the packages runsc, uidmap and rootlesskit; skipped with the reason where one is missing.
"""

import re
import shutil
import subprocess
from collections.abc import Mapping
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path

import docker
import pytest

from agent.session import docker_sandboxes
from agent.settings import load
from sandbox.docker import DockerSandbox
from sandbox.errors import IsolationMissing, WeakerThanAsked
from sandbox.images import recipe
from sandbox.isolation import Engine, Isolation, choose
from sandbox.owner import RUN
from sandbox.protocol import ExecStatus
from tests.containment_kit import LIMITS, Contained, pack
from tests.other_engine import FIRST_ID, RUNSC, other_engine, skip_without

pytestmark = [
    pytest.mark.containment,
    pytest.mark.container,
    pytest.mark.slow,
    pytest.mark.xdist_group("engines"),
]
FILES = {"pkg/mod.py": b"x = 1\n", "gone.txt": b"old\n"}
# The 2022 build of Debian takes a network namespace of a newer kernel for the machine's own, and refuses it.


def statuses(box: DockerSandbox) -> Mapping[str, ExecStatus]:
    """What becomes of one command of each kind that a limit meets."""
    commands = {
        "good": "echo good",
        "bad": "exit 3",
        "endless": "setsid sleep 300 & setsid sleep 300 & sleep 300",
        "chatty": "yes | tr -d '\\n'",
        "files": "dd if=/dev/zero of=big bs=1M",
        "hungry": "python3 -c 'x = bytearray(2 * 1024**3)'",
    }
    found = {}
    for name, command in commands.items():
        found[name] = box.run(command, timeout_s=3 if name == "endless" else 60).status
        assert box.run("echo next", timeout_s=30).output == b"next\n", name
    return found


EXPECTED = {
    "good": "ok",
    "bad": "nonzero",
    "endless": "timeout",
    "chatty": "output-cap",
    "files": "disk-full",
    "hungry": "oom",
}


def check_exchange(box: DockerSandbox) -> None:
    """Files in, files out, and a command's input and output."""
    assert box.run("cat - pkg/mod.py", timeout_s=30, stdin=b"in\n").output == b"in\nx = 1\n"
    box.run("echo 2 > pkg/mod.py; rm gone.txt; mkdir d; echo n > d/new; ln -s /etc/passwd l", timeout_s=30)
    assert box.changes() == {"pkg/mod.py": b"2\n", "gone.txt": None, "d/new": b"n\n"}
    assert any("'l'" in note for note in box.notes)
    box.write({"d/new": b"w\n"})
    assert box.run("cat d/new", timeout_s=30).output == b"w\n"


def check_walls(box: DockerSandbox) -> None:
    """Root file system read-only, no network, no privilege."""
    seen = box.run(
        "touch /usr/x; for host in 169.254.169.254 1.1.1.1; do timeout 3 python3 -c "
        "\"import socket; socket.create_connection(('$host', 80), 2)\" && echo ONLINE; done; "
        "id -u; grep '^CapEff:' /proc/self/status; mount -t tmpfs t /tmp && echo MOUNTED; "
        "python3 -c 'import ctypes; print(\"no new privileges\", ctypes.CDLL(None).prctl(39, 0, 0, 0, 0))'",
        timeout_s=60,
    ).output.decode()
    assert "ONLINE" not in seen
    assert "MOUNTED" not in seen
    assert re.search(r"Read-only|cannot touch", seen)
    assert re.search(r"^1000$", seen, re.MULTILINE)
    assert re.search(r"CapEff:\s+0{16}$", seen, re.MULTILINE)
    assert "no new privileges 1" in seen


def container_of(client: docker.APIClient, run_id: str) -> Mapping[str, object]:
    (found,) = client.containers(filters={"label": f"{RUN}={run_id}"})
    return dict(client.inspect_container(found["Id"]))


def sandbox(client: docker.APIClient, case: Contained, isolation: Isolation) -> DockerSandbox:
    return DockerSandbox(
        pack(FILES),
        image=recipe("python").tag,
        run_id=case.run_id,
        limits=LIMITS,
        client=client,
        isolation=isolation,
    )


def test_sandbox_isolation_userns_keeps_the_contract(contained: Contained) -> None:
    with other_engine("remap") as (client, _), ExitStack() as stack:
        isolation = choose(Engine.ask(client), "userns")
        assert isolation.level == "userns"
        assert "userns-remap" in str(isolation)
        box = stack.enter_context(sandbox(client, contained, isolation))
        check_exchange(box)
        check_walls(box)
        state = container_of(client, contained.run_id)["State"]
        assert isinstance(state, dict)
        main = int(state["Pid"])
        assert Path(f"/proc/{main}/uid_map").read_text().split() == ["0", str(FIRST_ID), "65536"]
        assert owner_of(main) == FIRST_ID + 65533
        with subprocess.Popen(["true"]) as here:  # a process of ours, to show that the look can fail
            assert Path(f"/proc/{here.pid}/uid_map").read_text().split() == ["0", "0", "4294967295"]
        assert statuses(box) == EXPECTED
        with pytest.raises(IsolationMissing, match="no gVisor"):
            choose(Engine.ask(client), "gvisor")
    assert contained.marked() == []


def owner_of(pid: int) -> int:
    """The user id, on the machine, of a process."""
    return int(re.findall(r"^Uid:\s+(\d+)", Path(f"/proc/{pid}/status").read_text(), re.MULTILINE)[0])


def test_sandbox_isolation_gvisor_keeps_the_contract(contained: Contained) -> None:
    skip_without("runsc")
    probe = subprocess.run(
        [*RUNSC, "--ignore-cgroups", "do", "true"], capture_output=True, text=True, timeout=60, check=False
    )
    if probe.returncode:
        pytest.skip(f"runsc does not run on this kernel: {probe.stderr.strip()[:200]}")
    runtimes = {"runsc": [shutil.which("runsc") or "", *RUNSC[1:]]}
    with other_engine("plain", runtimes) as (client, _), ExitStack() as stack:
        isolation = choose(Engine.ask(client))  # what is there is used without being asked for
        assert (isolation.level, isolation.runtime) == ("gvisor", "runsc")
        box = stack.enter_context(sandbox(client, contained, isolation))
        told = container_of(client, contained.run_id)["HostConfig"]
        assert isinstance(told, dict)
        assert told["Runtime"] == "runsc"
        kernel = box.run("uname -r; dmesg", timeout_s=30).output.decode()
        assert kernel.split()[0] != isolation.engine.kernel
        assert "Starting gVisor" in kernel
        check_exchange(box)
        check_walls(box)
        assert statuses(box) == EXPECTED
        bomb = box.run("bomb() { bomb | bomb & }; bomb; sleep 60", timeout_s=5)
        assert bomb.status in ("timeout", "sandbox-lost")  # its kernel may end with it: docs/isolation.md
        assert box.run("echo next", timeout_s=30).output == b"next\n"


def test_sandbox_isolation_a_runtime_that_is_only_called_gvisor_is_refused(contained: Contained) -> None:
    runc = shutil.which("runc") or pytest.skip("runc is not on the path")
    with other_engine("plain", {"runsc-fast": [runc]}) as (client, _):
        isolation = choose(Engine.ask(client), "gvisor")
        with pytest.raises(WeakerThanAsked, match="no gVisor"):
            sandbox(client, contained, isolation)
        assert client.containers(all=True) == []
        other = choose(Engine.ask(client), "container", "runc")
        with sandbox(client, contained, other) as box:
            assert box.run("true", timeout_s=30).status == "ok"
        lying = replace(other, level="userns")
        with pytest.raises(WeakerThanAsked, match="no user namespace"):
            sandbox(client, contained, lying)
        assert client.containers(all=True) == []


def test_sandbox_isolation_a_rootless_engine_without_cgroups_is_refused(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    if Path("/sys/fs/cgroup/cgroup.controllers").exists():
        pytest.skip("with cgroup v2 a rootless engine may keep its limits")
    with other_engine("rootless", image=False) as (client, address):
        assert Engine.ask(client).rootless
        with pytest.raises(WeakerThanAsked, match="cannot limit: memory, processes, CPU"):
            choose(Engine.ask(client))
        said: list[str] = []
        monkeypatch.setenv("DOCKER_HOST", address)
        with pytest.raises(WeakerThanAsked):
            docker_sandboxes(load().settings, said.append, "python")
        assert said == []
        assert client.containers(all=True) == []
        monkeypatch.delenv("DOCKER_HOST")
