"""What stands at the bottom while ADI works: one live line at a terminal, a heartbeat elsewhere."""

import threading
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Final

from rich.console import Console, Group
from rich.live import Live
from rich.text import Text

from agent.display_lines import count, seconds
from agent.inert import inert_line

TAIL_LINES: Final = 5
REDRAWS_PER_S: Final = 8
FRAME: Final = "⋯ {} · Ctrl-C interrupts"


@dataclass(slots=True)
class Activity:
    """What is going on now, and since when."""

    verb: str
    began: float = field(default_factory=time.monotonic)
    note: str = ""
    chunks: int = 0
    """Pieces of text that streamed in; a server sends about one for each token."""
    first_chunk: float = 0.0
    tail: deque[str] = field(default_factory=lambda: deque(maxlen=TAIL_LINES))

    def chunk(self) -> None:
        """Count one piece of the model's answer."""
        self.first_chunk = self.first_chunk or time.monotonic()
        self.chunks += 1

    def sentence(self, width: int = 0) -> str:
        """`Planning · 120 tokens · 23 tok/s · 5.2 s`; in `width` cells, cut where it says least."""
        now = time.monotonic()
        parts: list[str] = []
        if self.chunks:
            parts.append(count(self.chunks, "token"))
            spent = now - self.first_chunk
            parts += [f"{(self.chunks - 1) / spent:.0f} tok/s"] if self.chunks > 5 and spent > 0 else []
        measured = " · ".join([*parts, seconds(now - self.began)])
        what = Text(f"{self.verb} · {self.note}" if self.note else self.verb)
        if width:
            what.truncate(max(width - len(measured) - 3, 10), overflow="ellipsis")
        return f"{what.plain} · {measured}"


class LiveLine:
    """The live region of a terminal: redrawn by a timer, gone when paused, never in the scrollback."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._live: Live | None = None
        self._activity: Activity | None = None

    def show(self, activity: Activity | None) -> None:
        """Draw this activity from now on; None draws nothing until the next one."""
        self._activity = activity
        if activity is None or self._live is not None:
            return
        self._live = Live(
            console=self._console,
            get_renderable=self._draw,
            refresh_per_second=REDRAWS_PER_S,
            transient=True,
            redirect_stdout=False,
            redirect_stderr=False,
        )
        self._live.start()

    def hide(self) -> None:
        """Give the bottom of the screen and the cursor back."""
        live, self._live = self._live, None
        if live is not None:
            live.stop()

    def _draw(self) -> Group | Text:
        activity = self._activity
        if activity is None:
            return Text("")
        lines = [Text(f"  {inert_line(line)}", style="dim") for line in list(activity.tail)]
        width = max(self._console.width - 1, 10)
        sentence = activity.sentence(width - len(FRAME.format("")))
        lines.append(Text(FRAME.format(sentence), style="cyan"))
        for line in lines:
            line.truncate(width, overflow="ellipsis")
        return Group(*lines)


class Heartbeat:
    """Says that ADI still works when nothing was printed for `every_s` seconds. No thread when 0."""

    def __init__(self, every_s: float, beat: Callable[[], None]) -> None:
        self._every_s = every_s
        self._beat = beat
        self._last = time.monotonic()
        self._stop = threading.Event()
        self._thread: threading.Thread | None = None

    def touch(self) -> None:
        """Something was printed."""
        self._last = time.monotonic()
        if self._thread is None and self._every_s > 0 and not self._stop.is_set():
            self._thread = threading.Thread(target=self._run, name="adi-heartbeat", daemon=True)
            self._thread.start()

    def stop(self) -> None:
        """End the thread; idempotent."""
        self._stop.set()
        if self._thread is not None:
            self._thread.join(timeout=5.0)

    def _run(self) -> None:
        while not self._stop.wait(max(self._last + self._every_s - time.monotonic(), 0.01)):
            if time.monotonic() - self._last >= self._every_s:
                self._last = time.monotonic()
                self._beat()
