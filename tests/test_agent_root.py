"""ADI refuses to start on packages that are not its own."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from agent.root import PACKAGES, check_root


def test_the_packages_are_our_own() -> None:
    check_root()


@pytest.mark.parametrize("name", [name for name in PACKAGES if name != "agent"])
def test_a_package_of_the_same_name_on_the_path_is_refused(tmp_path: Path, name: str) -> None:
    (tmp_path / name).mkdir()
    (tmp_path / name / "__init__.py").write_text(
        "raise SystemExit('a stranger was imported')", encoding="utf-8"
    )
    script = Path(sys.executable).with_name("adi")
    if not script.exists():
        pytest.skip("the console script is not installed beside this Python")
    done = subprocess.run(
        [script, "--version"],
        env=os.environ | {"PYTHONPATH": str(tmp_path)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 6, done.stderr
    assert done.stderr.startswith(f"error: the Python package '{name}' is not ADI's")
    assert str(tmp_path / name) in done.stderr
    assert "hint: env -u PYTHONPATH adi" in done.stderr
    assert "stranger" not in done.stderr
