"""Examples in doc comments of other languages: found, run in their image, and their results counted."""

from contextlib import closing

import pytest
from languages import image

from feedback.checks import run_check
from feedback.examples import Example, check_of_examples, find_examples
from feedback.parse_tap import parse_tap
from sandbox.docker import DockerSandbox
from sandbox.packing import pack

COMMENT = """\
// Adds them up.
// >>> total({one})
// {two}
// >>> total({none})
// {zero}
// >>> total({half})
// {tenth};
"""
LITERALS = {
    "js": ("[1, 2]", "3", "[]", "0", "[0.1, 0.2]", "0.3"),
    "php": ("array(1, 2)", "3", "array()", "0", "array(0.1, 0.2)", "0.3"),
    "java": ("new double[] {1, 2}", "(3.0)", "new double[0]", "0.0", "new double[] {0.1, 0.2}", "(0.3)"),
    "cpp": ("std::vector<double>({1, 2})", "(3.0)", "{}", "0.0", "std::vector<double>({0.1, 0.2})", "(0.3)"),
    "rs": ("vec![1.0, 2.0]", "3.0", "vec![]", "0.0", "vec![0.1, 0.2]", "0.3"),
    "go": ("[]float64{1, 2}", "3.0", "[]float64{}", "0", "[]float64{0.1, 0.2}", "0.3"),
}
LITERALS["ts"] = LITERALS["js"]
SOURCES = {
    "js": (
        "src/total.js",
        "function total(all) { return all.reduce((sum, item) => sum + item, START); }\nconst START = 0;\n",
    ),
    "ts": (
        "total.ts",
        "declare var require: any;\nconst START: number = 0;\n"
        "function total(all: number[]): number { return all.reduce((sum, item) => sum + item, START); }\n",
    ),
    "php": (
        "total.php",
        "<?php\nconst START = 0;\nfunction total($all) { return START + array_sum($all); }\necho 'loaded';\n",
    ),
    "java": (
        "src/tool/Total.java",
        "package tool;\nimport java.util.*;\nclass Total {\n    static final double START = 0;\n"
        "    static double total(double[] all) { return START + Arrays.stream(all).sum(); }\n}\n",
    ),
    "cpp": (
        "total.cpp",
        "#include <vector>\nconst double START = 0;\n"
        "double total(std::vector<double> all) { double sum = START;\n"
        "for (double x : all) sum += x; return sum; }\n"
        "int main() { return 9; }\n",
    ),
    "rs": (
        "total.rs",
        "const START: f64 = 0.0;\nfn total(all: Vec<f64>) -> f64 { START + all.iter().sum::<f64>() }\n"
        "fn main() {}\n",
    ),
    "go": (
        "total_test.go",
        'package total_test\n\nimport (\n\t"fmt"\n\t"testing"\n)\n\nconst START = 0\n\n'
        "func total(all []float64) float64 {\n\tsum := float64(START)\n"
        "\tfor _, x := range all {\n\t\tsum += x\n\t}\n\treturn sum\n}\n",
    ),
}
PROFILES = {"js": "node", "ts": "node", "rs": "rust"}


def examples_of(language: str) -> tuple[Example, ...]:
    one, two, none, zero, half, tenth = LITERALS[language]
    comment = COMMENT.format(one=one, two=two, none=none, zero=zero, half=half, tenth=tenth)
    return find_examples(comment + SOURCES[language][1], language, entry="total")


@pytest.mark.parametrize("language", SOURCES)
def test_doc_comments_are_read(language: str) -> None:
    one, two, none, zero, half, tenth = LITERALS[language]
    assert [(item.call, item.expected) for item in examples_of(language)] == [
        (f"total({one})", two),
        (f"total({none})", zero),
        (f"total({half})", tenth),
    ]


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("// f(1) => 2\n// f(2) returns true.", [("f(1)", "2"), ("f(2)", "true")]),
        (" * f('a') // => 'b'", [("f('a')", "'b'")]),
        ("// >>> f([1,\n// 2])\n// 3", []),
        ("// >>> f(1)\n// [1,\n//  2]", [("f(1)", "[1, 2]")]),
        ("// >>> f(1)\n// gives the sum of all", []),
        ("// >>> f(1)\nfunction f(x) {", []),
        ("// f(1) => 2 * 3\n// f(x + 1) is more\n// 1 + f(1) => 3", []),
        ("// >>> f(1)\n// 2\n// >>> f(1)\n// 3", []),
        ("// >>> g(1)\n// 2", []),
    ],
)
def test_comments(text: str, found: list[tuple[str, str]]) -> None:
    assert [(item.call, item.expected) for item in find_examples(text, "js", entry="f")] == found


@pytest.mark.sample(2)
@pytest.mark.container
@pytest.mark.languages
@pytest.mark.parametrize("language", SOURCES)
def test_examples_run_apart_and_fail_apart(language: str) -> None:
    """Right code passes all, wrong code fails each; an example that is wrong itself hides no other."""
    path, source = SOURCES[language]
    examples = examples_of(language)
    check = check_of_examples(examples, path, language)
    odd = Example("", "total(nothing_of_that_name)", "1")
    more = check_of_examples((*examples, odd), path, language)
    assert check is not None
    assert more is not None
    archive = pack({path: source.encode()})
    with closing(
        DockerSandbox(archive, image=image(PROFILES.get(language, language)), run_id="examples")
    ) as sandbox:
        good = run_check(check, sandbox, 120)
        assert (good.passed, good.tests_passed, good.tests_failed) == (True, 3, 0), good.output
        wrong = (
            source.replace("START = 0", "START = 1")
            .replace("f64 = 0.0", "f64 = 1.0")
            .replace("double START = 0", "double START = 1")
        )
        sandbox.write({path: wrong.replace("number = 0", "number = 1").encode()})
        bad = run_check(more, sandbox, 120)
        compiled = language in ("java", "cpp", "rs", "go")
        assert (bad.passed, bad.tests_passed, bad.tests_failed) == (False, 0, 3 if compiled else 4), (
            bad.output
        )
        assert "expected" in bad.failures[0].message
        assert "got 4" in bad.failures[0].message
        sandbox.write({path: source.replace("total(", "total((", 1).encode()})
        broken = run_check(check, sandbox, 120)
        assert (broken.passed, broken.tests_passed) == (False, 0), broken.output
        assert broken.failures, broken.output


def test_tap_lines() -> None:
    report = parse_tap(
        "1..4\nnoise\nok 1 - f(1)\nnot ok 2 - f(2) # expected 3, got 4\nok 3 - g # SKIP no\n", "/w"
    )
    assert (report.passed, report.failed, report.complete) == (1, 2, True)
    assert [(item.test, item.message, item.error) for item in report.failures] == [
        ("f(2)", "expected 3, got 4", ""),
        ("test 4", "", "ended early"),
    ]
    assert report.problem
    assert parse_tap("ok 1 - f(1)\n", "").problem  # without its plan
    assert not parse_tap("1..1\nok 1 - f(1)\n", "").problem
    place = parse_tap("Bail out! does not compile\n/w/a.cpp:3:4: error: no f\n", "/w")
    assert (place.passed, place.failures[0].frames[0].path, place.failures[0].frames[0].line) == (
        0,
        "a.cpp",
        3,
    )
