"""Parsers against output that the real runners wrote (recorded), and against hostile text."""

import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from feedback.checks import check_of, cut, read_output
from feedback.parse_compiled import parse_any, parse_cargo, parse_go
from feedback.parse_cpp import parse_catch, parse_ctest, parse_gtest
from feedback.parse_java import parse_junit
from feedback.parse_node import parse_node
from feedback.parse_php import parse_phpunit
from feedback.parse_pytest import parse_pytest
from feedback.parse_python import parse_unittest
from feedback.report import MESSAGE, Report
from feedback.shrink import shrink
from memory.records import CheckResult, Failure, Frame, Status

PYTEST = """\
FFE.                                                                     [100%]
==================================== ERRORS ====================================
_________________________ ERROR at setup of test_setup _________________________
tests/test_gcd.py:15: in broken
    raise RuntimeError("no fixture")
E   RuntimeError: no fixture
=================================== FAILURES ===================================
_____________________________ TestA.test_m[x - y] ______________________________
tests/test_gcd.py:7: in test_m
    got = gcd(a, 1) if b else 7
          ^^^^^^^^^
gcd.py:4: in gcd
    return gcd(a % b, b)
           ^^^^^^^^^^^^^
gcd.py:4: in gcd
    return gcd(a % b, b)
           ^^^^^^^^^^^^^
E   RecursionError: maximum recursion depth exceeded
!!! Recursion detected (same locals & position)
__________________________________ test_json ___________________________________
tests/test_gcd.py:22: in test_json
    json.loads("{")
/usr/lib/python3.11/json/__init__.py:346: in loads
    return _default_decoder.decode(s)
           ^^^^^^^^^^^^^^^^^^^^^^^^^^
E   json.decoder.JSONDecodeError: Expecting property name enclosed in double quotes: line 1 column 2 (char 1)
----------------------------- Captured stdout call -----------------------------
E   ValueError: printed by the program
=========================== short test summary info ============================
FAILED tests/test_gcd.py::TestA::test_m[x - y] - RecursionError: maximum recu...
FAILED tests/test_gcd.py::test_json - json.decoder.JSONDecodeError: Expecting...
ERROR tests/test_gcd.py::test_setup - RuntimeError: no fixture
2 failed, 1 passed, 1 error in 0.85s
"""

COLLECTION = """\
==================================== ERRORS ====================================
______________________ ERROR collecting tests/test_bad.py ______________________
/usr/lib/python3.11/ast.py:50: in parse
    return compile(source, filename, mode, flags,
E     File "/repo/tests/test_bad.py", line 2
E       def x(
E            ^
E   SyntaxError: '(' was never closed
=========================== short test summary info ============================
ERROR tests/test_bad.py
!!!!!!!!!!!!!!!!!!!! Interrupted: 1 error during collection !!!!!!!!!!!!!!!!!!!!
1 error in 0.20s
"""

UNITTEST = """\
EF.s
======================================================================
ERROR: test_v (unittest.loader._FailedTest.test_v)
----------------------------------------------------------------------
ImportError: Failed to import test module: test_v
Traceback (most recent call last):
  File "/usr/lib/python3.11/unittest/loader.py", line 419, in _find_test_path
    module = self._get_module_from_name(name)
             ^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^
  File "/repo/tests/test_v.py", line 1, in <module>
    import nothere
ModuleNotFoundError: No module named 'nothere'


======================================================================
FAIL: test_b (test_u.TestA)
----------------------------------------------------------------------
Traceback (most recent call last):
  File "/repo/tests/test_u.py", line 8, in test_b
    self.assertEqual({"a": [1]}, {"a": [2]})
AssertionError: {'a': [1]} != {'a': [2]}
- {'a': [1]}
?        ^

+ {'a': [2]}
?        ^


----------------------------------------------------------------------
Ran 4 tests in 0.001s

FAILED (failures=1, errors=1, skipped=1)
"""

TAP = """\
TAP version 13
# Subtest: adds
not ok 1 - adds
  ---
  duration_ms: 3.367776
  location: '/repo/add.test.js:4:1'
  failureType: 'testCodeFailure'
  error: |-
    Expected values to be strictly equal:

    -1 !== 3

  code: 'ERR_ASSERTION'
  name: 'AssertionError'
  expected: 3
  actual: -1
  operator: 'strictEqual'
  stack: |-
    TestContext.<anonymous> (/repo/add.test.js:4:29)
    Test.runInAsyncScope (node:async_hooks:206:9)
    node:internal/test_runner/harness:255:12
  ...
ok 2 - zero
not ok 3 - suite
  ---
  failureType: 'subtestsFailed'
  error: '1 subtest failed'
  ...
1..3
# tests 3
# pass 1
# fail 2
"""

JEST = """\
FAIL ./sum.test.js
  math
    ✕ adds (3 ms)
    ✓ zero

  ● math › adds

    expect(received).toBe(expected) // Object.is equality

    Expected: 3
    Received: -1

      3 | describe('math', () => {
      4 |   test('adds', () => {
    > 5 |     expect(sum(1, 2)).toBe(3);
        |                       ^

      at Object.toBe (sum.test.js:5:23)

Test Suites: 1 failed, 1 total
Tests:       1 failed, 1 passed, 2 total
"""

MOCHA = """\
  1 passing (3ms)
  1 failing

  1) math
       adds:

      AssertionError [ERR_ASSERTION]: -1 == 3
      + expected - actual

      at Context.<anonymous> (test/sum.js:6:14)
      at process.processImmediate (node:internal/timers:476:21)
"""

GO = """\
--- FAIL: TestAdd (0.00s)
    add_test.go:7: Add(1, 2) = -1, want 3
    --- FAIL: TestAdd/zero (0.00s)
        add_test.go:12: got 1
--- PASS: TestOther (0.00s)
FAIL
FAIL\texample.com/add\t0.002s
?   \texample.com/add/cmd\t[no test files]
FAIL
"""

GO_PANIC = """\
--- FAIL: TestAt (0.00s)
panic: runtime error: index out of range [3] with length 0 [recovered]

goroutine 6 [running]:
testing.tRunner.func1.2({0x50e0e0, 0xc00001c0d8})
\t/usr/local/go/src/testing/testing.go:1545 +0x238
example.com/add.At(...)
\t/repo/add.go:9
example.com/add.TestAt(0xc000007a00?)
\t/repo/add_test.go:20 +0x1d
FAIL\texample.com/add\t0.004s
"""

CARGO = """\
running 2 tests
test tests::ok ... ok
test tests::index ... FAILED

failures:

---- tests::index stdout ----

thread 'tests::index' (6730) panicked at src/lib.rs:2:41:
index out of bounds: the len is 0 but the index is 3
stack backtrace:
   0: __rustc::rust_begin_unwind
             at /rustc/59807616/library/std/src/panicking.rs:689:5
   3: c::at
             at ./src/lib.rs:2:41
   4: c::tests::index
             at ./src/lib.rs:7:26
note: Some details are omitted, run with `RUST_BACKTRACE=full` for a verbose backtrace.


failures:
    tests::index

test result: FAILED. 1 passed; 1 failed; 0 ignored; 0 measured; 0 filtered out; finished in 0.25s
"""

CARGO_BUILD = """\
error[E0425]: cannot find value `c` in this scope
 --> src/lib.rs:1:41
  |
1 | pub fn add(a: i32, b: i32) -> i32 { a - c }
  |                                         ^
error: could not compile `c` (lib) due to 1 previous error
"""


def places(failure: Failure) -> list[tuple[str, int]]:
    return [(frame.path, frame.line) for frame in failure.frames]


def test_pytest_failures_have_ids_types_and_own_frames() -> None:
    report = parse_pytest(PYTEST, "/repo")
    assert (report.passed, report.failed, report.complete, report.problem) == (1, 3, True, "")
    setup, recursion, other = report.failures
    assert (setup.test, setup.error) == ("tests/test_gcd.py::test_setup", "RuntimeError")
    assert recursion.test == "tests/test_gcd.py::TestA::test_m[x - y]"
    assert recursion.source == "got = gcd(a, 1) if b else 7"
    assert places(recursion) == [("tests/test_gcd.py", 7), ("gcd.py", 4)]
    assert (other.error, places(other)) == ("JSONDecodeError", [("tests/test_gcd.py", 22)])
    assert "printed by the program" not in other.message


def test_pytest_syntax_error_points_into_the_file() -> None:
    (failure,) = parse_pytest(COLLECTION, "/repo").failures
    assert (failure.test, failure.error) == ("tests/test_bad.py", "SyntaxError")
    assert failure.message.startswith("'(' was never closed")
    assert places(failure) == [("tests/test_bad.py", 2)]


def test_unittest_failures_of_old_and_new_naming() -> None:
    report = parse_unittest(UNITTEST, "/repo")
    assert (report.passed, report.failed, report.complete) == (1, 2, True)
    missing, unequal = report.failures
    assert (missing.error, places(missing)) == ("ModuleNotFoundError", [("tests/test_v.py", 1)])
    assert (unequal.test, unequal.error) == ("test_u.TestA.test_b", "AssertionError")
    assert unequal.source.startswith("self.assertEqual")
    assert "+ {'a': [2]}" in unequal.message


def test_unittest_that_ran_nothing_is_a_problem() -> None:
    assert parse_unittest("\n-----\nRan 0 tests in 0.000s\n\nOK\n", "").problem == "no test passed"


@pytest.mark.parametrize(
    ("text", "test", "error", "place", "said"),
    [
        (TAP, "adds", "AssertionError", ("add.test.js", 4), "-1 !== 3"),
        (JEST, "math › adds", "", ("sum.test.js", 5), "Received: -1"),
        (MOCHA, "math adds", "AssertionError", ("test/sum.js", 6), "-1 == 3"),
    ],
    ids=["tap", "jest", "mocha"],
)
def test_node_runners(text: str, test: str, error: str, place: tuple[str, int], said: str) -> None:
    report = parse_node(text, "/repo")
    assert report.passed == 1
    assert report.complete
    (failure,) = report.failures
    assert (failure.test, failure.error) == (test, error)
    assert places(failure)[-1] == place
    assert said in failure.message


def test_go_and_its_panic() -> None:
    report = parse_go(GO, "/repo")
    assert [failure.test for failure in report.failures] == ["TestAdd", "TestAdd/zero"]
    assert report.failures[0].message == "Add(1, 2) = -1, want 3"
    assert places(report.failures[1]) == [("add_test.go", 12)]
    (panic,) = parse_go(GO_PANIC, "/repo").failures
    assert (panic.error, places(panic)) == ("panic", [("add_test.go", 20), ("add.go", 9)])


def test_cargo_and_its_compiler() -> None:
    report = parse_cargo(CARGO, "/repo")
    assert (report.passed, report.failed) == (1, 1)
    assert places(report.failures[0]) == [("src/lib.rs", 7), ("src/lib.rs", 2)]
    assert "index out of bounds" in report.failures[0].message
    (build,) = parse_cargo(CARGO_BUILD, "/repo").failures
    assert (build.error, places(build)) == ("E0425", [("src/lib.rs", 1)])


def test_a_plain_command_is_read_by_the_parser_that_knows_its_output() -> None:
    assert read_output(check_of("./check.sh"), PYTEST, "/repo").failed == 3
    assert read_output(check_of("./check.sh"), UNITTEST, "/repo").failed == 2
    (failure,) = read_output(check_of("cc -o x x.c"), "src/x.c:7:3: error: expected ';'\n", "/repo").failures
    assert (places(failure), failure.message) == ([("src/x.c", 7)], "error: expected ';'")


def test_shrink_keeps_what_failed_within_its_size() -> None:
    frames = tuple(Frame(path=f"src/m{n}.py", line=n + 1, function="f") for n in range(9))
    failures = tuple(
        Failure(test=f"t.py::test_{n}", error="ValueError", message="x" * 3000, frames=frames[: n + 1])
        for n in range(9)
    )
    result = CheckResult(
        check="pytest", status=Status.NONZERO, exit_code=1, passed=False, tests_failed=9, failures=failures
    )
    text = shrink(result, 1500)
    assert len(text) <= 1500
    assert text.startswith("pytest: failed, 9 failed")
    assert "FAILED t.py::test_0" in text
    assert "at src/m0.py:1 in f" in text
    assert "(and 4 more)" in text


def test_shrink_tells_equal_failures_once() -> None:
    place = (Frame(path="gcd.py", line=4),)
    alike = tuple(
        Failure(test=f"test[{n}]", error="RecursionError", message="deep", frames=place) for n in range(5)
    )
    result = CheckResult(check="c", status=Status.NONZERO, passed=False, tests_failed=5, failures=alike)
    assert shrink(result).count("RecursionError") == 1
    assert "(and 4 alike)" in shrink(result)


def test_shrink_without_failures_shows_head_and_tail() -> None:
    output = "first line\n" + "noise\n" * 5000 + "last line"
    text = shrink(CheckResult(check="make", status=Status.NONZERO, passed=False, output=output), 600)
    assert "first line" in text
    assert "last line" in text
    assert len(text) <= 600


@given(st.text(max_size=400), st.integers(50, 200))
def test_cut_is_never_longer_than_asked(text: str, limit: int) -> None:
    assert len(cut(text, limit)) <= max(limit, 50)


PARSERS = [
    parse_pytest, parse_unittest, parse_node, parse_go, parse_cargo, parse_any,
    parse_ctest, parse_gtest, parse_catch, parse_junit, parse_phpunit,
]  # fmt: skip


@pytest.mark.parametrize("parser", PARSERS)
@given(text=st.lists(st.sampled_from([*(PYTEST + UNITTEST + TAP + JEST + MOCHA + GO + CARGO).split("\n")])))
def test_any_mixture_of_lines_is_read(parser: type[Report], text: list[str]) -> None:
    report = parser("\n".join(text), "/repo")
    assert all(len(failure.message) <= MESSAGE for failure in report.failures)


@pytest.mark.parametrize("parser", PARSERS)
@pytest.mark.parametrize(
    "line",
    [
        "a:1" * 100_000,
        " " * 300_000,
        "(" * 300_000 + "x",
        "1 passed, " * 40_000,
        "E " * 150_000,
        "\x1b[" * 150_000,
    ],
    ids=["places", "blanks", "brackets", "counts", "marks", "escapes"],
)
def test_hostile_lines_are_read_in_time(parser: type[Report], line: str) -> None:
    began = time.process_time()
    parser(f"{line}\n" * 3, "/repo")
    assert time.process_time() - began < 2.0
