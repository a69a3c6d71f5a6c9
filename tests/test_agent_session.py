"""A whole session: events in order, `kill -9` at any moment, two runs at once, review, undo, exit codes."""

import os
import signal
import subprocess
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from agent.errors import UsageError, exit_code_of
from agent.percolate import Listener
from agent.person import Decision, Unattended
from agent.settings import directories
from memory.errors import RepoBusy
from memory.records import Evaluation, Event, Stop, Task
from memory.store import Store
from model.errors import StreamBroken
from model.scripted import ScriptedModel
from sandbox.errors import SandboxLost
from sandbox.local import LocalSandbox
from sandbox.protocol import ExecResult
from tests.agent_kit import BUGGY, CALC, CHECK, MENDED, Script, Someone, open_local
from tests.conftest import RepoFactory, git

ROOT = Path(__file__).parent.parent
MENDS = Script(lines={"calc.py line 2": "return a + b"})
YES = Unattended(accept=True)

KILLED = """
import sys, time
from pathlib import Path
from agent.person import Decision
from tests.agent_kit import CHECK, Script, Someone, open_local

repo, moment = Path(sys.argv[1]), sys.argv[2]

def hang(name):
    if name == moment:
        print("hangs", flush=True)
        time.sleep(60)

def listen(event):
    print(event.seq, event.payload.kind, flush=True)
    hang(event.payload.kind)

class Slow(Script):
    def __call__(self, asked):
        hang("planning" if asked.messages and "Write the plan" in asked.messages[-1].content else "asking")
        return super().__call__(asked)

class Thinking(Someone):
    def decide(self, diff, evaluation):
        hang("deciding")
        return super().decide(diff, evaluation)

script = Slow(lines={"calc.py line 2": "return a + b"})
with open_local(repo, script, Thinking(Decision("accept")), listeners=[listen]) as session:
    session.on_output = lambda _: hang("output")
    session.run("make the check pass", (CHECK.command,))
"""


def start(repo: Path, moment: str) -> "subprocess.Popen[str]":
    """A run in a process of its own that hangs at this moment."""
    environ = {**os.environ, "TMPDIR": str(repo.parent)}  # what a killed sandbox leaves goes with the test
    command = [sys.executable, "-c", KILLED, str(repo), moment]
    return subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True, env=environ)


def checks(command: str = CHECK.command) -> tuple[str, ...]:
    return (command,)


def tree(repo: Path) -> dict[str, bytes]:
    """Every byte of a repository, git's own files included."""
    return {
        path.relative_to(repo).as_posix(): path.read_bytes()
        for path in sorted(repo.rglob("*"))
        if path.is_file()
    }


@pytest.fixture
def database(adi_home: Path) -> Iterator[Store]:
    with Store.open(adi_home / "adi.db") as store:
        yield store


def test_every_event_is_stored_before_the_next_thing_happens(make_repo: RepoFactory, database: Store) -> None:
    heard: list[Event] = []

    def listen(event: Event) -> None:
        assert database.events(event.run_id)[-1] == event
        heard.append(event)

    repo = make_repo(BUGGY)
    with open_local(repo, MENDS, YES, listeners=[listen]) as session:
        outcome = session.run("mend it", checks())
    assert (outcome.stop, outcome.exit_code) == (Stop.ACCEPTED, 0)
    assert database.events(outcome.run_id) == heard
    assert [event.seq for event in heard] == list(range(1, len(heard) + 1))
    kinds = [event.payload.kind for event in heard]
    story = ["run-started", "check-ran", "prompted", "completed", "plan-made", "action-started", "verdict"]
    places = [kinds.index(kind) for kind in [*story, "user-acted", "applied", "run-ended"]]
    assert places == sorted(places)
    assert (repo / "calc.py").read_text() == MENDED


@pytest.mark.sample(2)
@pytest.mark.parametrize(
    "moment",
    ["output", "planning", "action-started", "deciding", "user-acted", "applied"],
)
def test_kill_9_loses_at_most_the_unfinished_step(
    make_repo: RepoFactory, database: Store, moment: str
) -> None:
    repo = make_repo({**BUGGY, "mine.txt": "committed\n"})
    (repo / "mine.txt").write_text("my own, uncommitted\n")
    before = tree(repo)
    child = start(repo, moment)
    assert child.stdout is not None
    told = []
    with child.stdout:
        for line in child.stdout:
            if line == "hangs\n":
                break
            told.append(line.strip())
    (run,) = database.runs()
    assert run.alive
    child.send_signal(signal.SIGKILL)
    child.wait(10)
    assert [f"{event.seq} {event.payload.kind}" for event in database.events(run.id)] == told
    log = adi("log", "--repo", str(repo))
    assert "\tkilled\t" in log.splitlines()[1]
    applied = moment == "applied"
    assert tree(repo) == ({**before, "calc.py": MENDED.encode()} if applied else before)
    with open_local(repo, MENDS, YES) as session:
        if applied:
            assert session.undo(None).run_id == run.id
        outcome = session.run("again", checks())
    assert outcome.stop is Stop.ACCEPTED
    assert (repo / "mine.txt").read_text() == "my own, uncommitted\n"


def adi(*arguments: str) -> str:
    code = "from agent.cli import main; main()"
    done = subprocess.run(
        [sys.executable, "-P", "-c", code, *arguments], capture_output=True, text=True, check=True, cwd=ROOT
    )
    return done.stdout


class Losing(LocalSandbox):
    """Loses everything from a given command on."""

    left = 0

    def run(self, command: str, *, timeout_s: float, **others: Any) -> ExecResult:
        Losing.left -= 1
        if Losing.left < 0:
            return ExecResult("sandbox-lost", None, b"half a line", False, 0.0)
        return super().run(command, timeout_s=timeout_s, **others)


@pytest.mark.parametrize(("commands", "kept"), [(0, False), (1, False), (2, True)])
def test_a_lost_sandbox_is_never_taken_for_a_result(
    make_repo: RepoFactory, database: Store, commands: int, kept: bool
) -> None:
    """While gathering, searching and judging; what was found before is kept as a patch."""
    repo = make_repo(BUGGY)
    Losing.left = commands
    with open_local(repo, MENDS, YES) as session:
        session.sandbox = lambda *_: lambda files, _: Losing(files.archive())
        with pytest.raises(SandboxLost) as lost:
            session.run("mend it", checks())
    assert exit_code_of(lost.value) == 6
    (run,) = database.runs()
    assert run.stop is Stop.ENVIRONMENT
    assert (directories().patches / f"{run.id}.patch").exists() == kept
    assert (repo / "calc.py").read_text() == CALC


def test_two_runs_at_once_name_the_holder(make_repo: RepoFactory, database: Store) -> None:
    repo = make_repo(BUGGY)
    child = start(repo, "planning")
    assert child.stdout is not None
    with child.stdout:
        for line in child.stdout:
            if line == "hangs\n":
                break
        try:
            holder = database.runs()[0].id
            with open_local(repo, MENDS, YES) as session, pytest.raises(RepoBusy) as busy:
                session.run("me too", checks())
        finally:
            child.kill()
            child.wait()
    assert busy.value.run_id == holder
    assert str(child.pid) in str(busy.value)
    assert exit_code_of(busy.value) == 4
    second = next(run for run in database.runs() if run.id != holder)
    assert second.stop is Stop.ERROR
    assert holder in database.events(second.id)[-1].payload.detail  # type: ignore[union-attr]


def test_a_failing_model_ends_the_run_and_frees_the_repository(
    make_repo: RepoFactory, database: Store
) -> None:
    repo = make_repo(BUGGY)
    broken = Script(plan=StreamBroken("the answer broke off"))
    with open_local(repo, broken, YES) as session:
        with pytest.raises(StreamBroken):
            session.run("mend it", checks())
        assert database.runs()[0].stop is Stop.ENVIRONMENT
        assert database.runs()[0].ended
        session.model = lambda _: ScriptedModel(MENDS)
        assert session.run("mend it", checks()).stop is Stop.ACCEPTED


class Impatient(Someone):
    """Presses Ctrl-C at the accept prompt."""

    def decide(self, diff: bytes, evaluation: Evaluation) -> Decision:
        super().decide(diff, evaluation)
        raise KeyboardInterrupt


def test_an_interruption_is_recorded_and_the_work_is_kept(make_repo: RepoFactory, database: Store) -> None:
    repo = make_repo(BUGGY)
    with open_local(repo, MENDS, Impatient(Decision("accept"))) as session, pytest.raises(KeyboardInterrupt):
        session.run("mend it", checks())
    (run,) = database.runs()
    assert run.stop is Stop.INTERRUPTED
    payloads = [event.payload for event in database.events(run.id)]
    assert [item.kind for item in payloads[-3:]] == ["noted", "user-acted", "run-ended"]
    patch = directories().patches / f"{run.id}.patch"
    assert b"+    return a + b" in patch.read_bytes()
    assert str(patch) in payloads[-3].text  # type: ignore[union-attr]
    assert (repo / "calc.py").read_text() == CALC


def test_a_deferred_result_is_reviewed_and_undone_later(make_repo: RepoFactory, database: Store) -> None:
    repo = make_repo(BUGGY)
    with open_local(repo, MENDS, Unattended(accept=False)) as session:
        first = session.run("mend it", checks())
    assert (first.stop, first.exit_code) == (Stop.PENDING, 4)
    assert [run.id for run in database.pending(str(repo))] == [first.run_id]
    with open_local(repo, Script(), Someone(Decision("accept"))) as session:
        assert session.review(None).exit_code == 0
        assert (repo / "calc.py").read_text() == MENDED
        with pytest.raises(UsageError, match="in your tree already"):
            session.review(first.run_id)
        assert session.undo(None).exit_code == 0
        assert (repo / "calc.py").read_text() == CALC
        with pytest.raises(UsageError, match="nothing was applied"):
            session.undo(None)


@pytest.mark.parametrize(
    ("script", "limits", "files", "code"),
    [
        (MENDS, {}, {}, 0),
        (Script(acts=["no"] * 6), {}, {}, 3),
        (Script(acts=["run ls"] * 9), {"steps": 1}, {}, 5),
        (MENDS, {"completion_tokens": 1}, {}, 5),
        (Script(acts=["submit"] * 6), {}, {"calc.py": MENDED}, 3),
    ],
    ids=["accepted", "stuck", "steps", "tokens", "nothing to do"],
)
def test_exit_codes(
    make_repo: RepoFactory,
    script: Script,
    limits: Mapping[str, object],
    files: Mapping[str, str],
    code: int,
) -> None:
    script.acted = 0
    with open_local(make_repo({**BUGGY, **files}), script, YES, settings=limits) as session:
        outcome = session.run("mend it", checks())
        assert outcome.exit_code == code
        assert session.store.run(outcome.run_id).stop is outcome.stop


def test_checks_that_begin_alike_are_all_run(make_repo: RepoFactory) -> None:
    long = f"true {'x' * 70}"
    with open_local(make_repo(BUGGY), MENDS, YES) as session:
        outcome = session.run("mend it", (CHECK.command, f"{long}1", f"{long}2"))
        task: Task = session.store.trajectory(outcome.run_id).task
    assert len({check.name for check in task.checks}) == 3


def test_review_and_undo_name_what_is_missing(make_repo: RepoFactory) -> None:
    repo, other = make_repo(BUGGY), make_repo(BUGGY, "other")
    with open_local(other, MENDS, YES) as session:
        done = session.run("mend it", checks())
    with open_local(repo, MENDS, YES) as session:
        for call in (session.review, session.undo):
            with pytest.raises(UsageError, match="nothing"):
                call(None)
            with pytest.raises(UsageError, match="another repository"):
                call(done.run_id)


def test_a_listener_that_fails_does_not_lose_the_end(make_repo: RepoFactory, database: Store) -> None:
    def closed_pipe(event: Event) -> None:
        if event.payload.kind == "plan-made":
            raise BrokenPipeError

    listeners: list[Listener] = [closed_pipe]
    with (
        open_local(make_repo(BUGGY), MENDS, YES, listeners=listeners) as session,
        pytest.raises(BrokenPipeError),
    ):
        session.run("mend it", checks())
    assert database.runs()[0].stop is Stop.ERROR


def test_nothing_of_a_run_is_left_on_the_disk_but_its_record(make_repo: RepoFactory, adi_home: Path) -> None:
    repo = make_repo(BUGGY)
    with open_local(repo, MENDS, YES) as session:
        session.run("mend it", checks())
    assert git(repo, "status", "--porcelain") == " M calc.py"
    assert not [path for path in adi_home.rglob("*") if path.name.endswith((".tmp", ".new", ".old"))]
    assert list(directories().journal.iterdir()) == []


REPEATED = """
import sys
from memory.store import Store
with Store.open(sys.argv[1]) as store:
    events = [event.payload for event in store.events(sys.argv[2])]
    run = store.start_run(events[0].task)
    accepted = next(i for i, payload in enumerate(events) if payload.kind == "user-acted")
    for payload in events[1 : accepted + 1]:
        store.append(run, payload)
print(run)
"""


@pytest.mark.parametrize("applied", [True, False])
def test_a_change_applied_by_a_process_that_died_is_written_down(
    make_repo: RepoFactory, adi_home: Path, database: Store, applied: bool
) -> None:
    repo = make_repo(BUGGY)
    with open_local(repo, MENDS, YES) as session:
        first = session.run("mend it", checks())
        session.undo(None)
    command = [sys.executable, "-c", REPEATED, str(adi_home / "adi.db"), first.run_id]
    died = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout.strip()
    with open_local(repo, MENDS, YES) as session:
        (repo / "calc.py").write_text(MENDED if applied else CALC)
        assert session.recover() == ([died] if applied else [])
        assert session.recover() == []
        run = database.run(died)
        assert (run.applied, run.stop) == (applied, Stop.ACCEPTED if applied else Stop.KILLED)
        assert [waiting.id for waiting in database.pending(str(repo))] == ([] if applied else [died])
        assert (session.undo(None) if applied else session.review(died)).run_id == died
    assert (repo / "calc.py").read_text() == (BUGGY["calc.py"] if applied else MENDED)


def test_a_change_that_the_repositorys_own_test_disputes_waits_for_a_person(
    make_repo: RepoFactory, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The search keeps what the task's example wants although a test asserts the opposite."""
    monkeypatch.setenv("PATH", f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}")
    files = {
        "shown.py": "def shown(v):\n    return f'value {v}'\n",
        "test_shown.py": "from shown import *\n\ndef test_none():\n    assert shown(None) == 'value None'\n",
    }
    repo = make_repo(files)
    script = Script(lines={"shown.py line 2": "return 'value unknown' if v is None else f'value {v}'"})
    with open_local(repo, script, YES) as session:
        outcome = session.run("shown.py: `shown(None)` should return `'value unknown'`.", ())
    assert (outcome.stop, outcome.exit_code) == (Stop.PENDING, 4)
    assert "the task and the tests disagree: test_shown.py::test_none" in outcome.detail
    assert (repo / "shown.py").read_text() == files["shown.py"]
