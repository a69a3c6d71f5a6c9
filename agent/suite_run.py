"""Runs an agent on the tasks of a suite: several at once, resumable, graded apart from the agent.

A task of two tries gives the agent the failing output once and grades again; that text is the same for
every agent.
"""

import re
import tempfile
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import replace
from importlib.metadata import version
from pathlib import Path
from string import Template

from agent.context import prompt
from agent.errors import ENVIRONMENT, exit_code_of, sentence
from agent.suite_grade import Grade, MakeSandbox, applied, grade, kept
from agent.suite_results import ResultsFile, check_same, damaged
from agent.suite_task import Agent, Attempt, Row, SuiteTask
from feedback.checks import cut
from memory.records import Stop
from sandbox.fresh import make_repository

OUTPUT_CHARS = 4_000
"""Characters of a failing test's output that a second try is told, head and tail."""

OnRow = Callable[[Row, int, int], None]
"""Hears of a finished task: its row, how many tasks have one now, how many tasks there are."""


def run_suite(
    tasks: Sequence[SuiteTask],
    agent: Agent,
    results: Path,
    *,
    make_sandbox: MakeSandbox,
    jobs: int = 1,
    seed: int = 0,
    on_row: OnRow = lambda _row, _done, _of: None,
    on_bad: Callable[[int, Path], None] = lambda _count, _path: None,
    stopping: threading.Event | None = None,
) -> list[Row]:
    """Run every task that `results` has no row of yet, `jobs` at once; their rows in order.

    `on_bad` hears how many lines of `results` are no rows, and where the file with them is kept. `stopping`
    is set when Ctrl-C or an error ends the suite: an agent that looks at it can end its running tasks early.
    Raises UsageError for results of another measurement, and what means that the environment is missing.
    """
    stop = stopping or threading.Event()
    with ResultsFile(results) as file:
        if file.bad:
            on_bad(file.bad, damaged(results))
        if tasks:
            check_same(file.rows, results, tasks[0].suite, agent.name, seed)
        names = {task.name for task in tasks}
        before = len(file.rows) - sum(row.name in names for row in file.rows)
        done = {row.name for row in file.rows}
        telling = threading.Lock()

        def work(task: SuiteTask) -> None:
            row = run_one(task, agent, seed, make_sandbox)
            with telling:
                on_row(row, file.add(row) - before, len(tasks))

        _all(work, [task for task in tasks if task.name not in done], jobs, stop)
        order = {task.name: index for index, task in enumerate(tasks)}
        return sorted((row for row in file.rows if row.name in order), key=lambda row: order[row.name])


def _all(
    work: Callable[[SuiteTask], None], tasks: Sequence[SuiteTask], jobs: int, stop: threading.Event
) -> None:
    """Work on all tasks. What ends one ends the suite: none begins, those that run are waited for."""

    def guarded(task: SuiteTask) -> None:
        if stop.is_set():
            return
        try:
            work(task)
        except BaseException:
            stop.set()
            raise

    if jobs <= 1:  # in this thread, where Ctrl-C breaks off what runs
        for task in tasks:
            guarded(task)
        return
    with ThreadPoolExecutor(jobs, "eval") as pool:
        futures = [pool.submit(guarded, task) for task in tasks]
        try:
            for future in as_completed(futures):
                future.result()
        except BaseException:  # Ctrl-C comes here, not to the threads
            stop.set()
            raise


def run_one(task: SuiteTask, agent: Agent, seed: int, make_sandbox: MakeSandbox) -> Row:
    """Give the agent one task, and where it has two tries and fails, its failing output; grade each try."""
    attempts: list[Attempt] = []
    answer: dict[str, bytes | None] = {}
    question = task.prompt
    while True:
        attempts.append(_attempt(task, agent, applied(task.files, answer), question))
        answer |= kept(task, attempts[-1].answer)
        attempts[-1], graded = _graded(task, attempts[-1], answer, make_sandbox)
        if graded.passed or len(attempts) >= task.tries:
            return _row(task, agent, seed, attempts, graded)
        question = second_prompt(task.prompt, graded.output)


def second_prompt(task: str, output: str) -> str:
    """What every agent is told in a second try: the task, and what the failing tests printed."""
    return Template(prompt("second_try")).safe_substitute(task=task, output=cut(output, OUTPUT_CHARS))


def _attempt(task: SuiteTask, agent: Agent, files: dict[str, bytes], question: str) -> Attempt:
    """The agent on a fresh repository; an unexpected error is an attempt too.

    A missing environment is raised.
    """
    with tempfile.TemporaryDirectory(prefix="adi-eval-", ignore_cleanup_errors=True) as folder:
        repo = Path(folder) / (re.sub(r"[^\w.-]+", "-", task.name).strip(".-") or "task")
        repo.mkdir()
        make_repository(repo, files)
        began = time.monotonic()
        try:
            return agent.attempt(task, repo, question)
        except Exception as error:
            if exit_code_of(error) == ENVIRONMENT:
                raise
            return Attempt({}, Stop.ERROR, sentence(error), wall_s=time.monotonic() - began)


def _graded(
    task: SuiteTask, attempt: Attempt, answer: dict[str, bytes | None], make_sandbox: MakeSandbox
) -> tuple[Attempt, Grade]:
    """The grade; an answer that cannot even be laid out is wrong, and the attempt says why."""
    try:
        return attempt, grade(task, answer, make_sandbox)
    except Exception as error:
        if exit_code_of(error) == ENVIRONMENT:
            raise
        said = sentence(error)
        return replace(attempt, ended=Stop.ERROR, detail=f"not graded: {said}"), Grade(False, said, "")


def _row(task: SuiteTask, agent: Agent, seed: int, attempts: Sequence[Attempt], graded: Grade) -> Row:
    last = attempts[-1]
    return Row(
        suite=task.suite,
        name=task.name,
        group=task.group,
        agent=agent.name,
        seed=seed,
        solved=graded.passed,
        solved_at=len(attempts) if graded.passed else 0,
        ended=str(last.ended),
        detail=last.detail,
        strategy=last.strategy if graded.passed else "",
        prompt_tokens=sum(each.prompt_tokens for each in attempts),
        cached_tokens=sum(each.cached_tokens for each in attempts),
        completion_tokens=sum(each.completion_tokens for each in attempts),
        later_prompt_tokens=sum(each.later_prompt_tokens for each in attempts),
        later_cached_tokens=sum(each.later_cached_tokens for each in attempts),
        calls=sum(each.calls for each in attempts),
        executed=sum(each.executed for each in attempts),
        actions=sum(each.actions for each in attempts),
        malformed=sum(each.malformed for each in attempts),
        wall_s=round(sum(each.wall_s for each in attempts), 1),
        run_ids=tuple(each.run_id for each in attempts if each.run_id),
        model=next((each.model for each in attempts if each.model), ""),
        adi=version("adi-agent"),
        diff=graded.diff,
    )
