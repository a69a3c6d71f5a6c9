"""The verdict: what tampering with the proof does, run for real in the local sandbox."""

import os
import sys
from collections.abc import Callable, Mapping
from pathlib import Path

import pytest
from conftest import RepoFactory

from feedback.checks import detect, run_check
from feedback.disputed import disputed
from feedback.evidence import bends_tests, is_test_path, named_by, shadows, started_by
from feedback.verdict import examine, judge, no_worse
from memory.records import Check, CheckResult, Evaluation, Failure, Status
from sandbox.local import LocalSandbox
from sandbox.protocol import ExecResult, Sandbox
from sandbox.workcopy import WorkCopy, snapshot

BROKEN = b"def gcd(a, b):\n    return a\n"
FIXED = b"def gcd(a, b):\n    while b:\n        a, b = b, a % b\n    return a\n"
TEST = b"from gcd import gcd\n\n\ndef test_a():\n    assert gcd(4, 2) == 2\n"
FILES = {
    "gcd.py": BROKEN,
    "tests/test_gcd.py": TEST,
    "tests/conftest.py": b"import sys\nsys.path.insert(0, '.')\n",
}


@pytest.fixture(autouse=True)
def this_python(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}")


@pytest.fixture
def original(make_repo: RepoFactory, tmp_path: Path) -> WorkCopy:
    return WorkCopy(snapshot(make_repo(FILES), tmp_path / "shadow"))


def local(work: WorkCopy) -> Sandbox:
    return LocalSandbox(work.archive())


def judged(
    original: WorkCopy,
    edits: Mapping[str, bytes | None],
    on_result: Callable[[CheckResult], object] | None = None,
) -> Evaluation:
    changed = original.fork()
    for path, data in edits.items():
        if data is None:
            changed.delete(path)
        else:
            changed.write(path, data)
    return judge(original, changed, detect(original), local, timeout_s=30.0, on_result=on_result)


def test_a_right_change_is_accepted(original: WorkCopy) -> None:
    told: list[CheckResult] = []
    verdict = judged(original, {"gcd.py": FIXED, "tests/test_more.py": TEST}, on_result=told.append)
    assert (verdict.accepted, verdict.reward, verdict.protected) == (True, 1.0, ())
    assert verdict.results == tuple(told)
    assert verdict.results[0].tests_passed == 2
    assert "new tests: tests/test_more.py" in verdict.detail


def test_a_weakened_test_changes_nothing(original: WorkCopy) -> None:
    verdict = judged(original, {"tests/test_gcd.py": b"def test_a():\n    assert True\n"})
    assert (verdict.accepted, verdict.reward) == (False, 0.0)
    assert verdict.changed_tests == ("tests/test_gcd.py",)
    assert verdict.results[0].failures[0].test == "tests/test_gcd.py::test_a"


def test_a_deleted_test_is_run_all_the_same(original: WorkCopy) -> None:
    verdict = judged(original, {"tests/test_gcd.py": None, "gcd.py": FIXED})
    assert verdict.results[0].passed
    assert not verdict.accepted
    assert verdict.deleted_tests == ("tests/test_gcd.py",)
    assert verdict.detail.endswith("a person must look")


@pytest.mark.sample(2)
@pytest.mark.parametrize(
    "path",
    [
        "conftest.py",
        "sitecustomize.py",
        "pytest.ini",
        "tests/gcd.py",
        "pytest.py",
        "evil.egg-info/entry_points.txt",
    ],
)
def test_planted_files_are_left_out_and_named(original: WorkCopy, path: str) -> None:
    text = b"import os\nos._exit(0)\n" if path.endswith(".py") else b"[pytest11]\nx = evil\n"
    verdict = judged(original, {path: text})
    assert (verdict.accepted, verdict.results[0].passed) == (False, False)
    assert path in verdict.protected
    assert verdict.results[0].failures[0].test == "tests/test_gcd.py::test_a"


def test_files_that_need_approval_are_named(original: WorkCopy) -> None:
    verdict = judged(original, {"gcd.py": FIXED, ".github/workflows/ci.yml": b"on: push\n"})
    assert verdict.results[0].passed
    assert (verdict.accepted, verdict.protected) == (False, (".github/workflows/ci.yml",))


def test_no_checks_prove_nothing(original: WorkCopy) -> None:
    verdict = judge(original, original.fork(), (), local, timeout_s=5.0)
    assert (verdict.accepted, verdict.reward) == (False, 0.0)


class Lost(LocalSandbox):
    """A sandbox that is gone when it is asked."""

    def run(
        self,
        command: str,
        *,
        timeout_s: float,
        stdin: bytes = b"",
        on_output: Callable[[bytes], None] | None = None,
    ) -> ExecResult:
        del command, timeout_s, stdin, on_output
        return ExecResult("sandbox-lost", None, b"1 passed in 0.1s\n", False, 0.0)


def test_a_lost_sandbox_is_replaced_once_and_never_a_pass(original: WorkCopy) -> None:
    made = [Lost, LocalSandbox]
    fixed = original.fork()
    fixed.write("gcd.py", FIXED)
    verdict = judge(
        original, fixed, detect(original), lambda work: made.pop(0)(work.archive()), timeout_s=30.0
    )
    assert (verdict.accepted, made) == (True, [])
    verdict = judge(original, fixed, detect(original), lambda work: Lost(work.archive()), timeout_s=30.0)
    assert (verdict.accepted, verdict.results[0].status) == (False, Status.SANDBOX_LOST)


UNRELATED = TEST + b"\n\ndef test_other():\n    assert gcd(0, 0) == 1\n"
PROJECT = Check(name="pytest", command="python3 -m pytest -q tests", kind="pytest")
GOAL = Check(
    name="examples", command="python3 .adi/e.py", files={".adi/e.py": "import sys; sys.path[:0] = ['.']\n"
    "from gcd import gcd\nassert gcd(6, 4) == 2\n"}, origin="examples",
)  # fmt: skip


@pytest.mark.sample(2)
@pytest.mark.parametrize(
    ("gcd", "checks", "accepted"),
    [
        (FIXED, (GOAL, PROJECT), True),  # the unrelated failure stays, the goal is reached
        (FIXED, (PROJECT,), False),  # nothing else shows the goal: the failing test may be it
        (FIXED, (PROJECT.model_copy(update={"origin": "given"}), GOAL), False),  # the person wants it to pass
        (BROKEN, (GOAL, PROJECT), False),
        (b"def gcd(a, b):\n    return 2 if a == 6 else 0\n", (GOAL, PROJECT), False),  # one more fails
    ],
)
def test_what_failed_before_is_borne_beside_a_proof(
    make_repo: RepoFactory, tmp_path: Path, gcd: bytes, checks: tuple[Check, ...], accepted: bool
) -> None:
    """`test_other` fails before and after; `test_a` passes on the first gcd only where that is right."""
    first = b"def gcd(a, b):\n    return 2 if (a, b) == (4, 2) else 3\n"
    files = {**FILES, "gcd.py": first, "tests/test_gcd.py": UNRELATED}
    start = WorkCopy(snapshot(make_repo(files), tmp_path / "shadow"))
    with LocalSandbox(start.archive()) as sandbox:
        before = [run_check(check, sandbox, 30.0) for check in checks]
    changed = start.fork()
    changed.write("gcd.py", gcd)
    verdict = judge(start, changed, checks, local, timeout_s=30.0, baseline=before)
    assert [result.passed for result in before] == [False] * len(checks)
    assert verdict.accepted is accepted


OLD = b"from shown import shown\n\n\ndef test_none():\n    assert shown(None) == 'value None'\n\n\n"
SAYS = (
    "from shown import shown\ngot, want = shown(None), 'value unknown'\n"
    "if got != want: raise AssertionError(f'shown(None) gave {got!r}, expected {want!r}')\n"
)


@pytest.mark.parametrize(
    ("text", "other", "contested"),
    [
        (
            "'value unknown' if v is None else f'value {v}'",
            b"def test_one(): assert shown(1) == 'value 1'",
            True,
        ),
        ("'value unknown'", b"def test_one(): assert shown(1) == 'value 1'", False),  # one more test fails
        ("f'value {v}'", b"", False),  # nothing was mended
    ],
)
def test_a_test_that_asserts_what_the_task_calls_wrong_needs_a_person(
    make_repo: RepoFactory, tmp_path: Path, text: str, other: bytes, contested: bool
) -> None:
    first = b"def shown(v):\n    return f'value {v}'\n"
    files = {"tests/conftest.py": FILES["tests/conftest.py"], "tests/test_shown.py": OLD + other + b"\n"}
    start = WorkCopy(snapshot(make_repo({**files, "shown.py": first}), tmp_path / "shadow"))
    says = f"import sys; sys.path[:0] = ['.']\n{SAYS}"
    goal = GOAL.model_copy(update={"files": {".adi/e.py": says}})
    with LocalSandbox(start.archive()) as sandbox:
        before = [run_check(check, sandbox, 30.0) for check in (goal, PROJECT)]
    changed = start.fork()
    changed.write("shown.py", f"def shown(v):\n    return {text}\n".encode())
    verdict = judge(start, changed, (goal, PROJECT), local, timeout_s=30.0, baseline=before)
    assert not verdict.accepted
    tests = ("tests/test_shown.py::test_none",) if contested else ()
    assert verdict.disputed_tests == tests
    assert ("tests assert what the task calls wrong: tests/test_shown" in verdict.detail) is contested


@pytest.mark.parametrize(
    ("wrong", "right", "message", "found"),
    [
        ("'value None'", "'value ?'", "assert 'value ?' == 'value None'\n  - None", True),
        ("'value None'", "'value ?'", "'value ?' != 'value None'\n- value ?", True),
        ("'value None'", "'value ?'", "assert 'value !' == 'value None'", False),
        ("0", "1", "assert 1 == 0", False),
    ],
)
def test_only_telling_values_excuse_a_test(wrong: str, right: str, message: str, found: bool) -> None:
    example = Failure(test="e", message=f"f(x) gave {wrong}, expected {right}")
    before = CheckResult(check="e", status=Status.NONZERO, passed=False, failures=(example,))
    now = before.model_copy(update={"failures": (Failure(test="t", message=message),)})
    assert disputed([before], now) == (("t",) if found else ())


def test_no_worse_means_no_other_failure() -> None:
    failures = tuple(Failure(test=f"t::{name}") for name in "ab")
    before = CheckResult(
        check="c", status=Status.NONZERO, passed=False, tests_passed=3, tests_failed=2, failures=failures
    )
    one = before.model_copy(update={"tests_failed": 1, "tests_passed": 4, "failures": failures[1:]})
    other = one.model_copy(update={"failures": (Failure(test="t::new"),)})
    assert no_worse(before, before)
    assert no_worse(before, one)
    assert no_worse(before, before.model_copy(update={"passed": True, "failures": ()}))
    assert not no_worse(before, other)
    assert not no_worse(before, before.model_copy(update={"tests_passed": 2}))  # a test vanished
    assert not no_worse(before, one.model_copy(update={"status": Status.TIMEOUT}))
    assert not no_worse(None, one)
    fine = before.model_copy(update={"passed": True, "status": Status.OK, "tests_passed": 5, "failures": ()})
    fine = fine.model_copy(update={"tests_failed": 0})
    assert not no_worse(fine, one)
    assert no_worse(fine, one, {"t::b"})
    assert not no_worse(fine, before, {"t::b"})
    assert not no_worse(fine, one.model_copy(update={"tests_passed": 3}), {"t::b"})


def test_paths_that_belong_to_the_proof() -> None:
    tests = [
        "tests/data/a.json",
        "test_a.py",
        "pkg/a_test.go",
        "src/a.spec.ts",
        "web/__tests__/a.js",
        "conftest.py",
    ]
    others = ["src/testing.py", "contest.py", "latest.py", "docs/spec.md", "attest/a.py"]
    assert [path for path in tests if not is_test_path(path)] == []
    assert [path for path in others if is_test_path(path)] == []


@pytest.mark.parametrize(
    ("path", "before", "after", "bends"),
    [
        ("pyproject.toml", '[project]\nname = "a"\n', '[project]\nname = "b"\n', False),
        (
            "pyproject.toml",
            "[tool.pytest.ini_options]\n",
            '[tool.pytest.ini_options]\naddopts = "-x"\n',
            True,
        ),
        ("pyproject.toml", "[project]\n", "[project\n", True),
        ("package.json", '{"scripts": {"test": "jest"}}', '{"scripts": {"test": "true"}}', True),
        ("package.json", '{"version": "1"}', '{"version": "2"}', False),
        ("setup.cfg", "[metadata]\nname = a\n", "[metadata]\nname = b\n", False),
        ("setup.cfg", "[metadata]\n", "[tool:pytest]\naddopts = -x\n", True),
        ("Makefile", "test:\n\tpytest\n", "test:\n\ttrue\n", True),
        ("Cargo.toml", '[package]\nversion = "1"\n', '[package]\nversion = "2"\n', False),
        ("Cargo.toml", "[lib]\n", "[lib]\ntest = false\n", True),
        ("src/app.py", "x = 1\n", "x = 2\n", False),
        ("pyproject.toml", "[tool.ruff]\n", '[tool.ruff]\nlint.ignore = ["F"]\n', True),
        ("pyproject.toml", "[tool.towncrier]\n", '[tool.towncrier]\nname = "a"\n', False),
        ("setup.cfg", "[flake8]\n", "[flake8]\nignore = F\n", True),
        ("package.json", "{}", '{"eslintConfig": {"rules": {}}}', True),
        ("ruff.toml", "", "ignore = ['F']\n", True),
        ("web/.eslintrc.json", "{}", '{"rules": {}}', True),
        ("eslint.config.mjs", "", "export default []\n", True),
        (".golangci.yml", "", "issues: {}\n", True),
        ("ruffled.toml", "", "x = 1\n", False),
        ("docs/mypy.md", "", "x\n", False),
    ],
)
def test_only_the_part_that_rules_tests_counts(path: str, before: str, after: str, bends: bool) -> None:
    assert bends_tests(path, before.encode(), after.encode()) is bends


@pytest.mark.parametrize(
    ("command", "named"),
    [
        ("python3 -m unittest discover -s cases -p '*_case.py'", {"cases/a_case.py", "cases/deep/b_case.py"}),
        ("ENV=1 python3 -m unittest discover --start-directory=cases --pattern=a_*", {"cases/a_case.py"}),
        ("python3 -m pytest -q cases/a_case.py::test_it core.py", {"cases/a_case.py", "core.py"}),
        ("pytest --doctest-modules core.py", set()),
        ("python3 -m unittest", set()),
        ("make test", set()),
    ],
)
def test_files_that_a_command_names_are_tests_whatever_they_are_called(command: str, named: set[str]) -> None:
    paths = {"core.py", "cases/a_case.py", "cases/deep/b_case.py", "cases/a_data.json"}
    assert named_by([command], paths) == named


def test_a_change_of_such_a_file_is_judged_with_its_original_text(
    make_repo: RepoFactory, tmp_path: Path
) -> None:
    case = b"import unittest\n\nimport gcd\n\n\nclass Case(unittest.TestCase):\n    def test_a(self):\n"
    files = {"gcd.py": BROKEN, "cases/gcd_case.py": case + b"        self.assertEqual(gcd.gcd(4, 2), 2)\n"}
    original = WorkCopy(snapshot(make_repo(files), tmp_path / "shadow"))
    changed = original.fork()
    changed.write("cases/gcd_case.py", case + b"        pass\n")
    check = Check(
        name="tests", command="python3 -m unittest discover -s cases -t . -p '*_case.py'", kind="unittest"
    )
    verdict = judge(original, changed, [check], local, timeout_s=30.0)
    assert not verdict.accepted
    assert verdict.changed_tests == ("cases/gcd_case.py",)
    assert not verdict.results[0].passed


def test_scripts_that_a_check_starts_grade_the_change() -> None:
    commands = ["sh ./ci/lint.sh && python3 calc.py", "PATH=x:y bin/check --all|tee out.txt"]
    paths = ["ci/lint.sh", "lint.sh", "calc.py", "bin/check", "check", "out.txt"]
    assert started_by(commands, paths) == {"ci/lint.sh", "bin/check"}


def test_modules_that_hide_others() -> None:
    existing = {"gcd.py", "src/app/__init__.py", "src/app/core.py"}
    hiding = ["json.py", "src/random.py", "tests/gcd.py", "unittest/__init__.py", "src/gcd.py"]
    harmless = ["src/app/types.py", "helpers.py", "src/app/json.py", "docs/json.md", "pkg/gcd.py"]
    assert [path for path in hiding if not shadows(path, existing)] == []
    assert [path for path in harmless if shadows(path, existing)] == []


def test_a_change_of_nothing_holds_no_evidence(original: WorkCopy) -> None:
    assert examine(original, original.fork()).changed == ()
