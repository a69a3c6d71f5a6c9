"""Whether a data set on disk is what its manifest says, and what a trainer may load.

Each check gives problems in words; none means that it holds. Nothing of the folder is executed: a file that
could be (pickles, scripts of a loader) is a problem by itself (case L06).
"""

import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any, Final

from feedback import secrets, splits
from feedback.errors import DataError
from feedback.folder import MANIFEST, manifest_of
from feedback.formats import FORMATS

DATA: Final = frozenset({".parquet", ".json", ".jsonl", ".md"})
"""Kinds of files that a data set may hold."""
SHOWN: Final = 5
"""Problems of one kind that are told one by one."""
NEEDED: Final[Mapping[str, Mapping[str, str]]] = {
    "sft": {"messages": "list", "tools": "string"},
    "prompt_completion": {"prompt": "list", "completion": "list"},
    "infill": {"prompt": "string", "completion": "string"},
    "preference": {"prompt": "list", "chosen": "list", "rejected": "list"},
    "infill_preference": {"prompt": "string", "chosen": "string", "rejected": "string"},
    "unpaired": {"prompt": "list", "completion": "list", "label": "bool"},
    "infill_unpaired": {"prompt": "string", "completion": "string", "label": "bool"},
    "rewards": {"prompt": "list"},
    "pretokenised": {"input_ids": "list", "labels": "list"},
}
"""What trainers of the TRL kind look for (dataset formats of TRL 1.16), by configuration."""


@dataclass(frozen=True, slots=True)
class Checked:
    """One check: its name, how much it looked at, and what is wrong."""

    name: str
    looked_at: int
    problems: tuple[str, ...]


def validate(folder: Path) -> list[Checked]:
    """All checks, in their order. Raises DataError for a folder that is no data set."""
    manifest = manifest_of(folder)
    files = _files(manifest, folder)
    found = [
        _check("files", len(files), _strangers(folder, files)),
        _check("hashes", len(files), _hashes(folder, files)),
    ]
    if any(check.problems for check in found):
        return found  # what is not as it was written is not read any further
    tables = dict(_tables(folder, files))
    every = [(name, row) for name, rows in tables.items() for row in rows]
    return [
        *found,
        _check("loads by name", len(tables), _loads(folder, files)),
        _check("columns", len(tables), _columns(folder, files)),
        _check("rows", len(every), _rows(tables)),
        _check("consent and licence", len(every), _allowed(every, manifest)),
        _check("secrets", len(every), _secrets(every)),
        _check("splits", len(every), _leaks(tables, manifest)),
        _check("runs", len(every), _traced(every, manifest)),
    ]


def _check(name: str, looked_at: int, problems: Iterator[str]) -> Checked:
    told = list(problems)
    rest = [f"and {len(told) - SHOWN} more"] if len(told) > SHOWN else []
    return Checked(name, looked_at, tuple(told[:SHOWN] + rest))


def _files(manifest: Mapping[str, Any], folder: Path) -> dict[str, dict[str, Any]]:
    try:
        found = {str(entry["path"]): dict(entry) for entry in manifest["files"]}
    except (KeyError, TypeError, ValueError) as error:
        raise DataError(f"{folder / MANIFEST} does not list its files", "make the data set again") from error
    for path in found:
        pure = PurePosixPath(path)
        if pure.is_absolute() or ".." in pure.parts:
            raise DataError(f"{folder / MANIFEST} names {path}, outside of the folder")
    return found


def _strangers(folder: Path, files: Mapping[str, Any]) -> Iterator[str]:
    """Files that the manifest does not name, links, and kinds that could run code."""
    for path in sorted(folder.rglob("*")):
        name = path.relative_to(folder).as_posix()
        if path.is_symlink():
            yield f"{name} is a link"
        elif path.is_file() and path.suffix not in DATA:
            yield f"{name} is no kind of file that a data set holds; it is not read"
        elif path.is_file() and name != MANIFEST and name not in files:
            yield f"{name} is not in the manifest"
    for name in files:
        if not (folder / name).is_file():
            yield f"{name} is missing"


def _hashes(folder: Path, files: Mapping[str, dict[str, Any]]) -> Iterator[str]:
    for name, entry in files.items():
        path = folder / name
        if path.is_file() and not path.is_symlink():
            with path.open("rb") as file:
                digest = hashlib.file_digest(file, "sha256").hexdigest()
            if digest != entry["sha256"]:
                yield f"{name} was changed after it was written"


def _parquet(folder: Path, files: Mapping[str, dict[str, Any]]) -> Iterator[tuple[str, str, Path]]:
    """Configuration, split and place of each Parquet file."""
    for name, entry in files.items():
        if name.endswith(".parquet"):
            yield str(entry["config"]), str(entry["split"]), folder / name


def _tables(folder: Path, files: Mapping[str, dict[str, Any]]) -> Iterator[tuple[str, list[dict[str, Any]]]]:
    from pyarrow import parquet

    found = dict[str, list[dict[str, Any]]]()
    for config, _, path in _parquet(folder, files):
        found.setdefault(config, []).extend(parquet.read_table(path).to_pylist())
    yield from found.items()


def _loads(folder: Path, files: Mapping[str, dict[str, Any]]) -> Iterator[str]:
    """Through `datasets`: Parquet by the names in the card, JSON lines as files; counts as manifested."""
    import tempfile

    import datasets

    datasets.disable_progress_bars()
    for config in dict.fromkeys(str(entry["config"]) for entry in files.values() if entry["config"]):
        own = {name: entry for name, entry in files.items() if entry["config"] == config}
        rows = sum(int(entry["rows"]) for entry in own.values())
        lines = [str(folder / name) for name in own if name.endswith(".jsonl")]
        how: dict[str, Any] = {"path": "json", "data_files": lines, "parse_agent_traces": False}
        if not lines:
            how = {"path": str(folder), "name": config}
        with tempfile.TemporaryDirectory(prefix="adi-validate-") as cache:
            try:
                loaded = datasets.load_dataset(**how, cache_dir=cache)
                count = sum(split.num_rows for split in loaded.values())
            except Exception as error:  # noqa: BLE001 - whatever a loader raises is the finding
                yield f"{config} does not load: {type(error).__name__}: {str(error).splitlines()[0][:200]}"
                continue
        if count != rows:
            yield f"{config} loads {count} rows, its manifest says {rows}"


def _columns(folder: Path, files: Mapping[str, dict[str, Any]]) -> Iterator[str]:
    from pyarrow import parquet, types

    for config, _, path in _parquet(folder, files):
        schema = parquet.read_schema(path)
        form = FORMATS.get(config)
        if form is None or not schema.remove_metadata().equals(form.schema()):
            yield f"{path.name} of {config} does not have the columns of its configuration"
        for column, kind in NEEDED.get(config, {}).items():
            right = {"list": types.is_list, "string": types.is_string, "bool": types.is_boolean}[kind]
            if column not in schema.names or not right(schema.field(column).type):
                yield f"{config} needs a column {column} of the kind {kind}"


def _rows(tables: Mapping[str, Sequence[Mapping[str, Any]]]) -> Iterator[str]:
    for config, rows in tables.items():
        ids = [row["record_id"] for row in rows]
        if len(set(ids)) != len(ids):
            yield f"{config} has {len(ids) - len(set(ids))} rows twice"
        for row in rows:
            if empty := [name for name in NEEDED.get(config, {}) if row[name] is None or row[name] == []]:
                yield f"{config} {row['record_id']}: {empty[0]} is empty"
            if config == "pretokenised" and len(row["input_ids"]) != len(row["labels"]):
                yield f"{config} {row['record_id']}: {len(row['input_ids'])} ids, {len(row['labels'])} labels"
            if config == "pretokenised" and all(label == -100 for label in row["labels"]):
                yield f"{config} {row['record_id']}: nothing in it is trained"


def _allowed(every: Sequence[tuple[str, Mapping[str, Any]]], manifest: Mapping[str, Any]) -> Iterator[str]:
    anything = bool(manifest.get("query", {}).get("any_licence"))
    for config, row in every:
        if json.loads(row["consent"]).get("status") != "granted":
            yield f"{config} {row['record_id']} has no consent"
        if not anything and not row["license_permissive"]:
            yield f"{config} {row['record_id']} is under {row['license'] or 'no known licence'}"


def _secrets(every: Sequence[tuple[str, Mapping[str, Any]]]) -> Iterator[str]:
    for config, row in every:
        for found in secrets.find(json.dumps(row, ensure_ascii=False, default=str)):
            yield f"{config} {row['record_id']} holds what looks like a secret ({found.detector})"


def _leaks(tables: Mapping[str, Sequence[Mapping[str, Any]]], manifest: Mapping[str, Any]) -> Iterator[str]:
    by_time = bool(manifest.get("query", {}).get("by_time"))
    yield from splits.leaks([row for rows in tables.values() for row in rows], by_time=by_time)


def _traced(every: Sequence[tuple[str, Mapping[str, Any]]], manifest: Mapping[str, Any]) -> Iterator[str]:
    runs = {str(run) for run in manifest.get("runs", ())}
    for config, row in every:
        if row["trajectory_id"] not in runs:
            yield f"{config} {row['record_id']} names run {row['trajectory_id']}, which the manifest does not"
