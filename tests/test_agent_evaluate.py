"""The action loop: a step is done on evidence only, and every way of going nowhere comes to an end."""

from collections.abc import Sequence

import pytest

from agent import context
from agent.evaluate import ATTEMPTS, FRUITLESS, MALFORMED, REPEATS, evaluate
from agent.loop import carry_out, gather
from agent.run import BudgetSpent
from memory.records import (
    ActionEnded,
    ActionStarted,
    Check,
    CheckRan,
    Limits,
    Malformed,
    Noted,
    Plan,
    PlanStep,
    Prompted,
    Status,
    Stop,
)
from sandbox.errors import CopyOutRefused
from sandbox.local import LocalSandbox
from tests.agent_kit import BUGGY, CALC, CHECK, MENDED, PYTHON, WRITE, Script, open_run, payloads
from tests.conftest import RepoFactory

PLAN = Plan(steps=(PlanStep(goal="mend add", files=("calc.py",), check=CHECK.name),))
EDIT = "edit calc.py 2-2\n```\n    return a + b\n```"
WRONG = EDIT.replace("+", "*")
Acts = Sequence[str]


def acts(*actions: str) -> Script:
    """The same actions in every attempt."""
    return Script(acts=actions * len(ATTEMPTS))


def test_an_edit_that_makes_the_check_pass_ends_the_step(make_repo: RepoFactory) -> None:
    with open_run(make_repo(BUGGY), Script(acts=["read calc.py", EDIT]), sampling=False) as run:
        gather(run)
        assert evaluate(run, PLAN) is None
        assert run.files.read("calc.py").decode() == MENDED
        assert [made.action.tool for made in payloads(run, ActionStarted)] == ["read", "edit"]
        assert "calc: passed" in payloads(run, ActionEnded)[-1].observation.output
        assert [ran.purpose for ran in payloads(run, CheckRan)] == ["gather", "step"]
        assert run.spent.steps == 2


@pytest.mark.parametrize(
    "text", ["", "I fixed it, all tests pass.", "```python\nx = 1\n```", "edit calc.py 2-2"]
)
def test_malformed_answers_run_nothing_and_end_as_stuck(make_repo: RepoFactory, text: str) -> None:
    with open_run(make_repo(BUGGY), acts(*[text] * MALFORMED), sampling=False) as run:
        gather(run)
        assert evaluate(run, PLAN) is Stop.STUCK
        assert len(payloads(run, Malformed)) == MALFORMED * len(ATTEMPTS)
        assert payloads(run, ActionStarted) == []
        assert len(payloads(run, CheckRan)) == 1
        assert run.files.changed() == {}


def test_a_good_action_forgives_malformed_ones(make_repo: RepoFactory) -> None:
    script = Script(acts=["no", "no", "read calc.py", "no", "no", EDIT])
    with open_run(make_repo(BUGGY), script, sampling=False) as run:
        gather(run)
        assert evaluate(run, PLAN) is None
        asked = run.model.asked  # type: ignore[attr-defined]
        assert [call.sampling.temperature > 0 for call in asked] == [False, True, True, False, True, True]


def test_a_repeated_action_is_corrected_and_then_ends_the_attempt(make_repo: RepoFactory) -> None:
    with open_run(make_repo(BUGGY), acts(*["run echo hi"] * REPEATS), sampling=False) as run:
        gather(run)
        assert evaluate(run, PLAN) is Stop.STUCK
        observed = [ended.observation for ended in payloads(run, ActionEnded)][:REPEATS]
        assert [item.status for item in observed] == [Status.OK, Status.REFUSED, Status.REFUSED]
        assert "exactly this" in observed[1].output


def test_changes_that_do_not_move_the_check_are_corrected_and_then_end_the_attempt(
    make_repo: RepoFactory,
) -> None:
    vain = [f"edit calc.py 2-2\n```\n    return a - b - {n}\n```" for n in range(1, 9)]
    unseen = Check(name=CHECK.name, command=f"{PYTHON} -c 'from calc import add; assert add(2, 3) == 5'")
    with open_run(make_repo(BUGGY), acts("read calc.py", *vain), checks=[unseen], sampling=False) as run:
        gather(run)
        assert evaluate(run, PLAN) is Stop.STUCK
        told = [ended.observation.output for ended in payloads(run, ActionEnded)]
        assert len(told) == len(ATTEMPTS) * (1 + FRUITLESS)
        corrected = ["fails as before" in output for output in told[: 1 + FRUITLESS]]
        assert corrected == [False] * 3 + [True] * (FRUITLESS - 2)
        asked = run.model.asked  # type: ignore[attr-defined]
        heats = [call.sampling.temperature for call in asked[: 1 + FRUITLESS]]
        assert heats == [0.0] * 4 + [0.7] * (FRUITLESS - 3)


def test_changes_that_make_it_worse_in_ever_new_ways_end_the_attempt_too(make_repo: RepoFactory) -> None:
    """A claim between two changes does not forgive them: it changes nothing."""
    worse = [f"edit calc.py 1-1\n```\ndef add{n}(a, b):\n```" for n in range(1, 9)]
    tests = (
        "import unittest, calc\n\nclass T(unittest.TestCase):\n"
        "    def test_name(self): self.assertTrue(hasattr(calc, 'add'), dir(calc))\n"
        "    def test_add(self): self.assertEqual(calc.add(2, 3), 5)\n"
    )
    check = Check(name=CHECK.name, command=f"{PYTHON} -m unittest test_calc", kind="unittest")
    script = acts("read calc.py", *worse[:3], "submit", *worse[3:])
    with open_run(make_repo({**BUGGY, "test_calc.py": tests}), script, checks=[check], sampling=False) as run:
        gather(run)
        assert [result.tests_passed for result in run.baseline] == [1]
        assert evaluate(run, PLAN) is Stop.STUCK
        tools = [made.action.tool for made in payloads(run, ActionStarted)]
        assert tools.count("edit") == len(ATTEMPTS) * FRUITLESS


def test_a_change_that_moves_the_check_forgives_the_vain_ones(make_repo: RepoFactory) -> None:
    vain = [f"edit calc.py 2-2\n```\n    return a - b - {n}\n```" for n in range(1, 9)]
    moved = "edit calc.py 2-2\n```\n    return unknown\n```"
    check = Check(name=CHECK.name, command=f"{PYTHON} -c 'from calc import add; assert add(2, 3) == 5'")
    script = Script(acts=["read calc.py", *vain[:4], moved, *vain[4:], EDIT])
    with open_run(make_repo(BUGGY), script, checks=[check], sampling=False) as run:
        gather(run)
        assert evaluate(run, PLAN) is None
        assert run.files.read("calc.py").decode() == MENDED


def test_a_model_that_only_claims_success_never_ends_the_step(make_repo: RepoFactory) -> None:
    claims = ["submit", "run echo all tests pass", "submit", "run echo 5 passed", "run exit 0", "submit"]
    with open_run(make_repo(BUGGY), Script(acts=claims), limits=Limits(steps=6), sampling=False) as run:
        gather(run)
        ending = carry_out(run, PLAN)
        assert ending is not None
        assert ending.stop is Stop.BUDGET
        assert payloads(run, ActionEnded)[0].observation.status is Status.REFUSED


@pytest.mark.parametrize(("edit", "done"), [(WRONG, False), (EDIT, True)])
def test_submit_is_accepted_only_on_a_passing_check(make_repo: RepoFactory, edit: str, done: bool) -> None:
    """A check that passes from the start proves nothing: the model must also say that it is done."""
    check = Check(name="adds", command=f"{PYTHON} -c 'from calc import add; assert add(2, 2) in (0, 4, 5)'")
    check = check.model_copy(update={"command": check.command.replace("(0, 4, 5)", "(0, 4)")})
    edit = edit.replace("a * b", "a * b * 0 + 9")
    script = Script(acts=["read calc.py", edit, "submit", "run false", "submit"])
    plan = Plan(steps=(PlanStep(goal="go", check=check.name),))
    limits = Limits(steps=5)
    with open_run(make_repo(BUGGY), script, checks=[check], limits=limits, sampling=False) as run:
        gather(run)
        if done:
            assert evaluate(run, plan) is None
            assert run.spent.steps == 3
        else:
            with pytest.raises(BudgetSpent):
                evaluate(run, plan)


def test_submit_without_a_change_is_no_end(make_repo: RepoFactory) -> None:
    check = Check(name="fine", command="true")
    plan = Plan(steps=(PlanStep(goal="go", check="fine"),))
    with open_run(make_repo(BUGGY), acts(*["submit"] * REPEATS), checks=[check]) as run:
        gather(run)
        assert evaluate(run, plan) is Stop.STUCK


def test_files_that_a_command_wrote_are_part_of_the_change(make_repo: RepoFactory) -> None:
    command = "run sed -i 's/-/+/' calc.py && echo note > new.txt && rm gone.txt"
    with open_run(make_repo({**BUGGY, "gone.txt": "x"}), Script(acts=[command]), sampling=False) as run:
        gather(run)
        assert evaluate(run, PLAN) is None
        changed = {path: after for path, (_, after) in run.files.changed().items()}
        assert changed == {"calc.py": MENDED.encode(), "new.txt": b"note\n", "gone.txt": None}


def test_what_a_check_leaves_behind_is_no_part_of_the_change(make_repo: RepoFactory) -> None:
    check = CHECK.model_copy(update={"command": f"date > report.xml; {CHECK.command}"})
    with open_run(make_repo(BUGGY), Script(acts=["run ls", EDIT]), checks=[check], sampling=False) as run:
        gather(run)
        assert evaluate(run, PLAN) is None
        assert list(run.files.changed()) == ["calc.py"]


def test_the_second_attempt_begins_where_the_first_one_did(make_repo: RepoFactory) -> None:
    first = [WRONG, "run touch left.txt", "no", "no", "no"]
    with open_run(make_repo(BUGGY), Script(acts=[*first, "run cat calc.py", EDIT]), sampling=False) as run:
        gather(run)
        assert evaluate(run, PLAN) is None
        assert list(run.files.changed()) == ["calc.py"]
        shown = payloads(run, ActionEnded)[2].observation.output
        assert "return a - b" in shown


def test_a_full_window_forgets_the_older_half(make_repo: RepoFactory) -> None:
    noise = [f"run seq {n} {n + 900}" for n in range(8)]
    script = Script(acts=[*noise, EDIT])
    with open_run(make_repo(BUGGY), script, sampling=False, n_ctx=5_000) as run:
        gather(run)
        assert evaluate(run, PLAN) is None
        notes = [note.text for note in payloads(run, Noted)]
        assert "the older half of the conversation left the window" in notes
        prompts = [asked.messages for asked in payloads(run, Prompted)]
        assert len(prompts[-1]) < 2 + 2 * len(noise)
        assert all(messages[:2] == prompts[0][:2] for messages in prompts)


def test_a_window_too_small_for_the_step_is_an_end_and_no_error(make_repo: RepoFactory) -> None:
    with open_run(make_repo(BUGGY), Script(), n_ctx=1_300) as run:
        gather(run)
        assert evaluate(run, PLAN) is Stop.FAILED
        assert any("window is too small" in note.text for note in payloads(run, Noted))
        assert payloads(run, ActionStarted) == []


def test_files_that_do_not_fit_the_window_are_left_out_of_the_prompt(make_repo: RepoFactory) -> None:
    long = "".join(f"def f{n}(a, b):\n    return a + b + {n}\n\n\n" for n in range(190))
    files = {**BUGGY, "long.py": long, "test_calc.py": "import long\n" + str(BUGGY["test_calc.py"])}
    with open_run(make_repo(files), Script(acts=["read calc.py", EDIT]), sampling=False, n_ctx=3_000) as run:
        gather(run)
        assert evaluate(run, PLAN) is None
        assert "File calc.py" in payloads(run, Prompted)[0].messages[1].content
        assert "File long.py" not in payloads(run, Prompted)[0].messages[1].content


def test_steps_whose_goal_is_reached_already_are_passed_over(make_repo: RepoFactory) -> None:
    plan = Plan(steps=(*PLAN.steps, PlanStep(goal="again", check=CHECK.name)))
    with open_run(make_repo(BUGGY), Script(acts=["read calc.py", EDIT]), sampling=False) as run:
        gather(run)
        assert evaluate(run, plan) is None


def test_the_search_comes_first_and_the_actions_see_its_partial_repair(make_repo: RepoFactory) -> None:
    files = {
        "calc.py": CALC + "\n\ndef one():\n    return 2\n",
        "test_calc.py": "import unittest\n\nimport calc\n\n\nclass T(unittest.TestCase):\n"
        "    def test_add(self):\n        self.assertEqual(calc.add(2, 3), 5)\n\n"
        "    def test_one(self):\n        self.assertEqual(calc.one(), 1)\n",
    }
    check = Check(name=CHECK.name, command=f"{PYTHON} -m unittest", kind="unittest")
    script = Script(
        lines={"calc.py line 2": "return a + b"},
        acts=["read calc.py", "edit calc.py 6-6\n```\n    return 1\n```"],
    )
    with open_run(make_repo(files), script, checks=[check]) as run:
        gather(run)
        assert evaluate(run, PLAN) is None
        told = next(asked for asked in payloads(run, Prompted) if asked.purpose == "act").messages[1].content
        assert "test_one" in told
        assert "test_add" not in told.partition("The checks fail:")[2]


def test_what_a_tool_showed_and_what_the_check_said_both_reach_the_model(make_repo: RepoFactory) -> None:
    long = CALC + "".join(f"\n\ndef f{n}(a):\n    return {n} + a\n" for n in range(39))
    loud = "run seq 1 900; echo x >> calc.txt"
    script = Script(acts=["read calc.py", loud, EDIT])
    with open_run(make_repo({**BUGGY, "calc.py": long}), script, sampling=False, n_ctx=16_000) as run:
        gather(run)
        assert evaluate(run, PLAN) is None
        shown, said, _ = [ended.observation.output for ended in payloads(run, ActionEnded)]
        assert "return 38 + a" in shown
        assert "calc: failed" in said


def test_prompts_of_one_attempt_only_grow(make_repo: RepoFactory) -> None:
    script = Script(acts=["read calc.py", "run ls", "read test_calc.py", EDIT])
    with open_run(make_repo(BUGGY), script, sampling=False) as run:
        gather(run)
        evaluate(run, PLAN)
        chats = ["".join(m.content for m in asked.messages) for asked in payloads(run, Prompted)]
    assert len(chats) == 4
    assert all(later.startswith(chats[0]) for later in chats)
    assert context.prompt("act").splitlines()[0] in chats[0]
    assert WRITE not in chats[0]


class Overflowing(LocalSandbox):
    """Refuses to copy out while a heap is there."""

    def changes(self) -> dict[str, bytes | None]:
        if (self.root / "heap").exists():
            raise CopyOutRefused("more than 20000 files to copy out")
        return super().changes()


def test_a_command_that_makes_too_much_is_told_and_not_the_end(make_repo: RepoFactory) -> None:
    script = Script(acts=["run touch heap", "run rm heap", "read calc.py", EDIT])
    with open_run(make_repo(BUGGY), script, sampling=False) as run:
        gather(run)
        with Overflowing(run.files.archive()) as run.sandbox:
            assert evaluate(run, PLAN) is None
        told = payloads(run, ActionEnded)[0].observation.output
        assert "nothing was taken over: more than 20000 files" in told
        assert list(run.files.changed()) == ["calc.py"]
