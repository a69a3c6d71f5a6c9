"""Group E, malicious and unusual repositories: what is entered, what is read of it, and what is said."""

import hashlib
import os
import shutil
import subprocess
import zlib
from pathlib import Path

import pytest

from sandbox.capture import CopyLimits
from sandbox.errors import NotARepository, RepositoryState
from sandbox.exchange import exchange
from sandbox.paths import protected
from sandbox.workcopy import Snapshot, WorkCopy, snapshot
from tests.conftest import RepoFactory, git
from tests.planted_git import Bait, plain_git, plant

pytestmark = pytest.mark.containment


@pytest.fixture
def shadow(tmp_path: Path) -> Path:
    return tmp_path / "shadow"


@pytest.fixture
def secret(make_repo: RepoFactory) -> Path:
    """Another repository of the user: none of its names, commits or files may turn up."""
    return make_repo({"secret-name.py": "secret\n", "a.py": "secret\n"}, "private")


def files_of(root: Path) -> dict[str, bytes]:
    """Every file below a folder, `.git` included."""
    found = (path for path in root.rglob("*") if path.is_file() and not path.is_symlink())
    return {str(path.relative_to(root)): path.read_bytes() for path in found}


def copied(taken: Snapshot) -> dict[str, bytes]:
    copy = WorkCopy(taken)
    return {path: copy.read(path) for path in copy.paths()}


def test_sandbox_e04_redirections_are_ignored(
    make_repo: RepoFactory, shadow: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """core.worktree to the home, url.insteadOf, includes, aliases: the folder around `.git` counts."""
    home = tmp_path / "home"
    home.mkdir()
    (home / "id_rsa.txt").write_text("private key")
    monkeypatch.setenv("HOME", str(home))
    root = make_repo({"a.py": "x = 1\n"})
    bait = Bait(tmp_path / "bait")
    keys = {
        "core.worktree": str(home), "url.ext::sh.insteadOf": "https://", "core.ignoreCase": "true",
        "core.excludesFile": str(root / "a.py"), "core.attributesFile": "/etc/passwd",
        "extensions.partialClone": "origin", "alias.ls-files": f"!{bait.program('alias')}",
        "core.symlinks": "false", "core.fileMode": "false",
    }  # fmt: skip
    for place in ("config", "config.worktree", "include", "includeIf"):
        plant(root, keys, place, home)
    (root / "a.py").write_text("x = 2\n")
    (root / "A.PY").write_text("another file\n")
    taken = snapshot(root, shadow)
    assert copied(taken) == {"a.py": b"x = 2\n", "A.PY": b"another file\n"}
    assert (taken.branch, taken.dirty) == ("main", True)
    shown = subprocess.run(["git", "status"], cwd=root, capture_output=True, text=True, check=False)
    assert "id_rsa.txt" in shown.stdout, "git itself was not misled"
    assert bait.ran() == set()


def bare_in(root: Path, bait: Bait) -> Path:
    """A bare repository as plain files in a folder of the tree, armed."""
    git(root.parent, "init", "--quiet", "--bare", str(root / "vendor"))
    for name in ("objects/keep", "refs/keep", "hooks/pre-commit"):
        shutil.copy(bait.program("hook"), root / "vendor" / name)
    with (root / "vendor/config").open("a") as file:
        file.write(f"[core]\n\tfsmonitor = {bait.program('bare')}\n\tworktree = ..\n\tbare = false\n")
    return root / "vendor"


def test_sandbox_e05_buried_bare_repository(make_repo: RepoFactory, shadow: Path, tmp_path: Path) -> None:
    """Its files are data: copied, never obeyed. From inside it ADI refuses to start."""
    bait = Bait(tmp_path / "bait")
    root = make_repo({"a.py": "x = 1\n"})
    vendor = bare_in(root, bait)
    found = copied(snapshot(root, shadow))
    assert {"vendor/HEAD", "vendor/config", "vendor/hooks/pre-commit"} <= set(found)
    for inside in (vendor, vendor / "objects"):
        with pytest.raises(NotARepository, match="bare repository or a git directory"):
            snapshot(inside, shadow)
    assert bait.ran() == set()
    plain_git(vendor, {}, ["status"])
    assert bait.ran() == {"bare"}, "git itself did not obey it"


def test_sandbox_e05_a_change_that_makes_one(make_repo: RepoFactory, shadow: Path) -> None:
    """What would arm a folder for the user's next git command needs a person's word."""
    root = make_repo({"a.py": "x = 1\n", "v/HEAD": "ref: refs/heads/main\n", "app/config": "k = v\n"})
    copy = WorkCopy(snapshot(root, shadow))
    names = ["b/HEAD", "b/config", "b/objects/x", "v/config", "v/hooks/pre-commit", "v/x.py", "app/config"]
    for name in names:
        copy.write(name, b"x\n")
    asked = {"b/HEAD", "b/config", "v/config", "v/hooks/pre-commit"}
    assert set(protected(copy.changed(), copy.paths())) == asked


@pytest.mark.parametrize("kind", ["gitdir file", "link", "commondir", "commondir link", "relative gitdir"])
def test_sandbox_e05_git_directories_elsewhere(secret: Path, shadow: Path, tmp_path: Path, kind: str) -> None:
    """A stranger's tree that leads to another repository is not entered, and nothing is read there."""
    root = tmp_path / "stranger"
    root.mkdir()
    (root / "a.py").write_text("x = 1\n")
    if kind == "gitdir file":
        (root / ".git").write_text(f"gitdir: {secret}/.git\n")
    elif kind == "relative gitdir":
        (root / ".git").write_text("gitdir: ../private/.git\n")
    elif kind == "link":
        (root / ".git").symlink_to(secret / ".git")
    else:
        git(root, "init", "--quiet", "--initial-branch=main")
        target = root / ".git/commondir"
        if kind == "commondir":
            target.write_text(f"{secret}/.git\n")
        else:
            (root / ".git/where").write_text(f"{secret}/.git\n")
            target.symlink_to("where")
    shown = subprocess.run(["git", "log"], cwd=root, capture_output=True, text=True, check=False)
    assert "first" in shown.stdout, "git itself did not follow it"
    with pytest.raises(NotARepository) as error:
        snapshot(root, shadow)
    assert error.value.hint.startswith(("if it is yours: git --git-dir=", "mend it: git worktree repair"))
    assert not shadow.exists()


@pytest.mark.parametrize(
    "text", ["gitdir: \0", "gitdir: " + "x" * 4000, "gitdir:", "nonsense", "gitdir: .git", ""]
)
def test_sandbox_e05_broken_git_files(shadow: Path, tmp_path: Path, text: str) -> None:
    root = tmp_path / "stranger"
    root.mkdir()
    (root / ".git").write_text(text)
    with pytest.raises((NotARepository, RepositoryState)) as error:
        snapshot(root, shadow)
    assert error.value.hint


def test_sandbox_e06_submodules_are_never_entered(
    make_repo: RepoFactory, shadow: Path, tmp_path: Path
) -> None:
    """Names with `../` and a carriage return, `update = !cmd`, ext:: and file:: (CVE-2025-48384)."""
    bait = Bait(tmp_path / "bait")
    root = make_repo({"a.py": "x = 1\n"})
    commit = git(root, "rev-parse", "HEAD")
    modules = f"""
[submodule "../../.git/modules/evil"]
\tpath = evil
\turl = ext::{bait.program("ext")} %S
\tupdate = !{bait.program("update")}
[submodule "cr"]
\tpath = "sub\r"
\turl = file::{tmp_path}
[submodule "--upload-pack=x"]
\tpath = -dash
\turl = --upload-pack={bait.program("pack")}
"""
    (root / ".gitmodules").write_text(modules)
    (root / "sub\r").symlink_to(".git/hooks")
    (root / "evil").mkdir()
    shutil.copytree(root / ".git", root / ".git/modules/evil")
    plant(root, bait.keys(), "config", tmp_path)
    for path in ("evil", "-dash"):
        git(
            root,
            "-c",
            "core.fsmonitor=false",
            "update-index",
            "--add",
            "--cacheinfo",
            f"160000,{commit},{path}",
        )
    shutil.rmtree(bait.folder / "ran")
    (bait.folder / "ran").mkdir()
    taken = snapshot(root, shadow)
    assert [path for path in copied(taken) if path != ".gitmodules"] == ["a.py"]
    assert "'evil' was not copied: it is a submodule" in taken.notes
    assert not (shadow / "modules").exists()
    assert bait.ran() == set()
    copy = WorkCopy(taken)
    copy.write(".gitmodules", b"")
    assert protected(copy.changed()) == (".gitmodules",)


def loose(root: Path, kind: str, data: bytes) -> str:
    """Write an object by hand, as git would not; gives its id."""
    name = hashlib.sha1(data).hexdigest()
    path = root / ".git/objects" / name[:2] / name[2:]
    path.parent.mkdir(exist_ok=True)
    path.write_bytes(zlib.compress(data, 9) if kind != "raw" else data)
    return name


def test_sandbox_e07_ten_gigabytes_of_objects(make_repo: RepoFactory, shadow: Path) -> None:
    """Sparse: nothing of it is read, nothing of it is copied."""
    root = make_repo({"a.py": "x = 1\n"})
    git(root, "repack", "-a", "-d", "-q")
    (pack,) = (root / ".git/objects/pack").glob("*.pack")
    for name in ("0" * 40, "1" * 40):
        shutil.copy(pack.with_suffix(".idx"), pack.with_name(f"pack-{name}.idx"))
        with pack.with_name(f"pack-{name}.pack").open("wb") as file:
            file.truncate(5 * 1024**3)
    taken = snapshot(root, shadow)
    assert copied(taken) == {"a.py": b"x = 1\n"}
    assert not taken.dirty
    assert sum(path.stat().st_size for path in shadow.rglob("*") if path.is_file()) < 1024**2


def test_sandbox_e07_an_object_that_claims_ten_gigabytes(make_repo: RepoFactory, shadow: Path) -> None:
    """A commit of a few bytes that says it is huge: git may not ask for that memory."""
    root = make_repo({"a.py": "x = 1\n"})
    name = loose(root, "zlib", b"commit 10737418240\0tree ")
    (root / ".git/refs/heads/main").write_text(name + "\n")
    taken = snapshot(root, shadow)
    assert (taken.base_commit, taken.dirty) == (name, True)
    assert copied(taken) == {"a.py": b"x = 1\n"}


@pytest.mark.parametrize("name", ["index", "objects/info/alternates"])
def test_sandbox_e07_huge_files_of_git(make_repo: RepoFactory, shadow: Path, name: str) -> None:
    root = make_repo({"a.py": "x = 1\n"})
    with (root / ".git" / name).open("ab") as file:
        file.truncate(10 * 1024**3)
    with pytest.raises(RepositoryState, match=r"10737 MB|too large") as error:
        snapshot(root, shadow)
    assert error.value.hint
    assert sum(path.stat().st_size for path in shadow.rglob("*") if path.is_file()) < 1024**2


@pytest.mark.parametrize(
    "name",
    [
        pytest.param(".gitignore", marks=pytest.mark.slow),
        ".git/HEAD",
        ".git/info/exclude",
        pytest.param("sub/.gitattributes", marks=pytest.mark.slow),
        ".git/objects/info/alternates",
    ],  # fmt: skip,
)
def test_sandbox_e07_fifos_where_git_reads(make_repo: RepoFactory, shadow: Path, name: str) -> None:
    """Nobody waits for a writer that never comes."""
    root = make_repo({"a.py": "x = 1\n", "sub/b.py": "b = 1\n"})
    (root / name).unlink(missing_ok=True)
    os.mkfifo(root / name)
    if name == ".git/info/exclude":
        assert "a.py" in copied(snapshot(root, shadow))
        return
    with pytest.raises(RepositoryState, match=r"no regular file|did not end within") as error:
        snapshot(root, shadow, CopyLimits(git_s=8))
    assert error.value.hint


@pytest.mark.parametrize(
    "ref", ["refs/heads/--upload-pack=x", "refs/heads/a b", "refs/heads/x\ny", "refs/../HEAD", "/etc/passwd"]
)
@pytest.mark.parametrize("packed", [False, True])
def test_sandbox_e07_names_of_refs(make_repo: RepoFactory, shadow: Path, ref: str, packed: bool) -> None:
    root = make_repo({"a.py": "x = 1\n"})
    commit = git(root, "rev-parse", "HEAD")
    (root / ".git/HEAD").write_text(f"ref: {ref}\n")
    if packed:
        (root / ".git/packed-refs").write_text(f"# pack-refs with: peeled\n{commit} {ref}\n")
    elif not ref.startswith("/"):
        (root / ".git" / ref).parent.mkdir(parents=True, exist_ok=True)
        (root / ".git" / ref).write_text(commit + "\n") if ".." not in ref else None
    taken = snapshot(root, shadow)
    assert copied(taken) == {"a.py": b"x = 1\n"}
    wanted = ("--upload-pack=x", commit) if "--upload" in ref else ("", "")
    assert (taken.branch, taken.base_commit) == wanted


def test_sandbox_e08_shell_metacharacters(make_repo: RepoFactory, shadow: Path, tmp_path: Path) -> None:
    """In branch, files, folders and author: they are arguments and data, no shell ever sees them."""
    odd = "$(touch pwned);`touch pwned`|touch pwned&&\"'\\"
    root = make_repo({f"{odd}/{odd}.py": "x = 1\n", "-rf": "y", "--version": "z"}, "r $(touch pwned) `id`;&")
    git(
        root,
        "-c",
        f"user.name={odd}",
        "commit",
        "-q",
        "--allow-empty",
        f"--author={odd} <{odd}@x>",
        "-m",
        odd,
    )
    branch = "a;touch$IFS-pwned&&`id`$(id)|x'\""
    git(root, "checkout", "-q", "-b", branch)
    taken = snapshot(root, shadow)
    assert (taken.branch, taken.dirty) == (branch, False)
    copy = WorkCopy(taken)
    copy.write(f"{odd}/{odd}.py", b"x = 2\n")
    copy.write("-rf", b"w")
    same = copy.patched(copy.diff())
    assert same.ignored([f"{odd}/n"]) == set()
    exchange(root, same.changed(), tmp_path / "journal", modes=same.modes())
    assert (root / odd / f"{odd}.py").read_bytes() == b"x = 2\n"
    assert (root / "-rf").read_bytes() == b"w"
    assert not [path for path in tmp_path.rglob("*pwned") if path.name in ("pwned", "-pwned")]


def test_sandbox_e06_an_index_that_leads_out(make_repo: RepoFactory, secret: Path, shadow: Path) -> None:
    """Paths that git would not write into an index, written by hand: named, and never read."""
    root = make_repo({"a.py": "x = 1\n", "xx/private/secret-name.py": "decoy\n", "yyyy/config": "decoy\n"})
    index = root / ".git/index"
    data = index.read_bytes()[:-20]
    data = data.replace(b"xx/private/secret-name.py", b"../private/secret-name.py").replace(
        b"yyyy/", b".git/"
    )
    index.write_bytes(data + hashlib.sha1(data).digest())
    shutil.rmtree(root / "xx")
    assert set(git(root, "ls-files").split("\n")) == {"../private/secret-name.py", ".git/config", "a.py"}
    taken = snapshot(root, shadow)
    assert copied(taken) == {"a.py": b"x = 1\n", "yyyy/config": b"decoy\n"}
    assert "'../private/secret-name.py' was not copied: it leads out of the repository" in taken.notes
    assert any("'.git/config' was not copied" in note for note in taken.notes)
    assert (secret / "secret-name.py").read_text() == "secret\n"
