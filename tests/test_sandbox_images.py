"""Sandbox images: what is in them, and that programs of seven languages compile and pass inside, offline.

The programs are those of MultiPL-E and QuixBugs; ADI_BENCH_DIR names the folder that holds these sets.
"""

import importlib.util
import json
import os
import shlex
from collections.abc import Iterator, Mapping
from contextlib import closing
from pathlib import Path
from types import ModuleType

import pytest
from languages import image

from sandbox import images
from sandbox.docker import DockerSandbox
from sandbox.errors import ImageMissing
from sandbox.protocol import ExecResult

BENCH = Path(os.environ.get("ADI_BENCH_DIR", Path(__file__).parents[2] / "shared" / "bench"))
NOTHING = b"\0" * 10240
"""An empty archive."""
PROGRAMS = 3
"""References of each language that are run."""
SETS = {"js": "node", "ts": "node", "java": "java", "cpp": "cpp", "rs": "rust", "go": "go", "php": "php"}
LIMIT_S = 180.0


def test_a_profile_is_a_sorted_set_of_languages() -> None:
    tags = {images.recipe(profile).tag for profile in images.PROFILES}
    assert len(tags) == len(images.PROFILES)
    python, node, mixed = (images.recipe(name) for name in ("python", "node", "python-node-go"))
    assert python.tag.startswith("adi-sandbox:python-")
    assert python.dockerfile.startswith("FROM debian:")
    assert node.dockerfile.startswith(f"FROM {python.tag}\n")
    assert "nodejs" in node.dockerfile
    assert (mixed.profile, mixed.tag) == ("go-node", images.recipe("node-go").tag)
    assert {*node.packages, *images.recipe("go").packages} == set(mixed.packages)
    with_git = images.extended("node", "git", ("git",))
    assert with_git.tag.startswith("adi-sandbox:node-git-")
    assert with_git.dockerfile.startswith(f"FROM {node.tag}\n")
    with pytest.raises(ImageMissing, match="cobol"):
        images.recipe("node-cobol")


def sandbox(profile: str) -> DockerSandbox:
    return DockerSandbox(NOTHING, image=image(profile), run_id="images")


@pytest.mark.container
def test_the_common_image_has_what_every_project_and_the_egress_need() -> None:
    with closing(sandbox("python")) as box:
        made = box.run(
            "python3 -m venv /tmp/v && /tmp/v/bin/pip --version && socat -V | head -1", timeout_s=60
        )
        assert made.status == "ok", made.output
        assert b"/tmp/v/lib" in made.output
        assert b"socat" in made.output
        docs = box.run("find /usr/share/man /usr/share/info /usr/share/locale -type f | wc -l", timeout_s=20)
        assert docs.output.strip() == b"0"
        writable = box.run("touch /usr/x /etc/x /x; getent passwd 1000", timeout_s=20)
        assert writable.output.count(b"Read-only file system") == 3
        assert b"adi:x:1000:1000" in writable.output


def bench(*parts: str) -> Path:
    path = BENCH.joinpath(*parts)
    if not path.exists():
        pytest.skip(f"no {path}: name the benchmarks' folder in ADI_BENCH_DIR")
    return path


def rows(*parts: str) -> Iterator[dict[str, object]]:
    with bench(*parts).open(encoding="utf-8") as lines:
        yield from map(json.loads, lines)


def multipl_e() -> ModuleType:
    """The set's own script, which knows how each language is compiled and run."""
    found = importlib.util.spec_from_file_location(
        "check_multipl_e", bench("multipl_e", "check_multipl_e.py")
    )
    assert found is not None
    assert found.loader is not None
    module = importlib.util.module_from_spec(found)
    found.loader.exec_module(module)
    return module


def inside(box: DockerSandbox, folder: str, files: Mapping[str, str], command: str) -> ExecResult:
    box.write({f"{folder}/{path}": text.encode() for path, text in files.items()})
    return box.run(f"cd {folder} && {command}", timeout_s=LIMIT_S)


@pytest.mark.container
@pytest.mark.languages
@pytest.mark.slow
@pytest.mark.parametrize("language", SETS)
def test_references_compile_and_pass_offline(language: str) -> None:
    script = multipl_e()
    _, name, commands = script.LANGUAGES[language]
    command = " && ".join(shlex.join(word.format(f=name) for word in words) for words in commands)
    support = script.java_support() if language == "java" else {}
    tasks = [task for task in rows("multipl_e", f"{language}.jsonl") if task["reference"]][:PROGRAMS]
    assert len(tasks) == PROGRAMS
    with closing(sandbox(SETS[language])) as box:
        for number, task in enumerate(tasks):
            for answer, passes in ((task["reference"], True), (script.empty(task), False)):
                files = {name: script.program(task, answer), **support}
                ended = inside(box, f"t{number}{passes}", files, f"export GO111MODULE=off; {command}")
                assert (ended.status == "ok") is passes, (task["task_id"], ended)


@pytest.mark.container
@pytest.mark.languages
@pytest.mark.slow
def test_quixbugs_in_java_fails_before_and_passes_after() -> None:
    names = ("bucketsort", "gcd", "kth")
    tasks = [task for task in rows("quixbugs", "quixbugs_java.jsonl") if task["name"] in names]
    assert len(tasks) == len(names)
    with closing(sandbox("java")) as box:
        for task in tasks:
            files = task["files"]
            assert isinstance(files, dict)
            for kind in ("buggy", "fixed"):
                folder = f"{task['name']}-{kind}"
                ended = inside(box, folder, {**files, str(task["path"]): str(task[kind])}, "timeout 20 junit")
                assert (ended.status == "ok") is (kind == "fixed"), (folder, ended)
