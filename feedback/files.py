"""What finding checks needs of a repository's files."""

from typing import Protocol

from sandbox.manifest import MAX_CHARS


class Files(Protocol):
    """A work copy, as far as detection looks at it."""

    def paths(self) -> list[str]: ...

    def read(self, path: str) -> bytes: ...

    def size(self, path: str) -> int: ...

    def exists(self, path: str) -> bool: ...


def text_of(files: Files, path: str) -> str:
    """A file as text; empty when it is absent, or larger than a manifest or test file is."""
    if not files.exists(path) or files.size(path) > MAX_CHARS:
        return ""
    return files.read(path).decode("utf-8", "replace")
