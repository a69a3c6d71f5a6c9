"""Events as lines of text, without any state: what the terminal, a log and a replay have in common.

Everything that came from a model, a repository or a tool passes `inert`; rich markup is never read.
"""

from collections.abc import Callable, Iterable, Iterator
from typing import Any, Final

from rich.cells import cell_len
from rich.text import Text

from agent.doubts import doubts
from agent.figures import count as count
from agent.figures import seconds as seconds
from agent.inert import inert_line
from memory.records import (
    Action,
    Applied,
    Check,
    CheckRan,
    CheckResult,
    Evaluation,
    Learned,
    Malformed,
    Noted,
    Observation,
    Observed,
    Payload,
    Plan,
    Recalled,
    RunEnded,
    RunStarted,
    Status,
    Stop,
    Survival,
    Survived,
    UserActed,
    Verdict,
)

DONE: Final = {
    "read": "Read",
    "search": "Searched",
    "edit": "Edited",
    "write": "Wrote",
    "run": "Ran",
    "submit": "Submitted",
}
DOING: Final = {
    "read": "Reading",
    "search": "Searching",
    "edit": "Editing",
    "write": "Writing",
    "run": "Running",
    "submit": "Submitting",
}
OBJECTS: Final = ("path", "command", "pattern", "query", "check")
FAILURES_SHOWN: Final = 5

ENDS: Final[dict[Stop, tuple[str, str]]] = {
    Stop.ACCEPTED: ("green", "Done: the checks pass and the change is in your files."),
    Stop.REJECTED: ("yellow", "Rejected; your files are untouched."),
    Stop.PENDING: ("yellow", "The result waits for a decision; your files are untouched."),
    Stop.FAILED: ("red", "Not solved: the checks do not pass; your files are untouched."),
    Stop.NOTHING_TO_DO: ("yellow", "No change was made or needed."),
    Stop.STUCK: ("red", "Stopped: the model repeated itself or wrote no valid action."),
    Stop.BUDGET: ("red", "Stopped: the budget is spent; your files are untouched."),
    Stop.CONFLICT: ("red", "Your files changed meanwhile; nothing was overwritten, the patch is kept."),
    Stop.ENVIRONMENT: ("red", "Stopped: something outside ADI went missing."),
    Stop.INTERRUPTED: ("yellow", "Interrupted; your files are untouched."),
    Stop.KILLED: ("red", "Its process was killed; your files are untouched."),
    Stop.ERROR: ("red", "Stopped by an unexpected error."),
}
ACTED: Final = {
    "accept": "You accepted the change",
    "auto-accept": "Accepted without asking (--yes)",
    "reject": "You rejected the change",
    "edit-plan": "You edited the plan",
    "edit-diff": "You edited the diff; it is checked again",
    "view-diff": "You looked at the whole diff",
    "undo": "Undo",
    "interrupt": "Interrupted",
    "defer": "Left for `adi review`",
    "next": "Typed next",
}
STANCES: Final = {
    "new": "Learned",
    "for": "Confirmed",
    "against": "Spoke against",
    "retired": "Retired",
}
"""What a run did to a lesson."""


def object_of(action: Action) -> str:
    """What the action is about: a path, a command or a pattern."""
    for key in OBJECTS:
        if value := action.arguments.get(key):
            return inert_line(str(value))
    return ""


def action_line(action: Action | None, observation: Observation) -> Text:
    """One collapsed line: verb, object, result, seconds."""
    ok = observation.status is Status.OK
    tool = action.tool if action else ""
    thing = object_of(action) if action else ""
    summary = inert_line(observation.summary)
    text = Text(("✓ " if ok else "✗ "), style="green" if ok else "red")
    text.append(DONE.get(tool, inert_line(tool) or "Did"), style="bold")
    if thing and thing not in summary:
        text.append(f" {thing}")
    if summary:
        text.append(f" {summary}")
    if not ok and observation.status is not Status.NONZERO:
        text.append(f" {observation.status}", style="red")
    if observation.truncated:
        text.append(" (output cut)", style="dim")
    return text.append(f"  {seconds(observation.duration_s)}", style="dim")


def action_lines(action: Action | None, observation: Observation) -> list[Text]:
    """The line of an action, and what a reader should know about its text."""
    texts = [observation.summary, *strings(action.arguments if action else {})]
    return [action_line(action, observation), *doubt_lines(texts)]


def check_line(result: CheckResult, verb: str) -> Text:
    """`✗ Ran pytest 3 passed, 1 failed  0.5 s`."""
    text = Text("✓ " if result.passed else "✗ ", style="green" if result.passed else "red")
    text.append(f"{verb} {inert_line(result.check)} ", style="bold").append(outcome(result))
    return text.append(f"  {seconds(result.duration_s)}", style="dim")


def outcome(result: CheckResult) -> str:
    """Counts where the runner gave some, otherwise how the command ended."""
    if result.tests_passed or result.tests_failed:
        counts = f"{result.tests_passed} passed, {result.tests_failed} failed"
        return counts if result.status in {Status.OK, Status.NONZERO} else f"{counts}, {result.status}"
    if result.status is Status.NONZERO:
        return f"exit {result.exit_code}"
    return "passed" if result.passed else str(result.status)


def failure_lines(result: CheckResult) -> Iterator[Text]:
    """The first failing tests, one line each: the first line of what they say."""
    for failure in result.failures[:FAILURES_SHOWN]:
        message = failure.message.strip().partition("\n")[0]
        what = ": ".join(filter(None, (inert_line(failure.error), inert_line(message))))
        yield Text(f"    {inert_line(failure.test)}").append(f"  {what}", style="dim")
    if len(result.failures) > FAILURES_SHOWN:
        yield Text(f"    … and {len(result.failures) - FAILURES_SHOWN} more", style="dim")


def plan_lines(plan: Plan) -> Iterator[Text]:
    """The plan as a checklist."""
    authors = {"user": "edited by you", "rule": "by rule", "model": ""}
    title = Text("Plan", style="bold")
    details = [f"revision {plan.revision}"] if plan.revision > 1 else []
    details += [authors[plan.author]] if authors[plan.author] else []
    yield title.append(f" ({', '.join(details)})" if details else "", style="dim")
    for number, step in enumerate(plan.steps, start=1):
        line = Text(f"  [ ] {number}. {inert_line(step.goal)}")
        if step.files:
            line.append(f"  {', '.join(inert_line(path) for path in step.files)}", style="cyan")
        yield line.append(f"  check: {inert_line(step.check)}", style="dim")


def command_lines(plan: Plan, checks: Iterable[Check]) -> Iterator[Text]:
    """The whole commands behind the names of a plan's checks, line for line."""
    named = {step.check for step in plan.steps}
    for check in checks:
        if check.name in named and check.command != check.name:
            first, *rest = check.command.split("\n")
            yield Text(f"  {inert_line(check.name)} runs: {inert_line(first)}", style="dim")
            yield from (Text(f"    | {inert_line(line)}", style="dim") for line in rest)


def table_lines(results: tuple[CheckResult, ...]) -> Iterator[Text]:
    """The test table of a verdict, with the failing tests below their check."""
    width = max((cell_len(inert_line(r.check)) for r in results), default=0)
    width = max(width, len("check"))
    yield Text(f"  {'check':<{width}}  result  passed  failed     time", style="dim")
    for result in results:
        name = inert_line(result.check)
        pad = " " * (width - cell_len(name))
        line = Text(f"  {name}{pad}  ")
        line.append("PASS  " if result.passed else "FAIL  ", style="green" if result.passed else "bold red")
        line.append(f"  {result.tests_passed:>6}  {result.tests_failed:>6}  {seconds(result.duration_s):>7}")
        if result.status not in {Status.OK, Status.NONZERO}:
            line.append(f"  {result.status}", style="red")
        yield line
        yield from failure_lines(result)


def verdict_lines(verdict: Verdict) -> Iterator[Text]:
    """The test table on a clean copy, what a person must know, and the sentence."""
    evaluation = verdict.evaluation
    yield Text("Verdict", style="bold").append(" on a clean copy with the diff applied", style="dim")
    yield from table_lines(evaluation.results)
    yield from warning_lines(evaluation)
    mark, style = ("✓", "bold green") if evaluation.accepted else ("✗", "bold red")
    fallback = "all checks pass" if evaluation.accepted else "the checks do not pass"
    yield Text(f"{mark} {inert_line(evaluation.detail) or fallback}", style=style)
    for line in verdict.diffstat.splitlines():
        yield Text(f"  {inert_line(line)}", style="dim")


def warning_lines(evaluation: Evaluation) -> Iterator[Text]:
    """Tests and protected files that the change touches."""
    groups = (
        (
            "changes tests or what rules checks (the verdict ran their original text)",
            evaluation.changed_tests,
        ),
        ("deletes tests", evaluation.deleted_tests),
        ("touches files that need your approval", evaluation.protected),
        ("breaks tests that assert what the task calls wrong", evaluation.disputed_tests),
    )
    for what, paths in groups:
        if paths:
            names = ", ".join(inert_line(path) for path in paths)
            yield Text(f"! The change {what}: {names}", style="yellow")


def _started(payload: RunStarted) -> Iterator[Text]:
    task = payload.task
    yield Text("Task ", style="bold").append(inert_line(task.prompt))
    parts = [inert_line(payload.model) or "model not named", inert_line(task.repo)]
    parts += ["uncommitted changes included"] if task.dirty else []
    parts += [f"sandbox {inert_line(task.image)}, network off"] if task.image else []
    yield Text("  " + " · ".join(parts), style="dim")


def _check(payload: CheckRan) -> Iterator[Text]:
    if payload.purpose in {"candidate", "verdict"}:
        return
    yield check_line(payload.result, "Ran" if payload.purpose == "gather" else "Checked")
    yield from failure_lines(payload.result)


def _malformed(payload: Malformed) -> Iterator[Text]:
    yield Text(f"! No valid action, nothing was run: {inert_line(payload.reason)}", style="yellow")


def _acted(payload: UserActed) -> Iterator[Text]:
    text = Text(f"• {ACTED[payload.action]}")
    yield text.append(f": {inert_line(payload.detail)}" if payload.detail else "")


def _applied(payload: Applied) -> Iterator[Text]:
    names = ", ".join(inert_line(path) for path in payload.paths)
    what = "Took back" if payload.undone else "Applied"
    yield Text(f"✓ {what} {count(len(payload.paths), 'file')}: {names}", style="green")


def _noted(payload: Noted) -> Iterator[Text]:
    mark, style = {"info": ("•", ""), "warning": ("!", "yellow"), "error": ("✗", "red")}[payload.level]
    yield Text(f"{mark} {inert_line(payload.text)}", style=style)
    if payload.hint:
        yield Text(f"  hint: {inert_line(payload.hint)}", style="dim")


def _observed(payload: Observed) -> Iterator[Text]:
    evidence = payload.evidence
    tests = f"{count(len(evidence.failing), 'failing test')} of {len(evidence.tests)}"
    seen = f"lines of {count(len({cover.path for cover in evidence.covers}), 'file')}"
    held = sum(len(frame.values) for test in evidence.failing if test.raised for frame in test.raised.frames)
    text = f"• Watched {inert_line(evidence.check)}: {tests}, {seen}, {count(held, 'value')}"
    yield Text(text, style="dim")


def _recalled(payload: Recalled) -> Iterator[Text]:
    told = "; ".join(f"{inert_line(each.claim)} ({inert_line(each.why)})" for each in payload.lessons)
    yield Text(f"• Recalled {count(len(payload.lessons), 'lesson')}: {told}", style="dim")


def _learned(payload: Learned) -> Iterator[Text]:
    why = f" ({inert_line(payload.why)})" if payload.why else ""
    yield Text(f"• {STANCES[payload.stance]}: {inert_line(payload.claim)}{why}", style="dim")


def _survived(payload: Survived) -> Iterator[Text]:
    yield Text(f"• {survival_text(payload.survival)}", style="dim")


def survival_text(survival: Survival) -> str:
    """`After 7 days: 3 lines kept, 1 edited, 0 reverted`."""
    fate = f"{count(survival.kept, 'line')} kept, {survival.edited} edited, {survival.reverted} reverted"
    return f"After {count(survival.days, 'day')}: {fate}"


def end_line(payload: RunEnded) -> Text:
    """How the run ended, in one sentence."""
    style, sentence = ENDS[payload.stop]
    text = Text(sentence, style=f"bold {style}")
    if payload.detail:
        text.append(f" {inert_line(payload.detail)}", style="")
    return text


LINES: Final[dict[str, Callable[[Any], Iterator[Text]]]] = {
    "run-started": _started,
    "check-ran": _check,
    "plan-made": lambda payload: plan_lines(payload.plan),
    "malformed": _malformed,
    "verdict": verdict_lines,
    "user-acted": _acted,
    "applied": _applied,
    "noted": _noted,
    "observed": _observed,
    "recalled": _recalled,
    "learned": _learned,
    "survived": _survived,
    "run-ended": lambda payload: iter([end_line(payload)]),
}


def event_lines(payload: Payload) -> list[Text]:
    """Lines of one event that stands for itself; empty for those that only move the live line."""
    draw = LINES.get(payload.kind)
    lines = list(draw(payload)) if draw else []
    return [*lines, *doubt_lines(strings(payload.model_dump()))] if lines else []


def doubt_lines(texts: Iterable[str]) -> Iterator[Text]:
    """A warning below a text that hides something or looks like another."""
    for doubt in doubts(texts):
        yield Text(f"! This holds {doubt}", style="yellow")


def strings(value: object) -> Iterator[str]:
    """All texts in a record, those left out that are never drawn: the output of commands."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict):
        for key, item in value.items():
            if key != "output":
                yield from strings(item)
    elif isinstance(value, list | tuple):
        for item in value:
            yield from strings(item)
