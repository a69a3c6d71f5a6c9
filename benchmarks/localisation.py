"""Measures where the defective line stands among a program's code lines: in file order, and by execution.

Run: ADI_BENCH=DIR python benchmarks/localisation.py [SECONDS]

DIR holds `quixbugs/quixbugs.jsonl`; each program's tests run in the sandbox image, watched, for at most
SECONDS (10). A defect's lines are those that the fix replaces; where it only adds lines, the line before.
"""

import json
import os
import re
import statistics
import sys
import time
from collections.abc import Callable, Iterable, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from agent.localize import Suspect, suspects
from feedback.checks import check_of, run_check
from feedback.coverage import observe
from memory.records import CheckResult
from memory.runtime import RuntimeEvidence
from sandbox.docker import DockerSandbox, connect
from sandbox.fresh import make_repository
from sandbox.images import ensure_image
from sandbox.workcopy import WorkCopy, snapshot

TOP = (1, 3, 5, 10)


@dataclass(frozen=True, slots=True)
class Measured:
    """One program."""

    name: str
    lines: int
    """Code lines of the file."""
    ranks: dict[str, int]
    """Order to the best rank of a defective line, 1-based."""
    check_s: float
    watched_s: float


def defective(fix_diff: str) -> set[int]:
    """Lines of the old file that the fix replaces, or after which it adds."""
    found: set[int] = set()
    line, after = 0, 0
    removed: set[int] = set()
    for text in fix_diff.splitlines():
        if head := re.match(r"@@ -(\d+)", text):
            line = int(head[1])
        elif text.startswith("-") and not text.startswith("---"):
            removed.add(line)
            line += 1
        elif text.startswith("+") and not text.startswith("+++"):
            after = line - 1
            found.add(after)
        elif text.startswith(" ") or not text:
            line += 1
    return removed or found


def rank(lines: Sequence[int], wanted: Iterable[int]) -> int:
    """Place of the first wanted line; behind the last where none is there."""
    return min((lines.index(line) + 1 for line in wanted if line in lines), default=len(lines) + 1)


def measure(task: dict[str, Any], timeout_s: float, sandbox_of: Callable[[bytes], DockerSandbox]) -> Measured:
    """Run one program's tests plainly and watched, and rank."""
    files = {task["path"]: task["buggy"], **task["files"]}
    check = check_of(re.sub(r"^python\b", "python3", task["test_command"]))
    with TemporaryDirectory() as folder:
        make_repository(Path(folder) / "repo", {path: text.encode() for path, text in files.items()})
        work = WorkCopy(snapshot(Path(folder) / "repo", Path(folder) / "shadow"))
        with sandbox_of(work.archive()) as sandbox:
            began = time.monotonic()
            result = run_check(check, sandbox, timeout_s)
            check_s = time.monotonic() - began
            began = time.monotonic()
            evidence = observe(check, sandbox, timeout_s, work.paths())
            watched_s = time.monotonic() - began
        wanted = defective(task["fix_diff"])
        orders = {
            "file": sorted(_lines(work, task["path"], result, None)),
            "failures": _lines(work, task["path"], result, None),
            "executed": _lines(work, task["path"], result, evidence),
        }
    ranks = {name: rank(lines, wanted) for name, lines in orders.items()}
    return Measured(task["name"], len(orders["file"]), ranks, check_s, watched_s)


def _lines(work: WorkCopy, path: str, result: CheckResult, evidence: RuntimeEvidence | None) -> list[int]:
    found: list[Suspect] = suspects(work, [result], path, evidence)
    return next(list(suspect.lines) for suspect in found if suspect.path == path)


def report(rows: Sequence[Measured]) -> list[str]:
    """Counts with their denominators."""
    told = []
    for order in rows[0].ranks:
        ranks = [row.ranks[order] for row in rows]
        tops = ", ".join(f"top-{top} {sum(place <= top for place in ranks)}/{len(rows)}" for top in TOP)
        mean, median = statistics.mean(ranks), statistics.median(ranks)
        told.append(f"{order:9} mean rank {mean:.2f}, median {median:g}, {tops}")
    ratios = [row.watched_s / row.check_s for row in rows]
    told.append(
        f"watching took {statistics.median(ratios):.2f} times the plain check, at most {max(ratios):.2f}"
    )
    return told


def main(timeout_s: float = 10.0) -> int:
    place = os.environ.get("ADI_BENCH")
    if not place:
        sys.stderr.write(
            "error: ADI_BENCH is not set\nhint: ADI_BENCH=DIR, where DIR/quixbugs has the tasks\n"
        )
        return 2
    text = (Path(place) / "quixbugs" / "quixbugs.jsonl").read_text(encoding="utf-8")
    image = ensure_image("python", lambda line: _say(f"# {line}"))
    rows: list[Measured] = []
    with closing(connect()) as client:

        def sandbox_of(archive: bytes) -> DockerSandbox:
            return DockerSandbox(archive, image=image, run_id="benchmark", client=client)

        for task in map(json.loads, text.splitlines()):
            row = measure(task, timeout_s, sandbox_of)
            rows.append(row)
            places = ", ".join(f"{name} {place}" for name, place in row.ranks.items())
            times = f"{row.check_s:.1f} s, {row.watched_s:.1f} s watched"
            _say(f"{row.name:28} of {row.lines:3} lines: {places}; {times}")
    _say("\n".join(report(rows)))
    return 0


def _say(line: str) -> None:
    sys.stdout.write(line + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    sys.exit(main(*map(float, sys.argv[1:2])))
