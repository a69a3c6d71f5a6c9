"""The agents of a suite: ADI through real sessions, the bare model with one answer."""

import threading
from collections.abc import Mapping
from pathlib import Path

import pytest

from agent.environment import DependenciesMissing
from agent.errors import EnvironmentMissing
from agent.suite_agents import Adi, Tally
from agent.suite_oneshot import LEAST_TOKENS, MOST_TOKENS, OneShot
from agent.suite_run import run_one
from agent.suite_task import Attempt, Grader, Row, SuiteTask
from memory.records import (
    CheckRan,
    CheckResult,
    Completed,
    Completion,
    Event,
    RunEnded,
    Searched,
    Status,
    Stop,
    Usage,
)
from model.errors import ModelError, PromptTooLong, ServerFailed
from model.scripted import ScriptedModel
from sandbox.fresh import make_repository
from tests.agent_kit import CALC, CHECK, MENDED, WRITE, Reply, Script
from tests.suite_kit import local, sessions, task

ONLY_ACTS = {"sampling": False, "without": ("coverage", "examples", "own-tests")}
"""No candidates before the action loop: the script says all that happens."""


def mending() -> Script:
    """Looks at the program, then writes it."""
    return Script(acts=["read calc.py", WRITE, "submit"])


def ran(script: Script, given: SuiteTask | None = None) -> Row:
    return run_one(given or task(), Adi(sessions(script, ONLY_ACTS)), 0, local)


def test_a_solved_task_and_its_numbers() -> None:
    row = ran(mending())
    assert (row.solved, row.solved_at, row.ended, row.malformed) == (True, 1, "accepted", 0)
    assert (row.agent, row.strategy, row.model, row.group) == ("adi", "actions", "scripted", "")
    assert row.actions == 2
    assert row.calls >= 2
    assert row.prompt_tokens > row.later_prompt_tokens > 0
    assert row.completion_tokens > 0
    assert "+    return a + b" in row.diff
    assert len(row.run_ids) == 1


def test_an_unsolved_task_says_how_it_ended() -> None:
    row = ran(Script(acts=["no"] * 6))
    assert (row.solved, row.solved_at, row.ended, row.malformed, row.strategy) == (False, 0, "stuck", 6, "")
    assert (row.diff, row.actions) == ("", 0)


def test_the_tally_adds_up() -> None:
    """Two calls, a candidate that a search tried and found to pass."""
    tally = Tally()
    usage = Usage(prompt_tokens=100, cached_tokens=60, completion_tokens=5)
    completion = Completion(text="x", finish_reason="stop", usage=usage, model="m")
    result = CheckResult(check="calc", status=Status.OK, exit_code=0, passed=True, duration_s=0.1)
    payloads = [
        Completed(purpose="plan", completion=completion),
        CheckRan(purpose="candidate", result=result),
        Completed(purpose="rewrite", completion=completion),
        Searched(strategy="rewrite line", place="calc.py:2", candidates=1, executed=1, passed=1),
        CheckRan(purpose="step", result=result),
        RunEnded(stop=Stop.ACCEPTED, exit_code=0, detail="done", seconds=1.0),
    ]
    for index, payload in enumerate(payloads):
        tally.on_event(Event(run_id="r", seq=index, at="", payload=payload))
    assert (tally.calls, tally.executed, tally.strategy, tally.detail) == (2, 1, "rewrite line", "done")
    assert (tally.usage.prompt_tokens, tally.later_prompt, tally.later_cached) == (200, 100, 60)
    assert (tally.usage.completion_tokens, tally.model) == (10, "m")


def test_a_check_that_hangs_ends_by_the_budget() -> None:
    """A program that never ends: the run's wall time is the reason."""
    hanging = {"calc.py": b"while True:\n    pass\n", "test_calc.py": b"import calc\n"}
    given = SuiteTask(
        "s", "a", "py", "mend calc.py", hanging, ("calc.py",), Grader("exit 1"), (CHECK.command,)
    )
    settings = {**ONLY_ACTS, "check_s": 0.3, "wall_s": 1.0}
    waits = Script(acts=[f"run sleep 0.2{number}" for number in range(9)])
    row = run_one(given, Adi(sessions(waits, settings)), 0, local)
    assert (row.solved, row.ended) == (False, "budget"), row.detail


class Failing(Script):
    """A model server that gives up at every question."""

    def __init__(self, error: ModelError | Exception) -> None:
        super().__init__()
        self.error = error

    def __call__(self, _: object) -> Reply:
        raise self.error


def test_an_unexpected_error_is_a_row() -> None:
    row = ran(Failing(RuntimeError("boom")))
    assert (row.ended, row.solved) == ("error", False)
    assert "boom" in row.detail


@pytest.mark.parametrize("error", [ServerFailed("gone"), EnvironmentMissing("no disk")])
def test_a_missing_environment_is_raised(error: Exception) -> None:
    with pytest.raises(type(error)):
        ran(Failing(error))


def test_what_one_repository_lacks_is_a_row() -> None:
    row = ran(Failing(DependenciesMissing("the checks need adi_greeter", "adi prepare")))
    assert (row.ended, row.solved) == ("environment", False)
    assert "adi_greeter" in row.detail


def test_the_grade_takes_the_tests_from_the_task() -> None:
    """An agent that rewrites the tests is graded with the original ones."""
    row = ran(Script(acts=["run echo 'assert True' > test_calc.py", "submit"] + ["no"] * 6))
    assert not row.solved
    assert row.ended != "accepted"


def test_the_grader_decides_over_what_adi_did_not_accept() -> None:
    """The change also touches CI, which a person must approve: ADI leaves it open, the grade is its own."""
    touches = "run mkdir -p .github/workflows && echo x > .github/workflows/a.yml"
    row = ran(Script(acts=[touches, WRITE, "submit"]))
    assert (row.solved, row.ended) == (True, "pending"), row.detail
    assert "a.yml" not in row.diff


def test_a_stopped_suite_breaks_a_run_off() -> None:
    stopping = threading.Event()
    stopping.set()
    with pytest.raises(KeyboardInterrupt):
        run_one(task(), Adi(sessions(mending(), ONLY_ACTS), stopping), 0, local)


def asked_once(
    given: SuiteTask, answer: Reply, make: Path, *, n_ctx: int = 8192
) -> tuple[Attempt, ScriptedModel]:
    """The attempt of the bare model, and what it was asked."""
    make_repository(make, given.files)
    model = ScriptedModel([answer], n_ctx=n_ctx)
    return OneShot(lambda: model).attempt(given, make, given.prompt), model


def test_one_answer_replaces_the_file_and_keeps_the_rest_of_it(tmp_path: Path) -> None:
    extra = f"# kept\nimport os\n\n\n{CALC}\n\ndef other():\n    return os.sep\n"
    given = task()
    given = SuiteTask("s", "a", "py", given.prompt, {"calc.py": extra.encode()}, ("calc.py",), given.grader)
    attempt, model = asked_once(given, f"Sure:\n```python\n{MENDED}```\nDone.\n```python\nno\n```", tmp_path)
    assert attempt.answer["calc.py"] == extra.replace("a - b", "a + b").encode()
    assert (attempt.ended, attempt.calls, attempt.model) == ("answered", 1, "scripted")
    (asked,) = model.asked
    assert (asked.sampling.temperature, asked.sampling.max_tokens) == (0, MOST_TOKENS)
    assert CALC in asked.messages[0].content
    assert given.prompt in asked.messages[0].content


FUNCTION = 'def add(a, b):\n    """The sum."""\n'


@pytest.mark.parametrize(
    ("suite", "stub", "shown"),
    [
        ("humaneval", f"{FUNCTION}    pass\n", f"block:\n```\n{FUNCTION.rstrip()}\n```"),
        ("mbpp", "", 'block:\n```\n"""\ncalc.py has a defect\n"""\n```'),
    ],
)
def test_one_function_is_asked_in_the_published_words(
    tmp_path: Path, suite: str, stub: str, shown: str
) -> None:
    given = task()
    given = SuiteTask(suite, "a", "py", given.prompt, {"calc.py": stub.encode()}, ("calc.py",), given.grader)
    attempt, model = asked_once(given, MENDED + "```\nThis adds.", tmp_path)
    user, begun = model.asked[0].messages
    assert shown in user.content
    assert begun.role == "assistant"
    assert begun.content.endswith("\n```python\n")
    answer = (attempt.answer["calc.py"] or b"").decode()
    assert "    return a + b\n" in answer
    assert "pass" not in answer
    assert "adds" not in answer
    assert run_one(given, OneShot(lambda: ScriptedModel([MENDED])), 0, local).solved


@pytest.mark.parametrize(
    ("answer", "ended"),
    [
        ("I cannot.", "no-code"),
        ("```python\n```", "no-code"),
        (PromptTooLong(9000, 8192), "too-long"),
    ],
)
def test_no_answer_has_a_reason(tmp_path: Path, answer: Reply, ended: str) -> None:
    attempt, _ = asked_once(task(), answer, tmp_path)
    assert (attempt.answer, attempt.ended) == ({}, ended)


def test_an_answer_that_the_window_cut_counts_as_far_as_it_goes(tmp_path: Path) -> None:
    attempt, _ = asked_once(task(), f"```python\n{MENDED}", tmp_path)
    assert attempt.answer["calc.py"] == MENDED.encode()


def test_the_room_of_the_answer_is_what_fits(tmp_path: Path) -> None:
    _, model = asked_once(task(), f"```python\n{MENDED}```", tmp_path, n_ctx=1400)
    assert LEAST_TOKENS < model.asked[0].sampling.max_tokens < MOST_TOKENS


def test_without_a_named_file_the_most_suspicious_one_is_asked_for(tmp_path: Path) -> None:
    files: Mapping[str, bytes] = {
        "lib/calc.py": CALC.encode(),
        "lib/data.py": b"LIMIT = 3\n",
        "README.md": b"add adds\n",
    }
    given = SuiteTask("repobugs", "a", "py", "lib/calc.py: add subtracts", files, (), Grader("true"))
    attempt, model = asked_once(given, f"```python\n{MENDED}```", tmp_path)
    assert attempt.answer == {"lib/calc.py": MENDED.encode()}
    assert "return a - b" in model.asked[0].messages[0].content
