"""The command line from outside: exit codes, messages, signals, start-up."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path

import pytest

from agent.cli import COMMANDS

ADI = [sys.executable, "-P", "-c", "from agent.cli import main; main()"]
MakeRepo = Callable[[Mapping[str, str]], Path]


def adi(*arguments: str, cwd: Path, stdin: str = "") -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [*ADI, *arguments], cwd=cwd, input=stdin, capture_output=True, text=True, timeout=60, check=False
    )


@pytest.mark.parametrize(
    ("arguments", "says", "helps"),
    [
        (["run", "  "], "error: the task is empty", "hint: say what to do: adi run"),
        (["run", "-"], "error: the task is empty", "hint:"),
        (["run", "fix it"], "error: not a git repository", "hint: make one first: git init"),
        (["run", "x", "--output-format", "yaml"], "error: no output format 'yaml'", "hint: use text"),
        (["run"], "error: Missing argument 'TASK'.", "hint: adi run --help"),
        (["run", "x", "--bogus"], "error: No such option: --bogus", "hint: adi run --help"),
        (["rnu"], "error: no command 'rnu'", "hint: did you mean adi run?"),
        (["frobnicate"], "error: no command 'frobnicate'", "hint: adi --help"),
        ([], "Usage: adi", "Commands:"),
    ],
)
def test_wrong_use_is_exit_2_and_says_what_helps(
    tmp_path: Path, arguments: list[str], says: str, helps: str
) -> None:
    done = adi(*arguments, cwd=tmp_path)
    assert done.returncode == 2
    assert done.stdout == ""
    assert says in done.stderr
    assert helps in done.stderr
    assert "Traceback" not in done.stderr


def test_json_output_tells_failures_too(make_repo: MakeRepo) -> None:
    repo = make_repo({"README": "nothing to check"})
    done = adi("run", "do it", "--url", "http://127.0.0.1:9/v1", "--output-format", "json", cwd=repo)
    result = json.loads(done.stdout)
    assert result["type"] == "result"
    assert result["is_error"] is True
    assert result["exit_code"] == done.returncode != 0
    assert "error: " in done.stderr


def test_a_repository_that_redirects_the_model_is_told_off(make_repo: MakeRepo) -> None:
    repo = make_repo({".adi/config.toml": "[model]\nurl = 'http://evil\\u001b[2J'\n[run]\nstep = 1\n"})
    done = adi("review", cwd=repo)
    assert done.returncode == 0
    assert "warning: " in done.stderr
    assert "model.url is refused" in done.stderr
    assert "did you mean run.steps?" in done.stderr
    assert "Nothing waits for a decision here." in done.stderr


def test_help_is_quick_and_light(tmp_path: Path) -> None:
    best = 9.0
    for _ in range(5):
        began = time.monotonic()
        done = adi("--help", cwd=tmp_path)
        best = min(best, time.monotonic() - began)
    assert done.returncode == 0
    assert all(f"\n  {name}" in done.stdout for name in COMMANDS)
    assert adi("-h", cwd=tmp_path).stdout == done.stdout
    assert best < 0.3
    probe = (
        "import sys; from agent.cli import invoke; invoke(['--help']); print(*sys.modules, file=sys.stderr)"
    )
    found = subprocess.run([sys.executable, "-c", probe], capture_output=True, text=True, check=True)
    loaded = set(found.stderr.split())
    assert not loaded & {"torch", "transformers", "docker", "pydantic", "rich", "prompt_toolkit", "sqlmodel"}


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_has_help(tmp_path: Path, name: str) -> None:
    done = adi(name, "-h", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert f"Usage: adi {name}" in done.stdout


def test_version(tmp_path: Path) -> None:
    assert adi("--version", cwd=tmp_path).stdout.startswith("adi 0.")


def test_an_unexpected_error_keeps_its_traceback_in_a_file(tmp_path: Path, adi_home: Path) -> None:
    broken = adi_home / "state"
    broken.mkdir()
    (adi_home / "adi.db").mkdir()  # a directory where the database belongs
    done = adi("log", "--all", cwd=tmp_path)
    assert done.returncode not in {0, 2}
    assert done.stderr.startswith("error: ")
    assert "Traceback" not in done.stderr
    assert "Traceback" in adi("log", "--all", "--debug", cwd=tmp_path).stderr


@pytest.mark.parametrize(
    ("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143), (signal.SIGHUP, 129)]
)
def test_signals_unwind(tmp_path: Path, number: signal.Signals, code: int) -> None:
    child = subprocess.Popen(
        [*ADI, "run", "-"], cwd=tmp_path, stdin=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    assert child.stdin is not None
    assert child.stderr is not None
    with child.stdin, child.stderr:
        time.sleep(1.0)  # it reads the task from the pipe now
        child.send_signal(number)
        assert child.wait(30) == code
        told = child.stderr.read()
    assert told.startswith("interrupted by ")
    assert "Traceback" not in told


def test_a_closed_pipe_is_quiet(tmp_path: Path) -> None:
    reading, writing = os.pipe()
    os.close(reading)
    try:
        done = subprocess.run(
            [*ADI, "--help"], cwd=tmp_path, stdout=writing, stderr=subprocess.PIPE, text=True, check=False
        )
    finally:
        os.close(writing)
    assert done.stderr == ""
