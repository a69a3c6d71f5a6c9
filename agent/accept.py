"""From a finished work copy to the user's tree: the verdict, the decision, the exchange, and its undo."""

import contextlib
from collections.abc import Callable
from dataclasses import dataclass

from agent.inert import inert_line
from agent.person import Decision, Person
from agent.run import Desk, Run
from memory.records import Applied, Evaluation, Noted, RunEnded, Stop, UserActed, Verdict
from sandbox.errors import Conflict, PatchError, SandboxError
from sandbox.exchange import exchange
from sandbox.workcopy import WorkCopy
from tools.runs import equal_runs

EXIT_CODES = {
    Stop.ACCEPTED: 0,
    Stop.REJECTED: 3,
    Stop.FAILED: 3,
    Stop.NOTHING_TO_DO: 3,
    Stop.STUCK: 3,
    Stop.PENDING: 4,
    Stop.CONFLICT: 4,
    Stop.BUDGET: 5,
    Stop.ENVIRONMENT: 6,
    Stop.ERROR: 1,
    Stop.INTERRUPTED: 130,
    Stop.KILLED: 137,
}
"""DESIGN section 6: what happened, from evidence."""


@dataclass(frozen=True, slots=True)
class Ending:
    """How a run ended."""

    stop: Stop
    detail: str = ""

    @property
    def exit_code(self) -> int:
        return EXIT_CODES[self.stop]

    def event(self, seconds: float) -> RunEnded:
        return RunEnded(stop=self.stop, exit_code=self.exit_code, detail=self.detail, seconds=seconds)


def settle(run: Run, person: Person, judge: Callable[[WorkCopy], Evaluation], ended: Ending | None) -> Ending:
    """Judge the change and let the person decide. `ended` says why the work stopped early, if it did."""
    if not run.files.changed():
        return ended or Ending(Stop.NOTHING_TO_DO, "the checks pass and nothing was changed")
    if not run.failing:
        run.note("warning", "no check failed before, so none shows that the task is done: read the diff")
    decision, ending = decide(run.desk, person, judge, run.files, ended)
    run.spent.paused_s += decision.seconds
    return ending


def decide(
    desk: Desk,
    person: Person,
    judge: Callable[[WorkCopy], Evaluation],
    files: WorkCopy,
    ended: Ending | None = None,
    known: Evaluation | None = None,
) -> tuple[Decision, Ending]:
    """Verdict, question, and what follows, again after every edit of the diff.

    `known` is the verdict on `files` when there is one already.
    """
    while True:
        diff = files.diff()
        evaluation = known or judge(files)
        known = None
        sha256 = _publish(desk, files, diff, evaluation)
        decision = person.decide(diff, evaluation)
        if decision.viewed:
            desk.emit(UserActed(action="view-diff"))
        if decision.action != "edit":
            return decision, _follow(desk, files, sha256, decision, evaluation, ended)
        desk.emit(UserActed(action="edit-diff", seconds=decision.seconds))
        try:
            files = files.patched(decision.patch)
        except PatchError as error:
            person.tell(f"The edited diff cannot be used: {error}")
            known = evaluation
        else:
            ended = None


def _publish(desk: Desk, files: WorkCopy, diff: bytes, evaluation: Evaluation) -> str:
    sha256 = desk.publish(diff)
    desk.emit(Verdict(evaluation=evaluation, diff_sha256=sha256, diffstat=diffstat(files)))
    return sha256


def _follow(
    desk: Desk,
    files: WorkCopy,
    sha256: str,
    decision: Decision,
    evaluation: Evaluation,
    ended: Ending | None,
) -> Ending:
    """Record the decision and do what it says."""
    if decision.action == "reject":
        desk.emit(UserActed(action="reject", detail=decision.reason, seconds=decision.seconds))
        return Ending(Stop.REJECTED, decision.reason)
    if decision.action == "defer":
        desk.emit(UserActed(action="defer", detail=decision.reason, seconds=decision.seconds))
        if waits(evaluation) or not decision.automatic:
            return Ending(Stop.PENDING, f"{decision.reason}; `adi review` shows it")
        return ended or Ending(Stop.FAILED, evaluation.detail)
    action = "auto-accept" if decision.automatic else "accept"
    desk.emit(UserActed(action=action, detail=decision.reason, seconds=decision.seconds))
    try:
        exchange(desk.repo, files.changed(), desk.journal, modes=files.modes())
    except Conflict as conflict:
        kept = f"the change is kept in {desk.patch_file.name} and in `adi review`"
        return Ending(Stop.CONFLICT, f"{conflict}; nothing was applied, {kept}")
    desk.emit(Applied(paths=tuple(files.changed()), diff_sha256=sha256))
    _tell_of_filters(desk, files)
    return Ending(Stop.ACCEPTED, evaluation.detail)


def _tell_of_filters(desk: Desk, files: WorkCopy) -> None:
    """Say which of the written files git will pass through a filter, as ADI does not."""
    with contextlib.suppress(SandboxError):  # the change stands, whatever git's files say meanwhile
        for path, name in sorted(files.filters().items()):
            text = f"{path!r} was written as it is; git's filter {name!r} runs when you add it"
            desk.emit(Noted(level="warning", text=text))


def waits(evaluation: Evaluation) -> bool:
    """True when the checks pass, but for tests that the task disputes: only a person's word is missing."""
    if evaluation.disputed_tests:
        return True
    return bool(evaluation.results) and all(result.passed for result in evaluation.results)


def take_back(desk: Desk, files: WorkCopy, sha256: str) -> Ending:
    """Undo an applied change: every file as it was, or nothing at all when one was changed since."""
    changes = files.changed()
    try:
        swapped = {path: (after, before) for path, (before, after) in changes.items()}
        exchange(desk.repo, swapped, desk.journal, modes=files.modes())
    except Conflict as conflict:
        return Ending(Stop.CONFLICT, f"{conflict}; nothing was taken back")
    desk.emit(UserActed(action="undo"))
    desk.emit(Applied(undone=True, paths=tuple(changes), diff_sha256=sha256))
    return Ending(Stop.ACCEPTED, f"{len(changes)} file(s) are as they were")


def diffstat(files: WorkCopy) -> str:
    """Such as `gcd.py +1 -1`, one file a line, whatever its name is."""
    lines = []
    for path, (before, after) in files.changed().items():
        plus, minus = _counted(before or b"", after or b"")
        lines.append(f"{inert_line(path)} +{plus} -{minus}")
    return "\n".join(lines)


def _counted(before: bytes, after: bytes) -> tuple[int, int]:
    """Lines added and removed."""
    old, new = before.splitlines(), after.splitlines()
    same = sum(length for _, _, length in equal_runs(old, new))
    return len(new) - same, len(old) - same
