"""Evaluation suites: a task as a repository, the agent on it, a grade that the agent never touched."""

import json
import os
import tempfile
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, dataclass, field
from importlib.metadata import version
from pathlib import Path
from typing import Any

from agent.errors import ENVIRONMENT, UsageError, exit_code_of, sentence
from agent.output import add
from agent.person import Unattended
from agent.session import Outcome, Session
from memory.records import (
    ActionStarted,
    CheckRan,
    Completed,
    Event,
    Malformed,
    RunEnded,
    Searched,
    Stop,
    Usage,
)
from sandbox.fresh import make_repository
from sandbox.protocol import Sandbox
from sandbox.workcopy import WorkCopy, snapshot

CHECK_S = 15.0
"""Seconds of one test run: several broken programs never end, and no right one needs three."""


@dataclass(frozen=True, slots=True)
class SuiteTask:
    """One task: files of a repository, what to ask, and the command that grades."""

    name: str
    prompt: str
    program: str
    """Path of the file to mend."""
    files: dict[str, str]
    """Path to text, the program included."""
    test_command: str
    """Exit code 0 when the answer is right."""


@dataclass(slots=True)
class Tally:
    """What the events of one run add up to."""

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

    def on_event(self, event: Event) -> None:
        match event.payload:
            case Completed(completion=completion):
                self._add(completion.usage)
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

    def _add(self, usage: Usage) -> None:
        if self.calls:
            self.later_prompt += usage.prompt_tokens
            self.later_cached += usage.cached_tokens
        self.calls += 1
        self.usage = add(self.usage, usage)


@dataclass(frozen=True, slots=True)
class Row:
    """The result of one task, one JSON line."""

    suite: str
    name: str
    solved: bool
    """The grader's word, not the agent's."""
    stop: str
    exit_code: int
    detail: str
    strategy: str
    prompt_tokens: int
    cached_tokens: int
    completion_tokens: int
    later_prompt_tokens: int
    later_cached_tokens: int
    calls: int
    executed: int
    actions: int
    malformed: int
    wall_s: float
    run_id: str
    model: str
    adi: str
    diff: str


@dataclass(frozen=True, slots=True)
class OpenTask:
    """What a suite needs of a session."""

    session: Session
    make_sandbox: Callable[[WorkCopy, str], Sandbox]
    close: Callable[[], None]


Opener = Callable[[Path, Tally], OpenTask]
"""Opens a session on a repository whose events go to the tally."""


def read_quixbugs(path: Path) -> list[SuiteTask]:
    """Tasks of a `quixbugs.jsonl` file, or of the folder that holds it. Raises UsageError."""
    file = path / "quixbugs.jsonl" if path.is_dir() else path
    try:
        rows = [json.loads(line) for line in file.read_text(encoding="utf-8").splitlines() if line.strip()]
    except (OSError, ValueError) as error:
        raise UsageError(
            f"cannot read the tasks of {file}: {error}", "--data PATH of quixbugs.jsonl"
        ) from error
    if not rows:
        raise UsageError(f"{file} holds no tasks", "--data PATH of quixbugs.jsonl")
    return [_quixbugs(row) for row in rows]


def _quixbugs(row: dict[str, Any]) -> SuiteTask:
    command = str(row["test_command"]).removeprefix("python ")
    return SuiteTask(
        name=row["name"],
        prompt=f"{row['path']} has a defect, its tests fail. Repair it. It should: {row['description']}",
        program=row["path"],
        files={**row["files"], row["path"]: row["buggy"]},
        test_command=f"python3 {command}",
    )


def run_suite(
    suite: str,
    tasks: Sequence[SuiteTask],
    results: Path,
    open_task: Opener,
    on_row: Callable[[Row], None],
    on_bad: Callable[[int, Path], None] = lambda _count, _path: None,
) -> list[Row]:
    """Run every task that `results` has no row of yet; each row is on disk before the next task begins.

    `on_bad` hears how many lines of `results` are no rows, and where the file with them is kept.
    """
    rows, bad = read_rows(results)
    _keep_whole(results, rows, bad)
    if bad:
        on_bad(bad, results.with_name(f"{results.name}.damaged"))
    done = {row.name for row in rows}
    for task in tasks:
        if task.name not in done:
            row = run_one(suite, task, open_task)
            results.parent.mkdir(parents=True, exist_ok=True)
            with results.open("a", encoding="utf-8") as file:
                file.write(_line(row))
            rows.append(row)
            on_row(row)
    order = {task.name: index for index, task in enumerate(tasks)}
    return sorted((row for row in rows if row.name in order), key=lambda row: order[row.name])


def _line(row: Row) -> str:
    return json.dumps(asdict(row)) + "\n"


def _keep_whole(results: Path, rows: Sequence[Row], bad: int) -> None:
    """Leave only whole lines: the next row must not be written behind a torn one. The rest is kept aside."""
    content = "".join(map(_line, rows)).encode()
    if results.exists() and (before := results.read_bytes()) != content:
        if bad:
            results.with_name(f"{results.name}.damaged").write_bytes(before)
        whole = results.with_name(f"{results.name}.new")
        with whole.open("wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        whole.replace(results)


def read_rows(results: Path) -> tuple[list[Row], int]:
    """The rows of a results file, and how many of its lines are none, such as one that a kill tore."""
    rows: list[Row] = []
    bad = 0
    lines = results.read_bytes().split(b"\n") if results.exists() else []
    for line in filter(None, lines):
        try:
            rows.append(Row(**json.loads(line)))
        except (ValueError, TypeError, RecursionError):
            bad += 1
    return rows, bad


def run_one(suite: str, task: SuiteTask, open_task: Opener) -> Row:
    """Give the agent one task, unattended, then grade what it left in the tree."""
    tally = Tally()
    with tempfile.TemporaryDirectory(prefix="adi-eval-") as folder:
        repo = Path(folder) / task.name
        repo.mkdir()
        make_repository(repo, {path: text.encode() for path, text in task.files.items()})
        opened = open_task(repo, tally)
        try:
            began = time.monotonic()
            outcome = _outcome(opened.session, task)
            wall = time.monotonic() - began
            solved = grade(task, repo, opened)
            store = opened.session.store
            summary = store.run(outcome.run_id) if outcome.run_id else None
            diff = store.artifact(summary.diff_sha256) if summary and summary.diff_sha256 else b""
        finally:
            opened.close()
    return Row(
        suite=suite,
        name=task.name,
        solved=solved,
        stop=str(outcome.stop),
        exit_code=outcome.exit_code,
        detail=outcome.detail,
        strategy=tally.strategy if solved else "",
        prompt_tokens=tally.usage.prompt_tokens,
        cached_tokens=tally.usage.cached_tokens,
        completion_tokens=tally.usage.completion_tokens,
        later_prompt_tokens=tally.later_prompt,
        later_cached_tokens=tally.later_cached,
        calls=tally.calls,
        executed=tally.executed,
        actions=tally.actions,
        malformed=tally.malformed,
        wall_s=round(wall, 1),
        run_id=outcome.run_id,
        model=summary.model if summary else "",
        adi=version("adi-agent"),
        diff=diff.decode("utf-8", "replace"),
    )


def _outcome(session: Session, task: SuiteTask) -> Outcome:
    """The run's outcome; an unexpected error is one too. A missing environment ends the suite."""
    try:
        return session.run(task.prompt, (task.test_command,))
    except Exception as error:
        code = exit_code_of(error)
        if code == ENVIRONMENT:
            raise
        newest = session.store.runs(str(session.repo), limit=1)
        return Outcome(newest[0].id if newest else "", Stop.ERROR, code, sentence(error))


def grade(task: SuiteTask, repo: Path, opened: OpenTask) -> bool:
    """Run the task's own test command on its own test files and the program as the agent left it."""
    with tempfile.TemporaryDirectory(prefix="adi-grade-") as folder:
        clean = Path(folder) / task.name
        clean.mkdir()
        program = (repo / task.program).read_bytes()
        files = {path: text.encode() for path, text in task.files.items()}
        make_repository(clean, {**files, task.program: program})
        copied = WorkCopy(snapshot(clean, Path(folder) / "shadow"))
        sandbox = opened.make_sandbox(copied, "grade")
        try:
            return sandbox.run(task.test_command, timeout_s=CHECK_S).exit_code == 0
        finally:
            sandbox.close()


def unattended() -> Unattended:
    """Accepts when the verdict does."""
    return Unattended(accept=True)


def summary_lines(rows: Iterable[Row]) -> list[str]:
    """The report as a Markdown table with totals."""
    rows = list(rows)
    lines = [
        "| task | solved | by | candidates run | calls | new | cached | written | wall s | ended |",
        "| --- | --- | --- | --- | --- | --- | --- | --- | --- | --- |",
    ]
    for row in rows:
        new = row.prompt_tokens - row.cached_tokens
        lines.append(
            f"| {row.name} | {'yes' if row.solved else 'no'} | {row.strategy} | {row.executed} | {row.calls} "
            f"| {new} | {row.cached_tokens} | {row.completion_tokens} | {row.wall_s:.0f} | {row.stop} |"
        )
    return [*lines, "", *totals(rows)]


def totals(rows: Sequence[Row]) -> list[str]:
    """Solved of all, tokens, cache share, malformed actions, wall time, how unsolved ones ended."""
    prompt, cached = sum(r.prompt_tokens for r in rows), sum(r.cached_tokens for r in rows)
    later, later_cached = sum(r.later_prompt_tokens for r in rows), sum(r.later_cached_tokens for r in rows)
    unsolved: dict[str, int] = {}
    for row in rows:
        if not row.solved:
            unsolved[row.stop] = unsolved.get(row.stop, 0) + 1
    ends = ", ".join(f"{count} {stop}" for stop, count in sorted(unsolved.items())) or "none"
    share = f"{later_cached / later:.1%}" if later else "no later call"
    return [
        f"Solved {sum(row.solved for row in rows)} of {len(rows)}; unsolved: {ends}.",
        f"Prompt tokens: {prompt - cached} new, {cached} cached; {share} cached after a task's first call. "
        f"Written: {sum(row.completion_tokens for row in rows)}.",
        f"Malformed answers, none of which reached a tool: {sum(row.malformed for row in rows)}. "
        f"Wall time: {sum(row.wall_s for row in rows):.0f} s.",
    ]
