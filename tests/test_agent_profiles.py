"""Which images a repository needs, and `adi doctor --images`."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from conftest import RepoFactory
from languages import SAMPLES

from agent.errors import UsageError
from agent.profiles import wanted
from sandbox.images import PROFILES, recipe


def test_named_images() -> None:
    assert wanted("all", Path("/")) == PROFILES
    assert wanted("node, go-cpp", Path("/")) == ("python", "node", "cpp-go")
    with pytest.raises(UsageError, match="cobol"):
        wanted("cobol", Path("/"))


@pytest.mark.parametrize("name", SAMPLES)
def test_the_image_of_a_repository(name: str, make_repo: RepoFactory) -> None:
    root = make_repo({**SAMPLES[name].files, "docs/a.md": "a\n"})
    assert wanted("", root / "docs") == ("python", SAMPLES[name].profile)


def test_two_languages_share_one_image_and_a_plain_folder_needs_the_common_one(
    make_repo: RepoFactory, tmp_path: Path
) -> None:
    files = {**SAMPLES["jest"].files, **SAMPLES["go"].files, "test_a.py": "def test_a():\n    pass\n"}
    assert wanted("", make_repo(files)) == ("python", "go-node")
    (tmp_path / "plain").mkdir()
    assert wanted("", tmp_path / "plain") == ("python",)


def test_the_doctor_tells_images_that_are_missing(make_repo: RepoFactory) -> None:
    command = [sys.executable, "-P", "-c", "from agent.cli import main; main()", "doctor", "--json"]
    root = make_repo(SAMPLES["go"].files)
    done = subprocess.run(
        command,
        cwd=root,
        env={**os.environ, "DOCKER_HOST": "unix:///nowhere/docker.sock"},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    (image,) = [one for one in json.loads(done.stdout)["findings"] if one["name"] == "image"]
    assert image["status"] == "fail"
    assert recipe("go").tag in image["detail"]
