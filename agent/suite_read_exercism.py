"""Exercism's Python track: write a module from instructions; the second try sees what failed in the first."""

import shlex

from pydantic import Field, PositiveInt

from agent.suite_data import Name, SafePath, SuiteRow
from agent.suite_task import Grader, SuiteTask

TRIES = 2
"""As in Aider's benchmark: the instructions do not always say the names that the tests ask for."""
TESTS_S = 30.0


class ExercismRow(SuiteRow):
    """A row of `exercism.jsonl`."""

    slug: Name
    difficulty: PositiveInt
    instructions: str = Field(min_length=1)
    solution_path: SafePath
    stub: dict[SafePath, str]
    test_files: dict[SafePath, str] = Field(min_length=1)
    files: dict[SafePath, str] = Field(default_factory=dict)

    def task(self) -> SuiteTask:
        """Instructions and stub; the tests come with the grader only."""
        if self.solution_path not in self.stub:
            raise ValueError(f"stub: lacks {self.solution_path}")
        paths = " ".join(map(shlex.quote, sorted(self.test_files)))
        shown = {path: text.encode() for path, text in {**self.files, **self.stub}.items()}
        hidden = {path: text.encode() for path, text in {**self.files, **self.test_files}.items()}
        return SuiteTask(
            suite="exercism",
            name=self.slug,
            language="py",
            prompt=f"{self.instructions.strip()}\n\nWrite it in {self.solution_path}.",
            files={path: data for path, data in shown.items() if path not in self.test_files},
            answers=tuple(sorted(self.stub)),
            grader=Grader(f"python3 -m pytest -q -p no:cacheprovider {paths}", hidden, timeout_s=TESTS_S),
            tries=TRIES,
            group=f"difficulty {self.difficulty}",
        )
