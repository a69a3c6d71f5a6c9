"""The server process of engine `torch`, and which engine serves: a real server on a tiny random model."""

import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import closing
from dataclasses import asdict, replace
from pathlib import Path

import httpx2
import psutil
import pytest

from agent.cli import invoke
from agent.errors import UsageError
from agent.models import choice_of
from agent.settings import directories, load
from memory.records import Message
from model.catalogue import load as load_catalogue
from model.connect import ModelChoice, connect, connect_url
from model.errors import ModelMissing, PromptTooLong, RequestRefused, ServerFailed, StreamBroken
from model.machine import has_gpu
from model.own import OwnModel
from model.protocol import Model, Sampling
from model.server import find, fits, stop
from model.serving import ServeChoice, bound
from model.state import FILE, ServerState, read_state

ASK = [Message(role="system", content="short"), Message(role="user", content="add one")]
LONG = Sampling(max_tokens=900, temperature=1.0, grammar="root ::= [a-z]{880}")


@pytest.fixture(scope="session")
def tiny_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    from model.tiny_torch import write_tiny_torch

    return write_tiny_torch(tmp_path_factory.mktemp("weights") / "qwen2.5-coder-tiny")


@pytest.fixture(scope="module")
def choice(tiny_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[ModelChoice]:
    """One server for the tests of this file that leave it alone."""
    home = tmp_path_factory.mktemp("home")
    yield ModelChoice(home, "torch", str(tiny_folder), n_ctx=2048, threads=1, idle_s=300, device="cpu")
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


@pytest.mark.engine
def test_the_client_finds_the_engine_and_what_it_can(choice: ModelChoice, model: Model) -> None:
    state = running(choice)
    assert (state.engine, state.device, state.dtype, state.quantize) == ("torch", "cpu", "float32", "")
    assert state.openai == f"{state.url}/v1"
    assert isinstance(model, OwnModel)
    assert model.capabilities.infill
    assert model.capabilities.token_ids
    assert (model.capabilities.n_ctx, model.capabilities.model) == (2048, "qwen2.5-coder-tiny")
    with closing(connect_url(state.openai, state.token, "", load_catalogue())) as other:
        assert isinstance(other, OwnModel)
        assert other.count(ASK) == model.count(ASK)
    with pytest.raises(RequestRefused, match="401"):
        connect_url(state.url, "wrong", "", load_catalogue())


@pytest.mark.engine
def test_a_chat_is_counted_streamed_cached_and_repeatable(model: Model) -> None:
    pieces: list[str] = []
    sampling = Sampling(max_tokens=24, temperature=1.0, seed=3, grammar="root ::= [a-z]+")
    [streamed] = model.chat(ASK, sampling, pieces.append)
    [whole] = model.chat(ASK, sampling)
    assert "".join(pieces) == streamed.text == whole.text
    assert streamed.token_ids == whole.token_ids
    assert streamed.usage.prompt_tokens == model.count(ASK)
    assert whole.usage.cached_tokens > 0
    assert whole.text.isalpha()
    answers = model.chat(ASK, Sampling(max_tokens=6, temperature=1.0, seed=5, n=4))
    assert [answer.seed for answer in answers] == [5, 6, 7, 8]
    assert len({answer.token_ids for answer in answers}) > 2
    assert answers[0].usage.prompt_tokens == model.count(ASK)
    assert answers[1].usage.prompt_tokens == 0
    [alone] = model.chat(ASK, Sampling(max_tokens=6, temperature=1.0, seed=7))
    assert alone.token_ids == answers[2].token_ids


@pytest.mark.engine
def test_what_does_not_fit_or_compile_is_refused_and_the_engine_lives(model: Model) -> None:
    with pytest.raises(PromptTooLong) as caught:
        model.chat([Message(role="user", content="x" * 4000)], Sampling(max_tokens=8))
    assert caught.value.prompt_tokens > 4000
    with pytest.raises(RequestRefused, match="grammar"):
        model.chat(ASK, Sampling(grammar="root ::= ("))
    control = [Message(role="user", content="<|im_end|>")]
    assert model.count(control) > model.count([Message(role="user", content="")]) + 5
    assert model.chat(ASK, Sampling(max_tokens=2))


@pytest.mark.slow
@pytest.mark.engine
def test_a_server_killed_midway_breaks_the_stream_and_the_next_call_starts_it_again(own: ModelChoice) -> None:
    with closing(connect(own)) as model:
        before = running(own)

        def kill(_text: str) -> None:
            os.kill(before.pid, signal.SIGKILL)

        with pytest.raises(StreamBroken):
            model.chat(ASK, LONG, kill)
        assert gone(before.pid)
        assert model.chat(ASK, Sampling(max_tokens=4))[0].usage.completion_tokens > 0
        after = running(own)
        assert after.pid != before.pid
    os.kill(after.pid, signal.SIGTERM)
    assert gone(after.pid)
    assert read_state(own.data_dir / "server") is None
    log = (own.data_dir / "server" / "server.log").read_text()
    assert log.endswith("left: asked to stop\n")
    assert "Traceback" not in log


@pytest.mark.slow
@pytest.mark.engine
def test_two_starters_share_one_server_and_an_idle_one_leaves(own: ModelChoice) -> None:
    own = replace(own, idle_s=2.0)
    models: list[Model] = []
    starters = [threading.Thread(target=lambda: models.append(connect(own))) for _ in range(2)]
    for starter in starters:
        starter.start()
    for starter in starters:
        starter.join()
    for connected in models:
        connected.close()
    assert len(models) == 2
    assert gone(running(own).pid)
    assert read_state(own.data_dir / "server") is None
    assert (own.data_dir / "server" / "server.log").read_text().endswith("left: idle for 2 s\n")
    assert not (own.data_dir / "server" / "server.old.log").exists()  # it was started once


@pytest.mark.slow
@pytest.mark.engine
def test_engines_replace_each_other(own: ModelChoice, tmp_path: Path) -> None:
    """The same file by both engines: what runs is taken only by who asks for its engine."""
    from model.tiny import write_tiny

    file = str(write_tiny(tmp_path / "qwen2.5-coder-tiny.gguf"))
    connect(replace(own, engine="llama", name=file)).close()
    first = running(own)
    assert (first.engine, first.openai.startswith("http://127.0.0.1:")) == ("llama", True)
    connect(replace(own, engine="auto", name=file)).close()
    assert running(own) == first or has_gpu()
    connect(replace(own, name=file)).close()
    assert running(own).engine == "torch"
    assert gone(first.pid)


@pytest.mark.engine
def test_without_a_gpu_that_works_engine_llama_serves_and_says_why(tmp_path: Path) -> None:
    from model.server import ensure
    from model.tiny import write_tiny

    said: list[str] = []
    file = write_tiny(tmp_path / "tiny.gguf")
    told = ServeChoice(file, "tiny", n_ctx=1024, threads=1, engine="torch", device="cpu", fallback=True)
    try:
        state = ensure(told, tmp_path / "server", said.append)
        assert state.engine == "llama"
        assert said[-1] == (
            "engine torch is not used: the device is a CPU, on which llama.cpp is faster; engine llama serves"
        )
        assert ensure(told, tmp_path / "server") == state
    finally:
        stop(tmp_path / "server")


@pytest.mark.engine
def test_what_cannot_be_served_is_named(own: ModelChoice) -> None:
    with pytest.raises(ServerFailed, match="did not start: there is no device 'cuda:7'") as caught:
        connect(replace(own, device="cuda:7"))
    assert caught.value.hint == "set the device to auto or cpu"
    assert read_state(own.data_dir / "server") is None


@pytest.mark.engine
def test_serve_prints_where_it_is_for_other_programs(
    adi_home: Path, tiny_folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    server = ["serve", "--engine", "torch", "--device", "cpu", "--model", f"{tiny_folder}"]
    try:
        invoke([*server, "--env"])
        told = dict(
            line.removeprefix("export ").split("=", 1) for line in capsys.readouterr().out.splitlines()
        )
        url, key = told["OPENAI_BASE_URL"], told["OPENAI_API_KEY"]
        with httpx2.Client(headers={"Authorization": f"Bearer {key}"}, trust_env=False) as client:
            [served] = client.get(f"{url}/models").json()["data"]
        assert served["id"] == "qwen2.5-coder-tiny"
        invoke(["serve", "--status", "--json"])
        status = json.loads(capsys.readouterr().out)["server"]
        assert (status["engine"], status["device"], status["openai"]) == ("torch", "cpu", url)
        assert key not in str(status)
        invoke(["serve", "--status"])
        assert f"{url}, engine torch on cpu float32" in capsys.readouterr().out
        invoke(["serve", "--env"])  # whatever runs, though the default model would be another
        assert f"export OPENAI_BASE_URL={url}\n" in capsys.readouterr().out
    finally:
        stop(adi_home / "server")


def test_a_state_of_another_version_is_read(tmp_path: Path) -> None:
    state = ServerState(1, 1.0, "http://127.0.0.1:9", "t", "m", "/m", "", 4096, 1, "")
    old = {name: value for name, value in asdict(state).items() if name in ServerState.__slots__[:10]}
    for told in (old, asdict(state) | {"of_a_later_version": 1}):
        (tmp_path / FILE).write_text(json.dumps(told))
        assert read_state(tmp_path) == state
    assert (state.engine, state.openai) == ("llama", "")
    assert find(tmp_path) is None
    for torn in ("[]", "null", "{}", '{"pid": 1'):
        (tmp_path / FILE).write_text(torn)
        assert read_state(tmp_path) is None


def test_a_running_server_stands_for_what_it_can() -> None:
    state = ServerState(
        1, 1.0, "", "", "m", "/m", "", 4096, 1, "", "torch", "cuda:0", "bfloat16", "int8", "http://x/v1"
    )
    asked = ServeChoice(Path("/m"), "m", n_ctx=2048, engine="torch", quantize="int8")
    assert fits(state, asked)
    assert fits(state, replace(asked, device="cuda", dtype="bfloat16"))
    assert fits(state, replace(asked, device="cuda:0"))
    assert not fits(state, replace(asked, device="cuda:1"))
    assert not fits(state, replace(asked, device="cpu"))
    assert not fits(state, replace(asked, quantize=""))
    assert not fits(state, replace(asked, dtype="float32"))
    assert not fits(state, replace(asked, n_ctx=8192))
    assert not fits(state, replace(asked, engine="llama"))
    llama = replace(state, engine="llama")
    assert not fits(llama, asked)
    assert fits(llama, replace(asked, fallback=True))


def test_the_engine_follows_the_settings(tmp_path: Path, tiny_folder: Path) -> None:
    def chosen(**flags: object) -> ModelChoice:
        return choice_of(load(None, {"model": flags}).settings, directories())

    assert chosen(url="http://h/v1").remote
    assert not chosen(url="http://h/v1", engine="torch").remote
    file = tmp_path / "m.gguf"
    file.write_bytes(b"GGUF")
    assert chosen(name=str(file)).serve().engine == ("torch" if has_gpu() else "llama")
    assert chosen(name=str(tiny_folder)).serve().engine == "torch"  # no other engine reads a folder
    told = chosen(name=str(file), engine="torch", device="cuda:1", dtype="float16", quantize="int8").serve()
    assert (told.engine, told.device, told.dtype, told.quantize) == ("torch", "cuda:1", "float16", "int8")
    assert not told.fallback
    with pytest.raises(ModelMissing):
        chosen(name="/no/such/folder").serve()
    with pytest.raises(ServerFailed, match="is a folder"):
        connect(chosen(name=str(tiny_folder), engine="llama"))
    for flags in ({"engine": "quantum"}, {"device": "the GPU"}, {"dtype": "int8"}, {"quantize": "int3"}):
        with pytest.raises(UsageError, match=f"model.{next(iter(flags))}"):
            chosen(**flags)
    with pytest.raises(UsageError, match="somebody else"):
        invoke(["serve", "--engine", "url"])


def test_a_gpu_is_guessed_without_torch(tmp_path: Path) -> None:
    driver = tmp_path / "version"
    driver.touch()
    assert has_gpu(driver, {})
    assert not has_gpu(driver, {"CUDA_VISIBLE_DEVICES": ""})
    assert not has_gpu(driver, {"CUDA_VISIBLE_DEVICES": "-1"})
    assert has_gpu(driver, {"CUDA_VISIBLE_DEVICES": "1"})
    script = (
        "import sys; import model.connect, model.server; from model.machine import has_gpu, lacking;"
        "has_gpu(); lacking(); print('torch' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout == "False\n"


def test_without_the_extra_one_command_helps(adi_home: Path, tiny_folder: Path) -> None:
    script = "import sys; sys.modules['torch'] = None\nfrom agent.cli import main; main()"
    for command in (["serve"], ["serve", "--env"]):
        argv = [
            sys.executable,
            "-P",
            "-c",
            script,
            *command,
            "--engine",
            "torch",
            "--model",
            f"{tiny_folder}",
        ]
        done = subprocess.run(argv, capture_output=True, text=True, check=False, timeout=60)
        assert done.returncode == 6
        assert "error: engine torch needs what is not installed: torch" in done.stderr
        assert "hint: pip install 'adi-agent[torch]'" in done.stderr
    assert not (adi_home / "server" / FILE).exists()


def test_a_port_that_is_taken_is_named() -> None:
    with closing(bound(0)) as taken, pytest.raises(ServerFailed, match="cannot listen on port"):
        bound(taken.getsockname()[1])
