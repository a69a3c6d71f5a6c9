"""What two data sets have in common, row by row: what came, what went, what changed its split."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from feedback.folder import manifest_of


@dataclass(frozen=True, slots=True)
class Difference:
    """Of one configuration, in rows."""

    config: str
    same: int
    added: tuple[str, ...]
    """Record ids that only the second has."""
    removed: tuple[str, ...]
    moved: tuple[str, ...]
    """In both, in another split."""


def compare(first: Path, second: Path) -> list[Difference]:
    """Differences of each configuration that one of them has. Raises DataError for what is no data set."""
    old, new = _ids(first), _ids(second)
    return [
        Difference(
            config,
            same=sum(before.get(name) == split for name, split in after.items()),
            added=tuple(sorted(after.keys() - before.keys())),
            removed=tuple(sorted(before.keys() - after.keys())),
            moved=tuple(sorted(name for name in before.keys() & after.keys() if before[name] != after[name])),
        )
        for config in sorted(old.keys() | new.keys())
        for before, after in [(old.get(config, {}), new.get(config, {}))]
    ]


def asked_otherwise(first: Path, second: Path) -> dict[str, tuple[Any, Any]]:
    """Parts of the query, and of the program, that differ."""
    old, new = manifest_of(first), manifest_of(second)
    before = {
        **old.get("query", {}),
        "adi_version": old.get("adi_version"),
        "runs_read": old.get("runs_read"),
    }
    after = {**new.get("query", {}), "adi_version": new.get("adi_version"), "runs_read": new.get("runs_read")}
    names = sorted(before.keys() | after.keys())
    return {
        name: (before.get(name), after.get(name)) for name in names if before.get(name) != after.get(name)
    }


def _ids(folder: Path) -> Mapping[str, dict[str, str]]:
    """Configuration -> record id -> split."""
    from pyarrow import parquet

    found = dict[str, dict[str, str]]()
    for entry in manifest_of(folder)["files"]:
        if str(entry["path"]).endswith(".parquet"):
            rows = parquet.read_table(folder / entry["path"], columns=["record_id"]).column(0).to_pylist()
            found.setdefault(str(entry["config"]), {}).update(dict.fromkeys(rows, str(entry["split"])))
    return found
