"""Suites: tasks in, rows out, resumable; the grade comes from files that the agent never touched."""

import json
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path

import pytest

from agent import suites
from agent.errors import EnvironmentMissing, UsageError
from agent.suites import (
    Opener,
    OpenTask,
    Row,
    SuiteTask,
    Tally,
    read_quixbugs,
    read_rows,
    run_suite,
    summary_lines,
)
from model.errors import ModelError, ServerFailed
from sandbox.local import LocalSandbox
from tests.agent_kit import CALC, CHECK, TEST, Reply, Script, open_local

FILES = {"calc.py": CALC, "test_calc.py": TEST}
MENDS = Script(lines={"calc.py line 2": "return a + b"})


def task(name: str) -> SuiteTask:
    return SuiteTask(name, "calc.py has a defect", "calc.py", FILES, CHECK.command)


def opener(script: Script, opened: list[str]) -> Opener:
    """Sessions on the local sandbox; notes which tasks were opened."""

    def open_task(repo: Path, tally: Tally) -> OpenTask:
        opened.append(repo.name)
        stack = ExitStack()
        person = suites.unattended()
        session = stack.enter_context(open_local(repo, script, person, listeners=[tally.on_event]))
        return OpenTask(session, lambda files, _: LocalSandbox(files.archive()), stack.close)

    return open_task


def ran(results: Path, names: str, script: Script = MENDS) -> tuple[list[Row], list[str]]:
    opened: list[str] = []
    rows = run_suite("s", [task(name) for name in names], results, opener(script, opened), lambda _: None)
    return rows, opened


def test_a_solved_task_and_its_numbers(tmp_path: Path) -> None:
    (row,), _ = ran(tmp_path / "out.jsonl", "a")
    assert (row.solved, row.stop, row.exit_code, row.malformed) == (True, "accepted", 0, 0)
    assert row.strategy == "rewrite line"
    assert (row.calls, row.executed) == (3, 1)
    assert row.prompt_tokens > row.later_prompt_tokens > 0
    assert row.completion_tokens > 0
    assert "+    return a + b" in row.diff
    assert row.run_id


def test_rows_on_disk_are_not_run_again(tmp_path: Path) -> None:
    results = tmp_path / "new" / "out.jsonl"
    first, opened = ran(results, "ab")
    assert opened == ["a", "b"]
    again, opened = ran(results, "cab")
    assert opened == ["c"]
    assert [row.name for row in again] == ["c", "a", "b"]
    assert again[1:] == first
    assert [row.name for row in read_rows(results)[0]] == ["a", "b", "c"]


@pytest.mark.containment
@pytest.mark.parametrize("torn", [lambda line: line[:40], lambda line: line[:-1], lambda _: ""])
def test_agent_h08_a_torn_last_line_is_run_again_and_damages_no_later_row(
    tmp_path: Path, torn: Callable[[str], str]
) -> None:
    results = tmp_path / "out.jsonl"
    ran(results, "ab")
    lines = results.read_text().splitlines(keepends=True)
    results.write_text(lines[0] + torn(lines[1]))
    rows, _ = ran(results, "abc")
    assert [row.name for row in rows] == ["a", "b", "c"]
    assert [json.loads(line)["name"] for line in results.read_text().splitlines()] == ["a", "b", "c"]
    kept = {path.name for path in tmp_path.iterdir()} - {"out.jsonl"}
    assert kept == ({"out.jsonl.damaged"} if 0 < len(torn(lines[1])) < len(lines[1]) - 1 else set())


DAMAGE = (
    b"\0" * 4096,
    b'{"name": "b"}',
    b"{}",
    b"[" * 100_000,
    b"\xff\xfe\x00b",
    b'{"torn": "in the mid',
    b"7",
)
"""A block of NUL, other fields, none, too deep, no text, torn, no object."""


@pytest.mark.containment
def test_agent_h08_damaged_lines_in_the_middle_are_skipped_and_counted(tmp_path: Path) -> None:
    """The rows around them are kept, the lost task runs again, the damaged file stays beside it."""
    results = tmp_path / "out.jsonl"
    ran(results, "abc")
    first, _, third = results.read_bytes().splitlines(keepends=True)
    damaged = first + b"\n".join(DAMAGE) + b"\n" + third
    results.write_bytes(damaged)
    told: list[tuple[int, Path]] = []
    opened: list[str] = []
    tasks = [task(name) for name in "abc"]
    again = run_suite(
        "s", tasks, results, opener(MENDS, opened), lambda _: None, lambda *bad: told.append(bad)
    )
    assert [row.name for row in again] == ["a", "b", "c"]
    assert opened == ["b"]
    ((count, kept),) = told
    assert count == len(DAMAGE)
    assert kept.read_bytes() == damaged
    rows, bad = read_rows(results)
    assert ([row.name for row in rows], bad) == (["a", "c", "b"], 0)


def test_an_unsolved_task_says_how_it_ended(tmp_path: Path) -> None:
    (row,), _ = ran(tmp_path / "out.jsonl", "a", Script(acts=["no"] * 6))
    assert (row.solved, row.stop, row.exit_code, row.malformed, row.strategy) == (False, "stuck", 3, 6, "")
    assert row.diff == ""
    assert row.actions == 0


class Failing(Script):
    """A model server that gives up at every question."""

    def __init__(self, error: ModelError | Exception) -> None:
        super().__init__()
        self.error = error

    def __call__(self, _: object) -> Reply:
        raise self.error


def test_an_unexpected_error_is_a_row_and_the_suite_goes_on(tmp_path: Path) -> None:
    rows, _ = ran(tmp_path / "out.jsonl", "ab", Failing(RuntimeError("boom")))
    assert [(row.stop, row.exit_code, row.solved) for row in rows] == [("error", 1, False)] * 2
    assert "boom" in rows[0].detail


@pytest.mark.parametrize("error", [ServerFailed("gone"), EnvironmentMissing("no disk")])
def test_a_missing_environment_ends_the_suite_and_writes_no_row(tmp_path: Path, error: Exception) -> None:
    with pytest.raises(type(error)):
        ran(tmp_path / "out.jsonl", "ab", Failing(error))
    assert not (tmp_path / "out.jsonl").exists()


def test_the_grade_takes_the_tests_from_the_task(tmp_path: Path) -> None:
    """An agent that rewrites the tests is graded with the original ones."""
    cheat = Script(acts=["run echo 'assert True' > test_calc.py", "submit"] + ["no"] * 6)
    (row,), _ = ran(tmp_path / "out.jsonl", "a", cheat)
    assert not row.solved
    assert row.stop != "accepted"


def test_the_summary_adds_up(tmp_path: Path) -> None:
    solved, _ = ran(tmp_path / "a.jsonl", "a")
    unsolved, _ = ran(tmp_path / "b.jsonl", "b", Script(acts=["no"] * 6))
    lines = summary_lines([*solved, *unsolved])
    assert "Solved 1 of 2; unsolved: 1 stuck." in lines
    assert any("none of which reached a tool: 6" in line for line in lines)
    assert summary_lines([])[-3].startswith("Solved 0 of 0")


def test_quixbugs_rows_become_tasks(tmp_path: Path) -> None:
    row = {
        "name": "gcd",
        "path": "gcd.py",
        "buggy": "x = 1\n",
        "files": {"test_gcd.py": "", "gcd.py": "x = 2\n"},
        "description": "greatest common divisor",
        "test_command": "python -m pytest -q test_gcd.py",
    }
    (tmp_path / "quixbugs.jsonl").write_text(json.dumps(row) + "\n\n")
    (found,) = read_quixbugs(tmp_path)
    assert found.files["gcd.py"] == "x = 1\n"
    assert found.test_command == "python3 -m pytest -q test_gcd.py"
    assert "greatest common divisor" in found.prompt
    for text in ("", "not json\n"):
        (tmp_path / "bad.jsonl").write_text(text)
        with pytest.raises(UsageError):
            read_quixbugs(tmp_path / "bad.jsonl")
    with pytest.raises(UsageError):
        read_quixbugs(tmp_path / "missing")
