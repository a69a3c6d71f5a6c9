"""The data types every part of ADI shares: frozen values, no behaviour, no I/O.

Records are validated pydantic models; the tables of the store are private rows (memory/store.py).
Expected failure is data here (a status, a stop reason); unexpected failure is an exception.
The words of memory/checks.py and memory/completion.py are part of this vocabulary: import them from here.
"""

from typing import Annotated, Final, Literal

from pydantic import Field, JsonValue

from memory.checks import Check as Check
from memory.checks import CheckResult as CheckResult
from memory.checks import Failure as Failure
from memory.checks import Frame as Frame
from memory.checks import Limits as Limits
from memory.checks import Record as Record
from memory.checks import Status as Status
from memory.checks import Stop as Stop
from memory.completion import Completion as Completion
from memory.completion import Message as Message
from memory.completion import Usage as Usage
from memory.lesson import Draft as Draft
from memory.lesson import Evidence as Evidence
from memory.lesson import Lesson as Lesson
from memory.lesson import Recall as Recall
from memory.lesson import Survival as Survival
from memory.lesson import Tombstone as Tombstone
from memory.origin import Origin as Origin
from memory.runtime import RuntimeEvidence

SCHEMA_VERSION = 1
"""Version of the event payloads, raised when a stored field changes its meaning."""


class Task(Record):
    """What a person asked for, and where."""

    id: str
    prompt: str
    repo: str
    """Absolute path of the repository's root."""
    base_commit: str = ""
    """HEAD when the run began; empty in a repository without commits."""
    tree: str = ""
    """Git tree id of the snapshot the run works on, uncommitted changes included."""
    dirty: bool = False
    """True when the snapshot differs from HEAD."""
    image: str = ""
    checks: tuple[Check, ...] = ()
    limits: Limits = Limits()


class PlanStep(Record):
    """One sub-goal with the check that shows it is reached."""

    goal: str
    files: tuple[str, ...] = ()
    """Paths the step expects to touch; empty means unknown."""
    check: str
    """Name of a Check of the task, or a shell command."""


class Plan(Record):
    """Ordered steps; an edit by the user makes the next revision."""

    steps: tuple[PlanStep, ...]
    revision: int = 1
    author: Literal["model", "user", "rule"] = "model"
    """`rule` when the model gave no usable plan and ADI's own default stands in."""


class Action(Record):
    """One call of a tool, already checked against its schema."""

    id: str
    tool: str
    arguments: dict[str, JsonValue] = Field(default_factory=dict)


class Observation(Record):
    """What an action gave back."""

    action_id: str
    status: Status
    output: str = ""
    truncated: bool = False
    summary: str = ""
    """One line for the screen, such as `gcd.py 12 lines`."""
    duration_s: float = 0.0


class Step(Record):
    """One turn of the action loop."""

    index: int
    completion: Completion
    action: Action | None = None
    """None when the completion held no valid action."""
    observation: Observation


class Evaluation(Record):
    """The verdict: checks run on a clean copy with the diff applied."""

    results: tuple[CheckResult, ...] = ()
    reward: float = 0.0
    """Share of checks that pass, 0 to 1."""
    accepted: bool = False
    """All checks pass, and the evidence was not tampered with."""
    changed_tests: tuple[str, ...] = ()
    """Existing test files that the change edits; the verdict ran their original text."""
    deleted_tests: tuple[str, ...] = ()
    protected: tuple[str, ...] = ()
    """Paths that need a person's approval, such as CI or git configuration."""
    disputed_tests: tuple[str, ...] = ()
    """Tests that fail because they assert what the task calls wrong; nothing else is worse than before."""
    detail: str = ""
    """One sentence for a person."""


class Trajectory(Record):
    """One attempt at a task, as the store gives it back."""

    task: Task
    attempt: int = 1
    plan: Plan | None = None
    steps: tuple[Step, ...] = ()
    evaluation: Evaluation | None = None
    diff_sha256: str = ""
    """Key of the patch in the store's artifacts; empty when there is none."""
    stop: Stop | None = None
    """None while it runs, or when the process died."""


# Event payloads. The order of events in a run is the order of things that happened.


class RunStarted(Record):
    kind: Literal["run-started"] = "run-started"
    task: Task
    adi_version: str
    model: str = ""
    origin: Origin = Origin()

    @property
    def repository(self) -> str:
        """The repository that the run counts for, also where it worked on a copy."""
        return self.origin.repository(self.task.repo)


class CheckRan(Record):
    kind: Literal["check-ran"] = "check-ran"
    purpose: Literal["gather", "step", "candidate", "verdict"]
    result: CheckResult


class PlanMade(Record):
    kind: Literal["plan-made"] = "plan-made"
    plan: Plan


GAP: Final = "\N{OPEN BOX}"
"""Stands in a recorded raw prompt where the gap is."""


class Prompted(Record):
    """A request is about to be sent to the model."""

    kind: Literal["prompted"] = "prompted"
    purpose: Literal["plan", "act", "infill", "rewrite"]
    messages: tuple[Message, ...] = ()
    prompt: str = ""
    """Raw prompt for completions that are not chats."""
    gap: tuple[int, int] | None = None
    """Where in the raw prompt the text with the gap begins, behind its context, and where GAP is; characters.
    None where there is no gap, and in older records."""
    tokens: int = 0
    """Exact size of the prompt; 0 when the server cannot count."""


class Completed(Record):
    kind: Literal["completed"] = "completed"
    purpose: Literal["plan", "act", "infill", "rewrite"]
    completion: Completion


class ActionStarted(Record):
    kind: Literal["action-started"] = "action-started"
    step: int
    action: Action


class ActionEnded(Record):
    kind: Literal["action-ended"] = "action-ended"
    step: int
    observation: Observation


class Malformed(Record):
    """The model wrote something that is no action; nothing was run."""

    kind: Literal["malformed"] = "malformed"
    step: int
    reason: str


class Searched(Record):
    """Progress of a candidate search: what was tried and what passed."""

    kind: Literal["searched"] = "searched"
    strategy: str
    place: str
    """Such as `gcd.py:5`."""
    candidates: int
    """Distinct texts written so far."""
    executed: int
    passed: int
    lesson: str = ""
    """Id of the lesson whose change passed."""


class CheckAdded(Record):
    """ADI took a check into the task: a test of its own, or a command that really runs the tests."""

    kind: Literal["check-added"] = "check-added"
    check: Check
    replaces: str = ""
    """The command that it stands for from now on, because that one ran no test; empty for a new check."""


class Verdict(Record):
    kind: Literal["verdict"] = "verdict"
    evaluation: Evaluation
    diff_sha256: str = ""
    diffstat: str = ""


class UserActed(Record):
    kind: Literal["user-acted"] = "user-acted"
    action: Literal[
        "accept",
        "reject",
        "edit-plan",
        "edit-diff",
        "view-diff",
        "undo",
        "interrupt",
        "auto-accept",
        "defer",
        "next",
    ]
    """`next`: the task that was typed here soon after the run had ended."""
    detail: str = ""
    """The person's own words, such as the reason of a rejection, or the next task."""
    seconds: float = 0.0
    """How long the question stood open."""


class Applied(Record):
    """The change is in the user's tree; `undone` when it was taken back."""

    kind: Literal["applied"] = "applied"
    undone: bool = False
    paths: tuple[str, ...]
    diff_sha256: str


class Noted(Record):
    """Something a person should know, such as a sandbox that was lost and replaced."""

    kind: Literal["noted"] = "noted"
    level: Literal["info", "warning", "error"] = "info"
    text: str
    hint: str = ""


class Observed(Record):
    """What a failing check ran and held, watched in the sandbox; bounded by memory/runtime.py."""

    kind: Literal["observed"] = "observed"
    evidence: RuntimeEvidence


class Recalled(Record):
    """Lessons that this run was given."""

    kind: Literal["recalled"] = "recalled"
    lessons: tuple[Recall, ...]


class Learned(Record):
    """What was distilled from this run: new lessons, and evidence for or against known ones."""

    kind: Literal["learned"] = "learned"
    lesson_id: str
    claim: str
    stance: Literal["new", "for", "against", "retired"]
    why: str = ""


class Survived(Record):
    """What became of the lines of this run after they were accepted."""

    kind: Literal["survived"] = "survived"
    survival: Survival


class RunEnded(Record):
    kind: Literal["run-ended"] = "run-ended"
    stop: Stop
    exit_code: int
    detail: str = ""
    seconds: float = 0.0


Payload = Annotated[
    RunStarted
    | CheckRan
    | CheckAdded
    | PlanMade
    | Prompted
    | Completed
    | ActionStarted
    | ActionEnded
    | Malformed
    | Searched
    | Verdict
    | UserActed
    | Applied
    | Noted
    | Observed
    | Recalled
    | Learned
    | Survived
    | RunEnded,
    Field(discriminator="kind"),
]


class Event(Record):
    """One entry of a run's append-only log."""

    run_id: str
    seq: int
    """1, 2, 3 ... without a gap within a run."""
    at: str
    """UTC, ISO 8601 with milliseconds."""
    payload: Payload


class RunSummary(Record):
    """One row of `adi log`."""

    id: str
    repo: str
    prompt: str
    started: str
    ended: str = ""
    """Empty while it runs or when the process died."""
    stop: Stop | None = None
    alive: bool = False
    """True while the process that owns the run lives."""
    model: str = ""
    diff_sha256: str = ""
    diffstat: str = ""
    applied: bool = False
    """The change is in the user's tree now."""
    prompt_tokens: int = 0
    cached_tokens: int = 0
    completion_tokens: int = 0
    seconds: float = 0.0
