"""Group E: what the user's own git does otherwise, and repositories in unusual states."""

import os
import shutil
from pathlib import Path

import pytest

from sandbox.errors import RepositoryState
from sandbox.exchange import exchange
from sandbox.workcopy import Snapshot, WorkCopy, snapshot
from tests.conftest import RepoFactory, git
from tests.planted_git import Bait, plain_git, plant

pytestmark = pytest.mark.containment

LFS = b"version https://git-lfs.github.com/spec/v1\noid sha256:" + b"0" * 64 + b"\nsize 12345\n"


@pytest.fixture
def shadow(tmp_path: Path) -> Path:
    return tmp_path / "shadow"


def copied(taken: Snapshot) -> dict[str, bytes]:
    copy = WorkCopy(taken)
    return {path: copy.read(path) for path in copy.paths()}


def state(root: Path) -> dict[str, tuple[int, bytes]]:
    """Every file of the git directory, its lock files and index included."""
    found = (path for path in (root / ".git").rglob("*") if path.is_file())
    return {str(path.relative_to(root)): (path.stat().st_mode, path.read_bytes()) for path in found}


def changed(taken: Snapshot, journal: Path, path: str = "a.py", data: bytes = b"x = 9\n") -> None:
    """Write one file in the user's tree by way of a copy, a patch and an exchange."""
    copy = WorkCopy(taken)
    copy.write(path, data)
    same = copy.patched(copy.diff())
    exchange(taken.repo, same.changed(), journal, modes=same.modes())
    assert (taken.repo / path).read_bytes() == data


def test_sandbox_e09_filters_of_the_user(
    make_repo: RepoFactory, shadow: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """LFS and the like, in the user's own configuration: not run, and said, with the names of files."""
    bait = Bait(tmp_path / "bait")
    home = tmp_path / "home"
    environ = plant(tmp_path, bait.keys(), "home", home)
    root = make_repo({"a.py": "x = 1\n", "big.bin": LFS, "here.bin": b"\0" * 2000, "p.secretive": "s\n"})
    (root / ".gitattributes").write_text("*.bin filter=lfs -text\n*.txt filter=x\n")
    (root / ".git/info").mkdir(exist_ok=True)
    (root / ".git/info/attributes").write_text("p.secretive filter=crypt\n")
    (home / "attributes").write_text("a.py filter=y\n")
    with (home / ".gitconfig").open("a") as file:
        file.write(f"[core]\n\tattributesFile = {home}/attributes\n")
    monkeypatch.delenv("GIT_CONFIG_GLOBAL")
    for name, value in environ.items():
        monkeypatch.setenv(name, value)
    taken = snapshot(root, shadow)
    assert copied(taken)["big.bin"] == LFS
    assert bait.ran() == set()
    said = [note for note in taken.notes if "filter" in note or "LFS" in note]
    run = "copied and written as they are on disk"
    assert said == [
        f"git's filter 'crypt' is not run: 1 file, such as 'p.secretive', is {run}",
        f"git's filter 'lfs' is not run: 2 files, such as 'big.bin', are {run}",
        f"git's filter 'y' is not run: 1 file, such as 'a.py', is {run}",
        "LFS content is not on this disk: 1 file, such as 'big.bin', is only a pointer; git lfs pull fetches it",  # noqa: E501
    ]
    copy = WorkCopy(taken)
    copy.write("new.txt", b"n\n")
    copy.write("other.md", b"n\n")
    assert copy.filters() == {"new.txt": "x"}
    changed(taken, tmp_path / "journal", "new.txt", b"plain\n")
    assert bait.ran() == set()


def test_sandbox_e09_signing_is_left_to_the_user(
    make_repo: RepoFactory, shadow: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """ADI makes no commit, so nothing unsigned comes into the history and nobody asks for a key."""
    bait = Bait(tmp_path / "bait")
    root = make_repo({"a.py": "x = 1\n"})
    environ = plant(
        root, {"commit.gpgSign": "true", "gpg.program": str(bait.program("gpg"))}, "home", tmp_path
    )
    before = state(root)
    with monkeypatch.context() as patch:
        patch.delenv("GIT_CONFIG_GLOBAL")
        for name, value in environ.items():
            patch.setenv(name, value)
        changed(snapshot(root, shadow), tmp_path / "journal")
    assert state(root) == before
    assert bait.ran() == set()
    monkeypatch.delenv("GIT_CONFIG_GLOBAL")
    plain_git(root, environ, ["commit --all --message=x"])
    assert bait.ran() == {"gpg"}


def locked(root: Path) -> None:
    (root / ".git/index.lock").write_bytes(b"stale")
    (root / ".git/HEAD.lock").touch()


def rebasing(root: Path) -> None:
    git(root, "checkout", "-q", "-b", "side", "HEAD~1")
    (root / "b.py").write_text("other\n")
    git(root, "commit", "-q", "-a", "-m", "side")
    plain_git(root, {}, ["rebase main"])
    assert (root / ".git/rebase-merge").is_dir()
    assert "<<<<" in (root / "b.py").read_text()


def merging(root: Path) -> None:
    rebasing(root)
    git(root, "rebase", "--abort")
    plain_git(root, {}, ["merge main"])
    assert (root / ".git/MERGE_HEAD").exists()


def detached(root: Path) -> None:
    git(root, "checkout", "-q", "--detach", "HEAD~1")


def unborn(root: Path) -> None:
    git(root, "checkout", "-q", "--orphan", "fresh")


def splitting(root: Path) -> None:
    git(root, "update-index", "--split-index")


def untracked_cache(root: Path) -> None:
    git(root, "update-index", "--force-untracked-cache")
    git(root, "update-index", "--assume-unchanged", "b.py")


STATES = (locked, rebasing, merging, detached, unborn, splitting, untracked_cache)


@pytest.mark.parametrize("enter", STATES, ids=lambda enter: str(enter.__name__))
def test_sandbox_e10_states(make_repo: RepoFactory, shadow: Path, tmp_path: Path, enter: object) -> None:
    """In every state: the files as they are on disk, a change applied, and git's own files as they were."""
    root = make_repo({"a.py": "x = 1\n", "b.py": "b = 1\n"})
    (root / "b.py").write_text("b = 2\n")
    git(root, "commit", "-q", "-a", "-m", "second")
    assert callable(enter)
    enter(root)
    before = state(root)
    taken = snapshot(root, shadow)
    assert copied(taken) == {"a.py": b"x = 1\n", "b.py": (root / "b.py").read_bytes()}
    changed(taken, tmp_path / "journal")
    assert state(root) == before
    clean = enter in (locked, detached, splitting, untracked_cache)
    assert taken.dirty == (not clean)
    branches = {detached: "", rebasing: "", merging: "side", unborn: "fresh"}
    assert taken.branch == branches.get(enter, "main")  # type: ignore[call-overload]
    assert bool(taken.base_commit) == (enter is not unborn)


@pytest.mark.parametrize("kind", ["--cone", "--no-cone", "--sparse-index"])
def test_sandbox_e10_sparse_checkout(make_repo: RepoFactory, shadow: Path, tmp_path: Path, kind: str) -> None:
    """Files that are held off the disk are no deletions: not in the copy, not in the patch, not 'dirty'."""
    root = make_repo({"a.py": "x = 1\n", "in/b.py": "b\n", "out/c.py": "c\n", "out/deep/d.py": "d\n"})
    flags = ["--cone", kind] if kind == "--sparse-index" else [kind]
    git(root, "sparse-checkout", "set", *flags, "in" if kind != "--no-cone" else "/in/")
    assert not (root / "out").exists()
    before = state(root)
    taken = snapshot(root, shadow)
    wanted = {"in/b.py"} | ({"a.py"} if kind != "--no-cone" else set())
    assert set(copied(taken)) == wanted
    assert not taken.dirty
    absent = 4 - len(wanted)
    assert f"{absent} files outside the sparse checkout are not copied and stay as they are" in taken.notes
    changed(taken, tmp_path / "journal", "in/b.py", b"b = 2\n")
    assert state(root) == before
    assert git(root, "diff", "--name-only") == "in/b.py"
    assert snapshot(root, shadow).dirty


@pytest.mark.parametrize("kind", ["shallow", "partial"])
def test_sandbox_e10_shallow_and_partial_clones(
    make_repo: RepoFactory, shadow: Path, tmp_path: Path, kind: str
) -> None:
    """What is not there is not fetched."""
    origin = make_repo({"a.py": "x = 1\n", "b.py": "b = 1\n"}, "origin")
    (origin / "a.py").write_text("x = 2\n")
    git(origin, "commit", "-q", "-a", "-m", "second")
    git(origin, "config", "uploadpack.allowFilter", "true")
    root = tmp_path / "clone"
    how = ["--depth=1"] if kind == "shallow" else ["--filter=tree:0", "--no-checkout"]
    git(tmp_path, "clone", "-q", *how, f"file://{origin}", str(root))
    if kind == "partial":
        (root / "a.py").write_text("x = 2\n")
        shutil.rmtree(root / ".git/index", ignore_errors=True)
    bait = Bait(tmp_path / "bait")
    git(root, "config", "remote.origin.uploadpack", str(bait.program("fetch")))
    before = state(root)
    taken = snapshot(root, shadow)
    assert copied(taken)["a.py"] == b"x = 2\n"
    assert taken.dirty == (kind == "partial")
    changed(taken, tmp_path / "journal")
    assert state(root) == before
    assert bait.ran() == set()
    plain_git(root, {}, ["fetch --refetch", "fetch --unshallow"])
    assert bait.ran() == {"fetch"}


def test_sandbox_e10_linked_worktree_and_submodule(
    make_repo: RepoFactory, shadow: Path, tmp_path: Path
) -> None:
    """A `.git` file of git's own making leads to a directory that names the work tree in return."""
    main = make_repo({"a.py": "x = 1\n"})
    git(main, "worktree", "add", "-q", "-b", "side", str(tmp_path / "linked tree"))
    sub = make_repo({"s.py": "s = 1\n"}, "sub")
    git(main, "-c", "protocol.file.allow=always", "submodule", "--quiet", "add", str(sub), "lib")
    for root, name, branch in ((tmp_path / "linked tree", "a.py", "side"), (main / "lib", "s.py", "main")):
        taken = snapshot(root, shadow)
        assert (taken.repo, taken.branch, taken.dirty) == (root, branch, False)
        assert set(copied(taken)) == {name}
        changed(taken, tmp_path / "journal", name)
    moved = tmp_path / "moved"
    (tmp_path / "linked tree").rename(moved)
    with pytest.raises(Exception, match="does not name this work tree"):
        snapshot(moved, shadow)
    git(main, "worktree", "repair", str(moved))
    assert snapshot(moved, shadow).branch == "side"


def test_sandbox_e10_a_git_directory_elsewhere_that_the_user_names(
    make_repo: RepoFactory, shadow: Path, tmp_path: Path
) -> None:
    """`git init --separate-git-dir`: one clear sentence, and its hint works."""
    root = make_repo({"a.py": "x = 1\n"})
    git(root, "init", "-q", f"--separate-git-dir={tmp_path}/elsewhere.git")
    with pytest.raises(Exception, match="does not name this work tree") as error:
        snapshot(root, shadow)
    _, _, command = getattr(error.value, "hint", "").partition(": ")
    plain_git(root, {}, [command.removeprefix("git ")])
    assert not snapshot(root, shadow).dirty


def test_sandbox_e10_unknown_formats(make_repo: RepoFactory, shadow: Path) -> None:
    """Refs kept in tables, and ids of SHA-256: the first works without a commit, the second is named."""
    root = make_repo({"a.py": "x = 1\n"})
    (root / ".git/HEAD").write_text("ref: refs/heads/.invalid\n")
    taken = snapshot(root, shadow)
    assert (taken.base_commit, taken.branch) == ("", "")
    other = root.parent / "sha256"
    other.mkdir()
    (other / "a.py").write_text("x = 1\n")
    git(other, "init", "-q", "--object-format=sha256")
    git(other, "add", "a.py")
    with pytest.raises(RepositoryState, match="SHA-256"):
        snapshot(other, shadow)


@pytest.mark.parametrize("version", ["", "git version 1.8.3", "git version 2.29.9", "nonsense \x1b[2J"])
def test_sandbox_e10_git_absent_or_too_old(
    make_repo: RepoFactory, shadow: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, version: str
) -> None:
    root = make_repo({"a.py": "x = 1\n"})
    programs = tmp_path / "programs"
    programs.mkdir()
    if version:
        (programs / "git").write_text(f"#!/bin/sh\necho '{version}'\n")
        (programs / "git").chmod(0o755)
    monkeypatch.setenv("PATH", str(programs))
    with pytest.raises(RepositoryState) as error:
        snapshot(root, shadow)
    wanted = f"git is too old: {version}, 2.30 is needed" if version else "git is not installed"
    assert error.value.message == wanted
    assert "install git" in error.value.hint
    assert not shadow.exists()
    monkeypatch.setenv("PATH", f"{programs}:{os.defpath}")
    if not version:
        assert snapshot(root, shadow).tree
