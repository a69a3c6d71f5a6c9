"""Lessons: what ADI has learned from runs, each with the runs that speak for it and against it.

A lesson is data. It may be shown to the model, tried first, or left out; it never widens what a run may do
and never decides a verdict.
"""

from typing import Literal

from pydantic import Field, JsonValue

from memory.checks import Record

LessonKind = Literal["check", "fact", "fix", "preference", "pitfall"]
"""How the repository is tested; something true of it; an error and what mended it; what its user wants; what
was tried in vain."""
Scope = Literal["repository", "language", "everywhere"]
LessonStatus = Literal["trial", "active", "retired"]
Stance = Literal["for", "against"]
StoneKind = Literal["run", "lesson", "session", "repository", "author"]


class Evidence(Record):
    """What one run says about a lesson."""

    run_id: str
    """Empty where a person said it outside of any run."""
    stance: Stance
    why: str = ""
    """One sentence."""
    saved_tokens: int = 0
    """Tokens that the lesson saved in that run; 0 where nothing is known to compare with."""
    at: str = ""
    """UTC, ISO 8601 with milliseconds, as are all times here."""


class Draft(Record):
    """A lesson as a run proposes it, before the store knows whether it has it already."""

    kind: LessonKind
    scope: Scope = "repository"
    place: str = ""
    """Absolute path of the repository, or name of the language; empty for `everywhere`."""
    claim: str
    """One or two sentences, as a person and a model read it."""
    subject: str = ""
    """What recall matches exactly, such as an error signature or a path; empty where only words match."""
    words: str = ""
    """More words to find it by: names of functions, tests and files."""
    content: dict[str, JsonValue] = Field(default_factory=dict)
    """What code needs to use it; the keys belong to the kind (agent/distil.py)."""
    author: Literal["code", "model", "user"] = "code"


class Lesson(Draft):
    """A lesson in the store."""

    id: str
    status: LessonStatus = "trial"
    """`trial` until two runs support it; `retired` when more speaks against it than for it."""
    pinned: bool = False
    """Kept and used whatever the evidence says, because a person wants it."""
    supported: int = 0
    """Runs and sayings that speak for it."""
    contradicted: int = 0
    """Those that speak against it."""
    evidence: tuple[Evidence, ...] = ()
    """Oldest first; left out where many lessons are asked for at once."""
    uses: int = 0
    """Runs that it was given to."""
    created: str = ""
    changed: str = ""
    used: str = ""
    """Last use; empty when it was never used."""


class Recall(Record):
    """A lesson given to a run, and why it was chosen."""

    lesson_id: str
    kind: LessonKind
    claim: str
    why: str
    """Such as `same error signature` or `words: parser, quote`."""
    tokens: int = 0
    """Size of its text in the prompt; 0 when the model does not see it."""


class Survival(Record):
    """What became of a run's accepted lines, so many days after they were applied."""

    run_id: str
    days: int
    """1, 7 or 30: the age that had been reached."""
    kept: int
    """Lines that are still as they were accepted."""
    edited: int
    """Lines whose place holds another text now."""
    reverted: int
    """Lines that are gone, or whose place holds what stood there before the change."""
    at: str = ""


class Tombstone(Record):
    """That something was forgotten, without what it was."""

    id: str
    """Of a run, lesson or session; for a repository or an author a hash (memory/hidden.py)."""
    kind: StoneKind
    at: str
    reason: str = ""
    removed: dict[str, int] = Field(default_factory=dict)
    """What went with it, such as `{"event": 41, "lesson": 2}`."""
