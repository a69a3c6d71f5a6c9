"""Is the new model better than the old one on the same tasks? Exact where it can be, and it says how sure.

A task is solved or not, K times by each of the two with the same seeds. What is tested is the mean over the
tasks of the difference between their shares. Signs of the differences are exchanged, in all ways at once, by
dynamic programming (Pagano and Tritchler 1983, "On Obtaining Permutation Distributions in Polynomial Time"),
so p is exact for any number of tasks; with K = 1 it is McNemar's exact test. Tasks of one repository resemble
each other, so where there are enough repositories the signs of whole repositories are exchanged (Miller 2024,
"Adding Error Bars to Evals", arXiv:2411.00640). Pure functions.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from math import sqrt
from typing import Final, Literal

import numpy as np
from scipy.stats import t as student

from memory.checks import Record
from model.errors import ModelError

REPOSITORIES: Final = 8
"""With fewer the unit is the task, and the finding holds for these repositories only: signs of 5 repositories
can give no p below 1/32, whatever happens."""
Unit = Literal["task", "repository"]


@dataclass(frozen=True, slots=True)
class Pair:
    """One task as both models did it."""

    task: str
    repository: str
    """Tasks of one repository are one cluster; a task that stands alone has a name of its own here."""
    old: tuple[bool, ...]
    """Solved or not, a seed each, in the same order for both."""
    new: tuple[bool, ...]

    @property
    def difference(self) -> int:
        """Times that the new one solved it more often."""
        return sum(self.new) - sum(self.old)


class Finding(Record):
    """What the tasks say. Shares are from 0 to 1, differences are new minus old."""

    tasks: int
    samples: int
    """Of each task and model."""
    repositories: int
    unit: Unit
    """What is taken for independent."""
    old_solved: int
    """Of tasks times samples."""
    new_solved: int
    wins: int
    """Tasks that the new model solved more often."""
    losses: int
    ties: int
    difference: float
    low: float
    """95% interval of the difference, each end within -1 and 1."""
    high: float
    bound: float
    """One-sided 95% bound from below: not worse than this."""
    p_better: float
    """One-sided and exact: how often a model that is the same does at least as well."""
    p_worse: float
    error: float
    """Standard error of the difference, never 0."""

    @property
    def old_share(self) -> float:
        return self.old_solved / (self.tasks * self.samples)

    @property
    def new_share(self) -> float:
        return self.new_solved / (self.tasks * self.samples)


def find(pairs: Sequence[Pair]) -> Finding:
    """Compare the two on all tasks. Raises ModelError unless all have the same number of samples of both."""
    samples = check(pairs)
    unit = unit_of(pairs)
    sums, sizes = clustered(pairs, unit)
    error, freedom = spread(sums, sizes, samples)
    difference = sum(sums) / (samples * len(pairs))
    centre = sum(sums) / (samples * (len(pairs) + 2))
    wide, narrow = (float(student.ppf(level, freedom)) * error for level in (0.975, 0.95))
    better, worse = sign_flip(sums)
    return Finding(
        tasks=len(pairs),
        samples=samples,
        repositories=len({pair.repository for pair in pairs}),
        unit=unit,
        old_solved=sum(sum(pair.old) for pair in pairs),
        new_solved=sum(sum(pair.new) for pair in pairs),
        wins=sum(pair.difference > 0 for pair in pairs),
        losses=sum(pair.difference < 0 for pair in pairs),
        ties=sum(pair.difference == 0 for pair in pairs),
        difference=difference,
        low=max(-1.0, min(difference, centre - wide)),
        high=min(1.0, max(difference, centre + wide)),
        bound=max(-1.0, min(difference, centre - narrow)),
        p_better=better,
        p_worse=worse,
        error=error,
    )


def check(pairs: Sequence[Pair]) -> int:
    """Samples of each task and model. Raises ModelError where they differ, or where there is no task."""
    counts = {len(pair.old) for pair in pairs} | {len(pair.new) for pair in pairs}
    if len(counts) != 1 or 0 in counts:
        raise ModelError(
            "old and new are compared on the same tasks and seeds only: "
            + (f"here some have {' and some '.join(map(str, sorted(counts)))} samples" if counts else "none")
        )
    names = [pair.task for pair in pairs]
    if len(set(names)) != len(names):
        raise ModelError(f"the task {next(n for n in names if names.count(n) > 1)} stands there twice")
    return counts.pop()


def unit_of(pairs: Sequence[Pair]) -> Unit:
    """Chosen by the number of repositories, before anything is looked at."""
    repositories = len({pair.repository for pair in pairs})
    return "repository" if REPOSITORIES <= repositories < len(pairs) else "task"


def clustered(pairs: Sequence[Pair], unit: Unit) -> tuple[list[int], list[int]]:
    """Differences added up by unit, and the tasks of each."""
    if unit == "task":
        return [pair.difference for pair in pairs], [1] * len(pairs)
    sums, sizes = dict[str, int](), dict[str, int]()
    for pair in pairs:
        sums[pair.repository] = sums.get(pair.repository, 0) + pair.difference
        sizes[pair.repository] = sizes.get(pair.repository, 0) + 1
    return [*sums.values()], [*sizes.values()]


def sign_flip(sums: Sequence[int]) -> tuple[float, float]:
    """Exact one-sided p of the sum and of its negative, where each sign is a fair coin's."""
    chances = np.ones(1)
    for size in filter(None, map(abs, sums)):
        wider = np.zeros(len(chances) + 2 * size)
        wider[: len(chances)] += chances / 2
        wider[2 * size :] += chances / 2
        chances = wider
    middle, seen = len(chances) // 2, sum(sums)
    better = float(chances[middle + seen :].sum())
    worse = float(chances[: middle + seen + 1].sum())
    return min(1.0, better), min(1.0, worse)


def spread(sums: Sequence[int], sizes: Sequence[int], samples: int) -> tuple[float, int]:
    """Standard error of the mean difference a task, and its degrees of freedom.

    Two tasks are added, one flip each way, as Agresti and Min do (2005, "Simple improved confidence intervals
    for comparing matched proportions"): 20 tasks without a flip do not prove that two models are the same.
    """
    parts = np.array([*sums, samples, -samples]) / samples
    counts = np.array([*sizes, 1, 1])
    tasks, units = int(counts.sum()), len(counts)
    left = parts - parts.sum() / tasks * counts
    variance = units / (units - 1) * float((left**2).sum()) / tasks**2
    return sqrt(variance), units - 1
