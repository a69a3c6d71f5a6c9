"""Runs ADI on training tasks, so that there is something to learn from: headless, resumable, synthetic."""

import contextlib
import re
import threading
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from agent.learn_place import LearnPlace
from agent.models import named
from agent.origin import origin_of
from agent.percolate import Listener
from agent.person import Person
from agent.seed_tasks import SeededTask, TaskFolder
from agent.session import Session, open_session
from agent.settings import Settings
from agent.suite_agents import Adi, OpenSession
from agent.suite_grade import MakeSandbox
from agent.suite_measure import Graders
from agent.suite_run import OnRow, run_suite
from agent.suite_task import Row
from memory.origin import Origin

Opener = Callable[[Settings, Callable[[Path], Origin]], OpenSession]
"""Makes what opens sessions, whose runs begin with this origin."""


def collect(
    tasks: Sequence[SeededTask],
    place: LearnPlace,
    settings: Settings,
    *,
    samples: int = 1,
    jobs: int = 1,
    on_row: OnRow = lambda _row, _done, _of: None,
    opener: Opener | None = None,
    make_sandbox: MakeSandbox | None = None,
    served: str = "",
) -> list[Row]:
    """Run every task so many times, each with a seed of its own, where there is no result yet.

    `served` names the adapter that answers: its runs are other ones than those of the base. Raises what means
    that the environment is missing; what is finished stays.
    """
    opening, graders = opener or open_runs, make_sandbox or Graders(settings)
    model = re.sub(r"[^\w.-]+", "-", "-".join(filter(None, (named(settings), served)))).strip(".-")
    rows, stopping = list[Row](), threading.Event()
    quiet = settings.model_copy(
        update={"memory": settings.memory.model_copy(update={"recall": False, "distil": False})}
    )
    for seed in range(samples):
        seeded = quiet.model_copy(update={"run": quiet.run.model_copy(update={"seed": seed})})
        rows += run_suite(
            [TaskFolder(place.tasks).suite_task(task) for task in tasks],
            Adi(opening(seeded, synthetic(tasks)), stopping),
            place.collected / f"{model}-{seed}.jsonl",
            make_sandbox=graders,
            jobs=jobs,
            seed=seed,
            on_row=on_row,
            stopping=stopping,
        )
    return rows


def synthetic(tasks: Sequence[SeededTask]) -> Callable[[Path], Origin]:
    """Origin of a run by its folder, which has the task's name.

    A run on a seeded task is under consent and licence of the repository that the task was made of.
    """
    repos = {task.instance_id: task.repo for task in tasks}

    def origin(copy: Path) -> Origin:
        known = origin_of(copy, copy_of=repos.get(copy.name, ""))
        return known.model_copy(update={"synthetic": True, "task": copy.name})

    return origin


def open_runs(settings: Settings, origin: Callable[[Path], Origin]) -> OpenSession:
    """Sessions on the task's repository as `adi run` has them."""

    @contextlib.contextmanager
    def opened(repo: Path, person: Person, listeners: Sequence[Listener]) -> Iterator[Session]:
        with open_session(settings, repo, person, listeners, origin=origin) as session:
            yield session

    return opened
