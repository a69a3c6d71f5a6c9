"""After a promotion: is the new model worse in real work? A test that may be looked at after every run.

An e-value is what a bet against "the new one is no worse" has made of 1: whoever rolls back once it reaches
LEAVE does so wrongly with a chance of 1 in LEAVE at most, however often it was looked at (Ville's inequality;
Ramdas et al. 2023, "Game-Theoretic Statistics and Safe Anytime-Valid Inference", arXiv:2210.01948). The bet
is a mixture over all ways to be worse, fixed before the first outcome. Pure functions.
"""

from collections.abc import Iterable, Sequence
from math import exp, log
from typing import Final, Literal

from scipy.special import betainc, betaln
from scipy.stats import beta

from memory.checks import Record

LEAVE: Final = 20.0
SURE: Final = 0.95
"""The old rate is taken as low as its outcomes allow at this level: chance in the past must not count
against the new model."""
FEWEST: Final = 10
"""Outcomes of the old model below which no rate of it is known."""
Advice = Literal["KEEP", "ROLL BACK"]


class Watch(Record):
    """What live outcomes say of the promoted model."""

    advice: Advice
    e: float
    """After the outcome that decided, else after the last."""
    outcomes: int
    """That were looked at."""
    accepted: int
    old_accepted: int
    old_outcomes: int
    against: float
    """The old model's share that the new one is held to; 0 where too little is known to hold it to any."""
    at: int
    """Number of the outcome, from 1, at which LEAVE was reached; 0 when it was not."""
    reason: str


def e_rate(accepted: int, rejected: int, share: float) -> float:
    """E-value against "accepted with a chance of at least `share`", uniform over all lower chances."""
    if not 0 < share < 1:
        return 1.0
    inside = float(betainc(accepted + 1, rejected + 1, share))
    if inside <= 0:
        return 0.0
    told = betaln(accepted + 1, rejected + 1) + log(inside) - log(share)
    return _exp(told - accepted * log(share) - rejected * log(1 - share))


def e_pairs(wins: int, losses: int) -> float:
    """E-value against "the new model loses no more than half of the tasks on which the two differ".

    For shadow runs of both on the same tasks; with the two exchanged it is the test for a promotion that may
    be looked at any time. Uniform over all greater shares of losses.
    """
    return e_rate(wins, losses, 0.5)


def low_share(accepted: int, outcomes: int) -> float:
    """The lowest rate that the old model's outcomes allow (Clopper, Pearson 1934); 0 of fewer than FEWEST."""
    if outcomes < FEWEST or not accepted:
        return 0.0
    return float(beta.ppf(1 - SURE, accepted, outcomes - accepted + 1))


def watch(old: tuple[int, int], outcomes: Iterable[bool]) -> Watch:
    """Hold the new model's outcomes, in their order, against the old one's (accepted, outcomes).

    It stops at the first that reaches LEAVE: what came later does not undo it.
    """
    share = low_share(*old)
    accepted, seen = 0, list(outcomes)
    for number, one in enumerate(seen, 1):
        accepted += one
        e = e_rate(accepted, number - accepted, share)
        if e >= LEAVE:
            return _told("ROLL BACK", e, number, accepted, old, share, number)
    e = e_rate(accepted, len(seen) - accepted, share)
    return _told("KEEP", e, len(seen), accepted, old, share, 0)


def watch_pairs(pairs: Sequence[tuple[bool, bool]]) -> Watch:
    """The same for shadow runs: (old solved, new solved) of each task, in their order."""
    flips = [new for old, new in pairs if old != new]
    wins = 0
    for number, won in enumerate(flips, 1):
        wins += won
        e = e_pairs(wins, number - wins)
        if e >= LEAVE:
            return _told("ROLL BACK", e, number, wins, (0, 0), 0.5, number)
    return _told("KEEP", e_pairs(wins, len(flips) - wins), len(flips), wins, (0, 0), 0.5, 0)


def _told(
    advice: Advice, e: float, outcomes: int, accepted: int, old: tuple[int, int], share: float, at: int
) -> Watch:
    if not share:
        reason = (
            f"the old model has {old[1]} outcomes, {old[0]} accepted: too few to hold the new one to a rate"
        )
    else:
        sign = "at least" if at else "below"
        reason = f"{accepted} of {outcomes} against a share of {share:.1%}: e {e:.3g}, {sign} {LEAVE:g}"
    return Watch(
        advice=advice,
        e=e,
        outcomes=outcomes,
        accepted=accepted,
        old_accepted=old[0],
        old_outcomes=old[1],
        against=share,
        at=at,
        reason=reason,
    )


def _exp(value: float) -> float:
    return exp(min(value, 700.0))
