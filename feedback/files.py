"""What finding checks needs of a repository's files."""

from typing import Protocol


class Files(Protocol):
    """A work copy, as far as detection looks at it."""

    def paths(self) -> list[str]: ...

    def read(self, path: str) -> bytes: ...

    def exists(self, path: str) -> bool: ...


def text_of(files: Files, path: str) -> str:
    """A file as text, empty when it is absent."""
    return files.read(path).decode("utf-8", "replace") if files.exists(path) else ""
