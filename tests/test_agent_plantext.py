"""A plan survives the editor, and a mistake in it is named."""

import contextlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.plantext import PlanTextError, from_text, to_text
from memory.records import Check, Plan, PlanStep

sentences = st.text(min_size=1, max_size=40).filter(str.strip)
steps = st.builds(
    PlanStep, goal=sentences, files=st.lists(st.text(min_size=1), max_size=3).map(tuple), check=sentences
)
plans = st.builds(Plan, steps=st.lists(steps, min_size=1, max_size=4).map(tuple), revision=st.integers(1, 9))
OTHER = Plan(steps=(PlanStep(goal="something else", check="true"),), revision=3)


@given(plans)
def test_round_trip(plan: Plan) -> None:
    text = to_text(plan, [Check(name="a\nb", command="run\x1b[0m")])
    assert all(c.isprintable() or c == "\n" for c in text)
    assert from_text(text, plan) is plan
    edited = from_text(text, OTHER)
    if plan.steps != OTHER.steps:
        assert edited == Plan(steps=plan.steps, revision=4, author="user")


@given(st.text(max_size=200))
def test_any_text_is_a_plan_or_a_named_mistake(text: str) -> None:
    with contextlib.suppress(PlanTextError):
        assert from_text(text, OTHER).steps


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("", "no [[step]] is left"),
        ("# only a comment", "no [[step]] is left"),
        ("[[step]]\ngoal = 'x\ncheck = 'y'", "line 2"),
        ("[step]\ngoal = 'x'", "two brackets"),
        ("goal = 'x'", "outside of a [[step]]"),
        ("[[step]]\ngoal = 'x'", "step 1: check is missing"),
        ("[[step]]\ngoal = ' '\ncheck = 'y'", "step 1: goal is missing"),
        ("[[step]]\ngaol = 'x'\ncheck = 'y'", "did you mean goal?"),
        ("[[step]]\ngoal = 'x'\ncheck = 'y'\nfiles = 'a.py'", "files must be a list"),
        ("[[step]]\ngoal = 'x'\ncheck = 'y'\nfiles = ['']", "files must be a list"),
        ("step = [1]", "step 1 is no table"),
    ],
)
def test_mistakes_are_named(text: str, says: str) -> None:
    with pytest.raises(PlanTextError) as caught:
        from_text(text, OTHER)
    assert says in str(caught.value)
