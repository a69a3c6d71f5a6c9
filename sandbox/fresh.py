"""Makes small git repositories of given files: for the demo, for evaluation suites."""

import os
from collections.abc import Mapping
from pathlib import Path

from git import Git

from sandbox.paths import check_path
from sandbox.shadow import clean_environment, git_program

_AUTHOR = {
    f"GIT_{role}_{key}": value
    for role in ("AUTHOR", "COMMITTER")
    for key, value in (("NAME", "ADI"), ("EMAIL", "adi@localhost"))
}
# GitPython hands the whole environment of this process on, so what git obeys in it is overruled by name.
_OVERRULED = {"GIT_CONFIG_COUNT": "0", "GIT_CONFIG_PARAMETERS": "", "GIT_TEMPLATE_DIR": "", "GIT_TRACE": "0"}
_QUIET = (
    "-c", f"core.hooksPath={os.devnull}", "-c", f"core.attributesFile={os.devnull}", "-c",
    f"core.excludesFile={os.devnull}", "-c", "core.fsmonitor=false", "-c", "commit.gpgSign=false",
)  # fmt: skip


def make_repository(directory: Path, files: Mapping[str, bytes]) -> None:
    """Write the files and commit them; the person's own git configuration plays no part.

    Raises UnsafePath for a name that leads elsewhere or into git's own folder.
    """
    for name, data in files.items():
        path = directory / check_path(name)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
    git = Git(str(directory))
    # Named outright: a surrounding git process, such as a hook, may have set these to its own repository.
    own = {"GIT_DIR": str(directory / ".git"), "GIT_WORK_TREE": str(directory)}
    git.update_environment(
        **clean_environment(),
        **_OVERRULED,
        **_AUTHOR,
        **own,
        GIT_INDEX_FILE=str(directory / ".git" / "index"),
    )
    program = git_program()
    git.execute([program, *_QUIET, "init", "--quiet", "--initial-branch=main", "--template="])
    git.execute([program, *_QUIET, "add", "--all", "--force"])
    git.execute(
        [
            program,
            *_QUIET,
            "commit",
            "--quiet",
            "--no-verify",
            "--allow-empty",
            "--message=The files as given",
        ]
    )
