"""HumanEval and MBPP: one Python function, graded by tests that no agent sees.

Sources: Chen et al. 2021 (arXiv:2107.03374); Austin et al. 2021 (arXiv:2108.07732), its hand-checked tasks.
"""

import ast
import json
from pathlib import Path

from pydantic import Field, NonNegativeInt

from agent.suite_data import Identifier, SuiteRow
from agent.suite_task import Grader, SuiteTask

ANSWER = "solution.py"
SCRIPT = Path(__file__).with_name("grade_functions.py")
HUMANEVAL_S = 10.0
MBPP_S = 30.0
"""One reference counts for some seconds on a busy machine."""


class HumanEvalRow(SuiteRow):
    """A row of `humaneval.jsonl`."""

    task_id: str = Field(pattern=r"^HumanEval/\d+$")
    prompt: str
    entry_point: Identifier
    test: str = Field(min_length=1)

    def task(self) -> SuiteTask:
        """The function with its docstring and an empty body."""
        stub = f"{self.prompt.rstrip()}\n    pass\n"
        tests = f"{self.test}\n\ncheck({self.entry_point})\n"
        return SuiteTask(
            suite="humaneval",
            name=self.task_id.replace("/", "_"),
            language="py",
            prompt=f"Complete the function `{self.entry_point}` in {ANSWER}, as its docstring says.",
            files={ANSWER: stub.encode()},
            answers=(ANSWER,),
            grader=grader(given_by(stub, self.entry_point), tests, HUMANEVAL_S),
        )


class MbppRow(SuiteRow):
    """A row of `mbpp_sanitized.jsonl`."""

    task_id: NonNegativeInt
    split: str
    prompt: str = Field(min_length=1)
    entry_point: Identifier
    test_imports: tuple[str, ...] = ()
    test_list: tuple[str, ...] = Field(min_length=1)

    @property
    def part(self) -> str:
        """The published split."""
        return self.split

    def task(self) -> SuiteTask:
        """An empty file: the arguments are told by the one test that is shown."""
        told = (
            f"{self.prompt.strip()}\n"
            f"Write the function `{self.entry_point}` in {ANSWER}. Example: `{self.test_list[0].strip()}`"
        )
        tests = "\n".join([*self.test_imports, *self.test_list, ""])
        return SuiteTask(
            suite="mbpp",
            name=f"mbpp_{self.task_id}",
            language="py",
            prompt=told,
            files={ANSWER: b""},
            answers=(ANSWER,),
            grader=grader({}, tests, MBPP_S),
        )


def grader(given: dict[str, str], tests: str, timeout_s: float) -> Grader:
    """Runs the tests in the answer's own module; `given` is what agent/grade_functions.py puts before it."""
    task = json.dumps({"answer": ANSWER, "given": given, "tests": tests})
    return Grader(
        command="python3 -I hidden_grader.py",
        files={"hidden_grader.py": SCRIPT.read_bytes(), "hidden_task.json": task.encode()},
        timeout_s=timeout_s,
    )


def given_by(stub: str, entry_point: str) -> dict[str, str]:
    """Name to text: the prompt's imports (name empty) and the helper functions that it defines.

    Raises ValueError when the prompt is no Python or lacks the function.
    """
    try:
        body = ast.parse(stub).body
    except SyntaxError as error:
        raise ValueError(f"prompt: no Python ({error.msg})") from None
    named = {getattr(node, "name", ""): ast.unparse(node) for node in body if hasattr(node, "name")}
    if entry_point not in named:
        raise ValueError(f"prompt: does not define {entry_point}")
    imports = [ast.unparse(node) for node in body if isinstance(node, ast.Import | ast.ImportFrom)]
    helpers = {name: text for name, text in named.items() if name != entry_point}
    return {"": "\n".join(imports), **helpers}
