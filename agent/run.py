"""The one mutable state of a run: the work copy, its sandbox, the model, what was spent.

Everything that costs something goes through here, so that it is recorded and counted exactly once.
"""

import math
import secrets
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Literal

from agent import agents_file
from agent.context import listed
from agent.mechanisms import Mechanism
from agent.percolate import Recorder
from agent.remember import Remembered
from agent.repomap import repo_map
from feedback.checks import run_check
from feedback.coverage import observe
from feedback.example_output import CHECK, shortest, without_report
from feedback.explained import explained
from feedback.shrink import shrink
from memory.records import (
    GAP,
    Check,
    CheckAdded,
    CheckRan,
    CheckResult,
    Completed,
    Completion,
    Message,
    Noted,
    Payload,
    Prompted,
    Status,
    Task,
)
from memory.runtime import RuntimeEvidence
from model.errors import StreamBroken, Unsupported
from model.protocol import Model, Sampling
from sandbox.errors import SandboxLost
from sandbox.protocol import Sandbox
from sandbox.tree import Tree
from sandbox.workcopy import WorkCopy

Purpose = Literal["plan", "act", "infill", "rewrite"]

CANDIDATE_CHARS = 2_000
"""Output kept of a candidate's check: there are many of them, and the failing text is short."""

ROOM_TOKENS = 2_000
"""Room that the situation leaves: an answer of the action loop, and what comes before it."""


TEST_CHARS = 1_200
"""Text shown of the tests whose failures a task quotes."""
WATCH_S = 60.0
"""Seconds of a watched check where the task sets no limit."""

SEED_STEP = 100_003
"""Between the seeds of two runs; more than one run's own seeds span."""
LOST_S = 1.0
"""Seconds until a lost sandbox is tried anew: an engine that restarts needs a moment."""


class BudgetSpent(Exception):
    """A limit of the run is reached: which one, in words."""


@dataclass(frozen=True, slots=True)
class Desk:
    """Where a decision about a change is made, by a run or about a stored result."""

    emit: Callable[[Payload], object]
    keep: Callable[[bytes], str]
    """Stores bytes and gives their SHA-256."""
    repo: Path
    journal: Path
    """Directory of the exchange's journal."""
    patch_file: Path
    """Where the patch lies for a person, outside the store."""

    def publish(self, diff: bytes) -> str:
        """Keep a patch in the store and as a file; what had its name is replaced. Returns its SHA-256."""
        folder = self.patch_file.parent
        folder.mkdir(parents=True, exist_ok=True)
        with Tree(folder) as tree:
            fresh = f".adi-{secrets.token_hex(6)}"
            tree.create(fresh, diff, 0o600, None)
            tree.rename(fresh, self.patch_file.name)
        return self.keep(diff)


@dataclass(slots=True)
class Spending:
    """What a run has used so far."""

    began: float = field(default_factory=time.monotonic)
    paused_s: float = 0.0
    """Seconds that a person was asked; they do not count."""
    steps: int = 0
    written: int = 0
    """Tokens that the model wrote."""

    @property
    def seconds(self) -> float:
        return time.monotonic() - self.began - self.paused_s


@dataclass(slots=True)
class Run:
    """Everything that one attempt at a task works with."""

    task: Task
    files: WorkCopy
    sandbox: Sandbox
    model: Model
    recorder: Recorder
    desk: Desk
    on_text: Callable[[str], None] | None = None
    on_output: Callable[[bytes], None] | None = None
    baseline: tuple[CheckResult, ...] = ()
    """How the checks ended before anything was changed."""
    evidence: RuntimeEvidence | None = None
    """What a failing check's tests ran, watched before anything was changed."""
    withheld: tuple[str, ...] = ()
    """What the task names and no model is shown, such as images: a sentence each."""
    sampling: bool = True
    """Sample candidate changes and run them before the action loop."""
    without: frozenset[str] = frozenset()
    """Mechanisms that are switched off (agent/mechanisms.py)."""
    memory: Remembered = field(default_factory=Remembered)
    """The lessons that it was given."""
    seed: int = 0
    """Moves the seeds of all samples, so that the same task can be tried anew."""
    drafted: set[str] = field(default_factory=set)
    """Files that were written whole, many times: their functions are not sampled once more."""
    spent: Spending = field(default_factory=Spending)
    _listing: str = ""
    answered: set[str] = field(default_factory=set)
    """The models that have answered so far, as the server names them and their weights."""

    @property
    def failing(self) -> tuple[CheckResult, ...]:
        """Checks that failed before anything was changed."""
        return tuple(result for result in self.baseline if not result.passed)

    @property
    def goals(self) -> tuple[CheckResult, ...]:
        """The failing checks that the task is about: its own examples or tests, where it has some.

        What else fails in the repository was so before, and must only not become worse.
        """
        own = {check.name for check in self.task.checks if check.origin in ("examples", "written")}
        return tuple(result for result in self.failing if result.check in own) or self.failing

    @property
    def statement(self) -> str:
        """The task as the model reads it."""
        return "\n".join([self.task.prompt, *self.withheld])

    @property
    def reported(self) -> Check | None:
        """The check made of failing tests that the task quotes; what else was tested is not known."""
        return next((check for check in self.task.checks if check.name == CHECK), None)

    @property
    def question(self) -> str:
        """The statement where the failing checks are told too: of a report that they repeat, the tests."""
        if self.reported is None:
            return self.statement
        tests = (text for path, text in self.reported.files.items() if path.endswith(".py"))
        return without_report(self.statement, "\n".join(shortest(text, TEST_CHARS) for text in tests))

    def uses(self, mechanism: Mechanism) -> bool:
        """True unless the mechanism is switched off."""
        return mechanism not in self.without

    @property
    def listing(self) -> str:
        """What the repository holds, the same text for the whole run: its server has it cached."""
        if not self._listing:
            start = WorkCopy(self.files.snapshot)
            if self.uses(Mechanism.MAP):
                self._listing = repo_map(start, self.task.prompt, self.count_text)
            else:
                self._listing = listed(start.paths())
            known = (agents_file.told(start, self.count_text), self.memory.told)
            self._listing = "\n\n".join([self._listing, *filter(None, known)])
        return self._listing

    @property
    def told(self) -> str:
        """The values where the failing tests failed, in a few lines; empty when nothing was watched."""
        if self.evidence is None or not self.uses(Mechanism.LOCALS):
            return ""
        return explained(self.evidence)

    def named(self, check: str) -> Check:
        """The task's check of this name, or the text as a command."""
        known = {item.name: item for item in self.task.checks}
        return known.get(check) or Check(name=check, command=check)

    def add_check(self, check: Check, before: CheckResult) -> None:
        """Take a check of ADI's own into the task; `before` is how it ended on the present code."""
        self.task = self.task.model_copy(update={"checks": (*self.task.checks, check)})
        self.baseline = (*self.baseline, before)
        self.recorder.emit(CheckAdded(check=check))
        self.note("info", f"{check.name}: a test of ADI's own fails now, and shows the goal")

    def replace_check(self, old: Check, check: Check, before: CheckResult) -> None:
        """Take a command that runs the tests in place of a check that ran none; `before` is how it ended."""
        checks = tuple(check if item.name == old.name else item for item in self.task.checks)
        self.task = self.task.model_copy(update={"checks": checks})
        self.baseline = tuple(before if item.check == old.name else item for item in self.baseline)
        self.recorder.emit(CheckAdded(check=check, replaces=old.command))
        self.note("info", f"{old.name} runs no test here; `{check.command}`, found in the repository, does")

    def spend(self) -> None:
        """Raises BudgetSpent when a limit is reached; called before everything that costs."""
        limits, spent = self.task.limits, self.spent
        if limits.wall_s and spent.seconds >= limits.wall_s:
            raise BudgetSpent(f"{limits.wall_s:.0f} s of time")
        if limits.completion_tokens and spent.written >= limits.completion_tokens:
            raise BudgetSpent(f"{limits.completion_tokens} written tokens")
        if limits.steps and spent.steps >= limits.steps:
            raise BudgetSpent(f"{limits.steps} actions")

    def chat(self, purpose: Purpose, messages: Sequence[Message], sampling: Sampling) -> list[Completion]:
        """Ask the model. Raises BudgetSpent and ModelError."""
        self.spend()
        tokens = self._count(messages)
        self.recorder.emit(Prompted(purpose=purpose, messages=tuple(messages), tokens=tokens))
        # Short answers with stop strings come whole: while it streams, a server may hold token ids back.
        on_text = None if sampling.stop else self.on_text
        return self._completed(
            purpose, self._whole(lambda: self.model.chat(messages, self._bounded(sampling), on_text))
        )

    def fill(self, prefix: str, suffix: str, context: str, sampling: Sampling) -> list[Completion]:
        """Let the model fill the gap. Raises BudgetSpent and ModelError."""
        self.spend()
        prompt = f"{context}{prefix}{GAP}{suffix}"
        gap = (len(context), len(context) + len(prefix))
        self.recorder.emit(Prompted(purpose="infill", prompt=prompt, gap=gap))
        return self._completed(
            "infill",
            self._whole(lambda: self.model.infill(prefix, suffix, self._bounded(sampling), context=context)),
        )

    def _bounded(self, sampling: Sampling) -> Sampling:
        """With the run's seed, and the end of its time."""
        wall_s, spent = self.task.limits.wall_s, self.spent
        until = spent.began + spent.paused_s + wall_s if wall_s else math.inf
        return replace(sampling, seed=sampling.seed + SEED_STEP * self.seed, until=until)

    def _whole(self, ask: Callable[[], list[Completion]]) -> list[Completion]:
        """Whole answers: of one that broke off nothing is used, and it is asked for once more."""
        try:
            return ask()
        except StreamBroken as broken:
            self.spend()
            self.note("warning", f"{broken.message}; nothing of it is used, asking once more", broken.hint)
            return ask()

    def _completed(self, purpose: Purpose, answers: list[Completion]) -> list[Completion]:
        for answer in answers:
            self.spent.written += answer.usage.completion_tokens
            self.recorder.emit(Completed(purpose=purpose, completion=answer))
            self._watch(f"{answer.model} {answer.weights}".strip())
        return answers

    def _watch(self, model: str) -> None:
        """Say so when another model answers than before."""
        if self.answered and model not in self.answered:
            self.note("warning", f"another model answers now: {model}")
        self.answered.add(model)

    def _count(self, messages: Sequence[Message]) -> int:
        try:
            return self.model.count(messages)
        except Unsupported:
            return 0

    def count_text(self, text: str) -> int:
        """Tokens of a text, its bytes where the server cannot count: never too few."""
        try:
            return self.model.count_text(text)
        except Unsupported:
            return len(text.encode())

    def fits(self, messages: Sequence[Message], answer: int) -> bool:
        """True when the chat, counted in bytes where nobody counts tokens, and the answer fit the window."""
        window = self.model.capabilities.n_ctx
        size = self._count(messages) or sum(len(item.content.encode()) + 16 for item in messages)
        return not window or size + answer <= window

    def leaves_room(self, messages: Sequence[Message]) -> bool:
        """True when the chat leaves room for any answer and some turns more."""
        return self.fits(messages, ROOM_TOKENS)

    def check(
        self,
        check: Check,
        purpose: Literal["gather", "step", "candidate", "verdict"],
        timeout_s: float = 0.0,
    ) -> CheckResult:
        """Run a check on the present state of the work copy. Raises SandboxError.

        A sandbox that was lost is replaced once, then SandboxLost is raised; what a dead one said is never
        taken for a result.
        """
        result = self._run(check, timeout_s)
        if result.status == Status.SANDBOX_LOST:
            self.note("warning", "the sandbox was lost; the command runs again in a fresh one")
            time.sleep(LOST_S)
            result = self._run(check, timeout_s)
        if result.status == Status.SANDBOX_LOST:
            raise SandboxLost(f"the sandbox was lost twice while {check.name!r} ran", "adi doctor")
        kept = result
        if purpose == "candidate":
            kept = result.model_copy(update={"output": shrink(result, CANDIDATE_CHARS)})
        self.recorder.emit(CheckRan(purpose=purpose, result=kept))
        return result

    def _run(self, check: Check, timeout_s: float) -> CheckResult:
        self.sandbox.write(self.files.pending())
        return run_check(check, self.sandbox, timeout_s or self.task.limits.check_s, self.on_output)

    def watch(self, check: Check) -> RuntimeEvidence | None:
        """Run a failing check once more and see what it runs; None where nothing sound comes of it."""
        self.sandbox.write(self.files.pending())
        return observe(check, self.sandbox, self.task.limits.check_s or WATCH_S, self.files.paths())

    def note(self, level: Literal["info", "warning", "error"], text: str, hint: str = "") -> None:
        self.recorder.emit(Noted(level=level, text=text, hint=hint))
