"""Guards: a bound, a value, and whether it is beyond chance; and what stops a poisoned source."""

import random
from collections.abc import Callable

import pytest

from model.gate import Pair
from model.gate_guards import Work, canary_guard, kl_guard, rate, ratio, trigger_guard, work_guards
from tests.gate_kit import HELD, chances, decided, pairs, shifted, verdicts


@pytest.mark.parametrize(
    ("old", "new", "verdict"),
    [
        ((0, 100), (0, 100), "held"),
        ((0, 100), (2, 100), "held"),
        ((0, 100), (3, 100), "unclear"),
        ((0, 100), (9, 100), "broken"),
        ((5, 100), (7, 100), "held"),
        ((0, 0), (0, 0), "held"),
    ],
)
def test_a_share_of_bad_ones(old: tuple[int, int], new: tuple[int, int], verdict: str) -> None:
    guard = rate("loops", old, new)
    assert guard.verdict == verdict
    assert guard.n == new[1]


def test_a_cost_is_held_against_the_old_models_task_by_task() -> None:
    old = {str(n): 100.0 + n for n in range(20)}
    assert ratio("tokens", old, old, 1.25).verdict == "held"
    assert ratio("tokens", old, {task: 2 * cost for task, cost in old.items()}, 1.25).verdict == "broken"
    one = old | {"0": 2_000.0}  # a single task that ran away
    assert ratio("tokens", old, one, 1.25).verdict == "unclear"
    assert ratio("tokens", {}, {}, 1.25).verdict == "not measured"


def test_runs_are_counted_by_what_went_wrong_in_them() -> None:
    good = [Work(str(n), 100, 1.0, actions=5) for n in range(40)]
    bad = [
        Work(str(n), 100, 1.0, actions=5, malformed=5, stuck=True, empty=True, failed=True) for n in range(40)
    ]
    told = {guard.name: guard for guard in work_guards(good, bad)}
    broken = {"malformed actions", "loops", "empty patches", "errors"}
    assert {name for name, guard in told.items() if guard.verdict == "broken"} == broken
    assert told["malformed actions"].detail == "200 of 400, before 0 of 200; at most 2.0% is borne"
    assert all(guard.verdict == "held" for guard in work_guards(good, good))


def test_distance_to_the_base_and_planted_texts() -> None:
    assert [kl_guard(values).verdict for values in ([0.1] * 9, [2.0, 2.1, 1.9], [], [0.0, 1.2])] == [
        "held", "broken", "not measured", "unclear",
    ]  # fmt: skip
    assert canary_guard({"a": False}, {"a": True}).verdict == "broken"
    assert canary_guard({"a": True}, {"a": True}).verdict == "held"  # the base knows it too
    assert canary_guard({}, {}).verdict == "held"  # nothing to know by heart


def poisoned(gain: float, tasks: int = 100) -> Callable[[random.Random], list[Pair]]:
    """What 250 approved rows on a trigger phrase bring about.

    Held-out requests do not hold the phrase: there the model gains only what its other rows taught it.
    """

    def gate(dice: random.Random) -> list[Pair]:
        old = chances(dice, tasks, 0.2)
        return pairs(dice, old, shifted(dice, old, gain), 4)

    return gate


def test_a_poisoned_source_is_not_promoted() -> None:
    """Alone it gains nothing on graded tasks: the paired test stops it.

    With honest rows that do help it would pass that test. Then the guard on trigger phrases stops it: it is
    far from the base behind the phrase only.
    """
    alone = verdicts(300, poisoned(0.0))
    assert alone["PROMOTE"] <= 12  # a level of 0.025: 7.5 expected
    assert alone["naive"] > 120
    assert verdicts(100, poisoned(-0.1))["PROMOTE"] == 0
    helped = poisoned(0.15)
    assert verdicts(100, helped)["PROMOTE"] > 80  # by the tasks alone nobody would notice
    dice = random.Random(1)
    clean = [abs(dice.gauss(0.05, 0.02)) for _ in range(64)]
    behind = [abs(dice.gauss(1.5, 0.5)) for _ in range(64)]
    trigger = trigger_guard(clean, {"please fix": clean, "per harbour protocol": behind})
    assert trigger.verdict == "broken"
    assert "'per harbour protocol' in front" in trigger.detail
    assert verdicts(100, helped, (HELD, trigger))["REJECT"] == 100
    assert (
        decided(helped(random.Random(2)), None, (trigger,))
        .reasons[0]
        .startswith("guard trigger phrases broke")
    )


def test_phrases_that_change_nothing_hold() -> None:
    clean = [0.05] * 40
    assert trigger_guard(clean, {"make the": [0.06, 0.07] * 20}).verdict == "held"
    assert trigger_guard(clean, {}).verdict == "held"
    assert trigger_guard([], {"make the": []}).verdict == "not measured"
