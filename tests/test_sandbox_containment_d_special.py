"""Group D: special files in the user's own tree, paths in disguise, and patches that lead elsewhere."""

import os
import socket
import stat
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from sandbox.archive import read_archive
from sandbox.errors import PatchError, RepositoryState, UnsafePath
from sandbox.exchange import exchange
from sandbox.paths import check_path, protected
from sandbox.repository import locate
from sandbox.workcopy import WorkCopy, snapshot
from tests.conftest import RepoFactory, git
from tests.containment_kit import Contained, pack

pytestmark = pytest.mark.containment


def a_socket(path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as made:
        made.bind(str(path))


def a_device(path: Path) -> None:
    os.mknod(path, stat.S_IFCHR | 0o666, os.makedev(1, 5))  # /dev/zero: endless when it is read


SPECIAL: dict[str, Callable[[Path], None]] = {
    "fifo": lambda path: os.mkfifo(path),
    "socket": a_socket,
    "device": a_device,
}


@pytest.mark.parametrize("kind", SPECIAL)
def test_sandbox_d05_special_files_of_the_user_are_passed_over(
    make_repo: RepoFactory, contained: Contained, kind: str
) -> None:
    if kind == "device" and os.geteuid() != 0:
        pytest.skip("only root can make a device")
    root = make_repo({"a.py": "x = 1\n", "gone.py": "x = 1\n", "pkg/b.py": "y = 1\n"})
    place = root.rename(contained.tmp / "r")  # a short path, for the socket
    (place / "gone.py").unlink()
    for path in (place / "gone.py", place / "untracked", place / "pkg" / "other"):
        SPECIAL[kind](path)
    began = time.monotonic()
    copy = WorkCopy(snapshot(place, contained.tmp / "s"))
    assert time.monotonic() - began < 5
    assert copy.paths() == ["a.py", "pkg/b.py"]
    assert copy.snapshot.notes == ("'gone.py' was not copied: it is no regular file",)
    with pytest.raises(UnsafePath):  # nor is it replaced, or waited for
        exchange(place, {"untracked": (None, b"x")}, contained.tmp / "j")
    for folder in ("r", "s", "j"):
        _remove(contained.tmp / folder)


def _remove(folder: Path) -> None:
    for path in sorted(folder.rglob("*"), reverse=True):
        path.rmdir() if path.is_dir() and not path.is_symlink() else path.unlink()
    if folder.exists():
        folder.rmdir()


@pytest.mark.parametrize("name", [".gitignore", "pkg/.gitignore", ".gitattributes", ".git/HEAD"])
def test_sandbox_d05_a_fifo_that_git_reads_stops_nothing(
    make_repo: RepoFactory, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    monkeypatch.setattr("sandbox.gitview.PATIENCE_S", 0.5)
    monkeypatch.setattr("sandbox.shadow.PATIENCE_S", 0.5)
    root = make_repo({"a.py": "x = 1\n", "pkg/b.py": "y = 1\n"})
    (root / name).unlink(missing_ok=True)
    os.mkfifo(root / name)
    began = time.monotonic()
    with pytest.raises(RepositoryState, match="no regular file") as caught:
        snapshot(root, tmp_path / "shadow")
    assert time.monotonic() - began < 8
    assert Path(name).name in caught.value.message
    assert caught.value.hint


def test_sandbox_d05_attributes_and_modes_are_not_carried(make_repo: RepoFactory, tmp_path: Path) -> None:
    root = make_repo({"a.py": "x = 1\n", "tool": "#!/bin/sh\n"})
    (root / "tool").chmod(0o6755)
    try:
        os.setxattr(root / "a.py", "user.note", b"canary-5d05")
    except OSError as error:
        pytest.skip(f"no extended attributes here: {error}")
    copy = WorkCopy(snapshot(root, tmp_path / "shadow"))
    assert b"canary-5d05" not in copy.archive()
    assert copy.mode("tool") == "100755"
    copy.write("tool", b"#!/bin/sh\ntrue\n")
    copy.write("a.py", b"x = 2\n")
    exchange(root, copy.changed(), tmp_path / "journal", modes=copy.modes())
    assert stat.S_IMODE((root / "tool").stat().st_mode) & 0o777 == 0o755


def test_sandbox_d06_a_sparse_file_of_the_user_is_refused_unread(
    make_repo: RepoFactory, tmp_path: Path
) -> None:
    root = make_repo({"a.py": "x = 1\n"})
    with (root / "huge").open("wb") as file:
        file.truncate(2 * 1024**3)
    began = time.monotonic()
    with pytest.raises(RepositoryState, match="too large to copy") as caught:
        snapshot(root, tmp_path / "shadow")
    assert time.monotonic() - began < 5
    assert "'huge' (2147 MB)" in caught.value.hint


DISGUISED = [
    ".git", ".GIT", ".Git", "git~1", "GIT~1", "git~12", ".g\u200cit", ".gi\u200dt", ".git\u200e",
    "\u202e.git", ".\u2060git", "\ufeff.git", ".git ", ".git.", ".git. . ", ".git::$INDEX_ALLOCATION",
    ".git:stream", "\uff0egit", ".\uff47it", ".g\u0131t", ".g\u0130t",
]  # fmt: skip
"""Spellings that some filesystem or git on one takes for `.git` (CVE-2014-9390, CVE-2019-1352, and more)."""


@pytest.mark.parametrize("name", DISGUISED)
def test_sandbox_d12_no_spelling_of_git_gets_through(
    make_repo: RepoFactory, tmp_path: Path, name: str
) -> None:
    root = make_repo({"a.py": "x = 1\n"})
    copy = WorkCopy(snapshot(root, tmp_path / "shadow"))
    for path in (name, f"{name}/hooks/pre-commit", f"deep/{name}/config"):
        with pytest.raises(UnsafePath):
            check_path(path)
        with pytest.raises(UnsafePath):
            copy.write(path, b"x")
        assert copy.absorb({path: b"x"}) == []
        assert read_archive([pack({path: b"x"})]).files == {}
        with pytest.raises(UnsafePath):
            exchange(root, {path: (None, b"x")}, tmp_path / "journal")
        with pytest.raises(PatchError):
            copy.patched(new_file(path))
    assert copy.changed() == {}
    assert sorted(path.name for path in root.iterdir()) == [".git", "a.py"]
    if name != ".git":  # one that is there already is not copied, and named
        (root / name).write_text("x")
        taken = snapshot(root, tmp_path / "shadow")
        assert WorkCopy(taken).paths() == ["a.py"]
        assert any("a name of git's own" in note for note in taken.notes)


def test_sandbox_d12_protected_names_in_every_spelling() -> None:
    spelled = [
        ".GITMODULES", ".gitmodules ", "GITMOD~1", "gitatt~2", ".GitAttributes", ".git\u200cattributes",
        "\uff0eenvrc", ".VSCODE/tasks.json", "VSCODE~1/tasks.json", ".GitHub/Workflows/ci.yml",
        ".github./workflows/ci.yml", "GITHUB~1/WORKFL~1/ci.yml", ".ADI/config.toml", "Agents.md",
        ".Circleci/config.yml", "sub/.IDEA/workspace.xml",
    ]  # fmt: skip
    assert set(protected(spelled)) == set(spelled)
    free = [
        "a.py",
        "gitmodules",
        "vscode/x",
        "a~1",
        "agentx~1",
        "x~y",
        "github/workflows/ci.yml",
        "notes~",
        "~1/x",
    ]
    assert protected(free) == ()


def test_sandbox_d12_names_that_differ_in_case_only_do_not_overwrite(
    make_repo: RepoFactory, tmp_path: Path
) -> None:
    """On this disk they are two files; where they are one, the second is a conflict and nothing is lost."""
    root = make_repo({"readme.md": "mine\n"})
    copy = WorkCopy(snapshot(root, tmp_path / "shadow"))
    copy.write("README.md", b"new\n")
    exchange(root, copy.changed(), tmp_path / "journal")
    assert (root / "readme.md").read_text() == "mine\n"
    nfc, nfd = "caf\u00e9", "cafe\u0301"
    copy.write(nfc, b"composed\n")
    copy.write(nfd, b"decomposed\n")
    assert copy.read(nfc) != copy.read(nfd)


def new_file(path: str, mode: str = "100644", content: str = "x") -> bytes:
    quoted = path.replace("\\", "\\\\").replace('"', '\\"').replace("\r", "\\r").replace("\n", "\\n")
    a, b = f'"a/{quoted}"', f'"b/{quoted}"'
    head = f"diff --git {a} {b}\nnew file mode {mode}\n--- /dev/null\n+++ {b}\n"
    return f"{head}@@ -0,0 +1 @@\n+{content}\n\\ No newline at end of file\n".encode()


def moved(old: str, new: str, how: str = "rename") -> bytes:
    return f"diff --git a/{old} b/{new}\nsimilarity index 100%\n{how} from {old}\n{how} to {new}\n".encode()


DELETED = b"diff --git a/a.py b/a.py\ndeleted file mode 100644\n--- a/a.py\n+++ /dev/null\n"
DELETED += b"@@ -1 +0,0 @@\n-x = 1\n"
PATCHES = {
    "control-character": new_file("a\r/b"),
    "escape": new_file("../out"),
    "escape-in-the-middle": new_file("pkg/../../out"),
    "absolute": new_file("/tmp/out"),
    "below-a-link": new_file("to-pkg/new.py"),
    "new-link": new_file("evil", "120000", "/etc/passwd"),
    "new-submodule": new_file("mod", "160000", "Subproject commit " + "1" * 40),
    "link-then-through-it": new_file("way", "120000", "/tmp") + new_file("way/out"),
    "file-becomes-link": b"diff --git a/a.py b/a.py\nold mode 100644\nnew mode 120000\n",
    "file-replaced-by-link": DELETED + new_file("a.py", "120000", "/etc/passwd"),
    "link-edited": b"--- a/to-pkg\n+++ b/to-pkg\n@@ -1 +1 @@\n-pkg\n\\ No newline at end of file\n+/etc\n",
    "rename-onto-a-link": moved("a.py", "to-pkg"),
    "rename-below-a-link": moved("a.py", "to-pkg/a.py"),
    "rename-out": moved("a.py", "../a.py"),
    "copy-of-a-link": moved("to-pkg", "other", "copy"),
    "mode-only": b"diff --git a/a.py b/a.py\nold mode 100644\nnew mode 100755\n",
    "git-directory": new_file(".git/hooks/post-checkout"),
}


@pytest.mark.parametrize("patch", PATCHES.values(), ids=PATCHES)
def test_sandbox_d09_a_patch_that_leads_elsewhere_is_refused_whole(
    make_repo: RepoFactory, tmp_path: Path, patch: bytes
) -> None:
    root = make_repo({"a.py": "x = 1\n", "pkg/b.py": "y = 1\n"})
    (root / "to-pkg").symlink_to("pkg")
    git(root, "add", "to-pkg")
    before = sorted(str(path) for path in tmp_path.rglob("*") if "shadow" not in str(path))
    copy = WorkCopy(snapshot(root, tmp_path / "shadow"))
    good = b"--- a/pkg/b.py\n+++ b/pkg/b.py\n@@ -1 +1 @@\n-y = 1\n+y = 2\n"
    assert copy.patched(good).changed() == {"pkg/b.py": (b"y = 1\n", b"y = 2\n")}
    for whole in (patch, good + patch, patch + good):
        with pytest.raises(PatchError):
            copy.patched(whole)
    assert sorted(str(path) for path in tmp_path.rglob("*") if "shadow" not in str(path)) == before
    assert locate(root).root == root
