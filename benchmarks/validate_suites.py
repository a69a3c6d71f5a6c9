"""Every reference of the evaluation suites must be graded as right, every stub and defect as wrong.

Through the same graders as `adi eval`, in the sandbox, many gradings in one container.

    ADI_BENCH=DIR python benchmarks/validate_suites.py [SUITE ...] [--languages rs,go] [--limit N]

DIR holds the suites' folders. Exit code 1 when one was graded wrongly.
"""

import argparse
import json
import os
import shlex
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from agent.suite_packages import patched
from agent.suite_read import SUITES, read_suite
from agent.suite_read_multipl_e import LANGUAGES
from agent.suite_task import SuiteTask
from sandbox.docker import DockerSandbox
from sandbox.images import ensure_image
from sandbox.packing import pack

BATCH = 40
"""Gradings in one container."""

Answer = Mapping[str, bytes]


def _humaneval(_task: SuiteTask, row: dict[str, Any]) -> Answer:
    return {"solution.py": f"{row['prompt']}{row['canonical_solution']}".encode()}


def _mbpp(_task: SuiteTask, row: dict[str, Any]) -> Answer:
    return {"solution.py": row["code"].encode()}


def _quixbugs(_task: SuiteTask, row: dict[str, Any]) -> Answer:
    return {row["path"]: row["fixed"].encode()}


def _exercism(_task: SuiteTask, row: dict[str, Any]) -> Answer:
    return {path: text.encode() for path, text in row["reference"].items()}


def _multipl_e(task: SuiteTask, row: dict[str, Any]) -> Answer | None:
    """The reference in place of the stub's body; what closes the function is the stub's where it lacks it."""
    if not row["reference"]:
        return None
    (path,) = task.answers
    stub = task.files[path].decode()
    language = LANGUAGES[row["language"]]
    closing = language.body.partition("\n")[2] if row["tests"].lstrip().startswith("}") else ""
    return {path: (stub.removesuffix(language.body) + row["reference"] + "\n" + closing).encode()}


def _repobugs(task: SuiteTask, row: dict[str, Any]) -> Answer:
    return {path: data or b"" for path, data in patched(task.files, row["gold_patch"]).items()}


REFERENCES: dict[str, Callable[[SuiteTask, dict[str, Any]], Answer | None]] = {
    "humaneval": _humaneval,
    "mbpp": _mbpp,
    "quixbugs": _quixbugs,
    "quixbugs_java": _quixbugs,
    "exercism": _exercism,
    "multipl_e": _multipl_e,
    "repobugs": _repobugs,
}
"""The reference as an agent would leave it; None where the suite has none."""


def rows_of(suite: str, data: Path) -> dict[str, dict[str, Any]]:
    """Task name to the raw row, secrets included."""
    found = {}
    for name in SUITES[suite].files.values():
        for line in (data / SUITES[suite].folder / name).read_text(encoding="utf-8").splitlines():
            row = json.loads(line)
            key = row.get("name") if suite.startswith("quixbugs") else row.get("slug", row.get("instance_id"))
            key = key or str(row["task_id"]).replace("/", "_")
            found[f"mbpp_{key}" if suite == "mbpp" else key] = row
    return found


def tree(task: SuiteTask, answer: Answer) -> dict[str, bytes]:
    """What is graded: the task's files, the answer, and over both what the grader brings."""
    return {**task.files, **answer, **task.grader.files}


def grade(jobs: Sequence[tuple[SuiteTask, Answer]]) -> list[int]:
    """Exit codes of the graders, all of one image, in one container."""
    files, lines = {}, []
    for number, (task, answer) in enumerate(jobs):
        for path, data in tree(task, answer).items():
            files[f"{number}/{path}"] = data
        command = f"timeout -k 1 {task.grader.timeout_s} sh -c {shlex.quote(task.grader.command)}"
        lines.append(f"(cd {number} && {command}) >/dev/null 2>&1 </dev/null; echo {number} $?")
    files["all.sh"] = "\n".join([*lines, ""]).encode()
    image = ensure_image(jobs[0][0].grader.image)
    with DockerSandbox(pack(files), image=image, run_id="validate") as sandbox:
        done = sandbox.run(
            "nice -n 19 sh all.sh", timeout_s=5 + sum(task.grader.timeout_s for task, _ in jobs)
        )
    codes = dict(map(int, line.split()) for line in done.output.decode().splitlines())
    return [codes.get(number, -1) for number in range(len(jobs))]


def validate(suite: str, data: Path, languages: Sequence[str], limit: int) -> tuple[int, list[str]]:
    """How many gradings were as they must be, and a sentence for each that was not."""
    tasks, problems = read_suite(suite, data, languages=languages)
    rows = rows_of(suite, data)
    groups: dict[str, list[SuiteTask]] = {}
    for task in tasks:
        groups.setdefault(task.language, []).append(task)
    jobs = []
    for group in groups.values():
        pairs = [(task, REFERENCES[suite](task, rows[task.name])) for task in group]
        pairs.sort(key=lambda pair: pair[1] is None)
        for task, reference in pairs[:limit] if limit else pairs:
            jobs.append((task, {}, False))
            if reference is not None:
                jobs.append((task, reference, True))
    passed = 0
    jobs.sort(key=lambda job: job[0].grader.image)
    while jobs:
        image = jobs[0][0].grader.image
        batch = [job for job in jobs[:BATCH] if job[0].grader.image == image]
        del jobs[: len(batch)]
        for (task, _, right), code in zip(batch, grade([job[:2] for job in batch]), strict=True):
            if right == (code == 0):
                passed += 1
            else:
                kind = "reference" if right else "stub"
                problems.append(f"{task.name}: the {kind} is graded wrongly, exit code {code}")
    return passed, problems


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("suites", nargs="*", default=list(SUITES), metavar="SUITE")
    parser.add_argument("--languages", default="", help="Of multipl_e, with commas.")
    parser.add_argument("--limit", type=int, default=0, help="About so many tasks of each language.")
    args = parser.parse_args()
    if "ADI_BENCH" not in os.environ:
        sys.exit("set ADI_BENCH to the folder of the suites")
    wrong = 0
    for suite in args.suites:
        languages = [language for language in args.languages.split(",") if language]
        passed, problems = validate(suite, Path(os.environ["ADI_BENCH"]), languages, args.limit)
        sys.stdout.write("".join(f"  {line}\n" for line in problems))
        sys.stdout.write(f"{suite}: {passed} passed, {len(problems)} failed\n")
        sys.stdout.flush()
        wrong += len(problems)
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
