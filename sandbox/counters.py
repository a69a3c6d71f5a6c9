"""What the kernel counted while a command ran: the evidence for `oom` and `disk-full`.

Commands and our own scripts share a user id, so a command can write into the streams of the shell that wraps
it (`/proc/PID/fd`) and could forge whatever that shell reports afterwards. Therefore the counters are read
where no command lives: by the wrapper before it starts the command, and by a program of its own once
everything that the command started is dead.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass

_KILLS = """
kills=/sys/fs/cgroup/memory.events
[ -r $kills ] || kills=/sys/fs/cgroup/memory/memory.oom_control
[ -r $kills ] && while read -r key value; do [ "$key" = oom_kill ] && echo "oom_kill $value"; done <$kills
"""
"""Tells how often the kernel killed for want of memory; cgroup v2, else v1. Starts no process."""

BEFORE = "{" + _KILLS + "} >&2\n"
"""Shell text for the wrapper's beginning: tells on standard error, which no command has had yet."""

AFTER = f"""{_KILLS}
memory=/sys/fs/cgroup
used=$memory/memory.current
[ -r $used ] || {{ memory=/sys/fs/cgroup/memory; used=$memory/memory.usage_in_bytes; }}
[ -r $used ] && read -r value <$used && echo "used $value"
[ -r $memory/memory.stat ] && while read -r key value; do
    case $key in active_file|inactive_file) echo "file $value";; esac
done <$memory/memory.stat
exec stat -f -c 'free %a %d %c' /work /tmp /dev/shm
"""
"""Shell text for the look after the command."""


USED = """{ echo times; times
peak=/sys/fs/cgroup/memory.peak; [ -r $peak ] || peak=/sys/fs/cgroup/memory/memory.max_usage_in_bytes
[ -r $peak ] && read -r value <$peak && echo "peak $value"; } >&2
"""
"""Shell text for the wrapper's end: what the command used. It could be forged: told, and never decided by."""


@dataclass(frozen=True, slots=True)
class Usage:
    """What one command used."""

    cpu_s: float = 0.0
    """Processor seconds of it and of what it waited for; 0 where that is not told."""
    peak_bytes: int = 0
    """Most memory that the container has held since it began; 0 where that is not told."""

    @classmethod
    def read(cls, told: bytes) -> "Usage":
        """From what USED wrote: after `times` the shell's own line, then its children's; the last counts."""
        lines = [line.split() for line in told.decode("ascii", "replace").splitlines()]
        heads = [number for number, line in enumerate(lines) if line == ["times"]]
        spent = (
            [_seconds(word) for line in lines[heads[-1] + 1 : heads[-1] + 3] for word in line]
            if heads
            else []
        )
        peak = next((line[1] for line in reversed(lines) if line[:1] == ["peak"] and len(line) == 2), "")
        return cls(round(sum(spent), 3), int(peak) if peak.isdigit() else 0)


NOTHING = Usage()
"""Where nothing is known."""


def _seconds(text: str) -> float:
    """Of `1m2.345s`, as shells tell it; 0 for anything else."""
    found = re.fullmatch(r"(\d{1,6})m(\d{1,2}(?:\.\d{1,6})?)s", text)
    return 60 * int(found[1]) + float(found[2]) if found else 0.0


@dataclass(frozen=True, slots=True)
class Counters:
    """One look at the container's counters."""

    oom_kills: int | None
    """Processes killed for want of memory since the container began; None where that is not counted."""
    held_bytes: int
    """Memory that dropping caches does not give back; with no command alive, what files in memory hold."""
    full: bool
    """A place that commands write to has no free block, or no free inode."""

    @classmethod
    def read(cls, told: bytes) -> "Counters":
        """From what BEFORE or AFTER wrote; the first line of a kind counts."""
        lines = list(_lines(told))
        kills = next((values[0] for key, values in lines if key == "oom_kill"), None)
        used = next((values[0] for key, values in lines if key == "used"), 0)
        cached = sum(values[0] for key, values in lines if key == "file")
        full = any(_is_full(*values) for key, values in lines if key == "free")
        return cls(kills, max(0, used - cached), full)


def _is_full(blocks: int, inodes: int = 1, all_inodes: int = 1) -> bool:
    """Whether a place has no room, from what is free; gVisor counts no inodes and tells 0 of 0."""
    return blocks == 0 or (inodes == 0 and all_inodes > 0)


def _lines(told: bytes) -> Iterator[tuple[str, list[int]]]:
    for line in told.decode("ascii", "replace").splitlines():
        key, *values = line.split()[:4] or [""]
        if values and all(value.isdigit() for value in values):
            yield key, [int(value) for value in values]
