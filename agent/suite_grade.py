"""Grading: the answer on files that no agent touched, in a fresh sandbox of the grader's own."""

import tempfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from agent.suite_task import SuiteTask
from sandbox.fresh import make_repository
from sandbox.protocol import Sandbox
from sandbox.workcopy import WorkCopy, snapshot

MakeSandbox = Callable[[WorkCopy, str], Sandbox]
"""A sandbox with a copy of these files, in the image of this profile."""


@dataclass(frozen=True, slots=True)
class Grade:
    """The grader's word."""

    passed: bool
    output: str
    """What its command printed, and what stopped it."""
    diff: str
    """The answer as a patch of the task's files."""


def kept(task: SuiteTask, answer: Mapping[str, bytes | None]) -> dict[str, bytes | None]:
    """What counts of an attempt: the named answers, else every changed file but the grader's."""
    if task.answers:
        return {path: data for path, data in answer.items() if path in task.answers}
    return {path: data for path, data in answer.items() if path not in task.grader.files}


def applied(files: Mapping[str, bytes], answer: Mapping[str, bytes | None]) -> dict[str, bytes]:
    """The files with the answer in them."""
    both = {**files, **answer}
    return {path: data for path, data in both.items() if data is not None}


def grade(task: SuiteTask, answer: Mapping[str, bytes | None], make_sandbox: MakeSandbox) -> Grade:
    """Grade an answer: the task's files, over them the answer, over both the grader's files.

    Raises UnsafePath for an answer that leads elsewhere, SandboxError when the sandbox fails.
    """
    with tempfile.TemporaryDirectory(prefix="adi-grade-") as folder:
        clean = Path(folder) / "task"
        clean.mkdir()
        make_repository(clean, task.files)
        files = WorkCopy(snapshot(clean, Path(folder) / "shadow"))
        for path, data in kept(task, answer).items():
            if data is not None:
                files.write(path, data)
            elif files.exists(path):
                files.delete(path)
        diff = files.diff().decode("utf-8", "replace")
        for path, data in task.grader.files.items():
            files.write(path, data)
        sandbox = make_sandbox(files, task.grader.image)
        try:
            result = sandbox.run(task.grader.command, timeout_s=task.grader.timeout_s)
        finally:
            sandbox.close()
    said = result.output.decode("utf-8", "replace").strip()
    return Grade(result.exit_code == 0, "\n".join(filter(None, (said, result.detail))), diff)
