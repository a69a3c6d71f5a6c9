"""Which files the user's git would pass through a filter, such as LFS or git-crypt.

ADI runs no filter: what lies on the disk is copied, and what is accepted is written as it is. So that nobody
is surprised, the filters that attributes ask for are named. `git check-attr` only reads attribute files.
"""

import os
import subprocess
import tempfile
from collections import defaultdict
from collections.abc import Iterable, Mapping
from pathlib import Path

from sandbox.repository import Place, beginning
from sandbox.shadow import Shadow, clean_environment, git_program

_MAX_ATTRIBUTES = 1024**2
_POINTER = b"version https://git-lfs.github.com/spec/"
_POINTER_BYTES = 1024


def asked_for(place: Place, paths: Iterable[bytes]) -> bool:
    """True when an attributes file of these paths, of git's folder or of the user may name a filter."""
    inside = (
        place.root / os.fsdecode(path) for path in paths if path.rpartition(b"/")[2] == b".gitattributes"
    )
    return any(b"filter" in text for text in _outside(place)) or any(_asks(path) for path in inside)


def _outside(place: Place) -> list[bytes]:
    """Attributes that are not in the tree: git's own for the repository, and the user's."""
    files = [place.common_dir / "info" / "attributes", users_file("core.attributesFile", "attributes")]
    return [beginning(path, _MAX_ATTRIBUTES) if path.is_file() else b"" for path in files]


def filters(place: Place, shadow: Shadow, paths: Iterable[bytes]) -> dict[bytes, str]:
    """Filter names by path, of the paths that have one. Raises RepositoryState."""
    texts = _outside(place)
    with tempfile.TemporaryDirectory(dir=shadow.directory, prefix="attributes-") as folder:
        git_dir = Path(folder)
        for name in ("objects", "refs", "info"):
            (git_dir / name).mkdir()
        (git_dir / "HEAD").write_text("ref: refs/heads/none\n")
        (git_dir / "info" / "attributes").write_bytes(texts[0])
        (git_dir / "global").write_bytes(texts[1])
        shown = shadow.git(
            "-c", f"core.attributesFile={git_dir / 'global'}", "check-attr", "--stdin", "-z", "filter",
            stdin=b"".join(path + b"\0" for path in paths),
            env={"GIT_DIR": folder, "GIT_WORK_TREE": str(place.root)},
        ).split(b"\0")  # fmt: skip
    found = zip(shown[::3], shown[2::3], strict=False)
    none = (b"unspecified", b"unset")
    return {path: value.decode("utf-8", "replace") for path, value in found if value not in none}


def _asks(path: Path) -> bool:
    """True for an attributes file in the tree that may ask for filters; git follows no link there."""
    return path.is_file() and not path.is_symlink() and b"filter" in beginning(path, _MAX_ATTRIBUTES)


def notes(place: Place, found: Mapping[bytes, str]) -> list[str]:
    """One sentence for each filter, and one for LFS files whose content is not on this disk."""
    by_name: dict[str, list[bytes]] = defaultdict(list)
    for path, name in found.items():
        by_name[name].append(path)
    said = [
        f"git's filter {name!r} is not run: {_some(paths)} copied and written as they are on disk"
        for name, paths in sorted(by_name.items())
    ]
    pointers = [path for path in by_name.get("lfs", ()) if _is_pointer(place.root / os.fsdecode(path))]
    if pointers:
        said.append(
            f"LFS content is not on this disk: {_some(pointers)} only a pointer; git lfs pull fetches it"
        )
    return said


def _some(paths: list[bytes]) -> str:
    count = "1 file" if len(paths) == 1 else f"{len(paths)} files"
    return f"{count}, such as {os.fsdecode(min(paths))!r}, {'is' if len(paths) == 1 else 'are'}"


def _is_pointer(path: Path) -> bool:
    if path.is_symlink() or not path.is_file() or path.stat().st_size > _POINTER_BYTES:
        return False
    return beginning(path, len(_POINTER)) == _POINTER


def users_file(key: str, name: str) -> Path:
    """A file that the user's git configuration names, asked outside every repository, or git's default."""
    home = {
        key: value
        for key, value in os.environ.items()
        if key in ("HOME", "XDG_CONFIG_HOME", "GIT_CONFIG_GLOBAL")
    }
    done = subprocess.run(
        [git_program(), "config", "--global", "--type=path", "--get", key],
        env={**_without_global(), **home}, cwd="/", stdin=subprocess.DEVNULL, capture_output=True,
        check=False, timeout=20,
    )  # fmt: skip
    named = os.fsdecode(done.stdout).rstrip("\n")
    if named:
        return Path(named).expanduser()
    config = os.environ.get("XDG_CONFIG_HOME") or Path("~/.config").expanduser()
    return Path(config) / "git" / name


def _without_global() -> dict[str, str]:
    environment = clean_environment()
    del environment["GIT_CONFIG_GLOBAL"]
    return environment
