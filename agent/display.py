"""Draws the event stream of a run into the scrollback of a terminal, or as plain lines anywhere else.

Plain means: not a terminal, `TERM=dumb` or `NO_COLOR`; then nothing is redrawn, there is no colour, and
every event is one line (a verdict brings its table). The display never asks anything: agent/person.py does.
"""

import os
import threading
from collections.abc import Collection, Mapping, Sequence
from types import TracebackType
from typing import Literal, Self, TextIO

from rich.console import Console
from rich.text import Text

from agent.display_diff import diff_lines
from agent.display_lines import (
    DOING,
    action_lines,
    check_line,
    command_lines,
    count,
    event_lines,
    failure_lines,
    object_of,
    plan_lines,
    seconds,
)
from agent.display_live import Activity, Heartbeat, LiveLine
from agent.display_wrap import print_line
from agent.inert import inert_line
from agent.output import add
from memory.records import (
    Action,
    ActionEnded,
    ActionStarted,
    Check,
    CheckRan,
    Completed,
    Event,
    Noted,
    Payload,
    Plan,
    PlanMade,
    Prompted,
    RunEnded,
    Searched,
    Stop,
    Usage,
    Verdict,
)

THINKING = {
    "plan": "Planning",
    "act": "Choosing the next action",
    "infill": "Trying lines",
    "rewrite": "Rewriting",
}
NEXT = {
    "run-started": "Preparing the sandbox",
    "check-ran": "Running the checks",
    "plan-made": "Working",
    "malformed": "Working",
    "noted": "Working",
    "observed": "Working",
    "recalled": "Working",
}
"""What is going on after an event that does not say so itself."""
QUIET = frozenset({"observed", "recalled", "learned", "survived"})
"""Events that are drawn only when more is asked for, or a run is looked back at."""
WAITING_S = 30.0


class PatientConsole(Console):
    """A console whose reader may leave: rich would end the process, ADI has a run to finish."""

    def on_broken_pipe(self) -> None:
        """Called by rich while it handles a BrokenPipeError."""
        raise BrokenPipeError


def make_console(
    stream: TextIO,
    color: Literal["auto", "always", "never"] = "auto",
    environ: Mapping[str, str] = os.environ,
) -> Console:
    """A console that reads no markup and guesses no highlights."""
    forced = color == "always" or (color == "auto" and environ.get("CLICOLOR_FORCE", "0") != "0")
    off = color == "never" or (color == "auto" and bool(environ.get("NO_COLOR")))
    return PatientConsole(
        file=stream,
        force_terminal=True if forced else None,
        no_color=off or None,
        markup=False,
        highlight=False,
        emoji=False,
        soft_wrap=False,
        _environ=environ,
    )


class Display:
    """A listener of events (`on_event`) and of streamed text (`on_text`, `on_output`)."""

    def __init__(
        self,
        console: Console,
        *,
        verbosity: int = 0,
        heartbeat_s: float = WAITING_S,
        quiet: Collection[str] = QUIET,
    ) -> None:
        """`verbosity`: -1 only warnings, verdict and end; 0 normal; 1 every event, those in `quiet` too."""
        self.console = console
        self._quiet = quiet if verbosity < 1 else ()
        self.plain = not console.file.isatty() or console.is_dumb_terminal or console.no_color
        self._verbosity = verbosity
        self._lock = threading.RLock()
        self._gone = False
        self._live = LiveLine(console)
        self._activity: Activity | None = None
        self._heartbeat = Heartbeat(heartbeat_s if self.plain else 0, self._beat)
        self._action: Action | None = None
        self._plan: Plan | None = None
        self._ticked: set[int] = set()
        self._search: Searched | None = None
        self._usage = Usage()
        self._changed = False
        """A change was judged or kept."""

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Give the terminal back; idempotent."""
        self.pause()
        self._heartbeat.stop()

    def pause(self) -> None:
        """Take the live line away, so that a question stands still."""
        with self._lock:
            self._live.hide()

    def on_event(self, event: Event) -> None:
        """Draw one event."""
        with self._lock:
            self._draw(event.payload, event.run_id)

    def on_text(self, chunk: str) -> None:  # noqa: ARG002
        """A piece of the model's answer arrived; it is counted, not shown."""
        if self._activity is not None:
            self._activity.chunk()

    def on_output(self, chunk: bytes) -> None:
        """A piece of a running command's output arrived; its last lines are shown while it runs."""
        if self._activity is not None:
            lines = chunk.decode("utf-8", "replace").splitlines()
            self._activity.tail.extend(line for line in lines if line.strip())

    def show_diff(self, diff: bytes, *, asked: bool = False) -> None:
        """Draw the diff, long hunks folded; whatever the verbosity when somebody is `asked` about it."""
        self._print(diff_lines(diff), loud=asked)

    def show_plan(self, plan: Plan, checks: Sequence[Check]) -> None:
        """Draw what is still to see of a plan before somebody is asked: the commands, and itself if quiet."""
        lines = list(plan_lines(plan)) if self._verbosity < 0 else []
        self._print([*lines, *command_lines(plan, checks)], loud=True)

    def whole_diff(self, diff: bytes) -> str:
        """The unfolded diff as text for a pager, colours included where the console has them."""
        with self.console.capture() as captured:
            for line in diff_lines(diff, fold=False):
                self.console.print(line, soft_wrap=True)
        return captured.get()

    def _draw(self, payload: Payload, run_id: str) -> None:
        match payload:
            case Searched():
                self._searching(payload)
                return
            case Prompted():
                reading = count(payload.tokens, "token") + " to read" if payload.tokens else ""
                self._doing(THINKING[payload.purpose], search_text(self._search) if self._search else reading)
            case Completed():
                self._completed(payload)
            case ActionStarted(action=action):
                self._action = action
                self._doing(f"{DOING.get(action.tool, inert_line(action.tool))} {object_of(action)}")
            case ActionEnded(observation=observation):
                self._settle_search()
                self._print(action_lines(self._action, observation))
                self._doing("Working")
            case CheckRan(purpose="candidate"):
                self._candidate(payload)
            case RunEnded():
                self._ended(payload, run_id)
            case _:
                self._standing(payload)

    def _standing(self, payload: Payload) -> None:
        """An event that is drawn as it is and stays in the scrollback."""
        self._settle_search()
        loud = isinstance(payload, Verdict) or (isinstance(payload, Noted) and payload.level != "info")
        if payload.kind not in self._quiet:
            self._print(event_lines(payload), loud=loud)
        if isinstance(payload, Verdict):
            self._changed = bool(payload.diff_sha256)
        if isinstance(payload, PlanMade):
            self._plan, self._ticked = payload.plan, set()
        if isinstance(payload, CheckRan) and payload.purpose == "step":
            self._tick(payload)
        self._doing(NEXT.get(payload.kind))

    def _tick(self, payload: CheckRan) -> None:
        steps = self._plan.steps if self._plan and payload.result.passed else ()
        for number, step in enumerate(steps, start=1):
            if step.check == payload.result.check and number not in self._ticked:
                self._ticked.add(number)
                self._print([Text(f"  [x] {number}. {inert_line(step.goal)}", style="green")])

    def _completed(self, payload: Completed) -> None:
        used = payload.completion.usage
        self._usage = add(self._usage, used)
        if self._verbosity > 0:
            line = f"· {THINKING[payload.purpose]}: {usage_text(used)}, {payload.completion.finish_reason}"
            self._print([Text(line, style="dim")])
        self._doing("Working")

    def _searching(self, payload: Searched) -> None:
        self._search = payload
        if self._activity is None or not self._activity.verb.startswith("Searching"):
            self._doing("Searching a repair")
        if self._activity is not None:
            self._activity.note = search_text(payload)

    def _settle_search(self) -> None:
        """Leave the last state of a search in the scrollback."""
        if self._search is None:
            return
        mark, style = ("✓", "green") if self._search.passed else ("•", "")
        line = Text(f"{mark} Searched ", style=style).append(search_text(self._search))
        self._search = None
        self._print([line])

    def _candidate(self, payload: CheckRan) -> None:
        if self._verbosity > 0:
            self._print([check_line(payload.result, "Tried")])
            if payload.result.passed:
                self._print(list(failure_lines(payload.result)))

    def _ended(self, payload: RunEnded, run_id: str) -> None:
        self._settle_search()
        self.pause()
        run = inert_line(run_id)
        totals = f"  run {run} · {usage_text(self._usage)} · {seconds(payload.seconds)}"
        after = AFTER.get(payload.stop, "adi show {run} tells what happened")
        if self._changed and payload.stop in (Stop.INTERRUPTED, Stop.ENVIRONMENT, Stop.ERROR):
            after = "adi review {run} shows what was done so far, checks it and asks"
        lines = [*event_lines(payload), Text(totals, style="dim")]
        self._print([*lines, Text("  " + after.format(run=run), style="dim")], loud=True)
        self._activity, self._usage, self._plan, self._changed = None, Usage(), None, False

    def _doing(self, verb: str | None, note: str = "") -> None:
        self._activity = None if verb is None else Activity(verb, note=note)
        if not self.plain and self._verbosity >= 0:
            self._live.show(self._activity)

    def _beat(self) -> None:
        activity = self._activity
        self._print([Text(f"… {activity.sentence() if activity else 'working'}", style="dim")])

    def _print(self, lines: list[Text], *, loud: bool = False) -> None:
        if self._gone or (self._verbosity < 0 and not loud):
            return
        with self._lock:
            self._heartbeat.touch()
            try:
                for line in lines:
                    print_line(self.console, line)
            except OSError:  # the reader of the pipe or the terminal is gone; the run goes on
                self._gone = True


AFTER = {
    Stop.ACCEPTED: "adi undo takes the change back",
    Stop.PENDING: "adi review {run} shows it and asks",
    Stop.CONFLICT: "adi review {run} tries again once your files are settled",
    Stop.ENVIRONMENT: "adi doctor says what is missing",
    Stop.INTERRUPTED: "nothing is kept: give the task again; adi show {run} tells how far it came",
}


def search_text(search: Searched) -> str:
    """`gcd.py:5 · 12 candidates, 8 run, 1 passes`."""
    counts = f"{count(search.candidates, 'candidate')}, {search.executed} run, {search.passed} passed"
    return f"{inert_line(search.strategy)} {inert_line(search.place)} · {counts}"


def usage_text(usage: Usage) -> str:
    """`1,200 in (80% cached) / 210 out · 23 tok/s`."""
    share = f" ({usage.cached_tokens * 100 // usage.prompt_tokens}% cached)" if usage.prompt_tokens else ""
    speed = f" · {usage.completion_tokens * 1000 / usage.decode_ms:.0f} tok/s" if usage.decode_ms else ""
    return f"{usage.prompt_tokens:,} in{share} / {usage.completion_tokens:,} out{speed}"
