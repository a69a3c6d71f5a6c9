"""What this machine lets a model server use."""

import math
import os
import shutil
from collections.abc import Mapping
from importlib.util import find_spec
from pathlib import Path

import psutil

GROUPS = Path("/proc/self/cgroup")
TREE = Path("/sys/fs/cgroup")
DRIVER = Path("/proc/driver/nvidia/version")
EXTRA = ("torch", "transformers", "accelerate", "peft", "llguidance")
"""Packages without which engine `torch` cannot start."""


def cores(groups: Path = GROUPS, tree: Path = TREE) -> int:
    """Physical cores that this process may use, at least 1.

    Decoding is bound by memory, so hyper-threads only disturb. The process's affinity counts, and the time
    that its control groups allow (cpu.max, or cpu.cfs_quota_us of version 1): more threads than that wait for
    each other at every layer.
    """
    allowed = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    allowed = min(allowed, psutil.cpu_count(logical=False) or allowed)
    return max(1, math.floor(min([allowed, *_quotas(groups, tree)])))


def _quotas(groups: Path, tree: Path) -> list[float]:
    """Cores' worth of time that the process's control groups and the groups around them allow."""
    try:
        lines = groups.read_text(encoding="utf-8").splitlines()
    except OSError:  # no Linux
        return []
    found = []
    for line in lines:
        _, controllers, path = line.split(":", 2)
        if controllers and "cpu" not in controllers.split(","):
            continue
        place = (tree / controllers if controllers else tree) / path.lstrip("/")
        found += [quota for folder in (place, *place.parents) if (quota := _quota(folder))]
    return found


def _quota(folder: Path) -> float:
    """Cores' worth of time of one control group; 0 without a limit."""
    try:
        if (folder / "cpu.max").exists():
            limit, period = (folder / "cpu.max").read_text(encoding="ascii").split()
        else:
            limit = (folder / "cpu.cfs_quota_us").read_text(encoding="ascii").strip()
            period = (folder / "cpu.cfs_period_us").read_text(encoding="ascii").strip()
        return max(0.0, int(limit) / int(period))
    except (OSError, ValueError, ZeroDivisionError):  # no such group, `max`, or no limit (-1)
        return 0.0


def has_gpu(driver: Path = DRIVER, environ: Mapping[str, str] = os.environ) -> bool:
    """Whether this machine looks as if torch would find a GPU: NVIDIA's driver, and devices not hidden.

    A guess that costs nothing. Whether the GPU works and what fits it, only the server's process finds out.
    """
    if environ.get("CUDA_VISIBLE_DEVICES", "all").strip() in ("", "-1", "none"):
        return False
    return driver.exists() or shutil.which("nvidia-smi") is not None


def lacking() -> list[str]:
    """Packages of engine `torch` that are not installed; none of them is imported to find out."""
    return [name for name in EXTRA if find_spec(name) is None]
