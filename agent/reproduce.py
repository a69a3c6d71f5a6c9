"""A failing test of ADI's own, where nothing else shows the goal of the task.

The model writes a test from the task's words. It counts only when it fails on the present code, and fails
by what it asserts: a test that cannot import, or names what does not exist, shows nothing. Such a test
leads the search; alone it never makes a change accepted without a person.
"""

import ast
from typing import Final, Literal

from agent import context
from agent.answers import block
from agent.localize import parsed, suspects
from agent.run import Run
from memory.records import Check, CheckResult
from model.errors import PromptTooLong
from model.protocol import Sampling

FOLDER: Final = ".adi_own"
NAME: Final = "own test"
TOKENS: Final = 400
FAILING: Final = 2
"""Tests that may fail: a file of the model's in which many do is wrong about the program."""
SAMPLES: Final = ((0.0, 1), (0.8, 4))
"""Temperature and number of each round."""
_BY_ASSERTION: Final = frozenset({"AssertionError", "Failed", ""})
_BROKEN: Final = frozenset(
    {"ImportError", "ModuleNotFoundError", "NameError", "SyntaxError", "IndentationError", "fixture"}
)


def reproduce(run: Run) -> tuple[Check, CheckResult] | None:
    """A check of the model's that fails now, and how; None without one. Raises what Run.chat raises."""
    found = suspects(run.files, (), run.task.prompt)
    about, where = context.fitting(run.leaves_room, run.statement, run.listing, (), found)
    if not any(suspect.path.endswith(".py") for suspect in where):
        return None
    for temperature, n in SAMPLES:
        sampling = Sampling(max_tokens=TOKENS, temperature=temperature, n=n, seed=1, stop=("\n```\n",))
        try:
            answers = run.chat("rewrite", context.reproduce_messages(about), sampling)
        except PromptTooLong:
            return None
        for answer in answers:
            check = own_check(block(answer.text))
            if check is None:
                continue
            result = run.check(check, "candidate")
            if shows(result, run.task.prompt):
                return check, result
    return None


def own_check(text: str) -> Check | None:
    """The test file as a check; None when it is no Python, has no test or asserts nothing."""
    tree = parsed(text)
    if tree is None or "def test" not in text:
        return None
    asserts = any(isinstance(node, ast.Assert) for node in ast.walk(tree))
    if not asserts and "raises(" not in text and ".assert" not in text:
        return None
    return pytest_check(NAME, FOLDER, text, "written")


def pytest_check(name: str, folder: str, text: str, origin: Literal["examples", "written"]) -> Check:
    """A test file of ADI's as a check, apart from the repository's own tests and their options."""
    return Check(
        name=name,
        command=f"python3 -m pytest -q -c {folder}/pytest.ini --rootdir=. {folder}/test_own.py",
        kind="pytest",
        files={
            f"{folder}/pytest.ini": "[pytest]\npythonpath = . src\n",
            f"{folder}/test_own.py": f"{text}\n",
        },
        origin=origin,
    )


def shows(result: CheckResult, prompt: str) -> bool:
    """True when every failing test fails by its assertion, or by an exception that the task names."""
    errors = {failure.error.rpartition(".")[2] for failure in result.failures}
    if result.tests_failed > FAILING or result.passed or not errors or errors & _BROKEN:
        return False
    return all(error in _BY_ASSERTION or error in prompt for error in errors)
