"""The prompt on a pty: with a scripted session, and the real one in a repository."""

import sys
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

import pexpect
import pytest

from agent.repl import NAMES, Unknown, resolve

SCRIPT = """
import contextlib, pathlib, sys, time
from types import SimpleNamespace
from agent.cli import error_lines, invoke
from agent.errors import EnvironmentMissing
from agent.repl import Repl

class Session:
    def run(self, prompt, checks):
        print("RUN", repr(prompt), checks, flush=True)
        if prompt == "slow":
            time.sleep(60)
        if prompt == "no docker":
            raise EnvironmentMissing("Docker is gone\\x1b[2J", "adi doctor")
        return SimpleNamespace(run_id="run-7", stop="accepted", exit_code=0, detail="")
    def review(self, run_id):
        print("REVIEW", run_id, flush=True)
    def undo(self, run_id):
        return SimpleNamespace(run_id=run_id, stop="accepted", exit_code=0, detail="taken back " + run_id)

@contextlib.contextmanager
def session():
    print("OPENED", flush=True)
    yield Session()
    print("CLOSED", flush=True)

sys.exit(Repl(
    session, checks=("true",), waiting=lambda: [SimpleNamespace(id="a"), SimpleNamespace(id="b")],
    command_line=lambda words: print("COMMAND", words, flush=True) or 0,
    explain=error_lines, say=lambda text: print(text, flush=True), history=pathlib.Path(sys.argv[1]),
).run())
"""

Start = Callable[..., "pexpect.spawn[str]"]


@pytest.fixture
def spawn(adi_home: Path) -> Iterator[Start]:
    children: list[pexpect.spawn[str]] = []

    def start(*argv: str, cwd: Path) -> "pexpect.spawn[str]":
        environ = {
            "PATH": "/usr/bin:/bin", "TERM": "xterm", "LANG": "C.UTF-8", "PROMPT_TOOLKIT_NO_CPR": "1",
            "ADI_HOME": str(adi_home),
        }  # fmt: skip
        children.append(
            pexpect.spawn(
                sys.executable, list(argv), cwd=str(cwd), env=environ, encoding="utf-8", timeout=30,
                dimensions=(40, 150),
            )
        )  # fmt: skip
        return children[-1]

    yield start
    for child in children:
        child.close(force=True)


def test_a_scripted_session(spawn: Start, tmp_path: Path) -> None:
    script = tmp_path / "repl.py"
    script.write_text(SCRIPT)
    history = tmp_path / "state" / "history"
    child = spawn(str(script), str(history), cwd=tmp_path)

    def step(line: str, *expected: str) -> None:
        child.expect_exact("adi>")
        child.send(line + "\r")
        for text in expected:
            child.expect_exact(text)

    step("fix it", "OPENED", "RUN 'fix it' ('true',)")
    step("\x1b[200~two\nlines\x1b[201~", "RUN 'two\\nlines'")
    step("slow", "RUN 'slow'")
    child.sendintr()
    child.expect_exact("Back at the prompt")
    step("no docker", "error: Docker is gone\\x1b[2J", "hint: adi doctor")
    step("again", "OPENED", "RUN 'again'")
    step("/undo run-7", "taken back run-7")
    step("/rev", "REVIEW a", "REVIEW b")
    step("/log --all", "COMMAND ['log', '--all']")
    step("/re", "/re may be /review or /replay")
    step("/udno", "no command /udno, did you mean /undo?")
    step("/help", "/review", "/quit")
    child.expect_exact("adi>")
    child.sendintr()
    child.expect_exact("Ctrl-C again or Ctrl-D leaves.")
    child.expect_exact("adi>")
    child.sendintr()
    child.expect_exact("CLOSED")
    child.expect_exact("adi show run-7")
    child.expect(pexpect.EOF)
    child.close()
    assert child.exitstatus == 0
    assert "fix it" in history.read_text()
    assert history.stat().st_mode & 0o077 == 0


def test_the_prompt_of_a_repository(spawn: Start, make_repo: Callable[[Mapping[str, str]], Path]) -> None:
    repo = make_repo({"a b.py": "x = 1\n"})
    child = spawn("-P", "-c", "from agent.cli import main; main()", cwd=repo)
    child.expect_exact("ADI 0.")
    child.expect_exact(f"{repo} (main)")
    child.expect_exact("model: ")
    child.expect_exact("sandbox: ")
    child.expect_exact("adi>")
    child.send("/log\r")
    child.expect_exact(f"no runs in {repo} yet")
    child.expect_exact("adi>")
    child.send("/review\r")
    child.expect_exact("Nothing waits for a decision here.")
    child.expect_exact("adi>")
    child.sendeof()
    child.expect_exact("adi log shows past runs.")
    child.expect(pexpect.EOF)
    child.close()
    assert child.exitstatus == 0


def test_outside_of_a_repository_the_prompt_says_so(spawn: Start, tmp_path: Path) -> None:
    child = spawn("-P", "-c", "from agent.cli import main; main()", cwd=tmp_path)
    child.expect_exact("error: not a git repository")
    child.expect(pexpect.EOF)
    child.close()
    assert child.exitstatus == 2


def test_slash_commands_are_found_by_their_beginning() -> None:
    assert all(resolve(name) == name for name in NAMES)
    assert resolve("/u") == "/undo"
    with pytest.raises(Unknown, match="/help lists them"):
        resolve("/xyzzy")
