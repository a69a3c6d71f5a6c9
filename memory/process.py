"""Tells whether the process that owned something still lives, safe against reused process ids.

Guaranteed on one machine with one process table; a process seen from another PID namespace or
machine counts as dead.
"""

import os
from pathlib import Path

PROC = Path("/proc")


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


def is_alive(pid: int, known: str) -> bool:
    """True when process `pid` is still the one that had the identity `known`."""
    return bool(known) and identity(pid) == known
