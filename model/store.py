"""Model files on this disk: where they are, whether they are right."""

import hashlib
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from model.catalogue import Catalogue, Entry
from model.errors import ModelMissing

CONVERTED = Path("models") / "torch"
"""Below the data directory: GGUF files as safetensors, and remembered hashes."""


@dataclass(frozen=True, slots=True)
class Found:
    """A model file that lies on this disk; `sha256` is empty for a path the catalogue does not know."""

    name: str
    path: Path
    sha256: str = ""


class Store:
    """The models directory, seen through the catalogue."""

    def __init__(self, folder: Path, catalogue: Catalogue) -> None:
        self.folder = folder
        self.catalogue = catalogue

    def target(self, name: str) -> Path:
        """Where a model's file belongs."""
        return self.folder / (self.catalogue.entry(name).file or f"{name}.gguf")

    def find(self, name: str) -> Found:
        """A catalogue name or a path. Raises UnknownModel, or ModelMissing when the file is not here."""
        path = Path(name).expanduser()
        if name not in self.catalogue.models and (os.sep in name or path.suffix == ".gguf"):
            if path.is_file():
                return Found(path.stem, path.resolve())
            raise ModelMissing(f"there is no model file {path}", "adi model list")
        entry = self.catalogue.entry(name)
        places = [self.target(name), *(local.expanduser() for local in entry.local)]
        for place in places:
            if place.is_file() and (not entry.size or place.stat().st_size == entry.size):
                return Found(name, place.resolve(), entry.sha256)
        raise ModelMissing(f"the model {name} is not on this disk", f"adi model pull {name}")


def file_sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def content_hash(files: Sequence[Path], cache: Path) -> str:
    """SHA-256 as hex, of one file its own; what was read once is remembered by its size and time."""
    found = [_remembered(path, cache) for path in files]
    return found[0] if len(found) == 1 else hashlib.sha256("\n".join(found).encode()).hexdigest()


def _remembered(path: Path, cache: Path) -> str:
    state = path.resolve().stat()
    note = cache / "hashes" / f"{state.st_dev:x}-{state.st_ino:x}-{state.st_size:x}-{state.st_mtime_ns:x}"
    if not note.is_file():
        note.parent.mkdir(parents=True, exist_ok=True)
        new = note.with_name(f"{note.name}.{os.getpid()}")
        new.write_text(file_sha256(path), "ascii")
        new.replace(note)
    return note.read_text("ascii")


def is_right(path: Path, entry: Entry) -> bool:
    """Whether the file's bytes are the catalogue's."""
    return path.is_file() and file_sha256(path) == entry.sha256
