"""Group E, malicious git: helpers in configuration, hooks and attributes. None of them may ever run."""

import os
import shutil
from pathlib import Path

import psutil
import pytest

from sandbox.exchange import exchange
from sandbox.fresh import make_repository
from sandbox.repository import locate, read_head
from sandbox.workcopy import WorkCopy, snapshot
from tests.conftest import RepoFactory, git
from tests.planted_git import ATTRIBUTES, CARELESS, PLACES, Bait, plain_git, plant

pytestmark = pytest.mark.containment

VARIABLES = (
    "GIT_EXTERNAL_DIFF", "GIT_SSH_COMMAND", "GIT_SSH", "GIT_PAGER", "GIT_EDITOR", "GIT_SEQUENCE_EDITOR",
    "GIT_ASKPASS", "SSH_ASKPASS", "GIT_PROXY_COMMAND", "GIT_DIFF_OPTS", "VISUAL", "PAGER",
)  # fmt: skip
FILES = {"a.py": "x = 1\n", "b.txt": "b\n", "c.md": "c\n", "sub/d.py": "d = 1\n"}


@pytest.fixture
def bait(tmp_path: Path) -> Bait:
    return Bait(tmp_path / "bait")


@pytest.fixture
def root(make_repo: RepoFactory) -> Path:
    """A repository with a nested one, a remote beside it, and changes that git would have to look at."""
    root = make_repo(FILES)
    nested = make_repo({"n.py": "n = 1\n"}, "repo/nested")
    git(root, "add", "nested")
    modules = '[submodule "nested"]\n\tpath = nested\n\turl = ext::sh\n\tignore = none\n'
    (root / ".gitmodules").write_text(modules)
    git(root, "add", ".gitmodules")
    git(root, "commit", "--quiet", "--message=nested")
    git(root, "remote", "add", "local", str(make_repo({"r": "r"}, "remote")))
    (root / ".gitattributes").write_text(ATTRIBUTES)
    for path in (root / "a.py", root / "b.txt", root / "c.md", nested / "n.py"):
        path.write_bytes(path.read_bytes() + b"# changed\n")
    return root


def everything(root: Path, tmp_path: Path) -> None:
    """All that ADI does to a repository: find, copy, compare, ask for rules, diff, patch, apply, undo."""
    before = (root / "a.py").read_bytes()
    place = locate(root / "sub")
    assert read_head(place).branch == "main"
    taken = snapshot(place.root, tmp_path / "shadow")
    assert taken.dirty
    files = WorkCopy(taken)
    files.write("a.py", b"x = 3\n")
    files.write("new.txt", b"n\n")
    files.delete("c.md")
    assert files.ignored(["new.txt", "x.pyc"]) == set()
    same = files.patched(files.diff())
    assert same.changed() == files.changed()
    exchange(root, same.changed(), tmp_path / "journal", modes=same.modes())
    assert (root / "a.py").read_bytes() == b"x = 3\n"
    assert snapshot(root, tmp_path / "shadow").dirty
    back = {path: (after, old) for path, (old, after) in same.changed().items()}
    exchange(root, back, tmp_path / "journal")
    assert (root / "a.py").read_bytes() == before
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("GIT_TEMPLATE_DIR", str(root / ".git"))
        make_repository(tmp_path / "fresh", {path: text.encode() for path, text in FILES.items()})


@pytest.mark.parametrize("where", ["hooks", "hooksPath", "home"])
def test_sandbox_e01_hooks(
    root: Path, bait: Bait, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, where: str
) -> None:
    """Every hook that git knows, in the repository, in a folder of the tree, and as the user's own."""
    environ = {}
    if where == "hooks":
        for repository in (root, root / "nested"):
            bait.hooks(repository / ".git" / "hooks")
    else:
        hooks = bait.hooks(root / ".githooks")
        environ = plant(
            root,
            {"core.hooksPath": str(hooks)},
            "config" if where == "hooksPath" else where,
            tmp_path / "home",
        )
    if environ:
        monkeypatch.delenv("GIT_CONFIG_GLOBAL")
    for name, value in environ.items():
        monkeypatch.setenv(name, value)
    everything(root, tmp_path)
    assert bait.ran() == set()
    plain_git(root, environ, CARELESS)
    assert bait.ran() > {
        "pre-commit",
        "commit-msg",
        "post-commit",
        "post-index-change",
        "reference-transaction",
    }


@pytest.mark.parametrize("kind", ["program", "daemon"])
def test_sandbox_e01_fsmonitor(root: Path, bait: Bait, tmp_path: Path, kind: str) -> None:
    program = str(bait.program("core.fsmonitor"))
    for repository in (root, root / "nested"):
        plant(repository, {"core.fsmonitor": program if kind == "program" else "true"}, "config", tmp_path)
        git(repository, "update-index", "--fsmonitor") if kind == "program" else None
    (bait.folder / "ran" / "core.fsmonitor").unlink(missing_ok=True)
    everything(root, tmp_path)
    assert bait.ran() == set()
    daemons = [process.info["cmdline"] for process in psutil.process_iter(["cmdline"])]
    assert not [line for line in daemons if line and "fsmonitor--daemon" in " ".join(line)]
    plain_git(root, {}, ["status"])
    assert bait.ran() == ({"core.fsmonitor"} if kind == "program" else set())


@pytest.mark.parametrize("attributes", [".gitattributes", "sub/.gitattributes", ".git/info/attributes"])
def test_sandbox_e02_filters_and_drivers(root: Path, bait: Bait, tmp_path: Path, attributes: str) -> None:
    """Clean, smudge and process filters, diff and merge drivers, named by the tree or by git's folder."""
    (root / ".gitattributes").unlink()
    (root / attributes).parent.mkdir(exist_ok=True)
    (root / attributes).write_text(ATTRIBUTES)
    (root / "sub/d.py").write_text("d = 2\n")
    plant(root, bait.keys(fsmonitor="false"), "config", tmp_path)
    everything(root, tmp_path)
    assert bait.ran() == set()
    plain_git(root, {}, ["diff", "add --all", "-c diff.external= diff --cached", "archive HEAD"])
    assert bait.ran() >= {"filter.x.clean"}
    if attributes != "sub/.gitattributes":
        assert bait.ran() >= {"filter.y.process"}
    assert bait.ran() & {"diff.external", "diff.x.command"}


@pytest.mark.parametrize("place", PLACES)
def test_sandbox_e03_helpers(
    root: Path, bait: Bait, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, place: str
) -> None:
    """Everything at once, from every place where configuration can stand: nothing runs."""
    environ = plant(root, bait.keys(), place, tmp_path / "home")
    programs = {name: str(bait.program(name)) for name in VARIABLES}
    with monkeypatch.context() as patch:
        if place == "home":
            patch.delenv("GIT_CONFIG_GLOBAL")
        for name, value in {
            **environ,
            **programs,
            "GIT_DIR": str(root / ".git"),
            "GIT_WORK_TREE": "/",
        }.items():
            patch.setenv(name, value)
        everything(root, tmp_path)
        assert bait.ran() == set()
    if place == "home":
        monkeypatch.delenv("GIT_CONFIG_GLOBAL")
    plain_git(root, environ, CARELESS)
    wanted = {"core.fsmonitor", "core.sshCommand", "filter.x.clean", "gpg.program", "remote.local.uploadpack"}
    wanted |= (
        set() if place == "config.worktree" else {"alias.evil"}
    )  # git looks for aliases before that file
    assert bait.ran() >= wanted, "the bait does not work, so this test shows nothing"


def test_sandbox_e03_a_git_in_the_tree(
    root: Path, bait: Bait, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A program named git in the repository, and a PATH that begins with the current folder."""
    shutil.copy(bait.program("git"), root / "git")
    monkeypatch.setenv("PATH", f".:{os.environ['PATH']}")
    monkeypatch.chdir(root)
    everything(root, tmp_path)
    assert bait.ran() == set()
    shutil.copy(bait.program("git"), root / "git")
    plain_git(root, {}, ["status"])
    assert bait.ran() == {"git"}
