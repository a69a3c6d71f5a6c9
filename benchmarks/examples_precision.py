"""Counts the examples that are read out of benchmark tasks, and those that the reference fails: false ones.

Usage: ADI_BENCH=FOLDER python benchmarks/examples_precision.py
Only HumanEval tasks whose number 4 divides and the train split of MBPP; each reference runs in a sandbox.
"""

import json
import os
import sys
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

from feedback.checks import run_check
from feedback.examples import Example, check_of_examples, find_examples
from sandbox.docker import DockerSandbox
from sandbox.images import recipe
from sandbox.packing import pack

LIMIT_S = 120.0
Task = tuple[str, str, tuple[Example, ...]]
"""Name, reference, examples."""


def humaneval(folder: Path) -> Iterator[Task]:
    for row in _rows(folder / "humaneval" / "humaneval.jsonl"):
        if int(row["task_id"].split("/")[1]) % 4 == 0:
            examples = find_examples(row["prompt"], "py", entry=row["entry_point"])
            yield row["task_id"], row["prompt"] + row["canonical_solution"], examples


def mbpp(folder: Path) -> Iterator[Task]:
    for row in _rows(folder / "mbpp" / "mbpp_sanitized.jsonl"):
        if row["split"] == "train":
            text = f"{row['prompt']}\n{row['test_list'][0]}\n"
            yield f"mbpp/{row['task_id']}", row["code"], find_examples(text, "py", entry=row["entry_point"])


def _rows(path: Path) -> Iterator[dict[str, str]]:
    with path.open(encoding="utf-8") as file:
        yield from map(json.loads, file)


def main() -> int:
    if not (folder := os.environ.get("ADI_BENCH")):
        sys.stderr.write("error: ADI_BENCH names no folder\nhint: ADI_BENCH=FOLDER with humaneval and mbpp\n")
        return 2
    with closing(DockerSandbox(pack({}), image=recipe("python").tag, run_id="examples")) as sandbox:
        for name, tasks in (("humaneval", humaneval), ("mbpp", mbpp)):
            count = found = examples = false = unknown = 0
            for task, reference, derived in tasks(Path(folder)):
                count += 1
                if check := check_of_examples(derived, "solution.py", "py"):
                    sandbox.write({"solution.py": reference.encode()})
                    result = run_check(check, sandbox, LIMIT_S)
                    found, examples = found + 1, examples + len(derived)
                    false += result.tests_failed
                    unknown += len(derived) - result.tests_failed - result.tests_passed
                    for failure in result.failures:
                        sys.stdout.write(f"{task}: {failure.message.splitlines()[:1]}\n")
            sys.stdout.write(
                f"{name}: {found} of {count} tasks have an example, {examples} examples, "
                f"{false} false, {unknown} without a result\n"
            )
            sys.stdout.flush()
    return 0


if __name__ == "__main__":
    sys.exit(main())
