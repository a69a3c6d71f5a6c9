"""A data set as a folder: written beside its place and renamed at the end, so that a half one has no name.

Same rows, same bytes: rows come sorted, Parquet is written with fixed settings, and nothing in a file tells
the time or the machine. Every file is in `meta/manifest.json` with its SHA-256.
"""

import contextlib
import hashlib
import json
import os
import secrets
import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from feedback.errors import DataError

if TYPE_CHECKING:
    import pyarrow

MANIFEST: Final = "meta/manifest.json"
SCHEMA_VERSION: Final = 1
"""Of the layout and the columns; raised when a column changes its meaning."""


@dataclass(frozen=True, slots=True)
class Written:
    """One file of a data set."""

    path: str
    """Relative to the folder, with `/`."""
    sha256: str
    bytes: int
    rows: int
    """0 where the file holds no rows, such as the card."""
    config: str = ""
    split: str = ""


@dataclass(slots=True)
class Folder:
    """A folder that is being written."""

    root: Path
    files: list[Written] = field(default_factory=list)

    def text(self, path: str, text: str, rows: int = 0, config: str = "", split: str = "") -> None:
        """Write a file of text, UTF-8."""
        self._add(path, text.encode("utf-8"), rows, config, split)

    def json(self, path: str, value: object) -> None:
        """Write a document, its keys sorted."""
        self.text(path, json.dumps(value, indent=2, sort_keys=True, ensure_ascii=False) + "\n")

    def jsonl(self, path: str, rows: Sequence[dict[str, Any]], config: str = "", split: str = "") -> None:
        """Write one document a line."""
        lines = "".join(json.dumps(row, sort_keys=True, ensure_ascii=False) + "\n" for row in rows)
        self.text(path, lines, len(rows), config, split)

    def parquet(
        self, path: str, rows: Sequence[dict[str, Any]], schema: "pyarrow.Schema", config: str, split: str
    ) -> None:
        """Write rows as one Parquet file. Raises DataError where a row does not have the schema's types."""
        import pyarrow
        from pyarrow import parquet

        try:
            content = pyarrow.Table.from_pylist(list(rows), schema=schema)
        except (pyarrow.ArrowInvalid, pyarrow.ArrowTypeError, UnicodeError) as error:
            raise DataError(f"rows of {config} do not fit their columns: {error}") from error
        sink = pyarrow.BufferOutputStream()
        parquet.write_table(content, sink, compression="zstd", version="2.6", row_group_size=10_000)
        self._add(path, sink.getvalue().to_pybytes(), len(rows), config, split)

    def _add(self, path: str, content: bytes, rows: int, config: str, split: str) -> None:
        target = self.root / path
        target.parent.mkdir(parents=True, exist_ok=True)
        with target.open("xb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        sha256 = hashlib.sha256(content).hexdigest()
        self.files.append(Written(path, sha256, len(content), rows, config, split))


@contextmanager
def writing(target: Path, *, replace: bool = False) -> Iterator[Folder]:
    """A new folder that gets its name when the block ends well, and is gone when it does not.

    `replace` takes the place of a data set of ours that is there; what is no data set is never replaced.
    Raises DataError for a place that is taken or cannot be written.
    """
    target = target.absolute()
    if (target.exists() or target.is_symlink()) and not (replace and _is_ours(target)):
        kind = "is a data set already" if _is_ours(target) else "exists and is no data set"
        hint = "add --force to replace it" if _is_ours(target) else "name a folder that is not there yet"
        raise DataError(f"{target} {kind}", hint)
    fresh = target.with_name(f".{target.name}.partial-{secrets.token_hex(4)}")
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        fresh.mkdir()
    except OSError as error:
        raise DataError(f"{target.parent} cannot be written: {error.strerror}") from error
    try:
        folder = Folder(fresh)
        yield folder
        _take_place(fresh, target)
    except OSError as error:
        raise DataError(f"{target} could not be written: {error.strerror or error}", _room(error)) from error
    finally:
        shutil.rmtree(fresh, ignore_errors=True)


def _take_place(fresh: Path, target: Path) -> None:
    if target.exists():
        old = target.with_name(f".{target.name}.old-{secrets.token_hex(4)}")
        target.rename(old)
        try:
            fresh.rename(target)
        except OSError:
            old.rename(target)
            raise
        shutil.rmtree(old, ignore_errors=True)
    else:
        fresh.rename(target)
    with contextlib.suppress(OSError):  # some file systems cannot
        handle = os.open(target.parent, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)


def _is_ours(target: Path) -> bool:
    return target.is_dir() and not target.is_symlink() and (target / MANIFEST).is_file()


def _room(error: OSError) -> str:
    return "free some room, or name another disk" if error.errno in (28, 122) else ""


def manifest_of(folder: Path) -> dict[str, Any]:
    """The manifest of a data set. Raises DataError for what is none, or of a newer ADI."""
    path = folder / MANIFEST
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
        version = int(found["schema_version"])
    except FileNotFoundError as error:
        raise DataError(
            f"{folder} is no data set of ADI: it has no {MANIFEST}", "adi data export FOLDER"
        ) from error
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise DataError(f"{path} cannot be read: {error}", "make the data set again") from error
    if version > SCHEMA_VERSION:
        raise DataError(
            f"{folder} was written by a newer ADI (schema {version}, this one knows {SCHEMA_VERSION})"
        )
    return dict(found)
