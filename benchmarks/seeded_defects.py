"""Makes a suite of seeded defects: one small change in the reference of an exercise that its tests catch.

Run: ADI_BENCH=DIR python benchmarks/seeded_defects.py OUT [--part unseen] [--limit N] [--seed 0]

DIR holds `exercism/exercism.jsonl`, Exercism's Python track. OUT/quixbugs/quixbugs.jsonl gets the form of
QuixBugs, so that `adi eval quixbugs --data OUT`, `benchmarks/ablation.py quixbugs` and `ADI_BENCH=OUT python
benchmarks/localisation.py` measure on it. Which change is made is drawn by a hash of seed and exercise; the
first one drawn counts after which at least one test fails and one still passes; agent/seed_changes.py tells
the kinds.
"""

import argparse
import difflib
import json
import os
import shlex
import sys
from pathlib import Path
from typing import Any

from agent.seed_changes import drawn
from agent.suite_data import part_of
from feedback.checks import check_of, run_check
from memory.records import CheckResult
from sandbox.docker import DockerSandbox
from sandbox.images import ensure_image
from sandbox.packing import pack

TRIED = 12
"""Changes of one program that are run before it is given up."""
TEST_S = 10.0


def tested(files: dict[str, str], command: str, image: str) -> CheckResult:
    """The exercise's tests on this tree."""
    archive = pack({path: text.encode() for path, text in files.items()})
    with DockerSandbox(archive, image=image, run_id="benchmark") as sandbox:
        return run_check(check_of(command), sandbox, TEST_S)


def seeded(row: dict[str, Any], seed: int, image: str) -> dict[str, Any] | None:
    """The exercise as a row of QuixBugs' form; None where no change is caught by a part of its tests."""
    if len(row["reference"]) != 1:
        return None
    ((path, fixed),) = row["reference"].items()
    command = (
        f"python -m pytest -q -p no:cacheprovider {' '.join(map(shlex.quote, sorted(row['test_files'])))}"
    )
    files = {**row["files"], **row["test_files"]}
    for change in drawn(fixed, f"{seed} {row['slug']}")[:TRIED]:
        buggy = change.made(fixed)
        result = tested({**files, path: buggy}, command.replace("python ", "python3 ", 1), image)
        if result.tests_failed and result.tests_passed and not result.passed:
            diff = difflib.unified_diff(buggy.splitlines(), fixed.splitlines(), path, path, lineterm="")
            return {
                "name": row["slug"],
                "kind": change.kind,
                "path": path,
                "description": row["instructions"],
                "buggy": buggy,
                "fixed": fixed,
                "fix_diff": "\n".join(diff),
                "files": files,
                "test_command": command,
            }
    return None


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("out", type=Path)
    parser.add_argument("--part", choices=("dev", "unseen", "all"), default="unseen")
    parser.add_argument("--limit", type=int, default=0, help="so many exercises are tried; 0 means all")
    parser.add_argument("--seed", type=int, default=0)
    given = parser.parse_args()
    if "ADI_BENCH" not in os.environ:
        parser.error("set ADI_BENCH to the folder of the suites")
    file = Path(os.environ["ADI_BENCH"]) / "exercism" / "exercism.jsonl"
    rows = [json.loads(line) for line in file.read_text(encoding="utf-8").splitlines()]
    slugs = [row["slug"] for row in rows]
    rows = [row for row in rows if given.part in ("all", part_of("exercism", row["slug"], slugs))]
    image = ensure_image("python")
    found = []
    for row in rows[: given.limit or None]:
        made = seeded(row, given.seed, image)
        sys.stderr.write(f"{row['slug']}: {made['kind'] if made else 'none is caught'}\n")
        found += [made] if made else []
    target = given.out / "quixbugs" / "quixbugs.jsonl"
    target.parent.mkdir(parents=True, exist_ok=True)
    target.write_text("".join(f"{json.dumps(row)}\n" for row in found), encoding="utf-8")
    sys.stdout.write(f"{len(found)} of {len(rows[: given.limit or None])} exercises: {target}\n")


if __name__ == "__main__":
    main()
