"""How tests of several languages are written, as patterns of lines: what defines, asserts, skips, loosens."""

import re
from typing import Final

DEFINES: Final = re.compile(
    r"^\s*(?:async\s+)?def\s+(?P<py>test\w*)"
    r"|^\s*(?:export\s+)?(?:it|test|specify)(?:\.\w+)*\s*\(\s*(?P<js>['\"`].*?['\"`])"
    r"|^func\s+(?P<go>(?:Test|Benchmark|Fuzz|Example)\w*)\s*\("
    r"|^\s*(?:public\s+|private\s+|protected\s+|final\s+|async\s+)*(?:void|function|fun|Task|fn)\s+(?P<x>\w+)\s*\("
    r"|^\s*(?:TEST|TEST_F|TEST_P|TEST_CASE|SCENARIO)\s*\((?P<c>[^)]*)\)"
    r"|^\s*(?:it|test|specify)\s+(?P<rb>['\"].*?['\"])\s+do\b"
)
"""The beginning of a test; of languages that mark tests by annotations, of any function."""
BY_THE_WAY: Final = re.compile(
    r"^\s*(?:$|#(?!\[)|//|/?\*|--|import\b|from\s+\S+\s+import\b|use\s|using\s|package\s|#include\b|const\s.*require\("
    r"|require(?:_relative)?\b|[{}()\[\];,\s]*$)"
)
"""Lines whose change moves no test: comments, imports and brackets."""

ASSERTS: Final = re.compile(
    r"^\s*assert\b|\bassert\w*[!(]|\bassert\.\w+|\bself\.assert\w+|\bself\.fail\w*\(|\bexpect\w*\s*\(|\bexpect\s*\{"
    r"|\.should\b|\bshould_\w+|\bpytest\.(?:raises|warns|approx)\b|\bt\.(?:Error|Errorf|Fatal|Fatalf|Fail|FailNow)\("
    r"|\b(?:require|assert|is)\.[A-Z]\w+\(|\bAssert(?:ions)?\.\w+|\$this->assert\w+|self::assert\w+|\bEXPECT_\w+|\bASSERT_\w+"
    r"|\b(?:REQUIRE|CHECK)(?:_\w+)?\(|\b(?:t|tap)\.(?:is|equal|same|ok|deepEqual|throws|not|true|false)\("
)

SKIPS: Final = re.compile(
    r"pytest\.mark\.(?:skip|skipif|xfail)\b|\bpytest\.(?:skip|xfail|importorskip)\s*\(|\bmark\.(?:skip|skipif|xfail)\b"
    r"|@(?:unittest\.)?(?:skip|skipIf|skipUnless|expectedFailure)\b|\.skipTest\s*\(|\braise\s+(?:unittest\.)?SkipTest\b"
    r"|^\s*__test__\s*=\s*False|\bcollect_ignore\w*|doctest:\s*\+SKIP"
    r"|\b(?:it|test|describe|suite|context|specify)\.(?:skip|todo|only|fails|failing|skipIf|runIf)\b"
    r"|\b(?:xit|xtest|xdescribe|xcontext|xspecify|fit|fdescribe)\s*\(|[{,]\s*(?:skip|todo|only)\s*:\s*(?:true|['\"`])"
    r"|\bthis\.skip\s*\(|\b(?:t|tb|b|ctx|context)\.(?:skip|todo|Skip|Skipf|SkipNow)\s*\("
    r"|^//go:build\s+(?:ignore|never)|^// \+build\s+ignore"
    r"|#\[\s*ignore\b|#\[\s*cfg\s*\(\s*any\s*\(\s*\)\s*\)|#\[\s*cfg_attr\s*\(.*\bignore\b"
    r"|@(?:Disabled\w*|Ignore)\b|\bassume(?:True|False|That)\s*\(|\benabled\s*=\s*false|\bAssume\.that"
    r"|\bmarkTest(?:Skipped|Incomplete)\b|@doesNotPerformAssertions|#\[(?:DoesNotPerformAssertions|RequiresPhp\w*)"
    r"|\bGTEST_SKIP\b|\bDISABLED_\w+|\[!(?:mayfail|shouldfail)\]|\[\.\]|\bSkip\s*=\s*\"|@tag\s+:?skip|\bpending\s+['\"]"
)

TRIVIAL: Final = re.compile(
    r"^\s*assert\s+(?:True|1|not\s+False|not\s+None)\s*(?:,|#|$)|^\s*assert\b.*\bor\s+True\b"
    r"|\bassert(?:True|_true|_)\s*\(\s*(?:True|true|1)\s*[,)]|\bassertFalse\s*\(\s*(?:False|false|0)\s*[,)]"
    r"|\bexpect\s*\(\s*(?P<a>true|false|1|null)\s*\)\s*\.\w+(?:\(\s*(?P=a)\s*\)|\(\s*\))"
    r"|\bassert(?:\.ok)?\s*\(\s*true\s*[,)]|\bassert!\s*\(\s*true\s*[,)]"
    r"|\b(?:assert_eq!|assert\.(?:strictEqual|equal|Equal)|assertEquals?|assertSame|EXPECT_EQ|ASSERT_EQ)\s*\(\s*(?:t,\s*)?"
    r"(?P<b>[\w.\"']+)\s*,\s*(?P=b)\s*\)"
    r"|^\s*assert\s+(?P<c>[\w.()\[\]]+)\s*==\s*(?P=c)\s*$|\bassert\.True\s*\(\s*t,\s*true\s*[,)]|\b(?:EXPECT|ASSERT)_TRUE\(true\)"
)
"""Asserts that cannot fail."""

DISABLES: Final = re.compile(
    r"^\s*if\s+(?:False|0|not\s+True)\s*:|\bif\s*\(\s*(?:false|0)\s*\)|^\s*if\s+false\s*\{|^\s*#\s*if\s+0\b"
)
"""What keeps the lines behind it from running."""

SWALLOWS: Final = re.compile(
    r"\bexcept\s*\(?.*\bAssertionError\b|\bsuppress\(.*(?:AssertionError|Exception)\b|\bcatch\s*\(\s*AssertionError\b"
    r"|\brescue\s+(?:Minitest::Assertion|RSpec::Expectations|Exception)\b|\bcatch\s*\(\s*(?:\\?PHPUnit|Throwable|AssertionFailedError)"
)
"""What keeps a failing assert from being heard."""

ANY_ERROR: Final = re.compile(
    r"\braises\(\s*(?:Base)?Exception\b|\bassertRaises\(\s*(?:Base)?Exception\b|\.toThrow\(\s*(?:Error)?\s*\)"
    r"|\bassertThrows\(\s*(?:Exception|Throwable|RuntimeException)\.class|\bexpectException\(\s*\\?(?:Exception|Throwable)::class"
    r"|\bassert\.throws\(\s*[^,]+\)\s*;?\s*$|\bEXPECT_ANY_THROW\b"
)
"""Asserts that any error will do."""

STRICTNESS: Final = (
    (4, re.compile(r"\btoStrictEqual\b|\bdeepStrictEqual\b|\bassertSame\b|\bassertIs\b|(?<![!=])===")),
    (
        3,
        re.compile(
            r"(?<![!=<>])==(?!=)|\bassert(?:Equals?|_eq!|_equal|CountEqual|ListEqual|DictEqual|ArrayEquals)\b|\bassert_eq!"
            r"|\b(?:toBe|toEqual|eql?|equals?|Equal|strictEqual|deepEqual|isEqualTo)\s*\(|\b(?:EXPECT|ASSERT|REQUIRE)_EQ\b|!=\s*\w+.*\{\s*$"
        ),
    ),
    (2, re.compile(r"\bapprox\b|AlmostEqual|toBeCloseTo|InDelta|_NEAR\b|isclose|EqualsWithDelta|\bdelta\b")),
    (
        1,
        re.compile(
            r"\bassert\w*[!(]|^\s*assert\b|\bexpect\w*\s*\(|\bassert\.\w+|\$this->assert|self::assert|\b(?:EXPECT|ASSERT)_\w+|\bt\.(?:Error|Fatal)"
        ),
    ),
)
"""How much an assert demands: identity, equality, nearness, anything."""

TOLERANCE: Final = re.compile(
    r"\b(?:abs|rel|atol|rtol|tol\w*|delta|eps\w*|places|within|precision)\b|approx|AlmostEqual|CloseTo|InDelta|_NEAR\b|EPSILON|WithDelta",
    re.IGNORECASE,
)
DIGITS: Final = re.compile(r"\bplaces\b|AlmostEqual\((?!.*delta)|toBeCloseTo|\bprecision\b")
"""Tolerances told in digits: fewer are looser."""
NUMBER: Final = re.compile(r"(?<![\w.])\d+(?:\.\d*)?(?:e[+-]?\d+)?(?!\w)", re.IGNORECASE)

CONFIGURES: Final = re.compile(
    r"\baddopts\b|--deselect\b|--ignore(?:-glob)?\b|\btestpaths\b|\bnorecursedirs\b|\bpython_(?:files|classes|functions)\b"
    r"|xfail_strict\s*=\s*false|testPathIgnorePatterns|\btestMatch\b|\btestRegex\b|passWithNoTests|\bcollect_ignore"
    r"|\bharness\s*=\s*false|\bautotests\s*=\s*false|^\s*test\s*=\s*false|\bWILL_FAIL\b|\bDISABLED\s+(?:TRUE|ON)\b"
    r"|<exclude>|<skipTests>\s*true|maven\.test\.skip|-DskipTests|testFailureIgnore|ignoreFailures\s*=\s*true",
    re.IGNORECASE,
)
"""Settings that leave tests out or let them fail."""
HOOKS: Final = re.compile(
    r"\bpytest_(?:collection\w*|runtest\w*|pyfunc_call|ignore_collect|sessionfinish|terminal_summary|configure|exception_interact"
    r"|report\w*|generate_tests|itemcollected|deselected|cmdline\w*)\b|\bcollect_ignore|\bautouse\s*=\s*True|\.outcome\s*="
    r"|\bsys\.modules\[|\bitems\.clear\(|\bexitstatus\b"
)
"""What a conftest.py can do to tests that do not ask for it."""
TEST_COMMAND: Final = re.compile(
    r"^\s*\"(?:pre|post)?test(?::\w+)?\"\s*:|^test\w*\s*:|^\s+.*\|\|\s*(?:true|exit 0)\s*$"
)
"""A line of package.json or of a makefile that says how tests run."""
