"""A branch for a change, made beside everything that the user has checked out.

Only objects and one new ref are added to the user's repository: HEAD, index, work tree and their branches are
not touched, and a branch that is there is never moved. The commit is made with a git directory and an
index of ADI's own; the one process that needs the user's git directory, to add the ref, runs no hook.
"""

import os
import re
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from sandbox.errors import RepositoryState
from sandbox.repository import Place, locate, read_ref
from sandbox.shadow import Shadow

_AUTHOR: Final = {
    f"GIT_{role}_{key}": value
    for role in ("AUTHOR", "COMMITTER")
    for key, value in (("NAME", "ADI"), ("EMAIL", "adi@localhost"))
}
_TRIES: Final = 20


def branch_name(prefix: str, key: str) -> str:
    """A branch's name for a key: readable, and one that git takes."""
    plain = re.sub(r"\.{2,}", "-", re.sub(r"[^A-Za-z0-9_.-]+", "-", key))
    plain = plain.strip("-.")[:120].removesuffix(".lock").strip("-.")
    return f"{prefix}/{plain or 'item'}"


def make_branch(repo: Path, name: str, base: str, patch: bytes, message: str) -> str:
    """Put the patch on `base`, a commit's id, as a branch; gives the name that it got.

    A branch of that name with the same content is taken as made before; one with other content is left, and
    the next free of `name-2`, `name-3` is made. Raises RepositoryState, DiskFull, NotARepository.
    """
    place = locate(repo)
    with tempfile.TemporaryDirectory(prefix="adi-branch-", ignore_cleanup_errors=True) as folder:
        git = Shadow.of(place.root, Path(folder))
        env = {
            **_AUTHOR,
            "GIT_OBJECT_DIRECTORY": str(place.common_dir / "objects"),
            "GIT_INDEX_FILE": str(Path(folder) / "index"),
        }
        tree = _tree(git, env, base, patch)
        commit = git.git("commit-tree", tree, "-p", base, stdin=message.encode(), env=env).decode().strip()
        for candidate in _names(name):
            if _add(git, place, candidate, commit):
                return candidate
            there = read_ref(place, f"refs/heads/{candidate}")
            if there and _same(git, env, there, tree, base):
                return candidate
    raise RepositoryState(f"no branch {name} could be made in {place.root}", "look at: git branch --list")


def _names(name: str) -> Iterator[str]:
    yield name
    yield from (f"{name}-{number}" for number in range(2, _TRIES))


def _tree(git: Shadow, env: dict[str, str], base: str, patch: bytes) -> str:
    git.git("read-tree", base, env=env)
    if patch.strip():
        git.git("apply", "--cached", "--whitespace=nowarn", "-", stdin=patch, env=env)
    return git.git("write-tree", env=env).decode().strip()


def _add(git: Shadow, place: Place, name: str, commit: str) -> bool:
    """Add the ref if there is none of that name, nor one in its way."""
    done = git.run(
        "-c", f"core.hooksPath={os.devnull}", "update-ref", "--no-deref", f"refs/heads/{name}", commit,
        "0" * len(commit), env={"GIT_DIR": str(place.common_dir)},
    )  # fmt: skip
    return done.returncode == 0


def _same(git: Shadow, env: dict[str, str], commit: str, tree: str, base: str) -> bool:
    """True for a commit of this tree upon this base."""
    shown = git.run("cat-file", "commit", commit, env=env).stdout.split(b"\n\n")[0].split(b"\n")
    return f"tree {tree}".encode() in shown and f"parent {base}".encode() in shown
