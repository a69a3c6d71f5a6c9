"""One command in the sandbox: how it is started, and what it printed until it ended."""

import time
from collections.abc import Callable

from sandbox import counters
from sandbox.container import WORK, Ended
from sandbox.counters import Counters, Usage
from sandbox.output import HeadTail
from sandbox.prepared import SEARCH_PATH
from sandbox.protocol import ExecResult, ExecStatus, SandboxLimits
from sandbox.stream import STDOUT

# Runs the command with stdout and stderr on one pipe, so their order is kept; then kills what it left behind,
# so that nobody holds the pipe. Only the command itself finds the programs of prepared packages: a stranger
# wrote them, and one may be called `stat` or `tar`.
WRAPPER = f"""{counters.BEFORE}
if [ ! -x {WORK} ] || [ ! -r {WORK} ] || [ ! -w {WORK} ]; then
    chmod 755 {WORK}; cd {WORK}; echo "[an earlier command locked {WORK}; its rights were restored]"
fi
shell=/bin/sh; [ -x /bin/bash ] && shell=/bin/bash
found={SEARCH_PATH}:$PATH
if [ "$2" = input ]; then PATH=$found $shell -c "$1" 2>&1; else PATH=$found $shell -c "$1" 2>&1 </dev/null; fi
status=$?
{counters.USED}kill -9 -1
exit $status
"""


class Command:
    """Output of one running command, and what its wrapper told before it."""

    def __init__(self, limits: SandboxLimits, on_output: Callable[[bytes], None] | None) -> None:
        self.output = HeadTail(limits.output_bytes)
        self.failure: BaseException | None = None
        self._stop_bytes = limits.output_stop_bytes
        self._on_output = on_output
        self._told = bytearray()
        self._began = time.monotonic()
        self._took = 0.0

    def take(self, kind: int, data: bytes) -> None:
        if kind != STDOUT:
            self._told += data[: max(0, 4096 - len(self._told))]
            return
        self.output.feed(data)
        if self._on_output is not None and self.failure is None:
            try:
                self._on_output(data)
            except Exception as error:  # noqa: BLE001 - raised again once the command is dead
                self.failure = error

    def ended(self) -> None:
        """The command is over, or its time is; what follows is not its own."""
        self._took = time.monotonic() - self._began

    @property
    def over_cap(self) -> bool:
        return self.output.total > self._stop_bytes

    def must_stop(self) -> bool:
        return self.over_cap or self.failure is not None

    @property
    def before(self) -> Counters:
        """What was counted before the command began."""
        return Counters.read(bytes(self._told))

    def result(self, status: ExecStatus, ended: Ended, detail: str) -> ExecResult:
        return ExecResult(
            status,
            ended.exit_code,
            self.output.bytes(),
            self.output.truncated,
            self._took or time.monotonic() - self._began,
            detail,
            Usage.read(bytes(self._told)),
        )
