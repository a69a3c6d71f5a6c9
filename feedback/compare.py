"""What two data sets have in common, row by row: what came, what went, what changed its split."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from feedback.folder import manifest_of

PARTS: Final = ("adi_version", "held_out", "runs_read")
"""What a manifest tells besides the query that rows depend on."""


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
    before, after = (
        {**found.get("query", {}), **{name: found.get(name) for name in PARTS}}
        for found in map(manifest_of, (first, second))
    )
    pairs = {name: (before.get(name), after.get(name)) for name in sorted(before.keys() | after.keys())}
    return {name: (was, now) for name, (was, now) in pairs.items() if was != now}


def _ids(folder: Path) -> Mapping[str, dict[str, str]]:
    """Configuration -> record id -> split."""
    from pyarrow import parquet

    found = dict[str, dict[str, str]]()
    for entry in manifest_of(folder)["files"]:
        if str(entry["path"]).endswith(".parquet"):
            rows = parquet.read_table(folder / entry["path"], columns=["record_id"]).column(0).to_pylist()
            found.setdefault(str(entry["config"]), {}).update(dict.fromkeys(rows, str(entry["split"])))
    return found
