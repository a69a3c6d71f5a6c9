"""A09: archives, packs and patterns that are small until somebody unpacks or runs them."""

import gzip
import io
import time
import zipfile
from pathlib import Path

import psutil
import pytest

from sandbox.docker import DockerSandbox
from sandbox.images import recipe
from sandbox.workcopy import WorkCopy, snapshot
from tests.conftest import RepoFactory, git
from tests.containment_kit import LIMITS, Contained
from tools.protocol import Workspace
from tools.read import Read
from tools.search import SECONDS, Search

pytestmark = [pytest.mark.containment, pytest.mark.container]

BYTES = 64 * 1024**2


def nested_zip() -> bytes:
    """A zip of zips of zeros: a few kB that stand for gigabytes."""
    data = bytes(BYTES // 4)
    for level in range(3):
        stream = io.BytesIO()
        with zipfile.ZipFile(stream, "w", zipfile.ZIP_DEFLATED) as archive:
            for number in range(4):
                archive.writestr(f"{level}-{number}.zip", data)
        data = stream.getvalue()
    return data


def test_sandbox_a09_archives_stay_packed(
    contained: Contained, make_repo: RepoFactory, tmp_path: Path
) -> None:
    files = {
        "a.py": b"x = 1\n",
        "bomb.gz": gzip.compress(bytes(BYTES)),
        "bomb.zip": nested_zip(),
        "bomb.tar.gz": gzip.compress(b"bomb" + bytes(BYTES)),
    }
    root = make_repo(files)
    before = psutil.Process().memory_info().rss
    work = WorkCopy(snapshot(root, tmp_path / "shadow"))
    assert {path: work.size(path) for path in work.paths()} == {
        path: len(data) for path, data in files.items()
    }
    with DockerSandbox(
        work.archive(),
        image=recipe("python").tag,
        run_id=contained.run_id,
        limits=LIMITS,
        client=contained.client,
    ) as box:
        space = Workspace(work, box, ())
        for path in ("bomb.gz", "bomb.zip", "bomb.tar.gz"):
            shown = Read().run({"path": path}, space)
            assert "is not shown" in shown.output
        assert Search().run({"text": "bomb"}, space).output == "No line matches bomb."
        unpacked = box.run("gunzip -c bomb.gz >bomb", timeout_s=30)
        assert unpacked.status == "disk-full"  # where they are unpacked the limits hold
        assert box.run("cat a.py", timeout_s=20).output == b"x = 1\n"
    assert psutil.Process().memory_info().rss - before < BYTES // 2


def test_sandbox_a09_a_pack_is_not_unpacked(
    contained: Contained, make_repo: RepoFactory, tmp_path: Path
) -> None:
    root = make_repo({"a.py": "x = 1\n"})
    huge = root / "huge"
    with huge.open("wb") as file:
        file.truncate(3 * BYTES)
    git(root, "add", "huge")
    git(root, "commit", "--quiet", "--message=bomb")
    git(root, "gc", "--quiet")
    huge.unlink()
    packed = sum(file.stat().st_size for file in (root / ".git").rglob("*") if file.is_file())
    assert packed < 2 * 1024**2
    before = psutil.Process().memory_info().rss
    began = time.monotonic()
    taken = snapshot(root, tmp_path / "shadow")
    work = WorkCopy(taken)
    assert work.paths() == ["a.py"]
    assert taken.dirty
    assert time.monotonic() - began < 10
    assert psutil.Process().memory_info().rss - before < BYTES // 2
    copied = sum(file.stat().st_size for file in (tmp_path / "shadow").rglob("*") if file.is_file())
    assert copied < 1024**2
    assert contained.tmp.is_dir()


PATTERNS = {
    "nested repeats": r"(a+)+$",
    "back reference": r"^(a*)*(a*)*\1\2b$",
    "counted repeats": r"((((a{1,99}){1,99}){1,99}){1,99}){1,99}b",
    "alternatives": "(a|aa|aaa|a*)*b" * 8,
}


@pytest.mark.parametrize("pattern", PATTERNS.values(), ids=PATTERNS)
def test_tools_a09_patterns(
    contained: Contained, make_repo: RepoFactory, tmp_path: Path, pattern: str
) -> None:
    work = WorkCopy(snapshot(make_repo({"a.txt": ("a" * 4000 + "\n") * 20}), tmp_path / "shadow"))
    with DockerSandbox(
        work.archive(),
        image=recipe("python").tag,
        run_id=contained.run_id,
        limits=LIMITS,
        client=contained.client,
    ) as box:
        used = time.process_time()
        began = time.monotonic()
        result = Search().run({"text": pattern, "regex": True}, Workspace(work, box, ()))
        assert time.monotonic() - began < SECONDS + 5
        assert time.process_time() - used < 1, "the host ran the pattern"
        assert result.output
        assert box.run("echo on", timeout_s=20).output == b"on\n"
