"""The report: known values of the statistics, and tables whose denominators are told."""

from itertools import product

import pytest
from hypothesis import given, settings, strategies

from agent.suite_report import compare, comparison_lines, figures, mcnemar, report_lines, task_lines, wilson
from tests.suite_kit import row


@pytest.mark.parametrize(
    ("solved", "total", "low", "high"),
    [
        (8, 10, 0.490, 0.943),
        (0, 10, 0.000, 0.278),
        (10, 10, 0.722, 1.000),
        (15, 20, 0.531, 0.888),
        (116, 164, 0.634, 0.772),
        (0, 0, 0.0, 1.0),
    ],
)
def test_wilson_has_its_known_values(solved: int, total: int, low: float, high: float) -> None:
    assert wilson(solved, total) == pytest.approx((low, high), abs=0.0005)


@settings(deadline=None)
@given(
    strategies.integers(1, 2000).flatmap(
        lambda n: strategies.tuples(strategies.integers(0, n), strategies.just(n))
    )
)
def test_wilson_holds_the_share_and_mirrors(counts: tuple[int, int]) -> None:
    solved, total = counts
    low, high = wilson(solved, total)
    assert 0 <= low <= solved / total <= high <= 1
    assert wilson(total - solved, total) == pytest.approx((1 - high, 1 - low), abs=1e-9)


@pytest.mark.parametrize(
    ("first", "second", "p"),
    [(1, 9, 0.0215), (9, 1, 0.0215), (0, 5, 0.0625), (0, 6, 0.03125), (3, 3, 1.0), (0, 0, 1.0), (2, 3, 1.0)],
)
def test_mcnemar_has_its_known_values(first: int, second: int, p: float) -> None:
    assert mcnemar(first, second) == pytest.approx(p, abs=0.00005)


def test_mcnemar_is_the_binomial_by_counting() -> None:
    """All outcomes of few coins, counted one by one; two-sided is twice the smaller tail."""
    for pairs in range(1, 9):
        heads = [sum(coins) for coins in product((0, 1), repeat=pairs)]
        for first in range(pairs + 1):
            tail = sum(count <= min(first, pairs - first) for count in heads)
            assert mcnemar(first, pairs - first) == pytest.approx(min(1.0, 2 * tail / 2**pairs))


def test_mcnemar_of_many_pairs_is_no_overflow() -> None:
    assert mcnemar(600, 900) == pytest.approx(1e-14, abs=1e-13)


def test_two_agents_are_compared_on_the_tasks_of_both() -> None:
    first = [row(name, name in "ab") for name in "abcd"]
    second = [row(name, name in "bce", agent="oneshot") for name in "edcb"]
    pair = compare(first, second)
    assert (pair.tasks, pair.both, pair.only_first, pair.only_second, pair.neither) == (3, 1, 0, 1, 1)
    assert (pair.first, pair.second, pair.p) == ("adi, seed 0", "oneshot, seed 0", 1.0)
    assert "| adi, seed 0 | oneshot, seed 0 | 3 | 1 | 0 | 1 | 1 | 1 |" in comparison_lines([first, second])
    other = [row("a", suite="another")]
    assert compare(first, other).tasks == 0
    assert len(comparison_lines([first, other])) == 2


def test_the_report_adds_up() -> None:
    spent = {"prompt_tokens": 100, "cached_tokens": 60, "completion_tokens": 7, "wall_s": 2.0}
    rows = [
        row("a", group="x", later_prompt_tokens=50, later_cached_tokens=40, **spent),
        row("b", group="y", malformed=2, executed=3, **spent),
        row("c", False, group="y", **spent),
        row("d", False, group="y", ended="budget", wall_s=10.0),
    ]
    text = "\n".join(report_lines(rows, tasks=5))
    for told in (
        "s: adi, seed 0, model m. Of 5 tasks, 1 have no result yet.",
        "| solved, share (95% Wilson interval) | 2/4, 50.0% (15.0 to 85.0) |",
        "| tokens new | 120; 60 a solved task |",
        "| tokens cached | 180; 90 a solved task |",
        "| tokens written | 21; 10 a solved task |",
        "| prompt cached after a task's first call | 40/50, 80.0% |",
        "| wall seconds, all tasks; median | 16; 2.0 |",
        "| malformed answers, none of which reached a tool | 2 |",
        "| unsolved ended | 1 budget, 1 failed |",
        "| x | 1/1, 100.0% (20.7 to 100.0) |",
        "| y | 1/3, 33.3% (6.1 to 79.2) |",
    ):
        assert told in text
    assert "by try" not in text
    assert figures(rows)["solved"] == 2
    assert figures(rows)["unsolved_ended"] == {"failed": 1, "budget": 1}
    assert len(task_lines(rows)) == 6


def test_two_tries_are_told_apart() -> None:
    rows = [row("a"), row("b", solved_at=2), row("c", False)]
    text = "\n".join(report_lines(rows, tries=2))
    assert "| solved by try 1 | 1/3, 33.3% (6.1 to 79.2) |" in text
    assert "| solved by try 2 | 2/3, 66.7% (20.8 to 93.9) |" in text
    assert "| b | try 2 |" in "\n".join(task_lines(rows))


def test_no_rows_are_no_error() -> None:
    text = "\n".join([*report_lines([], tasks=3), *task_lines([])])
    assert "0/0, no task" in text
    assert "Of 3 tasks, 3 have no result yet." in text
