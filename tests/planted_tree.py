"""A repository of links that lead outside, with canaries there; results are really written into it."""

import hashlib
import os
import stat
import subprocess
from pathlib import Path

from hostile_tar import LINKS

from sandbox.errors import SandboxError
from sandbox.exchange import exchange
from sandbox.workcopy import WorkCopy, snapshot

Picture = dict[str, tuple[str, int, str]]
"""Path below a folder -> kind, mode, digest of the content or target of the link."""


def picture(root: Path, skip: str = "") -> Picture:
    """Everything below `root` as it is, no link followed; `skip` is one name at the top."""
    found: Picture = {}
    for folder, names, files in os.walk(root):
        if Path(folder) == root:
            names[:] = [name for name in names if name != skip]
        for name in (*names, *files):
            path = Path(folder) / name
            info = path.lstat()
            if stat.S_ISLNK(info.st_mode):
                content = str(path.readlink())
            else:
                content = hashlib.sha256(path.read_bytes()).hexdigest() if stat.S_ISREG(info.st_mode) else ""
            found[str(path.relative_to(root))] = (stat.filemode(info.st_mode)[0], info.st_mode, content)
    return found


class PlantedTree:
    """`root/repo` is the user's tree, everything else below `root` is outside of it and must never change."""

    def __init__(self, root: Path) -> None:
        self.root, self.repo, self.outside = root, root / "repo", root / "outside"
        self.outside.mkdir(parents=True)
        for name in ("canary", "x", "below", "a.py"):
            (self.outside / name).write_text("canary\n")
        (self.repo / "pkg").mkdir(parents=True)
        (self.repo / "src").mkdir()
        (self.repo / "a.py").write_text("x = 1\n")
        (self.repo / "src" / "c.py").write_text("y = 1\n")
        for name in ("link", "pkg/link", "up"):
            (self.repo / name).symlink_to(os.path.relpath(self.outside, (self.repo / name).parent))
        (self.repo / "abs").symlink_to(self.outside)
        (self.repo / "filelink").symlink_to("../outside/canary")
        (self.repo / "dangling").symlink_to("../outside/made")
        git = {"GIT_CONFIG_GLOBAL": os.devnull, "GIT_CONFIG_NOSYSTEM": "1"}
        for arguments in (
            ("init", "--quiet"),
            ("add", "--all"),
            ("-c", "user.name=a", "-c", "user.email=a@b", "commit", "-qm1"),
        ):
            subprocess.run(["git", *arguments], cwd=self.repo, check=True, env={**os.environ, **git})
        self.copied = snapshot(self.repo, root / "shadow")
        self._late = self.repo / "late"  # replaced by a link after the copy was made
        self._late.symlink_to(self.outside)
        self._start = picture(self.repo)
        self._rest = self._elsewhere()

    def _elsewhere(self) -> Picture:
        """All that is not the repository, ADI's shadow and its journal left out."""
        found = picture(self.root, skip="repo")
        return {path: seen for path, seen in found.items() if path.split("/")[0] not in ("shadow", "journal")}

    def place(self, files: dict[str, bytes]) -> tuple[int, str]:
        """Write the files as ADI does on acceptance, check where they went, and take them back.

        Gives the number of files written, and the name of the refusal if the exchange refused. Raises
        AssertionError when anything outside changed, or a link of the tree was replaced or followed.
        """
        copy = WorkCopy(self.copied)
        taken = copy.absorb(files)
        changes, refusal = copy.changed(), ""
        try:
            exchange(self.repo, changes, self.root / "journal", modes=copy.modes())
        except SandboxError as error:
            refusal = type(error).__name__
        now = picture(self.repo)
        assert self._elsewhere() == self._rest, "something outside of the tree changed"
        kept = {path: seen for path, seen in self._start.items() if path not in changes}
        assert {path: now.get(path) for path in kept} == kept, "a file that nobody named changed"
        if refusal:
            assert now == self._start, "a part was written although it was refused"
            return 0, refusal
        for path in taken:
            assert now[path][0] == "-", f"{path!r} is no regular file"
            assert not any(
                path == link or path.startswith(f"{link}/") for link in LINKS if link in self._start
            )
            assert (self.repo / path).read_bytes() == files[path]
        exchange(self.repo, {path: (new, old) for path, (old, new) in changes.items()}, self.root / "journal")
        for path in sorted(picture(self.repo).keys() - self._start.keys(), reverse=True):
            (self.repo / path).rmdir()  # folders stay after an undo, files must not
        assert picture(self.repo) == self._start, "undo left something"
        return len(taken), ""
