"""Plans: what a model may write, what becomes of it, and what stands in when it writes none."""

from collections.abc import Callable

import pytest

from agent.localize import suspects
from agent.loop import approved, gather, reflect
from agent.reflect import MAX_STEPS, make_plan, parse_plan, plan_grammar, rule_plan
from memory.records import Check, Limits, Plan, PlanMade, Prompted, UserActed
from model.errors import RequestRefused
from tests.agent_kit import BUGGY, CHECK, PLAN, Script, Someone, open_run, payloads
from tests.conftest import RepoFactory

OTHER = Check(name="lint it", command="true")
CHECKS = (CHECK, OTHER)


def test_a_plan_line_becomes_a_step() -> None:
    text = "- Compare with <= | files: a.py, b.py | check: lint it\n"
    (step,) = parse_plan(text, ["a.py", "b.py"], CHECKS)
    assert (step.goal, step.files, step.check) == ("Compare with <=", ("a.py", "b.py"), "lint it")


def test_files_and_checks_that_do_not_exist_are_dropped() -> None:
    (step,) = parse_plan("- Do it well | files: a.py, made/up.py | check: guess\n", ["a.py"], CHECKS)
    assert step.files == ("a.py",)
    assert step.check == CHECK.name


def test_steps_are_few_and_different() -> None:
    line = "- Do it well | files: a.py | check: calc\n"
    assert len(parse_plan(line * 5, ["a.py"], CHECKS)) == 1
    many = "".join(line.replace("well", f"well {n}") for n in range(9))
    assert len(parse_plan(many, ["a.py"], CHECKS)) == MAX_STEPS


@pytest.mark.parametrize(
    "text",
    [
        "",
        "I would change a.py.",
        "- no columns",
        "- |files: a.py| check: calc",
        "- x | files: | check:",
        "\0" * 9,
    ],
)
def test_what_is_no_plan_gives_no_step(text: str) -> None:
    assert parse_plan(text, ["a.py"], CHECKS) == ()


def test_the_grammar_names_only_what_exists_and_quotes_it() -> None:
    grammar = plan_grammar(['sp ace "q".py', "back\\slash.py", "new\nline.py"], CHECKS)
    assert r'file ::= "sp ace \"q\".py" | "back\\slash.py" | "\"new\\nline.py\""' in grammar
    assert 'check ::= "calc" | "lint it"' in grammar
    assert len(grammar.splitlines()) == 5


def test_every_check_of_the_task_proves_the_plan_by_rule() -> None:
    plan = rule_plan("first line\nsecond", CHECKS, failing=True)
    assert plan.author == "rule"
    assert [step.check for step in plan.steps] == [CHECK.name, OTHER.name]
    assert "first line" in plan.steps[0].goal
    assert "second" not in plan.steps[0].goal


@pytest.mark.parametrize(
    ("prompt", "goal"),
    [
        ("# Instructions\n\nWrite f.\nNow.", "Write f."),
        ("Title\n=====\nText", "Title"),
        ("---\n```\n# only marks", "---"),
    ],
)
def test_a_heading_is_no_goal(prompt: str, goal: str) -> None:
    plan = rule_plan(prompt, CHECKS[:1], failing=False)
    assert plan.steps[0].goal == goal


def test_the_models_plan_is_asked_for_with_a_grammar(make_repo: RepoFactory) -> None:
    with open_run(make_repo(BUGGY), Script()) as run:
        gather(run)
        plan = reflect(run)
        (asked,) = run.model.asked  # type: ignore[attr-defined]
        assert 'file ::= "calc.py"' in asked.sampling.grammar
        assert payloads(run, PlanMade) == [PlanMade(plan=plan)]
    assert plan.author == "model"
    assert plan.steps[0].files == ("calc.py",)


@pytest.mark.parametrize("answer", ["Sure! I will fix it.", RequestRefused("grammar does not parse")])
def test_no_usable_plan_means_the_plan_by_rule(make_repo: RepoFactory, answer: str | RequestRefused) -> None:
    with open_run(make_repo(BUGGY), Script(plan=answer)) as run:
        gather(run)
        assert reflect(run).author == "rule"


def test_a_window_too_small_means_the_plan_by_rule_and_no_call(make_repo: RepoFactory) -> None:
    with open_run(make_repo(BUGGY), Script(), n_ctx=300) as run:
        assert make_plan(run, "words " * 300, ["calc.py"]).author == "rule"
        assert payloads(run, Prompted) == []


def test_a_spent_budget_means_the_plan_by_rule_and_no_call(make_repo: RepoFactory) -> None:
    with open_run(make_repo(BUGGY), Script(), limits=Limits(completion_tokens=5)) as run:
        run.spent.written = 5
        gather(run)
        assert reflect(run).author == "rule"
        assert payloads(run, Prompted) == []


@pytest.mark.parametrize(
    ("edit", "revisions", "acts"),
    [
        (lambda plan: plan, [1], []),
        (lambda plan: plan.model_copy(update={"revision": 2, "author": "user"}), [1, 2], ["edit-plan"]),
        (lambda _: None, [1], ["reject"]),
    ],
)
def test_what_the_person_makes_of_the_plan_is_stored(
    make_repo: RepoFactory, edit: Callable[[Plan], Plan | None], revisions: list[int], acts: list[str]
) -> None:
    with open_run(make_repo(BUGGY), Script(plan=PLAN)) as run:
        gather(run)
        answer = approved(run, reflect(run), Someone(plan=edit))
        assert [made.plan.revision for made in payloads(run, PlanMade)] == revisions
        assert [act.action for act in payloads(run, UserActed)] == acts
    assert answer is None or answer.revision == revisions[-1]


def test_paths_offered_to_the_plan_are_the_suspects(make_repo: RepoFactory) -> None:
    files = {**BUGGY, **{f"other{n}.py": "x = 1\n" for n in range(9)}}
    with open_run(make_repo(files), Script()) as run:
        gather(run)
        found = [suspect.path for suspect in suspects(run.files, run.failing, run.task.prompt)]
        assert found == ["calc.py"]
