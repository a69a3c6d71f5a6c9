"""What the tests of the agent core share: runs and sessions on a local sandbox with a scripted model."""

import contextlib
import shlex
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeVar

from agent.mechanisms import Mechanism
from agent.percolate import Listener, Recorder
from agent.person import Decision, Person, PlanAnswer
from agent.run import Desk, Run
from agent.session import Session
from agent.settings import Settings, directories
from memory.records import Check, CheckResult, Evaluation, Event, Failure, Frame, Limits, Plan, Status, Task
from memory.store import Store
from model.errors import ModelError
from model.scripted import Asked, ScriptedModel
from sandbox.local import LocalSandbox
from sandbox.workcopy import WorkCopy, snapshot

PYTHON = shlex.quote(sys.executable)
CALC = "def add(a, b):\n    return a - b\n"
MENDED = CALC.replace("-", "+")
TEST = "from calc import add\n\nassert add(2, 3) == 5, add(2, 3)\n"
BUGGY: Mapping[str, str | bytes] = {"calc.py": CALC, "test_calc.py": TEST}
CHECK = Check(name="calc", command=f"{PYTHON} test_calc.py")
PLAN = f"- Add instead of subtracting | files: calc.py | check: {CHECK.name}\n"
WRITE = f"write calc.py\n```python\n{MENDED}```\n"
"""An action that mends the program."""

UNSCRIPTED = (Mechanism.MUTATIONS, Mechanism.LOCATED_PLAN, Mechanism.COVERAGE, Mechanism.OWN_TESTS)
"""Off where a test scripts what the model does: these would mend the little programs without it."""

Reply = str | ModelError
T = TypeVar("T")


@dataclass
class Script:
    """Answers by what was asked; `acts` in order, everything else by its place."""

    plan: Reply = PLAN
    lines: Mapping[str, str | Sequence[str]] = field(default_factory=dict)
    """`calc.py line 2` to its text, or to n texts where n are sampled."""
    functions: Mapping[str, str] = field(default_factory=dict)
    fill: Callable[[Asked], str] = lambda _: ""
    files: str = ""
    """The answer where a whole file is asked for."""
    acts: Sequence[Reply] = ()
    acted: int = 0

    def __call__(self, asked: Asked) -> Reply | Sequence[str]:
        if not asked.messages:
            return self.fill(asked)
        last = asked.messages[-1].content
        if asked.messages[-1].role == "assistant":
            found = self.lines.get(last.partition(" is wrong:")[0], "")
            return found if isinstance(found, str) or len(found) == asked.sampling.n else found[0]
        if "Write the plan" in last:
            return self.plan
        if "Write the corrected function" in last:
            return next((text for name, text in self.functions.items() if f"`{name}`" in last), "")
        if "Write the whole new text" in last or "Write the whole corrected file" in last:
            return self.files
        if self.acted == len(self.acts):
            raise AssertionError(f"no action left for: {last[-300:]}")
        self.acted += 1
        return self.acts[self.acted - 1]


class Someone:
    """A person whose decisions are known beforehand."""

    def __init__(self, *decisions: Decision, plan: Callable[[Plan], Plan | None] = lambda plan: plan) -> None:
        self.decisions = list(decisions)
        self.plan = plan
        self.shown: list[tuple[bytes, Evaluation]] = []
        self.told: list[str] = []

    def review_plan(self, plan: Plan, checks: Sequence[Check]) -> PlanAnswer:  # noqa: ARG002
        return PlanAnswer(self.plan(plan))

    def decide(self, diff: bytes, evaluation: Evaluation) -> Decision:
        self.shown.append((diff, evaluation))
        return self.decisions.pop(0)

    def tell(self, text: str) -> None:
        self.told.append(text)


@contextlib.contextmanager
def open_run(
    repo: Path,
    script: Callable[[Asked], Reply | Sequence[str]],
    *,
    checks: Sequence[Check] = (CHECK,),
    limits: Limits | None = None,
    prompt: str = "make the check pass",
    sampling: bool = True,
    without: Iterable[Mechanism] = UNSCRIPTED,
    n_ctx: int = 8192,
    listeners: Sequence[Listener] = (),
) -> Iterator[Run]:
    """A run on a snapshot of the repository, its store in memory."""
    places = directories()
    copied = snapshot(repo, places.shadow)
    files = WorkCopy(copied)
    task = Task(
        id="t",
        prompt=prompt,
        repo=str(repo),
        tree=copied.tree,
        checks=tuple(checks),
        limits=limits or Limits(),
    )
    with Store.open(":memory:") as store, LocalSandbox(files.archive()) as sandbox:
        recorder = Recorder(store, store.start_run(task), listeners)
        desk = Desk(recorder.emit, recorder.keep, repo, places.journal, places.patches / "run.patch")
        model = ScriptedModel(script, n_ctx=n_ctx)
        off = frozenset(without)
        yield Run(task, files, sandbox, model, recorder, desk, sampling=sampling, without=off)


@contextlib.contextmanager
def open_local(
    repo: Path,
    script: Callable[[Asked], Reply | Sequence[str]],
    person: Person,
    *,
    listeners: Sequence[Listener] = (),
    settings: Mapping[str, object] | None = None,
) -> Iterator[Session]:
    """A session as the commands use it, with the local sandbox and the scripted model in place."""
    places = directories()
    with Store.open(places.database) as store:
        yield Session(
            settings=Settings.model_validate({"run": {"without": UNSCRIPTED, **(settings or {})}}),
            repo=repo,
            person=person,
            listeners=listeners,
            places=places,
            store=store,
            model=lambda _progress: ScriptedModel(script),
            sandbox=lambda _progress, _profile: lambda files, _run_id: LocalSandbox(files.archive()),
        )


def events(run: Run) -> list[Event]:
    return run.recorder.store.events(run.recorder.run_id)


def payloads(run: Run, kind: type[T]) -> list[T]:
    """Payloads of one kind, in order."""
    return [event.payload for event in events(run) if isinstance(event.payload, kind)]


def failed(*frames: tuple[str, int], output: str = "", test: str = "test_calc.py") -> CheckResult:
    """A check that failed with these frames, innermost last."""
    failure = Failure(
        test=test, error="AssertionError", frames=tuple(Frame(path=p, line=n) for p, n in frames)
    )
    return CheckResult(
        check=CHECK.name,
        status=Status.NONZERO,
        exit_code=1,
        passed=False,
        tests_failed=1,
        failures=(failure,),
        output=output,
        duration_s=0.1,
    )
