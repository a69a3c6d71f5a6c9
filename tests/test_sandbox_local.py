"""The local stand-in for tests, whose containers are orphans, and hosts without a Docker engine."""

import os
import time
from pathlib import Path

import pytest

from sandbox import debian
from sandbox.client import connect
from sandbox.engine import engine_answers, install_engine
from sandbox.errors import DockerMissing
from sandbox.local import LocalSandbox
from sandbox.owner import HOST, PID, STARTED, is_orphan, labels
from sandbox.protocol import Sandbox, SandboxLimits
from sandbox.workcopy import WorkCopy, snapshot
from tests.conftest import RepoFactory


def test_the_local_sandbox_does_what_the_protocol_says(make_repo: RepoFactory, tmp_path: Path) -> None:
    copy = WorkCopy(snapshot(make_repo({"a.py": "x = 1\n", "b.py": "y = 1\n"}), tmp_path / "shadow"))
    limits = SandboxLimits(output_bytes=100, output_stop_bytes=10_000)
    with LocalSandbox(copy.archive(), limits) as made:
        box: Sandbox = made
        result = box.run("cat a.py; echo err >&2; exit 3", timeout_s=10)
        assert (result.status, result.exit_code, result.output) == ("nonzero", 3, b"x = 1\nerr\n")
        assert box.run("cat", timeout_s=10, stdin=b"given").output == b"given"
        assert box.run("cat", timeout_s=10).output == b""
        began = time.monotonic()
        assert box.run("sleep 60 & sleep 60", timeout_s=0.3).status == "timeout"
        assert box.run("sleep 60 & echo done", timeout_s=10).output == b"done\n"
        assert time.monotonic() - began < 5
        assert box.run("yes", timeout_s=10).status == "output-cap"
        assert box.run("kill -9 $$", timeout_s=10).exit_code == 137
        box.write({"a.py": b"x = 2\n", "b.py": None})
        assert box.changes() == {}
        box.run(
            "cat a.py > c.py; rm a.py; mkdir __pycache__; touch __pycache__/x.pyc; ln -s c.py l", timeout_s=10
        )
        assert box.changes() == {"a.py": None, "c.py": b"x = 2\n"}
        root = made.root
    assert not root.exists()


def test_no_engine_is_told_with_the_step_that_helps(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DOCKER_HOST", f"unix://{tmp_path}/none.sock")
    with pytest.raises(DockerMissing) as caught:
        connect()
    assert "DOCKER_HOST" in caught.value.hint
    assert not engine_answers()
    with pytest.raises(DockerMissing):
        install_engine(lambda _line: None, tmp_path / "log")


def test_an_engine_that_hangs_is_given_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import socket

    with socket.socket(socket.AF_UNIX) as silent:
        silent.bind(str(tmp_path / "silent.sock"))
        silent.listen()
        monkeypatch.setenv("DOCKER_HOST", f"unix://{tmp_path}/silent.sock")
        began = time.monotonic()
        with pytest.raises(DockerMissing):
            connect()
        assert time.monotonic() - began < 15


def test_orphans_are_told_from_the_living_and_from_strangers() -> None:
    own = labels("run")
    assert not is_orphan(own)
    assert is_orphan({**own, PID: "999999999"})
    assert is_orphan({**own, STARTED: "1"})  # the id was given to another process since
    assert not is_orphan({**own, HOST: "another-machine x y", PID: "999999999"})
    host, boot, _ = own[HOST].split(" ")
    assert not is_orphan({**own, HOST: f"{host} {boot} pid:[1]"})
    assert is_orphan({**own, HOST: f"{host} earlier-boot pid:[1]"})
    assert not is_orphan({})
    child = os.fork()
    if child == 0:
        os._exit(0)
    time.sleep(0.1)
    assert is_orphan({**own, PID: str(child)})  # a zombie owns nothing
    os.waitpid(child, 0)


@pytest.mark.skipif(not debian.is_debian(), reason="asks apt, which only Debian and Ubuntu have")
def test_the_mirrors_are_the_ones_that_apt_uses() -> None:
    sources = debian._sources()
    assert sources[0].release.isalpha()
    assert all(source.site.startswith(("http://", "https://", "file:", "mirror")) for source in sources)
    assert all(source.release.startswith(sources[0].release) for source in sources)
