"""What the parts of an export say about one run: its label, its licence, whether it may be used.

A filter is a function from candidates to the ids of the runs that it drops, each with the reason; the
export counts them (feedback/export.py). Everything here is data.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

from pydantic import Field

from feedback.harvest import Harvest
from memory.checks import Record

Grade = Literal["gold", "silver", "negative", "none"]


class Flag(Record):
    """A sign that a result was reached by cheating."""

    rule: str
    """Name of the rule, such as `assert-weakened`."""
    where: str
    """Such as `tests/test_gcd.py` or `step 3`."""
    evidence: str = ""
    """The line that shows it, at most 200 characters."""


class Label(Record):
    """How good a run was, and who says so."""

    grade: Grade
    """`none` where nobody and nothing judged it."""
    why: str
    """One sentence."""
    flags: tuple[Flag, ...] = ()
    reward: float | None = None
    """From -1 to 1, put together of the components; None where none is known."""
    components: dict[str, float] = Field(default_factory=dict)
    """By source: `tests` 0 to 1, `human` -1 to 1, `survival` 0 to 1; a source that said nothing is absent."""


class Licence(Record):
    """The licence that a run's repository is under."""

    spdx: str = ""
    """SPDX expression; empty when it is not known."""
    source: Literal["manifest", "file", "header", "declared", "unknown"] = "unknown"
    """`declared`: its owner said so with their consent."""
    permissive: bool = False


class Permission(Record):
    """Whether a run may become training data."""

    status: Literal["granted", "refused", "unasked"] = "unasked"
    """Only what is granted is exported."""
    scope: Literal["user", "repository", "session", "record", ""] = ""
    """The narrowest that decided; a refusal at any scope outweighs every grant."""
    by: str = ""
    at: str = ""
    policy_version: int = 1


@dataclass(frozen=True)
class Candidate:
    """A run on its way into a data set."""

    harvest: Harvest
    label: Label
    targets: Mapping[int, str] = field(default_factory=dict)
    """Event number of each completion -> why it is context only; empty where it is a target of training."""
    licence: Licence = field(default_factory=Licence)
    permission: Permission = field(default_factory=Permission)

    @property
    def id(self) -> str:
        return self.harvest.run_id


Filter = Callable[[Sequence[Candidate]], dict[str, str]]
"""From candidates to what is dropped: run id -> reason, a short phrase that is the same for all of a kind."""
