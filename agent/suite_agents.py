"""ADI itself as an agent of a suite: one unattended session a try."""

import shutil
import threading
import time
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from pathlib import Path

from agent.environment import DependenciesMissing
from agent.errors import ENVIRONMENT, exit_code_of, sentence
from agent.output import add
from agent.percolate import Listener
from agent.person import Person, Unattended
from agent.session import Outcome, Session
from agent.suite_task import Attempt, SuiteTask
from memory.records import (
    ActionStarted,
    CheckRan,
    Completed,
    Completion,
    Event,
    Malformed,
    RunEnded,
    Searched,
    Stop,
    Usage,
)
from sandbox.workcopy import Snapshot, WorkCopy, snapshot

OpenSession = Callable[[Path, Person, Sequence[Listener]], AbstractContextManager[Session]]
"""Opens a session on a repository whose events go to the listeners."""


@dataclass(slots=True)
class Tally:
    """What the events of one run add up to."""

    stopping: threading.Event = field(default_factory=threading.Event)
    usage: Usage = field(default_factory=Usage)
    later_prompt: int = 0
    later_cached: int = 0
    """The same without the run's first model call."""
    calls: int = 0
    executed: int = 0
    """Candidates whose check was run."""
    actions: int = 0
    malformed: int = 0
    strategy: str = ""
    """What wrote the change that passed."""
    detail: str = ""
    model: str = ""
    broken_off: bool = False

    def on_event(self, event: Event) -> None:
        """Raises KeyboardInterrupt, once, at the first event after the suite was stopped."""
        match event.payload:
            case Completed(completion=completion):
                self._add(completion)
            case Searched(passed=passed, strategy=strategy) if passed:
                self.strategy = strategy
            case CheckRan(purpose="candidate"):
                self.executed += 1
            case CheckRan(purpose="step", result=result) if result.passed and not self.strategy:
                self.strategy = "actions"
            case ActionStarted():
                self.actions += 1
            case Malformed():
                self.malformed += 1
            case RunEnded(detail=detail):
                self.detail = detail
        if self.stopping.is_set() and not self.broken_off:
            self.broken_off = True
            raise KeyboardInterrupt

    def _add(self, completion: Completion) -> None:
        usage = completion.usage
        if self.calls:
            self.later_prompt += usage.prompt_tokens
            self.later_cached += usage.cached_tokens
        self.calls += 1
        self.usage = add(self.usage, usage)
        self.model = self.model or completion.model


@dataclass(frozen=True, slots=True)
class Adi:
    """ADI, unattended. The grader decides: what a run leaves is its answer, accepted by ADI or not."""

    open_session: OpenSession
    stopping: threading.Event = field(default_factory=threading.Event)
    """When set, a run is broken off at its next event, which raises KeyboardInterrupt."""
    name: str = "adi"

    def attempt(self, task: SuiteTask, repo: Path, prompt: str) -> Attempt:
        """See agent.suite_task.Agent."""
        tally = Tally(self.stopping)
        with self.open_session(repo, Unattended(accept=True), (tally.on_event,)) as session:
            before = snapshot(repo, session.places.shadow)
            try:
                began = time.monotonic()
                outcome = _outcome(session, prompt, task.checks)
                wall = time.monotonic() - began
                answer = _answer(session, outcome.run_id, before)
            finally:
                shutil.rmtree(before.shadow, ignore_errors=True)  # nobody will review this run
        return Attempt(
            answer=answer,
            ended=str(outcome.stop),
            detail=outcome.detail or tally.detail,
            wall_s=wall,
            calls=tally.calls,
            prompt_tokens=tally.usage.prompt_tokens,
            cached_tokens=tally.usage.cached_tokens,
            completion_tokens=tally.usage.completion_tokens,
            later_prompt_tokens=tally.later_prompt,
            later_cached_tokens=tally.later_cached,
            executed=tally.executed,
            actions=tally.actions,
            malformed=tally.malformed,
            strategy=tally.strategy,
            run_id=outcome.run_id,
            model=tally.model,
        )


def _outcome(session: Session, prompt: str, checks: tuple[str, ...]) -> Outcome:
    """The run's outcome; an unexpected error is one too, and so is what this repository lacks.

    An environment that is missing for every task is raised.
    """
    try:
        return session.run(prompt, checks)
    except Exception as error:
        code = exit_code_of(error)
        if code == ENVIRONMENT and not isinstance(error, DependenciesMissing):
            raise
        newest = session.store.runs(str(session.repo), limit=1)
        stop = Stop.ENVIRONMENT if code == ENVIRONMENT else Stop.ERROR
        return Outcome(newest[0].id if newest else "", stop, code, sentence(error))


def _answer(session: Session, run_id: str, before: Snapshot) -> dict[str, bytes | None]:
    """The files of the run's last patch."""
    summary = session.store.run(run_id) if run_id else None
    if summary is None or not summary.diff_sha256:
        return {}
    patched = WorkCopy(before).patched(session.store.artifact(summary.diff_sha256))
    return {path: after for path, (_, after) in patched.changed().items()}
