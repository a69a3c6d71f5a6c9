"""Simulated gates: tasks with a chance of being solved, models that move it, shares of the verdicts."""

import random
from collections import Counter
from collections.abc import Callable, Sequence

from model.gate import Pair, find
from model.gate_guards import Guard
from model.gate_verdict import Decision, Terms, decide, verdict_of
from model.gate_wear import alpha_of

HELD = Guard(name="all", verdict="held", value=0.0, bound=0.0, detail="simulated")


def chances(dice: random.Random, tasks: int, flips: float) -> list[float]:
    """How often the old model solves each task: two independent runs differ on the share `flips` of them.

    Twice as many are a coin's throw, and half of the others are always solved.
    """
    coins = round(2 * flips * tasks)
    rest = [float(dice.random() < 0.5) for _ in range(tasks - coins)]
    return rest + [0.5] * coins


def pairs(
    dice: random.Random,
    old: Sequence[float],
    new: Sequence[float],
    samples: int,
    repositories: int = 0,
) -> list[Pair]:
    """Drawn outcomes of both; 0 repositories: each task is its own."""
    return [
        Pair(
            task=str(number),
            repository=str(number % repositories if repositories else number),
            old=tuple(dice.random() < one for _ in range(samples)),
            new=tuple(dice.random() < other for _ in range(samples)),
        )
        for number, (one, other) in enumerate(zip(old, new, strict=True))
    ]


def shifted(dice: random.Random, old: Sequence[float], gain: float) -> list[float]:
    """A model that gains so much on average, on tasks drawn by chance: a share of them moves all the way."""
    new = list(old)
    order = list(range(len(old)))
    dice.shuffle(order)
    left = abs(gain) * len(old)
    for task in order:
        room = (1 - new[task]) if gain > 0 else new[task]
        step = min(room, left)
        new[task] += step if gain > 0 else -step
        left -= step
        if left <= 1e-9:
            break
    return new


def agreed(general: object, look: int = 1) -> Terms:
    """The terms of a look; without a general set as was agreed."""
    return Terms(alpha=alpha_of(look), general=general is not None)


def decided(
    user: Sequence[Pair],
    general: Sequence[Pair] | None = None,
    guards: Sequence[Guard] = (HELD,),
    look: int = 1,
) -> Decision:
    """One gate."""
    return decide(find(user), find(general) if general else None, guards, agreed(general, look))


def verdicts(
    rounds: int,
    gate: Callable[[random.Random], Sequence[Pair]],
    guards: Sequence[Guard] = (HELD,),
    seed: int = 0,
) -> Counter[str]:
    """How often each verdict came, and `naive` how often "at least as many solved" would have promoted."""
    counts = Counter[str]()
    for number in range(rounds):
        found = find(gate(random.Random(f"{seed} {number}")))
        counts[verdict_of(found, None, guards, agreed(None))] += 1
        counts["naive"] += found.new_solved >= found.old_solved
    return counts
