"""The licence that a repository is under: what its manifests, its licence files and its headers say.

All of it is read as data, bounded, and nothing is run. Where they disagree the stricter holds: what is not
permissive before what is, what cannot be told before both. Unknown is never permissive.
"""

import itertools
import os
import re
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Final, Literal

from feedback.candidate import Licence
from feedback.licence_manifests import is_manifest, said_by
from feedback.licence_names import PERMISSIVE as PERMISSIVE
from feedback.licence_names import both, ids, is_permissive, named, normalised
from feedback.licence_texts import recognise
from sandbox.errors import SandboxError
from sandbox.repository import beginning

Source = Literal["manifest", "file", "header", "declared", "unknown"]

LARGEST: Final = 256 * 1024
"""Bytes that are read of a manifest or a licence's text."""
FILES: Final = 16
"""Most manifests and licence files."""
HEADERS: Final = 12
"""Most sources whose first lines are read for a header."""
HEADER: Final = 2_000
"""Characters of a source that may hold one."""
_ENTRIES: Final = 5_000
"""Names of a folder that are looked at."""

_TEXT: Final = re.compile(
    r"(?!.*(?:third|3rd|vendor|bundl|depend))(?:un)?(?:licen[cs]es?|copying)(?:[.\-_][\w.\-]*)?",
    re.IGNORECASE,
)
_CODE: Final = re.compile(
    r"\.(?:py|js|ts|go|rs|java|c|h|cc|cpp|hpp|rb|php|sh|json|ya?ml|toml|html?|xml)$", re.IGNORECASE
)
_REUSE: Final = "LICENSES"
"""The folder in which the REUSE specification keeps licences, each under its SPDX id."""
_TAG: Final = re.compile(
    r"^[ \t]*(?:#+|//+|/?\*+|--|;+|%+|<!--|\"\"\"|\(\*)?[ \t]*SPDX-License-Identifier:[ \t]*(.{1,300}?)"
    r"[ \t]*(?:\*/|-->|\*\)|\"\"\")?[ \t]*\r?$",
    re.MULTILINE,
)


def detect(files: Mapping[str, str]) -> Licence:
    """From texts by path, `/` between names: manifests and licences at the top, headers of all the others."""
    names = sorted(files)
    manifests = [files[name] for name in names if is_manifest(name)]
    said = [said_by(name, text) for name, text in zip(filter(is_manifest, names), manifests, strict=True)]
    texts = [_of_file(name, files[name]) for name in names if _is_text(name)]
    sources = (files[name] for name in names if not _is_text(name) and not is_manifest(name))
    headers = [named(tag[1]) for text in sources if (tag := _TAG.search(text[:HEADER]))]
    found = Licence()
    sides: tuple[tuple[Source, list[str | None]], ...] = (
        ("manifest", said), ("file", texts), ("header", headers),
    )  # fmt: skip
    for source, expressions in sides:
        told = [spdx for spdx in expressions if spdx is not None]
        if told:
            found = _stricter(found, _made(both(told), source))
    return found


def of_folder(root: Path) -> Licence:
    """From a folder on disk, such as a work tree; what cannot be read says nothing. Raises no OSError.

    Links are followed inside the folder only, special files not at all.
    """
    top = _names(root)
    wanted = [name for name in top if is_manifest(name) or _is_text(name)][:FILES]
    wanted += [f"{_REUSE}/{name}" for name in _names(root / _REUSE)][: FILES // 2]
    sources = itertools.islice((name for name in _sources(root, top) if name not in wanted), HEADERS)
    sizes = {**dict.fromkeys(sources, HEADER), **dict.fromkeys(wanted, LARGEST)}
    texts = {name: _read(root, name, size) for name, size in sizes.items()}
    return detect({name: text for name, text in texts.items() if text is not None})


def licence(said: str, source: Source) -> Licence:
    """From a name or an expression that was recorded or declared; unknown where it cannot be told."""
    spdx = normalised(said)
    return _made(spdx, source) if spdx else Licence()


def _made(spdx: str, source: Source) -> Licence:
    return Licence(spdx=spdx, source=source, permissive=bool(spdx) and is_permissive(spdx))


def _stricter(one: Licence, other: Licence) -> Licence:
    """What holds where two sources speak; `one` is the more exact of them, as a manifest knows of choices."""
    if one == Licence():
        return other
    if not one.spdx or not other.spdx:
        return other if one.spdx else one
    mine, theirs = ids(one.spdx), ids(other.spdx)
    if theirs == mine or (theirs < mine and other.permissive >= one.permissive):
        return one
    if one.permissive != other.permissive:
        return other if one.permissive else one
    return _made(both([one.spdx, other.spdx]), other.source)


def _is_text(path: str) -> bool:
    folder, _, name = path.rpartition("/")
    if folder == _REUSE:
        return True
    return not folder and _TEXT.fullmatch(name) is not None and _CODE.search(name) is None


def _of_file(path: str, text: str) -> str | None:
    """By its text; a text of REUSE that is not known is what its name says."""
    said = recognise(text)
    if not said and path.startswith(f"{_REUSE}/"):
        return normalised(path.rpartition("/")[2].removesuffix(".txt"))
    return said


def _sources(root: Path, top: Iterable[str]) -> Iterator[str]:
    """Sources at the top, then in the folders that hold most of a project's own."""
    yield from (name for name in top if _CODE.search(name))
    for folder in ("src", "lib", root.name.replace("-", "_")):
        if folder in top:
            yield from (f"{folder}/{name}" for name in _names(root / folder) if _CODE.search(name))


def _names(folder: Path) -> list[str]:
    try:
        with os.scandir(folder) as entries:
            return sorted(entry.name for entry in itertools.islice(entries, _ENTRIES))
    except (OSError, ValueError):
        return []


def _read(root: Path, name: str, size: int) -> str | None:
    """The beginning of a regular file inside the folder; None for anything else."""
    try:
        path = (root / name).resolve(strict=True)
        if not path.is_relative_to(root.resolve()):
            return None
        return beginning(path, size).decode("utf-8", "replace")
    except (OSError, ValueError, RuntimeError, SandboxError):
        return None
