"""L02: what is held out for evaluation is found in a run, however it is written, and the run is dropped."""

import gzip
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from feedback.candidate import Candidate, Label
from feedback.errors import DataError
from feedback.harvest import Harvest
from feedback.heldout import CANARY, COMMIT, PATCH, TASK, TEXT, HeldOut, Match, drop_held_out
from feedback.shingles import code, words
from memory.records import CheckRan, RunStarted, Stop
from tests.harvest_kit import Story, harvest_of, solved_by_hand

STATEMENT = """## Rounding is wrong for negative amounts

`ledger.rounding.to_cents` rounds *half* amounts towards zero when the amount is negative, while the
documentation promises that halves are always rounded away from zero, as the tax office wants it.

1. Call `to_cents(Decimal("-0.125"))`
2. See minus twelve cents where minus thirteen were expected
"""
GOLD = """diff --git a/ledger/rounding.py b/ledger/rounding.py
index 1111111..2222222 100644
--- a/ledger/rounding.py
+++ b/ledger/rounding.py
@@ -1,5 +1,6 @@
 from decimal import ROUND_HALF_DOWN, Decimal

 def to_cents(amount):
-    return int((amount * 100).quantize(Decimal(1), ROUND_HALF_DOWN))
+    # halves go away from zero, whatever the sign
+    scaled = (abs(amount) * 100 + Decimal("0.5")).to_integral_value(ROUND_FLOOR)
+    return int(scaled.copy_sign(amount))
"""
TESTS = '''def test_negative_halves_leave_zero():
    """As the tax office wants it."""
    for amount, cents in [("-0.125", -13), ("-0.005", -1), ("0.125", 13)]:
        got = to_cents(Decimal(amount))
        assert got == cents, f"{amount} became {got}"
'''
ROW: dict[str, Any] = {
    "instance_id": "ledger__ledger-4711",
    "repo": "ledger/ledger",
    "base_commit": "0123456789abcdef0123456789abcdef01234567",
    "problem_statement": STATEMENT,
    "patch": GOLD,
    "tests": TESTS,
}


def suite(folder: Path, *rows: Mapping[str, Any], name: str = "tasks.jsonl") -> Path:
    path = folder / name
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return path


@pytest.fixture
def held(tmp_path: Path) -> HeldOut:
    return HeldOut.read([suite(tmp_path, ROW)])


def reason(held: HeldOut, run: Harvest) -> str:
    return held.overlap(Candidate(run, Label(grade="gold", why="told by the test")))


def asked(prompt: str, run_id: str = "261123-abc123") -> Harvest:
    return solved_by_hand(prompt=prompt, run_id=run_id)


def of_task(**changes: str) -> Harvest:
    """A run whose task is another in these fields."""
    run = solved_by_hand()
    first, *rest = (event.payload for event in run.events)
    assert isinstance(first, RunStarted)
    return harvest_of([RunStarted(task=first.task.model_copy(update=changes), adi_version="0"), *rest])


def answered(diff: str) -> Harvest:
    """A run whose chat tells nothing and whose verdict is on this diff."""
    story = Story(diff=diff)
    story.began()
    story.judged()
    story.accepted()
    return story.ended(Stop.ACCEPTED)


def test_feedback_l02_a_run_of_ones_own_shares_nothing(held: HeldOut) -> None:
    assert held.match(solved_by_hand()) is None
    assert (
        reason(held, asked("Amounts below zero are rounded wrongly in our shop, please look into it")) == ""
    )


@pytest.mark.parametrize(
    "wording",
    [
        STATEMENT,
        STATEMENT.upper(),
        " ".join(STATEMENT.split()),
        STATEMENT.replace(" ", "\n\t"),
        STATEMENT.replace("##", "#").replace("`", "").replace("*half*", "__half__").replace("1. ", "- "),
        STATEMENT.replace("halves", "[halves](https://example.org/a_b)").replace(">", "&gt;"),
        STATEMENT.replace("ou", "o\u200bu").replace("a", "\uff41"),
        "\n".join(f"    # > {line}" for line in STATEMENT.splitlines()),
        json.dumps({"task": STATEMENT}),
    ],
)
def test_feedback_l02_the_text_of_an_issue_is_found_however_it_is_written(
    held: HeldOut, wording: str
) -> None:
    assert held.match(asked(wording)) == Match(TEXT, "ledger__ledger-4711")


def test_feedback_l02_thirteen_words_of_prose_are_enough_and_twelve_are_not(held: HeldOut) -> None:
    told = "while the documentation promises that halves are always rounded away from zero"
    assert len(told.split()) == 12
    assert reason(held, asked(f"Ask him, {told}. What now?")) == ""
    assert reason(held, asked(f"Ask him, {told}, as ever. What now?")) == TEXT


@pytest.mark.parametrize(
    "text",
    [
        TESTS,
        TESTS.replace("    ", "\t").replace(" = ", "="),
        TESTS.replace('    """As the tax office wants it."""\n', ""),
        "\n".join(f"{line}  # told {at}" for at, line in enumerate(TESTS.splitlines())),
        "".join(f"// see {at}\n{line}\n" for at, line in enumerate(TESTS.splitlines())),
    ],
)
@pytest.mark.parametrize("where", ["observed", "arguments", "check"])
def test_feedback_l02_the_tests_are_found_in_what_a_run_saw_and_wrote(
    held: HeldOut, text: str, where: str
) -> None:
    story = Story()
    story.began()
    if where == "observed":
        story.acted(1, "read tests/test_rounding.py", "read", text)
    elif where == "arguments":
        story.acted(1, "write", "write", "written", path="x.py", body=text)
    else:
        story.tell(CheckRan(purpose="verdict", result=story.result(0).model_copy(update={"output": text})))
    assert held.match(story.harvest()) == Match(TEXT, "ledger__ledger-4711")


@pytest.mark.parametrize("name", ["ledger__ledger-4711", "Ledger_Ledger/4711", "tasks/ledger-ledger-4711"])
def test_feedback_l02_the_name_of_a_task_is_found(held: HeldOut, name: str) -> None:
    assert reason(held, of_task(id=name.removeprefix("tasks/"))) == TASK
    assert reason(held, of_task(prompt=f"Solve {name}, please.")) == TASK
    assert reason(held, of_task(repo=f"/tmp/eval/{name}")) == TASK


def test_feedback_l02_words_that_anyone_may_write_are_no_names(tmp_path: Path) -> None:
    rows = [{"slug": "anagram", "instructions": STATEMENT}, {"task_id": 12, "prompt": "other " * 9}]
    held = HeldOut.read([suite(tmp_path, *rows, name="test.jsonl")])
    assert reason(held, asked("make an anagram of test 12, see test/12 and task_12")) == ""
    assert reason(held, of_task(id="anagram")) == TASK


def test_feedback_l02_numbers_name_a_task_together_with_their_suite(tmp_path: Path) -> None:
    held = HeldOut.read([suite(tmp_path, {"task_id": 601, "text": STATEMENT}, name="mbpp.jsonl")])
    assert reason(held, asked("this is mbpp/601 again")) == TASK
    assert reason(held, asked("this is line 601 again")) == ""


def test_feedback_l02_the_commit_is_found(held: HeldOut) -> None:
    assert reason(held, of_task(base_commit=ROW["base_commit"])) == COMMIT
    assert reason(held, of_task(base_commit="f" * 40)) == ""


@pytest.mark.parametrize(
    "diff",
    [
        GOLD,
        GOLD.replace("    #", "    # I think that"),
        GOLD.replace("ledger/rounding.py", "src/money.py").replace("@@ -1,5 +1,6 @@", "@@ -71,5 +90,6 @@"),
        GOLD.replace("(amount * 100)", "( amount*100 )").replace("+    return", "+\treturn"),
    ],
)
def test_feedback_l02_the_reference_patch_is_found(held: HeldOut, diff: str) -> None:
    assert held.match(answered(diff)) == Match(PATCH, "ledger__ledger-4711")


def test_feedback_l02_a_part_of_the_reference_patch_is_found(held: HeldOut) -> None:
    diff = GOLD.replace("ROUND_HALF_DOWN))", "HALF))").replace("int(scaled.copy_sign(amount))", "scaled")
    assert reason(held, answered(diff)) == PATCH, "the key of the hunk is another, its words are the same"


def test_feedback_l02_small_changes_say_nothing(tmp_path: Path) -> None:
    small = "--- a/x.py\n+++ b/x.py\n@@ -1,1 +1,1 @@\n-    return x\n+    return x + 1\n"
    held = HeldOut.read([suite(tmp_path, {"id": "small-change-1", "patch": small})])
    assert reason(held, answered(small)) == ""


GUID = "0f3c9a6e-52b1-4d7e-9a44-c1d0e8b7f652"


@pytest.mark.parametrize("column", ["canary", "text"])
def test_feedback_l02_canaries_are_found(tmp_path: Path, column: str) -> None:
    row = {"id": "q-1", "prompt": STATEMENT, column: f"Not for training. canary GUID {GUID}"}
    held = HeldOut.read([suite(tmp_path, row)])
    assert held.match(asked(f"translate: {GUID.upper()}")) == Match(CANARY, "q-1")
    assert held.match(asked(f"translate: NOT FOR TRAINING. Canary guid {GUID}")) == Match(CANARY, "q-1")


def test_feedback_l02_a_canary_that_no_suite_told_of_is_found_too() -> None:
    held = HeldOut.read([])
    assert held.match(asked(f"# canary GUID {GUID}\nmake it faster")) == Match(CANARY, "")
    assert held.match(asked(f"the canary deployment {GUID} fails")) is None
    assert (held.sizes, reason(held, asked(STATEMENT))) == ({}, "")


def test_what_many_tasks_share_is_no_sign(tmp_path: Path) -> None:
    common = "Answer with one file only and do not explain what you did or why you did it that way."
    names = ["alder", "birch", "cedar", "dogwood", "elm", "fir", "gum", "hazel"]
    rows = [{"id": f"{name}-1", "prompt": f"{common} Sort {name} trees by their height."} for name in names]
    few = HeldOut.read([suite(tmp_path, *rows[:5])])
    many = HeldOut.read([suite(tmp_path, *rows)])
    assert (reason(few, asked(common)), reason(many, asked(common))) == (TEXT, "")
    assert reason(many, asked(rows[3]["prompt"])) == TEXT, "its own words still are"


@pytest.mark.parametrize(
    "text",
    [
        "Permission is hereby granted, free of charge, to any person obtaining a copy of this software and",
        "Licensed under the Apache License, Version 2.0 (the License);\nyou may not use this file except in "
        "compliance with the License.\n\nYou may obtain a copy of the License at",
        "[1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16]",
        "x = x + x - x * x / x % x ** x | x & x ^ x << x >> x + x",
        "import os\nimport re\nimport sys\nfrom pathlib import Path\nfrom typing import Any, Final, Literal",
        "#include <stdio.h>\n#include <stdlib.h>\n"
        "#include <string.h>\n#include <assert.h>\n#include <time.h>\n",
    ],
)
def test_licences_numbers_and_imports_are_no_sign(tmp_path: Path, text: str) -> None:
    path = suite(tmp_path, {"id": "a-1", "code": text}, {"id": "b-1", "code": TESTS})
    held = HeldOut.read([path])
    assert reason(held, asked(text)) == ""
    assert reason(held, asked(f"{text}\n{TESTS}")) == TEXT


@pytest.mark.parametrize(
    ("line", "left"),
    [
        ("half = size // two + size % two", "half size two size two"),
        ("half := size / 2 // rounded down here", "half size 2"),
        ("  // rounded", ""),
        ("half = size  # rounded", "half size"),
        ("select half -- rounded", "select half"),
        ("a /* one\n two */ b", "a b"),
        ("see http://example.org/half", "see http example org half"),
    ],
)
def test_comments_are_no_part_of_code(line: str, left: str) -> None:
    assert words(code(line)) == left.split()


def test_short_texts_count_as_a_whole(tmp_path: Path) -> None:
    short = "Write a function to find the nth catalan number."
    held = HeldOut.read(
        [suite(tmp_path, {"task_id": 1, "prompt": short}, {"task_id": 2, "prompt": "Sort a list."})]
    )
    assert reason(held, asked(f"Hello! {short} Thanks.")) == TEXT
    assert reason(held, asked("Write a function to find the nth lucas number")) == ""
    assert reason(held, asked("Sort a list.")) == "", "three words are anyone's"


def test_feedback_l02_the_filter_drops_and_says_why(held: HeldOut) -> None:
    runs = [asked("mend it", "r1"), asked(STATEMENT, "r2"), of_task(base_commit=ROW["base_commit"])]
    candidates = [Candidate(run, Label(grade="gold", why="told by the test")) for run in runs]
    assert drop_held_out(held)(candidates) == {"r2": TEXT, runs[2].run_id: COMMIT}
    assert drop_held_out(held)([]) == {}


def parquet(path: Path) -> None:
    import pyarrow
    from pyarrow import parquet as files

    row = {**ROW, "tests": {"test_rounding.py": TESTS}, "embedding": [0.5]}
    files.write_table(pyarrow.Table.from_pylist([row]), path)


def write(path: Path) -> None:
    line = json.dumps(ROW)
    match path.name:
        case "a.jsonl":
            path.write_text(f"\ufeff{line}\n\n")
        case "b.jsonl.gz":
            path.write_bytes(gzip.compress(line.encode()))
        case "c.json":
            path.write_text(f"[{line}]")
        case "d.json":
            path.write_text(f'{{"version": 1, "data": [{line}]}}')
        case "e.json":
            path.write_text(f'{{"ledger__ledger-4711": {line}}}')
        case "f.parquet":
            parquet(path)


@pytest.mark.parametrize("name", ["a.jsonl", "b.jsonl.gz", "c.json", "d.json", "e.json", "f.parquet"])
def test_every_layout_gives_the_same(tmp_path: Path, name: str) -> None:
    write(tmp_path / name)
    (tmp_path / "README.md").write_text("no data")
    held = HeldOut.read([tmp_path, tmp_path / name])
    assert held.sizes == {f"{tmp_path.name}/{name}": 1}
    assert len(held.sources[0].sha256) == 64
    assert held.match(asked(TESTS)) == Match(TEXT, "ledger__ledger-4711")
    assert held.match(asked(STATEMENT)) == Match(TEXT, "ledger__ledger-4711")
    assert reason(held, answered(GOLD)) == PATCH
    assert reason(held, of_task(base_commit=ROW["base_commit"])) == COMMIT


def test_nested_texts_are_read(tmp_path: Path) -> None:
    row = {"name": "rounding", "language": "py", "test_files": {"test_rounding.py": TESTS}, "messages": [
        {"role": "user", "content": STATEMENT}
    ]}  # fmt: skip
    held = HeldOut.read([suite(tmp_path, row)])
    assert (reason(held, asked(TESTS)), reason(held, asked(STATEMENT))) == (TEXT, TEXT)


GOOD = json.dumps(ROW).encode()


@pytest.mark.parametrize(
    ("name", "data", "said"),
    [
        ("x.jsonl", GOOD + b"\n{\n", "x.jsonl line 2: not JSON"),
        ("x.jsonl", GOOD + b"\n\xff\xfe\n", "x.jsonl line 2: not UTF-8"),
        ("x.jsonl", GOOD + b"\n7\n", "x.jsonl line 2: a row is an object, not int"),
        ("x.jsonl", b"[" * 100_000, "x.jsonl line 1: nested too deeply"),
        ("x.jsonl", b"\n\n", "x.jsonl holds no row"),
        ("x.jsonl", b'{"id": 1, "colour": "red"}', "x.jsonl: no row has a text or a patch"),
        ("x.json", b'[{"prompt":\n oops}]', "x.json line 2: not JSON"),
        ("x.json", b'"text"', "x.json: neither a list of rows nor an object"),
        ("x.json", b'{"prompt":\n\n"\xff"}', "x.json line 3: not UTF-8"),
        ("x.parquet", b"PAR1 and no more", "x.parquet: no Parquet file that can be read"),
        ("x.jsonl.gz", GOOD, "x.jsonl.gz is no gzip file"),
        ("x.jsonl.gz", gzip.compress(GOOD)[:-9], "x.jsonl.gz is no gzip file, or is cut"),
    ],
)
def test_a_broken_file_is_named_with_its_line(tmp_path: Path, name: str, data: bytes, said: str) -> None:
    (tmp_path / name).write_bytes(data)
    with pytest.raises(DataError, match=r".") as caught:
        HeldOut.read([tmp_path])
    assert said in str(caught.value)
    assert caught.value.hint


def test_paths_that_hold_no_suite(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="does not exist"):
        HeldOut.read([tmp_path / "nowhere"])
    with pytest.raises(DataError, match="holds no suite"):
        HeldOut.read([tmp_path])
