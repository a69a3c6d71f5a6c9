"""Group B: time, processes and signals. What a command does to outlive or to confuse its limit."""

import time

import pytest

from tests.containment_kit import LIMITS, Contained

pytestmark = [pytest.mark.containment, pytest.mark.container]


def test_sandbox_b01_sleep_forever(contained: Contained) -> None:
    with contained.sandbox() as box:
        result = box.run(f"echo before; sleep {contained.marker}", timeout_s=2)
        assert (result.status, result.exit_code, result.output) == ("timeout", None, b"before\n")
        assert 1.8 <= result.duration_s <= 2.2
        assert contained.marked() == []


@pytest.mark.parametrize(
    "daemon",
    [
        "(setsid sleep {} &) &",
        "nohup setsid sh -c 'while :; do sleep {}; done' >/dev/null 2>&1 </dev/null &",
        "python3 -c 'import os, time\nfor _ in range(2):\n    if os.fork(): os._exit(0)\n    os.setsid()\n"
        '[os.close(fd) for fd in range(3)]\nos.chdir("/")\ntime.sleep({})\'',
    ],
    ids=["double fork", "nohup", "python"],
)
def test_sandbox_b02_daemon(contained: Contained, daemon: str) -> None:
    with contained.sandbox() as box:
        result = box.run(f"{daemon.format(contained.marker)}\necho started", timeout_s=20)
        assert (result.status, result.output) == ("ok", b"started\n")
        assert contained.marked() == []
        assert box.run("ls -d /proc/[0-9]* | wc -l", timeout_s=20).output.strip() in (b"5", b"6")


def test_sandbox_b03_child_holds_the_pipe(contained: Contained) -> None:
    with contained.sandbox() as box:
        result = box.run(f"(echo late; sleep {contained.marker}) & echo early; exit 4", timeout_s=20)
        assert (result.status, result.exit_code) == ("nonzero", 4)
        assert b"early\n" in result.output
        assert result.duration_s < 5
        assert contained.marked() == []


@pytest.mark.sample(2)
@pytest.mark.parametrize(
    "command",
    [
        "trap '' TERM INT HUP QUIT; sleep {m}",
        "nohup setsid sleep {m} & trap '' TERM; wait",
        "sleep {m} & kill -STOP $$",
        "sleep {m} & kill -STOP $PPID; exit",
        "python3 -c 'import signal, time\n"
        "[signal.signal(n, signal.SIG_IGN) for n in range(1, 65) if n not in (9, 19, 32, 33)]\n"
        "time.sleep({m})'",
    ],
    ids=["trap", "nohup", "stops itself", "stops its parent", "ignores all"],
)
def test_sandbox_b04_unwilling_to_die(contained: Contained, command: str) -> None:
    with contained.sandbox() as box:
        result = box.run(command.format(m=contained.marker), timeout_s=1)
        assert (result.status, result.exit_code) == ("timeout", None)
        assert result.duration_s < 1 + 2
        assert contained.marked() == []
        assert box.run("echo on", timeout_s=20).output == b"on\n"


@pytest.mark.sample(3)
@pytest.mark.parametrize(
    ("command", "code"),
    [
        ("exit 124", 124),
        ("exit 137", 137),
        ("exit 143", 143),
        ("kill -9 $$", 137),
        ("kill -TERM $$", 143),
        ("timeout 0.1 sleep 9", 124),
        ("kill -9 -1", 137),
        ("setsid sleep {} & kill -9 $PPID; sleep 9", 137),
    ],
)
def test_sandbox_b05_looks_like_a_limit(contained: Contained, command: str, code: int) -> None:
    with contained.sandbox() as box:
        result = box.run(command.format(contained.marker), timeout_s=20)
        assert (result.status, result.exit_code, result.detail) == ("nonzero", code, "")
        assert result.duration_s < 5
        assert contained.marked() == []


LIES = """
for process in /proc/[0-9]*; do
    for fd in 0 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15; do
        (printf 'oom_kill 99\\nfree 0 0\\n' >$process/fd/$fd) 2>/dev/null
    done
done
echo 'oom_kill 99' >&2; echo 'free 0 0'
kill -9 $PPID; exit 1
"""


def test_sandbox_b05_forged_evidence(contained: Contained) -> None:
    with contained.sandbox() as box:
        result = box.run(LIES, timeout_s=20)
        assert result.status == "nonzero"
        assert box.notes == []
        assert box.run("false", timeout_s=20).status == "nonzero"


@pytest.mark.sample(3)
@pytest.mark.parametrize(
    ("command", "code"),
    [
        ("cat; wc -c; read -r answer || echo end of file; exit 3", 3),
        ("python3 -c 'input()'", 1),
        ("python3 -c 'import getpass; getpass.getpass()'", 1),
        ("su -c id", 1),
        ("echo ask >/dev/tty; read -r answer </dev/tty", 1),
        ("yes | more >/dev/null & seq 9999 | ${PAGER:-more}; ${EDITOR:-vi} a.py; exit 3", 3),
        ("python3 -i -c 'print(1)' ; bash -i; exit 3", 3),
        ("python3 -c 'import os; os.kill(os.getpid(), 19 if os.isatty(0) else 15)'", 143),
    ],
    ids=["input", "python", "getpass", "su", "terminal", "pager and editor", "interactive", "no terminal"],
)
def test_sandbox_b06_asks_somebody(contained: Contained, command: str, code: int) -> None:
    with contained.sandbox() as box:
        result = box.run(command, timeout_s=20)
        assert (result.status, result.exit_code) == ("nonzero", code), result.output
        assert result.duration_s < 8


def test_sandbox_b07_thousand_orphans(contained: Contained) -> None:
    assert contained.client is not None
    with contained.sandbox() as box:
        result = box.run("for i in $(seq 1000); do (true &); done; sleep 0.3", timeout_s=60)
        assert result.status == "ok"
        assert b"fork" not in result.output
        found = contained.client.top(contained.containers()[0], ps_args="-eo pid,stat")["Processes"]
        assert [state for _, state in found if state.startswith("Z")] == []
        assert len(found) == 2  # init and the one that waits for the time to live
        count = LIMITS.pids - 8
        together = f"for i in $(seq {count}); do sleep 0.5 & done; wait; echo all"
        assert box.run(together, timeout_s=30).output == b"all\n"


@pytest.mark.parametrize(
    "command",
    [
        "rm -rf /work; rm -rf /work/* /work/.[a-z]*",
        "mkdir -p x/y && cd x/y && rm -rf ../../x; pwd; rm -rf /work/*",
        'rm -rf * && python3 -c \'import os; os.mkdir("d"); os.chdir("d"); os.rmdir("../d"); os.getcwd()\'',
    ],
)
def test_sandbox_b08_removes_its_directory(contained: Contained, command: str) -> None:
    with contained.sandbox({"a.py": b"x = 1\n", "pkg/b.py": b""}) as box:
        box.run(command, timeout_s=20)
        after = box.run("pwd; ls -A", timeout_s=20)
        assert (after.status, after.output) == ("ok", b"/work\n")
        assert box.changes() == {"a.py": None, "pkg/b.py": None}
        box.write({"pkg/c.py": b"y = 2\n"})
        assert box.run("cat pkg/c.py", timeout_s=20).output == b"y = 2\n"


def test_sandbox_b08_locks_its_directory(contained: Contained) -> None:
    with contained.sandbox({"a.py": b"x = 1\n", "pkg/b.py": b"b\n"}) as box:
        assert box.run("echo 2 >pkg/b.py; chmod 0 pkg/b.py pkg /work", timeout_s=20).status == "ok"
        assert box.changes() == {"pkg/b.py": b"2\n"}
        box.run("mkdir -p pkg/d && chmod 0 pkg/d pkg /work", timeout_s=20)
        after = box.run("cat a.py", timeout_s=20)
        assert after.status == "ok"
        assert after.output.endswith(b"rights were restored]\nx = 1\n")
        box.write({"pkg/d/e.py": b"e\n", "pkg/b.py": None})
        assert box.run("cat pkg/d/e.py; ls pkg", timeout_s=20).output == b"e\nd\n"


TOOLS = [
    "sh",
    "bash",
    "timeout",
    "test",
    "[",
    "tar",
    "find",
    "stat",
    "cat",
    "rm",
    "kill",
    "chmod",
    "git",
    "ls",
]
PLANT = f"""
for tool in {" ".join(TOOLS)}; do
    for folder in $(echo $PATH | tr : ' '); do
        place=$folder/$tool
        rm -f $place 2>/dev/null; mv $place $place.old 2>/dev/null
        (printf '#!/bin/sh\\nexit 7\\n' >$place) 2>/dev/null && chmod +x $place && echo "replaced $place"
    done
    for folder in /work /tmp /dev/shm; do
        printf '#!/bin/sh\\necho PLANTED\\n' >$folder/$tool && chmod +x $folder/$tool
    done
done
for name in .bashrc .profile .bash_profile .shrc .env .inputrc .tarrc .findrc .config .gitconfig; do
    printf 'echo PLANTED\\nexit 7\\n' >/tmp/$name; printf 'echo PLANTED\\nexit 7\\n' >/work/$name
done
alias cat='echo PLANTED'; export PATH=/tmp:/work LD_PRELOAD=/tmp/evil.so ENV=/tmp/.shrc BASH_ENV=/tmp/.bashrc
export TAR_OPTIONS=--to-command=/tmp/cat POSIXLY_CORRECT=1
hash -p /tmp/cat cat; (echo /tmp/evil.so >/etc/ld.so.preload) 2>/dev/null && echo preloaded
mount --bind /tmp/cat /bin/cat 2>/dev/null && echo mounted
echo planted
"""


def test_sandbox_b09_replaces_our_tools(contained: Contained) -> None:
    files = {"a.py": b"x = 1\n", "b.py": b"b\n"}
    with contained.sandbox(files) as box:
        planted = box.run(PLANT, timeout_s=30)
        assert (planted.status, planted.output) == ("ok", b"planted\n")
        after = box.run(
            "echo new >a.py; rm b.py; cat a.py; echo $BASH_ENV$ENV$LD_PRELOAD$TAR_OPTIONS", timeout_s=20
        )
        assert (after.status, after.output) == ("ok", b"new\n\n")
        found = box.changes()
        assert found["a.py"] == b"new\n"
        assert found["b.py"] is None
        assert set(found) == {*files, *TOOLS, *(n for n in found if n.startswith("."))}
        box.write({"c.py": b"c\n"})
        assert box.run("cat c.py", timeout_s=20).output == b"c\n"
        assert box.run("sleep 9", timeout_s=1).status == "timeout"
        assert (
            box.run("bash -c true; sh -c true; sh -l -c true", timeout_s=20).exit_code == 7
        )  # theirs, not ours


def test_sandbox_b09_the_container_dies(contained: Contained) -> None:
    assert contained.client is not None
    with contained.sandbox() as box:
        box.run("kill -9 1 7; for p in /proc/[0-9]*; do kill -9 ${p#/proc/}; done", timeout_s=20)
        (container,) = contained.containers()
        assert box.run("echo on", timeout_s=20).output == b"on\n"
        assert contained.containers() == [container], "a command killed what it must not"
        contained.client.kill(container)
        time.sleep(0.3)
        lost = box.run("echo never", timeout_s=20)
        assert (lost.status, lost.exit_code, lost.output) == ("sandbox-lost", None, b"")
        assert "fresh" in lost.detail
        assert any("sandbox was lost" in note for note in box.notes)
        assert box.run("cat a.py", timeout_s=20).output == b"x = 1\n"
        assert contained.containers() != [container]
