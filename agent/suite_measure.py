"""What `adi eval` runs on: the agents by name, Docker graders, progress on stderr."""

import contextlib
import sys
import threading
from collections.abc import Iterator, Sequence
from pathlib import Path

from agent.inert import inert_line
from agent.models import choice_of
from agent.origin import origin_of
from agent.percolate import Listener
from agent.person import Person
from agent.session import MakeSandbox, Session, docker_sandboxes, open_session
from agent.settings import Settings, directories
from agent.suite_agents import Adi, OpenSession
from agent.suite_oneshot import OneShot
from agent.suite_run import run_suite
from agent.suite_task import Agent, Row, SuiteTask
from memory.origin import Origin
from memory.records import Event, Noted
from model.connect import connect
from sandbox.protocol import Sandbox, SandboxLimits
from sandbox.workcopy import WorkCopy

CHECK_S = 15.0
"""Seconds of one test run: several broken programs never end, and no right one needs three."""
PROJECT_S = 120.0
"""Seconds of all tests of a real project."""


def check_s(suite: str) -> float:
    """Seconds that an agent's test run may take."""
    return PROJECT_S if suite == "repobugs" else CHECK_S


def measure(
    tasks: Sequence[SuiteTask], agent: str, results: Path, settings: Settings, *, jobs: int, seed: int
) -> list[Row]:
    """Run an agent on the tasks; progress goes to stderr. Raises what agent.suite_run.run_suite raises.

    A model that is not to be had ends it before the first task: it would make every one of them an error.
    """
    connect(choice_of(settings, directories()), _say).close()
    graders = Graders(settings)
    for profile in sorted({task.grader.image for task in tasks}):
        graders.ready(profile)
    stopping = threading.Event()
    return run_suite(
        tasks,
        agent_of(agent, settings, seed, stopping),
        results,
        make_sandbox=graders,
        jobs=jobs,
        seed=seed,
        on_row=_tell,
        on_bad=_tell_bad,
        stopping=stopping,
    )


def full_name(agent: str, settings: Settings) -> str:
    """The agent's name in its rows: ADI with mechanisms switched off is another agent."""
    off = settings.run.without if agent == "adi" else ()
    return "-".join([agent, *(["without", *sorted(off)] if off else [])])


def agent_of(name: str, settings: Settings, seed: int, stopping: threading.Event) -> Agent:
    """The agent of this name. Raises EnvironmentMissing for an outside agent that is not installed."""
    choice = choice_of(settings, directories())
    if name == "adi":
        return Adi(_opener(settings), stopping, full_name(name, settings))
    if name == "oneshot":
        return OneShot(lambda: connect(choice, _say))
    from agent.suite_peers import peer

    return peer(
        name,
        choice,
        wall_s=settings.run.wall_s,
        seed=seed,
        check_s=settings.run.check_s,
        limits=SandboxLimits(
            memory_bytes=settings.sandbox.memory_mb * 1024**2,
            cpus=settings.sandbox.cpus,
            pids=settings.sandbox.pids,
            work_bytes=settings.sandbox.work_mb * 1024**2,
        ),
        stopping=stopping,
        logs=directories().logs / "eval",
    )


def put_aside(results: Path) -> None:
    """Give earlier results a number of their own, so that a measurement begins anew and none is lost."""
    if not results.exists():
        return
    number = 1
    while (old := results.with_name(f"{results.stem}.{number}{results.suffix}")).exists():
        number += 1
    results.rename(old)
    _say(f"earlier results: {old}")


class Graders:
    """Docker sandboxes in the image of a profile; what they need is made ready once."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._makers: dict[str, MakeSandbox] = {}
        self._lock = threading.Lock()

    def ready(self, profile: str) -> MakeSandbox:
        """Raises DockerMissing, IsolationMissing and ImageMissing."""
        with self._lock:
            if profile not in self._makers:
                self._makers[profile] = docker_sandboxes(self._settings, _say, profile)
            return self._makers[profile]

    def __call__(self, files: WorkCopy, profile: str) -> Sandbox:
        return self.ready(profile)(files, "grade")


def _opener(settings: Settings) -> OpenSession:
    """Opens a session on a task's repository; only its warnings are shown, with the task's name."""

    @contextlib.contextmanager
    def opened(repo: Path, person: Person, listeners: Sequence[Listener]) -> Iterator[Session]:
        def warn(event: Event) -> None:
            if isinstance(event.payload, Noted) and event.payload.level != "info":
                _say(f"{repo.name}: {event.payload.level}: {event.payload.text}")

        with open_session(settings, repo, person, [*listeners, warn], origin=of_a_suite) as session:
            yield session

    return opened


def of_a_suite(copy: Path) -> Origin:
    """Origin of a run by its folder, which has the task's name: no work of a person's."""
    return origin_of(copy).model_copy(update={"task": copy.name})


def _tell(row: Row, done: int, tasks: int) -> None:
    verdict = "not solved" if not row.solved else "solved" if row.solved_at == 1 else "solved at try 2"
    _say(
        f"[{done}/{tasks}] {row.name}: {verdict} ({row.ended}) in {row.wall_s:.0f} s, "
        f"{row.executed} candidates run"
    )


def _tell_bad(count: int, kept: Path) -> None:
    _say(f"warning: {count} damaged line(s) skipped, their tasks run again; see {kept}")


def _say(line: str) -> None:
    sys.stderr.write(f"{inert_line(line)}\n")
