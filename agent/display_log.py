"""Stored runs as text: the table of `adi log`, the story of `adi show`, the repeat of `adi replay`."""

import json
from collections.abc import Callable, Iterable, Iterator, Sequence
from datetime import datetime
from itertools import pairwise
from typing import Any, Final

from rich.table import Table
from rich.text import Text

from agent.display_lines import action_lines, count, event_lines, seconds
from agent.inert import inert_line
from agent.story import told
from memory.records import (
    SCHEMA_VERSION,
    Action,
    ActionEnded,
    ActionStarted,
    CheckRan,
    Completed,
    Event,
    RunStarted,
    RunSummary,
    Stop,
    Trajectory,
)

STYLES: Final = {
    "accepted": "green",
    "running": "cyan",
    "pending": "yellow",
    "undone": "yellow",
    "nothing-to-do": "",
    "rejected": "yellow",
    "interrupted": "yellow",
}
COLUMNS: Final = (
    "id", "started", "repo", "state", "task", "changes",
    "prompt_tokens", "cached_tokens", "completion_tokens", "seconds",
)  # fmt: skip
"""Columns of the tab-separated form."""


def state_of(run: RunSummary) -> str:
    """How the run ended, in one word: a stop reason, or `running`, `killed`, `undone`."""
    if run.stop is None:
        return "running" if run.alive else "killed"
    return "undone" if run.stop is Stop.ACCEPTED and run.diff_sha256 and not run.applied else run.stop.value


def local_time(at: str) -> str:
    """`2026-11-23 04:12` in the user's time zone."""
    return datetime.fromisoformat(at).astimezone().strftime("%Y-%m-%d %H:%M")


def run_table(runs: Iterable[RunSummary], *, with_repo: bool) -> Table:
    """The runs for a terminal, newest first."""
    table = Table(box=None, pad_edge=False, header_style="dim")
    for name in ("id", "when", *(("repository",) if with_repo else ()), "ended"):
        table.add_column(name, no_wrap=True)
    table.add_column("task")  # the only column that gives way in a narrow terminal
    table.add_column("changes", no_wrap=True, overflow="ellipsis", max_width=32)
    table.add_column("tokens", justify="right", no_wrap=True)
    for run in runs:
        state = state_of(run)
        table.add_row(
            Text(inert_line(run.id), style="bold"),
            Text(local_time(run.started)),
            *((Text(inert_line(run.repo)),) if with_repo else ()),
            Text(state, style=STYLES.get(state, "red")),
            Text(inert_line(run.prompt), no_wrap=True, overflow="ellipsis"),
            Text(_last_line(run.diffstat)),
            Text(f"{run.prompt_tokens:,} in / {run.completion_tokens:,} out", style="dim"),
        )
    return table


def run_rows(runs: Iterable[RunSummary]) -> Iterator[str]:
    """The runs for a pipe: a header and one line each, tab separated, whole values."""
    yield "\t".join(COLUMNS)
    for run in runs:
        values = (
            run.id, run.started, run.repo, state_of(run), run.prompt, _last_line(run.diffstat),
            run.prompt_tokens, run.cached_tokens, run.completion_tokens, f"{run.seconds:.1f}",
        )  # fmt: skip
        yield "\t".join(inert_line(str(value)) for value in values)


def run_json(run: RunSummary) -> dict[str, Any]:
    """The run for a program."""
    return {**run.model_dump(), "state": state_of(run)}


def runs_document(runs: Iterable[RunSummary]) -> str:
    """The JSON of `adi log --json`."""
    return _document({"type": "runs", "runs": [run_json(run) for run in runs]})


def run_document(run: RunSummary, trajectory: Trajectory, events: Sequence[Event], diff: bytes) -> str:
    """The JSON of `adi show --json`; bytes of the diff that are not UTF-8 are lone surrogates in it.

    `story` in it is what the events add up to (agent/story.py).
    """
    return _document(
        {
            "type": "run",
            "run": run_json(run),
            "trajectory": trajectory.model_dump(),
            "story": told(events, alive=run.alive).model_dump(),
            "diff": diff.decode("utf-8", "surrogateescape"),
            "events": [event.model_dump() for event in events],
        }
    )


def _document(content: dict[str, Any]) -> str:
    # ASCII, so that nothing in it steers a terminal and lone surrogates survive.
    return json.dumps({"schema_version": SCHEMA_VERSION, **content}, ensure_ascii=True)


def head_lines(run: RunSummary, events: Iterable[Event]) -> Iterator[Text]:
    """What the run was and how it ended."""
    started = next((event.payload for event in events if isinstance(event.payload, RunStarted)), None)
    version = f"ADI {inert_line(started.adi_version)} with " if started and started.adi_version else ""
    state = state_of(run)
    yield Text(f"run {inert_line(run.id)}  ", style="bold").append(state, style=STYLES.get(state, "red"))
    yield Text(f"  {local_time(run.started)} · {version}{inert_line(run.model) or 'model not named'}")
    cached = f" ({run.cached_tokens:,} cached)" if run.cached_tokens else ""
    tokens = f"{run.prompt_tokens:,} tokens in{cached}, {run.completion_tokens:,} out"
    yield Text(f"  {tokens} · {seconds(run.seconds)}" if run.ended else f"  {tokens}")


def story_lines(events: Iterable[Event]) -> Iterator[Text]:
    """What happened, in order, each event with the time since the start."""
    begin: datetime | None = None
    action: Action | None = None
    for event in events:
        at = datetime.fromisoformat(event.at)
        begin = begin or at
        lines = told_lines(event, action)
        if isinstance(event.payload, ActionStarted):
            action = event.payload.action
        for number, line in enumerate(lines):
            offset = f"{(at - begin).total_seconds():8.1f}s  " if number == 0 else " " * 11
            yield Text.assemble((offset, "dim"), line)


def told_lines(event: Event, action: Action | None) -> list[Text]:
    """Lines of one event of a run that is over; `action` is the one that was started last."""
    match event.payload:
        case ActionEnded(observation=observation):
            return action_lines(action, observation)
        case Completed(purpose=purpose, completion=completion):
            wrote = count(completion.usage.completion_tokens, "token")
            return [Text(f"· model ({purpose}): {wrote}, {completion.finish_reason}", style="dim")]
        case CheckRan(purpose="candidate", result=result):
            ended = "passes" if result.passed else "fails"
            return [Text(f"· candidate: {inert_line(result.check)} {ended}", style="dim")]
    return event_lines(event.payload)


def replay(
    events: list[Event], draw: Callable[[Event], None], wait: Callable[[float], None], speed: float
) -> None:
    """Hand the events to the display again; `wait` gets the seconds between them, divided by speed.

    Speed 0 waits for nothing.
    """
    gaps = [0.0]
    for earlier, later in pairwise(events):
        between = datetime.fromisoformat(later.at) - datetime.fromisoformat(earlier.at)
        gaps.append(max(0.0, between.total_seconds()))  # the wall clock may have been set back
    for event, gap in zip(events, gaps, strict=True):
        if speed > 0:
            wait(gap / speed)
        draw(event)


def _last_line(diffstat: str) -> str:
    """The summing-up line of a diffstat."""
    lines = diffstat.strip().splitlines()
    return inert_line(lines[-1].strip()) if lines else ""
