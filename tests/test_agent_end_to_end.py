"""The main job with everything real: the demo's repository, the default model, Docker, the command."""

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from memory.records import ActionStarted, CheckRan, Completed, PlanMade, Verdict
from memory.store import Store
from tests.conftest import RepoFactory, git
from tests.other_engine import RUNSC, other_engine, skip_without

pytestmark = [pytest.mark.weights, pytest.mark.container, pytest.mark.engine]

ADI = [sys.executable, "-P", "-c", "from agent.cli import main; main()"]
INVOICES = Path(__file__).parent.parent / "examples" / "invoices"
TASK = "Discounts must begin at the step: 10 pieces already get 5 percent."


HARDEST = {
    "ADI_SANDBOX__ISOLATION": "gvisor",
    "ADI_SANDBOX__MEMORY_MB": "192",
    "ADI_SANDBOX__WORK_MB": "16",
    "ADI_SANDBOX__PIDS": "16",
    "ADI_SANDBOX__CPUS": "0.5",
}
"""The strongest isolation, and the least that the demo's checks can do with."""


def adi(*arguments: str, **changed: str) -> "subprocess.CompletedProcess[str]":
    # One thread: a second one would wait at every barrier for a core that other tests use.
    environ = {**os.environ, "ADI_MODEL__THREADS": "1", **changed}
    return subprocess.run(
        [*ADI, *arguments], env=environ, capture_output=True, text=True, stdin=subprocess.DEVNULL, check=False
    )


@pytest.fixture
def server(weights: Path) -> Iterator[Path]:
    """The weights; the model server that a run starts is ended afterwards."""
    yield weights
    assert adi("serve", "--stop").returncode == 0


@pytest.fixture
def invoices(make_repo: RepoFactory) -> Path:
    """A repository with the demo's files."""
    files = {
        path.relative_to(INVOICES).as_posix(): path.read_bytes()
        for path in INVOICES.rglob("*")
        if path.is_file() and "__pycache__" not in path.parts
    }
    return make_repo(files)


@pytest.mark.timeout(600)
def test_a_failing_test_becomes_an_accepted_change_that_undo_takes_back(
    invoices: Path,
    server: Path,  # noqa: ARG001
    adi_home: Path,
) -> None:
    done = adi("run", TASK, "--repo", str(invoices), "--yes", "--output-format", "json")
    result = json.loads(done.stdout)
    assert (done.returncode, result["subtype"]) == (0, "success"), done.stderr
    assert result["evaluation"]["tests_failed"] == 0
    assert result["evaluation"]["tests_passed"] == 11
    changed = git(invoices, "diff", "--name-only").splitlines()
    assert changed == ["invoices/discounts.py"]

    with Store.open(adi_home / "adi.db") as store:
        payloads = [event.payload for event in store.events(result["run_id"])]
        patch = store.artifact(store.run(result["run_id"]).diff_sha256)
    kinds = [type(payload) for payload in payloads]
    order = [kinds.index(kind) for kind in (CheckRan, PlanMade, ActionStarted, Verdict)]
    assert order == sorted(order)
    answers = [payload.completion for payload in payloads if isinstance(payload, Completed)]
    assert all(answer.token_ids and answer.usage.completion_tokens for answer in answers)
    later = [answer.usage for answer in answers[1:] if answer.usage.prompt_tokens]
    assert sum(usage.cached_tokens for usage in later) >= 0.8 * sum(usage.prompt_tokens for usage in later)
    assert b"+++ b/invoices/discounts.py" in patch

    assert adi("undo", "--repo", str(invoices)).returncode == 0
    assert git(invoices, "status", "--porcelain") == ""


@pytest.mark.slow
@pytest.mark.containment
@pytest.mark.timeout(600)
def test_the_demo_holds_under_the_hardest_settings(invoices: Path, server: Path) -> None:  # noqa: ARG001
    skip_without("runsc")
    with other_engine("plain", {"runsc": RUNSC}) as (_, address):
        done = adi("run", TASK, "--repo", str(invoices), "--yes", DOCKER_HOST=address, **HARDEST)
    assert done.returncode == 0, done.stderr
    assert "gVisor" in done.stderr
    assert "11 passed" in done.stderr
    assert git(invoices, "diff", "--name-only") == "invoices/discounts.py"
