"""What running failing tests showed: the lines each test ran, and the values where one raised.

Everything here came out of the sandbox: the code under test can forge it. It may rank and explain, it never
decides: the verdict (feedback/verdict.py) does not read it.
"""

from typing import Annotated, Literal

from pydantic import Field, model_validator

from memory.checks import Record

MAX_LINE = 200_000
"""No source file has more lines."""
Line = Annotated[int, Field(ge=1, le=MAX_LINE)]
Text = Annotated[str, Field(max_length=2_000)]
Outcome = Literal["passed", "failed", "hung", "crashed", "skipped"]
FAILING: frozenset[Outcome] = frozenset({"failed", "hung", "crashed"})


class Cover(Record):
    """Lines of one file that a test ran, or several tests alike."""

    path: Text
    """Relative to the repository root."""
    ranges: tuple[tuple[Line, Line], ...]
    """First and last line of each run of lines, ascending and apart."""

    @model_validator(mode="after")
    def _ascending(self) -> "Cover":
        flat = [line for pair in self.ranges for line in pair]
        if any(first > last for first, last in self.ranges) or flat != sorted(flat):
            raise ValueError("ranges must ascend")
        return self

    def lines(self) -> set[int]:
        """All of them."""
        return {line for first, last in self.ranges for line in range(first, last + 1)}


class Seen(Record):
    """One stack frame inside the repository, with what its names held."""

    path: Text
    line: Line
    function: Text
    values: Annotated[tuple[tuple[Text, Text], ...], Field(max_length=12)] = ()
    """Name and cut `repr`, in the order in which the function bound them."""


class Raised(Record):
    """How one test failed."""

    error: Text
    """Name of the exception's type, or `timeout`."""
    message: Text = ""
    frames: Annotated[tuple[Seen, ...], Field(max_length=10)] = ()
    """Innermost last."""
    compared: tuple[Text, Text, Text] | None = None
    """The failed comparison, where the runner told it: left value, operator, right value."""


class ObservedTest(Record):
    """One test that ran; a program without tests is one."""

    test: Text
    """As its runner names it."""
    outcome: Outcome
    covers: tuple[int, ...] = ()
    """Places in RuntimeEvidence.covers."""
    raised: Raised | None = None
    """None for a test that passed, and for one beyond the first failing ones."""


BOUND = 200_000
"""Characters of evidence that is kept of one run."""


class RuntimeEvidence(Record):
    """One run of one check, watched."""

    check: str
    """Name of the Check."""
    tests: tuple[ObservedTest, ...]
    covers: tuple[Cover, ...] = ()
    imported: tuple[int, ...] = ()
    """Covers of what ran before the first test: definitions and constants."""
    complete: bool
    """False when the run was ended from outside, or by the program itself."""
    traced: bool
    """False when the sandbox has no coverage library: there are frames, and no lines."""
    duration_s: float

    @property
    def failing(self) -> tuple[ObservedTest, ...]:
        """Tests that did not pass, in their order."""
        return tuple(test for test in self.tests if test.outcome in FAILING)

    def beside(self, other: "RuntimeEvidence") -> "RuntimeEvidence":
        """This, with the tests that passed in a run of another check to compare the failing ones with."""
        count = len(self.covers)
        passed = tuple(
            test.model_copy(update={"covers": tuple(count + index for index in test.covers)})
            for test in other.tests
            if test.outcome == "passed"
        )
        return self.model_copy(
            update={
                "tests": (*self.tests, *passed),
                "covers": (*self.covers, *other.covers),
                "duration_s": self.duration_s + other.duration_s,
            }
        )

    def covered(self, test: ObservedTest, path: str) -> set[int]:
        """Lines of a file that the test ran."""
        covers = (self.covers[index] for index in test.covers)
        return {line for cover in covers if cover.path == path for line in cover.lines()}


def bounded(evidence: RuntimeEvidence, limit: int = BOUND) -> RuntimeEvidence:
    """The evidence within `limit` characters of JSON: passing tests go first, then lines, then values."""
    failing = {"tests": evidence.failing}
    bare = tuple(test.model_copy(update={"covers": ()}) for test in evidence.failing[:20])
    dumb = tuple(test.model_copy(update={"raised": None}) for test in bare)
    for change in (
        {},
        failing,
        {"tests": bare, "covers": (), "imported": ()},
        {"tests": dumb, "covers": (), "imported": ()},
    ):
        smaller = evidence.model_copy(update=change)
        if len(smaller.model_dump_json()) <= limit:
            return smaller
    return evidence.model_copy(update={"tests": (), "covers": (), "imported": ()})
