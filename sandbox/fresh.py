"""Makes small git repositories of given files: for the demo, for evaluation suites."""

import os
from collections.abc import Mapping
from pathlib import Path

from git import Git

_CLEAN = {
    "GIT_CONFIG_GLOBAL": os.devnull,
    "GIT_CONFIG_NOSYSTEM": "1",
    "GIT_AUTHOR_NAME": "ADI",
    "GIT_AUTHOR_EMAIL": "adi@localhost",
    "GIT_COMMITTER_NAME": "ADI",
    "GIT_COMMITTER_EMAIL": "adi@localhost",
}


def make_repository(directory: Path, files: Mapping[str, bytes]) -> None:
    """Write the files and commit them; the person's own git configuration plays no part."""
    for name, data in files.items():
        path = directory / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
    git = Git(str(directory))
    # Named outright: a surrounding git process, such as a hook, may have set these to its own repository.
    own = {"GIT_DIR": str(directory / ".git"), "GIT_WORK_TREE": str(directory)}
    git.update_environment(**_CLEAN, **own, GIT_INDEX_FILE=str(directory / ".git" / "index"))
    git.execute(["git", "init", "--quiet", "--initial-branch=main"])
    git.execute(["git", "add", "--all", "--force"])
    git.execute(["git", "commit", "--quiet", "--no-verify", "--allow-empty", "--message=The files as given"])
