"""What can go wrong at the boundary of the store.

StoreError
├── NotFound          no run of that id
├── Ambiguous         an id prefix that several runs share
├── LessonExists      another lesson says the same
├── RepoBusy          another live run holds the repository
├── LeaseLost         somebody else has the item of a backlog now
├── BacklogExists     another backlog has this name
├── BacklogClosed     the backlog, or the item, does not take this in its state
├── StoreUnavailable  the file or its directory cannot be opened
├── StoreReadOnly     it can be read, not written
├── StoreFull         no space left
├── StoreBusy         another process held the lock for too long
├── StoreCorrupt      not a database, or a damaged one
├── StoreReplaced     the file was deleted or replaced while it was open
├── StoreInUse        a process has the file open that is to be replaced
├── TargetExists      a backup would overwrite a file
├── SchemaTooNew      written by a newer ADI
└── Forked            used from a process other than the one that opened it
"""

DOCTOR = "adi doctor"
RESTORE = "adi memory restore FILE puts a backup in its place; without one: adi memory salvage"


class StoreError(Exception):
    """The store could not do what was asked. `hint` is the command that helps, or empty."""

    def __init__(self, message: str, hint: str = "") -> None:
        super().__init__(message)
        self.hint = hint


class NotFound(StoreError):
    """No run has this id, or no artifact this hash."""


class Ambiguous(StoreError):
    """Several runs or lessons match the short id; `matches` holds their full ids, newest first."""

    def __init__(
        self, prefix: str, matches: tuple[str, ...], what: str = "runs", hint: str = "adi log --all"
    ) -> None:
        super().__init__(f"{prefix!r} matches {len(matches)} {what}: {', '.join(matches[:5])}", hint)
        self.matches = matches


class LessonExists(StoreError):
    """Another lesson says the same thing."""


class RepoBusy(StoreError):
    """Another live run holds the repository; `run_id` and `pid` name it, and the machine if it is another."""

    def __init__(self, repo: str, run_id: str, pid: int, machine: str = "") -> None:
        where = f" on {machine}" if machine else ""
        super().__init__(f"run {run_id} (process {pid}{where}) is working on {repo}", f"adi show {run_id}")
        self.run_id = run_id
        self.pid = pid


class LeaseLost(StoreError):
    """The item was claimed by somebody else, or its result is known: whoever held it stops working on it."""


class BacklogExists(StoreError):
    """Another backlog has this name."""


class BacklogClosed(StoreError):
    """The backlog was cancelled, or an item is in a state in which it cannot be reopened."""


class StoreUnavailable(StoreError):
    """The file or its directory cannot be opened or made, or the disk fails."""


class StoreReadOnly(StoreError):
    """The file, its directory or its filesystem cannot be written."""


class StoreFull(StoreError):
    """The disk is full; what was acknowledged before is kept, and writing works once there is space."""


class StoreBusy(StoreError):
    """Another process held the lock longer than the busy timeout."""


class StoreCorrupt(StoreError):
    """The file is no database of ADI or is damaged; it is never overwritten."""


class StoreReplaced(StoreError):
    """The file was deleted or replaced while it was open; going on would write into the void."""


class StoreInUse(StoreError):
    """The file is to be replaced, and a process has it open or works on a run in it."""


class TargetExists(StoreError):
    """The file that a backup would be written to is there already."""


class SchemaTooNew(StoreError):
    """A newer ADI wrote the file or the event; this one refuses to touch it."""


class Forked(StoreError):
    """The store was opened by another process; a connection must not cross a fork."""
