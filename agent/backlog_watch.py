"""What a worker's run is doing, as it happens: for the board, for budgets, and the evidence at the end."""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Final

from agent.output import add
from memory.records import (
    ActionStarted,
    Check,
    CheckAdded,
    CheckRan,
    CheckResult,
    Completed,
    Evaluation,
    Event,
    PlanMade,
    Prompted,
    RunEnded,
    RunStarted,
    Searched,
    Usage,
    Verdict,
)

ASKED: Final = {
    "plan": "planning",
    "act": "choosing an action",
    "infill": "trying lines",
    "rewrite": "rewriting",
}
RAN: Final = {
    "gather": "running the checks",
    "step": "checking",
    "candidate": "trying candidates",
    "verdict": "verdict",
}


@dataclass(slots=True)
class Watch:
    """Listens to the events of one run."""

    on_step: Callable[[str, str], object] = lambda _step, _tests: None
    """Hears of a new step, and how the tests stand."""
    on_run: Callable[[Event], object] = lambda _event: None
    usage: Usage = field(default_factory=Usage)
    step: str = "copying"
    tests: str = ""
    run_id: str = ""
    model: str = ""
    failed_before: bool = False
    """A check failed before anything was changed: the change has something to prove."""
    evaluation: Evaluation | None = None
    diff_sha256: str = ""
    diffstat: str = ""
    checks: dict[str, Check] = field(default_factory=dict)

    def on_event(self, event: Event) -> None:
        """Note one event."""
        self.run_id = event.run_id
        before = (self.step, self.tests)
        self._note(event.payload)
        self.on_run(event)
        if (self.step, self.tests) != before:
            self.on_step(self.step, self.tests)

    def _note(self, payload: Any) -> None:
        match payload:
            case RunStarted(task=task, model=model):
                self.step, self.model = "preparing", model
                self.checks = {check.name: check for check in task.checks}
            case CheckAdded(check=check, replaces=replaces):
                self.checks[check.name] = check
                self.failed_before |= not replaces
            case CheckRan(purpose=purpose, result=result):
                self._ran(purpose, result)
            case PlanMade():
                self.step = "working"
            case Prompted(purpose=purpose):
                self.step = ASKED[purpose]
            case ActionStarted(action=action):
                self.step = f"action: {action.tool}"
            case Searched(executed=executed, passed=passed):
                self.step = "a candidate passes" if passed else f"{executed} candidates run"
            case Completed(completion=completion):
                self.usage = add(self.usage, completion.usage)
            case Verdict(evaluation=evaluation, diff_sha256=sha256, diffstat=diffstat):
                self.evaluation, self.diff_sha256, self.diffstat = evaluation, sha256, diffstat
            case RunEnded():
                self.step = "ending"

    def _ran(self, purpose: str, result: CheckResult) -> None:
        self.step = RAN[purpose]
        self.failed_before |= purpose == "gather" and not result.passed
        tests = result.tests_passed + result.tests_failed
        if purpose != "candidate":
            passed = "check passes" if result.passed else "check fails"
            self.tests = f"tests {result.tests_passed}/{tests}" if tests else passed
