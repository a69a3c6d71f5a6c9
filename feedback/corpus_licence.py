"""The licence of each file: its own header, else the licence text nearest above it, else the repository's.

What the owner declares takes the place of what the repository says as a whole. It does not cover files that
name another licence in their first lines, nor folders with a licence text of their own that is recognised:
those are usually other people's work.
"""

import re
from collections.abc import Callable, Mapping
from contextlib import suppress
from functools import cached_property
from typing import Final

from feedback.candidate import Licence
from feedback.corpus_files import Source, text_of
from feedback.corpus_rules import in_folders
from feedback.licence_manifests import is_manifest
from sandbox.errors import UnsafePath

HEADER_CHARS: Final = 2000
"""Characters at the beginning of a file in which a header is looked for."""
_TAG: Final = "SPDX-License-Identifier"
_LARGEST: Final = 256 * 1024
_DOCS: Final = ("doc", "docs", "documentation")
"""Folders in which a text about licences is a page about them."""
_NAME = re.compile(r"(?i)(?:un)?(?:licen[cs]es?|copying)(?:[.\-_][\w.\-]*)?")
_CODE_ENDS = re.compile(r"(?i)\.(?:py|js|ts|go|rs|java|c|h|cc|cpp|rb|php|sh|json|ya?ml|html?|xml)$")


class Licences:
    """Of one repository; texts are read when they are first needed."""

    def __init__(
        self, source: Source, declared: Licence, detect: Callable[[Mapping[str, str]], Licence]
    ) -> None:
        self._source = source
        self._declared = declared
        self._detect = detect

    def of_repository(self) -> Licence:
        """As declared, else as the folder that was named says, else as the top says."""
        if self._declared.spdx:
            return self._declared
        own = self._source.prefix.rstrip("/")
        return self._by_folder.get(own, self._top) if own else self._top

    def of_file(self, path: str, text: str) -> Licence:
        """Unknown where a header or the nearest text cannot be told."""
        head = text[:HEADER_CHARS]
        if _TAG in head and (found := self._detect({"header": head})).source == "header":
            return found
        folder = path.rpartition("/")[0]
        while folder:
            found = self._by_folder.get(folder, Licence())
            if folder in self._by_folder and (found.spdx or not self._declared.spdx):
                return found
            folder = folder.rpartition("/")[0]
        return self._declared if self._declared.spdx else self._top

    @cached_property
    def _top(self) -> Licence:
        texts = {path: self._read(path) for path in self._source.paths() if "/" not in path and _tells(path)}
        named = {path: self._read(path) for path in self._source.paths() if path.startswith("LICENSES/")}
        return self._detect(texts | named)

    @cached_property
    def _by_folder(self) -> dict[str, Licence]:
        """Folders below the top that hold a licence text -> what it tells, with the manifests beside it."""
        folders = dict[str, dict[str, str]]()
        for path in self._source.paths():
            folder, _, name = path.rpartition("/")
            if folder and folder != "LICENSES" and is_licence_text(name) and not in_folders(path, _DOCS):
                folders.setdefault(folder, {})
        for path in self._source.paths():
            folder, _, name = path.rpartition("/")
            if folder in folders and _tells(name):
                folders[folder][name] = self._read(path)
        return {folder: self._detect(texts) for folder, texts in folders.items()}

    def _read(self, path: str) -> str:
        if self._source.size(path) > _LARGEST:
            return ""
        with suppress(OSError, UnsafePath):
            return text_of(self._source.read(path))[0]
        return ""


def is_licence_text(name: str) -> bool:
    """Whether a file is called as texts of licences are: `LICENSE`, `COPYING.txt`, `UNLICENSE`."""
    return _NAME.fullmatch(name) is not None and _CODE_ENDS.search(name) is None


def _tells(name: str) -> bool:
    return is_licence_text(name) or is_manifest(name)
