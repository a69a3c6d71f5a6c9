"""The model server and its client: a real llama.cpp server on a tiny random model."""

import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import psutil
import pytest

from memory.records import Message
from model.catalogue import load
from model.client import LlamaModel
from model.connect import ModelChoice, connect, connect_url
from model.errors import ModelMissing, PromptTooLong, RequestRefused, ServerFailed, StreamBroken, Unsupported
from model.http import Endpoint, Transport
from model.llama import slots
from model.openai import UrlModel
from model.probe import Probe
from model.protocol import Model, Sampling
from model.server import find, stop
from model.state import FILE, ServerState, read_state, write_state

pytestmark = pytest.mark.engine

ASK = [Message(role="system", content="short"), Message(role="user", content="add one")]
LONG = Sampling(max_tokens=3000, temperature=1.0, grammar="root ::= ([a-z ] [a-z ] [a-z ]){1000}")
"""An answer that takes a while: control tokens cannot end it."""


@pytest.fixture(scope="session")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Path:
    from model.tiny import write_tiny

    return write_tiny(tmp_path_factory.mktemp("weights") / "qwen2.5-coder-tiny.gguf")


@pytest.fixture(scope="module")
def choice(tiny: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[ModelChoice]:
    """One server for the tests of this file that leave it alone."""
    home = tmp_path_factory.mktemp("home")
    yield ModelChoice(home, name=str(tiny), n_ctx=4096, threads=1, idle_s=300)
    stop(home / "server")


@pytest.fixture
def own(choice: ModelChoice, tmp_path: Path) -> Iterator[ModelChoice]:
    """A data directory of its own, for tests that harm their server."""
    yield replace(choice, data_dir=tmp_path)
    stop(tmp_path / "server")


@pytest.fixture
def model(choice: ModelChoice) -> Iterator[Model]:
    with closing(connect(choice)) as connected:
        yield connected


def running(choice: ModelChoice) -> ServerState:
    state = find(choice.data_dir / "server")
    assert state is not None
    return state


def gone(pid: int, within_s: float = 20.0) -> bool:
    """Whether a process ends; a zombie has ended."""
    until = time.monotonic() + within_s
    while time.monotonic() < until:
        try:
            if psutil.Process(pid).status() == psutil.STATUS_ZOMBIE:
                return True
        except psutil.NoSuchProcess:
            return True
        time.sleep(0.05)
    return False


def test_a_chat_is_counted_cached_and_repeatable(model: Model) -> None:
    messages = [*ASK[:1], Message(role="user", content="the prefix cache serves what was read once")]
    [first] = model.chat(messages, Sampling(max_tokens=8))
    [again] = model.chat(messages, Sampling(max_tokens=8))
    assert first.usage.prompt_tokens == again.usage.prompt_tokens == model.count(messages)
    assert again.usage.cached_tokens == again.usage.prompt_tokens - 1
    assert first.token_ids == again.token_ids
    assert len(first.token_ids) == first.usage.completion_tokens > 0
    assert first.model == "qwen2.5-coder-tiny"
    longer = [*messages, Message(role="assistant", content="yes"), Message(role="user", content="go")]
    assert model.chat(longer, Sampling(max_tokens=1))[0].usage.cached_tokens >= first.usage.prompt_tokens - 12


def test_streamed_text_is_the_text(model: Model) -> None:
    pieces: list[str] = []
    sampling = Sampling(max_tokens=40, temperature=1.0, seed=3, grammar="root ::= [a-z]+")
    [streamed] = model.chat(ASK, sampling, pieces.append)
    [whole] = model.chat(ASK, sampling)
    assert "".join(pieces) == streamed.text == whole.text
    assert streamed.token_ids == whole.token_ids
    assert len(pieces) > 1


def test_several_answers_come_from_one_prefill(model: Model) -> None:
    answers = model.chat(ASK, Sampling(max_tokens=6, temperature=1.0, seed=5, n=6))
    assert len(answers) == 6
    assert len({answer.token_ids for answer in answers}) > 3
    assert [answer.seed for answer in answers] == [5, 6, 7, 8, 9, 10]
    read = [answer.usage.prompt_tokens > 0 for answer in answers]
    assert read == [index % slots(threads=1) == 0 for index in range(6)]
    assert (
        answers[3].token_ids == model.chat(ASK, Sampling(max_tokens=6, temperature=1.0, seed=8))[0].token_ids
    )


def test_a_grammar_rules_and_a_bad_one_is_refused(model: Model) -> None:
    [done] = model.chat(ASK, Sampling(max_tokens=30, grammar='root ::= "read " [a-z]{3} "\\n"'))
    assert done.text.startswith("read ")
    assert len(done.text) == 9
    assert done.finish_reason == "stop"
    with pytest.raises(RequestRefused, match="grammar"):
        model.chat(ASK, Sampling(grammar="root ::= ("))


def test_a_stop_text_ends_the_answer(model: Model) -> None:
    sampling = Sampling(max_tokens=30, grammar='root ::= "abcdef"', stop=("de",))
    [done] = model.chat(ASK, sampling)
    assert (done.text, done.finish_reason) == ("abc", "stop")


def test_a_prompt_that_does_not_fit_is_not_sent(model: Model) -> None:
    long = [Message(role="user", content="x" * 4000)]
    with pytest.raises(PromptTooLong) as caught:
        model.chat(long, Sampling(max_tokens=500))
    assert caught.value.prompt_tokens == model.count(long) > 4000
    assert caught.value.n_ctx == 4096
    answers = model.chat(long, Sampling(max_tokens=40, n=3))  # not all at once: the window is shared
    assert len(answers) == 3


def test_a_gap_is_filled_with_the_familys_tokens(model: Model) -> None:
    fill = Sampling(max_tokens=5, temperature=1.0, n=2, grammar="root ::= [a-z]+")
    first, second = model.infill("def f(", "): pass", fill)
    assert first.usage.prompt_tokens == 3 + len("def f(") - 1 + len("): pass")  # `de` is one token
    assert first.text.isalpha()
    assert second.text.isalpha()
    [with_context] = model.infill("a", "b", Sampling(max_tokens=1), context="x.py")
    assert with_context.usage.prompt_tokens == 6 + len("repository\n") + len("x.py\n") + 2 - 1  # `re`


def test_a_model_of_no_known_family_fills_no_gaps(choice: ModelChoice) -> None:
    state = running(choice)
    plain = LlamaModel(Transport(lambda: Endpoint(state.url, state.token)))
    with closing(plain), pytest.raises(Unsupported):
        plain.infill("a", "b", Sampling())


def test_the_server_by_url_is_the_same_model(choice: ModelChoice, model: Model) -> None:
    state = running(choice)
    with closing(connect_url(state.url, state.token, "", load())) as other:
        assert isinstance(other, LlamaModel)
        assert other.capabilities == model.capabilities
        assert other.count(ASK) == model.count(ASK)
    with pytest.raises(RequestRefused, match="401"):
        connect_url(state.url, "wrong", "", load())


def test_the_openai_dialect_says_the_same(choice: ModelChoice, model: Model) -> None:
    """llama.cpp's own OpenAI endpoints, met as if nothing were known about the server."""
    state = running(choice)
    transport = Transport(lambda: Endpoint(state.url, state.token))
    fim = load().fim("qwen2.5-coder")
    with closing(UrlModel(transport, Probe("other", state.name, n_ctx=4096), fim)) as other:
        pieces: list[str] = []
        [done] = other.chat(ASK, Sampling(max_tokens=9), pieces.append)
        assert "".join(pieces) == done.text
        assert done.text == model.chat(ASK, Sampling(max_tokens=9))[0].text
        assert done.usage.prompt_tokens == model.count(ASK)
        [gap] = other.infill("def f(", "): pass", Sampling(max_tokens=4))
        assert gap.usage.prompt_tokens == 3 + len("def f(") - 1 + len("): pass")


def test_leaving_a_stream_stops_the_work(choice: ModelChoice, model: Model) -> None:
    def interrupt(_text: str) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        model.chat(ASK, LONG, interrupt)
    until = time.monotonic() + 2.0
    while slots_busy(choice) and time.monotonic() < until:
        time.sleep(0.02)
    assert not slots_busy(choice)


def slots_busy(choice: ModelChoice) -> bool:
    state = running(choice)
    transport = Transport(lambda: Endpoint(state.url, state.token))
    with closing(transport):
        return any(slot["is_processing"] for slot in transport.get("/slots"))


def test_a_server_killed_midway_breaks_the_stream_and_the_next_call_works(own: ModelChoice) -> None:
    with closing(connect(own)) as model:
        before = running(own)

        def kill(_text: str) -> None:
            os.kill(before.pid, signal.SIGKILL)

        with pytest.raises(StreamBroken):
            model.chat(ASK, LONG, kill)
        assert gone(before.pid)
        assert model.chat(ASK, Sampling(max_tokens=4))[0].usage.completion_tokens > 0
        assert running(own).pid != before.pid


def test_an_answer_not_yet_shown_survives_a_dying_server(own: ModelChoice) -> None:
    with closing(connect(own)) as model:
        victim = running(own).pid
        killer = threading.Timer(0.3, os.kill, (victim, signal.SIGKILL))
        killer.start()
        [done] = model.chat(ASK, LONG)
        killer.join()
        assert len(done.text) == 3000
        assert gone(victim)


def test_two_starters_share_one_server(own: ModelChoice) -> None:
    script = (
        "import sys; from pathlib import Path; from model.connect import ModelChoice, connect\n"
        "m = connect(ModelChoice(Path(sys.argv[1]), name=sys.argv[2], n_ctx=4096, threads=1, idle_s=300))\n"
        "m.close()"
    )
    argv = [sys.executable, "-P", "-c", script, str(own.data_dir), own.name]
    starters = [subprocess.Popen(argv, cwd=own.data_dir) for _ in range(2)]
    assert [starter.wait(60) for starter in starters] == [0, 0]
    servers = [
        process.pid
        for process in psutil.process_iter(["cmdline"])
        if str(own.data_dir / "server") in (process.info["cmdline"] or ())
    ]
    assert servers == [running(own).pid]
    state = own.data_dir / "server" / FILE
    assert state.stat().st_mode & 0o777 == 0o600
    ended = stop(own.data_dir / "server")
    assert ended is not None
    assert gone(ended.pid)
    assert not state.exists()


def test_an_idle_server_leaves_and_comes_back(own: ModelChoice) -> None:
    own = replace(own, idle_s=1.0)
    with closing(connect(own)) as model:
        first = running(own)
        assert gone(first.pid)
        assert read_state(own.data_dir / "server") is None
        assert model.chat(ASK, Sampling(max_tokens=2))
        assert running(own).pid != first.pid


def test_a_server_that_nobody_can_find_leaves(own: ModelChoice) -> None:
    connect(own).close()
    pid = running(own).pid
    write_state(own.data_dir / "server", None)
    assert gone(pid)


def test_stale_state_is_cleaned(own: ModelChoice) -> None:
    folder = own.data_dir / "server"
    other = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    with other:  # a living process that is not the one of the state: the pid was used again
        state = ServerState(other.pid, 1.0, "http://127.0.0.1:9", "t", "m", "/m", "", 4096, 1, "")
        write_state(folder, state)
        assert find(folder) is None
        assert not (folder / FILE).exists()
        (folder / FILE).write_text("{torn")
        connect(own).close()
        assert stop(folder) is not None
        assert other.poll() is None


def test_another_model_replaces_the_server(own: ModelChoice, tiny: Path) -> None:
    second = tiny.with_name("second.gguf")
    second.write_bytes(tiny.read_bytes())
    connect(own).close()
    first = running(own)
    connect(replace(own, n_ctx=1024)).close()  # a smaller window is served by what runs
    assert running(own) == first
    connect(replace(own, name=str(second))).close()
    assert running(own).name == "second"
    assert gone(first.pid)


@pytest.mark.parametrize("content", [b"no model", b"GGUF\x03\x00\x00\x00 and then nothing of sense"])
def test_a_broken_file_is_named(own: ModelChoice, tmp_path: Path, content: bytes) -> None:
    broken = tmp_path / "broken.gguf"
    broken.write_bytes(content)
    with pytest.raises(ServerFailed, match=r"broken\.gguf"):
        connect(replace(own, name=str(broken)))


def test_a_missing_model_names_the_command(own: ModelChoice) -> None:
    with pytest.raises(ModelMissing) as caught:
        connect(replace(own, name="qwen2.5-coder-0.5b"))
    assert caught.value.hint == "adi model pull qwen2.5-coder-0.5b"


def test_serve_in_the_foreground(own: ModelChoice) -> None:
    adi = [sys.executable, "-P", "-c", "from agent.cli import main; main()"]
    home = {**os.environ, "ADI_HOME": str(own.data_dir)}
    server = subprocess.Popen([*adi, "serve", "--model", own.name], env=home, stderr=subprocess.DEVNULL)
    with server:
        until = time.monotonic() + 30
        while not (state := find(own.data_dir / "server")) and time.monotonic() < until:
            time.sleep(0.05)
        assert state is not None
        assert state.pid == server.pid
        told = subprocess.run(
            [*adi, "serve", "--status", "--json"], env=home, capture_output=True, check=True
        )
        assert json.loads(told.stdout)["server"]["name"] == "qwen2.5-coder-tiny"
        assert state.token.encode() not in told.stdout
        again = subprocess.run(
            [*adi, "serve", "--model", own.name], env=home, capture_output=True, check=False
        )
        assert again.returncode == 6
        assert b"hint: adi serve --stop" in again.stderr
        subprocess.run([*adi, "serve", "--stop"], env=home, check=True, capture_output=True)
        assert server.wait(20) == 128 + signal.SIGTERM
    assert read_state(own.data_dir / "server") is None
