"""Checks found in repositories, and run for real in the local sandbox."""

import shutil
from collections.abc import Callable, Mapping
from pathlib import Path

import pytest
from conftest import RepoFactory

from feedback.checks import check_of, checks_of, detect, image_profile, run_check
from memory.records import Check, CheckResult, Status
from sandbox.local import LocalSandbox
from sandbox.workcopy import WorkCopy, snapshot

GCD = "def gcd(a, b):\n    while b:\n        a, b = b, a % b\n    return a\n"
PLAIN = "from gcd import gcd\n\n\ndef test_a():\n    assert gcd(4, 2) == 2\n"
CASE = (
    "import unittest\nfrom gcd import gcd\n\n\nclass T(unittest.TestCase):\n"
    "    def test_a(self):\n        self.assertEqual(gcd(4, 2), 2)\n"
)

CopyOf = Callable[[Mapping[str, str]], WorkCopy]


@pytest.fixture
def copy_of(make_repo: RepoFactory, tmp_path: Path) -> CopyOf:
    return lambda files: WorkCopy(snapshot(make_repo(files), tmp_path / "shadow"))


def run(files: WorkCopy, check: Check, timeout_s: float = 30.0) -> CheckResult:
    with LocalSandbox(files.archive()) as sandbox:
        return run_check(check, sandbox, timeout_s)


def test_a_test_file_that_cannot_be_imported_does_not_hide_the_others(copy_of: CopyOf) -> None:
    files = copy_of({"gcd.py": GCD, "test_gcd.py": PLAIN, "test_absent.py": "import adi_absent\n"})
    (check,) = detect(files)
    result = run(files, check)
    assert not result.passed
    assert (result.tests_passed, result.tests_failed) == (1, 1), result.output


@pytest.mark.parametrize("tests", [PLAIN, CASE])
def test_a_package_below_src_is_found_by_its_tests(copy_of: CopyOf, tests: str) -> None:
    files = copy_of({"src/gcd/__init__.py": GCD, "tests/test_gcd.py": tests})
    (check,) = detect(files)
    result = run(files, check)
    assert result.passed, result.output


@pytest.mark.parametrize(
    ("files", "commands", "profile"),
    [
        ({"gcd.py": GCD, "test_gcd.py": PLAIN}, ["python3 -m pytest -q"], "python"),
        (
            {"gcd.py": GCD, "pyproject.toml": "[tool.pytest.ini_options]\n"},
            ["python3 -m pytest -q"],
            "python",
        ),
        ({"gcd.py": GCD, "tox.ini": "[pytest]\n"}, ["python3 -m pytest -q"], "python"),
        ({"gcd.py": GCD, "test_gcd.py": CASE}, ["python3 -m unittest discover"], "python"),
        ({"gcd.py": GCD, "tests/test_gcd.py": CASE}, ["python3 -m unittest discover -s tests"], "python"),
        (
            {"gcd.py": GCD, "tests/__init__.py": "", "tests/test_gcd.py": CASE},
            ["python3 -m unittest discover"],
            "python",
        ),
        (
            {"src/gcd/__init__.py": GCD, "tests/test_gcd.py": PLAIN},
            ["PYTHONPATH=src python3 -m pytest -q"],
            "python",
        ),
        (
            {"src/gcd.py": GCD, "tests/test_gcd.py": CASE},
            ["PYTHONPATH=src python3 -m unittest discover -s tests"],
            "python",
        ),
        ({"src/gcd.js": "", "test_gcd.py": PLAIN}, ["python3 -m pytest -q"], "python"),
        ({"package.json": '{"scripts": {"test": "node --test"}}'}, ["npm test"], "node"),
        (
            {"package.json": '{"scripts": {"test": "echo \\"Error: no test specified\\" && exit 1"}}'},
            [],
            "node",
        ),
        (
            {"package.json": "not json", "Makefile": "build:\n\ttrue\ntest: build\n\ttrue\n"},
            ["make test"],
            "node",
        ),
        ({"go.mod": "module x\n", "x_test.go": "package x\n"}, ["go test ./..."], "go"),
        ({"Cargo.toml": "[package]\n", "Makefile": "test:\n\tcargo test\n"}, ["cargo test"], "rust"),
        ({"README.md": "nothing\n", "Makefile": "test := 1\n"}, [], "python"),
    ],
)
def test_detect(copy_of: CopyOf, files: dict[str, str], commands: list[str], profile: str) -> None:
    work = copy_of(files)
    checks = detect(work)
    assert [check.command for check in checks] == commands
    assert image_profile(checks, work.paths()) == profile


def test_a_given_command_is_known_by_its_words() -> None:
    kinds = [
        check_of(text).kind for text in ("python -m pytest -x", "make test", "cargo test", "ruff check .")
    ]
    assert kinds == ["pytest", "make", "cargo", "command"]
    assert [check.name for check in checks_of(["true", "true"])] == ["true", "true (2)"]


def test_pytest_passes_and_fails(copy_of: CopyOf) -> None:
    work = copy_of({"gcd.py": GCD, "test_gcd.py": PLAIN})
    (check,) = detect(work)
    good = run(work, check)
    assert (good.passed, good.tests_passed, good.failures) == (True, 1, ())
    work.write("gcd.py", b"def gcd(a, b):\n    return a\n")
    bad = run(work, check)
    assert (bad.passed, bad.status, bad.exit_code) == (False, Status.NONZERO, 1)
    assert bad.failures[0].test == "test_gcd.py::test_a"
    assert bad.failures[0].source == "assert gcd(4, 2) == 2"


def test_an_endless_loop_is_located(copy_of: CopyOf) -> None:
    work = copy_of({"gcd.py": "def gcd(a, b):\n    while b:\n        pass\n", "test_gcd.py": PLAIN})
    result = run(work, detect(work)[0], timeout_s=6.0)
    assert (result.passed, result.status, result.exit_code) == (False, Status.TIMEOUT, None)
    (failure,) = result.failures
    assert (failure.test, failure.error) == ("test_gcd.py::test_a", "timeout")
    assert failure.frames[-1].path == "gcd.py"


def test_no_collected_tests_and_an_early_exit_are_no_pass(copy_of: CopyOf) -> None:
    empty = copy_of({"pytest.ini": "[pytest]\n", "gcd.py": GCD})
    none = run(empty, detect(empty)[0])
    assert (none.passed, none.exit_code) == (False, 5)
    assert "no tests were collected" in none.output
    empty.write("test_x.py", b"import os\nos._exit(0)\n")
    fled = run(empty, detect(empty)[0])
    assert (fled.passed, fled.exit_code) == (False, 0)
    assert "pytest did not finish" in fled.output


def test_options_for_a_plugin_that_is_missing_are_left_out(copy_of: CopyOf) -> None:
    ini = "[pytest]\naddopts = --no-such-plugin-option=1\n"
    assert run(*_with_check(copy_of({"pytest.ini": ini, "gcd.py": GCD, "test_gcd.py": PLAIN}))).passed


def _with_check(work: WorkCopy) -> tuple[WorkCopy, Check]:
    return work, detect(work)[0]


def test_a_broken_conftest_is_told(copy_of: CopyOf) -> None:
    work = copy_of({"conftest.py": "import nothere\n", "gcd.py": GCD, "test_gcd.py": PLAIN})
    (failure,) = run(work, detect(work)[0]).failures
    assert (failure.error, failure.frames[-1].path) == ("ModuleNotFoundError", "conftest.py")


def test_unittest_runs_from_its_folder(copy_of: CopyOf) -> None:
    work = copy_of({"gcd.py": GCD, "tests/test_gcd.py": CASE})
    (check,) = detect(work)
    assert run(work, check).tests_passed == 1
    work.write("gcd.py", b"def gcd(a, b):\n    raise ValueError(a)\n")
    (failure,) = run(work, check).failures
    assert (failure.test, failure.error, failure.message) == ("test_gcd.T.test_a", "ValueError", "4")
    assert [frame.path for frame in failure.frames] == ["tests/test_gcd.py", "gcd.py"]


@pytest.mark.skipif(shutil.which("node") is None, reason="node is not installed")
def test_node(copy_of: CopyOf) -> None:
    test = "require('node:test')('adds', () => { require('node:assert').strictEqual(1, 2); });\n"
    work = copy_of({"a.test.js": test})
    result = run(work, check_of("node --test"))
    assert (result.passed, result.tests_failed) == (False, 1)
    assert (result.failures[0].error, result.failures[0].frames[-1].path) == ("AssertionError", "a.test.js")


def test_output_that_is_no_text_is_kept_readable(copy_of: CopyOf) -> None:
    heard: list[bytes] = []
    with LocalSandbox(copy_of({"a": "x\n"}).archive()) as sandbox:
        result = run_check(check_of(r"printf 'a\377\033[2Jb\000c\n'; exit 3"), sandbox, 10.0, heard.append)
    assert (result.status, result.exit_code) == (Status.NONZERO, 3)
    assert "a\\xff" in result.output
    assert b"adi-root" not in b"".join(heard)
    assert b"a\xff" in b"".join(heard)
