"""Files of published Python packages for evaluation tasks: fetched once, checked, only unpacked."""

import gzip
import io
import tempfile
import zipfile
import zlib
from collections.abc import Iterator, Mapping
from pathlib import Path

from agent.settings import directories, load
from model.index import package_file
from sandbox import registries
from sandbox.archive import ArchiveCaps, read_archive
from sandbox.errors import CopyOutRefused, RegistryRefused
from sandbox.fresh import make_repository
from sandbox.paths import check_path
from sandbox.workcopy import WorkCopy, snapshot

_WHEELS: Mapping[str, tuple[tuple[str, str], ...]] = {
    "typeguard": (
        (
            "typeguard-4.5.1-py3-none-any.whl",
            "44d2bf329d49a244110a090b55f5f91aa82d9a9834ebfd30bcc73651e4a8cc40",
        ),
        (
            "typing_extensions-4.15.0-py3-none-any.whl",
            "f0fa19c6845758ab08074a0cfa8b7aecb71c999ca73d62883bc25cc018c4e548",
        ),
    ),
}
"""What a task may require beyond pytest: pure Python, with what it needs itself, pinned by SHA-256."""


def sdist_tree(requirement: str, sha256: str) -> dict[str, bytes]:
    """Files of a source distribution, `name==version`, without its top folder.

    Raises ValueError for an archive of another shape, and what model.index.package_file raises.
    """
    project, _, version = requirement.partition("==")
    path = _fetched(project, f"{project.replace('-', '_')}-{version}.tar.gz", sha256)
    try:
        files = read_archive(_unzipped(path), ArchiveCaps(total_bytes=256 * 1024**2)).files
    except (CopyOutRefused, EOFError, OSError, zlib.error) as error:
        raise ValueError(f"sdist: {path.name} cannot be unpacked: {error}") from error
    if len(tops := {name.partition("/")[0] for name in files}) != 1:
        raise ValueError(f"sdist: {path.name} has {len(tops)} top folders, not one")
    return {name.partition("/")[2]: data for name, data in files.items() if "/" in name}


def wheel_files(requirement: str) -> dict[str, bytes]:
    """Modules of a required package. Raises ValueError for an unknown one, and what package_file raises."""
    if requirement not in _WHEELS:
        raise ValueError(f"requires: no wheel is pinned for {requirement}")
    found: dict[str, bytes] = {}
    for name, sha256 in _WHEELS[requirement]:
        path = _fetched(name.partition("-")[0], name, sha256)
        with zipfile.ZipFile(io.BytesIO(path.read_bytes())) as wheel:
            for member in wheel.infolist():
                if not member.is_dir() and ".dist-info/" not in member.filename:
                    found[check_path(member.filename)] = wheel.read(member)
    return found


def patched(files: Mapping[str, bytes], patch: str) -> dict[str, bytes | None]:
    """What a patch makes of the files: path to new content, None where it deletes. Raises PatchError."""
    named = {line[6:] for line in patch.splitlines() if line.startswith(("--- a/", "+++ b/"))}
    with tempfile.TemporaryDirectory(prefix="adi-patch-") as folder:
        repo = Path(folder) / "repo"
        repo.mkdir()
        make_repository(repo, {path: data for path, data in files.items() if path in named})
        changed = WorkCopy(snapshot(repo, Path(folder) / "shadow")).patched(patch.encode()).changed()
    return {path: after for path, (_before, after) in changed.items()}


def _fetched(project: str, name: str, sha256: str) -> Path:
    """The file in ADI's cache. Raises RegistryRefused, and what package_file raises."""
    index = registries.parse(load().settings.sandbox.registries).indexes.get("pypi")
    if index is None:
        raise RegistryRefused("sandbox.registries names no index of Python packages", "add pypi+URL")
    return package_file(index, project, name, sha256, directories().cache / "packages")


def _unzipped(path: Path) -> Iterator[bytes]:
    with gzip.open(path) as stream:
        while chunk := stream.read(1 << 16):
            yield chunk
