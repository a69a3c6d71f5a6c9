"""The held-out tasks of a gate: those seeded into the user's repositories, or a suite that the user names."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from agent.errors import UsageError
from agent.gate_overlap import Apart, Trained
from agent.gate_run import Contest
from agent.learn_collect import synthetic
from agent.learn_place import LearnPlace
from agent.seed_tasks import SeededTask, TaskFolder
from agent.settings import Directories, Settings
from agent.suite_measure import of_a_suite
from agent.suite_task import SuiteTask
from memory.origin import Origin


@dataclass(frozen=True)
class Exam:
    """What both models are held to."""

    tasks: Sequence[SuiteTask]
    repositories: Mapping[str, str]
    """Repository of each task by its name; a task without one stands alone."""
    origin: Callable[[Path], Origin]
    """What a run on a task's copy begins with."""

    def contest(self, samples: int, settings: Settings) -> Contest:
        """The same for both models."""
        return Contest(self.tasks, self.repositories, range(samples), budget(settings))

    def apart(self, runs: Sequence[Trained]) -> Apart:
        """How far the tasks are from what was trained on, as they were split."""
        shared = {*self.repositories.values()} & {run.repository for run in runs}
        return "task" if shared else "repository"


def exam_of(places: Directories, suite: Sequence[SuiteTask]) -> Exam:
    """The suite where one is named, else the seeded tasks. Raises UsageError where there are none."""
    if suite:
        return Exam(suite, {}, of_a_suite)
    tasks, folder = held_out(places), TaskFolder(LearnPlace.of(places.data).tasks)
    return Exam(
        [folder.suite_task(task) for task in tasks],
        {task.instance_id: task.repo for task in tasks},
        synthetic(tasks),
    )


def held_out(places: Directories) -> list[SeededTask]:
    """Seeded tasks of the gate. Raises UsageError without any, or where training tasks are among them."""
    folder = TaskFolder(LearnPlace.of(places.data).tasks)
    tasks, training = folder.tasks("held-out"), folder.tasks("train")
    if not tasks:
        raise UsageError(
            "there are no held-out tasks: nothing could tell whether a new model is better",
            "adi learn seed REPO..., --held-out SUITE, or --no-gate to train and store only",
        )
    known = {(task.repo, task.path, task.function): task.instance_id for task in training}
    both = [
        f"{task.instance_id} and {known[place]} are of {task.function} in {task.path}"
        for task in tasks
        if (place := (task.repo, task.path, task.function)) in known
    ]
    if both:
        raise UsageError(
            f"{len(both)} held-out tasks overlap the training tasks: {'; '.join(both[:5])}",
            f"remove {folder.root}, and run adi learn seed again",
        )
    return tasks


def budget(settings: Settings) -> str:
    """What each attempt may spend, in words."""
    run = settings.run
    off = f", without {', '.join(sorted(run.without))}" if run.without else ""
    return f"{run.steps} steps, {run.completion_tokens} tokens, {run.wall_s:g} s{off}"
