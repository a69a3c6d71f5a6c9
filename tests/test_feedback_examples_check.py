"""Examples as a command that runs: each is a test of its own, and its failure tells what was expected."""

from collections.abc import Mapping

import pytest

from feedback.checks import run_check
from feedback.example_expect import same
from feedback.examples import Example, check_of_examples, find_examples
from memory.records import CheckResult
from sandbox.local import LocalSandbox
from sandbox.packing import pack


def run(files: Mapping[str, str], examples: tuple[Example, ...], path: str) -> CheckResult:
    check = check_of_examples(examples, path, "py")
    assert check is not None
    assert check.origin == "examples"
    assert all(name.startswith(".adi") for name in check.files)
    with LocalSandbox(pack({name: text.encode() for name, text in files.items()})) as sandbox:
        return run_check(check, sandbox, 60)


MODULE = """\
from .base import ONE


def f(x):
    if x < 0:
        raise KeyError(x)
    while x == 100:
        pass
    if x == 50:
        print("fifty")
        return None
    return x + ONE
"""
DOC = """
f(1) -> 2
f(2) -> 4
f(-1) should raise LookupError
f(-2) should raise ValueError
f(3) should raise ValueError
f(0.5) returns 1.5
>>> f(50)
fifty
>>> print(f(6))
8

>>> f(100)
101
>>> tools.f(1)
2
>>> from package.module import f
>>> f(7)
8
>>> from not_there import g
>>> g(7)
8
"""


def test_each_example_is_a_test_in_its_package() -> None:
    examples = find_examples(f"Write a function.\n{DOC}", "py")
    files = {
        "src/package/__init__.py": "",
        "src/package/base.py": "ONE = 1\n",
        "src/package/module.py": MODULE,
        "conftest.py": "raise RuntimeError('not loaded')\n",
        "pytest.ini": "[pytest]\naddopts = --no-such-option\n",
    }
    result = run(files, examples, "src/package/module.py")
    told = {item.test.partition("::")[2]: f"{item.error}: {item.message}" for item in result.failures}
    assert told == {
        "test_example_2": "AssertionError: f(2) gave 3, expected 4",
        "test_example_4": "AssertionError: f(-2) raised KeyError: -2, expected ValueError",
        "test_example_5": "AssertionError: f(3) gave 4, expected ValueError",
        "test_example_8": "AssertionError: print(f(6)) showed '7\\n', expected '8'",
        "test_example_9": "TimeoutError: f(100) did not end within 4 s",
    }
    assert (result.passed, result.tests_passed, result.tests_failed) == (False, 5, 5), result.output
    assert "2 skipped" in result.output  # modules that are not there prove nothing


def test_right_code_passes_and_code_that_does_not_load_fails() -> None:
    examples = (Example("", "f(1)", "2"), Example("import json", "json.loads(f(2))", "{'a': 1.0}"))
    good = {"queue.py": "def f(x):\n    return 2 if x == 1 else '{\"a\": 1}'\n"}
    assert run(good, examples, "queue.py").passed
    for broken in ("def f(:\n", "import sys\nsys.exit(0)\n"):
        result = run({"queue.py": broken}, examples[:1], "queue.py")
        assert (result.passed, result.tests_passed, result.tests_failed) == (False, 0, 1), result.output


def test_an_example_may_leave_out_the_import_of_its_package() -> None:
    files = {
        "package/__init__.py": "from package.module import f\n",
        "package/module.py": "def f(x):\n    return x\n",
    }
    examples = (
        Example("got = package.f(2)", "got.real", "2"),
        Example("got = package.g(2)", "got.real", "2"),
        Example("got = tools.f(2)", "got.real", "2"),
    )
    result = run(files, examples, "package/module.py")
    told = [(item.test.partition("::")[2], item.error) for item in result.failures]
    assert told == [("test_example_2", "AttributeError")]
    assert (result.tests_passed, result.tests_failed) == (1, 1)
    assert "1 skipped" in result.output  # nothing is named tools


def test_a_name_with_brackets_is_no_call_of_a_function_that_wants_arguments() -> None:
    text = "def f(x):\n    pass\n\n\ndef g():\n    f()\n\n\ndef h(x=1):\n    raise KeyError(x)\n"
    examples = tuple(Example("", call, "", "ValueError") for call in ("f()", "g()", "h()"))
    result = run({"m.py": text}, examples, "m.py")
    assert [item.test.partition("::")[2] for item in result.failures] == ["test_example_2", "test_example_3"]
    assert "1 skipped" in result.output


def test_nothing_to_run_is_no_check() -> None:
    assert check_of_examples((), "m.py", "py") is None
    assert check_of_examples((Example("", "f(1)", "2"),), "m.xyz", "xyz") is None


@pytest.mark.parametrize(
    ("got", "want", "equal"),
    [
        (0.1 + 0.2, 0.3, True),
        ([1, {"a": 2.0000000001}], [1, {"a": 2.0}], True),
        (3, 3.0, True),
        (3.01, 3.0, False),
        (True, 1.0, True),
        ((1, 2), [1, 2], False),
        ({2, 1}, {1, 2}, True),
        ({"b": 1, "a": 2}, {"a": 2, "b": 1}, True),
        (float("nan"), float("nan"), True),
        ([1, 2], [1, 2, 3], False),
        (None, 0, False),
    ],
)
def test_values_are_compared_by_value(got: object, want: object, equal: bool) -> None:
    assert same(got, want, 1e-9) is equal


def test_a_rounded_float_is_equal_to_its_digits() -> None:
    files = {"m.py": "def f(x):\n    return x / 3\n"}
    told = ((1, "0.333"), (4, "1.334"), (7, "2.33"))
    examples = tuple(Example("", f"f({number})", value) for number, value in told)
    assert [item.message for item in run(files, examples, "m.py").failures] == [
        "f(4) gave 1.3333333333333333, expected 1.334",
        "f(7) gave 2.3333333333333335, expected 2.33",
    ]
