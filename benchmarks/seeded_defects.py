"""Makes a suite of seeded defects: one small change in the reference of an exercise that its tests catch.

Run: ADI_BENCH=DIR python benchmarks/seeded_defects.py OUT [--part unseen] [--limit N] [--seed 0]

DIR holds `exercism/exercism.jsonl`, Exercism's Python track. OUT/quixbugs/quixbugs.jsonl gets the form of
QuixBugs, so that `adi eval quixbugs --data OUT`, `benchmarks/ablation.py quixbugs` and `ADI_BENCH=OUT python
benchmarks/localisation.py` measure on it. Which change is made is drawn by a hash of seed and exercise; the
first one drawn counts after which at least one test fails and one still passes. The kinds are those that
studies of real defects name beside wrong operators (Pan, Kim and Whitehead 2009, "Toward an understanding of
bug fix patterns"): a statement that is missing, a condition or a part of it, an operand, a wrong variable, a
wrong constant. They are drawn apart from ADI's own mutations, which would only be reversed.
"""

import argparse
import ast
import difflib
import hashlib
import json
import os
import shlex
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from agent.suite_data import part_of
from feedback.checks import check_of, run_check
from memory.records import CheckResult
from sandbox.docker import DockerSandbox
from sandbox.images import ensure_image
from sandbox.packing import pack

TRIED = 12
"""Changes of one program that are run before it is given up."""
TEST_S = 10.0
Place = tuple[int, int]
"""Line and UTF-8 column, both from 0."""


@dataclass(frozen=True, slots=True)
class Change:
    """A piece of the program and what stands there instead."""

    kind: str
    first: Place
    end: Place
    text: str

    def made(self, source: str) -> str:
        """The program with the change."""
        lines = [line.encode() for line in source.splitlines(keepends=True)]
        head = b"".join([*lines[: self.first[0]], lines[self.first[0]][: self.first[1]]])
        tail = b"".join([lines[self.end[0]][self.end[1] :], *lines[self.end[0] + 1 :]])
        return (head + self.text.encode() + tail).decode()


def changes(source: str) -> Iterator[Change]:
    """Every change of every function of the program."""
    for function in ast.walk(ast.parse(source)):
        if isinstance(function, ast.FunctionDef):
            names = sorted({item.arg for item in function.args.args} | _assigned(function))
            for node in ast.walk(function):
                yield from _statements(node)
                yield from _conditions(source, node)
                yield from _operands(source, node)
                yield from _constants(node)
                yield from _names(node, names)


def _assigned(function: ast.FunctionDef) -> set[str]:
    stored = (item for item in ast.walk(function) if isinstance(item, ast.Name))
    return {item.id for item in stored if isinstance(item.ctx, ast.Store)}


def _statements(node: ast.AST) -> Iterator[Change]:
    """A statement left out; a block keeps at least one."""
    simple = (ast.Assign, ast.AugAssign, ast.Expr, ast.Return, ast.Raise, ast.If, ast.Continue, ast.Break)
    for block in (getattr(node, "body", ()), getattr(node, "orelse", ())):
        for statement in block if isinstance(block, list) and len(block) > 1 else ():
            docstring = isinstance(statement, ast.Expr) and isinstance(statement.value, ast.Constant)
            if isinstance(statement, simple) and not docstring:
                yield _instead("missing statement", statement, "pass")


def _conditions(source: str, node: ast.AST) -> Iterator[Change]:
    """A condition turned round, or one part of it left out."""
    if isinstance(node, ast.If | ast.While | ast.IfExp):
        text = ast.get_source_segment(source, node.test) or ""
        yield _instead("condition", node.test, f"(not ({text}))" if text else "True")
    if isinstance(node, ast.BoolOp):
        for value in node.values:
            yield _instead("part of a condition", node, ast.get_source_segment(source, value) or "True")


def _operands(source: str, node: ast.AST) -> Iterator[Change]:
    """One operand instead of the whole."""
    if isinstance(node, ast.BinOp):
        for side in (node.left, node.right):
            yield _instead("operand", node, ast.get_source_segment(source, side) or "0")


def _constants(node: ast.AST) -> Iterator[Change]:
    if isinstance(node, ast.Constant) and type(node.value) is int:
        yield _instead("constant", node, str(node.value * 2 + 3))


def _names(node: ast.AST, names: list[str]) -> Iterator[Change]:
    """Another name of the function where one is read."""
    if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Load) and node.id in names:
        for other in names:
            if other not in (node.id, "self"):
                yield _instead("variable", node, other)


def _instead(kind: str, node: ast.stmt | ast.expr, text: str) -> Change:
    assert node.end_lineno is not None and node.end_col_offset is not None  # noqa: PT018 (of a parsed text)
    first, end = (node.lineno - 1, node.col_offset), (node.end_lineno - 1, node.end_col_offset)
    return Change(kind, first, end, text)


def drawn(source: str, seed: str) -> list[Change]:
    """The changes in an order of the hash's, the kinds taking turns so that frequent ones do not rule."""
    kinds: dict[str, list[Change]] = {}
    for change in sorted(set(changes(source)), key=lambda item: _digest(f"{seed} {item}")):
        kinds.setdefault(change.kind, []).append(change)
    turns = sorted(kinds, key=lambda kind: _digest(f"{seed} {kind}"))
    most = max(map(len, kinds.values()), default=0)
    return [kinds[kind][turn] for turn in range(most) for kind in turns if turn < len(kinds[kind])]


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


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
