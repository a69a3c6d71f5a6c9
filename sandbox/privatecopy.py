"""A repository of one's own at a commit of the user's: files and history to read, nothing shared to write.

The copy borrows the user's objects and writes its own beside them. The user's work tree, index and branches
are neither read nor written, and no configuration, hook or filter of theirs runs: every git process has the
copy's own git directory. Names of branches and tags are looked up by hand (sandbox/repository.py).
"""

import re
from pathlib import Path
from typing import Final

from sandbox.errors import RepositoryState
from sandbox.repository import Place, locate, read_head, read_ref
from sandbox.shadow import Shadow, check_git_version

_HEX: Final = re.compile(r"[0-9a-f]{4,64}")
_NAMES: Final = ("{}", "refs/heads/{}", "refs/tags/{}", "refs/remotes/{}", "refs/remotes/origin/{}")
_CONFIG: Final = """\
[core]
\trepositoryformatversion = 0
\tbare = false
\tfilemode = true
\tsymlinks = true
\thooksPath = /dev/null
\tattributesFile = /dev/null
\texcludesFile = /dev/null
[gc]
\tauto = 0
"""
_SHA256: Final = "[core]\n\trepositoryformatversion = 1\n[extensions]\n\tobjectFormat = sha256\n"
_ATTRIBUTES: Final = "* -text -eol -ident -filter -working-tree-encoding\n"
BRANCH: Final = "main"


def private_copy(repo: Path, base: str, folder: Path) -> str:
    """Lay the repository out in `folder`, which must not exist, as it is at `base`; gives the commit's id.

    `base` is a commit, tag or branch; empty means HEAD. Raises NotARepository, RepositoryState, DiskFull.
    """
    place = locate(repo)
    check_git_version()
    named = _named(place, base)
    folder.mkdir(parents=True)
    git = Shadow(folder / ".git")
    _prepare(git, place, sha256=len(named) == 64)
    commit = commit_of(git, named, f"{base or 'HEAD'} of {place.root}")
    work = {"GIT_WORK_TREE": str(folder)}
    git.git("update-ref", f"refs/heads/{BRANCH}", commit)
    git.git("read-tree", commit)
    git.git("checkout-index", "--all", "--force", "--quiet", env=work)
    git.git("update-index", "-q", "--refresh", env=work, codes=(0, 1))
    return commit


def commit_of(git: Shadow, named: str, told: str) -> str:
    """The commit behind an id or a part of one. Raises RepositoryState."""
    done = git.run("rev-parse", "--verify", "--quiet", "--end-of-options", f"{named}^{{commit}}")
    found = done.stdout.decode().strip()
    if done.returncode or not found:
        raise RepositoryState(f"there is no commit {told}", "git fetch, or name another base")
    return found


def _named(place: Place, base: str) -> str:
    """Object id, or part of one, that the name stands for."""
    if not base or base == "HEAD":
        if commit := read_head(place).commit:
            return commit
        raise RepositoryState(f"{place.root} has no commit to start from", "make one first: git commit")
    for form in _NAMES:
        if found := read_ref(place, form.format(base)):
            return found
    if _HEX.fullmatch(base):
        return base
    raise RepositoryState(f"{place.root} has no commit, tag or branch {base!r}", "name another base")


def _prepare(git: Shadow, place: Place, *, sha256: bool) -> None:
    objects = str(place.common_dir / "objects")
    if "\n" in objects:
        raise RepositoryState("the path of the repository holds a line break", "move it elsewhere")
    try:
        git.directory.mkdir()
        form = ("--object-format=sha256",) if sha256 else ()
        git.git("init", "-q", "--template=", f"--initial-branch={BRANCH}", *form)
        for name in ("info", "objects/info"):
            (git.directory / name).mkdir(exist_ok=True)
        (git.directory / "config").write_text(_CONFIG + (_SHA256 if sha256 else ""))
        (git.directory / "info" / "attributes").write_text(_ATTRIBUTES)
        (git.directory / "objects" / "info" / "alternates").write_text(f"{objects}\n")
    except OSError as error:
        raise RepositoryState(f"cannot use {git.directory}: {error.strerror}") from error
