"""Case C06: calls that would change the kernel's view of the sandbox, or another process, are refused."""

import json
import platform

import pytest

from sandbox.seccomp import profile
from tests.containment_kit import Contained

pytestmark = [pytest.mark.containment, pytest.mark.container]

CALLS = r"""
import ctypes, errno, json, os, platform, socket
libc = ctypes.CDLL(None, use_errno=True)
buffer = ctypes.create_string_buffer(4096)
NUMBERS = {  # x86_64, aarch64
    "mount": (165, 40), "umount2": (166, 39), "unshare": (272, 97), "setns": (308, 268), "ptrace": (101, 117),
    "process_vm_readv": (310, 270), "process_vm_writev": (311, 271), "bpf": (321, 280), "keyctl": (250, 219),
    "add_key": (248, 217), "request_key": (249, 218), "userfaultfd": (323, 282),
    "perf_event_open": (298, 241),
    "mknodat": (259, 33), "pivot_root": (155, 41), "chroot": (161, 51), "init_module": (175, 105),
    "finit_module": (313, 273), "kexec_load": (246, 104), "reboot": (169, 142), "swapon": (167, 224),
    "open_by_handle_at": (304, 265), "name_to_handle_at": (303, 264), "sethostname": (170, 161),
    "settimeofday": (164, 170), "clock_settime": (227, 112), "acct": (163, 89), "quotactl": (179, 60),
    "setuid": (105, 146), "setgid": (106, 144), "personality": (135, 92), "syslog": (103, 116),
    "lookup_dcookie": (212, 18), "move_pages": (279, 239), "kcmp": (312, 272), "pidfd_getfd": (438, 438),
    "fanotify_init": (300, 262), "clone": (56, 220),
    "fsopen": (430, 430), "open_tree": (428, 428), "move_mount": (429, 429), "mount_setattr": (442, 442),
    "clone3": (435, 435), "io_uring_setup": (425, 425), "io_uring_enter": (426, 426),
    "io_uring_register": (427, 427),
}
column = 0 if platform.machine() == "x86_64" else 1
found = {}
def call(name, *arguments, label=""):
    ctypes.set_errno(0)
    result = libc.syscall(NUMBERS[name][column], *arguments)
    found[label or name] = errno.errorcode[ctypes.get_errno()] if result < 0 else "allowed"
    if name == "clone" and result == 0:
        os._exit(0)
call("mount", b"none", b"/tmp", b"tmpfs", 0, None)
call("mount", b"/etc", b"/work", None, 4096, None, label="mount bind")
call("umount2", b"/tmp", 0)
for flag, label in ((0x10000000, "user"), (0x20000, "mount"), (0x20000000, "pid"), (0x40000000, "network"),
                    (0x8000000, "ipc"), (0x4000000, "uts"), (0x2000000, "cgroup"), (0x80, "time")):
    call("unshare", flag, label=f"unshare {label}")
    if flag != 0x80:  # in clone this bit belongs to the signal
        call("clone", flag | 17, 0, 0, 0, 0, label=f"clone {label}")
call("setns", os.open("/proc/self/ns/mnt", os.O_RDONLY), 0)
call("ptrace", 16, 1, 0, 0)
call("process_vm_readv", 1, buffer, 1, buffer, 1, 0)
call("process_vm_writev", 1, buffer, 1, buffer, 1, 0)
call("bpf", 0, buffer, 72)
call("keyctl", 0, -3, 0)
call("add_key", b"user", b"x", b"y", 1, -3)
call("request_key", b"user", b"x", None, -3)
call("io_uring_setup", 8, buffer)
call("io_uring_enter", 0, 0, 0, 0, None, 0)
call("io_uring_register", 0, 0, None, 0)
call("clone3", buffer, 64)
call("userfaultfd", 0)
call("perf_event_open", buffer, 0, -1, -1, 0)
call("mknodat", -100, b"/tmp/null", 0o20666, (1 << 8) | 3, label="mknod character")
call("mknodat", -100, b"/tmp/disk", 0o60666, 254 << 8, label="mknod block")
for name in ("pivot_root", "chroot", "swapon", "acct", "sethostname"):
    call(name, b"/tmp", b"/tmp")
call("init_module", buffer, 1, b"")
call("finit_module", 0, b"", 0)
call("kexec_load", 0, 0, None, 0)
call("reboot", 0xFEE1DEAD, 672274793, 0, None)
call("open_by_handle_at", -100, buffer, 0)
call("name_to_handle_at", -100, b"/tmp", buffer, buffer, 0)
call("settimeofday", buffer, None)
call("clock_settime", 0, buffer)
call("quotactl", 0, b"/", 0, None)
call("setuid", 0)
call("setgid", 0)
call("personality", 0x0040000)
call("syslog", 3, buffer, 100)
call("lookup_dcookie", 0, buffer, 10)
call("move_pages", 0, 0, 0, 0, 0, 0)
call("kcmp", 1, 1, 0, 0, 0)
call("pidfd_getfd", 0, 0, 0)
call("fanotify_init", 0, 0)
call("fsopen", b"tmpfs", 0)
call("open_tree", -100, b"/tmp", 1)
call("move_mount", -1, b"", -1, b"", 0)
call("mount_setattr", -1, b"", 0, buffer, 32)
for family in ("AF_VSOCK", "AF_ALG", "AF_PACKET", "AF_CAN", "AF_TIPC"):
    try:
        socket.socket(getattr(socket, family), socket.SOCK_RAW).close()
        found[family] = "allowed"
    except OSError as error:
        found[family] = errno.errorcode[error.errno]
for path in (
    "/proc/sys/kernel/hostname", "/proc/sys/kernel/core_pattern", "/proc/sys/vm/drop_caches",
    "/proc/sys/net/ipv4/ip_forward", "/proc/sysrq-trigger", "/sys/kernel/uevent_helper", "/proc/1/mem",
    "/sys/kernel/mm/ksm/run", "/proc/1/oom_score_adj", "/dev/kmsg", "/dev/mem", "/dev/sda", "/dev/vda",
    "/proc/kcore", "/etc/passwd", "/usr/bin/python3", "/sys/fs/cgroup/memory/memory.limit_in_bytes",
    "/sys/fs/cgroup/memory/release_agent", "/sys/fs/cgroup/cgroup.procs", "/sys/fs/cgroup/pids/pids.max",
):
    try:
        os.close(os.open(path, os.O_WRONLY))
        found[f"write {path}"] = "allowed"
    except OSError as error:
        found[f"write {path}"] = errno.errorcode[error.errno]
print(json.dumps(found))
"""
EXPECTED = {"EPERM", "ENOSYS"}
AS_ABSENT = {"clone3", "io_uring_setup", "io_uring_enter", "io_uring_register"}


@pytest.mark.skipif(
    platform.machine() not in ("x86_64", "aarch64"),
    reason="numbers of system calls are known for two machines",
)
def test_sandbox_c06_calls_that_change_the_kernels_view_are_refused(contained: Contained) -> None:
    with contained.sandbox({"calls.py": CALLS.encode()}, output_bytes=100_000) as box:
        result = box.run("python3 calls.py", timeout_s=30)
        assert result.status == "ok", result.output
        found = json.loads(result.output)
        assert (
            box.run(
                "python3 -c 'import threading, subprocess; subprocess.run([\"true\"])'", timeout_s=9
            ).exit_code
            == 0
        )
    writes = {name: found.pop(name) for name in list(found) if name.startswith("write ")}
    assert {name: code for name, code in found.items() if code not in EXPECTED} == {}
    assert {name for name, code in found.items() if code == "ENOSYS"} >= AS_ABSENT
    assert len(found) > 60
    assert {
        name: code for name, code in writes.items() if code not in ("EACCES", "EPERM", "EROFS", "ENOENT")
    } == {}


def test_sandbox_c06_setuid_programs_and_capabilities_give_nothing(contained: Contained) -> None:
    script = """
        cp /bin/bash mine; chmod 4755 mine; ./mine -p -c 'id -u'
        python3 -c 'import os; os.setuid(0)' 2>&1 | tail -1
        for program in $(find / -xdev -perm /6000 -type f 2>/dev/null); do
            echo 'id -u' | timeout 3 $program -c 'id -u' </dev/null 2>/dev/null | grep -x 0
        done
        setcap cap_sys_admin+ep mine 2>/dev/null
        ./mine -c 'grep -E "Cap|NoNewPrivs|Seccomp:" /proc/self/status'"""
    with contained.sandbox() as box:
        lines = box.run(script, timeout_s=30).output.decode().splitlines()
        details = contained.inspect()
    assert lines[0] == "1000"
    assert lines[1].startswith("PermissionError")
    status = dict(line.split(":\t") for line in lines[2:])
    assert {status[f"Cap{kind}"] for kind in ("Inh", "Prm", "Eff", "Bnd", "Amb")} == {"0" * 16}
    assert (status["NoNewPrivs"], status["Seccomp"]) == ("1", "2")
    config = details["HostConfig"]
    assert isinstance(config, dict)
    assert config["CapDrop"] == ["ALL"]
    assert not config["CapAdd"]
    assert not config["Privileged"]
    assert not config["Binds"]
    assert not config["Devices"]
    assert config["SecurityOpt"] == ["no-new-privileges", f"seccomp={profile()}"]


def test_sandbox_c06_no_call_is_allowed_twice_or_by_mistake() -> None:
    rules = json.loads(profile())["syscalls"]
    plain = rules[0]["names"]
    assert len(plain) == len(set(plain))
    dangerous = {
        "mount", "unshare", "setns", "bpf", "keyctl", "add_key", "request_key", "userfaultfd", "socket",
        "clone", "perf_event_open", "process_vm_readv", "open_by_handle_at", "personality", "kexec_load",
        "chroot", "syslog", *AS_ABSENT,
    }  # fmt: skip
    assert dangerous.isdisjoint(plain)
