"""What can fail at ADI's own boundary, and how every failure is shown and turned into an exit code.

Other parts name their own errors (memory.errors, sandbox.errors, model.errors). They are recognised
here by their qualified names, so that showing an error imports nothing.
"""

import errno
import signal
import traceback
from collections.abc import Iterator
from pathlib import Path
from time import strftime
from typing import Final

from agent.inert import inert, inert_line

ACCEPTED: Final = 0
UNEXPECTED: Final = 1
USAGE: Final = 2
NEEDS_PERSON: Final = 4
BUDGET: Final = 5
ENVIRONMENT: Final = 6


class AdiError(Exception):
    """A failure that a person can act on."""

    exit_code: int = UNEXPECTED

    def __init__(self, message: str, hint: str = "", exit_code: int | None = None) -> None:
        super().__init__(message)
        self.hint = hint
        if exit_code is not None:
            self.exit_code = exit_code


class UsageError(AdiError):
    """The command line, the settings or the repository is not what the command needs."""

    exit_code = USAGE


class EnvironmentMissing(AdiError):
    """Something outside ADI is missing: Docker, a model, disk space, a terminal."""

    exit_code = ENVIRONMENT


class Terminated(KeyboardInterrupt):
    """SIGTERM or SIGHUP arrived; unwinds like Ctrl-C, so that everything is closed on the way out."""

    def __init__(self, signal_number: int) -> None:
        super().__init__(signal.Signals(signal_number).name)
        self.exit_code = 128 + signal_number


EXIT_CODES: Final[dict[str, int]] = {
    "feedback.errors.DataError": USAGE,
    "memory.errors.Ambiguous": USAGE,
    "memory.errors.NotFound": USAGE,
    "memory.errors.RepoBusy": NEEDS_PERSON,
    "memory.errors.SchemaTooNew": ENVIRONMENT,
    "memory.errors.StoreFull": ENVIRONMENT,
    "memory.errors.StoreInUse": NEEDS_PERSON,
    "memory.errors.StoreReadOnly": ENVIRONMENT,
    "memory.errors.StoreUnavailable": ENVIRONMENT,
    "memory.errors.TargetExists": USAGE,
    "model.errors.AdapterRefused": USAGE,
    "model.errors.ModelError": ENVIRONMENT,
    "model.errors.PromptTooLong": USAGE,
    "model.errors.RequestRefused": UNEXPECTED,
    "model.errors.UnknownAdapter": USAGE,
    "model.errors.UnknownModel": USAGE,
    "model.gate_wear.Worn": USAGE,
    "model.train_errors.OutputExists": USAGE,
    "model.train_errors.RowsRefused": USAGE,
    "sandbox.errors.Conflict": NEEDS_PERSON,
    "sandbox.errors.DependenciesRefused": USAGE,
    "sandbox.errors.DiskFull": ENVIRONMENT,
    "sandbox.errors.DockerMissing": ENVIRONMENT,
    "sandbox.errors.ImageMissing": ENVIRONMENT,
    "sandbox.errors.IsolationMissing": ENVIRONMENT,
    "sandbox.errors.NotARepository": USAGE,
    "sandbox.errors.PrepareFailed": ENVIRONMENT,
    "sandbox.errors.RegistryRefused": USAGE,
    "sandbox.errors.RepositoryState": USAGE,
    "sandbox.errors.SandboxLost": ENVIRONMENT,
    "sandbox.errors.WeakerThanAsked": ENVIRONMENT,
}
"""Exit code of errors that other parts raise, by qualified class name; the nearest base decides."""

BASES: Final = (
    "feedback.errors.DataError",
    "memory.errors.StoreError",
    "sandbox.errors.SandboxError",
    "model.errors.ModelError",
)
"""Base classes of the other parts' errors: expected failures, shown without a traceback."""

DISK_ERRNOS: Final = frozenset({errno.ENOSPC, errno.EDQUOT})


def names_of(exception: BaseException) -> Iterator[str]:
    """Qualified names of the exception's class and its bases, nearest first."""
    return (f"{cls.__module__}.{cls.__qualname__}" for cls in type(exception).__mro__)


def exit_code_of(exception: BaseException) -> int:
    """The process exit code that says what kind of failure this is (DESIGN section 6)."""
    if isinstance(exception, AdiError | Terminated):
        return exception.exit_code
    if isinstance(exception, KeyboardInterrupt):
        return 128 + signal.SIGINT
    if isinstance(exception, SystemExit):
        return exception.code if isinstance(exception.code, int) else int(exception.code is not None)
    if isinstance(exception, OSError) and exception.errno in DISK_ERRNOS:
        return ENVIRONMENT
    return next((EXIT_CODES[name] for name in names_of(exception) if name in EXIT_CODES), UNEXPECTED)


def expected(exception: BaseException) -> bool:
    """True when the error was raised on purpose, by us, for a person to read."""
    if isinstance(exception, AdiError | KeyboardInterrupt):
        return True
    if isinstance(exception, OSError) and exception.errno in DISK_ERRNOS:
        return True
    return any(name in BASES for name in names_of(exception))


def render(exception: BaseException, log: Path | None = None) -> list[str]:
    """The lines to print: what failed, why, and what helps. Free of terminal control characters.

    `log` is where the traceback of an unexpected error was saved.
    """
    if isinstance(exception, KeyboardInterrupt):
        return [f"interrupted by {str(exception) or 'Ctrl-C'}"]
    lines = [f"error: {sentence(exception)}"]
    lines += [f"caused by: {sentence(cause)}" for cause in causes(exception)]
    hint = getattr(exception, "hint", "")
    if hint:
        lines.append(f"hint: {inert_line(hint)}")
    elif not expected(exception):
        where = f"the traceback is in {log}; " if log else ""
        lines.append(f"hint: {where}run again with --debug to see it here")
    return lines


def sentence(exception: BaseException) -> str:
    """One line for one exception; the class is named when the message was not written for people."""
    text = inert_line(str(exception).strip())
    if expected(exception):
        return text or type(exception).__name__
    name = type(exception).__name__
    return f"{name}: {text}" if text else name


def causes(exception: BaseException) -> Iterator[BaseException]:
    """The chain behind an exception, outermost first, each once."""
    seen = {id(exception)}
    cause = _behind(exception)
    while cause is not None and id(cause) not in seen:
        seen.add(id(cause))
        yield cause
        cause = _behind(cause)


def _behind(exception: BaseException) -> BaseException | None:
    if exception.__cause__ is not None or exception.__suppress_context__:
        return exception.__cause__
    return None if expected(exception) else exception.__context__


def save_traceback(exception: BaseException, folder: Path) -> Path | None:
    """Keep the traceback of an unexpected error for a report; None when it cannot be written."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        path = folder / f"error-{strftime('%Y%m%d-%H%M%S')}.txt"
        path.write_text(inert("".join(traceback.format_exception(exception))), encoding="utf-8")
    except OSError:
        return None
    return path
