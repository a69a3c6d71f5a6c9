"""The board of a backlog: a line for each running item and the totals; plain lines without a terminal.

Keys, titles and details are those of strangers and pass `inert_line`; each drawn line is cut to the terminal.
"""

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from rich.console import Console, Group
from rich.live import Live
from rich.text import Text

from agent.display_lines import seconds
from agent.display_wrap import print_line
from agent.inert import inert_line

REDRAWS_PER_S: Final = 4
COUNT_S: Final = 2.0
"""Seconds between two readings of the totals."""
HEARTBEAT_S: Final = 30.0
MARKS: Final = {
    "solved": ("✓", "green"),
    "unsolved": ("✗", "red"),
    "needs-human": ("?", "yellow"),
    "infra-error": ("!", "red"),
    "queued": ("!", "yellow"),
    "parked": ("!", "red"),
}
Counts = Mapping[str, int]


@dataclass(slots=True)
class Row:
    """One running item."""

    key: str
    attempt: int
    step: str = "copying"
    tests: str = ""
    began: float = field(default_factory=time.monotonic)


class Board:
    """Hears what the supervisor tells (`on_event`), and is asked to redraw (`tick`)."""

    def __init__(
        self, console: Console, counts: Callable[[], Counts], *, heartbeat_s: float = HEARTBEAT_S
    ) -> None:
        self._console = console
        self._ask = counts
        self._heartbeat_s = heartbeat_s
        self._plain = not console.file.isatty() or console.is_dumb_terminal or console.no_color
        self._rows: dict[int, Row] = {}
        self._counts: Counts = {}
        self._counted = self._said = 0.0
        self._note = ""
        self._live: Live | None = None
        self._began = time.monotonic()

    def __enter__(self) -> "Board":
        if not self._plain:
            self._live = Live(
                console=self._console, get_renderable=self._draw, refresh_per_second=REDRAWS_PER_S,
                transient=True, redirect_stdout=False, redirect_stderr=False,
            )  # fmt: skip
            self._live.start()
        return self

    def __exit__(self, *_: object) -> None:
        live, self._live = self._live, None
        if live is not None:
            live.stop()

    def on_event(self, told: Mapping[str, Any]) -> None:
        """Take one event in; what a person should read later goes into the scrollback."""
        worker, kind = int(told.get("worker", 0)), str(told["kind"])
        if kind == "claimed":
            self._rows[worker] = Row(str(told["key"]), int(told["attempt"]))
        elif kind == "step" and worker in self._rows:
            row = self._rows[worker]
            row.step, row.tests = str(told["step"]), str(told["tests"])
            return
        elif kind in ("settled", "released", "lost", "died"):
            self._rows.pop(worker, None)
            self._counted = 0.0
        if text := line_of(told):
            self._say(text)

    def tick(self) -> None:
        """Count again when it is time, and without a terminal say that it still works."""
        now = time.monotonic()
        if now - self._counted >= COUNT_S and (not self._plain or now - self._said >= self._heartbeat_s):
            self._counts, self._counted = self._ask(), now
        if self._plain and now - self._said >= self._heartbeat_s and self._said:
            running = "; ".join(f"{inert_line(row.key)} {row.step}" for row in self._rows.values())
            self._say(Text(f"… {self.totals()}{': ' if running else ''}{running}"))

    def note(self, text: str) -> None:
        """What stands at the bottom from now on, such as that it drains."""
        self._note = text
        self._say(Text(text, style="yellow"))

    def totals(self) -> str:
        """`3 running · 5 queued · 2 solved · 12:05`."""
        told = [f"{count} {state}" for state, count in self._counts.items() if count]
        return " · ".join([*told, clock(time.monotonic() - self._began)])

    def _say(self, text: Text) -> None:
        self._said = time.monotonic()
        print_line(self._console, text)

    def _draw(self) -> Group:
        width = max(self._console.width - 1, 20)
        lines = [self._line(row, width) for _, row in sorted(self._rows.items())]
        lines.append(Text(f"⋯ {self.totals()} · {self._note or 'Ctrl-C drains'}", style="cyan"))
        for line in lines:
            line.truncate(width, overflow="ellipsis")
        return Group(*lines)

    def _line(self, row: Row, width: int) -> Text:
        key = Text(inert_line(row.key))
        key.truncate(max(width // 2, 10), overflow="ellipsis")
        again = f" (try {row.attempt})" if row.attempt > 1 else ""
        line = Text("  ").append(key).append(again, style="dim").append(f"  {inert_line(row.step)}")
        if row.tests:
            line.append(f"  {inert_line(row.tests)}")
        return line.append(f"  {clock(time.monotonic() - row.began)}", style="dim")


def clock(spent: float) -> str:
    """Minutes and seconds, `12:05`, with hours where there are some."""
    minutes, rest = divmod(int(spent), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"


def line_of(told: Mapping[str, Any]) -> Text | None:
    """An event as a line; None for those that only move the board."""
    key = inert_line(str(told.get("key", "")))
    detail = inert_line(str(told.get("detail", "")))
    match told["kind"]:
        case "claimed":
            again = f" (try {told['attempt']})" if told["attempt"] > 1 else ""
            return Text(f"• {key} begins{again} on worker {told.get('worker', 0)}", style="dim")
        case "settled":
            return _settled(told, key, detail)
        case "released":
            return Text(
                f"• {key} is given back to the queue{f': {detail}' if detail else ''}", style="yellow"
            )
        case "lost":
            return Text(f"! {key}: {detail}", style="yellow")
        case "died":
            return Text(
                f"! Worker {told['worker']} {detail}; its log: {inert_line(str(told['log']))}", style="red"
            )
        case "store-away":
            return Text(f"! The store does not answer, waiting: {detail}", style="yellow")
        case "draining":
            return Text(
                "Draining: running items finish, none begins. Ctrl-C again stops them.", style="yellow"
            )
        case "stopping":
            return Text("Stopping: running items go back to the queue.", style="yellow")
        case "killing":
            return Text("Killing the workers.", style="red")
    return None


def _settled(told: Mapping[str, Any], key: str, detail: str) -> Text:
    state = str(told["state"])
    mark, style = MARKS.get(state, ("•", ""))
    said = f"to be tried again: {told['outcome']}" if state == "queued" else state
    text = Text(f"{mark} ", style=style).append(key, style="bold").append(f" {said}")
    if detail:
        text.append(f": {detail}")
    tests = f"  {inert_line(str(told['tests']))}" if told.get("tests") else ""
    return text.append(f"{tests}  {seconds(float(told['seconds']))}", style="dim")
