"""One status per run, from evidence, and what the model is told of it. Needs an engine and the image."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from conftest import RepoFactory

from memory.records import Status
from sandbox.docker import MAX_COMMAND_BYTES, DockerSandbox
from sandbox.images import recipe
from sandbox.workcopy import WorkCopy, snapshot
from tests.containment_kit import LIMITS
from tools.protocol import Workspace
from tools.registry import Call, execute

pytestmark = pytest.mark.container

HOG = "python3 -c 'x = bytearray(10**9)'"
STATUSES = {
    "true": (Status.OK, "[exit code 0]"),
    "exit 3": (Status.NONZERO, "[exit code 3]"),
    "exit 137": (Status.NONZERO, "[exit code 137]"),
    "sleep 60": (Status.TIMEOUT, "[killed after 3 s: it did not end, or waits for something]"),
    HOG: (Status.OOM, "[killed: out of memory, the sandbox has 256 MiB in all; hold less at once]"),
    f"{HOG} || exit 1": (Status.OOM, "256 MiB"),
    "yes": (Status.OUTPUT_CAP, "[killed: it wrote more than 4 MiB of output; print less]"),
    "head -c 100M /dev/zero > big": (Status.DISK_FULL, "the work area holds 32 MiB and 3000 files"),
}


@pytest.fixture
def space(make_repo: RepoFactory, tmp_path: Path) -> Iterator[Workspace]:
    work = WorkCopy(snapshot(make_repo({"a.py": "x = 1\n"}), tmp_path / "shadow"))
    image = recipe("python").tag
    with DockerSandbox(work.archive(), image=image, run_id="test-status", limits=LIMITS) as sandbox:
        yield Workspace(work, sandbox, (), command_s=3.0)


def test_each_way_to_end_has_its_status_and_one_line_for_the_model(space: Workspace) -> None:
    for command, (status, line) in STATUSES.items():
        result = execute(Call("run", {"command": command}), space)
        assert (command, result.status) == (command, status)
        assert line in result.output
    assert space.sandbox.run("x" * (MAX_COMMAND_BYTES + 1), timeout_s=3).status == "refused"
    assert execute(Call("run", {"command": "cat a.py"}), space).output.startswith("x = 1")
