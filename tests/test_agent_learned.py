"""Fix templates out of accepted changes, and what they make of other lines."""

import time

import pytest

from agent.learned import (
    Change,
    applied,
    as_wanted,
    changes,
    changes_in,
    difference,
    inserted,
    parameters,
    renamed,
)

ROUND = Change(("return round(x * rate, 2)",), ("return money.quantize(x * rate)",))
DIFF = """--- a/app/a.py
+++ b/app/a.py
@@ -1,2 +1,2 @@
 def a(x):
-    return round(x * rate, 2)
+    return money.quantize(x * rate)
@@ -11,2 +11,3 @@
 def b():
+    check()
     return 1
--- a/app/b.py
+++ b/app/b.py
@@ -1,6 +1,2 @@
-one
-two
-three
-four
+ONE
 five
--- x

"""


@pytest.mark.parametrize(
    ("change", "line", "first"),
    [
        (ROUND, "    total = round(price(3, n) * 3, 2)", "    total = money.quantize(price(3, n) * 3)"),
        (ROUND, "    return round(x * rate, 2)", "    return money.quantize(x * rate)"),
        (
            Change(("for i in range(len(items)):",), ("for i in range(len(items) - 1):",)),
            "    for k in range(len(rows)):",
            "    for k in range(len(rows) - 1):",
        ),
        (
            Change(("return data['user']",), ("return data.get('user')",)),
            "x = rec['user']",
            "x = rec.get('user')",
        ),
        (
            Change(("t = datetime.now()",), ("t = clock.now()",)),
            "return datetime.now()",
            "return clock.now()",
        ),
        (
            Change(("return amount * rate",), ("return money.quantize(amount * rate)",)),
            "    return amount * percent / 100",
            "    return money.quantize(amount * percent / 100)",
        ),
        (Change(("if a == b:",), ("if a != b:",)), "if left == right:", "if left != right:"),
    ],
)
def test_a_change_is_made_of_another_line_like_it(change: Change, line: str, first: str) -> None:
    assert applied(change, line)[0] == first


@pytest.mark.parametrize(
    ("change", "line"),
    [
        (ROUND, "return around(x, 2)"),
        (ROUND, "return round(x, 3)"),
        (Change(("a = b + 1",), ("a = b",)), "c = d * 2"),
        (Change(("x",), ("y",)), "xx = 1"),
        (Change((), ("guard()",)), "x = 1"),
        (Change(("a", "b"), ("c",)), "a"),
        (ROUND, "return round(" + "x" * 400 + ", 2)"),
    ],
)
def test_a_change_leaves_alone_what_it_does_not_fit(change: Change, line: str) -> None:
    assert applied(change, line) == []


def test_a_hostile_line_takes_no_time() -> None:
    began = time.process_time()
    for line in ("round(" + "(" * 290, "round(" + "a(" * 140, "round(" + "[(" * 140, "round" * 60):
        applied(ROUND, line)
    assert time.process_time() - began < 2


def test_the_small_changes_of_a_diff() -> None:
    assert changes_in(DIFF) == [("app/a.py", ROUND), ("app/a.py", Change((), ("check()",)))]
    assert changes_in("") == []
    assert inserted(Change((), ("check()", "", "  go()")), "    ") == "    check()\n\n      go()"
    assert inserted(ROUND, "    ") == ""


def test_the_small_changes_between_two_texts() -> None:
    assert changes("a\n  b\nc\n", "a\n  B\nc\n") == [Change(("b",), ("B",))]
    assert changes("a\n", "a\n") == []
    assert changes("a\nb\nc\nd\n", "x\ny\nz\nw\n") == []


def test_what_a_second_diff_does_in_place_of_a_first() -> None:
    first = "--- a/a.py\n+++ b/a.py\n@@ -1 +1 @@\n-x\n+print(total)\n"
    second = first.replace("print(total)", "log.info(total)")
    assert difference(first, second) == [Change(("print(total)",), ("log.info(total)",))]
    assert difference(first, first) == []


def test_a_text_as_the_person_wants_it() -> None:
    change = Change(("print(total)",), ("log.info(total)",))
    assert (
        as_wanted("def a():\n    print(total)\n    return 1", [change])
        == "def a():\n    log.info(total)\n    return 1"
    )
    assert as_wanted("return 1", [change]) == ""


def test_added_lines_take_the_names_of_another_function() -> None:
    text = 'if count < 1:\n    raise StockError("count must be at least 1")'
    assert parameters("def split(total: int, parts=2):") == ["total", "parts"]
    assert parameters("function f(a, b) {") == ["a", "b"]
    assert parameters("int take(Shelf shelf, int count) {") == ["shelf", "count"]
    assert parameters("x = 1") == []
    assert renamed(text, ["parts"]) == [text.replace("count", "parts")]
    assert renamed(text, ["count"]) == []
    assert renamed("return", ["parts"]) == []
