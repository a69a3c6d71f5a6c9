"""Tests of the folder of a data set: all or nothing under its name, the same bytes for the same rows."""

import errno
import json
import os
from pathlib import Path

import pyarrow
import pytest

from feedback.errors import DataError
from feedback.folder import MANIFEST, manifest_of, writing

SCHEMA = pyarrow.schema([("name", pyarrow.string()), ("count", pyarrow.int64())])
ROWS = [{"name": "a", "count": 1}, {"name": "ü\x00", "count": None}]


def filled(target: Path, *, replace: bool = False, rows: list[dict[str, object]] = ROWS) -> None:
    with writing(target, replace=replace) as folder:
        folder.parquet("rows/train.parquet", rows, SCHEMA, "rows", "train")
        folder.jsonl("jsonl/rows.jsonl", rows)
        folder.json(MANIFEST, {"schema_version": 1, "files": []})


def everything(target: Path) -> dict[str, bytes]:
    return {
        path.relative_to(target).as_posix(): path.read_bytes()
        for path in sorted(target.rglob("*"))
        if path.is_file()
    }


def test_same_rows_same_bytes(tmp_path: Path) -> None:
    filled(tmp_path / "one")
    filled(tmp_path / "two")
    assert everything(tmp_path / "one") == everything(tmp_path / "two")
    assert [json.loads(line) for line in (tmp_path / "one/jsonl/rows.jsonl").read_text().splitlines()] == ROWS


def test_nothing_half_written_keeps_the_name(tmp_path: Path) -> None:
    def interrupted() -> None:
        with writing(tmp_path / "out") as folder:
            folder.text("README.md", "half")
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    assert list(tmp_path.iterdir()) == []


def test_a_full_disk_is_one_sentence_and_leaves_nothing(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="could not be written") as failed, writing(tmp_path / "out"):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
    assert "free some room" in failed.value.hint
    assert list(tmp_path.iterdir()) == []


def test_a_folder_that_is_there_stays(tmp_path: Path) -> None:
    foreign = tmp_path / "photos"
    foreign.mkdir()
    (foreign / "cat.jpg").write_bytes(b"meow")
    for replace in (False, True):
        with pytest.raises(DataError, match="is no data set"):
            filled(foreign, replace=replace)
    filled(tmp_path / "out")
    with pytest.raises(DataError, match="is a data set already") as failed:
        filled(tmp_path / "out")
    assert "--force" in failed.value.hint
    assert everything(foreign) == {"cat.jpg": b"meow"}


def test_force_takes_the_place_of_a_data_set_only_when_the_new_one_is_whole(tmp_path: Path) -> None:
    filled(tmp_path / "out")
    before = everything(tmp_path / "out")
    with pytest.raises(DataError, match="do not fit their columns"):
        filled(tmp_path / "out", replace=True, rows=[{"name": 1, "count": "x"}])
    assert everything(tmp_path / "out") == before
    filled(tmp_path / "out", replace=True, rows=ROWS[:1])
    assert everything(tmp_path / "out") != before
    assert [path.name for path in tmp_path.iterdir()] == ["out"]


def test_what_is_no_data_set_or_a_newer_one_is_told(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="is no data set of ADI"):
        manifest_of(tmp_path)
    (tmp_path / "meta").mkdir()
    wrong = {"{": "cannot be read", "[]": "cannot be read", '{"schema_version": 99}': "newer ADI"}
    for text, told in wrong.items():
        (tmp_path / MANIFEST).write_text(text)
        with pytest.raises(DataError, match=told):
            manifest_of(tmp_path)
