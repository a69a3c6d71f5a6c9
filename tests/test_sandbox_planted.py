"""A repository full of programs for git to run: none of them may, whatever ADI does with it."""

import shutil
import subprocess
from pathlib import Path

import pytest

from sandbox.workcopy import WorkCopy, snapshot
from tests.conftest import RepoFactory, git


def planted(root: Path, marker: Path) -> None:
    """Everything in a repository that can make git run a program, each of which would write the marker."""
    bait = root / ".git" / "bait.sh"
    bait.write_text(f"#!/bin/sh\necho \"$0 $@\" >> '{marker}'\ncat\n")
    bait.chmod(0o755)
    hooks = root / ".git" / "hooks"
    hooks.mkdir(exist_ok=True)
    for hook in (
        "post-index-change",
        "reference-transaction",
        "pre-commit",
        "post-checkout",
        "fsmonitor-watchman",
    ):
        shutil.copy(bait, hooks / hook)
    keys = [
        "core.fsmonitor", "core.pager", "core.editor", "core.sshCommand", "core.gitProxy", "core.askPass",
        "core.alternateRefsCommand", "credential.helper", "diff.external", "diff.x.command",
        "diff.x.textconv",
        "merge.x.driver", "filter.x.clean", "filter.x.smudge", "filter.x.process", "gpg.program",
    ]  # fmt: skip
    for key in keys:
        git(root, "config", key, str(bait))
    git(root, "config", "filter.x.required", "true")
    (root / ".gitattributes").write_text("* filter=x diff=x merge=x\n")
    (root / ".git" / "extra").write_text(f"[core]\n\tfsmonitor = {bait}\n\tworktree = /\n")
    git(root, "config", "include.path", "extra")


def test_nothing_of_the_repository_runs(
    make_repo: RepoFactory, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    marker = tmp_path / "marker"
    root = make_repo({"a.py": "x = 1\n"})
    nested = make_repo({"n.py": "x = 1\n"}, "repo/nested")
    git(root, "add", "nested", "a.py")
    (root / ".gitmodules").write_text(
        '[submodule "nested"]\n\tpath = nested\n\turl = ext::sh\n\tignore = none\n'
    )
    for repository in (nested, root):
        planted(repository, marker)
    (root / "a.py").write_text("x = 2\n")
    (nested / "n.py").write_text("x = 2\n")
    monkeypatch.setenv("GIT_EXTERNAL_DIFF", str(root / ".git/bait.sh"))
    monkeypatch.setenv("GIT_DIR", str(root / ".git"))
    copy = WorkCopy(snapshot(root, tmp_path / "shadow"))
    copy.write("a.py", b"x = 3\n")
    copy.write("b.py", b"y = 1\n")
    patched = copy.patched(copy.diff())
    assert patched.read("a.py") == b"x = 3\n"
    assert any("filter 'x' is not run" in note for note in copy.snapshot.notes)
    assert copy.ignored(["b.py"]) == set()
    assert not marker.exists()
    monkeypatch.delenv("GIT_DIR")
    subprocess.run(["git", "-c", "core.worktree=.", "status"], cwd=root, capture_output=True, check=False)
    assert marker.exists(), "the bait does not work, so this test shows nothing"
