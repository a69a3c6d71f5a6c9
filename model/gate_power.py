"""What a gate could have seen: the least true gain that it finds four times in five, and the tasks it needs.

For one sample of each task the power is that of the exact test; otherwise it is the normal approximation from
the spread that was seen (Connor 1987, "Sample Size for Testing Differences in Proportions for the
Paired-Sample Design", with the mean square of a task's difference in place of the share of discordant
tasks).
"""

from math import ceil, sqrt
from typing import Final

import numpy as np
from scipy.stats import binom, norm

from memory.checks import Record
from model.gate import REPOSITORIES, Finding

POWER: Final = 0.8
STATED: Final = 0.05
"""A gain that is worth a promotion: the tasks that would show it are told beside the verdict."""
MOST: Final = 1_000_000


class Reach(Record):
    """What these tasks could show, and how many would show more."""

    smallest: float | None
    """The least true gain that is found with POWER; None where no gain would be."""
    stated: float
    for_stated: int | None
    """Tasks, of as many samples, that show the stated gain with POWER; None where MOST are too few."""
    for_seen: int | None
    """The same for the gain that was seen; None where there was none."""


def reach(finding: Finding, alpha: float, *, power: float = POWER, stated: float = STATED) -> Reach:
    """For a test at a one-sided level `alpha`."""
    seen = finding.difference
    return Reach(
        smallest=smallest(finding, alpha, power),
        stated=stated,
        for_stated=needed(finding, stated, alpha, power),
        for_seen=needed(finding, seen, alpha, power) if seen > 0 else None,
    )


def smallest(finding: Finding, alpha: float, power: float = POWER) -> float | None:
    """The least true gain that would be found, None where not even the greatest would."""
    units = finding.repositories if finding.unit == "repository" else finding.tasks
    if alpha <= 0 or 0.5**units > alpha:
        return None

    def found(gain: float) -> bool:
        if finding.samples == 1 and finding.unit == "task":
            flips = (finding.wins + finding.losses + 2) / (finding.tasks + 2)
            return exact_power(finding.tasks, flips, gain, alpha) >= power
        return finding.tasks >= _tasks(_square(finding), gain, alpha, power)

    low, high = 0.0, 1.0
    if not found(high):
        return None
    while high - low > 1e-3:
        middle = (low + high) / 2
        low, high = (low, middle) if found(middle) else (middle, high)
    return high


def needed(finding: Finding, gain: float, alpha: float, power: float = POWER) -> int | None:
    """Tasks of the same kind and samples that would show this gain, None where that is no number to wait for.

    Where whole repositories are the unit, it is meant with as many tasks in each as here.
    """
    if gain <= 0 or alpha <= 0:
        return None
    tasks = ceil(_tasks(_square(finding), gain, alpha, power))
    if finding.unit == "repository":
        each = finding.tasks / finding.repositories
        tasks = max(tasks, ceil(each * max(REPOSITORIES, ceil(-np.log2(alpha)))))
    return tasks if tasks <= MOST else None


def exact_power(tasks: int, flips: float, gain: float, alpha: float) -> float:
    """Power of McNemar's one-sided exact test where the share `flips` of tasks differs between the two."""
    flips = min(1.0, max(flips, gain))
    counts = np.arange(tasks + 1)
    least = binom.isf(alpha, counts, 0.5) + 1  # wins among so many flips that are beyond chance
    return float((binom.pmf(counts, tasks, flips) * binom.sf(least - 1, counts, _half(flips, gain))).sum())


def _half(flips: float, gain: float) -> float:
    """The chance that a flip is a win."""
    return min(1.0, (flips + gain) / (2 * flips)) if flips else 0.5


def _square(finding: Finding) -> float:
    """Mean square of the difference of a task, made larger by what its repository's other tasks share."""
    size = finding.tasks + 2
    centre = finding.difference * finding.tasks / size
    return size * finding.error**2 + centre**2


def _tasks(square: float, gain: float, alpha: float, power: float) -> float:
    square = max(square, gain)  # a gain of 10 points needs that one task in ten flips
    width = norm.isf(alpha) * sqrt(square) + norm.ppf(power) * sqrt(max(0.0, square - gain**2))
    return float((width / gain) ** 2)
