"""The gate's statistics: exact tests, intervals, power, and the verdicts of simulated rounds."""

import random
from collections.abc import Callable
from itertools import product

import pytest
from scipy.stats import binomtest

from model.errors import ModelError
from model.gate import Pair, find, sign_flip
from model.gate_guards import Guard
from model.gate_power import exact_power, needed, smallest
from model.gate_wear import LOOKS, TOTAL, Worn, alpha_of
from tests.gate_kit import chances, decided, pairs, shifted, verdicts


def tables(wins: int, losses: int, same: int) -> list[Pair]:
    """Tasks of one sample: won by the new model, lost by it, and the same."""
    kinds = [(False, True)] * wins + [(True, False)] * losses + [(True, True)] * same
    return [Pair(str(n), str(n), (old,), (new,)) for n, (old, new) in enumerate(kinds)]


@pytest.mark.parametrize(("wins", "losses"), [(0, 0), (5, 0), (7, 1), (9, 2), (3, 12), (40, 21)])
def test_with_one_sample_it_is_mcnemars_exact_test(wins: int, losses: int) -> None:
    found = find(tables(wins, losses, 30))
    for got, count, way in ((found.p_better, wins, "greater"), (found.p_worse, wins, "less")):
        exact = binomtest(count, wins + losses, 0.5, alternative=way).pvalue if wins + losses else 1.0
        assert got == pytest.approx(exact)
    assert (found.wins, found.losses, found.ties) == (wins, losses, 30)


def test_signs_are_exchanged_in_all_ways() -> None:
    sums = [3, -1, 4, 1, -5, 2, 0, 2]
    ways = [
        sum(sign * abs(one) for sign, one in zip(signs, sums, strict=True))
        for signs in product((1, -1), repeat=8)
    ]
    better = sum(way >= sum(sums) for way in ways) / len(ways)
    worse = sum(way <= sum(sums) for way in ways) / len(ways)
    assert sign_flip(sums) == pytest.approx((better, worse))


def test_whole_repositories_are_exchanged_where_there_are_enough() -> None:
    """Ten tasks that one repository won are one win and not ten."""
    won = [Pair(f"a{n}", "a", (False,), (True,)) for n in range(10)]
    rest = [Pair(f"{repo}{n}", repo, (True,), (True,)) for repo in "bcdefgh" for n in range(3)]
    assert (find(won + rest).unit, find(won + rest).p_better) == ("repository", 0.5)
    assert (find(won).unit, find(won).p_better) == ("task", 0.5**10)


def test_tasks_without_a_flip_do_not_prove_that_two_models_are_the_same() -> None:
    found = find(tables(0, 0, 20))
    assert found.low < -0.1
    assert found.high > 0.1
    assert find(tables(0, 0, 60)).bound > -0.05


@pytest.mark.parametrize("broken", [[], [Pair("a", "a", (True,), (True, False))], tables(1, 0, 0) * 2])
def test_what_is_no_pair_is_refused(broken: list[Pair]) -> None:
    with pytest.raises(ModelError):
        find(broken)


def test_the_interval_holds_the_truth_as_often_as_it_says() -> None:
    held = 0
    for number in range(400):
        dice = random.Random(number)
        old = chances(dice, 40, 0.2)
        new = shifted(dice, old, 0.1)
        found = find(pairs(dice, old, new, 2))
        held += found.low <= 0.1 <= found.high
    assert held / 400 > 0.93


@pytest.mark.parametrize(("flips", "gain", "tasks"), [(0.15, 0.05, 365), (0.2, 0.05, 489), (0.3, 0.1, 180)])
def test_the_tasks_that_are_needed_are_those_of_the_literature(flips: float, gain: float, tasks: int) -> None:
    """Published for a one-sided level of 0.05 and a power of 0.8; the exact test needs a little more."""
    wins = round((flips + gain) / 2 * 10_000)
    losses = round((flips - gain) / 2 * 10_000)
    found = find(tables(wins, losses, 10_000 - wins - losses))
    told = needed(found, gain, 0.05)
    assert told == pytest.approx(tasks, rel=0.03)
    assert exact_power(told or 0, flips, gain, 0.05) == pytest.approx(0.78, abs=0.03)


def test_the_smallest_visible_gain_has_the_power_it_says() -> None:
    found = find(tables(6, 4, 40))
    least = smallest(found, 0.025)
    assert least is not None
    assert exact_power(50, 12 / 52, least, 0.025) == pytest.approx(0.8, abs=0.01)
    assert smallest(find(tables(1, 0, 4)), 0.025) is None  # five tasks can show nothing


def test_looks_get_stricter_and_end() -> None:
    levels = [alpha_of(look) for look in range(1, LOOKS + 1)]
    assert levels[:2] == [0.025, 0.0125]
    assert sum(levels) < TOTAL
    with pytest.raises(Worn, match="5 times"):
        alpha_of(LOOKS + 1)


@pytest.mark.parametrize(("tasks", "samples"), [(30, 1), (60, 4)])
def test_the_same_model_twice_is_not_promoted_in_97_of_100_rounds(tasks: int, samples: int) -> None:
    def same(dice: random.Random) -> list[Pair]:
        old = chances(dice, tasks, 0.2)
        return pairs(dice, old, old, samples)

    counts = verdicts(1_000, same)
    assert counts["PROMOTE"] <= 30
    assert counts["naive"] > 450  # what "at least as many solved" would have done


def moved_by(gain: float, samples: int = 4) -> Callable[[random.Random], list[Pair]]:
    """60 tasks, and a new model that gains so much."""

    def gate(dice: random.Random) -> list[Pair]:
        old = chances(dice, 60, 0.2)
        return pairs(dice, old, shifted(dice, old, gain), samples)

    return gate


def test_a_damaged_model_is_rejected_and_a_much_better_one_promoted() -> None:
    damaged = verdicts(200, moved_by(-0.3))
    assert damaged["REJECT"] >= 198
    assert damaged["PROMOTE"] == 0
    assert verdicts(200, moved_by(0.2))["PROMOTE"] >= 190


def test_every_condition_of_a_promotion_is_needed() -> None:
    better, same = tables(20, 2, 40), tables(0, 0, 80)
    assert decided(better, same).verdict == "PROMOTE"
    unproven = decided(better, tables(0, 0, 20))
    assert unproven.verdict == "CANNOT TELL"
    assert "borne; " in unproven.reasons[0]
    assert decided(better, tables(2, 20, 40)).verdict == "REJECT"
    assert decided(tables(4, 2, 40), same).verdict == "CANNOT TELL"
    for state, verdict in (("broken", "REJECT"), ("unclear", "CANNOT TELL"), ("not measured", "CANNOT TELL")):
        guard = Guard(name="loops", verdict=state, value=0.5, bound=0.1, detail="told")  # type: ignore[arg-type]
        decision = decided(better, same, [guard])
        assert (decision.verdict, "loops" in decision.reasons[0]) == (verdict, True)
    assert decided(tables(8, 1, 40), same, look=1).verdict == "PROMOTE"
    assert decided(tables(8, 1, 40), same, look=4).verdict == "CANNOT TELL"  # the fourth look at these tasks
