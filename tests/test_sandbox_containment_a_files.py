"""Group A: disks and output. What a command does to fill the host, or whoever reads what it prints."""

import contextlib
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from sandbox.archive import ArchiveCaps
from sandbox.docker import DockerSandbox
from sandbox.errors import CopyOutRefused, DiskFull
from sandbox.images import recipe
from tests.containment_kit import LIMITS, Contained, pack

pytestmark = [pytest.mark.containment, pytest.mark.container]

WRITABLE = """
while read -r _ place _; do
    [ -d "$place" ] && (: >"$place/probe") 2>/dev/null && echo "$place"
    [ -f "$place" ] && (: >>"$place") 2>/dev/null && echo "$place"
done </proc/mounts | sort -u
"""


@pytest.mark.parametrize("place", ["/work", "$HOME"], ids=["work area", "home"])
def test_sandbox_a05_disk_full(contained: Contained, place: str) -> None:
    assert contained.client is not None
    with contained.sandbox() as box:
        places = box.run(WRITABLE, timeout_s=20).output.decode().split()
        assert set(places) <= {"/work", "/tmp", "/dev/shm", "/dev/mqueue"}
        assert {"/work", "/tmp"} <= set(places)
        assert box.run(f"cat /dev/zero >{place}/big; df {place} | grep 100%", timeout_s=30).status == "ok"
        (container,) = contained.client.containers(filters={"id": contained.containers()[0]}, size=True)
        assert container.get("SizeRw", 0) == 0, "the container's own layer grew on the host's disk"
        types = box.run("stat -f -c %T /work /tmp /dev/shm", timeout_s=20).output.split()
        assert types == [b"tmpfs"] * 3
        result = box.run(f"cat /dev/zero >{place}/big", timeout_s=30)
        assert (result.status, result.exit_code) == ("disk-full", 1)
        assert b"No space left on device" in result.output
        assert "32 MiB" in result.detail
        assert any("it was full" in note for note in box.notes)
        assert box.run("test ! -e big && test ! -e $HOME/big && cat a.py", timeout_s=20).output == b"x = 1\n"


def test_sandbox_a05_the_host_writes_too_much(contained: Contained) -> None:
    with contained.sandbox() as box:
        with pytest.raises(DiskFull) as caught:
            box.write({"huge": bytes(LIMITS.work_bytes + 1)})
        assert "work_bytes" in caught.value.hint
        assert box.run("echo on", timeout_s=20).output == b"on\n"


def test_sandbox_a06_million_files(contained: Contained) -> None:
    many = "for i in range(10**6): open(f'f{i}', 'x').close()"
    with contained.sandbox() as box:
        for place in (".", "/tmp"):
            result = box.run(f'cd {place} && python3 -c "{many}"', timeout_s=60)
            assert (result.status, result.exit_code) == ("disk-full", 1)
            assert b"No space left on device" in result.output
            assert "3000 files" in result.detail
        assert box.changes() == {}
        assert box.run("ls", timeout_s=20).output == b"a.py\n"


def test_sandbox_a06_copy_out_stops_at_its_cap(contained: Contained) -> None:
    caps = ArchiveCaps(entries=1000)
    with DockerSandbox(
        pack({"a.py": b"x = 1\n"}),
        image=recipe("python").tag,
        run_id=contained.run_id,
        limits=LIMITS,
        caps=caps,
        client=contained.client,
    ) as box:
        assert box.run("seq 1001 | xargs touch", timeout_s=30).status == "ok"
        with pytest.raises(CopyOutRefused, match="1001 files, the cap is 1000"):
            box.changes()
        assert box.run("rm 1", timeout_s=20).status == "ok"
        assert len(box.changes()) == 1000


FLOODS = {
    "stdout": "yes",
    "stderr without newline": "tr '\\0' x </dev/zero >&2",
    "both, from many processes": "for i in 1 2 3 4 5 6 7 8; do (yes >&2) & yes & done; wait",
    "from a background process": "setsid yes & sleep 1000",
}


@pytest.mark.parametrize("command", FLOODS.values(), ids=FLOODS)
def test_sandbox_a07_endless_output(contained: Contained, command: str) -> None:
    with contained.sandbox(output_stop_bytes=48 * 1024**2) as box:
        box.run("echo warm", timeout_s=20)
        before = psutil.Process().memory_info().rss
        result = box.run(f"echo first; {command}", timeout_s=60)
        grown = psutil.Process().memory_info().rss - before
        assert (result.status, result.exit_code, result.truncated) == ("output-cap", None, True)
        assert result.output.startswith(b"first\n")
        assert b" bytes cut ...]\n" in result.output
        assert len(result.output) < LIMITS.output_bytes + 100
        assert grown < 24 * 1024**2, "the host held what it cut"
        assert "48 MiB" in result.detail
        assert box.run("echo on", timeout_s=20).output == b"on\n"


def test_sandbox_a07_one_line_of_ten_megabytes(contained: Contained) -> None:
    command = "printf head; head -c 10000000 /dev/zero | tr '\\0' x; printf tail; exit 3"
    with contained.sandbox(output_stop_bytes=16 * 1024**2) as box:
        result = box.run(command, timeout_s=60)
        assert (result.status, result.exit_code, result.truncated) == ("nonzero", 3, True)
        assert result.output.startswith(b"headxxxx")
        assert result.output.endswith(b"xxxxtail")
        kept = len(result.output.replace(b"\n[... 9995912 bytes cut ...]\n", b""))
        assert kept == LIMITS.output_bytes


def test_sandbox_a07_the_engines_log(contained: Contained) -> None:
    assert contained.client is not None
    flood = """
    for process in /proc/[0-9]*; do
        [ $(stat -c %u $process) = 1000 ] && continue
        for fd in 0 1 2 3 4 5 6 7 8 9 10; do (echo x >$process/fd/$fd) 2>/dev/null && echo wrote; done
    done
    (echo x >/dev/console) 2>/dev/null && echo wrote
    (echo x >/dev/kmsg) 2>/dev/null && echo wrote
    echo tried
    """
    with contained.sandbox() as box:
        result = box.run(flood, timeout_s=20)
        assert result.output == b"tried\n"
        details = contained.inspect()
        assert details["LogPath"] == ""
        assert details["HostConfig"]["LogConfig"]["Type"] == "none"  # type: ignore[index]
        folder = Path(contained.client.info()["DockerRootDir"]) / "containers" / str(details["Id"])
        if folder.is_dir():  # the engine runs on this machine, and this user may look
            assert sum(file.stat().st_size for file in folder.iterdir() if file.is_file()) < 100_000


FLOODED = """
import sys, time
from dataclasses import replace
from tests.containment_kit import LIMITS, pack
from sandbox.docker import DockerSandbox
limits = replace(LIMITS, output_stop_bytes=10**13)
box = DockerSandbox(pack({"a.py": b""}), image=sys.argv[1], run_id=sys.argv[2], limits=limits)
seen = 0
def count(data):
    global seen
    if not seen:
        print("flood", flush=True)
    seen += len(data)
try:
    box.run("yes " + sys.argv[3], timeout_s=600, on_output=count)
except KeyboardInterrupt:
    print(box.run("echo still here", timeout_s=20).output.decode(), seen, flush=True)
    box.close()
"""


@contextlib.contextmanager
def flooded(contained: Contained) -> Iterator[subprocess.Popen[str]]:
    """Another process whose sandbox prints without end."""
    command = [sys.executable, "-W", "error", "-c", FLOODED, recipe("python").tag, contained.run_id]
    root = Path(__file__).parent.parent
    with subprocess.Popen([*command, contained.marker], stdout=subprocess.PIPE, cwd=root, text=True) as child:
        try:
            yield child
        finally:
            child.kill()


def test_sandbox_a07_ctrl_c_works_during_a_flood(contained: Contained) -> None:
    with flooded(contained) as child:
        assert child.stdout is not None
        assert child.stdout.readline() == "flood\n"
        time.sleep(1)
        began = time.monotonic()
        child.send_signal(signal.SIGINT)
        assert child.stdout.readline() == "still here\n"
        assert time.monotonic() - began < 3
        assert int(child.stdout.readline()) > 10**6
        assert child.wait(20) == 0
    assert contained.marked() == []
