"""Group H at the sandbox: an engine that goes away, containers changed from outside, clocks that jump."""

import contextlib
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import docker
import pytest

from sandbox.docker import DockerSandbox
from sandbox.images import recipe
from sandbox.workcopy import WorkCopy, snapshot
from tests.conftest import RepoFactory
from tests.containment_kit import LIMITS, Contained, pack
from tests.docker_proxy import Valve

pytestmark = [pytest.mark.containment, pytest.mark.container]
FILES = {"pkg/mod.py": b"x = 1\n", "run.sh": b"echo hi\n"}


@pytest.mark.parametrize("mode", ["cut", pytest.param("silent", marks=pytest.mark.slow)])
def test_sandbox_h05_engine_gone_during_a_command(contained: Contained, tmp_path: Path, mode: str) -> None:
    """Lost, never a result, and nothing runs on the host; when the engine is back, a fresh sandbox works."""
    marker, valve = tmp_path / "on-the-host", Valve(contained.tmp / "docker.sock")
    client = docker.APIClient(base_url=f"unix://{valve.path}", version="auto", timeout=3)
    command = f"echo begun; touch {marker}; test -e /.dockerenv && sleep {contained.marker}"
    made = DockerSandbox(
        pack(FILES), image=recipe("python").tag, run_id=contained.run_id, limits=LIMITS, client=client
    )
    try:
        contained.containers()
        timer = threading.Timer(1.5, setattr, (valve, "mode", mode))
        timer.start()
        result = made.run(command, timeout_s=4)
        timer.join()
        assert (result.status, result.exit_code) == ("sandbox-lost", None)
        assert result.duration_s < 30
        assert made.run("echo never", timeout_s=5).status == "sandbox-lost"
        assert any("sandbox was lost" in note for note in made.notes)
        valve.mode = "open"
        assert made.run("test -e /.dockerenv && cat pkg/mod.py", timeout_s=20).output == b"x = 1\n"
        assert not marker.exists()
    finally:
        made.close()
        client.close()
        valve.close()
        valve.path.unlink()
        assert contained.client is not None
        for one in contained.containers():  # the engine's own connection was never cut
            with contextlib.suppress(docker.errors.APIError):
                contained.client.remove_container(one, force=True)


def test_sandbox_h06_container_removed_from_outside(contained: Contained) -> None:
    """Replaced by one with all known files, during a command and between two."""
    assert contained.client is not None
    with contained.sandbox({**FILES, "empty": b""}) as made:
        made.write({"pkg/mod.py": b"x = 7\n", "empty": None})
        made.run("echo made > made.txt", timeout_s=20)
        assert made.changes() == {"made.txt": b"made\n"}
        made.run("echo never reported > lost.txt", timeout_s=20)
        (victim,) = contained.containers()
        killer = threading.Timer(1, contained.client.remove_container, (victim,), {"force": True})
        killer.start()
        result = made.run("echo start; sleep 30", timeout_s=60)
        killer.join()
        assert (result.status, result.exit_code) == ("sandbox-lost", None)
        assert result.duration_s < 15
        assert any("sandbox was lost" in note for note in made.notes)
        again = made.run("cat pkg/mod.py made.txt; ls", timeout_s=20)
        assert again.output == b"x = 7\nmade\nmade.txt\npkg\nrun.sh\n"
        assert made.changes() == {}
        (victim,) = contained.containers()
        contained.client.remove_container(victim, force=True)
        made.write({"run.sh": b"new"})
        assert made.run("cat run.sh", timeout_s=20).output == b"new"


def test_sandbox_h06_container_paused_from_outside(contained: Contained) -> None:
    """A frozen container answers nothing: the limit ends the wait, and the next command gets a fresh one."""
    assert contained.client is not None
    with contained.sandbox(FILES) as made:
        (victim,) = contained.containers()
        freezer = threading.Timer(0.5, contained.client.pause, (victim,))
        freezer.start()
        began = time.monotonic()
        result = made.run("sleep 1; echo done", timeout_s=3)
        freezer.join()
        assert result.status in ("sandbox-lost", "timeout")
        assert b"done" not in result.output
        assert time.monotonic() - began < 20
        assert made.run("cat pkg/mod.py", timeout_s=20).output == b"x = 1\n"
        assert victim not in contained.containers()


SLEEPER = """
import sys
sys.path.insert(0, sys.argv[1])
from sandbox.docker import DockerSandbox
from sandbox.images import recipe
from tests.containment_kit import LIMITS, pack
with DockerSandbox(pack({"a": b"1"}), image=recipe("python").tag, run_id=sys.argv[2], limits=LIMITS) as made:
    print("ready", flush=True)
    for command, limit in (("sleep 1; echo done", 3), ("sleep 60", 2)):
        result = made.run(command, timeout_s=limit)
        print(result.status, result.exit_code, result.output, flush=True)
"""


def test_sandbox_h07_a_machine_that_slept(contained: Contained) -> None:
    """Stopped for longer than the command's limit: a command that was done in time is no timeout."""
    root = str(Path(__file__).parent.parent)
    command = [sys.executable, "-c", SLEEPER, root, contained.run_id]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=root) as child:
        assert child.stdout is not None
        assert child.stdout.readline() == "ready\n"
        contained.containers()
        time.sleep(0.3)
        child.send_signal(signal.SIGSTOP)
        time.sleep(4)
        child.send_signal(signal.SIGCONT)
        assert child.stdout.readline() == "ok 0 b'done\\n'\n"
        assert child.stdout.readline() == "timeout None b''\n"
        assert child.wait(30) == 0


JUMP = """
#define _GNU_SOURCE
#include <dlfcn.h>
#include <stdlib.h>
#include <sys/time.h>
#include <time.h>
#include <unistd.h>
/* The wall clock is off by JUMP_S seconds as soon as the file JUMP_FILE is there; no other clock is. */
static long jump(void) {
    const char *file = getenv("JUMP_FILE"), *by = getenv("JUMP_S");
    return file && by && access(file, F_OK) == 0 ? atol(by) : 0;
}
int clock_gettime(clockid_t id, struct timespec *t) {
    static int (*real)(clockid_t, struct timespec *);
    if (!real) real = dlsym(RTLD_NEXT, "clock_gettime");
    int r = real(id, t);
    if (id == CLOCK_REALTIME) t->tv_sec += jump();
    return r;
}
int gettimeofday(struct timeval *restrict t, void *restrict z) {
    struct timespec s;
    (void)z;
    clock_gettime(CLOCK_REALTIME, &s);
    t->tv_sec = s.tv_sec;
    t->tv_usec = s.tv_nsec / 1000;
    return 0;
}
time_t time(time_t *t) {
    struct timespec s;
    clock_gettime(CLOCK_REALTIME, &s);
    if (t) *t = s.tv_sec;
    return s.tv_sec;
}
"""
JUMPING = """
import sys, threading, time, pathlib, os
sys.path.insert(0, sys.argv[1])
from sandbox.docker import DockerSandbox, reap
from sandbox.images import recipe
from tests.containment_kit import LIMITS, pack
from memory import process
known, wall, mono = process.own_identity(), time.time(), time.monotonic()
with DockerSandbox(pack({"a": b"1"}), image=recipe("python").tag, run_id=sys.argv[2], limits=LIMITS) as made:
    threading.Timer(1.0, pathlib.Path(os.environ["JUMP_FILE"]).touch).start()
    for command, limit in (("sleep 2; echo done", 20), ("sleep 60", 2)):
        began = time.monotonic()
        result = made.run(command, timeout_s=limit)
        print(result.status, result.exit_code, result.output, time.monotonic() - began < limit + 2)
    sys.stdout.flush()
    jumped = abs(time.time() - wall - (time.monotonic() - mono)) > 3000
    print("jumped", jumped, process.is_alive(os.getpid(), known), sys.argv[2] in reap(), flush=True)
"""


@pytest.mark.sample(1)
@pytest.mark.parametrize("jump_s", [3600, -3600], ids=["ahead", "back"])
def test_sandbox_h07_the_clock_jumps(contained: Contained, tmp_path: Path, jump_s: int) -> None:
    """An hour ahead or back in the middle of a command: limits hold, and nobody takes the living for dead."""
    compiler = shutil.which("cc")
    if compiler is None:
        pytest.skip("no C compiler to build the library that moves a process's clock")
    library, root = tmp_path / "jump.so", str(Path(__file__).parent.parent)
    (tmp_path / "jump.c").write_text(JUMP)
    build = [compiler, "-shared", "-fPIC", "-o", str(library), str(tmp_path / "jump.c"), "-ldl"]
    subprocess.run(build, check=True, capture_output=True)
    environ = {
        **os.environ,
        "LD_PRELOAD": str(library),
        "JUMP_FILE": str(tmp_path / "now"),
        "JUMP_S": str(jump_s),
    }
    done = subprocess.run(
        [sys.executable, "-c", JUMPING, root, contained.run_id], cwd=root, env=environ, capture_output=True,
        text=True, timeout=120, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines() == [
        "ok 0 b'done\\n' True",
        "timeout None b'' True",
        "jumped True True False",
    ]


ABSURD = {"epoch": 0, "before it": -(10**9), "in 2100": 4_102_444_800, "in 2500": 16_725_225_600}


def test_sandbox_h07_absurd_file_times(contained: Contained, make_repo: RepoFactory, tmp_path: Path) -> None:
    """A change counts whatever a file's times say, in the user's tree and in the container."""
    names = [f"f{number}.txt" for number in range(len(ABSURD))]
    repo = make_repo(dict.fromkeys(names, "one\n"))
    for name, stamp in zip(names, ABSURD.values(), strict=True):
        with contextlib.suppress(OSError):  # a file system may not know such a time
            os.utime(repo / name, (stamp, stamp))
    first = WorkCopy(snapshot(repo, tmp_path / "shadow"))
    time.sleep(1.1)  # git tells such an edit by the second of its ctime
    for name, stamp in zip(names, ABSURD.values(), strict=True):
        (repo / name).write_text("two\n")  # of the same size
        with contextlib.suppress(OSError):
            os.utime(repo / name, (stamp, stamp))
    second = WorkCopy(snapshot(repo, tmp_path / "shadow"))
    assert [first.read(name) for name in names] == [b"one\n"] * len(names)
    assert [second.read(name) for name in names] == [b"two\n"] * len(names)
    made = DockerSandbox(
        second.archive(), image=recipe("python").tag, run_id=contained.run_id, limits=LIMITS,
        client=contained.client,
    )  # fmt: skip
    with made:
        made.run("touch -d 1970-01-01 * && touch -d 2500-01-01 f0.txt", timeout_s=20)
        made.changes()
        script = "".join(
            f"printf 'six\\n' > {name}; touch -d @{stamp} {name}; "
            for name, stamp in zip(names, ABSURD.values(), strict=True)
        )
        assert made.run(script, timeout_s=20).status == "ok"
        assert made.changes() == dict.fromkeys(names, b"six\n")
