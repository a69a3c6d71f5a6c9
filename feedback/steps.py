"""The steps of an export, one filter after another, each counted: what went in, what came out, and why."""

from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field

from feedback.candidate import Candidate, Filter


@dataclass(frozen=True, slots=True)
class Count:
    """What one step did."""

    name: str
    rows_in: int
    rows_out: int
    reasons: dict[str, int]
    """Reason -> runs dropped for it; adds up to `rows_in - rows_out`."""


@dataclass(slots=True)
class Steps:
    """Runs on their way through filters. A filter that names a run that it was not given is a defect."""

    left: list[Candidate]
    counts: list[Count] = field(default_factory=list)
    dropped: dict[str, tuple[str, str]] = field(default_factory=dict)
    """Run id -> the step that dropped it, and its reason."""
    say: Callable[[str], None] = lambda _: None

    def drop(self, name: str, rule: Filter) -> None:
        """Run one filter over what is left."""
        reasons = rule(self.left)
        known = {candidate.id for candidate in self.left}
        if strange := reasons.keys() - known:
            raise ValueError(f"step {name} drops what it was not given: {sorted(strange)[:3]}")
        told = dict(sorted(Counter(reasons.values()).items()))
        self.counts.append(Count(name, len(self.left), len(self.left) - len(reasons), told))
        self.dropped |= {run_id: (name, reason) for run_id, reason in reasons.items()}
        self.left = [candidate for candidate in self.left if candidate.id not in reasons]
        why = f" ({'; '.join(f'{reason} {number:,}' for reason, number in told.items())})" if told else ""
        self.say(f"{name}: {self.counts[-1].rows_in:,} in, {self.counts[-1].rows_out:,} out{why}")

    def change(self, change: Callable[[Candidate], Candidate]) -> None:
        """Put something else in place of each, such as its redacted form."""
        self.left = [change(candidate) for candidate in self.left]


def dropping(rule: Callable[[Candidate], str]) -> Filter:
    """A filter from a rule about single runs: the reason, or an empty text to keep it."""

    def drop(candidates: Sequence[Candidate]) -> dict[str, str]:
        told = ((candidate.id, rule(candidate)) for candidate in candidates)
        return {run_id: reason for run_id, reason in told if reason}

    return drop


def table(counts: Iterable[Count]) -> str:
    """The counts as lines of text, a reason a line."""
    lines = [f"{'step':24}{'in':>8}{'out':>8}"]
    for count in counts:
        lines.append(f"{count.name:24}{count.rows_in:>8,}{count.rows_out:>8,}")
        lines += [f"    {reason}: {number:,}" for reason, number in count.reasons.items()]
    return "\n".join(lines)
