"""Group H: `kill -9` at named points and beside a living run, and what the next start makes of it."""

import contextlib
import signal
import subprocess
import threading
import time
from pathlib import Path

import pytest

from memory.records import CheckRan, Noted, RunSummary, Status, Stop
from memory.store import Store
from model.scripted import Asked
from sandbox.client import connect
from tests.adi_kit import ADI, FILES, PLAN, acting, adi, containers, mends, newest
from tests.agent_kit import CALC, MENDED, WRITE, Script
from tests.conftest import RepoFactory
from tests.containment_kit import Contained
from tests.docker_proxy import Proxy, Valve
from tests.faults import POINTS
from tests.interrupt_kit import ACTS, ONCE, faulty, sound, tidy
from tests.openai_server import Answer, serve

pytestmark = [pytest.mark.containment, pytest.mark.container, pytest.mark.usefixtures("scripted")]
slow = pytest.mark.slow

AFTER_COMMIT = {"exchange complete", "applied, not recorded", "applied"}
"""Points of no return: the change is in the tree, or `recover` brings it there."""
QUICK = {"tool done", "a file in place"}


@pytest.mark.sample(1)
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


@slow
@pytest.mark.parametrize("moment", ["between two commands", "during a command"])
def test_agent_h05_engine_dies_in_a_run(make_repo: RepoFactory, adi_home: Path, moment: str) -> None:
    """The run ends as environment, nothing of the dead engine is taken for a result, the next run works."""
    repo, proxy = make_repo(FILES), Proxy()
    later = threading.Timer(1.0, proxy.cut)
    sleeps = Script(plan=PLAN, lines={"calc.py line 2": "return a + b + __import__('time').sleep(30)"})

    def answer(asked: Asked) -> object:
        if moment == "between two commands" and "Write the plan" in asked.messages[-1].content:
            proxy.cut()
        elif " line 2 is wrong" in asked.messages[-1].content:
            later.start()
        return sleeps(asked)

    with serve(answer) as url:
        done = adi(repo, "run", "mend it", "--yes", "--url", url, DOCKER_HOST=f"unix://{proxy.path}")
    later.cancel() if moment == "between two commands" else later.join()
    assert done.returncode == 6, done.stderr
    assert "error: " in done.stderr
    assert "Traceback" not in done.stderr
    run = newest(adi_home)
    assert run.stop is Stop.ENVIRONMENT
    with Store.open(adi_home / "adi.db") as store:
        payloads = [event.payload for event in store.events(run.id)]
    results = [item for item in payloads if isinstance(item, CheckRan)]
    assert [item.purpose for item in results] == ["gather"]
    assert results[0].result.status is Status.NONZERO
    assert (repo / "calc.py").read_text() == CALC
    with serve(mends()) as url:
        assert adi(repo, "run", "mend it", "--yes", "--url", url).returncode == 0
    assert containers(run.id) == []  # the next run removed what the dead one left


@slow
def test_agent_h05_engine_comes_back(make_repo: RepoFactory, contained: Contained, adi_home: Path) -> None:
    """Gone for a moment during a command: the step runs again in a fresh sandbox, never on the host."""
    inside = FILES["test_calc.py"] + "    assert __import__('os').path.exists('/.dockerenv')\n"
    repo, valve = make_repo({**FILES, "test_calc.py": inside}), Valve(contained.tmp / "docker.sock")
    sleeps = f"run sleep 3; test -e /.dockerenv && echo {contained.marker}"

    def cut() -> None:
        valve.mode = "cut"
        time.sleep(0.5)
        valve.mode = "open"

    acts = iter([sleeps, WRITE])

    def answer(asked: Asked) -> object:
        if "Write the plan" in asked.messages[-1].content:
            return PLAN
        if (act := next(acts)) == WRITE:
            threading.Timer(0.3, cut).start()  # while the check of the change is run
        return act

    slow_check = "sleep 2; python3 -m pytest -q"
    with serve(answer) as url:
        done = adi(repo, "run", "mend it", "--yes", "--check", slow_check, "--url", url,
                   DOCKER_HOST=f"unix://{valve.path}", **ACTS)  # fmt: skip
    valve.close()
    valve.path.unlink()
    assert done.returncode == 0, done.stderr
    run = newest(adi_home)
    with Store.open(adi_home / "adi.db") as store:
        notes = [one.payload.text for one in store.events(run.id) if isinstance(one.payload, Noted)]
        results = [one.payload.result for one in store.events(run.id) if isinstance(one.payload, CheckRan)]
    assert any("the command runs again in a fresh one" in note for note in notes)
    assert all(result.status is not Status.SANDBOX_LOST for result in results)
    assert (repo / "calc.py").read_text() == MENDED
    with contextlib.closing(connect()) as direct:  # the one that was cut off could not be removed then
        for one in contained.containers():
            with contextlib.suppress(Exception):
                direct.remove_container(one, force=True)
