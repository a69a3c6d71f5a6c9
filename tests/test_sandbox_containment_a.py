"""Group A: processes, memory, CPU and kernel limits. What a command does to take more than its share."""

import threading
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager

import psutil
import pytest

from sandbox.client import connect
from sandbox.docker import DockerSandbox
from sandbox.protocol import ExecResult
from tests.containment_kit import LIMITS, Contained

pytestmark = [pytest.mark.containment, pytest.mark.container]

HOG = "python3 -c 'x = bytearray(10 * 256 * 1024**2)'"
SYSTEM_V = """python3 - <<'END'
import ctypes
libc = ctypes.CDLL(None)
libc.shmget.argtypes = [ctypes.c_int, ctypes.c_size_t, ctypes.c_int]
libc.shmat.argtypes = [ctypes.c_int, ctypes.c_void_p, ctypes.c_int]
libc.shmat.restype = ctypes.c_void_p
for number in range(64):
    segment = libc.shmget(0, 16 << 20, 0o1600)
    ctypes.memset(libc.shmat(segment, None, 0), 1, 16 << 20)
END"""
"""Shared memory that stays when the process that made it is gone."""


def works(box: DockerSandbox) -> bool:
    """True when the next command runs and finds the repository's file as it was."""
    result = box.run("cat a.py", timeout_s=20)
    return (result.status, result.output) == ("ok", b"x = 1\n")


@contextmanager
def processes_counted(contained: Contained) -> Iterator[list[int]]:
    """Numbers of processes in the case's container while the block runs, as the engine sees them.

    The kernel refuses a fork beyond the limit, but lets the engine bring a process in. The first one and
    the command's shell come that way, and count; what kills the rest comes later, and does not.
    """
    seen: list[int] = []
    over = threading.Event()
    (container,) = contained.containers()

    def look() -> None:
        with closing(connect()) as client:
            while not over.wait(0.05):
                listing = client.top(container)
                own, parent = listing["Titles"].index("PID"), listing["Titles"].index("PPID")
                inside = {row[own] for row in listing["Processes"]}
                seen.append(2 + sum(row[parent] in inside for row in listing["Processes"]))

    watcher = threading.Thread(target=look)
    watcher.start()
    try:
        yield seen
    finally:
        over.set()
        watcher.join()


@pytest.mark.sample(1)
@pytest.mark.parametrize(
    "bomb",
    [
        "bomb() { trap '' TERM; bomb | bomb & }; bomb; sleep %s",
        "python3 -c '\nimport os, signal\nsignal.signal(signal.SIGTERM, signal.SIG_IGN)\n"
        "while True:\n    try: os.fork()\n    except OSError: pass\n' %s",
    ],
    ids=["shell", "python"],
)
def test_sandbox_a01_fork_bomb(contained: Contained, bomb: str) -> None:
    with contained.sandbox() as box:
        with processes_counted(contained) as seen:
            result = box.run(bomb % contained.marker, timeout_s=2)
        assert result.status == "timeout"
        assert result.duration_s < 2 + 5
        assert contained.marked() == []
        assert max(seen) <= LIMITS.pids
        assert max(seen) > LIMITS.pids // 2, "the bomb did not go off"
        assert works(box)
        box.run(f"{bomb % contained.marker} &", timeout_s=1)
        began = time.monotonic()
    assert time.monotonic() - began < 5
    assert contained.containers() == []


@pytest.mark.sample(2)
@pytest.mark.parametrize(
    ("command", "code"),
    [
        (HOG, 137),
        (f"{HOG}; exit 3", 3),
        (f"{HOG} & sleep 1; kill -9 $PPID; sleep 9", 137),
        (f"{HOG}; sleep 1000", None),
    ],
    ids=["plain", "another exit code", "the shell that wraps it killed", "hangs after it"],
)
def test_sandbox_a02_memory_in_one_command(contained: Contained, command: str, code: int | None) -> None:
    swap = psutil.swap_memory().used
    with contained.sandbox() as box:
        result = box.run(command, timeout_s=4)
        assert (result.status, result.exit_code) == ("oom", code)
        assert "256 MiB" in result.detail
        assert box.run("false", timeout_s=20).status == "nonzero", "an old kill was told again"
        assert box.run(f"{HOG} || true", timeout_s=20).status == "ok"
        assert box.run("exit 137", timeout_s=20).status == "nonzero", "a kill of another command was told"
        assert works(box)
        config = contained.inspect()["HostConfig"]
        assert isinstance(config, dict)
        assert config["Memory"] == config["MemorySwap"] == LIMITS.memory_bytes
    assert psutil.swap_memory().used - swap < 16 * 1024**2


@pytest.mark.parametrize(
    "command",
    ["dd if=/dev/zero of=big bs=1M", "dd if=/dev/zero of=$HOME/big bs=1M", SYSTEM_V],
    ids=["work area", "home", "shared memory"],
)
def test_sandbox_a03_memory_by_files(contained: Contained, command: str) -> None:
    with contained.sandbox(work_bytes=4 * LIMITS.memory_bytes) as box:
        result = box.run(command, timeout_s=30)
        assert result.status == "oom"
        assert any("starts afresh" in note for note in box.notes)
        assert works(box)
        assert box.run("test ! -e big && test ! -e $HOME/big", timeout_s=20).status == "ok"


@pytest.mark.slow
def test_sandbox_a03_files_fill_the_memory_in_small_steps(contained: Contained) -> None:
    with contained.sandbox(work_bytes=4 * LIMITS.memory_bytes) as box:
        statuses = [
            box.run(f"dd if=/dev/zero of=f{number} bs=1M count=60", timeout_s=30).status
            for number in range(6)
        ]
        assert "oom" in statuses
        assert set(statuses) <= {"ok", "oom"}
        assert works(box)


@pytest.mark.slow
def test_sandbox_a04_many_processes_under_the_limit(contained: Contained) -> None:
    each = "(head -c 40000000 /dev/zero; sleep 2) | tail -c 50000000 >/dev/null"
    start = f'for i in $(seq 12); do {each} & all="$all $!"; done'
    command = f"{start}; for one in $all; do wait $one || bad=9; done; exit $bad"
    with contained.sandbox() as box:
        alone = box.run(each, timeout_s=20)
        assert alone.status == "ok"
        result = box.run(command, timeout_s=30)
        assert (result.status, result.exit_code) == ("oom", 9)
        assert works(box)


@pytest.mark.slow
def test_sandbox_a08_cpu_spin(contained: Contained) -> None:
    assert contained.client is not None
    spin = f"for i in 1 2 3 4; do sh -c 'while :; do :; done' {contained.marker} & done; wait"
    results: list[ExecResult] = []
    with contained.sandbox(name="-greedy", cpus=0.5) as greedy:
        (container,) = contained.containers()
        runner = threading.Thread(target=lambda: results.append(greedy.run(spin, timeout_s=4)))
        with closing(connect()) as client:
            other = Contained(contained.tmp, contained.home, client, run_id=contained.run_id + "-other")
            with other.sandbox() as modest:
                runner.start()
                time.sleep(0.3)
                result = modest.run("python3 -c 'print(sum(range(10**6)))'", timeout_s=3)
                assert result.status == "ok"
                runner.join()
        usage = contained.client.stats(container, stream=False, one_shot=True)["cpu_stats"]
        assert [one.status for one in results] == ["timeout"]
        assert contained.marked() == []
        seconds = usage["cpu_usage"]["total_usage"] / 1e9
        assert seconds < 0.5 * results[0].duration_s + 1.0  # and what starting the container took
        assert usage["throttling_data"]["periods"] > 0, "no quota is in force"


def test_sandbox_a10_core_dumps(contained: Contained) -> None:
    with contained.sandbox() as box:
        result = box.run(
            "ulimit -c unlimited; ulimit -c; python3 -c 'import ctypes; ctypes.string_at(0)'", timeout_s=20
        )
        assert (result.status, result.exit_code) == ("nonzero", 139)
        assert b"cannot modify limit" in result.output
        assert b"\n0\n" in result.output
        assert (
            box.run("ls -A /work /tmp /dev/shm", timeout_s=20).output
            == b"/dev/shm:\n\n/tmp:\n\n/work:\na.py\n"
        )


def test_sandbox_a10_limits_cannot_be_raised(contained: Contained) -> None:
    script = """
import resource
for name in ("CORE", "NOFILE", "NPROC", "MEMLOCK", "MSGQUEUE", "RTPRIO", "NICE", "SIGPENDING"):
    which = getattr(resource, "RLIMIT_" + name)
    soft, hard = resource.getrlimit(which)
    for more in (hard + 1, hard * 1000 + 1000, resource.RLIM_INFINITY):
        try:
            resource.setrlimit(which, (soft, more))
        except (ValueError, OSError):
            continue
        print("raised", name)
print(resource.getrlimit(resource.RLIMIT_CORE), resource.getrlimit(resource.RLIMIT_NOFILE))
"""
    with contained.sandbox({"a.py": b"x = 1\n", "raise.py": script.encode()}) as box:
        result = box.run("python3 raise.py; nice -n -5 true; prlimit --pid $PPID --nofile=9999", timeout_s=20)
        assert result.output.startswith(b"(0, 0) (4096, 4096)\n")
        assert b"raised" not in result.output
        assert result.status == "nonzero"


@pytest.mark.parametrize(
    "command",
    ["dd if=/dev/zero of=/dev/shm/big bs=1M", "i=0; while : >/dev/shm/f$i; do i=$((i+1)); done; exit 1"],
    ids=["bytes", "files"],
)
def test_sandbox_a10_shared_memory_is_capped(contained: Contained, command: str) -> None:
    with contained.sandbox() as box:
        result = box.run(command, timeout_s=30)
        assert result.status == "disk-full"
        assert b"No space left on device" in result.output
        assert box.run('test -z "$(ls -A /dev/shm)"', timeout_s=20).status == "ok", "it did not start afresh"
        assert works(box)
