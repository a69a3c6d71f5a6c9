"""Case C05: secrets of the user beside a real run: none in a prompt, the store, a patch or a container."""

import contextlib
import json
import os
import socket
import subprocess
import threading
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from memory.records import Stop
from tests.adi_kit import PLAN, adi, newest
from tests.agent_kit import CALC, MENDED, Script
from tests.conftest import RepoFactory, git
from tests.containment_kit import Contained
from tests.openai_server import serve

pytestmark = [pytest.mark.containment, pytest.mark.container, pytest.mark.usefixtures("scripted")]

CANARY = "canary-5c05"
SEEN = "visible-5c05"
MODEL_KEY = "key-of-the-model-5c05"

NOSY = r'''
import glob, os, re, subprocess
from calc import add

LOOK = """
find /work /tmp /etc /home /root /run /var/tmp -xdev -type f -size -500k -print0 2>/dev/null |
    xargs -0 grep -l "canary""-5c05" 2>/dev/null | sed "s/^/FO""UND /"
cat .env ../.env .git/config .git-credentials ~/.git-credentials ~/.netrc ~/.ssh/* /root/.ssh/*
cat config/credentials.json ignored.log $SSH_AUTH_SOCK; env; ls -la / /work /home /root
ssh-add -l; echo url=https://example.org | git credential fill"""


def test_add():
    seen = [subprocess.run(LOOK, shell=True, capture_output=True, text=True).stdout, str(dict(os.environ))]
    for path in [*glob.glob("/proc/*/environ"), *glob.glob("/proc/*/cmdline")]:
        try:
            seen.append(open(path, errors="replace").read())
        except OSError as error:
            seen.append(str(error))
    print("\n".join(seen))
    found = re.findall("FOUND.*|canary.5c05.*|key-of-the.model.*", "\n".join(seen))
    assert add(2, 3) == 5, "visible" + "-5c05 " + " ".join(found)[:200]
'''
KEY = f"-----BEGIN OPENSSH PRIVATE KEY-----\n{CANARY}-key\n-----END OPENSSH PRIVATE KEY-----\n"


@contextlib.contextmanager
def relay(url: str) -> Iterator[tuple[str, list[bytes]]]:
    """A way to the model server on which every byte that is sent is kept."""
    sent: list[bytes] = []
    target = urlsplit(url)
    server = socket.create_server(("127.0.0.1", 0))
    threads: list[threading.Thread] = []

    def pass_on(source: socket.socket, sink: socket.socket, kept: list[bytes] | None) -> None:
        with contextlib.suppress(OSError):
            while data := source.recv(1 << 16):
                if kept is not None:
                    kept.append(data)
                sink.sendall(data)
        with contextlib.suppress(OSError):
            sink.shutdown(socket.SHUT_WR)

    def serve_one(client: socket.socket) -> None:
        with client, socket.create_connection((target.hostname, target.port)) as upstream:
            back = threading.Thread(target=pass_on, args=(upstream, client, None))
            back.start()
            pass_on(client, upstream, sent)
            back.join()

    def accept() -> None:
        with contextlib.suppress(OSError):
            while True:
                thread = threading.Thread(target=serve_one, args=(server.accept()[0],))
                thread.start()
                threads.append(thread)

    threads.append(threading.Thread(target=accept))
    threads[0].start()
    try:
        yield f"http://127.0.0.1:{server.getsockname()[1]}/v1", sent
    finally:
        with contextlib.suppress(OSError):
            server.shutdown(socket.SHUT_RDWR)
        server.close()
        for thread in threads:
            thread.join(timeout=10)


@contextlib.contextmanager
def agent_socket(path: Path) -> Iterator[list[int]]:
    """What an ssh agent listens on; counts who comes."""
    came: list[int] = []
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(str(path))
        server.listen()

        def accept() -> None:
            with contextlib.suppress(OSError):
                while True:
                    server.accept()[0].close()
                    came.append(1)

        thread = threading.Thread(target=accept)
        thread.start()
        try:
            yield came
        finally:
            server.shutdown(socket.SHUT_RDWR)
            thread.join()
    path.unlink()


def plant(home: Path, root: Path) -> dict[str, str]:
    """Secrets in every place where a developer has some; gives the environment that holds more."""
    files = {
        home / ".git-credentials": f"https://ada:{CANARY}-store@example.org\n",
        home
        / ".gitconfig": f"[credential]\n\thelper = store\n[http]\n\textraHeader = Token {CANARY}-header\n",
        home / ".netrc": f"machine example.org login ada password {CANARY}-netrc\n",
        home / ".ssh/id_ed25519": KEY,
        home / ".aws/credentials": f"aws_secret_access_key = {CANARY}-aws\n",
        root / ".env": f"DATABASE_URL=postgres://ada:{CANARY}-dotenv@db/x\n",
        root / "config/credentials.json": json.dumps({"private_key": f"{CANARY}-json"}),
        root / "ignored.log": f"{CANARY}-ignored\n",
        root / ".gitignore": "*.log\n",
    }
    for path, text in files.items():
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    git(root, "remote", "add", "origin", f"https://ada:{CANARY}-remote@example.org/x.git")
    git(root, "config", "credential.helper", f"!echo password={CANARY}-helper")
    names = (
        "AWS_SECRET_ACCESS_KEY",
        "GITHUB_TOKEN",
        "OPENAI_API_KEY",
        "ADI_UNKNOWN",
        "HTTPS_PROXY",
        "GIT_ASKPASS",
    )
    return {name: f"http://{CANARY}-{name.lower()}" for name in names}


def everything_kept(home: Path) -> bytes:
    """All bytes below ADI_HOME, the objects of shadow repositories unpacked."""
    kept = b"".join(path.read_bytes() for path in home.rglob("*") if path.is_file() and not path.is_symlink())
    for shadow in (home / "shadow").glob("*.git"):
        command = ["git", "cat-file", "--batch", "--batch-all-objects"]
        kept += subprocess.run(command, cwd=shadow, capture_output=True, check=True).stdout
    return kept


def test_agent_c05_no_secret_leaves_the_host_in_a_real_run(
    contained: Contained, make_repo: RepoFactory, adi_home: Path, tmp_path: Path
) -> None:
    root = make_repo({"calc.py": CALC, "test_calc.py": NOSY})
    home = tmp_path / "home"
    environ = plant(home, root) | {"HOME": str(home), "SSH_AUTH_SOCK": str(contained.tmp / "agent.sock")}
    environ |= {"MODEL_KEY": MODEL_KEY, "ADI_MODEL__API_KEY_ENV": "MODEL_KEY"}
    script = Script(plan=PLAN, lines={"calc.py line 2": "return a + b"})
    with serve(script) as url, relay(url) as (way, sent), agent_socket(contained.tmp / "agent.sock") as came:
        arguments = ("run", "make the test pass", "--yes", "--url", way, "--output-format", "stream-json")
        done = adi(root, *arguments, "--debug", **environ)
        assert done.returncode == 0, done.stderr
        run = newest(adi_home)
        shown = [adi(root, *words, **environ) for words in (("log",), ("show", run.id), ("undo",))]
    assert run.stop is Stop.ACCEPTED
    texts = {
        "sent to the model": b"".join(sent),
        "kept by ADI": everything_kept(adi_home),
        "written to the terminal": "".join(one.stdout + one.stderr for one in (done, *shown)).encode(),
    }
    assert SEEN.encode() in texts["sent to the model"], (
        "the program's output must get there, or nothing is shown"
    )
    assert SEEN.encode() in texts["kept by ADI"]
    assert {name for name, text in texts.items() if CANARY.encode() in text} == set()
    assert {name for name, text in texts.items() if b"FOUND /" in text} == set()
    assert came == []
    # the key of the model is sent to it, in a header, and is nowhere else
    assert f"Bearer {MODEL_KEY}".encode() in texts["sent to the model"]
    assert {name for name, text in texts.items() if MODEL_KEY.encode() in text} == {"sent to the model"}
    bodies = [
        part.partition(b"\r\n\r\n")[2].partition(b"HTTP/1.1")[0] for part in b"".join(sent).split(b"POST ")
    ]
    assert [body for body in bodies if MODEL_KEY.encode() in body] == []
    told = texts["written to the terminal"].decode()
    assert "looks like a secret" in told
    assert ".env" in told
    assert "config/credentials.json" in told
    assert (root / ".env").read_text().startswith("DATABASE_URL")
    assert (root / "calc.py").read_text() == CALC != MENDED  # taken back
    assert os.environ["ADI_HOME"] == str(adi_home)
