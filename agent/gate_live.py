"""What became of real work with the promoted model, read from the memory: keep it, or roll it back.

An outcome is a person's last word on a result (accepted, with or without edits; rejected; taken back), and
where there was none how the run ended: accepted by its evidence, or not. Runs that the environment ended,
that wait for a review, and those on tasks of a suite or of a program are no outcomes.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

from feedback.harvest import Harvest
from memory.ended import ended
from memory.records import Stop
from memory.store import Store
from model.gate_live import Watch, watch

MOST: Final = 400
"""Newest runs that are looked at, some milliseconds each, when a run begins."""
GOOD: Final = frozenset({"accepted", "edited"})
BAD: Final = frozenset({"rejected", "undone"})
LOST: Final = frozenset({Stop.REJECTED, Stop.FAILED, Stop.STUCK, Stop.BUDGET})
"""Ends without acceptance that are the model's."""


@dataclass(frozen=True, slots=True)
class Lived:
    """One run of real work and what became of it."""

    run_id: str
    began: str
    """UTC, ISO 8601."""
    model: str
    """As its server named it in the first answer, adapter included."""
    good: bool


def lived(store: Store) -> Iterator[Lived]:
    """Outcomes of the newest runs, oldest first; some have none."""
    for run_id, _, _ in ended(store)[-MOST:]:
        run = Harvest(run_id, "", tuple(store.events(run_id)))
        good = outcome(run)
        origin = run.started.origin
        if good is not None and run.calls and not (origin.synthetic or origin.task):
            yield Lived(run_id, run.created_at, run.calls[0].completion.model, good)


def outcome(run: Harvest) -> bool | None:
    """Whether its result was wanted; None where nobody and nothing says so."""
    if run.human in GOOD or run.human in BAD:
        return run.human in GOOD
    if run.stop == Stop.ACCEPTED:
        return True
    return False if run.stop in LOST else None


def watched(store: Store, old: str, new: str, promoted: str = "") -> Watch:
    """Hold what the model `new` did since it was promoted (UTC, ISO 8601) against what `old` did.

    Both are names as their server tells them. The caller rolls back (model/adapter_store.py).
    """
    outcomes = [*lived(store)]
    before = [one.good for one in outcomes if one.model == old]
    after = [one.good for one in outcomes if one.model == new and one.began >= promoted]
    return watch((sum(before), len(before)), after)
