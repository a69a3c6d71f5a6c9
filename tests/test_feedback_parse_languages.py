"""Parsers of C++, Java, PHP and TypeScript against recorded output: compilers, programs, time limits."""

import pytest

from feedback.checks import check_of, read_output
from feedback.parse_cpp import parse_catch, parse_ctest, parse_gtest
from feedback.parse_java import parse_junit
from feedback.parse_php import parse_phpunit
from feedback.report import Report

GXX = """\
[ 50%] Building CXX object CMakeFiles/plain.dir/tests/plain.cpp.o
In file included from /work/tests/plain.cpp:2:
/work/tests/../adder.h: In function ‘int add(int, int)’:
/work/tests/../adder.h:1:43: error: ‘c’ was not declared in this scope
    1 | inline int add(int a, int b) { return a - c; }
      |                                           ^
gmake: *** [Makefile:101: all] Error 2
"""
LD = """\
/usr/bin/ld: CMakeFiles/plain.dir/tests/plain.cpp.o: in function `main':
plain.cpp:(.text+0x5): undefined reference to `f()'
collect2: error: ld returned 1 exit status
"""
CMAKE = """\
CMake Error at CMakeLists.txt:6 (find_package):
  By not providing "FindNope.cmake" in CMAKE_MODULE_PATH this project has

-- Configuring incomplete, errors occurred!
"""
CTEST = """\
Test project /tmp/build
    Start 1: plain
1/3 Test #1: plain ............................Subprocess aborted***Exception:   0.00 sec
plain: /work/tests/plain.cpp:3: int main(): Assertion `add(2, 3) == 5' failed.

    Start 2: slow
2/3 Test #2: slow .............................***Timeout   1.50 sec
    Start 3: good
3/3 Test #3: good .............................   Passed    0.00 sec

33% tests passed, 2 tests failed out of 3
"""
GTEST = """\
[==========] Running 2 tests from 1 test suite.
[ RUN      ] Adder.Adds
g.cpp:2: Failure
Expected equality of these values:
  5
  2 - 3
    Which is: -1
[  FAILED  ] Adder.Adds (0 ms)
[ RUN      ] Adder.Zero
[       OK ] Adder.Zero (0 ms)
[==========] 2 tests from 1 test suite ran. (2 ms total)
[  PASSED  ] 1 test.
[  FAILED  ] 1 test, listed below:
[  FAILED  ] Adder.Adds
"""
CATCH = """\
-------------------------------------------------------------------------------
adds
  small
-------------------------------------------------------------------------------
c.cpp:3
...............................................................................

c.cpp:3: FAILED:
  CHECK( 2 - 3 == 5 )
with expansion:
  -1 == 5

===============================================================================
test cases: 2 | 1 passed | 1 failed
assertions: 2 | 1 passed | 1 failed
"""
JAVAC = """\
src/main/java/org/x/Adder.java:2: error: cannot find symbol
public class Adder { public static int add(int a, int b) { return a - c;; } }
                                                                      ^
  symbol:   variable c
1 error
"""
DUMP = """\
"main" #1 prio=5 os_prio=0 cpu=3203.95ms elapsed=8.03s tid=0x00007f4c94018730 nid=0x1c runnable
   java.lang.Thread.State: RUNNABLE
\tat org.x.Adder.add(src/main/java/org/x/Adder.java:2)
\tat org.x.AdderTest.adds(src/test/java/org/x/AdderTest.java:7)
\tat java.lang.reflect.Method.invoke(java.base@17.0.21.1/Method.java:569)
\tat org.junit.platform.commons.util.ReflectionUtils.invokeMethod(ReflectionUtils.java:727)

"Reference Handler" #2 daemon prio=10
"""
CORE = """\
There was 1 failure:
1) adds(org.x.OldTest)
java.lang.AssertionError: expected:<5> but was:<-1>
\tat org.junit.Assert.fail(Assert.java:89)
\tat org.x.OldTest.adds(OldTest.java:5)

FAILURES!!!
Tests run: 3,  Failures: 1
"""
CONTAINER = """\
Failures (1):
  JUnit Jupiter:AdderTest
    ClassSource [className = 'org.x.AdderTest', filePosition = null]
    => java.lang.IllegalStateException: no base
       org.x.AdderTest.prepare(src/test/java/org/x/AdderTest.java:9)
       [...]

Test run finished after 40 ms
[         1 containers failed     ]
[         0 tests successful      ]
[         0 tests failed          ]
"""
PHP_PARSE = """\
PHP Fatal error:  Uncaught ParseError: syntax error, unexpected identifier "n" in /work/src/Adder.php:4
Stack trace:
#0 /usr/share/php/PHPUnit/Util/FileLoader.php(66): include_once()
  thrown in /usr/share/php/PHPUnit/TextUI/Command.php on line 99
"""
PHPUNIT = """\
There was 1 error:

1) AdderTest::testZero
Error: Call to undefined function Acme\\nope()

/work/src/Adder.php:4
/work/tests/AdderTest.php:7

--

There was 1 failure:

1) AdderTest::testSame with data set #0 (1, 2)
Failed asserting that two strings are equal.
--- Expected
+++ Actual

/work/tests/AdderTest.php:11

--

There was 1 risky test:

1) AdderTest::testNothing
This test did not perform any assertions

ERRORS!
Tests: 5, Assertions: 3, Errors: 1, Failures: 1, Risky: 1.
"""
PHPUNIT_NONE = "PHPUnit 9.6.7 by Sebastian Bergmann and contributors.\n\nNo tests executed!\n"
TSC = "src/a.ts(3,5): error TS2322: Type 'string' is not assignable to type 'number'.\n"


def told(report: Report) -> list[tuple[str, str, str, list[tuple[str, int]]]]:
    return [
        (one.test, one.error, one.message.partition("\n")[0], [(f.path, f.line) for f in one.frames])
        for one in report.failures
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("text", "error", "said", "places"),
    [
        (GXX, "build", "‘c’ was not declared in this scope", [("adder.h", 1)]),
        (LD, "link", "undefined reference to `f()'", []),
        (CMAKE, "build", 'By not providing "FindNope.cmake" in CMAKE_MODULE_PATH this project has',
         [("CMakeLists.txt", 6)]),
    ],
)  # fmt: skip
def test_what_does_not_build(text: str, error: str, said: str, places: list[tuple[str, int]]) -> None:
    report = parse_ctest(text, "/work")
    assert (report.complete, report.problem) == (False, "no test passed")
    assert told(report) == [("build", error, said, places)]


def test_ctest_tells_aborted_and_slow_tests() -> None:
    report = parse_ctest(CTEST, "/work")
    assert (report.passed, report.failed, report.complete) == (1, 2, True)
    assert told(report) == [
        ("plain", "assertion", "add(2, 3) == 5", [("tests/plain.cpp", 3)]),
        ("slow", "timeout", "", []),
    ]


def test_programs_of_googletest_and_catch_are_known_by_their_output() -> None:
    gtest, catch = parse_gtest(GTEST, "/work"), parse_catch(CATCH, "/work")
    assert (gtest.passed, gtest.failed, catch.passed, catch.failed) == (1, 1, 1, 1)
    assert told(gtest) == [("Adder.Adds", "failed", "Expected equality of these values:", [("g.cpp", 2)])]
    assert told(catch) == [("adds", "failed", "CHECK( 2 - 3 == 5 )", [("c.cpp", 3)])]
    made = check_of("make test")
    assert [read_output(made, text, "/work") for text in (GTEST, CATCH)] == [gtest, catch]
    assert parse_catch("All tests passed (3 assertions in 2 test cases)\n", "/work").passed == 2


def test_junit_tells_what_does_not_compile_and_where_it_hangs() -> None:
    assert told(parse_junit(JAVAC, "/work")) == [
        ("build", "build", "cannot find symbol", [("src/main/java/org/x/Adder.java", 2)])
    ]
    assert told(parse_junit(DUMP, "/work")) == [
        (
            "org.x.AdderTest.adds",
            "timeout",
            "it was still running",
            [("src/test/java/org/x/AdderTest.java", 7), ("src/main/java/org/x/Adder.java", 2)],
        )
    ]


def test_junit_core_and_failing_preparations() -> None:
    core = parse_junit(CORE, "/work")
    assert (core.passed, core.failed) == (2, 1)
    assert told(core) == [("org.x.OldTest.adds", "AssertionError", "expected:<5> but was:<-1>", [])]
    container = parse_junit(CONTAINER, "/work")
    assert (container.failed, container.problem) == (1, "no test passed")
    place = ("src/test/java/org/x/AdderTest.java", 9)
    assert told(container) == [("org.x.AdderTest", "IllegalStateException", "no base", [place])]


def test_phpunit_sections_fatal_errors_and_nothing_run() -> None:
    report = parse_phpunit(PHPUNIT, "/work")
    assert (report.passed, report.failed, report.complete) == (2, 2, True)
    assert told(report) == [
        ("AdderTest::testZero", "Error", "Call to undefined function Acme\\nope()",
         [("tests/AdderTest.php", 7), ("src/Adder.php", 4)]),
        ("AdderTest::testSame with data set #0 (1, 2)", "AssertionError",
         "Failed asserting that two strings are equal.", [("tests/AdderTest.php", 11)]),
    ]  # fmt: skip
    (fatal,) = parse_phpunit(PHP_PARSE, "/work").failures
    assert (fatal.error, fatal.frames[0].path, fatal.frames[0].line) == ("Fatal error", "src/Adder.php", 4)
    none = parse_phpunit(PHPUNIT_NONE, "/work")
    assert (none.complete, none.problem) == (False, "no test passed")


def test_a_type_error_ends_an_npm_script_and_has_a_place() -> None:
    report = read_output(check_of("npm test"), TSC, "/work")
    assert [(f.path, f.line) for f in report.failures[0].frames] == [("src/a.ts", 3)]
    assert report.failures[0].message.startswith("error TS2322")
