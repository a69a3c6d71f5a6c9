"""Tells whether the process that owned something still lives, safe against reused process ids.

Guaranteed on one machine with one process table. Where machines share a store, the identity names the
machine too (`shared_identity`), and nobody can say from elsewhere whether the process lives (`elsewhere`).
"""

import os
import platform
from functools import cache
from pathlib import Path

PROC = Path("/proc")
MACHINE_ID = Path("/etc/machine-id")


def identity(pid: int) -> str:
    """What tells this process from a later one with the same id; empty when it is dead.

    On Linux the boot id and the start time in clock ticks since boot, which a change of the wall
    clock does not move; elsewhere the start time in seconds.
    """
    if not (PROC / "self" / "stat").exists():
        return _portable_identity(pid)
    try:
        stat = (PROC / str(pid) / "stat").read_text(encoding="utf-8", errors="replace")
        boot = (PROC / "sys/kernel/random/boot_id").read_text(encoding="ascii").strip()
    except OSError:
        return ""
    # The command name may hold spaces and brackets: fields are counted after the last bracket.
    state, *rest = stat.rpartition(")")[2].split()
    return "" if state in "ZX" else f"{boot}:{rest[18]}"


def _portable_identity(pid: int) -> str:
    import psutil

    try:
        process = psutil.Process(pid)
        return "" if process.status() == psutil.STATUS_ZOMBIE else f"{process.create_time():.0f}"
    except psutil.Error:
        return ""


def own_identity() -> str:
    """Identity of this process."""
    return identity(os.getpid())


@cache
def host() -> str:
    """Name of this machine or container, with the beginning of its id where it has one."""
    try:
        number = MACHINE_ID.read_text(encoding="ascii").strip()[:8]
    except (OSError, UnicodeDecodeError):
        number = ""
    return f"{platform.node()}-{number}"


def shared_identity() -> str:
    """Identity of this process for a store that other machines use too."""
    return f"{own_identity()}@{host()}"


def elsewhere(known: str) -> str:
    """The machine that an identity belongs to, when it is not this one; else empty."""
    where = known.partition("@")[2]
    return "" if where == host() else where


def is_alive(pid: int, known: str) -> bool:
    """True when process `pid` of this machine is still the one that had the identity `known`."""
    local = known.partition("@")[0]
    return bool(local) and not elsewhere(known) and identity(pid) == local


def users_of(path: Path) -> list[int]:
    """Processes that have the file open, as far as this user may see; this one counts too."""
    if not (PROC / "self" / "fd").exists():
        return _portable_users(path)
    wanted = path.stat()
    return sorted(
        int(folder.name)
        for folder in PROC.iterdir()
        if folder.name.isdigit() and _holds(folder / "fd", wanted)
    )


def _holds(descriptors: Path, wanted: os.stat_result) -> bool:
    try:
        return any(_same(entry, wanted) for entry in descriptors.iterdir())
    except OSError:  # it ended, or belongs to another user
        return False


def _same(entry: Path, wanted: os.stat_result) -> bool:
    try:
        return os.path.samestat(entry.stat(), wanted)
    except OSError:
        return False


def _portable_users(path: Path) -> list[int]:
    import psutil

    found = []
    for process in psutil.process_iter():
        try:
            if any(opened.path == str(path.resolve()) for opened in process.open_files()):
                found.append(process.pid)
        except psutil.Error:
            continue
    return sorted(found)
