"""From a defect that tests catch to a task: what an agent is told, the fix, and the part it is of."""

import difflib
import hashlib
import re
from collections.abc import Sequence
from pathlib import Path
from string import Template
from typing import Final

from agent.context import prompt
from agent.learn_place import LearnPlace
from agent.seed_changes import functions
from agent.seed_find import Defect, Found, failing
from agent.seed_tasks import By, SeededTask, TaskFolder, tree_of
from memory.records import CheckResult, Failure

SHOWN: Final = 4
"""Failing tests that the task's text names."""
MESSAGE: Final = 240
"""Characters of one test's message."""


def keep(place: LearnPlace, found: Sequence[Found], by: By) -> tuple[list[SeededTask], int]:
    """Write the tasks down, split into parts; all of them, and how many are new."""
    folder = TaskFolder(place.tasks)
    units = [(one.repo, defect.path, defect.function) for one in found for defect in one.defects]
    part = folder.split(units, by)
    made, fresh = list[SeededTask](), 0
    for one in found:
        own = [_task(one, defect, part(one.repo, defect.path, defect.function)) for defect in one.defects]
        if own:
            fresh += folder.add(own, one.files)
            made += own
    return made, fresh


def _task(found: Found, defect: Defect, part: str) -> SeededTask:
    assert found.check is not None
    original = found.files[defect.path].decode()
    mutated = defect.change.made(original)
    patch = difflib.unified_diff(
        mutated.splitlines(keepends=True), original.splitlines(keepends=True),
        f"a/{defect.path}", f"b/{defect.path}",
    )  # fmt: skip
    tree = tree_of(found.files)
    digest = hashlib.sha256(f"{tree} {defect.path} {defect.change}".encode()).hexdigest()
    return SeededTask.model_validate(
        {
            "instance_id": f"seeded-{re.sub(r'[^A-Za-z0-9]+', '-', Path(found.repo).name)}-{digest[:10]}",
            "repo": found.repo,
            "tree": tree,
            "path": defect.path,
            "function": defect.function,
            "kind": defect.change.kind,
            "part": part,
            "told": told(defect.result, digest),
            "command": found.check.command,
            "image": found.image,
            "check_s": round(found.check_s, 1),
            "failing": tuple(sorted(failing(defect.result))),
            "mutated": mutated,
            "fix_diff": "".join(patch),
            "code": _function(original, defect.function),
        }
    )


def told(result: CheckResult, digest: str) -> str:
    """The task's text, made of what the tests printed: their names or, in half of them, what they show."""
    shown = result.failures[:SHOWN]
    symptoms = [symptom for failure in shown if (symptom := _symptom(failure))]
    if int(digest[:2], 16) % 2 and symptoms:
        return Template(prompt("seeded_symptom")).safe_substitute(symptoms="\n".join(dict.fromkeys(symptoms)))
    more = len(result.failures) - len(shown)
    lines = [f"- {failure.test}{_why(failure)}" for failure in shown]
    lines += [f"- and {more} more"] if more else []
    return Template(prompt("seeded")).safe_substitute(failures="\n".join(lines))


def _symptom(failure: Failure) -> str:
    """Such as ``- `assert total([]) == 0`: assert None == 0``; empty where the runner showed no line."""
    return f"- `{failure.source.strip()[:MESSAGE]}`{_why(failure)}" if failure.source.strip() else ""


def _why(failure: Failure) -> str:
    first = failure.message.strip().partition("\n")[0][:MESSAGE]
    said = first if not failure.error or first.startswith(failure.error) else f"{failure.error}: {first}"
    return f": {said.rstrip(': ')}" if said.rstrip(": ") else ""


def _function(source: str, name: str) -> str:
    first, last = next((begin, end) for begin, end, of in functions(source) if of == name)
    return "".join(source.splitlines(keepends=True)[first - 1 : last])
