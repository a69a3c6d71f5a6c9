"""How commands, checks and runs end: the words that the records of memory/records.py are built from."""

from enum import StrEnum
from typing import Literal

from pydantic import BaseModel, ConfigDict


class Record(BaseModel):
    """Base of all records: immutable, and an unknown field is an error."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class Status(StrEnum):
    """How one command in the sandbox ended; every run has exactly one."""

    OK = "ok"
    NONZERO = "nonzero"
    TIMEOUT = "timeout"
    OOM = "oom"
    OUTPUT_CAP = "output-cap"
    DISK_FULL = "disk-full"
    SANDBOX_LOST = "sandbox-lost"
    REFUSED = "refused"


class Stop(StrEnum):
    """Why a run ended."""

    ACCEPTED = "accepted"  # the verdict holds and the change was applied
    REJECTED = "rejected"  # a person said no
    PENDING = "pending"  # the result waits for `adi review`
    FAILED = "failed"  # finished, but the checks do not pass
    NOTHING_TO_DO = "nothing-to-do"  # no change was made or needed
    STUCK = "stuck"  # a stop rule ended it: malformed or repeated actions
    BUDGET = "budget"  # steps, tokens or time are spent
    CONFLICT = "conflict"  # the user's tree changed meanwhile; the patch is kept
    ENVIRONMENT = "environment"  # Docker, model or disk went missing
    INTERRUPTED = "interrupted"  # SIGINT, SIGTERM or SIGHUP
    KILLED = "killed"  # its process died without a word, found at the next start
    ERROR = "error"  # unexpected failure, named by its boundary


class Limits(Record):
    """What one run may spend. 0 means no limit."""

    steps: int = 24
    """Actions of the model in the action loop."""
    wall_s: float = 600.0
    """Wall time of the whole run, in seconds, a person's thinking time not counted."""
    completion_tokens: int = 12_000
    """Tokens the model may write."""
    check_s: float = 60.0
    """Wall time of one command in the sandbox, in seconds."""


class Check(Record):
    """A command that proves something about the work copy: exit code 0 means it holds."""

    name: str
    """Short unique name within the task, such as `pytest`."""
    command: str
    """Shell command, run at the root of the work copy."""
    kind: Literal[
        "pytest", "unittest", "npm", "go", "cargo", "ctest", "junit", "phpunit", "tap", "make", "command"
    ] = "command"
    """Decides how its output is read."""
    files: dict[str, str] = {}
    """Support files, path to text: in the sandbox while the command runs, never part of a change."""
    origin: Literal["given", "found", "examples", "written"] = "found"
    """Who says what is right: the person, the repository, examples in the task's text, or a model."""


class Frame(Record):
    """One stack frame of a failure, innermost last."""

    path: str
    """Relative to the repository root."""
    line: int
    """1-based."""
    function: str = ""


class Failure(Record):
    """One failing test, read out of a check's output."""

    test: str
    """Test id as its runner names it."""
    error: str = ""
    """Exception type, or `timeout`."""
    message: str = ""
    source: str = ""
    """The source line of the test that failed, when the runner showed it."""
    frames: tuple[Frame, ...] = ()
    """Frames inside the repository only."""


class CheckResult(Record):
    """What running one check gave."""

    check: str
    """Name of the Check."""
    status: Status
    exit_code: int | None = None
    """None when the command did not end by itself."""
    passed: bool
    tests_passed: int = 0
    tests_failed: int = 0
    failures: tuple[Failure, ...] = ()
    output: str = ""
    """Merged stdout and stderr, head and tail kept when cut."""
    detail: str = ""
    """What stopped the command and what helps; empty when it ended by itself."""
    duration_s: float = 0.0
    cpu_s: float = 0.0
    """Processor seconds of the command; 0 where that is not known."""
    peak_bytes: int = 0
    """Most memory that its container has held until then; 0 where that is not known."""
