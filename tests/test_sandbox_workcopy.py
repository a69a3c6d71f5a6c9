"""Snapshots and work copies: exact bytes, the user's repository untouched, nothing of it executed."""

import os
import stat
import subprocess
import tarfile
import tracemalloc
from collections.abc import Mapping
from io import BytesIO
from pathlib import Path

import pytest

from sandbox.capture import CopyLimits
from sandbox.errors import DiskFull, NotARepository, PatchError, RepositoryState, UnsafePath
from sandbox.workcopy import WorkCopy, snapshot
from tests.conftest import RepoFactory, git

CASES: Mapping[str, bytes] = {
    "crlf.txt": b"one\r\ntwo\r\nthree\r\n",
    "mixed.txt": b"one\r\ntwo\nthree",
    "bom.py": b"\xef\xbb\xbfx = 1\n",
    "latin.py": "# caf\u00e9\nx = 1\n".encode("latin-1"),
    "utf16.txt": "text\n".encode("utf-16"),
    "binary.bin": bytes(range(256)) * 4,
    "empty": b"",
    "dir with space/q\"uo'te -x.py": b"y = 2\n",
    "-dash": b"dash\n",
    "new\nline.txt": b"named with a newline\n",
    "\u00fcn\u00efcode \U0001f600.md": b"emoji\n",
    "ident.c": b"/* $Id$ */\n",
}


@pytest.fixture
def shadow(tmp_path: Path) -> Path:
    return tmp_path / "shadow"


def inventory(root: Path) -> dict[str, tuple[int, bytes]]:
    """Every file below a directory, `.git` included, with its times left out."""
    return {
        str(path.relative_to(root)): (path.lstat().st_mode, b"" if path.is_symlink() else path.read_bytes())
        for path in sorted(root.rglob("*"))
        if path.is_symlink() or path.is_file()
    }


def test_copies_every_byte_and_touches_nothing(make_repo: RepoFactory, shadow: Path) -> None:
    root = make_repo(CASES)
    (root / ".gitattributes").write_text("* text=auto eol=lf ident working-tree-encoding=UTF-16\n")
    (root / "crlf.txt").write_bytes(CASES["crlf.txt"] + b"uncommitted\r\n")
    (root / "untracked.py").write_bytes(b"z = 3\r\n")
    (root / ".gitignore").write_text("*.log\nbuild/\n")
    (root / "noise.log").write_text("ignored")
    (root / "bom.py").unlink()
    before = inventory(root)
    taken = snapshot(root / "dir with space", shadow)
    assert inventory(root) == before
    copy = WorkCopy(taken)
    expected = {path: data for path, data in CASES.items() if path != "bom.py"}
    expected |= {"crlf.txt": CASES["crlf.txt"] + b"uncommitted\r\n", "untracked.py": b"z = 3\r\n"}
    found = {path: copy.read(path) for path in copy.paths() if not path.startswith(".git")}
    assert found == expected
    assert {path: copy.size(path) for path in found} == {path: len(data) for path, data in expected.items()}
    assert taken.dirty
    assert taken.branch == "main"
    assert taken.base_commit == git(root, "rev-parse", "HEAD")
    assert taken.repo == root


def test_a_clean_repository_is_not_dirty(make_repo: RepoFactory, shadow: Path) -> None:
    root = make_repo({"a.py": "x = 1\n", "s/b.sh": "#!/bin/sh\n"})
    assert not snapshot(root, shadow).dirty
    git(root, "checkout", "--quiet", "--detach")
    detached = snapshot(root, shadow)
    assert (detached.branch, detached.dirty) == ("", False)
    git(root, "pack-refs", "--all")
    assert snapshot(root, shadow).base_commit == detached.base_commit


def test_a_second_snapshot_hashes_only_what_changed(make_repo: RepoFactory, shadow: Path) -> None:
    root = make_repo({f"d{number % 7}/f{number}.py": f"x = {number}\n" for number in range(50)})
    first = snapshot(root, shadow)
    objects = set((first.shadow / "objects").rglob("*"))
    (root / "d0/f0.py").write_text("x = 'changed'\n")
    (root / "d1/f1.py").unlink()
    (root / "d2").rename(root / "renamed")
    (root / "d2").write_text("a file where a folder was\n")
    second = snapshot(root, shadow)
    copy = WorkCopy(second)
    assert copy.read("d0/f0.py") == b"x = 'changed'\n"
    assert not copy.exists("d1/f1.py")
    assert copy.read("d2").startswith(b"a file")
    assert copy.exists("renamed/f2.py")
    new = {path for path in set((first.shadow / "objects").rglob("*")) - objects if path.is_file()}
    assert len(new) <= 6  # two blobs and the trees above them


def test_no_commits_worktree_submodule_and_links(
    make_repo: RepoFactory, shadow: Path, tmp_path: Path
) -> None:
    unborn = tmp_path / "unborn"
    unborn.mkdir()
    git(unborn, "init", "--quiet", "--initial-branch=trunk")
    assert WorkCopy(snapshot(unborn, shadow)).paths() == []
    (unborn / "a.py").write_text("x = 1\n")
    taken = snapshot(unborn, shadow)
    assert (taken.base_commit, taken.branch, taken.dirty) == ("", "trunk", True)
    root = make_repo({"a.py": "x = 1\n", "real/b.py": "y = 1\n"})
    git(
        root,
        "-c",
        "protocol.file.allow=always",
        "submodule",
        "--quiet",
        "add",
        str(make_repo({"s.py": ""}, "sub")),
        "sub",
    )
    git(root, "commit", "--quiet", "--message=sub")
    (root / "link").symlink_to("/etc/passwd")
    (root / "folder").symlink_to("real")
    git(root, "worktree", "add", "--quiet", "--detach", str(tmp_path / "linked"))
    taken = snapshot(root, shadow)
    copy = WorkCopy(taken)
    assert [path for path in copy.paths() if path != ".gitmodules"] == ["a.py", "real/b.py"]
    assert copy.links() == ["folder", "link"]
    assert any("'sub'" in note for note in taken.notes)
    for path in ("link", "folder/b.py"):
        with pytest.raises(FileNotFoundError):
            copy.read(path)
        with pytest.raises(UnsafePath):
            copy.write(path, b"through a link")
    assert snapshot(tmp_path / "linked", shadow).base_commit == git(root, "rev-parse", "HEAD")


def test_errors_name_the_step_that_helps(tmp_path: Path, make_repo: RepoFactory, shadow: Path) -> None:
    plain = tmp_path / "plain"
    plain.mkdir()
    with pytest.raises(NotARepository) as caught:
        snapshot(plain, shadow)
    assert "git init" in caught.value.hint
    git(tmp_path, "init", "--quiet", "--bare", "bare.git")
    with pytest.raises(NotARepository, match="bare"):
        snapshot(tmp_path / "bare.git", shadow)
    root = make_repo({"a": "1", "b": "2", "c": "3"})
    with pytest.raises(RepositoryState, match="too many files"):
        snapshot(root, shadow, CopyLimits(entries=2))
    with pytest.raises(RepositoryState, match="too large") as large:
        snapshot(root, shadow, CopyLimits(total_bytes=2))
    assert "gitignore" in large.value.hint


def test_without_git(
    make_repo: RepoFactory, shadow: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    root = make_repo({"a": "1"})
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(RepositoryState, match="git is not installed"):
        snapshot(root, shadow)
    old = tmp_path / "git"
    old.write_text("#!/bin/sh\necho git version 1.8.3\n")
    old.chmod(0o755)
    with pytest.raises(RepositoryState, match=r"too old: git version 1\.8\.3"):
        snapshot(root, shadow)


def test_a_stale_lock_of_the_user_stays(make_repo: RepoFactory, shadow: Path) -> None:
    root = make_repo({"a.py": "x = 1\n"})
    (root / ".git/index.lock").touch()
    taken = snapshot(root, shadow)
    (taken.shadow / "index.lock").touch()  # and one that a killed run of ours left is no obstacle
    (taken.shadow / "index").write_bytes(b"torn")
    assert snapshot(root, shadow).tree == taken.tree
    assert (root / ".git/index.lock").exists()


def test_a_large_file_is_not_read_until_needed(make_repo: RepoFactory, shadow: Path) -> None:
    root = make_repo({"a.py": "x = 1\n"})
    size = 50 * 1024**2
    with (root / "data.bin").open("wb") as file:
        file.write(os.urandom(1 << 20) * 50)
    tracemalloc.start()
    try:
        copy = WorkCopy(snapshot(root, shadow))
        copy.write("a.py", b"x = 2\n")
        assert copy.size("data.bin") == size
        assert b"data.bin" not in copy.diff()
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < 4 * 1024**2
    assert len(copy.read("data.bin")) == size


def test_the_users_ignore_rules_outside_the_tree_count(
    make_repo: RepoFactory, shadow: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    root = make_repo({"a.py": "x = 1\n", ".gitignore": "*.log\n"})
    (tmp_path / "global-ignore").write_text("*.secret\n")
    (tmp_path / "gitconfig").write_text(f"[core]\n\texcludesFile = {tmp_path}/global-ignore\n")
    monkeypatch.setenv("GIT_CONFIG_GLOBAL", str(tmp_path / "gitconfig"))
    (root / ".git/info").mkdir(exist_ok=True)
    (root / ".git/info/exclude").write_text("*.private\n")
    for name in ("key.secret", "my.private", "run.log", "forced.log"):
        (root / name).write_text("ignored")
    git(root, "add", "--force", "forced.log")
    copy = WorkCopy(snapshot(root, shadow))
    assert copy.paths() == [".gitignore", "a.py", "forced.log"]
    names = ["out/x.log", "n.secret", "n.private", ":(top)magic.py"]
    assert copy.ignored(names) == {"out/x.log", "n.secret", "n.private"}


@pytest.fixture
def copy(make_repo: RepoFactory, shadow: Path) -> WorkCopy:
    root = make_repo({**CASES, "run.sh": "#!/bin/sh\n", "pkg/mod.py": "a = 1\nb = 2\n"})
    (root / "run.sh").chmod(0o755)
    (root / "to-mod").symlink_to("pkg/mod.py")
    return WorkCopy(snapshot(root, shadow))


def test_diff_applies_again_and_shows_only_the_edit(copy: WorkCopy) -> None:
    copy.write("crlf.txt", CASES["crlf.txt"].replace(b"two", b"2"))
    copy.write("latin.py", CASES["latin.py"].replace(b"x = 1", b"x = 9"))
    copy.write("mixed.txt", CASES["mixed.txt"] + b"!")
    copy.write("binary.bin", CASES["binary.bin"][::-1])
    copy.write("run.sh", b"#!/bin/sh\ntrue\n")
    copy.write("deep/new/file.py", b"new\r\n")
    copy.delete("empty")
    copy.delete("-dash")
    patch = copy.diff()
    assert b"-two\r\n+2\r\n" in patch
    assert b" one\r\n" in patch
    assert b"old mode" not in patch
    again = copy.patched(patch)
    assert again.changed() == copy.changed()
    assert again.modes()["run.sh"] == "100755"
    assert again.diff() == patch
    undone = copy.changed()
    assert undone["empty"] == (b"", None)
    assert undone["deep/new/file.py"] == (None, b"new\r\n")


def test_forks_are_independent_and_pending_is_told_once(copy: WorkCopy) -> None:
    copy.write("pkg/mod.py", b"a = 2\n")
    twin = copy.fork()
    twin.write("pkg/mod.py", b"a = 3\n")
    twin.delete("empty")
    assert copy.read("pkg/mod.py") == b"a = 2\n"
    assert copy.exists("empty")
    assert twin.pending() == {"pkg/mod.py": b"a = 3\n", "empty": None}
    assert twin.pending() == {}
    twin.write("pkg/mod.py", b"a = 1\nb = 2\n")
    twin.write("empty", b"")
    assert twin.changed() == {}
    assert twin.diff() == b""
    assert set(twin.pending()) == {"pkg/mod.py", "empty"}  # the sandbox has other bytes


def test_absorb_takes_changes_and_leaves_junk(copy: WorkCopy) -> None:
    copy.write(".gitignore", b"*.log\n")
    (copy.snapshot.repo / ".gitignore").write_bytes(b"*.log\n")
    taken = copy.absorb(
        {
            "pkg/mod.py": None,
            "pkg": b"now a file",
            "junk.log": b"ignored",
            "empty": b"",
            "to-mod/x": b"below a link",
            ".git/hooks/x": b"refused",
            "new.py": b"n = 1\n",
        }
    )
    assert taken == ["new.py", "pkg", "pkg/mod.py"]
    assert copy.read("pkg") == b"now a file"
    assert not copy.exists("junk.log")


@pytest.mark.parametrize(
    "path",
    [
        "../x", "/etc/x", "a/../../x", "", "a//b", "x/./y", "nul\0", "bell\a", "cr\r", "a" * 300,
        "d/" * 200 + "x", "\udcff", "crlf.txt/below", "pkg", "to-mod",
    ],
)  # fmt: skip
def test_unsafe_paths_are_refused(copy: WorkCopy, path: str) -> None:
    with pytest.raises(UnsafePath):
        copy.write(path, b"x")
    assert copy.changed() == {}


GOOD = b"--- a/crlf.txt\n+++ b/crlf.txt\n@@ -1,3 +1,3 @@\n-one\r\n+uno\r\n two\r\n three\r\n"


@pytest.mark.containment
@pytest.mark.parametrize(
    "patch",
    [
        b"--- a/pkg/mod.py\n+++ b/pkg/mod.py\n@@ -1 +1 @@\n-not there\n+x\n",
        b"--- a/pkg/mod.py\n+++ b/pkg/mod.py\n@@ -1,2 +1,2 @@\n-a = 1\n+a = 2\n other\n",
        b"--- a/gone.py\n+++ b/gone.py\n@@ -1 +1 @@\n-x\n+y\n",
        b"diff --git a/empty b/empty\nnew file mode 100644\n--- /dev/null\n+++ b/empty\n@@ -0,0 +1 @@\n+x\n",
        b"--- a/pkg/mod.py\n+++ b/pkg/mod.py\n@@ -1 +1",
    ],
    ids=["other-text", "one-hunk-of-two", "no-such-file", "there-already", "torn"],
)
def test_sandbox_d10_a_patch_that_applies_in_part_is_no_change(copy: WorkCopy, patch: bytes) -> None:
    before = inventory(copy.snapshot.repo)
    copy = WorkCopy(copy.snapshot)  # its reader of blobs ends with the test, the fixture's would not
    assert copy.patched(GOOD).read("crlf.txt").startswith(b"uno\r\n")
    for whole in (patch, GOOD + patch, patch + b"\n" + GOOD):
        with pytest.raises(PatchError):
            copy.patched(whole)
    assert copy.changed() == {}
    assert inventory(copy.snapshot.repo) == before


def test_what_is_no_patch_is_refused(copy: WorkCopy) -> None:
    with pytest.raises(PatchError):
        copy.patched(b"this is no patch")


def test_a_hand_edited_patch_with_wrong_counts_still_applies(copy: WorkCopy) -> None:
    patch = b"--- a/pkg/mod.py\n+++ b/pkg/mod.py\n@@ -1,9 +1,7 @@\n-a = 1\n+a = 5\n+c = 6\n b = 2\n"
    assert copy.patched(patch).read("pkg/mod.py") == b"a = 5\nc = 6\nb = 2\n"
    assert copy.patched(b"").changed() == {}


def test_archive_holds_the_present_state(copy: WorkCopy) -> None:
    copy.write("pkg/mod.py", b"a = 4\n")
    copy.delete("empty")
    copy.write("new/x.py", b"1\n")
    with tarfile.open(fileobj=BytesIO(copy.archive())) as tar:
        members = {member.name: member for member in tar}
        read = {name: tar.extractfile(member) for name, member in members.items() if member.isreg()}
        data = {name: stream.read() for name, stream in read.items() if stream is not None}
    assert data == {path: copy.read(path) for path in copy.paths()}
    assert stat.S_IMODE(members["run.sh"].mode) == 0o755
    assert members["to-mod"].linkname == "pkg/mod.py"


def test_a_full_disk_is_named(make_repo: RepoFactory, tmp_path: Path) -> None:
    root = make_repo({"data.bin": os.urandom(1 << 20)})
    small = tmp_path / "small"
    small.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=256k", "tmpfs", str(small)]
    if os.geteuid() != 0 or subprocess.run(mount, capture_output=True, check=False).returncode:
        pytest.skip("needs the right to mount a small filesystem")
    try:
        with pytest.raises(DiskFull):
            snapshot(root, small / "shadow")
    finally:
        subprocess.run(["umount", str(small)], check=True)
