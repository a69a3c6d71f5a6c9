"""Every case of docs/data.md has a test in the file that its row names."""

import re
from pathlib import Path

ROOT = Path(__file__).parent.parent
ROW = re.compile(r"^\| (L0\d) \| .+ \| `(test_\w+\.py)` \|$", re.M)
CASES = [f"L0{number}" for number in range(1, 8)]


def test_every_case_has_a_test_where_its_row_says() -> None:
    rows = ROW.findall((ROOT / "docs" / "data.md").read_text(encoding="utf-8"))
    assert [case for case, _ in rows] == CASES
    for case, name in rows:
        source = (ROOT / "tests" / name).read_text(encoding="utf-8")
        assert re.search(rf"^def test_[a-z]+_{case.lower()}_\w+\(", source, re.M), f"{name} has no {case}"
