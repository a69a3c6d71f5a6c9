"""Reads the texts of a corpus that was written, each as its file was: what continued training begins with."""

import hashlib
from pathlib import Path
from typing import Final

from feedback.errors import DataError
from feedback.folder import manifest_of

_MAKE: Final = "adi data corpus REPO --local --to FOLDER"


def texts(folder: Path, split: str = "train") -> list[str]:
    """Texts of one split, in their order. Raises DataError for a folder that is no corpus, or was changed."""
    import pyarrow
    import pyarrow.parquet

    manifest = manifest_of(folder)
    found = list[str]()
    for told in manifest["files"]:
        name = str(told["path"])
        if not (name.startswith(f"data/{split}-") and name.endswith(".parquet")):
            continue
        try:
            content = (folder / name).read_bytes()
            if hashlib.sha256(content).hexdigest() != told["sha256"]:
                raise DataError(f"{folder / name} is not as it was written", _MAKE)
            rows = pyarrow.parquet.read_table(pyarrow.BufferReader(content), columns=["content"])
        except (OSError, pyarrow.ArrowException, KeyError) as error:
            raise DataError(f"{folder / name} cannot be read", _MAKE) from error
        found += map(str, rows.column("content").to_pylist())
    return found
