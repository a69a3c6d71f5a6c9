"""Group D on the user's own tree: races, planted links and files, rights, and who wins when both write."""

import contextlib
import ctypes
import os
import shutil
import subprocess
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from sandbox.errors import Conflict, ExchangeFailed, SandboxError
from sandbox.exchange import Pair, exchange, recover
from sandbox.journal import Intent, Item
from sandbox.tree import digest
from sandbox.workcopy import WorkCopy, snapshot
from tests.conftest import RepoFactory, git
from tests.containment_kit import Contained

pytestmark = pytest.mark.containment

CANARY = b"canary-5d02\n"
OLD, NEW = b"x = 1\n", b"x = 2\n"
RENAME_EXCHANGE = 2
AT_FDCWD = -100


def swap(one: Path, other: Path) -> None:
    """Exchange two names in one step (renameat2)."""
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.renameat2(AT_FDCWD, bytes(one), AT_FDCWD, bytes(other), RENAME_EXCHANGE):
        raise OSError(ctypes.get_errno(), "renameat2")


@contextlib.contextmanager
def swapping(folder: Path, link: Path) -> Iterator[list[int]]:
    """A thread that puts a link in the place of a folder and back, as fast as it can; counts its swaps."""
    count, stop = [0], threading.Event()

    def run() -> None:
        while not stop.is_set():
            swap(folder, link)
            count[0] += 1
            time.sleep(0 if count[0] % 7 else 0.001)

    thread = threading.Thread(target=run)
    thread.start()
    try:
        yield count
    finally:
        stop.set()
        thread.join()
        if folder.is_symlink():
            swap(folder, link)


def tree(root: Path) -> dict[str, bytes]:
    return {
        path.relative_to(root).as_posix(): path.read_bytes() for path in root.rglob("*") if path.is_file()
    }


def times(root: Path) -> dict[Path, int]:
    return {path: path.stat().st_mtime_ns for path in [root, *root.rglob("*")]}


def test_sandbox_d02_a_race_for_a_folder_never_lets_a_write_out(tmp_path: Path) -> None:
    """Exchanges while the folder is swapped for a link: each is whole, or refused and mended afterwards."""
    root, outside, journal = tmp_path / "repo", tmp_path / "outside", tmp_path / "journal"
    for folder in (root / "pkg", outside):  # outside looks the same, so that only its name protects it
        (folder / "deep").mkdir(parents=True)
        (folder / "a.py").write_bytes(OLD)
        (folder / "deep/b.py").write_bytes(OLD)
    (outside / "canary").write_bytes(CANARY)
    untouched = times(outside)
    (root / "link").symlink_to(outside)
    inside = {"pkg/a.py": OLD, "pkg/deep/b.py": OLD}
    changes: dict[str, Pair] = dict.fromkeys(inside, (OLD, NEW))
    changes |= {"pkg/new.py": (None, NEW), "top.py": (None, NEW)}
    applied = {"pkg/a.py": NEW, "pkg/deep/b.py": NEW, "pkg/new.py": NEW, "top.py": NEW}
    rounds = done = 0
    until = time.monotonic() + 3.0
    with swapping(root / "pkg", root / "link") as swaps:
        while time.monotonic() < until or rounds < 20:
            rounds += 1
            back = bool(done % 2)
            pairs = {path: pair[::-1] if back else pair for path, pair in changes.items()}
            with contextlib.suppress(SandboxError):
                exchange(root, pairs, journal)
                done += 1
    assert swaps[0] > 100
    assert rounds > done, "no exchange met the race, so this test shows nothing"
    recover(journal)
    assert list(journal.iterdir()) == []
    assert times(outside) == untouched
    assert (outside / "canary").read_bytes() == CANARY
    (root / "link").unlink()
    assert tree(root) == (applied if done % 2 else inside)


def test_sandbox_d02_a_folder_that_stays_a_link_is_named_until_it_is_back(tmp_path: Path) -> None:
    root, journal = tmp_path / "repo", tmp_path / "journal"
    (root / "pkg").mkdir(parents=True)
    for path in ("pkg/a.py", "z.py"):
        (root / path).write_bytes(OLD)
    changes: dict[str, Pair] = {"pkg/a.py": (OLD, NEW), "z.py": (OLD, NEW)}

    def leave(stage: str) -> None:
        if stage == "commit":
            (root / "pkg").rename(tmp_path / "moved")
            (root / "pkg").symlink_to(tmp_path / "moved")
            raise OSError(5, "io")

    with pytest.raises(Conflict, match=r"pkg/a\.py"):
        exchange(root, changes, journal, checkpoint=leave)
    with pytest.raises(ExchangeFailed, match="could not be mended yet") as caught:
        exchange(root, {"z.py": (OLD, NEW)}, journal)
    assert "put the folder back" in caught.value.hint
    (root / "pkg").unlink()
    (tmp_path / "moved").rename(root / "pkg")
    assert "was taken back" in recover(journal)[0]
    assert tree(root) == {"pkg/a.py": OLD, "z.py": OLD}


def test_sandbox_d03_a_planted_link_is_never_written_through(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Even who guessed the random part of the names gets nothing: they must not exist yet."""
    root, journal, outside = tmp_path / "repo", tmp_path / "journal", tmp_path / "outside"
    for folder in (root, journal):
        folder.mkdir()
    (root / "a.py").write_bytes(OLD)
    outside.write_bytes(CANARY)
    token = "0123456789ab"
    monkeypatch.setattr("secrets.token_hex", lambda _count: token)
    planted = [root / f".adi-{token}-0.new", root / f".adi-{token}-0.old", journal / f"{token}.open"]
    for link in planted:
        link.symlink_to(outside)
        with pytest.raises(SandboxError):
            exchange(root, {"a.py": (OLD, NEW), "b.py": (None, NEW)}, journal)
        assert outside.read_bytes() == CANARY
        assert (root / "a.py").read_bytes() == OLD
        assert not (root / "b.py").exists()
        link.unlink(missing_ok=True)
    exchange(root, {"a.py": (OLD, NEW)}, journal)
    assert tree(root) == {"a.py": NEW}


def test_sandbox_d03_a_journal_that_is_a_link_is_not_believed(tmp_path: Path) -> None:
    """A forged journal would tell recovery which files to replace."""
    root, journal = tmp_path / "repo", tmp_path / "journal"
    root.mkdir()
    journal.mkdir()
    (root / "a.py").write_bytes(OLD)
    (root / "forged.old").write_bytes(b"evil\n")
    item = Item(path="a.py", fresh="", old="forged.old", wanted_sha256=digest(OLD))
    forged = Intent(repo=str(root), items=(item,), folders=()).model_dump_json()
    (root / "planted").write_text(forged)
    (journal / "x.open").symlink_to(root / "planted")
    os.mkfifo(journal / "y.open")
    assert recover(journal) == []
    assert (root / "a.py").read_bytes() == OLD


def test_sandbox_d11_both_versions_are_kept(make_repo: RepoFactory, tmp_path: Path) -> None:
    root = make_repo({"a.py": "x = 1\n", "b.py": "y = 1\n"})
    copy = WorkCopy(snapshot(root, tmp_path / "shadow"))
    copy.write("a.py", b"x = 'the agent'\n")
    copy.write("b.py", b"y = 2\n")
    (root / "a.py").write_bytes(b"x = 'the user'\n")
    patch = copy.diff()
    with pytest.raises(Conflict) as caught:
        exchange(root, copy.changed(), tmp_path / "journal", modes=copy.modes())
    assert caught.value.paths == ("a.py",)
    assert (root / "a.py").read_bytes() == b"x = 'the user'\n"
    assert (root / "b.py").read_bytes() == b"y = 1\n"
    # the agent's version is whole in the patch, which still applies to what it was made for
    again = WorkCopy(copy.snapshot).patched(patch)
    assert again.read("a.py") == b"x = 'the agent'\n"
    assert git(root, "status", "--porcelain") == " M a.py"


@contextlib.contextmanager
def attribute(flag: str, path: Path) -> Iterator[None]:
    """`chattr +flag` for a while; skips where the filesystem or the rights do not allow it."""
    done = subprocess.run(["chattr", f"+{flag}", str(path)], capture_output=True, text=True, check=False)
    if done.returncode:
        pytest.skip(f"chattr +{flag} is not possible here: {done.stderr.strip()}")
    try:
        yield
    finally:
        subprocess.run(["chattr", f"-{flag}", str(path)], check=True)


@pytest.mark.skipif(shutil.which("chattr") is None, reason="chattr (e2fsprogs) is not installed")
@pytest.mark.parametrize("flag", ["i", "a"])
@pytest.mark.parametrize("what", ["pkg/a.py", "pkg"])
def test_sandbox_d13_immutable_files_are_named_and_stay(tmp_path: Path, flag: str, what: str) -> None:
    root, journal = tmp_path / "repo", tmp_path / "journal"
    (root / "pkg").mkdir(parents=True)
    for path in ("a.py", "pkg/a.py", "z.py"):
        (root / path).write_bytes(OLD)
    changes: dict[str, Pair] = dict.fromkeys(("a.py", "pkg/a.py", "z.py"), (OLD, NEW))
    with attribute(flag, root / what):
        with pytest.raises(ExchangeFailed, match=r"immutable|not permitted|read-only") as caught:
            exchange(root, changes, journal)
        assert caught.value.hint
        assert {path: data for path, data in tree(root).items() if "/.adi-" not in path} == dict.fromkeys(
            changes, OLD
        )
        shown = subprocess.run(["lsattr", "-d", str(root / what)], capture_output=True, text=True, check=True)
        assert flag in shown.stdout.split()[0]
    recover(journal)
    assert tree(root) == dict.fromkeys(changes, OLD)
    exchange(root, changes, journal)
    assert tree(root) == dict.fromkeys(changes, NEW)


def test_sandbox_d13_files_of_another_user_are_named_and_stay(contained: Contained) -> None:
    if os.geteuid() != 0:
        pytest.skip("only root can make a file that belongs to somebody else")
    contained.tmp.chmod(0o711)
    root, journal = contained.tmp / "repo", contained.tmp / "journal"
    root.mkdir()
    for name in ("mine.py", "theirs.py", "folder.py"):
        (root / name).write_bytes(OLD)
    (root / "locked").mkdir(mode=0o755)
    (root / "locked/a.py").write_bytes(OLD)
    for path in (root, root / "mine.py", root / "locked/a.py"):
        os.chown(path, 65534, 65534)
    before = {path: (path.stat().st_mode, path.stat().st_uid) for path in root.rglob("*")}
    os.seteuid(65534)
    try:
        with pytest.raises(ExchangeFailed, match=r"'theirs\.py' belongs to another user") as caught:
            exchange(root, {"mine.py": (OLD, NEW), "theirs.py": (OLD, NEW)}, journal)
        assert caught.value.hint.startswith("take it over first: chown")
        with pytest.raises(ExchangeFailed, match=r"the folder of 'locked/a\.py' is read-only"):
            exchange(root, {"mine.py": (OLD, NEW), "locked/a.py": (OLD, NEW)}, journal)
        with pytest.raises(ExchangeFailed, match="not permitted"):
            exchange(root, {"mine.py": (OLD, NEW), "locked/new.py": (None, NEW)}, journal)
    finally:
        os.seteuid(0)
    assert {path: (path.stat().st_mode, path.stat().st_uid) for path in root.rglob("*")} == before
    assert set(tree(root).values()) == {OLD}
    shutil.rmtree(root)
    shutil.rmtree(journal, ignore_errors=True)
