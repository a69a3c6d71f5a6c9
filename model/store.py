"""Model files on this disk: where they are, whether they are right."""

import hashlib
import os
from dataclasses import dataclass
from pathlib import Path

from model.catalogue import Catalogue, Entry
from model.errors import ModelMissing


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


def is_right(path: Path, entry: Entry) -> bool:
    """Whether the file's bytes are the catalogue's."""
    return path.is_file() and file_sha256(path) == entry.sha256
