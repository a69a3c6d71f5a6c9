"""Bad input and bad luck, one test a line of the list, on the local sandbox with a scripted model.

What needs a terminal, Docker or a server of its own is in test_agent_bad_input_real.py.
"""

import sys
from pathlib import Path

import pytest

from agent.display import Display, make_console
from agent.errors import UsageError, exit_code_of
from agent.person import Decision, Unattended
from memory.records import Stop
from sandbox.errors import NotARepository
from tests.agent_kit import BUGGY, CALC, CHECK, MENDED, TEST, Script, Someone, open_local
from tests.conftest import RepoFactory, git

pytestmark = pytest.mark.usefixtures("scripted")

MENDS = Script(lines={"calc.py line 2": "return a + b"})
YES = Unattended(accept=True)
CHECKS = (CHECK.command,)


def test_not_a_git_repository(tmp_path: Path) -> None:
    with open_local(tmp_path, MENDS, YES) as session:
        with pytest.raises(NotARepository) as error:
            session.run("mend it", CHECKS)
        assert exit_code_of(error.value) == 2
        assert "git init" in error.value.hint
        assert session.store.runs() == []


def test_dirty_tree_is_seen_and_survives(make_repo: RepoFactory) -> None:
    """Staged, unstaged, untracked and deleted files: the agent works on them and leaves them as they are."""
    repo = make_repo(
        {"calc.py": "def add(a, b):\n    return 0\n", "gone.py": "raise SystemExit('old')\n", "s": "1"}
    )
    (repo / "calc.py").write_text(CALC)
    (repo / "test_calc.py").write_text(
        "import pathlib\n\nassert not pathlib.Path('gone.py').exists()\n" + TEST
    )
    (repo / "gone.py").unlink()
    (repo / "s").write_text("2")
    git(repo, "add", "s")
    (repo / "s").write_text("3")
    status, index = git(repo, "status", "--porcelain"), (repo / ".git/index").read_bytes()
    with open_local(repo, MENDS, YES) as session:
        outcome = session.run("mend it", CHECKS)
        assert outcome.stop is Stop.ACCEPTED
        assert session.store.trajectory(outcome.run_id).task.dirty
        diff = session.store.artifact(session.store.run(outcome.run_id).diff_sha256)
    assert diff.count(b"diff --git") == 1
    assert (repo / "calc.py").read_text() == MENDED
    assert git(repo, "status", "--porcelain") == status
    assert git(repo, "show", ":s") == "2"
    assert (repo / "s").read_text() == "3"
    assert (repo / ".git/index").read_bytes() == index


def test_no_checks_found(make_repo: RepoFactory) -> None:
    """Told at once: no sandbox and no model is started for it."""
    with open_local(make_repo({"notes.txt": "Buy milk.\n"}), MENDS, YES) as session:
        session.model = session.sandbox = lambda *_: pytest.fail("started")
        with pytest.raises(UsageError, match="no checks found") as error:
            session.run("mend it")
        assert "--check" in error.value.hint


@pytest.mark.parametrize("task", ["", "  \n\t "])
def test_empty_task(make_repo: RepoFactory, task: str) -> None:
    with (
        open_local(make_repo(BUGGY), MENDS, YES) as session,
        pytest.raises(UsageError, match="task is empty"),
    ):
        session.run(task, CHECKS)


@pytest.mark.parametrize("task", ["$(touch x) `id` %s {0} ${x}", "\x1b[2J\udcff\0", "mend " * 3_000])
def test_a_task_of_any_text_is_only_text(make_repo: RepoFactory, task: str) -> None:
    repo = make_repo(BUGGY)
    with open_local(repo, MENDS, YES) as session:
        outcome = session.run(task, CHECKS)
        assert session.store.run(outcome.run_id).prompt == task
    assert sorted(path.name for path in repo.iterdir()) == [".git", "calc.py", "test_calc.py"]


def test_users_edit_of_the_same_file_during_the_run(make_repo: RepoFactory) -> None:
    """Detected at acceptance: the user's text stays, the change waits as a patch."""
    repo = make_repo(BUGGY)

    class Typing(Script):
        def __call__(self, question):  # type: ignore[no-untyped-def]
            (repo / "calc.py").write_text("# mine\n" + CALC)
            return super().__call__(question)

    with open_local(repo, Typing(lines=MENDS.lines), YES) as session:
        outcome = session.run("mend it", CHECKS)
        assert (outcome.stop, outcome.exit_code) == (Stop.CONFLICT, 4)
        assert (repo / "calc.py").read_text() == "# mine\n" + CALC
        assert [run.id for run in session.store.pending(str(repo))] == [outcome.run_id]
        assert b"+    return a + b" in session.store.artifact(session.store.run(outcome.run_id).diff_sha256)
    (repo / "calc.py").write_text(CALC)
    with open_local(repo, Script(), Someone(Decision("accept"))) as session:
        assert session.review(None).stop is Stop.ACCEPTED
    assert (repo / "calc.py").read_text() == MENDED


ESCAPES = "\x1b[2J\x1b]0;pwned\x07\x1b]52;c;cm0gLXJm\x07\x9b31m\u202egnp.exe\r\x08\x1bc"


def test_terminal_escapes_in_tool_output(make_repo: RepoFactory, capsys: pytest.CaptureFixture[str]) -> None:
    """From checks, commands, the model, file names and the task: nothing reaches the terminal alive."""
    loud = f"import sys\n\nsys.stdout.buffer.write({ESCAPES.encode()!r})\n{TEST}"
    repo = make_repo({**BUGGY, "test_calc.py": loud, "a\x1b[31m.py": "x = 1\n"})
    script = Script(
        plan=f"- Go on {ESCAPES.replace(chr(13), '')} | files: calc.py | check: x\n",
        acts=[
            f"run printf '{ESCAPES}'",
            f"no {ESCAPES}",
            "read calc.py",
            "edit calc.py 2-2\n```\n    return a + b\n```",
        ],
    )
    with (
        Display(make_console(sys.stderr, "never"), verbosity=1) as display,
        open_local(repo, script, YES, listeners=[display.on_event], settings={"sampling": False}) as session,
    ):
        session.on_text, session.on_output = display.on_text, display.on_output
        outcome = session.run(f"mend it {ESCAPES}", CHECKS)
    assert outcome.stop is Stop.ACCEPTED
    shown = capsys.readouterr()
    assert "passed" in shown.err
    for text in (shown.out, shown.err):
        assert not set(text) & set("\x1b\x9b\x07\x08\r\u202e")
