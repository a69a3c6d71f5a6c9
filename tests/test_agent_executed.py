"""Suspicion by execution in the order of a file's lines, and of the files."""

import ast

import pytest

from agent.executed import by_execution
from agent.localize import suspects
from agent.loop import gather
from agent.mechanisms import Mechanism
from memory.records import Check, CheckResult, Status
from memory.runtime import Cover, ObservedTest, RuntimeEvidence
from sandbox.docker import DockerSandbox
from sandbox.images import recipe
from sandbox.workcopy import WorkCopy, snapshot
from tests.agent_kit import UNSCRIPTED, Script, open_run
from tests.conftest import RepoFactory

TEXT = """\
LIMIT = 3

def early(x):
    if x:
        return [
            x,
            1,
        ]
    return 0

class Box:
    def __repr__(self):
        return "box"

def never():
    return 5
"""
FAILED = CheckResult(check="c", status=Status.NONZERO, exit_code=1, passed=False)


def test_statements_are_whole_and_definitions_and_reprs_come_last() -> None:
    scores = {1: 0.9, 3: 0.9, 4: 0.5, 6: 0.8, 13: 1.0}
    found = by_execution(scores, ast.parse(TEXT), set())
    assert sorted(found, key=lambda line: (-found[line], line)) == [5, 6, 7, 8, 4, 1, 3, 13]
    assert found[5] == found[8] == 0.8
    assert by_execution(scores, ast.parse(TEXT), {"repr"})[13] == 1.0
    assert by_execution(scores, None, set()) == scores


def test_a_default_value_in_a_head_ran_when_the_module_was_imported() -> None:
    text = "class Box:\n    def f(\n        self,\n        key=lambda x: x,\n    ):\n        return key(1)\n"
    scores = {1: 0.7, 2: 0.7, 4: 0.7, 6: 0.5}
    found = by_execution(scores, ast.parse(text), set())
    assert max(found, key=found.__getitem__) == 6
    inner = "def f(x):\n    def g(y=lambda: x):\n        return y()\n    return g()\n"
    assert by_execution({2: 0.7, 3: 0.5}, ast.parse(inner), set()) == {2: 0.7, 3: 0.5}


def test_lines_that_no_failing_test_ran_are_left_out_and_files_that_one_ran_are_suspects(
    make_repo: RepoFactory,
) -> None:
    repo = make_repo({"pkg/deep.py": TEXT, "other.py": "x = 1\n", "tests/test_it.py": "import other\n"})
    files = WorkCopy(snapshot(repo, repo.parent / "shadow"))
    assert [suspect.path for suspect in suspects(files, [FAILED], "")] == ["other.py"]
    evidence = RuntimeEvidence(
        check="c",
        tests=(
            ObservedTest(test="a", outcome="failed", covers=(0, 3)),
            ObservedTest(test="b", outcome="passed", covers=(1, 3)),
        ),
        covers=(
            Cover(path="pkg/deep.py", ranges=((4, 4), (9, 9))),
            Cover(path="pkg/deep.py", ranges=((4, 6),)),
            Cover(path="pkg/deep.py", ranges=((1, 1), (3, 3), (11, 12), (15, 15))),
            Cover(path="tests/test_it.py", ranges=((1, 1),)),
        ),
        imported=(2,),
        complete=True,
        traced=True,
        duration_s=1.0,
    )
    found = suspects(files, [FAILED], "", evidence)
    assert [suspect.path for suspect in found] == ["pkg/deep.py"]
    named = suspects(files, [FAILED], "as other.py says", evidence)
    assert [suspect.path for suspect in named] == ["other.py", "pkg/deep.py"]
    assert named[0].lines == (1,)
    assert found[0].lines[:2] == (9, 4)
    assert not {8, 13, 16} & {*found[0].lines}
    assert found[0].functions[0].name == "early"


MANY = """\
def both(x):
    y = x + 1
    if x > 5:
        y = y - 3
    return y
"""


@pytest.mark.container
@pytest.mark.parametrize("passing", [True, False])
def test_failing_examples_are_compared_with_the_tests_that_pass(
    make_repo: RepoFactory, passing: bool
) -> None:
    files = {
        "many.py": MANY,
        "test_many.py": "from many import both\n\n\ndef test_small():\n    assert both(1) == 2\n",
    }
    shown = "from many import both\n\n\ndef test_shown():\n    assert both(7) == 8\n"
    examples = Check(
        name="examples", command="python3 -m pytest -q shown/test_shown.py", kind="pytest",
        files={"shown/test_shown.py": shown, "shown/conftest.py": ""}, origin="examples",
    )  # fmt: skip
    own = Check(name="pytest", command="python3 -m pytest -q --rootdir=. test_many.py", kind="pytest")
    without = {*UNSCRIPTED} - {Mechanism.COVERAGE}
    checks = [examples, own] if passing else [examples]
    with (
        open_run(make_repo(files), Script(), checks=checks, without=without) as run,
        DockerSandbox(run.files.archive(), image=recipe("python").tag, run_id="contrast") as box,
    ):
        run.sandbox = box
        gather(run)
        assert run.evidence is not None
        assert [test.outcome for test in run.evidence.tests] == ["failed", *["passed"] * passing]
        (found,) = suspects(run.files, run.goals, "", run.evidence)
        assert (found.lines[0] == 4) is passing
        assert 4 in found.lines
