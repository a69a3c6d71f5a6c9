"""Tests rebuilt from a pytest report: what it shows of them runs again."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from feedback.example_output import shortest, without_report
from feedback.examples import tests_in_output as shown_tests

LONG = """\
=================================== FAILURES ===================================
_______________________________ test_find_first ________________________________

    def test_find_first():
        values = [4, 6]
        wanted = 1
>       assert find(values, 6) == wanted
E       assert 0 == 1
E        +  where 0 = find([4, 6], 6)

test_finder.py:7: AssertionError
_________________________ FinderTest.test_missing_item _________________________

self = <test_finder.FinderTest testMethod=test_missing_item>

    def test_missing_item(self):
        self.assertEqual(find([6], 6), 0)
        with self.assertRaises(ValueError) as err:
>           find([1], 2)
E           AssertionError: ValueError not raised

test_finder.py:13: AssertionError
________________________________ test_a_fixture ________________________________

finder = <finder.Finder object at 0x7f0>

    def test_a_fixture(finder):
>       assert finder.first() == 1
E       assert 2 == 1

test_finder.py:17: AssertionError
=========================== short test summary info ============================
FAILED test_finder.py::test_find_first - assert 0 == 1
"""
SHORT = """\
=================================== FAILURES ===================================
_________________________ FinderTest.test_finds_first __________________________
test_finder.py:9: in test_finds_first
    self.assertEqual(find([4, 6], 6), 1)
                     ^^^^^^^^^^^^^^^
finder.py:2: in find
    raise KeyError(item)
E   KeyError: 6
_______________________________ test_of_a_value ________________________________
test_finder.py:12: in test_of_a_value
    assert find(values, 6) == wanted
E   assert 0 == 1
________________________________ test_plain[1] _________________________________
test_finder.py:15: in test_plain
    assert finder.find([5], 5) == 0
E   assert 1 == 0
"""
GOOD = "def find(items, item):\n    return items.index(item)\n"
BAD = "def find(items, item):\n    return len(items)\n"


@pytest.mark.parametrize(
    ("output", "count", "wanted"),
    [
        (
            LONG,
            2,
            [
                "values = [4, 6]",
                "assert find(values, 6) == wanted",
                "with self.assertRaises(ValueError) as err:",
            ],
        ),
        (
            SHORT,
            2,
            ["self.assertEqual(find([4, 6], 6), 1)", "assert finder.find([5], 5) == 0", "import finder"],
        ),
    ],
)
def test_shown_tests_run_again(output: str, count: int, wanted: list[str], tmp_path: Path) -> None:
    code = shown_tests(output, ["finder.py"])
    for line in (*wanted, "from finder import find"):
        assert line in code
    (tmp_path / "shown.py").write_text(code, encoding="utf-8")
    environment = {**os.environ, "PYTHONDONTWRITEBYTECODE": "1"}
    for source, ends in ((GOOD, "OK"), (BAD, f"FAILED (failures={count})")):
        (tmp_path / "finder.py").write_text(source, encoding="utf-8")
        command = [sys.executable, "-m", "unittest", "shown"]
        ran = subprocess.run(
            command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False
        )
        assert f"Ran {count} tests" in ran.stderr
        assert ran.stderr.strip().endswith(ends), ran.stderr


@pytest.mark.parametrize(
    ("line", "wanted"),
    [
        ("assert finder() == 1", "from finder import finder"),
        ("assert finder.finder() == 1", "import finder"),
        ("assert len(finder) == find(1)", "from finder import find, finder"),
    ],
)
def test_a_function_may_have_the_name_of_its_module(line: str, wanted: str) -> None:
    report = f"=== FAILURES ===\n___ test_it ___\n\n    def test_it():\n>       {line}\nE       no\n"
    text = shown_tests(report, ["finder.py"])
    assert [each for each in text.splitlines() if "finder" in each and "import" in each] == [wanted]


def test_the_shortest_of_the_shown_tests_are_told_in_little_room() -> None:
    code = shown_tests(LONG, ["finder.py"])
    assert "def test_find_first_1(self):\n    values = [4, 6]" in shortest(code, 2_000)
    assert shortest(code, 2_000).count("def ") == 2
    assert shortest(code, 120).count("def ") == 1
    assert shortest(code, 10) == shortest("no python", 99) == ""


def test_what_needs_more_than_is_shown_is_left_out() -> None:
    assert shown_tests("", ["finder.py"]) == ""
    assert shown_tests("all is well\n", ["finder.py"]) == ""
    code = shown_tests(LONG + SHORT, ["src/package/finder.py"])
    assert "from package.finder import" in code
    assert "fixture" not in code
    assert "of_a_value" not in code


@settings(max_examples=50, deadline=None)
@given(
    st.lists(
        st.sampled_from([*LONG.split("\n"), *SHORT.split("\n"), "\0", ">", "    def test_x(self):"]),
        max_size=30,
    )
)
def test_any_report_is_read_without_an_error(lines: list[str]) -> None:
    code = shown_tests("\n".join(lines), ["finder.py"])
    if code:
        compile(code, "shown.py", "exec")


SUMMARY = "FAILED test_finder.py::test_of_a_value - assert 0 == 1\n"


@pytest.mark.parametrize("report", [LONG, SHORT])
@pytest.mark.parametrize("begins", ["", "..F        [100%]\n", "=== test session starts ===\nrootdir: /w\n"])
@pytest.mark.parametrize("ends", [SUMMARY, f"{SUMMARY}2 failed in 0.02s\n", "=== 2 failed in 0.1s ===\n"])
@pytest.mark.parametrize(("before", "after"), [("Mend it:\n", "Thanks."), ("So:\n```\n", "```\nNow!")])
def test_a_quoted_report_is_left_out_and_what_was_asked_stays(
    report: str, begins: str, ends: str, before: str, after: str
) -> None:
    assert without_report(f"{before}{begins}{report}{ends}{after}") == f"{before}(told below)\n{after}"


def test_a_report_without_an_end_goes_to_the_fence_or_the_end_of_the_text() -> None:
    assert without_report(f"a\n{SHORT}b") == "a\n(told below)"
    assert without_report(f"a\n```\n{SHORT}```\nb") == "a\n```\n(told below)\n```\nb"


@pytest.mark.parametrize("text", ["", "assert f(1) == 2\n=====\n```\nx\n```", "FAILED test_a.py::t - no"])
def test_a_text_without_a_report_stays(text: str) -> None:
    assert without_report(text) == text
