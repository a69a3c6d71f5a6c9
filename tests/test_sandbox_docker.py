"""The Docker sandbox: what commands get, what is copied out, how it looks from inside and outside."""

import hashlib
import os
import statistics
import time
from collections.abc import Iterator

import docker
import pytest

from sandbox import seccomp
from sandbox.archive import ArchiveCaps
from sandbox.container import ENVIRONMENT
from sandbox.counters import Usage
from sandbox.docker import DockerSandbox, connect
from sandbox.errors import CopyOutRefused, ImageMissing
from sandbox.images import ensure_image
from sandbox.owner import PID, RUN
from tests.containment_kit import LIMITS, pack

pytestmark = pytest.mark.container

FILES = {"pkg/mod.py": b"x = 1\n", "run.sh": b"#!/bin/sh\n", "empty": b""}


@pytest.fixture(scope="module")
def image() -> str:
    return ensure_image("python")


@pytest.fixture(scope="module")
def client() -> Iterator[docker.APIClient]:
    found = connect()
    yield found
    found.close()


@pytest.fixture(scope="module")
def box(image: str, client: docker.APIClient) -> Iterator[DockerSandbox]:
    with DockerSandbox(pack(FILES), image=image, run_id="test-box", limits=LIMITS, client=client) as made:
        yield made


@pytest.fixture
def sandbox(box: DockerSandbox) -> Iterator[DockerSandbox]:
    """The module's sandbox; what a test left is wiped by dropping the container's files."""
    yield box
    box.run("find . -mindepth 1 -not -path './pkg*' -not -name run.sh -not -name empty -delete", timeout_s=20)
    box.write(FILES)
    box.changes()
    assert box.notes is not None


def container_of(client: docker.APIClient, run_id: str) -> str:
    # Of this process: a test run that was killed may have left one of the same name.
    found = client.containers(filters={"label": [f"{RUN}={run_id}", f"{PID}={os.getpid()}"]})
    assert len(found) == 1
    return str(found[0]["Id"])


def processes(client: docker.APIClient, run_id: str = "test-box") -> list[str]:
    """Commands of what runs in the container, its own two processes left out."""
    return [row[-1] for row in client.top(container_of(client, run_id))["Processes"]][2:]


def test_output_exit_code_and_input(sandbox: DockerSandbox) -> None:
    seen: list[bytes] = []
    result = sandbox.run("echo out; echo err >&2; echo out2; exit 3", timeout_s=20, on_output=seen.append)
    assert (result.status, result.exit_code, result.output) == ("nonzero", 3, b"out\nerr\nout2\n")
    assert b"".join(seen) == result.output
    assert sandbox.run("cat; echo end", timeout_s=20).output == b"end\n"
    data = os.urandom(300_000)
    echoed = sandbox.run("sha256sum", timeout_s=20, stdin=data)
    assert echoed.output.split()[0].decode() == hashlib.sha256(data).hexdigest()
    assert sandbox.run("true", timeout_s=20, stdin=data).status == "ok"  # input that nobody reads
    assert sandbox.run("a\0b", timeout_s=20).status == "refused"
    assert sandbox.run("#" * 200_000, timeout_s=20).status == "refused"


def test_a_display_that_fails_ends_the_command(sandbox: DockerSandbox, client: docker.APIClient) -> None:
    def broken(_data: bytes) -> None:
        raise BrokenPipeError("the pager is gone")

    with pytest.raises(BrokenPipeError):
        sandbox.run("echo x; sleep 1000", timeout_s=30, on_output=broken)
    assert processes(client) == []


def test_seen_from_inside(sandbox: DockerSandbox, monkeypatch: pytest.MonkeyPatch) -> None:
    script = """
        exec 2>/dev/null
        id -u; touch /x || echo readonly; touch /usr/x || echo readonly
        ls /sys/class/net; cat /proc/net/route | wc -l
        for target in 169.254.169.254 host.docker.internal example.org; do
            timeout 3 python3 -c "import socket; socket.create_connection(('$target', 80), 2)" && echo ONLINE
        done
        python3 -c "import socket; socket.socket(socket.AF_INET, socket.SOCK_RAW)" && echo RAW
        grep -E 'CapEff|NoNewPrivs|Seccomp:' /proc/self/status
        mount -t tmpfs x /tmp && echo MOUNTED; unshare -U true && echo UNSHARED
        ls /var/run/docker.sock; ulimit -c
        cat /proc/1/environ | tr '\\0' '\\n'; env | cut -d= -f1 | sort | tr '\\n' ' '
    """
    lines = sandbox.run(script, timeout_s=60).output.decode().splitlines()
    text = "\n".join(lines)
    assert lines[0] == "1000"
    assert "\nlo\n1\n" in text  # one network device, no route
    assert text.count("readonly") == 2
    for bad in ("ONLINE", "RAW", "MOUNTED", "UNSHARED", "docker.sock"):
        assert bad not in text
    assert "CapEff:\t0000000000000000" in text
    assert "NoNewPrivs:\t1" in text
    assert "Seccomp:\t2" in text
    names = set(lines[-1].split())
    assert names <= {*ENVIRONMENT, "HOSTNAME", "PWD", "SHLVL", "_"}
    monkeypatch.setenv("ADI_CANARY_SECRET", "canary-5f2c")
    assert b"canary" not in sandbox.run("env; cat /proc/*/environ 2>/dev/null", timeout_s=20).output


def test_seen_from_outside(box: DockerSandbox, client: docker.APIClient) -> None:
    box.run("true", timeout_s=20)
    details = client.inspect_container(container_of(client, "test-box"))
    config = details["HostConfig"]
    assert config["NetworkMode"] == "none"
    assert config["CapDrop"] == ["ALL"]
    assert config["SecurityOpt"] == ["no-new-privileges", f"seccomp={seccomp.profile()}"]
    assert config["ReadonlyRootfs"]
    assert config["Init"]
    assert not config["Privileged"]
    assert not config["Binds"]
    assert not details["Mounts"] or all(mount["Type"] == "tmpfs" for mount in details["Mounts"])
    assert config["Memory"] == config["MemorySwap"] == LIMITS.memory_bytes
    assert config["PidsLimit"] == LIMITS.pids
    assert config["LogConfig"]["Type"] == "none"
    assert config["AutoRemove"]
    assert "nr_inodes=3000" in config["Tmpfs"]["/work"]
    assert details["Config"]["User"] not in ("", "0", "root")
    assert details["Config"]["Labels"][PID] == str(os.getpid())


def test_changes_reports_regular_files_only(sandbox: DockerSandbox) -> None:
    result = sandbox.run(
        "echo 'x = 2' > pkg/mod.py; rm empty; mkdir 'new dir'; "
        "printf 'a\\r\\n' > 'new dir/ü \"q\".txt'; chmod +x run.sh; "
        "mkfifo pipe; ln -s /etc/passwd link; ln -s / rootlink; "
        "mkdir -p pkg/__pycache__ node_modules/m .git/hooks; "
        "touch pkg/__pycache__/a.pyc node_modules/m/i.js .git/hooks/pre-commit; "
        "python3 -c \"open(b'bad\\\\xff', 'w'); open('git~1', 'w'); open('-rf', 'w').write('dash')\"",
        timeout_s=20,
    )
    assert result.status == "ok", result.output
    found = sandbox.changes()
    assert found == {
        "pkg/mod.py": b"x = 2\n",
        "empty": None,
        'new dir/ü "q".txt': b"a\r\n",
        "run.sh": b"#!/bin/sh\n",  # its change time differs; the work copy sees equal bytes
        "-rf": b"dash",
    }
    notes = "\n".join(sandbox.notes)
    for word in ("'pipe'", "FIFO", "'link'", "symbolic link", "git~1", "bad"):
        assert word in notes
    assert sandbox.notes == []
    assert sandbox.changes() == {}


def test_a_file_replaced_by_a_link_is_named_and_not_followed(sandbox: DockerSandbox) -> None:
    sandbox.run(
        "rm pkg/mod.py && ln -s /etc/passwd pkg/mod.py; rm run.sh && mkdir run.sh && ln -s /etc run.sh/etc",
        timeout_s=20,
    )
    found = sandbox.changes()
    assert found == {}
    assert any("pkg/mod.py" in note and "symbolic link" in note for note in sandbox.notes)
    sandbox.write({"pkg/mod.py": b"x = 5\n", "run.sh": b"back"})
    result = sandbox.run("test -f pkg/mod.py -a ! -L pkg/mod.py && cat pkg/mod.py run.sh", timeout_s=20)
    assert result.output == b"x = 5\nback"


def test_own_writes_are_no_changes(sandbox: DockerSandbox) -> None:
    sandbox.write({"pkg/mod.py": b"x = 3\n", "a/b/c.py": b"1\n", "empty": None, "gone/never": None})
    assert sandbox.changes() == {}
    sandbox.write({"pkg/mod.py": b"x = 4\n"})
    sandbox.run("test ! -e empty && cat a/b/c.py && echo 9 > pkg/mod.py", timeout_s=20)
    assert sandbox.changes() == {"pkg/mod.py": b"9\n"}


def test_copy_out_has_caps(image: str, client: docker.APIClient) -> None:
    caps = ArchiveCaps(total_bytes=10_000, file_bytes=8_000, entries=20)
    with DockerSandbox(
        pack(FILES),
        image=image,
        run_id="test-caps",
        limits=LIMITS,
        caps=caps,
        client=client,
        ignored=lambda _paths: {"junk"},
    ) as made:
        made.run("truncate -s 2G sparse", timeout_s=20)
        with pytest.raises(CopyOutRefused, match="sparse"):
            made.changes()
        made.run("rm sparse; for i in $(seq 30); do echo $i > f$i; done", timeout_s=20)
        with pytest.raises(CopyOutRefused, match="30 files"):
            made.changes()
        made.run("rm f*; head -c 7000 /dev/zero > a; cp a b; cp a junk", timeout_s=20)
        with pytest.raises(CopyOutRefused, match="14000"):
            made.changes()
        made.run("rm b; d=deep; for i in $(seq 120); do d=$d/d; done; mkdir -p $d; touch $d/x", timeout_s=20)
        with pytest.raises(CopyOutRefused, match="too deep, 122 names of at most 100"):
            made.changes()
        made.run("rm -r deep", timeout_s=20)
        assert made.changes() == {"a": bytes(7000)}


def test_a_missing_image_is_named(client: docker.APIClient) -> None:
    with pytest.raises(ImageMissing) as caught:
        DockerSandbox(pack(FILES), image="adi-sandbox:none-such", run_id="test-image", client=client)
    assert "adi doctor --fix" in caught.value.hint


def test_overhead(box: DockerSandbox) -> None:
    times = []
    for _ in range(7):
        began = time.monotonic()
        assert box.run("true", timeout_s=20).status == "ok"
        times.append(time.monotonic() - began)
    assert (
        statistics.median(times) < 0.6
    )  # 0.09 s on an idle machine; benchmarks/sandbox_overhead.py measures


def test_what_a_command_used_is_told(sandbox: DockerSandbox) -> None:
    code = "x = bytearray(60 * 1024**2)\nfor i in range(3 * 10**6): pass"
    used = sandbox.run(f"python3 -c '{code}'", timeout_s=60).used
    assert 0.02 < used.cpu_s < 60
    assert 60 * 1024**2 < used.peak_bytes < 2 * 1024**3
    idle = sandbox.run("sleep 0.3", timeout_s=60).used
    assert idle.cpu_s < used.cpu_s


@pytest.mark.parametrize(
    "told", [b"", b"times\nx y\n", b"peak\npeak -1\ncpu 1m", b"times\n99999999m1s\n\xff"]
)
def test_what_is_told_of_use_may_be_anything(told: bytes) -> None:
    assert Usage.read(told) == Usage()
