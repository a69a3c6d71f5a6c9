"""Evaluate: carry the plan out in the sandbox, step by step, until its checks hold or a rule ends it.

A step is done on evidence only: its check was run and passed. What the model says is never evidence.
"""

import contextlib
import json
import math
from collections import Counter
from dataclasses import dataclass, field, replace
from typing import Final

from agent import context
from agent.drafts import draft
from agent.localize import suspects
from agent.mechanisms import Mechanism
from agent.run import Run
from agent.search import search
from feedback.checks import cut
from feedback.hunks import added
from feedback.shrink import shrink
from memory.records import (
    Action,
    ActionEnded,
    ActionStarted,
    Check,
    CheckResult,
    Completion,
    Malformed,
    Message,
    Observation,
    Plan,
    PlanStep,
    Status,
    Step,
    Stop,
)
from model.errors import PromptTooLong
from model.protocol import Sampling
from sandbox.errors import SandboxError
from sandbox.workcopy import WorkCopy
from tools import registry
from tools.protocol import ToolResult, Workspace

MALFORMED: Final = 3
"""Malformed answers in a row that end an attempt."""
REPEATS: Final = 3
"""Equal actions on equal files that end an attempt; the second one in a row is corrected."""
FRUITLESS: Final = 5
"""Changes in a row that leave the check failing as it did, or worse than at the start, which end an attempt;
the third is corrected."""
ATTEMPTS: Final = ((0.0, 0), (0.7, 1))
"""Temperature and seed of each attempt at a step."""
ACT_TOKENS: Final = 1200
SEARCH_SHARE: Final = 0.7
"""Share of the run's time that the candidate search may use."""
OBSERVED_CHARS: Final = 9_000
"""Text of one observation in the chat: what a tool showed counts as seen, so it must get there whole."""
CHECK_CHARS: Final = 2_000
"""Text of a failing check in it."""


def evaluate(run: Run, plan: Plan) -> Stop | None:
    """Carry out every step. None when every step's check holds, otherwise why it ended.

    Raises BudgetSpent, ModelError and SandboxError.
    """
    for step in plan.steps:
        check = run.named(step.check)
        before = _state(run, check)
        if before.passed and _reached(run, plan, step):
            continue
        if run.sampling:
            if _sampled(run, step, check, before):
                continue
            before = _state(run, check)  # a partial repair may have been kept
        stop = act(run, step, check, before) if run.uses(Mechanism.ACTIONS) else Stop.FAILED
        if stop is not None:
            return stop
    return None


def _reached(run: Run, plan: Plan, step: PlanStep) -> bool:
    """True when an earlier step has reached this one's goal too.

    A check that failed and passes now is proof. Otherwise: each step is carried out in view of the whole
    task, so a step of the model's on files that were changed already says the same thing again.
    """
    changed = run.files.changed()
    again = plan.author == "model" and bool(step.files) and set(step.files) <= set(changed)
    return bool(changed) and (bool(run.failing) or again)


def _state(run: Run, check: Check) -> CheckResult:
    """How the check stands now; the gathered result where nothing was changed since."""
    known = {result.check: result for result in run.baseline}
    if not run.files.changed() and check.name in known:
        return known[check.name]
    return run.check(check, "step")


def _sampled(run: Run, step: PlanStep, check: Check, before: CheckResult) -> bool:
    """Candidates before conversation: whole files where something is missing, repairs where it is wrong."""
    limit = run.task.limits.wall_s
    until_s = limit * SEARCH_SHARE if limit else math.inf
    if run.uses(Mechanism.DRAFTS) and draft(run, step, check, before, until_s):
        return True
    state = _state(run, check) if run.files.changed() else before  # a draft that fails may have been kept
    return not state.passed and search(run, step, check, state, until_s)


@dataclass(slots=True)
class Attempt:
    """One conversation with the model about one step of the plan."""

    run: Run
    step: PlanStep
    check: Check
    about: str
    space: Workspace
    sampling: Sampling
    start: CheckResult
    """How the check ended before the attempt."""
    steps: list[Step] = field(default_factory=list)
    malformed: int = 0
    repeats: int = 0
    previous: str = ""
    tried: Counter[str] = field(default_factory=Counter)
    """How often each action was asked for on each state of the files."""
    refused: bool = False
    """The server refused even the shortest chat as too long."""
    objected: set[str] = field(default_factory=set)
    """Preferences that the model was reminded of."""
    fruitless: int = 0
    standing: CheckResult = field(init=False)
    """How the check ended last."""

    def __post_init__(self) -> None:
        self.standing = self.start

    def act(self) -> Stop | None:
        """Act until the check holds. None when it does, otherwise why the attempt ended."""
        while self._fits():
            completion = self._ask()
            if completion is None:
                continue
            observation = self._observe(completion)
            if observation is None:
                return None
            if self.malformed >= MALFORMED or self.repeats + 1 >= REPEATS or self.fruitless >= FRUITLESS:
                return Stop.STUCK
        self.run.note("warning", "the model's window is too small for this step")
        return Stop.FAILED

    def _messages(self) -> list[Message]:
        return context.act_messages(registry.cards(), self.about, self.step, self.steps)

    def _fits(self) -> bool:
        """Forget the older half of the chat when the window is full; False when that is not enough."""
        if self.steps and not self.run.fits(self._messages(), self.sampling.max_tokens):
            self._forget()
        return not self.refused and self.run.fits(self._messages(), self.sampling.max_tokens)

    def _forget(self) -> None:
        """The older half of the chat leaves the view; the record keeps all of it."""
        self.steps = self.steps[(len(self.steps) + 1) // 2 :]
        self.run.note("info", "the older half of the conversation left the window")

    def _ask(self) -> Completion | None:
        """The model's next answer; None when its server found the chat too long, which is shorter now."""
        heat = 0.7 if self.malformed or self.repeats or self._lost else self.sampling.temperature
        sampling = replace(
            self.sampling, temperature=heat, seed=self.sampling.seed + len(self.steps) + self.malformed
        )
        try:
            return self.run.chat("act", self._messages(), sampling)[0]
        except PromptTooLong:  # of a server that does not tell its window
            self.refused = not self.steps
            if self.steps:
                self._forget()
            return None

    def _observe(self, completion: Completion) -> Observation | None:
        """Do what the model asked for; None when the step is done."""
        number = self.run.spent.steps
        self.run.spent.steps += 1
        try:
            call = registry.parse(completion.text)
        except registry.Malformed as error:
            self.malformed += 1
            self.run.recorder.emit(Malformed(step=number, reason=str(error)))
            return self._remember(completion, None, ToolResult(Status.REFUSED, str(error), "malformed"))
        self.malformed = 0
        action = Action(id=f"step-{number}", tool=call.tool, arguments=dict(call.arguments))
        self.run.recorder.emit(ActionStarted(step=number, action=action))
        result, done = self._execute(call)
        observation = self._remember(completion, action, result)
        return None if done else observation

    def _execute(self, call: registry.Call) -> tuple[ToolResult, bool]:
        """The tool's result, the check's after a change, and whether the step is done."""
        text = json.dumps([call.tool, dict(call.arguments)], sort_keys=True)
        self.repeats = self.repeats + 1 if text == self.previous else 0
        self.previous = text
        state = f"{text} {hash(tuple(self.run.files.changed().items()))}"
        self.tried[state] += 1
        if self.tried[state] >= REPEATS:  # with others in between, too
            self.repeats = REPEATS - 1
        if self.repeats:
            return ToolResult(
                Status.REFUSED, "You have just done exactly this. Do something else.", "repeated"
            ), False
        if call.tool == "run":
            self._forget_leavings()
        before = self.run.files.changed()
        result = registry.execute(call, self.space)
        changed = self.run.files.changed() != before
        if not changed and call.tool != "submit":
            return result, False
        checked = self.run.check(self.check, "step")
        if changed:
            self.fruitless = self.fruitless + 1 if self._is_fruitless(checked) else 0
        self.standing = checked
        said = f"{result.output}\n{shrink(checked, CHECK_CHARS)}"
        unwelcome = checked.passed and changed and self._objection()
        if unwelcome:
            said += f"\n{context.UNWELCOME} {unwelcome}"
        if self._lost:
            said += f"\n{self.fruitless} changes, and it fails as before or worse: look somewhere else."
        result = replace(result, output=said)
        done = checked.passed and bool(self.run.files.changed()) and self._enough(call.tool)
        return result, done and not unwelcome

    def _objection(self) -> str:
        """What the person is known not to want of the present change, in their words, said once."""
        lines = added(self.run.files.diff().decode("utf-8", "replace"))
        found = [item for item in self.run.memory.objections(lines) if item.id not in self.objected]
        self.objected |= {item.id for item in found}
        return "; ".join(item.claim for item in found)

    def _is_fruitless(self, checked: CheckResult) -> bool:
        """True after a change that did not move the check, or that lets less of it pass than at the start."""
        worse = not self.start.passed and checked.tests_passed < self.start.tests_passed
        return worse or as_before(self.standing, checked)

    @property
    def _lost(self) -> bool:
        """Several changes in a row have not moved the check."""
        return self.fruitless > FRUITLESS // 2

    def _forget_leavings(self) -> None:
        """Files that checks wrote are no work of the model and must not become part of the change."""
        with contextlib.suppress(SandboxError):  # the command's own result will tell
            self.space.sandbox.changes()

    def _enough(self, tool: str) -> bool:
        """A check that failed before proves the step; one that never failed needs the model's word too."""
        return tool == "submit" or not self.start.passed

    def _remember(self, completion: Completion, action: Action | None, result: ToolResult) -> Observation:
        observation = Observation(
            action_id=action.id if action else "",
            status=result.status,
            output=cut(result.output, OBSERVED_CHARS),
            truncated=result.truncated or len(result.output) > OBSERVED_CHARS,
            summary=result.summary,
        )
        number = self.run.spent.steps - 1
        self.steps.append(Step(index=number, completion=completion, action=action, observation=observation))
        if action is not None:
            self.run.recorder.emit(ActionEnded(step=number, observation=observation))
        return observation


def act(run: Run, step: PlanStep, check: Check, before: CheckResult) -> Stop | None:
    """Let the model act, several times from the same beginning. None when the step's check holds."""
    start = run.files.fork()
    failing = [] if before.passed else [before]
    words = f"{run.task.prompt} {step.goal} {' '.join(step.files)}"
    found = suspects(run.files, failing, words, run.evidence)
    about, where = context.fitting(run.leaves_room, run.question, run.listing, failing, found, run.told)
    grammar = registry.grammar(run.files.paths()) if run.model.capabilities.grammar else ""
    stop: Stop | None = Stop.FAILED
    for temperature, seed in ATTEMPTS:
        restore(run.files, start)
        space = Workspace(
            files=run.files,
            sandbox=run.sandbox,
            checks=run.task.checks,
            command_s=run.task.limits.check_s,
            seen={suspect.path for suspect in where},
        )
        sampling = Sampling(max_tokens=ACT_TOKENS, temperature=temperature, seed=seed, grammar=grammar)
        stop = Attempt(run, step, check, about, space, sampling, before).act()
        if stop is None:
            return None
    return stop


def as_before(before: CheckResult, now: CheckResult) -> bool:
    """True when a check fails with the same tests for the same reasons."""
    reasons = [{(item.test, item.error, item.message) for item in each.failures} for each in (before, now)]
    same = (before.status, before.tests_passed) == (now.status, now.tests_passed)
    return not now.passed and same and reasons[0] == reasons[1]


def restore(files: WorkCopy, start: WorkCopy) -> None:
    """Bring the work copy back to an earlier state."""
    for path in {*files.changed(), *start.changed()}:
        if start.exists(path):
            files.write(path, start.read(path))
        elif files.exists(path):
            files.delete(path)
