"""Runs two served models on the same tasks: both on a task before the next, so that drift hits both alike.

Each model and seed has its own file of rows; what is there is not run again. Order and who comes first are
drawn once, from the plan, so a resumed gate goes on as it would have gone. A row under another model's name
than the arm's ends the gate: then it was not this model that was measured.
"""

import hashlib
import json
import random
import threading
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from agent.errors import UsageError
from agent.suite_grade import MakeSandbox
from agent.suite_results import ResultsFile
from agent.suite_run import run_one
from agent.suite_task import Agent, Row, SuiteTask
from model.gate import Pair
from model.gate_guards import Work

OLD: Final = "old"
NEW: Final = "new"
PLAN: Final = "plan.json"
OnRow = Callable[[str, Row, int, int], None]
"""Hears of a finished run: the arm, its row, how many are done, how many there are."""


@dataclass(frozen=True, slots=True)
class Arm:
    """One of the two models, as it is served."""

    served: str
    """The name under which the server answers; empty where no answer tells it."""
    agent: Callable[[int], Agent]
    """The agent that works with it, for a seed. Both arms give it the same settings and budget."""


@dataclass(frozen=True)
class Contest:
    """What is run: the same for both models."""

    tasks: Sequence[SuiteTask]
    repositories: Mapping[str, str]
    """Repository of each task by its name; a task without one stands alone."""
    seeds: Sequence[int]
    """One sample of each task and model for each."""
    budget: str = ""
    """What each attempt may spend, in words; part of the plan."""

    @property
    def hashes(self) -> dict[str, str]:
        """SHA-256 by task name: what a look at held-out tasks is counted by (memory/gates.py)."""
        return {task.name: task_hash(task) for task in self.tasks}

    def plan(self, old: str, new: str) -> str:
        """All that two runs of one gate must have in common, as JSON."""
        told = {
            "old": old,
            "new": new,
            "seeds": list(self.seeds),
            "budget": self.budget,
            "tasks": dict(sorted(self.hashes.items())),
        }
        return json.dumps(told, indent=1, sort_keys=True)


def task_hash(task: SuiteTask) -> str:
    """Of what is asked, its files and its grading, whatever its name is."""
    digest = hashlib.sha256()
    for part in (task.prompt, task.grader.command, *task.answers):
        digest.update(f"{len(part)}:{part}".encode("utf-8", "surrogatepass"))
    for files in (task.files, task.grader.files):
        for path in sorted(files):
            digest.update(f"{path}:{len(files[path])}:".encode("utf-8", "surrogatepass") + files[path])
    return digest.hexdigest()


def run_contest(
    contest: Contest,
    old: Arm,
    new: Arm,
    folder: Path,
    *,
    make_sandbox: MakeSandbox,
    jobs: int = 1,
    check: Callable[[], None] = lambda: None,
    on_row: OnRow = lambda _arm, _row, _done, _of: None,
    stopping: threading.Event | None = None,
) -> dict[str, list[Row]]:
    """Run what `folder` has no row of yet, and give all rows by arm. `jobs` tasks run at once.

    `check` is asked before the first run and after the last whether the right adapter is served; it raises
    where it is not. Raises UsageError for the rows of another gate or another model, and what means that the
    environment is missing.
    """
    _same_plan(folder, contest.plan(old.served, new.served))
    check()
    with ExitStack() as stack:
        arms = {OLD: old, NEW: new}
        files = {
            (name, seed): stack.enter_context(ResultsFile(folder / f"{name}-{seed}.jsonl"))
            for name in arms
            for seed in contest.seeds
        }
        _Runs(contest, arms, files, make_sandbox, on_row, stopping or threading.Event()).all(jobs)
        check()
        return {
            name: [row for seed in contest.seeds for row in _wanted(files[name, seed].rows, contest)]
            for name in arms
        }


class _Runs:
    """The runs of one gate."""

    def __init__(
        self,
        contest: Contest,
        arms: Mapping[str, Arm],
        files: Mapping[tuple[str, int], ResultsFile],
        make_sandbox: MakeSandbox,
        on_row: OnRow,
        stop: threading.Event,
    ) -> None:
        self._contest, self._arms, self._files = contest, arms, files
        self._make_sandbox, self._on_row, self._stop = make_sandbox, on_row, stop
        self._telling = threading.Lock()
        names = {task.name for task in contest.tasks}
        self._done = sum(row.name in names for file in files.values() for row in file.rows)

    def all(self, jobs: int) -> None:
        """Run what is missing. What ends one run ends all: none begins, those that run are waited for."""
        blocks = [(task, seed) for seed in self._contest.seeds for task in self._contest.tasks]
        random.Random(json.dumps([task.name for task in self._contest.tasks])).shuffle(blocks)
        if jobs <= 1:  # in this thread, where Ctrl-C breaks off what runs
            for task, seed in blocks:
                self._block(task, seed)
            return
        with ThreadPoolExecutor(jobs, "gate") as pool:
            futures = [pool.submit(self._block, task, seed) for task, seed in blocks]
            try:
                for future in as_completed(futures):
                    future.result()
            except BaseException:
                self._stop.set()
                raise

    def _block(self, task: SuiteTask, seed: int) -> None:
        """Both models on one task with one seed, in an order that is drawn."""
        order = [OLD, NEW]
        random.Random(f"{task.name} {seed}").shuffle(order)
        for name in order:
            if self._stop.is_set():
                return
            try:
                self._one(name, task, seed)
            except BaseException:
                self._stop.set()
                raise

    def _one(self, name: str, task: SuiteTask, seed: int) -> None:
        file, arm = self._files[name, seed], self._arms[name]
        if any(row.name == task.name for row in file.rows):
            return
        row = run_one(task, arm.agent(seed), seed, self._make_sandbox)
        if arm.served and row.model and row.model != arm.served:
            raise UsageError(
                f"the {name} model is {arm.served}, but {row.model} answered", "adi serve --status"
            )
        file.add(row)
        with self._telling:
            self._done += 1
            of = 2 * len(self._contest.seeds) * len(self._contest.tasks)
            self._on_row(name, row, self._done, of)


def _wanted(rows: Sequence[Row], contest: Contest) -> list[Row]:
    order = {task.name: number for number, task in enumerate(contest.tasks)}
    return sorted((row for row in rows if row.name in order), key=lambda row: order[row.name])


def _same_plan(folder: Path, plan: str) -> None:
    """Raises UsageError where the folder has the rows of another gate."""
    file = folder / PLAN
    if file.exists():
        if file.read_text(encoding="utf-8") != plan:
            raise UsageError(f"{folder} holds the rows of another gate", "name another folder")
        return
    folder.mkdir(parents=True, exist_ok=True)
    half = file.with_suffix(".part")
    half.write_text(plan, encoding="utf-8")
    half.replace(file)


def paired(contest: Contest, rows: Mapping[str, Sequence[Row]]) -> list[Pair]:
    """Each task as both models did it. Raises UsageError where a run is missing: half a gate is none."""
    solved = {(name, row.name, row.seed): row.solved for name, own in rows.items() for row in own}

    def told(name: str, task: str) -> tuple[bool, ...]:
        missing = [seed for seed in contest.seeds if (name, task, seed) not in solved]
        if missing:
            raise UsageError(f"the {name} model has no row of {task} with seed {missing[0]}", "run it again")
        return tuple(solved[name, task, seed] for seed in contest.seeds)

    return [
        Pair(
            task=task.name,
            repository=contest.repositories.get(task.name) or task.name,
            old=told(OLD, task.name),
            new=told(NEW, task.name),
        )
        for task in contest.tasks
    ]


def work_of(rows: Sequence[Row]) -> list[Work]:
    """What the guards count of the runs."""
    return [
        Work(
            task=row.name,
            tokens=row.completion_tokens,
            wall_s=row.wall_s,
            actions=row.actions,
            malformed=row.malformed,
            stuck=row.ended == "stuck",
            empty=not row.diff,
            failed=row.ended == "error",
        )
        for row in rows
    ]
