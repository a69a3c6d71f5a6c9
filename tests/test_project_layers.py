"""A missing layer is a skip that says why, and a failure where the layer is required."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
NEEDS_WEIGHTS = """
import pytest

@pytest.mark.weights
def test_real_model():
    raise AssertionError("ran without weights")

@pytest.mark.engine
def test_that_skips_by_itself():
    pytest.skip("no reason at all")

@pytest.mark.engine
@pytest.mark.network
def test_beyond_a_layer():
    pytest.skip("no registry answers")

def test_without_a_layer():
    pytest.skip("not for this machine")
"""

SAMPLED = """
import pytest

@pytest.mark.sample(2)
@pytest.mark.parametrize("letter", "bcde")
def test_letters(letter):
    pass

@pytest.mark.parametrize("letter", "a")
def test_all(letter):
    pass
"""


@pytest.mark.parametrize(
    ("required", "code", "summary"),
    [
        ("", 0, "4 skipped"),
        ("weights,engine", 1, "1 failed, 2 skipped, 1 error"),
        ("engine", 1, "1 failed, 3 skipped"),
        ("network", 1, "1 failed, 3 skipped"),
    ],
)
def test_skips_of_required_layers_fail(tmp_path: Path, required: str, code: int, summary: str) -> None:
    shutil.copy(ROOT / "tests" / "conftest.py", tmp_path)
    (tmp_path / "test_it.py").write_text(NEEDS_WEIGHTS, encoding="utf-8")
    command = [sys.executable, "-m", "pytest", "-c", str(ROOT / "pyproject.toml"), "-p", "no:cacheprovider"]
    environ = os.environ | {"ADI_HOME": str(tmp_path / "home"), "ADI_REQUIRE_LAYERS": required}
    environ.pop("PYTEST_ADDOPTS", None)
    done = subprocess.run(
        [*command, str(tmp_path)], cwd=ROOT, env=environ, capture_output=True, text=True, check=False
    )
    assert done.returncode == code, done.stdout + done.stderr
    assert summary in done.stdout
    assert "is not on this disk" in done.stdout
    assert "ran without weights" not in done.stdout


def test_a_sampled_test_keeps_some_parameters_and_the_others_are_slow(tmp_path: Path) -> None:
    shutil.copy(ROOT / "tests" / "conftest.py", tmp_path)
    (tmp_path / "test_it.py").write_text(SAMPLED, encoding="utf-8")
    command = [sys.executable, "-m", "pytest", "-c", str(ROOT / "pyproject.toml"), "-p", "no:cacheprovider"]
    for more, kept in (([], "bea"), (["-m", "slow"], "cd"), (["-m", "slow or not slow"], "bcdea")):
        done = subprocess.run(
            [*command, "--collect-only", "-q", *more, str(tmp_path)],
            cwd=ROOT, capture_output=True, text=True, check=True,
        )  # fmt: skip
        assert [line[-2] for line in done.stdout.splitlines() if "::" in line] == list(kept)
