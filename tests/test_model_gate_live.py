"""After a promotion: a test that may be looked at after every run, and seldom errs against a good model."""

import random

import pytest
from scipy.integrate import quad

from model.gate_live import LEAVE, e_pairs, e_rate, low_share, watch, watch_pairs


@pytest.mark.parametrize(
    ("accepted", "rejected", "share"), [(0, 0, 0.6), (3, 9, 0.6), (30, 2, 0.9), (0, 40, 0.3)]
)
def test_an_e_value_is_the_mean_of_all_bets(accepted: int, rejected: int, share: float) -> None:
    def bet(chance: float) -> float:
        return (chance / share) ** accepted * ((1 - chance) / (1 - share)) ** rejected / share

    assert e_rate(accepted, rejected, share) == pytest.approx(quad(bet, 0, share)[0], rel=1e-6)


def test_a_model_that_is_no_worse_is_seldom_rolled_back_however_often_one_looks() -> None:
    gone = 0
    for number in range(400):
        dice = random.Random(number)
        old = sum(dice.random() < 0.7 for _ in range(60))
        gone += watch((old, 60), (dice.random() < 0.7 for _ in range(300))).advice == "ROLL BACK"
    assert gone / 400 <= 0.05


def test_a_model_that_is_much_worse_is_rolled_back_soon() -> None:
    steps = []
    for number in range(100):
        dice = random.Random(number)
        told = watch((140, 200), (dice.random() < 0.35 for _ in range(300)))
        steps.append(told.at or 300)
    assert sorted(steps)[50] < 40
    assert sorted(steps)[95] < 120


def test_what_came_after_the_decision_does_not_undo_it() -> None:
    told = watch((90, 100), [False] * 12 + [True] * 500)
    assert (told.advice, told.outcomes, told.accepted) == ("ROLL BACK", told.at, 0)
    assert told.e >= LEAVE
    assert f"0 of {told.at} against a share of" in told.reason


def test_without_an_old_rate_nothing_is_rolled_back() -> None:
    assert low_share(9, 9) == 0
    told = watch((4, 5), [False] * 100)
    assert (told.advice, told.e, told.against) == ("KEEP", 1.0, 0)
    assert "too few" in told.reason
    assert watch((90, 100), []).e == 1.0


def test_shadow_runs_count_by_the_tasks_on_which_the_two_differ() -> None:
    same, lost, won = (True, True), (True, False), (False, True)
    assert watch_pairs([same] * 50 + [won, lost] * 10).advice == "KEEP"
    told = watch_pairs([same] * 50 + [lost] * 9)
    assert (told.advice, told.accepted) == ("ROLL BACK", 0)
    assert e_pairs(0, told.at) >= LEAVE > e_pairs(0, told.at - 1)
