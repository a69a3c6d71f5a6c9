"""How many threads a model server gets."""

import os
from pathlib import Path

import psutil
import pytest

from model.machine import cores


@pytest.fixture
def eight(monkeypatch: pytest.MonkeyPatch) -> None:
    """A machine with eight cores of two threads, all of them allowed."""
    monkeypatch.setattr(os, "sched_getaffinity", lambda _pid: set(range(16)), raising=False)
    monkeypatch.setattr(psutil, "cpu_count", lambda logical=True: 16 if logical else 8)


@pytest.mark.usefixtures("eight")
@pytest.mark.parametrize(
    ("group", "files", "expected"),
    [
        ("0::/user/job\n", {}, 8),
        ("0::/user/job\n", {"user/job/cpu.max": "max 100000"}, 8),
        ("0::/user/job\n", {"user/job/cpu.max": "250000 100000"}, 2),
        ("0::/user/job\n", {"user/job/cpu.max": "max 100000", "user/cpu.max": "400000 100000"}, 4),
        ("0::/\n", {"cpu.max": "50000 100000"}, 1),
        ("0::/\n", {"cpu.max": "nonsense"}, 8),
        ("3:cpu,cpuacct:/job\n0::/\n", {"cpu,cpuacct/job/cpu.cfs_quota_us": "-1"}, 8),
        (
            "3:cpu,cpuacct:/job\n2:memory:/job\n0::/\n",
            {"cpu,cpuacct/job/cpu.cfs_quota_us": "300000\n", "cpu,cpuacct/job/cpu.cfs_period_us": "100000\n"},
            3,
        ),
    ],
)
def test_control_groups_limit_the_cores(
    tmp_path: Path, group: str, files: dict[str, str], expected: int
) -> None:
    (tmp_path / "groups").write_text(group)
    for path, text in files.items():
        (tmp_path / "tree" / path).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "tree" / path).write_text(text)
    assert cores(tmp_path / "groups", tmp_path / "tree") == expected


@pytest.mark.usefixtures("eight")
def test_affinity_counts_and_a_system_without_groups_has_none(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert cores(tmp_path / "none", tmp_path) == 8
    monkeypatch.setattr(os, "sched_getaffinity", lambda _pid: {3}, raising=False)
    assert cores(tmp_path / "none", tmp_path) == 1
    assert cores() == 1
