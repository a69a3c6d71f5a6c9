"""Real bugs of real projects: a statement and a source tree; the fix's own tests grade.

In the style of SWE-bench (Jimenez et al. 2024, arXiv:2310.06770): every test of `fail_to_pass` and
`pass_to_pass` must pass with the test patch over what the agent left.
"""

import json
from pathlib import Path

from pydantic import Field

from agent.suite_data import Name, SafePath, SuiteRow
from agent.suite_packages import patched, sdist_tree, wheel_files
from agent.suite_task import Grader, SuiteTask
from sandbox.errors import PatchError

SCRIPT = Path(__file__).with_name("grade_nodes.py")
TESTS_S = 180.0
_PYTEST = ("python", "-m", "pytest")


class RepoBugsRow(SuiteRow):
    """A row of `instances.jsonl`."""

    instance_id: Name
    title: str = Field(min_length=1)
    problem_statement: str = Field(min_length=1)
    difficulty: str = ""
    sdist: str = Field(pattern=r"^[A-Za-z0-9][\w.-]*==[\w.!+-]+$")
    sdist_sha256: str = Field(pattern=r"^[0-9a-f]{64}$")
    pythonpath: str = Field(pattern=r"^(\.|\w[\w/.-]*)$")
    requires: tuple[str, ...] = ()
    test_command: tuple[str, ...] = Field(min_length=4)
    test_files: tuple[SafePath, ...] = Field(min_length=1)
    test_patch: str = Field(min_length=1)
    fail_to_pass: tuple[str, ...] = Field(min_length=1)
    pass_to_pass: tuple[str, ...] = ()

    def task(self) -> SuiteTask:
        """The source distribution's files; what its tests import besides lies beside them.

        Raises ValueError, and what model.index.package_file raises where a package cannot be had.
        """
        if self.test_command[:3] != _PYTEST:
            raise ValueError("test_command: is not python -m pytest")
        base = sdist_tree(self.sdist, self.sdist_sha256)
        beside: dict[str, bytes] = {}
        for requirement in self.requires:
            beside |= wheel_files(requirement)
        try:
            after = patched(base, self.test_patch)
        except PatchError as error:
            raise ValueError(f"test_patch: {error.message}") from None
        tests = {path: data for path, data in after.items() if data is not None}
        return SuiteTask(
            suite="repobugs",
            name=self.instance_id,
            language="py",
            prompt=f"{self.title.strip()}\n\n{self.problem_statement.strip()}",
            files={**beside, **base},
            answers=(),
            grader=self._grader({**beside, **tests}),
            group=self.difficulty,
        )

    def _grader(self, files: dict[str, bytes]) -> Grader:
        task = {
            "pytest": self.test_command[3:],
            "pythonpath": self.pythonpath,
            "nodes": [*self.fail_to_pass, *self.pass_to_pass],
        }
        hidden = {"hidden_grader.py": SCRIPT.read_bytes(), "hidden_task.json": json.dumps(task).encode()}
        return Grader("python3 hidden_grader.py", {**files, **hidden}, timeout_s=TESTS_S)
