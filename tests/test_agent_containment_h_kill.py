"""Group H: `kill -9` at named points and beside a living run, and what the next start makes of it."""

import signal
import subprocess
import threading
from pathlib import Path

import pytest

from memory.records import RunSummary, Stop
from memory.store import Store
from model.scripted import Asked
from tests.adi_kit import (
    ADI,
    FILES,
    acting,
    adi,
    containers,
    mends,
    newest,
)
from tests.agent_kit import CALC, MENDED, WRITE
from tests.conftest import RepoFactory
from tests.faults import POINTS
from tests.interrupt_kit import ACTS, ONCE, faulty, sound, tidy
from tests.openai_server import Answer, serve

pytestmark = [pytest.mark.containment, pytest.mark.container]
slow = pytest.mark.slow

AFTER_COMMIT = {"exchange complete", "applied, not recorded", "applied"}
"""Points of no return: the change is in the tree, or `recover` brings it there."""
QUICK = {"tool done", "a file in place"}


@pytest.mark.parametrize(
    "point", [pytest.param(one, marks=() if one in QUICK else slow) for one in POINTS if one != "tidying up"]
)
def test_agent_h03_kill_9(make_repo: RepoFactory, adi_home: Path, point: str) -> None:
    repo = make_repo({**FILES, "mine.txt": "committed\n"})
    (repo / "mine.txt").write_text("my own\n")
    with serve(acting([ONCE, WRITE])) as url:
        assert faulty(repo, url, point, signal.SIGKILL).returncode == -signal.SIGKILL
    assert sound(adi_home)
    assert (repo / "calc.py").read_text() in (CALC, MENDED)
    killed = newest(adi_home)
    assert (killed.alive, killed.ended) == (False, "")
    assert f"{killed.id}\t" in (log := adi(repo, "log").stdout)
    assert "\tkilled\t" in log
    if point in AFTER_COMMIT:
        done = adi(repo, "undo")
        assert done.returncode == 0, done.stderr
    with serve(acting([ONCE, WRITE])) as url:
        done = adi(repo, "run", "mend it", "--yes", "--url", url, **ACTS)
    assert done.returncode == 0, done.stderr
    assert (repo / "calc.py").read_text() == MENDED
    assert (repo / "log.txt").read_text() == "once\n"
    assert (repo / "mine.txt").read_text() == "my own\n"
    assert tidy(repo)
    assert list((adi_home / "journal").iterdir()) == []
    with Store.open(adi_home / "adi.db") as store:
        first = store.run(killed.id)
    assert first.stop is (Stop.ACCEPTED if point in AFTER_COMMIT else Stop.KILLED)
    assert containers(killed.id) == []
    assert sound(adi_home)


def test_agent_h04_kill_9_beside_a_living_run(make_repo: RepoFactory, adi_home: Path) -> None:
    """Two runs; one is killed. The next start removes its container, and leaves that of the living one."""
    dies, lives = make_repo(FILES, name="dies"), make_repo(FILES, name="lives")
    asked, go = [threading.Event(), threading.Event()], threading.Event()

    def holding(number: int) -> Answer:
        def answer(question: Asked) -> object:
            if "Write the plan" not in question.messages[-1].content:
                return mends()(question)
            asked[number].set()
            go.wait(90)
            return mends().plan

        return answer

    started = []
    with serve(holding(0)) as one, serve(holding(1)) as two:
        try:
            for repo, url, event in ((dies, one, asked[0]), (lives, two, asked[1])):
                command = [*ADI, "run", "mend it", "--yes", "--url", url]
                started.append(subprocess.Popen(command, cwd=repo, stderr=subprocess.DEVNULL))
                assert event.wait(60)
            runs: dict[str, RunSummary] = {}
            with Store.open(adi_home / "adi.db") as store:
                runs = {Path(run.repo).name: run for run in store.runs()}
            busy = adi(dies, "run", "me too", "--yes", "--url", one)
            assert busy.returncode == 4
            assert f"run {runs['dies'].id} (process {started[0].pid}) is working on" in busy.stderr
            started[0].kill()
            started[0].wait(10)
            assert len(containers(runs["dies"].id)) == 1
            with serve(mends()) as url:
                assert adi(dies, "run", "again", "--yes", "--url", url).returncode == 0
            assert containers(runs["dies"].id) == []
            assert len(containers(runs["lives"].id)) == 1
            go.set()
            assert started[1].wait(90) == 0
        finally:
            go.set()
            for child in started:
                child.kill()
                child.wait(10)
    assert (dies / "calc.py").read_text() == (lives / "calc.py").read_text() == MENDED
    assert sound(adi_home)
