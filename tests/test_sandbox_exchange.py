"""Applying a change: all or nothing under conflicts, links, full disks, injected failures and kill -9."""

import contextlib
import errno
import os
import signal
import stat
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from sandbox.errors import Conflict, DiskFull, ExchangeFailed, SandboxError, UnsafePath
from sandbox.exchange import Pair, exchange, recover
from tests.containment_kit import Contained

BEFORE = {
    "edit.py": b"x = 1\r\n",
    "pkg/also.py": b"\xef\xbb\xbfy = 1",
    "gone.txt": b"delete me\n",
    "other.txt": b"not ours\n",
}
CHANGES: dict[str, Pair] = {
    "edit.py": (b"x = 1\r\n", b"x = 2\r\n"),
    "pkg/also.py": (b"\xef\xbb\xbfy = 1", b"\xef\xbb\xbfy = 2"),
    "gone.txt": (b"delete me\n", None),
    "new.py": (None, b"n = 1\n"),
    "deep/er/new.py": (None, b"d = 1\n"),
    "same.txt": (None, None),
}
AFTER = {
    "edit.py": b"x = 2\r\n",
    "pkg/also.py": b"\xef\xbb\xbfy = 2",
    "other.txt": b"not ours\n",
    "new.py": b"n = 1\n",
    "deep/er/new.py": b"d = 1\n",
}
STAGES = ["journal", "folder", "write", "keep", "place", "commit"]


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return fill(tmp_path / "repo with space")


@pytest.fixture
def journal(tmp_path: Path) -> Path:
    return tmp_path / "journal"


def fill(root: Path) -> Path:
    for path, data in BEFORE.items():
        (root / path).parent.mkdir(parents=True, exist_ok=True)
        (root / path).write_bytes(data)
    (root / "edit.py").chmod(0o755)
    return root


def tree(root: Path) -> dict[str, bytes]:
    """All files; an empty folder shows as a path with a slash."""
    found = {}
    for path in root.rglob("*"):
        name = path.relative_to(root).as_posix()
        if path.is_file() or path.is_symlink():
            found[name] = path.read_bytes() if not path.is_symlink() else b"link"
        elif not any(path.iterdir()):
            found[name + "/"] = b""
    return found


def swapped(changes: dict[str, Pair]) -> dict[str, Pair]:
    return {path: (new, old) for path, (old, new) in changes.items()}


def test_apply_and_undo(root: Path, journal: Path) -> None:
    exchange(root, CHANGES, journal, modes={"new.py": "100755"})
    assert tree(root) == AFTER
    assert stat.S_IMODE((root / "edit.py").stat().st_mode) == 0o755
    assert stat.S_IMODE((root / "new.py").stat().st_mode) == 0o755
    (root / "other.txt").write_bytes(b"edited by the user\n")
    exchange(root, swapped(CHANGES), journal)
    restored = {path: data for path, data in tree(root).items() if not path.endswith("/")}
    assert restored == BEFORE | {"other.txt": b"edited by the user\n"}
    assert list(journal.iterdir()) == []


@pytest.mark.containment
@pytest.mark.parametrize(
    ("path", "data"), [("edit.py", b"the user's\n"), ("new.py", b"the user's\n"), ("gone.txt", None)]
)
def test_sandbox_d11_a_changed_file_is_a_conflict_and_nothing_happens(
    root: Path, journal: Path, path: str, data: bytes | None
) -> None:
    if data is None:
        (root / path).unlink()
    else:
        (root / path).write_bytes(data)
    before = tree(root)
    with pytest.raises(Conflict) as caught:
        exchange(root, CHANGES, journal)
    assert caught.value.paths == (path,)
    assert tree(root) == before


@pytest.mark.containment
@pytest.mark.parametrize("stage", STAGES)
@pytest.mark.parametrize(
    ("failure", "expected"),
    [
        (OSError(errno.ENOSPC, "full"), DiskFull),
        (OSError(errno.EIO, "io"), ExchangeFailed),
        (KeyboardInterrupt(), KeyboardInterrupt),
    ],
)
def test_sandbox_d10_a_failure_at_any_stage_leaves_the_tree_as_it_was(
    root: Path, journal: Path, stage: str, failure: BaseException, expected: type[BaseException]
) -> None:
    inodes = {path: (root / path).stat().st_ino for path in BEFORE}
    for skip in range(4):
        seen = 0

        def fail(now: str, skip: int = skip) -> None:
            nonlocal seen
            seen += now == stage
            if now == stage and seen > skip:
                raise failure

        if skip and stage in ("journal", "commit"):
            break
        if skip > 1 and stage == "folder":
            break
        with pytest.raises(expected):
            exchange(root, CHANGES, journal, checkpoint=fail)
        assert tree(root) == BEFORE
        assert {path: (root / path).stat().st_ino for path in BEFORE} == inodes
        assert not journal.exists() or list(journal.iterdir()) == []


def at(stage: str, act: Callable[[], object]) -> Callable[[str], None]:
    """A checkpoint that acts once, at the first moment of a stage."""
    done: list[str] = []

    def check(now: str) -> None:
        if now == stage and not done:
            done.append(now)
            act()

    return check


@pytest.mark.containment
@pytest.mark.parametrize("stage", ["write", "place"])
@pytest.mark.parametrize("path", ["pkg/also.py", "gone.txt", "new.py"])
@pytest.mark.parametrize("replace", [True, False])
def test_sandbox_d11_an_edit_in_the_middle_is_kept(
    root: Path, journal: Path, stage: str, path: str, replace: bool
) -> None:
    def edit() -> None:
        if replace:
            (root / "swap").write_bytes(b"newer")
            (root / "swap").rename(root / path)
        else:
            (root / path).write_bytes(b"newer")

    with pytest.raises(Conflict) as caught:
        exchange(root, CHANGES, journal, checkpoint=at(stage, edit))
    assert path in caught.value.paths
    assert tree(root) == BEFORE | {path: b"newer"}


@pytest.mark.containment
def test_sandbox_d11_an_edit_after_its_own_file_was_placed_is_kept(root: Path, journal: Path) -> None:
    seen: list[str] = []

    def check(now: str) -> None:
        seen.append(now)
        if now == "commit":
            (root / "edit.py").write_bytes(b"newer")
            raise OSError(errno.EIO, "io")

    with pytest.raises(Conflict) as caught:
        exchange(root, CHANGES, journal, checkpoint=check)
    assert caught.value.paths == ("edit.py",)
    assert tree(root) == BEFORE | {"edit.py": b"newer"}


@pytest.mark.containment
@pytest.mark.parametrize("stage", ["journal", "write", "place"])
def test_sandbox_d02_a_folder_swapped_for_a_link_is_never_followed(
    root: Path, journal: Path, tmp_path: Path, stage: str
) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "also.py").write_bytes(BEFORE["pkg/also.py"])

    def swap() -> None:
        (root / "pkg").rename(tmp_path / "moved")
        (root / "pkg").symlink_to(outside)

    with pytest.raises(SandboxError):
        exchange(root, CHANGES, journal, checkpoint=at(stage, swap))
    assert tree(outside) == {"also.py": BEFORE["pkg/also.py"]}
    assert (root / "edit.py").read_bytes() == BEFORE["edit.py"]
    assert not (root / "new.py").exists()


@pytest.mark.containment
@pytest.mark.parametrize(
    "path",
    [
        "../out",
        "/abs",
        ".git/config",
        ".GIT/x",
        "git~1",
        ".g\u200cit/x",
        "link",
        "folder/x",
        "fifo",
        "pkg",
        "a\rb",
    ],
)
def test_sandbox_d12_paths_that_lead_elsewhere_are_refused(root: Path, journal: Path, path: str) -> None:
    (root / "link").symlink_to("/etc/passwd")
    (root / "folder").symlink_to("/tmp")
    os.mkfifo(root / "fifo")
    for old in (None, b"x"):
        with pytest.raises((UnsafePath, Conflict)):
            exchange(root, {path: (old, b"y")}, journal)
    assert (root / "link").is_symlink()


@pytest.mark.containment
def test_sandbox_d10_a_full_disk_for_real(tmp_path: Path, journal: Path) -> None:
    small = tmp_path / "small"
    small.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=64k", "tmpfs", str(small)]
    if os.geteuid() != 0 or subprocess.run(mount, capture_output=True, check=False).returncode:
        pytest.skip("needs the right to mount a small filesystem")
    try:
        fill(small)
        with pytest.raises(DiskFull):
            exchange(small, {**CHANGES, "zz-big": (None, bytes(100_000))}, journal)
        assert tree(small) == BEFORE
        _fill(small)
        with pytest.raises(DiskFull):
            exchange(tmp_path, {"x": (None, b"1")}, small / "journal")
        assert not (tmp_path / "x").exists()
    finally:
        subprocess.run(["umount", str(small)], check=True)


def _fill(folder: Path) -> None:
    """Use up all space of a small filesystem."""
    with contextlib.suppress(OSError):
        for number in range(100_000):
            (folder / f"f{number}").write_bytes(b"x")


@pytest.fixture
def plain_user(contained: Contained) -> Iterator[Path]:
    """A folder that belongs to somebody without privileges, who runs the test."""
    contained.tmp.chmod(0o711)
    with tempfile.TemporaryDirectory(prefix="adi-test-") as folder:
        if os.geteuid() == 0:
            os.chown(folder, 65534, 65534)
            os.seteuid(65534)
            try:
                yield Path(folder)
            finally:
                os.seteuid(0)
        else:
            yield Path(folder)


@pytest.mark.containment
def test_sandbox_d13_read_only_files_stay_and_are_named(plain_user: Path) -> None:
    root, journal = fill(plain_user / "repo"), plain_user / "journal"
    (root / "edit.py").chmod(0o444)
    with pytest.raises(ExchangeFailed, match=r"'edit\.py' is read-only") as caught:
        exchange(root, CHANGES, journal)
    assert "chmod u+w" in caught.value.hint
    (root / "edit.py").chmod(0o755)
    (root / "pkg").chmod(0o555)
    with pytest.raises(ExchangeFailed):
        exchange(root, CHANGES, journal)
    (root / "pkg").chmod(0o755)
    assert tree(root) == BEFORE
    root.chmod(0o555)
    with pytest.raises(ExchangeFailed, match="not permitted"):
        exchange(root, {"brand-new": (None, b"1")}, journal)
    root.chmod(0o755)
    exchange(root, CHANGES, journal)
    assert tree(root) == AFTER


KILL = """
import os, signal, sys
from pathlib import Path
from sandbox.exchange import exchange
from tests.test_sandbox_exchange import CHANGES
stage, skip = sys.argv[3], int(sys.argv[4])
def die(now):
    global skip
    if now == stage:
        if skip == 0:
            os.kill(os.getpid(), signal.SIGKILL)
        skip -= 1
exchange(Path(sys.argv[1]), CHANGES, Path(sys.argv[2]), checkpoint=die)
"""


@pytest.mark.parametrize(
    ("stage", "skip"),
    [
        ("folder", 1),
        ("write", 0),
        ("write", 3),
        ("keep", 2),
        ("place", 0),
        ("place", 4),
        ("commit", 0),
        ("clean", 0),
    ],
)
def test_killed_anywhere_then_recovered(root: Path, journal: Path, stage: str, skip: int) -> None:
    command = [sys.executable, "-c", KILL, str(root), str(journal), stage, str(skip)]
    done = subprocess.run(command, cwd=Path(__file__).parent.parent, check=False)
    assert done.returncode == -signal.SIGKILL
    assert len(list(journal.iterdir())) == 1
    sentences = recover(journal)
    assert len(sentences) == 1
    assert tree(root) == (AFTER if stage == "clean" else BEFORE)
    assert recover(journal) == []


@pytest.fixture
def killed(root: Path, journal: Path) -> Iterator[None]:
    """An exchange that died with some files placed."""
    command = [sys.executable, "-c", KILL, str(root), str(journal), "place", "4"]
    subprocess.run(command, cwd=Path(__file__).parent.parent, check=False)
    return


@pytest.mark.usefixtures("killed")
def test_recover_keeps_what_the_user_edited_since(root: Path, journal: Path) -> None:
    (root / "edit.py").write_bytes(b"edited after the crash")
    assert "edit.py" in recover(journal)[0]
    assert tree(root) == BEFORE | {"edit.py": b"edited after the crash"}


def test_recover_survives_torn_and_foreign_journals(root: Path, journal: Path, tmp_path: Path) -> None:
    journal.mkdir()
    (journal / "torn.open").write_bytes(b'{"repo": "/x", "items"')
    (journal / "notes.txt").write_text("not a journal")
    (journal / "away.open").write_text(f'{{"repo": "{tmp_path}/not-mounted", "items": [], "folders": []}}')
    sentences = recover(journal)
    assert len(sentences) == 1
    assert "could not be mended yet" in sentences[0]
    assert sorted(path.name for path in journal.iterdir()) == ["away.open", "notes.txt"]
    assert recover(tmp_path / "no such folder") == []
    running = at("place", lambda: sentences.extend(recover(journal)))
    exchange(root, CHANGES, journal, checkpoint=running)  # a running exchange is left alone
    assert tree(root) == AFTER
