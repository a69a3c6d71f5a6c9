"""Results that wait for a person, and the one way to decide on them, from a terminal as from a page.

Guaranteed: a decision counts for the result that was looked at, or for none. Whoever comes second, in another
window or process, is told what became of it; a decision that fails leaves the result waiting.
"""

import contextlib
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, ExitStack
from dataclasses import dataclass, field, replace
from typing import Final

from agent.errors import NEEDS_PERSON, AdiError, UsageError, sentence
from agent.person import Decision, PlanAnswer
from agent.session import Outcome, Session
from memory.copies import copies
from memory.errors import RepoBusy
from memory.records import (
    Check,
    Evaluation,
    Event,
    Plan,
    RunEnded,
    RunStarted,
    RunSummary,
    Stop,
    UserActed,
    Verdict,
)
from memory.store import Store

CHECK: Final = Decision("defer", reason="checked, and left open")
"""Judge a result that has no verdict yet, and leave it waiting."""


class Decided(UsageError):
    """The result does not wait any more: somebody has decided on it."""


class Moved(UsageError):
    """The result still waits, but it is not the one that was looked at: its diff was edited meanwhile."""


class NotProven(UsageError):
    """The verdict does not hold, and the person has not said that the change is wanted all the same."""


class Held(AdiError):
    """Another process is carrying out a decision on the result."""

    exit_code = NEEDS_PERSON


@dataclass(frozen=True, slots=True)
class Result:
    """A run's change as it stands, and what is known about it."""

    summary: RunSummary
    events: tuple[Event, ...]
    evaluation: Evaluation
    diff: bytes
    """As git writes it."""
    waits: bool
    """False when somebody has decided, or the run came to nothing; `fate` says which."""

    @property
    def id(self) -> str:
        return self.summary.id

    @property
    def judged(self) -> bool:
        """False when the work was broken off before any check was run on the change."""
        return bool(self.evaluation.results)

    @property
    def mark(self) -> str:
        """Differs whenever a decision, or an edit, came between two looks."""
        return f"{self.summary.ended} {self.summary.diff_sha256[:16]}"

    @property
    def decided(self) -> bool:
        """A person, or evidence alone, has settled it."""
        return self.summary.applied or self.summary.stop in (Stop.ACCEPTED, Stop.REJECTED)

    @property
    def fate(self) -> str:
        """What became of it, as the rest of a sentence that begins with the run."""
        if self.summary.applied:
            return "was accepted: its change is in your tree"
        if self.summary.stop is Stop.ACCEPTED:
            return "was accepted, and taken back since"
        if self.summary.stop is Stop.REJECTED:
            return f"was rejected: {reason}" if (reason := self._reason()) else "was rejected"
        if self.waits:
            return "waits for a decision"
        return f"ended as {self.summary.stop}" if self.summary.stop else "has no end"

    def _reason(self) -> str:
        acted = (event.payload for event in reversed(self.events) if isinstance(event.payload, UserActed))
        return next((act.detail for act in acted if act.action == "reject"), "")


@dataclass(frozen=True, slots=True)
class Settled:
    """What became of a decision."""

    outcome: Outcome
    told: tuple[str, ...] = ()
    """Why an edited diff was refused."""

    @property
    def refused(self) -> bool:
        """The edited diff does not fit; nothing was changed by it."""
        return bool(self.told)


def waiting(store: Store, repo: str | None = None) -> list[RunSummary]:
    """Runs whose result waits, newest first: of one repository, or of all, those of each together.

    Results of runs on copies wait for nobody here: their patches are told of by whoever made the copy.
    """
    repos = [repo] if repo is not None else dict.fromkeys(run.repo for run in store.runs(limit=0))
    elsewhere = copies(store) if repo is None else {}
    return [run for one in repos for run in store.pending(one) if run.id not in elsewhere]


def look(store: Store, run_id: str, repo: str | None = None) -> Result:
    """The result of a run, which may be named by the beginning of its id.

    Raises UsageError when there is no change, or when it is another repository's or a copy's; NotFound,
    Ambiguous.
    """
    summary = store.run(run_id)
    events = tuple(store.events(summary.id))
    started = events[0].payload
    if isinstance(started, RunStarted) and (of := started.origin.copy_of):
        raise UsageError(
            f"run {summary.id} worked on a copy of {of}: its change is for no tree here",
            f"adi show {summary.id} has the diff, adi backlog report the patch",
        )
    if repo is not None and summary.repo != repo:
        raise UsageError(f"run {summary.id} worked on another repository", f"adi review {summary.id} --all")
    if not summary.diff_sha256:
        raise UsageError(f"run {summary.id} has no change to decide on", f"adi show {summary.id}")
    verdicts = (event.payload for event in reversed(events) if isinstance(event.payload, Verdict))
    found = next((verdict.evaluation for verdict in verdicts), Evaluation())
    waits = any(run.id == summary.id for run in store.pending(summary.repo))
    return Result(summary, events, found, store.artifact(summary.diff_sha256), waits)


class Answers:
    """A person who has made up their mind: the decision first; after an edit the verdict is left open."""

    def __init__(self, decision: Decision) -> None:
        self._decisions = [decision]
        self.told: list[str] = []

    def review_plan(self, plan: Plan, checks: Sequence[Check]) -> PlanAnswer:  # noqa: ARG002
        return PlanAnswer(plan)

    def decide(self, diff: bytes, evaluation: Evaluation) -> Decision:  # noqa: ARG002
        return self._decisions.pop() if self._decisions else Decision("defer", reason="edited, and left open")

    def tell(self, text: str) -> None:
        self.told.append(text)


def decide(session: Session, seen: Result, decision: Decision, *, force: bool = False) -> Settled:
    """Carry out a decision on the result that was `seen`; an edited diff is checked, and waits again.

    `force` applies a change whose verdict does not hold. Raises Decided, Moved, NotProven, Held, and what
    `Session.review` raises; the result then waits as before.
    """
    check_state(seen, seen)
    if decision.action == "accept" and not (seen.judged and (seen.evaluation.accepted or force)):
        raise NotProven(
            _unproven(seen), f"adi review {seen.id}, or --accept --force, applies it all the same"
        )
    name = f"review:{seen.id}"
    try:
        session.store.claim_repo(name, seen.id)
    except RepoBusy as busy:
        text = f"run {seen.id} is being decided on by process {busy.pid}"
        raise Held(text, "wait until that is done, then look again") from None
    try:
        check_state(seen, look(session.store, seen.id))
    except BaseException:
        session.store.release(name, seen.id)
        raise
    return _carry_out(session, seen, decision)  # the claim ends with the run's new end


def check_state(seen: Result, now: Result) -> None:
    """Raises Decided and Moved; a run that still works cannot be decided on either."""
    if now.summary.alive:
        raise UsageError(f"run {now.id} is still running", "wait for its end, or stop it with Ctrl-C")
    if now.decided:
        help_ = "adi undo" if now.summary.applied else f"adi show {now.id} --html shows what it was"
        raise Decided(f"run {now.id} {now.fate}; nothing more was done", help_)
    if now.mark != seen.mark:
        raise Moved(
            f"the result of run {now.id} changed since you looked at it; nothing was done",
            "look at it again, then decide",
        )


def _unproven(seen: Result) -> str:
    if not seen.judged:
        return f"the change of run {seen.id} was never checked"
    return f"the verdict on run {seen.id} does not hold: {seen.evaluation.detail or 'not all checks pass'}"


def _carry_out(session: Session, seen: Result, decision: Decision) -> Settled:
    answers = Answers(decision)
    session.person = answers
    try:
        outcome = session.review(seen.id)
    except Exception as error:
        with contextlib.suppress(Exception):  # the store itself may be what failed; the error goes on up
            _keep_waiting(session.store, seen, error)
        raise
    return Settled(outcome, tuple(answers.told))


def _keep_waiting(store: Store, seen: Result, error: Exception) -> None:
    """A decision that could not be carried out is none: what waited before waits again."""
    now = look(store, seen.id)
    if seen.waits and not now.waits and not now.summary.applied:
        detail = f"the decision could not be carried out: {sentence(error)}"
        store.append(seen.id, RunEnded(stop=Stop.PENDING, exit_code=NEEDS_PERSON, detail=detail))


@dataclass(slots=True)
class Sessions:
    """Sessions of the repositories that are decided on, each opened when it is first needed."""

    open_one: Callable[[str], AbstractContextManager[Session]]
    """Opens the session of the repository at this root."""
    _stack: ExitStack = field(default_factory=ExitStack)
    _opened: dict[str, Session] = field(default_factory=dict)

    def of(self, repo: str) -> Session:
        """Raises what opening raises, such as NotARepository for a folder that is gone."""
        if repo not in self._opened:
            self._opened[repo] = self._stack.enter_context(self.open_one(repo))
        return self._opened[repo]

    def close(self) -> None:
        """Close all of them; idempotent."""
        self._opened.clear()
        self._stack.close()


def timed(decision: Decision, seconds: float, *, viewed: bool) -> Decision:
    """The decision with how long the question stood open, and whether the whole diff was opened."""
    return replace(decision, seconds=seconds, viewed=viewed)
