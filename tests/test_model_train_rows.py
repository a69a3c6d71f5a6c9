"""Rows before they are trained on: what fits, what is refused, and that files keep them."""

from pathlib import Path
from typing import Any

import pytest

from model.train_errors import RowsRefused
from model.train_rows import IGNORED, Document, Judged, Pair, Row, Rows, check, fit, read, write


def row(length: int = 4, trained: int = 2, **more: Any) -> Row:
    ids = tuple(range(length))
    return Row(ids, (*[IGNORED] * (length - trained), *ids[length - trained :]), **more)


def test_long_rows_are_left_out_whole_and_counted() -> None:
    found = fit([row(4), row(9), row(5)], 8, 0.4, "sft")
    assert [len(one.ids) for one in found.rows] == [4, 5]
    assert (found.left_out, found.longest, found.tokens, found.trained) == (1, 9, 9, 4)
    assert found.lengths == (5, 9, 9)


def test_too_many_long_rows_are_refused_with_what_would_fit() -> None:
    with pytest.raises(
        RowsRefused, match=r"2 of 3 sft rows have more than 8 tokens .* longest 11"
    ) as refused:
        fit([row(4), row(9), row(11)], 8, 0.5, "sft")
    assert "max_length" in refused.value.hint


@pytest.mark.parametrize(
    "rows",
    [[], [row(4, 0)], [row(4, 2), row(4, 0)], [Row((7, 8), (7, IGNORED))], [row(9)]],
    ids=["none", "no target", "one of two", "only the first token", "none that fits"],
)
def test_rows_without_a_target_are_an_error(rows: list[Row]) -> None:
    with pytest.raises(RowsRefused):
        fit(rows, 8, 1.0, "sft")


@pytest.mark.parametrize(
    ("bad", "why"),
    [
        (Row((1, 2), (1,)), "2 ids and 1 labels"),
        (Row((1, 2), (1, 3)), "neither its token"),
        (Row((-1, 2), (-100, 2)), "below 0"),
        (Row((1, 2), (1, 2), weight=0.0), "weight 0.0"),
        (Row((1, 2), (1, 2), weight=float("nan")), "weight nan"),
    ],
)
def test_what_is_no_row_is_refused(bad: Row, why: str) -> None:
    with pytest.raises(RowsRefused, match=why):
        check(bad, "row 0")


def test_a_pair_has_one_prompt() -> None:
    other = Row((9, 1, 2), (IGNORED, 1, 2))
    with pytest.raises(RowsRefused, match="two different prompts"):
        fit([Pair(row(3), other)], 8, 0.0, "dpo")
    assert fit([Pair(row(3), Row((0, 5), (IGNORED, 5)))], 8, 0.0, "dpo").trained == 3


def test_files_give_back_the_rows_and_their_hash_tells_them_apart(tmp_path: Path) -> None:
    rows = Rows(
        [Document("x = 'é'\n", True)], [row(weight=0.5, source="run-1")], [Judged(row(), False)],
        [Pair(row(), row(4, 1))],
    )  # fmt: skip
    first = write(tmp_path, rows)
    assert read(tmp_path) == rows
    assert write(tmp_path, rows) == first
    assert write(tmp_path, Rows(answers=rows.answers)) != first
