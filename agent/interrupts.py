"""What Ctrl-C does, and what a request to end does: SIGINT, SIGTERM, SIGHUP.

The first one breaks the work off. Tidying up (a container to remove, the end of a run to record) follows;
it takes a second or so and must not itself be broken off half way, so a second signal is only noted: ADI
leaves as soon as it is tidy. A third Ctrl-C is not waited for: what then stays behind is removed at the next
start. A terminal that goes away sends several signals at once, so those never count as a third.
"""

import contextlib
import os
import signal
import sys
from types import FrameType

from agent.errors import Terminated

SHOW_CURSOR = "\x1b[?25h"


class Interrupts:
    """The signals of this process since its work was last at rest."""

    def __init__(self) -> None:
        self._count = 0

    def install(self) -> None:
        """Handle the signals, unless the parent had them ignored (nohup, a background job of a script)."""
        for number in (signal.SIGINT, signal.SIGTERM, getattr(signal, "SIGHUP", signal.SIGTERM)):
            if signal.getsignal(number) is not signal.SIG_IGN:
                signal.signal(number, self._arrived)
        if hasattr(signal, "SIGTSTP") and signal.getsignal(signal.SIGTSTP) is signal.SIG_DFL:
            signal.signal(signal.SIGTSTP, self._suspend)

    def at_rest(self) -> bool:
        """The work has stopped, so the next signal is a first one; True when a second asked to leave."""
        count, self._count = self._count, 0
        return count > 1

    def _arrived(self, number: int, _: FrameType | None) -> None:
        self._count += 1
        if self._count > 1 and not (number == signal.SIGINT and self._count > 2):
            return
        raise KeyboardInterrupt if number == signal.SIGINT else Terminated(number)

    def _suspend(self, number: int, _: FrameType | None) -> None:
        """Ctrl-Z: the shell gets its cursor back before the process stops."""
        if sys.stderr.isatty():
            with contextlib.suppress(OSError):
                os.write(sys.stderr.fileno(), SHOW_CURSOR.encode())
        signal.signal(number, signal.SIG_DFL)
        os.kill(os.getpid(), number)
        signal.signal(number, self._suspend)


INTERRUPTS = Interrupts()
"""Those of this process."""
