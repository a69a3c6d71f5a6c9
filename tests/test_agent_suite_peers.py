"""Outside agents in their container: what they change, how they end, what they cost; nothing stays behind.

The agents here are small scripts in the place of the real ones; container, socket and gateway are real.
"""

import shlex
import threading
import time
from collections.abc import Callable
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import pytest

from agent.errors import EnvironmentMissing, UsageError
from agent.suite_peer_kinds import KINDS, Job, script
from agent.suite_peers import GIT, folder_of, peer
from agent.suite_task import Attempt, Grader, SuiteTask
from model.connect import ModelChoice
from model.errors import ModelError
from model.scripted import Asked
from sandbox.client import connect
from sandbox.images import extended, is_present, recipe
from sandbox.owner import RUN
from tests.conftest import RepoFactory
from tests.openai_server import Do, Fails, Said, serve

FILES = {
    "calc.py": "def add(a, b):\n    return a - b\n",
    "check.py": "import calc\nassert calc.add(1, 2) == 3\n",
}
# Their containers bear the name of the task, and each test looks that none is left.
pytestmark = pytest.mark.xdist_group("peers")

TASK = SuiteTask(
    suite="own",
    name="add",
    language="py",
    prompt="calc.add subtracts. Mend it: 'quotes' and $(date) included.",
    files={path: text.encode() for path, text in FILES.items()},
    answers=("calc.py",),
    grader=Grader("python3 check.py"),
    checks=("python3 check.py",),
)
MEND = "open('calc.py', 'w').write('def add(a, b):\\n    return a + b\\n')\n"
MENDED = b"def add(a, b):\n    return a + b\n"
ASK = """\
import json, os, sys, urllib.error, urllib.request
def ask(text):
    body = {"model": "any", "temperature": 2, "stream": True, "messages": [{"role": "user", "content": text}]}
    asked = urllib.request.Request(
        os.environ["OPENAI_API_BASE"] + "/chat/completions", json.dumps(body).encode(),
        {"Content-Type": "application/json", "Authorization": "Bearer " + os.environ["OPENAI_API_KEY"]})
    try:
        events = urllib.request.urlopen(asked).read().decode().split("\\n\\n")
    except urllib.error.HTTPError as error:
        print(error.code, error.read().decode())
        return ""
    found = [json.loads(event[6:]) for event in events if event.startswith("data: {")]
    return "".join(choice["delta"]["content"] for event in found for choice in event["choices"])
"""


def answer(asked: Asked) -> object:
    """The model: gives the question back, with what it cost."""
    return Said(asked.messages[-1].content.upper(), "tiny", tokens=11)


@pytest.fixture
def attempt(adi_home: Path, make_repo: RepoFactory, tmp_path: Path) -> Callable[..., Attempt]:
    """One attempt of a script in the place of an agent: `attempt(text)`."""

    def run(
        text: str,
        name: str = "aider",
        model: Callable[[Asked], object] = answer,
        wall_s: float = 30.0,
        stopping: threading.Event | None = None,
        image: str = "",
    ) -> Attempt:
        folder = folder_of(adi_home, name)
        package = folder / "lib" / "python3.11" / "site-packages" / KINDS[name].module
        package.mkdir(parents=True)
        (package / "__main__.py").write_text(ASK + text)
        (folder / "bin").mkdir()
        (folder / "bin" / "python3").symlink_to("/usr/bin/python3")
        (folder / "pyvenv.cfg").write_text("home = /usr/bin\n")
        with serve(model) as url:
            choice = ModelChoice(adi_home, "url", "tiny", url)
            agent = peer(
                name,
                choice,
                wall_s=wall_s,
                image=image or recipe("python").tag,
                stopping=stopping,
                logs=tmp_path / "logs",
            )
            try:
                return agent.attempt(TASK, make_repo(FILES), TASK.prompt)
            finally:
                assert containers(f"{name}-{TASK.name}") == []

    return run


def containers(run_id: str) -> list[str]:
    """What is left of a run once a busy engine has had a moment to finish its removal."""
    deadline = time.monotonic() + 20
    with closing(connect()) as client:
        while True:
            found = client.containers(all=True, filters={"label": f"{RUN}={run_id}"})
            if not found or time.monotonic() > deadline:
                return [str(one["Id"]) for one in found]
            time.sleep(0.2)


@pytest.mark.container
def test_an_agent_talks_to_the_model_through_the_relay_and_its_change_is_the_answer(
    attempt: Callable[..., Attempt], tmp_path: Path
) -> None:
    text = (
        "told = open('/gate/message.txt').read()\nassert ask(told) == told.upper()\nassert ask('b') == 'B'\n"
    )
    notes = "open('.aider.chat.history.md', 'w').write('notes')\nopen('new.txt', 'w').write('new')\n"
    done = attempt(f"{text}{MEND}{notes}print('all', 'done')\n")
    assert (done.ended, done.detail, done.answer) == ("finished", "", {"calc.py": MENDED, "new.txt": b"new"})
    assert (done.calls, done.completion_tokens, done.model) == (2, 22, "tiny")
    assert 0 < done.wall_s < 30
    assert "all done" in (tmp_path / "logs" / "aider-own-add-0.txt").read_text()


@pytest.mark.container
def test_a_hanging_agent_is_killed_at_its_limit_and_what_it_changed_by_then_counts(
    attempt: Callable[..., Attempt],
) -> None:
    child = "import subprocess, time\nsubprocess.Popen(['sleep', '600'], start_new_session=True)\n"
    done = attempt(f"{MEND}{child}ask('a')\ntime.sleep(600)\n", wall_s=4.0)
    assert (done.ended, done.answer, done.calls) == ("timeout", {"calc.py": MENDED}, 1)
    assert "killed after" in done.detail
    assert 3.5 < done.wall_s < 20


@pytest.mark.container
def test_an_agent_that_waits_for_a_silent_model_is_killed_too(attempt: Callable[..., Attempt]) -> None:
    done = attempt("ask('a')\n", model=lambda _asked: Do.HANG, wall_s=4.0)
    assert (done.ended, done.answer, done.calls) == ("timeout", {}, 1)


@pytest.mark.sample(1)
@pytest.mark.container
@pytest.mark.parametrize(
    ("text", "ended", "detail"),
    [
        ("ask('a')\nraise SystemExit('no such thing')\n", "error", "exit code 1: no such thing"),
        ("print('nothing to do')\n", "error", "exit code 0: nothing to do"),  # the model was never asked
    ],
)
def test_a_crash_is_an_attempt_with_its_last_line(
    attempt: Callable[..., Attempt], text: str, ended: str, detail: str
) -> None:
    done = attempt(text)
    assert (done.ended, done.detail, done.answer) == (ended, detail, {})


@pytest.mark.container
def test_a_prompt_past_the_window_has_an_end_of_its_own(attempt: Callable[..., Attempt]) -> None:
    text = '{"n_prompt_tokens": 1}'

    def model(asked: Asked) -> object:
        said = "This model's maximum context length is 4096 tokens."
        return Fails(400, text=said) if asked.messages[0].content == text else answer(asked)

    done = attempt(f"ask('a')\nask({text!r})\n", model=model)
    assert (done.ended, done.calls) == ("too-long", 2)
    assert "context_length_exceeded" in done.detail


@pytest.mark.container
def test_the_own_record_of_an_agent_tells_how_it_gave_up(attempt: Callable[..., Attempt]) -> None:
    record = {
        "info": {"exit_status": "RepeatedFormatError"},
        "messages": [
            {"extra": {"actions": [{"command": "ls"}]}},
            {"role": "user"},
            {"extra": {"interrupt_type": "FormatError"}},
            {"extra": {"interrupt_type": "FormatError"}},
        ],
    }
    done = attempt(f"ask('a')\nopen('/tmp/adi-peer.json', 'w').write(json.dumps({record!r}))\n", "mini")
    assert (done.ended, done.actions, done.malformed) == ("malformed", 1, 2)


@pytest.mark.container
def test_a_server_that_never_answers_is_a_missing_environment_and_no_attempt(
    attempt: Callable[..., Attempt],
) -> None:
    with pytest.raises(ModelError, match="the answer of the model server"):
        attempt("ask('a')\n", model=lambda _asked: Do.BREAK)


@pytest.mark.container
def test_a_stopped_suite_breaks_the_agent_off(attempt: Callable[..., Attempt]) -> None:
    stopping = threading.Event()
    stopping.set()
    with pytest.raises(KeyboardInterrupt):
        attempt("import time\nprint('on', flush=True)\ntime.sleep(600)\n", stopping=stopping)


@pytest.mark.container
@pytest.mark.network
def test_the_container_has_no_network_no_key_and_a_clean_git_repository(
    attempt: Callable[..., Attempt],
) -> None:
    image = extended("python", *GIT).tag
    with closing(connect()) as client:
        if not is_present(image, client):
            pytest.skip(f"no image {image} (try: python benchmarks/install_peers.py)")
    look = """
import socket, subprocess
ask('a')
assert subprocess.check_output(['git', 'status', '--porcelain'], text=True) == ''
assert subprocess.check_output(['git', 'rev-list', '--count', 'HEAD'], text=True) == '1\\n'
assert os.environ['OPENAI_API_KEY'] == 'none'
assert subprocess.run(['python3', '-c', 'import aider'], check=False).returncode == 1, 'they leak'
try:
    open('/gate/start.sh', 'a')
    sys.exit('the gate can be written to')
except OSError:
    pass
try:
    socket.create_connection(('1.1.1.1', 53), 2)
    sys.exit('there is a network')
except OSError:
    pass
"""
    done = attempt(look, image=image)
    assert (done.ended, done.detail, done.answer) == ("finished", "", {})


def test_an_agent_that_is_unknown_or_not_installed_is_told(adi_home: Path) -> None:
    choice = ModelChoice(adi_home, "url", "tiny", "http://127.0.0.1:9")
    with pytest.raises(UsageError, match="no agent 'cursor'"):
        peer("cursor", choice, wall_s=1)
    with pytest.raises(UsageError, match="needs a time limit"):
        peer("mini", choice, wall_s=0)
    with pytest.raises(EnvironmentMissing) as found:
        peer("mini", choice, wall_s=1)
    assert found.value.hint == "python benchmarks/install_peers.py mini"


def test_files_and_checks_reach_the_command_lines_unharmed() -> None:
    job = Job("Do 'it'", ("a b.py", "-x.py"), "python3 'my check.py'", 2.5, "tiny", 4096, 300)
    words = shlex.split(KINDS["aider"].command(job))
    assert words[words.index("--") + 1 :] == ["a b.py", "-x.py"]
    bounded = shlex.split(words[words.index("--test-cmd") + 1])
    assert bounded == ["timeout", "-k", "1", "2.5", "sh", "-c", "python3 'my check.py'"]
    assert "--auto-test" not in KINDS["aider"].command(replace(job, check=""))
    assert KINDS["mini"].message(job).endswith("succeeds: python3 'my check.py'")
    assert KINDS["mini"].message(replace(job, check="")) == "Do 'it'"
    assert all("Do " not in script(kind, job) for kind in KINDS.values())  # the message is a file
