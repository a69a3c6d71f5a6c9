"""Tests of the steps of an export: every run that goes is counted once, with its step and reason."""

import pytest

from feedback.candidate import Candidate, Label
from feedback.harvest import Harvest
from feedback.steps import Steps, dropping, table


def candidate(name: str) -> Candidate:
    return Candidate(Harvest(name, "s", ()), Label(grade="none", why="nobody judged it"))


def test_each_step_counts_what_it_dropped_and_why() -> None:
    steps = Steps([candidate(name) for name in "abcde"])
    steps.drop("first", dropping(lambda c: "a vowel" if c.id in "ae" else ""))
    steps.drop("second", dropping(lambda c: {"b": "soft", "c": "hard"}.get(c.id, "")))
    steps.drop("third", dropping(lambda _: ""))
    assert [(c.name, c.rows_in, c.rows_out, c.reasons) for c in steps.counts] == [
        ("first", 5, 3, {"a vowel": 2}),
        ("second", 3, 1, {"hard": 1, "soft": 1}),
        ("third", 1, 1, {}),
    ]
    assert [c.id for c in steps.left] == ["d"]
    assert steps.dropped["a"] == ("first", "a vowel")
    assert table(steps.counts).splitlines()[1:4] == [
        f"{'first':24}{5:>8}{3:>8}",
        "    a vowel: 2",
        f"{'second':24}{3:>8}{1:>8}",
    ]


def test_a_step_cannot_drop_what_is_not_there() -> None:
    """A filter that names other runs would make the counts lie."""
    steps = Steps([candidate("a")])
    with pytest.raises(ValueError, match="drops what it was not given"):
        steps.drop("wrong", lambda _: {"z": "elsewhere"})
    assert steps.counts == []
