"""What becomes of a sandbox whose container, engine or owner goes away. Needs an engine and the image."""

import contextlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import docker
import pytest

from sandbox.docker import DockerSandbox, connect, reap
from sandbox.images import ensure_image
from sandbox.owner import PID, RUN, STARTED
from sandbox.protocol import SandboxLimits
from tests.containment_kit import LIMITS, pack
from tests.test_sandbox_docker import FILES, container_of

pytestmark = pytest.mark.container


@pytest.fixture(scope="module")
def image() -> str:
    return ensure_image("python")


@pytest.fixture(scope="module")
def client() -> Iterator[docker.APIClient]:
    found = connect()
    yield found
    found.close()


def test_the_time_to_live_ends_a_forgotten_container(image: str, client: docker.APIClient) -> None:
    limits = SandboxLimits(memory_bytes=LIMITS.memory_bytes, work_bytes=LIMITS.work_bytes, ttl_s=2)
    with DockerSandbox(pack(FILES), image=image, run_id="test-ttl", limits=limits, client=client) as made:
        assert made.run("sleep 30", timeout_s=20).status == "sandbox-lost"
        assert made.run("true", timeout_s=20).status == "ok"


OWNER = """
import sys, time
from sandbox.docker import DockerSandbox
from tests.containment_kit import LIMITS, pack
from tests.test_sandbox_docker import FILES
box = DockerSandbox(pack(FILES), image=sys.argv[1], run_id=sys.argv[2], limits=LIMITS)
print("ready", flush=True)
try:
    box.run("sleep 1000", timeout_s=600)
except KeyboardInterrupt:
    print(box.run("echo still here", timeout_s=20).output.decode(), flush=True)
    box.close()
"""


@contextlib.contextmanager
def owner(image: str, run_id: str) -> Iterator[subprocess.Popen[bytes]]:
    """Another process with a sandbox of its own, busy with a command."""
    command = [sys.executable, "-W", "error", "-c", OWNER, image, run_id]
    with subprocess.Popen(command, stdout=subprocess.PIPE, cwd=Path(__file__).parent.parent) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"ready\n"
        yield process
        process.kill()


def test_reap_removes_orphans_and_leaves_the_living(image: str, client: docker.APIClient) -> None:
    living = DockerSandbox(pack(FILES), image=image, run_id="test-living", limits=LIMITS, client=client)
    with contextlib.closing(living), owner(image, "test-orphan") as process:
        process.kill()
        process.wait()
        assert client.containers(filters={"label": f"{RUN}=test-orphan"})
        removed = reap(client)
        labels = client.inspect_container(container_of(client, "test-living"))["Config"]["Labels"]
    assert "test-orphan" in removed
    assert "test-living" not in removed
    assert client.containers(all=True, filters={"label": f"{RUN}=test-orphan"}) == []
    assert labels[PID] == str(os.getpid())
    assert labels[STARTED]


def test_an_interrupt_kills_the_command_and_keeps_the_sandbox(image: str, client: docker.APIClient) -> None:
    with owner(image, "test-interrupt") as process:
        assert process.stdout is not None
        time.sleep(0.7)
        process.send_signal(signal.SIGINT)
        assert process.stdout.readline() == b"still here\n"
        assert process.wait(20) == 0
    assert client.containers(all=True, filters={"label": f"{RUN}=test-interrupt"}) == []
