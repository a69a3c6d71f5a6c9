"""Watches tests from inside the sandbox: which lines each one runs, and what the names hold where it raises.

Copied into the sandbox as `adi_witness` and imported there by the hooks of a runner (witness_pytest.py,
witness_program.py); nothing of ADI is imported, and nothing on the host believes it. One JSON line a fact
goes to a journal, so that whatever ends the process leaves what was known until then.
"""

import contextlib
import importlib
import json
import os
import signal
import sys
import time
from pathlib import Path
from typing import Any

values = importlib.import_module("adi_values")

JOURNAL = Path(__file__).resolve().with_name("journal")
PROGRAM = "the program"
"""The test that a program without tests is."""
TOLD = 20
"""Failing tests whose frames are told."""
ROOM, SPARE = 600_000, 400_000
"""Characters of the journal, and more of them that tests which pass may not have."""
BETWEEN = "-"
"""Context of what runs between tests; before the first one it is empty: imports."""
SHARE = 4
"""A test may take one part in so many of the time that is left, so that others run after one that hangs."""


class Hung(BaseException):
    """Raised inside a test that used up its share of the time."""


class Lines:
    """The coverage library with one context a test; silent where it is missing."""

    def __init__(self) -> None:
        self.library: Any = None
        try:
            coverage = importlib.import_module("coverage")
            self.library = coverage.Coverage(
                data_file=None,
                config_file=False,
                include=[f"{values.ROOT}/*"],
                omit=[f"{values.HERE}/*", "*/site-packages/*", "*/.venv/*"],
            )
            self.library.start()
        except Exception:  # noqa: BLE001 - no coverage library, or one of another kind
            self.library = None

    def switch(self, context: str) -> None:
        if self.library is not None:
            self.library.switch_context(context)

    def of(self, context: str) -> list[tuple[str, str]]:
        """Path and ranges of each file that ran in the context."""
        if self.library is None:
            return []
        data = self.library.get_data()
        data.set_query_context(context)
        found = ((path, _ranges(data.lines(path) or ())) for path in sorted(data.measured_files()))
        # Of an empty file its line 0 ran.
        return [(values.relative(path), ranges) for path, ranges in found if ranges]


def _ranges(lines: Any) -> str:
    """Such as `1-3,7-7`."""
    pairs: list[list[int]] = []
    for line in sorted(set(lines)):
        if pairs and line == pairs[-1][1] + 1:
            pairs[-1][1] = line
        elif line > 0:
            pairs.append([line, line])
    return ",".join(f"{first}-{last}" for first, last in pairs)


class Witness:
    """What is going on, and the journal of it."""

    def __init__(self) -> None:
        self.pid, self.size, self.closed = os.getpid(), 0, False
        self.until = time.monotonic() + float(os.environ.get("ADI_WITNESS_S") or 60)
        self.tests, self.told, self.armed = 0, 0, False
        self.current, self.context = "", ""
        self.raised: dict[str, Any] | None = None
        self.compared: list[str] | None = None
        self.covers: dict[tuple[str, str], int] = {}
        self._install()
        self.lines = Lines()
        self.write("begin", traced=self.lines.library is not None)

    @property
    def is_mine(self) -> bool:
        """False in a forked child, and when everything was told."""
        return os.getpid() == self.pid and not self.closed

    def write(self, kind: str, **facts: Any) -> None:
        line = json.dumps({"kind": kind, **facts}) + "\n"
        if self.size + len(line) < ROOM + SPARE:
            self.size += len(line)
            with JOURNAL.open("a", encoding="ascii") as stream:
                stream.write(line)

    def covered(self, context: str) -> list[int]:
        """Numbers of the covers of a context; each is written once."""
        found = []
        for cover in self.lines.of(context):
            if cover not in self.covers:
                self.covers[cover] = len(self.covers)
                self.write("cover", path=cover[0], ranges=cover[1])
            found.append(self.covers[cover])
        return found

    def begin(self, test: str) -> None:
        """A test starts."""
        if not self.tests:
            self.write("imported", covers=self.covered(""))
        self.tests += 1
        self.current, self.context = values.clip(test, 300), f"test {self.tests}"
        self.raised = self.compared = None
        self.write("start", test=self.current)
        self.lines.switch(self.context)

    def arm(self) -> None:
        """Give the test its share of the time that is left."""
        self.armed = True
        with contextlib.suppress(ValueError, OSError):
            signal.setitimer(signal.ITIMER_REAL, max(0.2, (self.until - time.monotonic()) / SHARE))

    def pause(self) -> None:
        """What runs now is not the test's doing."""
        self.armed = False
        self.lines.switch(BETWEEN if self.tests else "")

    def resume(self) -> None:
        """The test goes on."""
        self.lines.switch(self.context)

    def failed(self, error: BaseException, trace: Any) -> None:
        """Remember the first failure of the current test."""
        self.pause()
        if self.raised is not None:
            return
        frames = []
        while trace is not None:
            frames.append((trace.tb_frame, trace.tb_lineno))
            trace = trace.tb_next
        if isinstance(error, Hung):
            self._remember("timeout", "it did not end", frames)
        else:
            self._remember(type(error).__name__, values.message_of(error), frames)

    def _remember(self, error: str, message: str, frames: list[tuple[Any, int]]) -> None:
        self.raised = {
            "error": values.clip(error, values.CHARS),
            "message": message,
            "frames": values.told(frames),
            "compared": self.compared or values.compared(frames),
        }

    def end(self, outcome: str) -> None:
        """The current test is over."""
        self.pause()
        failing = outcome not in ("passed", "skipped")
        if self.current and self.is_mine and (failing or self.size < ROOM):
            raised = self.raised if failing and self.told < TOLD else None
            self.told += raised is not None
            if failing and (self.raised or {}).get("error") == "timeout":
                outcome = "hung"
            covers = self.covered(self.context)
            self.write("end", test=self.current, outcome=outcome, covers=covers, raised=raised)
        self.current = ""

    def finish(self) -> None:
        """The program ends by itself."""
        if not self.is_mine:
            return
        if not self.tests:
            self._whole("ended")
        self.write("done")
        self.closed = True

    def _whole(self, outcome: str) -> None:
        """The journal of a program without tests; the host knows its exit code."""
        self.write("end", test=PROGRAM, outcome=outcome, covers=self.covered(""), raised=self.raised)

    def stopped(self, outcome: str, frame: Any) -> None:
        """The process ends in the middle of it."""
        stack = []
        while frame is not None:
            stack.append((frame, frame.f_lineno))
            frame = frame.f_back
        self.pause()
        told = ("timeout", "it did not end") if outcome == "hung" else ("exit", "it ended the whole program")
        self._remember(*told, stack[::-1])
        if self.tests:
            self.end(outcome)
        else:
            self._whole(outcome)
        self.closed = True

    def _install(self) -> None:
        """Take the signals, and the door that no other exit passes."""
        with contextlib.suppress(ValueError):  # not the main thread
            before = signal.getsignal(signal.SIGINT)

            def interrupted(number: int, frame: Any) -> None:
                if self.is_mine:
                    self.stopped("hung", frame)
                if callable(before):
                    before(number, frame)

            signal.signal(signal.SIGINT, interrupted)
            signal.signal(signal.SIGALRM, self._alarmed)
        leave = os._exit

        def left(status: int) -> None:
            if self.is_mine:
                self.stopped("crashed", sys._getframe(1))
            leave(status)

        os._exit = left  # type: ignore[assignment]

    def _alarmed(self, _number: int, _frame: Any) -> None:
        if self.armed and self.is_mine:
            self.armed = False
            raise Hung("it did not end")
