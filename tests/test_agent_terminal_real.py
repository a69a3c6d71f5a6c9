"""The real `adi` on a pty, with a repository, a model and tests that attack the terminal (K03, K08)."""

import io
import json
import os
import subprocess
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pexpect
import pytest
from terminal_kit import ATTACKS, BANNED, OWN, foul, spoofed

from memory.records import CheckRan, PlanMade, RunStarted
from memory.store import Store
from model.scripted import Asked
from tests.adi_kit import ADI, adi, newest
from tests.agent_kit import CALC, Script
from tests.conftest import RepoFactory, git
from tests.openai_server import Said, serve

pytestmark = [pytest.mark.containment, pytest.mark.usefixtures("scripted")]

EVIL = "\x1b]52;c;ZXZpbA==\x07\x1b[7A\x1b[2K\x9b31m\u202etxt\u200b[bold]:smile:\rover"
IN_NAMES = "\x1b]0;t\x07\u202e\u009b2J[red]"
BRANCH = "main\u202e\u009b2J-\u200b\U000e0041"
TEST = f"""\
import sys
from calc import add

ALL = {ATTACKS!r}

def test_add():
    for text in ALL:
        sys.stdout.buffer.write(text.encode("utf-8", "surrogatepass") + b"\\n")
    assert add(2, 3) == 5, "".join(ALL)
"""
NARROW_LOCALE = {"LC_ALL": "C", "LANG": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}


def hostile_repo(make_repo: RepoFactory) -> Path:
    """Its directory, its files and its branch have names that steer a terminal."""
    files = {
        "calc.py": CALC,
        "test_calc.py": TEST,
        f"{IN_NAMES}.py": "x = 1\n",
        f"line\nbreak{IN_NAMES}.txt": "y\n",
    }
    repo = make_repo(files, name=f"repo{IN_NAMES}")
    git(repo, "checkout", "--quiet", "-b", BRANCH)
    (repo / f"untracked{IN_NAMES}").write_text("z\n")
    return repo


def hostile_model() -> Script:
    plan = f"- Mend it {EVIL} | files: calc.py, {IN_NAMES}.py | check: pytest\n"
    return Script(plan=plan, lines={"calc.py line 2": f"return a + b  # {EVIL.replace(chr(13), '')}"})


@contextmanager
def on_terminal(repo: Path, *arguments: str) -> "Iterator[tuple[pexpect.spawn[str], io.StringIO]]":
    """`adi` on a pty of 80 columns, and everything that the terminal receives."""
    environ = {
        **os.environ,
        "TERM": "xterm-256color",
        "PAGER": "cat",
        "PROMPT_TOOLKIT_NO_CPR": "1",
        "LANG": "C.UTF-8",
    }
    seen = io.StringIO()
    child: pexpect.spawn[str] = pexpect.spawn(
        ADI[0], [*ADI[1:], *arguments], cwd=str(repo), env=environ, encoding="utf-8", timeout=90,
        dimensions=(30, 80),
    )  # fmt: skip
    child.logfile_read = seen
    try:
        yield child, seen
    finally:
        child.close(force=True)


def shown_by(repo: Path, *arguments: str) -> str:
    """What a terminal receives of a command that asks nothing."""
    with on_terminal(repo, *arguments) as (child, seen):
        child.expect(pexpect.EOF)
    return seen.getvalue()


def unbroken(text: str) -> str:
    """Without colours and line breaks."""
    return OWN.sub("", text).replace("\n   ↳ ", "").replace("\n", "")


def assert_inert(text: str) -> None:
    assert foul(text.replace("\t", "")) == []
    assert spoofed(text) == []


@pytest.mark.container
@pytest.mark.slow
def test_agent_k08_a_whole_run_on_a_terminal(make_repo: RepoFactory, adi_home: Path) -> None:
    """Plan, search, verdict, diff, pager and questions; then the stored run in every form."""
    repo, script = hostile_repo(make_repo), hostile_model()

    def answer(asked: Asked) -> object:
        said = script(asked)
        return Said(said, model=f"swapped{EVIL}") if isinstance(said, str) else said

    with (
        serve(answer) as url,
        on_terminal(repo, "run", f"mend it {EVIL}", "--url", url, "-v") as (child, seen),
    ):
        child.expect_exact("Go on with this plan?")
        child.sendline("")
        child.expect_exact("Apply this change?")
        child.sendline("d")
        child.expect_exact("Apply this change?")
        child.sendline("y")
        child.expect(pexpect.EOF)
    assert_inert(seen.getvalue())
    assert "\\x1b]52;c;ZXZpbA==\\x07" in unbroken(seen.getvalue())
    assert "! This holds hidden" in seen.getvalue()
    assert EVIL.replace("\r", "") in (repo / "calc.py").read_text("utf-8"), "as the model wrote it"

    run = newest(adi_home)
    with Store.open(adi_home / "adi.db") as store:
        payloads = [event.payload for event in store.events(run.id)]
    assert next(item for item in payloads if isinstance(item, RunStarted)).task.prompt == f"mend it {EVIL}"
    plan = next(item.plan for item in payloads if isinstance(item, PlanMade))
    assert "\x1b]52;c;ZXZpbA==\x07" in plan.steps[0].goal, "the trace keeps it raw"
    check = next(item.result for item in payloads if isinstance(item, CheckRan))
    assert "\x1b[7A" in check.output
    assert "\x1b[7A" in (adi_home / "patches" / f"{run.id}.patch").read_text("utf-8", "replace")

    for command in (("log",), ("log", "--all"), ("show", run.id), ("replay", run.id), ("doctor",), ("undo",)):
        assert_inert(shown_by(repo, *command))
        narrow = {**os.environ, **NARROW_LOCALE}
        done = subprocess.run([*ADI, *command], cwd=repo, env=narrow, capture_output=True, check=False)
        # undo was done at the terminal; doctor misses the weights in this ADI_HOME
        assert done.returncode == {"undo": 2, "doctor": 6}.get(command[0], 0), done.stderr
        assert_inert((done.stdout + done.stderr).decode())
    for command in (("log", "--json"), ("show", run.id, "--json"), ("doctor", "--json")):
        text = adi(repo, *command).stdout
        assert text.isascii()
        assert text.strip().isprintable()
        json.loads(text)


def test_agent_k08_the_prompt_its_banner_and_its_errors(make_repo: RepoFactory) -> None:
    """Also what is pasted: it stands in the prompt as it is before it is sent."""
    repo = hostile_repo(make_repo)
    with on_terminal(repo) as (child, seen):
        child.expect_exact("adi>")
        for line, answer in (
            ("/show a\u202eb\u200b\U000e0041[red]:smile:", "error: "),
            ("/lgo\u202e[red]", "no command /lgo\\u202e[red]"),
            ("/log", "no runs in "),
            ("/doctor", "sqlite"),
        ):
            child.send(f"{line}\r")
            child.expect_exact(answer)
            child.expect_exact("adi>")
        child.expect_exact("\x1b[?25h")
        child.send("\x04")
        child.expect(pexpect.EOF)
    text = seen.getvalue()
    assert not [attack for attack in BANNED if attack in text]
    assert not [c for c in "\u202e\u200b\U000e0041\u009b" if c in text]
    banner = text.partition("Type a task")[0]
    assert_inert(banner)
    assert "repo\\x1b]0;t\\x07\\u202e\\x9b2J[red]" in unbroken(banner)
    assert "\\U000e0041" in banner, "the branch"


@contextmanager
def models(*ids: str) -> Iterator[str]:
    """A server that lists these models."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            body = json.dumps({"data": [{"id": name} for name in ids]}).encode()
            self.send_response(200)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            """Quiet."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_port}/v1"
        finally:
            server.shutdown()
            thread.join()


@pytest.mark.container
def test_agent_k08_models_of_a_remote_server(make_repo: RepoFactory) -> None:
    repo = make_repo({"a.py": "x = 1\n"})
    with models(f"one{EVIL}", f"two{EVIL}") as url:
        text = shown_by(repo, "run", "mend it", "--url", url, "--check", f"false # {EVIL}", "--yes")
    assert_inert(text)
    assert "one\\x1b]52;c;ZXZpbA==\\x07" in unbroken(text)


@pytest.mark.parametrize(
    "arguments",
    [
        (EVIL,),
        ("show", EVIL),
        ("replay", EVIL),
        ("run", EVIL, "--output-format", EVIL),
        ("run", EVIL, f"--{EVIL}"),
        ("run", "x", "--repo", EVIL),
        ("log", "--repo", EVIL),
        ("model", "path", EVIL),
        ("model", "pull", f"./{EVIL}.gguf"),
        ("review", EVIL),
        ("eval", "quixbugs", "--data", EVIL),
    ],
)
def test_agent_k08_what_was_typed_wrong_is_told_inert(
    make_repo: RepoFactory, arguments: tuple[str, ...]
) -> None:
    repo = make_repo({"a.py": "x = 1\n"})
    done = subprocess.run([*ADI, *arguments, "--debug"], cwd=repo, capture_output=True, check=False)
    assert done.returncode != 0
    assert "error: " in done.stderr.decode()
    assert_inert((done.stdout + done.stderr).decode())


def test_agent_k08_doctor_with_hostile_places_and_settings(make_repo: RepoFactory, tmp_path: Path) -> None:
    """Names of directories, of an image and of a server that a settings file chose."""
    repo = make_repo({"a.py": "x = 1\n"})
    home = tmp_path / f"home{IN_NAMES}"
    home.mkdir()
    evil = json.dumps(EVIL)
    (home / "config.toml").write_text(f"[model]\nurl = {evil}\n[sandbox]\nimage = {evil}\n[{evil}]\nx = 1\n")
    environ = {**os.environ, "ADI_HOME": str(home)}
    done = subprocess.run([*ADI, "doctor"], cwd=repo, env=environ, capture_output=True, check=False)
    text = (done.stdout + done.stderr).decode()
    assert "\\x1b]" in text
    assert_inert(text)
