"""Group H for a whole run: interrupts and signals at any moment, and what can be resumed."""

import contextlib
import os
import signal
import subprocess
import sys
import termios
import threading
import time
from collections.abc import Mapping
from pathlib import Path

import pexpect
import pytest

from memory.records import Stop, Verdict
from memory.store import Store
from sandbox.client import connect
from tests.adi_kit import (
    ADI,
    FILES,
    acting,
    adi,
    code_of,
    containers,
    kinds,
    mends,
    newest,
    planning,
    typing,
)
from tests.agent_kit import CALC, MENDED, WRITE
from tests.conftest import RepoFactory, git
from tests.containment_kit import Contained
from tests.interrupt_kit import ACTS, ONCE, faulty, sound, tidy
from tests.openai_server import Answer, Do, serve

pytestmark = [pytest.mark.containment, pytest.mark.container, pytest.mark.usefixtures("scripted")]
slow = pytest.mark.slow


SLOW = (
    FILES["test_calc.py"]
    + "\n\ndef test_slow():\n    import time\n\n    print('sleeping')\n    time.sleep(50)\n"
)


@pytest.mark.sample(2)
@pytest.mark.parametrize(
    ("moment", "answer", "files", "sign", "last"),
    [
        pytest.param("planning", planning(Do.HANG), {}, "Planning", "prompted", marks=slow),
        pytest.param("approving", mends(), {}, "Go on with this plan", "plan-made", marks=slow),
        ("streaming", planning(Do.DRIP), {}, r"[1-9]\d* tokens", "prompted"),
        ("running", mends(), {"test_calc.py": SLOW}, "pytest", "run-started"),
        ("deciding", mends(), {}, "Apply this change", "verdict"),
    ],
)
def test_agent_h01_ctrl_c(
    make_repo: RepoFactory,
    adi_home: Path,
    moment: str,
    answer: Answer,
    files: Mapping[str, str],
    sign: str,
    last: str,
) -> None:
    """While planning, streaming and running, at the plan and at the accept prompt."""
    repo = make_repo({**FILES, **files})
    flags = [] if moment == "approving" else ["--no-plan-review"]
    with serve(answer) as url, typing(repo, "run", "mend it", *flags, "--url", url) as child:
        before = termios.tcgetattr(child.child_fd)
        child.expect(sign)
        if moment in {"planning", "running"}:
            time.sleep(1.0)  # into the silence
        child.sendintr()
        child.expect("adi review .* shows what was done" if moment == "deciding" else "nothing is kept")
        assert code_of(child) == 130
        assert "Traceback" not in (child.before or "")
        assert termios.tcgetattr(child.child_fd) == before
    run = newest(adi_home)
    assert run.stop is Stop.INTERRUPTED
    assert kinds(adi_home, run.id)[-2:] == ["user-acted", "run-ended"]
    story = [kind for kind in kinds(adi_home, run.id)[:-2] if kind != "noted"]
    assert story[-1] == last
    assert containers(run.id) == []
    patch = adi_home / "patches" / f"{run.id}.patch"
    assert patch.exists() == (moment == "deciding")
    assert git(repo, "status", "--porcelain") == ""
    assert sound(adi_home)


@pytest.mark.sample(2)
@pytest.mark.parametrize(
    ("point", "signals"),
    [
        ("copying out", [signal.SIGINT]),
        ("copying out", [signal.SIGINT, signal.SIGINT]),
        ("tidying up", [signal.SIGINT, signal.SIGINT]),
        pytest.param("container made, not started", [signal.SIGINT] * 2, marks=slow),
        pytest.param("copying out", [signal.SIGTERM, signal.SIGINT], marks=slow),
        pytest.param("tool done", [signal.SIGHUP, signal.SIGTERM, signal.SIGHUP], marks=slow),
        pytest.param("a file in place", [signal.SIGINT] * 2, marks=slow),
    ],
)
def test_agent_h01_signals_at_a_point(
    make_repo: RepoFactory, adi_home: Path, point: str, signals: list[signal.Signals]
) -> None:
    """One or two fast: the first breaks the step off, the second does not break off what follows it."""
    repo = make_repo(FILES)
    with serve(acting([ONCE, WRITE])) as url:
        done = faulty(repo, url, point, *signals)
    assert done.returncode == 128 + signals[0], done.stderr
    assert "interrupted by" in done.stderr
    assert "Traceback" not in done.stderr
    run = newest(adi_home)
    assert containers(run.id) == []
    assert (run.stop, bool(run.ended)) == (Stop.INTERRUPTED, True)
    assert (repo / "calc.py").read_text() == CALC
    assert sound(adi_home)
    assert tidy(repo)


@slow
def test_agent_h01_a_signal_at_any_moment(make_repo: RepoFactory, adi_home: Path) -> None:
    """A sweep over the length of a run: wherever it lands, nothing is left and the run has its end."""
    for number in range(16):
        repo = make_repo(FILES, name=f"repo{number}")
        with serve(mends()) as url:
            command = [*ADI, "run", "mend it", "--yes", "--url", url]
            with subprocess.Popen(command, cwd=repo, stderr=subprocess.DEVNULL) as child:
                time.sleep(0.4 + number * 0.15)
                child.send_signal(signal.SIGINT if number % 2 else signal.SIGTERM)
                code = child.wait(60)
        assert code in (0, 130, 143, -signal.SIGTERM)
        assert (repo / "calc.py").read_text() in (CALC, MENDED)
        assert tidy(repo)
    with Store.open(adi_home / "adi.db") as store:
        for run in store.runs():
            assert run.ended, run
            assert containers(run.id) == []
    assert sound(adi_home)


def test_agent_h01_what_was_done_can_be_resumed(
    make_repo: RepoFactory, contained: Contained, adi_home: Path
) -> None:
    """Interrupted during a command, after a change: the words name the command, and the command works."""
    repo = make_repo(FILES)
    checks = ["--check", "python3 -m pytest -q", "--check", "test -e done.txt"]
    acts = ["run echo half > done.txt", f"run sleep {contained.marker}"]
    environ = {**os.environ, **ACTS}
    with serve(acting(acts, plan="- Do it | files: calc.py | check: python3 -m pytest -q\n")) as url:
        command = [*ADI, "run", "mend it", *checks, "--yes", "--url", url]
        with subprocess.Popen(command, cwd=repo, env=environ, stderr=subprocess.PIPE, text=True) as child:
            while not contained.marked():
                time.sleep(0.05)
                assert child.poll() is None
            child.send_signal(signal.SIGINT)
            assert child.stderr is not None
            said = child.stderr.read()
            assert child.wait(30) == 130
    assert contained.marked() == []
    run = newest(adi_home)
    assert f"adi review {run.id} shows what was done so far" in said
    assert "the unfinished change is kept in" in said
    assert git(repo, "status", "--porcelain") == ""
    assert adi(repo, "review", "--yes").returncode == 3  # judged now: one of the two checks still fails
    with Store.open(adi_home / "adi.db") as store:
        verdicts = [one.payload for one in store.events(run.id) if isinstance(one.payload, Verdict)]
        assert store.run(run.id).stop is Stop.FAILED
    assert [len(verdict.evaluation.results) for verdict in verdicts] == [0, 2]
    assert [result.passed for result in verdicts[1].evaluation.results] == [False, True]
    assert verdicts[0].diff_sha256 == verdicts[1].diff_sha256
    assert not (repo / "done.txt").exists()


def test_agent_h01_at_the_prompt(make_repo: RepoFactory, adi_home: Path) -> None:
    """Ctrl-C stops the task and comes back to the prompt; twice fast stops the task and leaves."""
    repo = make_repo(FILES)
    with serve(planning(Do.HANG)) as url:
        os.environ["ADI_MODEL__URL"] = url
        try:
            with typing(repo) as child:
                before = termios.tcgetattr(child.child_fd)
                child.expect_exact("adi>")
                child.sendintr()
                child.expect("Ctrl-C again or Ctrl-D leaves")
                for last in (False, True):
                    child.expect_exact("adi>")
                    child.send("mend it\r")
                    child.expect("Planning")
                    time.sleep(0.5)
                    child.sendintr()
                    child.expect("Interrupted" if last else "Back at the prompt")
                child.sendintr()  # while the first one's container is removed
                if child.expect_exact([pexpect.EOF, "Ctrl-C again"]) == 1:
                    child.sendintr()  # it was removed already
                assert code_of(child) in (0, 130)
                now = termios.tcgetattr(child.child_fd)
        finally:
            del os.environ["ADI_MODEL__URL"]
    assert now[:4] == before[:4]
    with Store.open(adi_home / "adi.db") as store:
        assert [run.stop for run in store.runs()] == [Stop.INTERRUPTED] * 2
    assert sound(adi_home)
    assert git(repo, "status", "--porcelain") == ""


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
def test_agent_h02_asked_to_end(make_repo: RepoFactory, adi_home: Path, number: signal.Signals) -> None:
    repo = make_repo(FILES)
    with serve(planning(Do.DRIP)) as url, typing(repo, "run", "mend it", "--url", url) as child:
        before = termios.tcgetattr(child.child_fd)
        child.expect(r"[1-9]\d* tokens")
        child.kill(number)
        child.expect(f"interrupted by {number.name}")
        assert code_of(child) == 128 + number
        assert termios.tcgetattr(child.child_fd) == before
    run = newest(adi_home)
    assert run.stop is Stop.INTERRUPTED
    assert containers(run.id) == []


def test_agent_h02_the_terminal_is_closed(make_repo: RepoFactory, adi_home: Path) -> None:
    repo = make_repo(FILES)
    with serve(planning(Do.DRIP)) as url, typing(repo, "run", "mend it", "--url", url) as child:
        child.expect(r"[1-9]\d* tokens")
        child.ptyproc.fileobj.close()  # the kernel sends SIGHUP
        child.closed = child.ptyproc.closed = True
        assert child.wait() == 128 + signal.SIGHUP
    run = newest(adi_home)
    assert (run.stop, containers(run.id)) == (Stop.INTERRUPTED, [])


def test_agent_h02_suspended_and_continued(make_repo: RepoFactory, adi_home: Path) -> None:
    """Ctrl-Z in a shell with job control, then fg: the cursor is back meanwhile, and the run goes on."""
    repo = make_repo(FILES)
    go = threading.Event()

    def plan() -> object:
        go.wait(60)
        return mends().plan

    environ = {**os.environ, "TERM": "xterm-256color", "PS1": "$ "}
    with serve(planning(plan)) as url:
        shell: pexpect.spawn[str] = pexpect.spawn(
            "/bin/bash", ["--norc", "--noprofile", "-i"], cwd=str(repo), env=environ, encoding="utf-8",
            timeout=60, dimensions=(50, 200),
        )  # fmt: skip
        try:
            program = "from agent.cli import main; main()"
            shell.sendline(f"{sys.executable} -P -c '{program}' run 'mend it' --yes --url {url}")
            shell.expect("Planning")
            shell.send("\x1a")
            shell.expect_exact("\x1b[?25h")
            shell.expect("Stopped")
            shell.sendline("stty -a | tr ';' '\\n' | grep -o ' icanon' ; echo typed $((40+2))")
            shell.expect("icanon")
            shell.expect("typed 42")
            shell.sendline("fg")
            go.set()
            shell.expect("Done: the checks pass")
            shell.sendline("echo code $?")
            shell.expect("code 0")
        finally:
            go.set()
            shell.close(force=True)
    assert newest(adi_home).stop is Stop.ACCEPTED
    assert (repo / "calc.py").read_text() == MENDED


@slow
def test_agent_h02_a_reader_that_leaves(make_repo: RepoFactory, adi_home: Path) -> None:
    """`adi log | head -1`, `adi show | head -1`, and a run whose stderr and stdout are read no more."""
    repo = make_repo(FILES)
    program = f"{sys.executable} -P -c 'from agent.cli import main; main()'"
    with serve(mends()) as url:
        line = f"set -o pipefail; {program} run 'mend it' --yes --output-format stream-json --url {url}"
        done = subprocess.run(
            ["bash", "-c", f"{line} 2>&1 >/dev/null | true; {line} 2>/dev/null | head -1"],
            cwd=repo, capture_output=True, text=True, timeout=120, check=False,
        )  # fmt: skip
    assert '"run_started"' in done.stdout or "run-started" in done.stdout
    with Store.open(adi_home / "adi.db") as store:
        assert [bool(run.ended) for run in store.runs()] == [True, True]
        assert store.runs()[-1].stop is Stop.ACCEPTED
        first = store.runs()[-1].id
    for command in ("log", f"show {first}", f"show {first} --json", f"replay {first}"):
        done = subprocess.run(
            ["bash", "-c", f"{program} {command} | head -c 1; exit ${{PIPESTATUS[0]}}"],
            cwd=repo, capture_output=True, text=True, timeout=60, check=False,
        )  # fmt: skip
        assert done.returncode in (0, 128 + signal.SIGPIPE), (command, done.stderr)
        assert done.stderr == ""


def test_agent_h06_image_deleted_and_nothing_to_pull_from(
    make_repo: RepoFactory, contained: Contained, adi_home: Path
) -> None:
    """A tag of the test's own goes away between two runs: a named error at once, and no attempt to pull."""
    from sandbox.images import recipe

    repo = make_repo(FILES)
    tag = f"adi-test-{contained.marker}:gone"
    with contextlib.closing(connect()) as client:
        client.tag(recipe("python").tag, *tag.split(":"))
        with serve(mends()) as url:
            try:
                done = adi(repo, "run", "mend it", "--yes", "--url", url, ADI_SANDBOX__IMAGE=tag)
                assert done.returncode == 0, done.stderr
                assert adi(repo, "undo").returncode == 0
            finally:
                client.remove_image(tag)
            began = time.monotonic()
            done = adi(repo, "run", "mend it", "--yes", "--url", url, ADI_SANDBOX__IMAGE=tag)
    assert done.returncode == 6
    assert f"error: the sandbox image {tag} is not there" in done.stderr
    assert time.monotonic() - began < 30
    assert newest(adi_home).stop is Stop.ENVIRONMENT
    assert (repo / "calc.py").read_text() == CALC
