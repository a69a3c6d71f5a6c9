"""Simulates the gate: the share of each verdict by tasks, samples and true effect, beside a naive gate.

Run: python -m benchmarks.gate_power [--rounds 2000] [--seed 0]

Two runs of one model differ on one task in five: two fifths of the tasks are a coin's throw, of the others
half are always solved and half never. A better model moves randomly drawn tasks all the way to always solved
until its mean has moved by the effect; a worse one to never. Naive: promoted when it solves at least as many.
Also: tests that could have been chosen, by their size and power where tasks cluster by repository; how often
the interval holds the truth; and what free looks at live outcomes bring about. Prints Markdown.
"""

import argparse
import random
import sys
from collections import Counter
from collections.abc import Callable, Sequence
from math import sqrt
from statistics import fmean, median, stdev

import numpy as np
from scipy.stats import t as student

from model.gate import Pair, clustered, find, sign_flip
from model.gate_live import watch
from model.gate_verdict import Terms, verdict_of
from model.gate_wear import alpha_of

TASKS = (20, 50, 100, 200)
EFFECTS = (-0.10, -0.05, 0.0, 0.05, 0.10, 0.20)
SAMPLES = (1, 4)
FLIPS = 0.2
TERMS = Terms(alpha=alpha_of(1), general=False)
ALPHA = TERMS.alpha


def say(line: str) -> None:
    """One line of the report, at once."""
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


def old_chances(dice: random.Random, tasks: int) -> list[float]:
    """How often the old model solves each task."""
    coins = round(2 * FLIPS * tasks)
    return [float(dice.random() < 0.5) for _ in range(tasks - coins)] + [0.5] * coins


def moved(dice: random.Random, old: Sequence[float], effect: float) -> list[float]:
    """The new model's chances, their mean moved by the effect."""
    new, left = list(old), abs(effect) * len(old)
    order = list(range(len(old)))
    dice.shuffle(order)
    for task in order:
        step = min(left, 1 - new[task] if effect > 0 else new[task])
        new[task] += step if effect > 0 else -step
        left -= step
    return new


def drawn(dice: random.Random, old: Sequence[float], new: Sequence[float], samples: int) -> list[Pair]:
    """Outcomes of both models; each task is its own repository."""
    return [
        Pair(
            str(number),
            str(number),
            tuple(dice.random() < one for _ in range(samples)),
            tuple(dice.random() < other for _ in range(samples)),
        )
        for number, (one, other) in enumerate(zip(old, new, strict=True))
    ]


def shares(rounds: int, seed: int, tasks: int, samples: int, effect: float) -> Counter[str]:
    """Verdicts of so many gates, the naive gate's promotions, and intervals that hold the truth."""
    counts = Counter[str]()
    for number in range(rounds):
        dice = random.Random(f"{seed} {tasks} {samples} {effect} {number}")
        old = old_chances(dice, tasks)
        new = moved(dice, old, effect)
        found = find(drawn(dice, old, new, samples))
        counts[verdict_of(found, None, (), TERMS)] += 1
        counts["naive"] += found.new_solved >= found.old_solved
        counts["held"] += found.low <= fmean(new) - fmean(old) <= found.high
    return counts


def verdict_table(rounds: int, seed: int) -> None:
    """The first table."""
    say(
        "| tasks | samples | true effect | PROMOTE | REJECT | CANNOT TELL | naive promotes | interval holds |"
    )
    say("| --- | --- | --- | --- | --- | --- | --- | --- |")
    for tasks in TASKS:
        for samples in SAMPLES:
            for effect in EFFECTS:
                told = shares(rounds, seed, tasks, samples, effect)
                parts = (told[name] for name in ("PROMOTE", "REJECT", "CANNOT TELL", "naive", "held"))
                cells = " | ".join(f"{part / rounds:.1%}" for part in parts)
                say(f"| {tasks} | {samples} | {100 * effect:+.0f} | {cells} |")


Test = Callable[[Sequence[Pair], np.random.Generator], bool]


def flips_of(unit: str) -> Test:
    """The exact exchange of signs, of tasks or of repositories."""

    def better(pairs: Sequence[Pair], _: np.random.Generator) -> bool:
        return sign_flip(clustered(pairs, "task" if unit == "task" else "repository")[0])[0] <= ALPHA

    return better


def by_t(pairs: Sequence[Pair], _: np.random.Generator) -> bool:
    """Student's t of repositories."""
    sums, _sizes = clustered(pairs, "repository")
    width = stdev(sums)
    if not width:
        return fmean(sums) > 0
    return bool(student.sf(fmean(sums) / width * sqrt(len(sums)), len(sums) - 1) <= ALPHA)


def by_bootstrap(pairs: Sequence[Pair], dice: np.random.Generator) -> bool:
    """The share of 400 bootstrapped means of repositories that are not above 0."""
    sums = np.array(clustered(pairs, "repository")[0])
    means = dice.choice(sums, (400, len(sums))).mean(axis=1)
    return bool((means <= 0).mean() <= ALPHA)


TESTS: dict[str, Test] = {
    "signs of tasks": flips_of("task"),
    "signs of repositories": flips_of("repository"),
    "t of repositories": by_t,
    "bootstrap of repositories": by_bootstrap,
}


def in_repositories(dice: random.Random, repositories: int, effect: float, spread: float) -> list[Pair]:
    """Ten tasks each, four samples; each repository has an effect of its own around the true one."""
    pairs = list[Pair]()
    for repository in range(repositories):
        own = min(0.5, max(-0.5, dice.gauss(effect, spread)))
        old = old_chances(dice, 10)
        for pair in drawn(dice, old, moved(dice, old, own), 4):
            pairs.append(Pair(f"{repository} {pair.task}", str(repository), pair.old, pair.new))
    return pairs


def test_table(rounds: int, seed: int) -> None:
    """Which test: how often each finds nothing where there is nothing, and something where there is."""
    say("| repositories | spread of their effects | true effect | " + " | ".join(TESTS) + " |")
    say("| --- | --- | --- |" + " --- |" * len(TESTS))
    for repositories in (8, 20):
        for spread in (0.0, 0.15):
            for effect in (0.0, 0.1):
                counts = Counter[str]()
                for number in range(rounds):
                    name = f"{seed} {repositories} {spread} {effect} {number}"
                    pairs = in_repositories(random.Random(name), repositories, effect, spread)
                    generator = np.random.default_rng(number)
                    counts.update(label for label, test in TESTS.items() if test(pairs, generator))
                cells = " | ".join(f"{counts[label] / rounds:.1%}" for label in TESTS)
                told = f"{100 * spread:.0f} points | {100 * effect:+.0f}"
                say(f"| {repositories} | {told} | {cells} |")


def live_table(rounds: int, seed: int) -> None:
    """After a promotion: an old model accepted 70% in 200 runs, and up to 500 runs of the new one."""
    say("| new model accepted | rolled back within 500 | median run of the roll-back |")
    say("| --- | --- | --- |")
    for share in (0.8, 0.7, 0.6, 0.5, 0.4, 0.2):
        at = list[int]()
        for number in range(rounds):
            dice = random.Random(f"{seed} {share} {number}")
            old = sum(dice.random() < 0.7 for _ in range(200))
            at.append(watch((old, 200), (dice.random() < share for _ in range(500))).at)
        gone = [one for one in at if one]
        say(f"| {share:.0%} | {len(gone) / rounds:.1%} | {median(gone) if gone else '-'} |")


def main() -> int:
    """Print all tables."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--rounds", type=int, default=2000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--table", choices=("all", "verdicts", "tests", "live"), default="all")
    given = parser.parse_args()
    tables = {"verdicts": verdict_table, "tests": test_table, "live": live_table}
    for name, table in tables.items():
        if given.table in ("all", name):
            say(f"\n## {name}, {given.rounds} rounds, seed {given.seed}\n")
            table(given.rounds, given.seed)
    return 0


if __name__ == "__main__":
    sys.exit(main())
