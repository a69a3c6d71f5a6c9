"""Every case of docs/security.md has a test that exists, and every containment test has its row there."""

import ast
import re
from pathlib import Path

from tests.containment_report import CASES, case_of, counts

ROOT = Path(__file__).parent.parent
ROW = re.compile(r"^\| ([A-IK]\d\d) \| (.+?) \| (.+?) \| (.+) \|$", re.M)


def by_case() -> dict[str, set[str]]:
    """Names of the tests of each case, in files that are marked `containment`."""
    found: dict[str, set[str]] = {}
    for path in sorted((ROOT / "tests").glob("test_*.py")):
        source = path.read_text(encoding="utf-8")
        for node in ast.walk(ast.parse(source)):
            if isinstance(node, ast.FunctionDef) and (case := case_of(node.name)):
                assert "mark.containment" in source, f"{path.name} holds {node.name} and is not marked"
                found.setdefault(case, set()).add(node.name)
    return found


def test_every_case_has_a_test() -> None:
    found = by_case()
    assert [case for case in CASES if case not in found] == []
    assert sorted(set(found) - set(CASES)) == []


def test_the_table_names_each_case_its_control_and_its_tests() -> None:
    rows = {case: (what, control, tests) for case, what, control, tests in ROW.findall(security())}
    assert sorted(rows) == sorted(CASES)
    for case, names in by_case().items():
        told = set(re.findall(r"`(test_\w+)`", rows[case][2]))
        assert told == names, case
        assert rows[case][1].strip(), f"{case} names no control"


def security() -> str:
    return (ROOT / "docs" / "security.md").read_text(encoding="utf-8")


def test_counts_tell_cases_and_not_tests() -> None:
    lines = counts(
        [
            ("tests/x.py::test_sandbox_a01_one", "passed"),
            ("tests/x.py::test_sandbox_a01_two[x]", "failed"),
            ("tests/x.py::test_sandbox_a02_one", "passed"),
            ("tests/x.py::test_sandbox_a02_two", "skipped"),
            ("tests/x.py::test_agent_h09_one", "skipped"),
            ("tests/x.py::test_agent_other", "passed"),
        ]
    )
    assert lines[1].split()[-6:] == ["10", "1", "1", "0", "8", "4"]
    assert lines[8].split()[-6:] == ["9", "0", "0", "1", "8", "1"]
    assert lines[-1].split()[-6:] == [str(len(CASES)), "1", "1", "1", str(len(CASES) - 3), "5"]
