"""Reads evaluation suites, whatever their layout: what each row names, and its texts.

JSON lines (also gzipped), JSON and Parquet files, one task a row. Columns are known by their names.
"""

import gzip
import json
import re
import zlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import Any, Final

from feedback.errors import DataError

IDS: Final = ("instance_id", "task_id", "question_id", "problem_id", "id", "slug", "name")
COMMITS: Final = (
    "base_commit",
    "fix_commit",
    "commit",
    "base_sha",
    "head_commit",
    "environment_setup_commit",
)
PATCHES: Final = ("patch", "gold_patch", "test_patch", "fix_diff", "diff")
PROSE: Final = (
    "prompt", "problem_statement", "text", "title", "question", "instructions", "instruction", "description",
    "statement", "blurb", "docstring", "issue", "body", "hints_text", "messages",
)  # fmt: skip
CODE: Final = (
    "canonical_solution", "solution", "solutions", "code", "test", "tests", "test_list",
    "challenge_test_list", "test_setup_code", "buggy", "fixed", "reference", "files", "test_files", "stub",
    "completion", "answer",
)  # fmt: skip
CANARY: Final = ("canary", "canary_string", "canary_guid")
KINDS: Final = (".jsonl", ".jsonl.gz", ".json", ".parquet")
GUID: Final = re.compile(r"\b[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}\b", re.I)
_SHA: Final = re.compile(r"[0-9a-f]{12,64}", re.I)
_LEAVE: Final = "mend the file, or name only the other ones"


@dataclass(frozen=True, slots=True)
class Item:
    """One row: all that tells that something was made from it."""

    name: str
    """For the report, such as `django__django-11099`."""
    ids: tuple[str, ...] = ()
    commits: tuple[str, ...] = ()
    """Hexadecimal, 12 digits or more."""
    patches: tuple[str, ...] = ()
    prose: tuple[str, ...] = ()
    code: tuple[str, ...] = ()
    canaries: tuple[str, ...] = ()
    """Texts that were put in to be found again, in lower case."""


@dataclass(frozen=True, slots=True)
class Source:
    """A file of held-out rows."""

    name: str
    """Its folder and name, without the place on this machine."""
    sha256: str
    items: tuple[Item, ...]


def read_sources(paths: Sequence[Path]) -> Iterator[Source]:
    """Each file, those in folders by their names. Raises DataError, which names the file and the line."""
    for file in dict.fromkeys(file for path in paths for file in _files(path)):
        try:
            data = file.read_bytes()
        except OSError as error:
            raise DataError(
                f"cannot read {file}: {error.strerror}", "check the path and its rights"
            ) from error
        items = tuple(_item(file, number, row) for number, row in _rows(file, data))
        if not items:
            raise DataError(f"{file} holds no row", _LEAVE)
        if not any(item.commits or item.patches or item.prose or item.code for item in items):
            known = ", ".join((*COMMITS, *PATCHES, *PROSE, *CODE))
            raise DataError(f"{file}: no row has a text or a patch", f"columns that are known: {known}")
        yield Source(f"{file.resolve().parent.name}/{file.name}", sha256(data).hexdigest(), items)


def _files(path: Path) -> list[Path]:
    if path.is_file():
        return [path]
    if not path.is_dir():
        raise DataError(f"{path} does not exist", "check the path of the suite")
    found = sorted(file for file in path.rglob("*") if file.name.endswith(KINDS) and file.is_file())
    if not found:
        raise DataError(f"{path} holds no suite", f"files that end in {', '.join(KINDS)} are read")
    return found


def _rows(file: Path, data: bytes) -> Iterable[tuple[int, object]]:
    """Rows with the line, or the place in the file, where each one is."""
    if file.name.endswith(".gz"):
        try:
            data = gzip.decompress(data)
        except (OSError, EOFError, zlib.error) as error:
            raise DataError(f"{file} is no gzip file, or is cut: {error}", _LEAVE) from error
    if file.name.endswith(".parquet"):
        return enumerate(_parquet(file), 1)
    if file.name.endswith(".json"):
        return enumerate(_listed(file, _parsed(file, data, 0)), 1)
    lines = enumerate(data.split(b"\n"), 1)
    return ((number, _parsed(file, line, number)) for number, line in lines if line.strip())


def _parsed(file: Path, data: bytes, line: int) -> object:
    """The JSON value; `line` is 0 where the data is the whole file."""
    try:
        return json.loads(data.decode("utf-8-sig"))
    except UnicodeDecodeError as error:
        where = line or data.count(b"\n", 0, error.start) + 1
        raise DataError(f"{file} line {where}: not UTF-8", _LEAVE) from error
    except json.JSONDecodeError as error:
        raise DataError(f"{file} line {line or error.lineno}: not JSON ({error.msg})", _LEAVE) from error
    except RecursionError:
        raise DataError(f"{file} line {line or 1}: nested too deeply", _LEAVE) from None


def _listed(file: Path, value: object) -> list[object]:
    """The rows of a JSON file: a list, an object around one list, or an object of rows by their id."""
    if isinstance(value, list):
        return value
    if isinstance(value, dict):
        lists = [inner for inner in value.values() if isinstance(inner, list)]
        if len(lists) == 1 and lists[0] and all(isinstance(row, dict) for row in lists[0]):
            return list(lists[0])
        if value and all(isinstance(row, dict) for row in value.values()):
            return [{"id": name, **row} for name, row in value.items()]
        return [value]
    raise DataError(f"{file}: neither a list of rows nor an object", _LEAVE)


def _parquet(file: Path) -> list[object]:
    import pyarrow
    from pyarrow import parquet

    try:
        with parquet.ParquetFile(file) as opened:
            wanted = {*IDS, *COMMITS, *PATCHES, *PROSE, *CODE, *CANARY}
            columns = [name for name in opened.schema_arrow.names if name in wanted]
            return list(opened.read(columns=columns).to_pylist())
    except (pyarrow.ArrowException, OSError, UnicodeDecodeError) as error:
        said = str(error).partition("\n")[0]
        raise DataError(f"{file}: no Parquet file that can be read ({said})", _LEAVE) from error


def _item(file: Path, number: int, row: object) -> Item:
    if not isinstance(row, dict):
        raise DataError(f"{file} line {number}: a row is an object, not {type(row).__name__}", _LEAVE)
    told = [(key, str(row[key])) for key in IDS if isinstance(row.get(key), str | int) and str(row[key])]
    folder, stem = file.resolve().parent.name, file.name.partition(".")[0]
    # a bare number or word says nothing without its suite
    ids = [name for _, value in told for name in (value, f"{stem}/{value}", f"{folder}/{value}")]
    return Item(
        name=told[0][1] if told and not told[0][1].isdigit() else f"{stem}/{told[0][1] if told else number}",
        ids=tuple(dict.fromkeys(ids)),
        commits=tuple(text for text in _texts(row, COMMITS) if _SHA.fullmatch(text)),
        patches=tuple(_texts(row, PATCHES)),
        prose=tuple(_texts(row, PROSE)),
        code=tuple(_texts(row, CODE)),
        canaries=tuple(_canaries(row)),
    )


def _canaries(row: Mapping[str, Any]) -> Iterator[str]:
    yield from (text.strip().casefold() for text in _texts(row, CANARY) if len(text.strip()) >= 16)
    for text in _strings(dict(row)):
        folded = text.casefold()
        if "canary" in folded:
            yield from (
                guid[0] for line in folded.splitlines() if "canary" in line for guid in GUID.finditer(line)
            )


def _texts(row: Mapping[str, Any], columns: Sequence[str]) -> Iterator[str]:
    return (text for name in columns for text in _strings(row.get(name)) if text.strip())


def _strings(value: object) -> Iterator[str]:
    """All texts in a value, such as those of a list or of files by their paths."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, list | tuple):
        for inner in value:
            yield from _strings(inner)
    elif isinstance(value, dict):
        for inner in value.values():
            yield from _strings(inner)
