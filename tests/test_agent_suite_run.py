"""Running a suite: tasks in, rows out, several at once, resumable; the grade is the grader's word."""

import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from agent.errors import EnvironmentMissing, UsageError
from agent.suite_grade import grade
from agent.suite_results import ResultsFile, read_rows
from agent.suite_run import OUTPUT_CHARS, run_one, run_suite, second_prompt
from agent.suite_task import Attempt, Grader, Row, SuiteTask
from tests.agent_kit import CALC, MENDED, PYTHON
from tests.suite_kit import FILES, Writer, local, row, task, wrote


def mends() -> Writer:
    return Writer(lambda _task, _prompt: wrote())


def ran(results: Path, names: str, agent: Writer, **options: object) -> list[Row]:
    tasks = [task(name) for name in names]
    return run_suite(tasks, agent, results, make_sandbox=local, **options)  # type: ignore[arg-type]


def test_rows_on_disk_are_not_run_again(tmp_path: Path) -> None:
    results = tmp_path / "new" / "out.jsonl"
    agent = mends()
    told: list[tuple[str, int, int]] = []
    first = ran(results, "ab", agent)
    again = ran(results, "cab", agent, on_row=lambda row, done, of: told.append((row.name, done, of)))
    assert [name for name, _ in agent.asked] == ["a", "b", "c"]
    assert [row.name for row in again] == ["c", "a", "b"]
    assert again[1:] == first
    assert told == [("c", 3, 3)]
    assert [row.name for row in read_rows(results)[0]] == ["a", "b", "c"]


@pytest.mark.containment
@pytest.mark.parametrize("torn", [lambda line: line[:40], lambda line: line[:-1], lambda _: ""])
def test_agent_h08_a_torn_last_line_is_run_again_and_damages_no_later_row(
    tmp_path: Path, torn: Callable[[str], str]
) -> None:
    results = tmp_path / "out.jsonl"
    results.write_text("".join(map(line, "ab")))
    lines = results.read_text().splitlines(keepends=True)
    results.write_text(lines[0] + torn(lines[1]))
    with ResultsFile(results) as file:
        for name in "bc":
            if name not in {there.name for there in file.rows}:
                file.add(row(name))
    assert [json.loads(text)["name"] for text in results.read_text().splitlines()] == ["a", "b", "c"]
    kept = {path.name for path in tmp_path.iterdir()} - {"out.jsonl"}
    assert kept == ({"out.jsonl.damaged"} if 0 < len(torn(lines[1])) < len(lines[1]) - 1 else set())


def line(name: str) -> str:
    """A row as it is on disk."""
    fields = {key: getattr(row(name), key) for key in row(name).__slots__}
    return json.dumps(fields) + "\n"


DAMAGE = (
    b"\0" * 4096,
    b'{"name": "b"}',
    b"{}",
    b"[" * 100_000,
    b"\xff\xfe\x00b",
    b'{"torn": "in the mid',
    b"7",
    line("b").replace('"solved": true', '"solved": "yes"').strip().encode(),
)
"""A block of NUL, other fields, none, too deep, no text, torn, no object, a value of another type."""


@pytest.mark.containment
def test_agent_h08_damaged_lines_in_the_middle_are_skipped_and_counted(tmp_path: Path) -> None:
    """The rows around them are kept, the lost task runs again, the damaged file stays beside it."""
    results = tmp_path / "out.jsonl"
    damaged = line("a").encode() + b"\n".join(DAMAGE) + b"\n" + line("c").encode()
    results.write_bytes(damaged)
    told: list[tuple[int, Path]] = []
    agent = replace(mends(), name="adi")
    again = ran(results, "abc", agent, on_bad=lambda *bad: told.append(bad))
    assert [row.name for row in again] == ["a", "b", "c"]
    assert [name for name, _ in agent.asked] == ["b"]
    ((count, kept),) = told
    assert count == len(DAMAGE)
    assert kept.read_bytes() == damaged
    rows, bad = read_rows(results)
    assert ([row.name for row in rows], bad) == (["a", "c", "b"], 0)


def test_several_tasks_run_at_once(tmp_path: Path) -> None:
    """Each waits for the others, so one at a time would never end."""
    together = threading.Barrier(3, timeout=20)

    def write(_task: SuiteTask, _prompt: str) -> Attempt:
        together.wait()
        return wrote()

    rows = ran(tmp_path / "out.jsonl", "abc", Writer(write), jobs=3)
    assert [(row.name, row.solved) for row in rows] == [("a", True), ("b", True), ("c", True)]
    assert {row.name for row in read_rows(tmp_path / "out.jsonl")[0]} == set("abc")


@pytest.mark.parametrize("jobs", [1, 2])
@pytest.mark.parametrize("error", [EnvironmentMissing("no disk"), KeyboardInterrupt()])
def test_what_ends_a_suite_keeps_its_finished_rows_and_begins_no_task(
    tmp_path: Path, error: BaseException, jobs: int
) -> None:
    stopping = threading.Event()

    def write(task: SuiteTask, _prompt: str) -> Attempt:
        if task.name == "b":
            raise error
        if jobs > 1:
            assert stopping.wait(20)  # so that it ends after the suite was stopped
        return wrote()

    agent = Writer(write)
    with pytest.raises(type(error)):
        ran(tmp_path / "out.jsonl", "abcdef", agent, jobs=jobs, stopping=stopping)
    assert [row.name for row in read_rows(tmp_path / "out.jsonl")[0]] == ["a"]
    assert {name for name, _ in agent.asked} == {"a", "b"}
    assert stopping.is_set()


def test_a_missing_environment_at_the_first_task_leaves_no_file(tmp_path: Path) -> None:
    def write(_task: SuiteTask, _prompt: str) -> Attempt:
        raise EnvironmentMissing("no disk")

    with pytest.raises(EnvironmentMissing):
        ran(tmp_path / "out.jsonl", "a", Writer(write))
    assert list(tmp_path.iterdir()) == []


def test_an_unexpected_error_is_a_row_and_the_suite_goes_on(tmp_path: Path) -> None:
    def write(task: SuiteTask, _prompt: str) -> Attempt:
        if task.name == "a":
            raise RuntimeError("boom")
        return wrote()

    rows = ran(tmp_path / "out.jsonl", "ab", Writer(write))
    assert [(row.ended, row.solved) for row in rows] == [("error", False), ("answered", True)]
    assert "boom" in rows[0].detail


KILLED = """
import sys, time
from pathlib import Path
from agent.suite_run import run_suite
from tests.suite_kit import Writer, local, task, wrote

def write(task, _prompt):
    if task.name == "c":
        print("hangs", flush=True)
        time.sleep(60)
    return wrote()

run_suite([task(name) for name in "abcd"], Writer(write), Path(sys.argv[1]), make_sandbox=local)
"""


def test_a_killed_suite_goes_on_without_repeating_or_skipping(tmp_path: Path) -> None:
    """kill -9 of a real process in its third task."""
    results = tmp_path / "out.jsonl"
    with subprocess.Popen(
        [sys.executable, "-c", KILLED, str(results)], stdout=subprocess.PIPE, cwd=Path(__file__).parents[1]
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"hangs\n"
        os.kill(process.pid, signal.SIGKILL)
    agent = mends()
    rows = ran(results, "abcd", agent)
    assert [name for name, _ in agent.asked] == ["c", "d"]
    assert [row.name for row in rows] == ["a", "b", "c", "d"]
    assert [json.loads(text)["name"] for text in results.read_text().splitlines()] == ["a", "b", "c", "d"]


def test_the_results_of_another_measurement_are_refused(tmp_path: Path) -> None:
    results = tmp_path / "out.jsonl"
    ran(results, "a", mends(), seed=1)
    before = results.read_bytes()
    for agent, seed in ((replace(mends(), name="other"), 1), (mends(), 2)):
        with pytest.raises(UsageError, match="holds results of suite s, agent writer, seed 1"):
            ran(results, "ab", agent, seed=seed)
    with pytest.raises(UsageError):
        run_suite([replace(task("b"), suite="t")], mends(), results, make_sandbox=local, seed=1)
    assert results.read_bytes() == before


def test_another_model_ends_the_suite(tmp_path: Path) -> None:
    results = tmp_path / "out.jsonl"
    ran(results, "a", Writer(lambda _task, _prompt: wrote(model="big")))
    small = Writer(lambda _task, _prompt: wrote(model="small"))
    with pytest.raises(UsageError, match="model big, but small answers"):
        ran(results, "abc", small)
    assert [name for name, _ in small.asked] == ["b"]
    assert [row.name for row in read_rows(results)[0]] == ["a"]


def test_two_processes_do_not_write_to_one_file(tmp_path: Path) -> None:
    with ResultsFile(tmp_path / "out.jsonl") as file:
        file.add(row("a"))
        with pytest.raises(UsageError, match="another process"):
            ran(tmp_path / "out.jsonl", "ab", mends())


def test_a_second_try_is_told_what_failed_and_finds_the_first(tmp_path: Path) -> None:
    broken = CALC.replace("a - b", "a * b")
    answers = iter([wrote(broken, calls=1, wall_s=1.0), wrote(calls=2, wall_s=2.0)])
    agent = Writer(lambda _task, _prompt: next(answers))
    (done,) = run_suite([task(tries=2, hidden=True)], agent, tmp_path / "out.jsonl", make_sandbox=local)
    assert (done.solved, done.solved_at, done.calls, done.wall_s) == (True, 2, 3, 3.0)
    assert agent.found == [CALC, broken]
    (_, first), (_, second) = agent.asked
    assert first == "calc.py has a defect"
    assert first in second
    assert "AssertionError: 6" in second
    assert "+    return a + b" in done.diff
    assert "a * b" not in done.diff


def test_a_second_try_may_fail_too_or_never_come() -> None:
    wrong = Writer(lambda _task, _prompt: wrote(CALC.replace("-", "*")))
    failed = run_one(task(tries=2), wrong, 0, local)
    assert (failed.solved, failed.solved_at, len(wrong.asked)) == (False, 0, 2)
    right = mends()
    assert run_one(task(tries=2), right, 0, local).solved_at == 1
    assert len(right.asked) == 1


def test_the_text_of_a_second_try_is_bounded_and_keeps_the_end() -> None:
    text = second_prompt("the task", "x" * 50_000 + "the end")
    assert text.startswith("the task\n")
    assert "the end\n```" in text
    assert len(text) < OUTPUT_CHARS + 300


@pytest.mark.parametrize(
    ("answer", "right"),
    [
        ({"calc.py": MENDED.encode()}, True),
        ({"calc.py": MENDED.encode(), "test_calc.py": b"raise SystemExit(1)\n"}, True),
        ({"test_calc.py": b"pass\n"}, False),
        ({"calc.py": None}, False),
        ({}, False),
    ],
)
@pytest.mark.parametrize("answers", [("calc.py",), ()])
def test_the_grade_takes_the_answer_and_the_tests_apart(
    answer: dict[str, bytes | None], right: bool, answers: tuple[str, ...]
) -> None:
    given = replace(task(), answers=answers)
    graded = grade(given, answer, local)
    assert graded.passed is right
    assert "test_calc.py" not in graded.diff


def test_without_named_answers_every_changed_file_counts() -> None:
    files = {**FILES, "calc.py": b"from other import add\n"}
    given = replace(task(), answers=(), files=files)
    assert grade(given, {"other.py": MENDED.encode()}, local).passed


def test_a_grader_that_never_ends_is_a_failure() -> None:
    given = replace(task(), grader=Grader(f"{PYTHON} -c 'while True: pass'", timeout_s=0.5))
    began = time.monotonic()
    graded = grade(given, {}, local)
    assert not graded.passed
    assert "did not end" in graded.output
    assert time.monotonic() - began < 20


def test_an_answer_outside_the_repository_is_wrong_and_told() -> None:
    leads_out = Writer(lambda _task, _prompt: Attempt({"../evil.py": b"x"}, "answered"))
    done = run_one(replace(task(), answers=()), leads_out, 0, local)
    assert (done.solved, done.ended) == (False, "error")
    assert "not graded" in done.detail
