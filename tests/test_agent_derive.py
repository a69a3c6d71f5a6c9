"""What the task's own words prove: examples and quoted failures; and what is done without any proof."""

import pytest

from agent.derive import derived, loads, targets
from agent.mechanisms import Mechanism
from agent.person import Unattended
from agent.settings import directories
from feedback.checks import image_profile, run_check
from memory.records import Stop
from model.scripted import Asked
from sandbox.docker import DockerSandbox
from sandbox.workcopy import WorkCopy, snapshot
from tests.agent_kit import CALC, TEST, open_local, open_run
from tests.conftest import RepoFactory
from tests.languages import image

STUB = 'def double(x):\n    """Twice x.\n\n    >>> double(4)\n    8\n    """\n    pass\n'
QUOTED = """Make it right.

=================================== FAILURES ===================================
___________________________________ test_add ___________________________________

    def test_add():
>       assert add(2, 3) == 5
E       assert -1 == 5

test_calc.py:5: AssertionError
=========================== short test summary info ============================
"""


def work(make_repo: RepoFactory, files: dict[str, str]) -> WorkCopy:
    return WorkCopy(snapshot(make_repo(files), directories().shadow))


@pytest.mark.parametrize(
    ("files", "prompt", "names"),
    [
        ({"solution.py": STUB}, "Complete the function `double` in solution.py.", ["examples"]),
        ({"solution.py": ""}, "Write `f` in solution.py. Example: `assert f(1) == 2`", ["examples"]),
        ({"calc.py": CALC}, QUOTED.replace("it right", "calc.py right"), ["quoted tests"]),
        ({"calc.py": CALC}, "calc.py: `add(2, 3)` should return 5.", ["examples"]),
        ({"calc.py": CALC}, "Make calc.py faster.", []),
        ({"notes.txt": "x"}, "`f(1)` should return 2.", []),
    ],
)
def test_examples_and_quoted_failures_become_checks(
    make_repo: RepoFactory, files: dict[str, str], prompt: str, names: list[str]
) -> None:
    found = derived(work(make_repo, files), prompt)
    assert [check.name for check in found] == names
    assert all(check.origin == "examples" and check.files for check in found)


def test_the_file_in_question_is_named_or_defines_what_is_named(make_repo: RepoFactory) -> None:
    files = {
        "a.py": "def alpha(x):\n    return x\n",
        "b.py": "def beta(x):\n    return x\n",
        "test_b.py": TEST,
    }
    copied = work(make_repo, files)
    assert targets(copied, "beta(2) gives 2 instead of 4")[0] == "b.py"
    assert targets(copied, "mend a.py")[0] == "a.py"
    assert "test_b.py" not in targets(copied, "make it quick")


def test_where_nothing_proves_anything_the_language_must_at_least_read_it(make_repo: RepoFactory) -> None:
    (check,) = loads(work(make_repo, {"a b.py": "x = 1\n"}), "mend a b.py")
    assert (check.command, check.origin) == ("python3 -m ast 'a b.py' > /dev/null", "written")


@pytest.mark.sample(2)
@pytest.mark.container
@pytest.mark.languages
@pytest.mark.parametrize(
    ("path", "right", "wrong"),
    [
        ("a.js", "let x = 1;\n", "let = ;\n"),
        ("a.ts", "let x: number = 1;\n", "let x: number = 'a';\n"),
        ("Problem.java", "class Problem { int f() { return 1; } }\n", "class Problem { int f() { } }\n"),
        ("a.cpp", "int f() { return 1; }\n", "int f() { return x; }\n"),
        ("a.rs", "fn f() -> i64 { 1 }\n", "fn f() -> i64 { x }\n"),
        ("a.php", "<?php function f() { return 1; }\n", "<?php function f( {\n"),
        ("a.go", "package a\n\nfunc f() int { return 1 }\n", "package a\n\nfunc f( {\n"),
    ],
)
def test_every_language_can_say_that_a_file_is_sound(
    make_repo: RepoFactory, path: str, right: str, wrong: str
) -> None:
    for text, passes in ((right, True), (wrong, False)):
        files = WorkCopy(snapshot(make_repo({path: text}, name=f"repo-{passes}"), directories().shadow))
        checks = loads(files, f"mend {path}")
        profile = image_profile(checks, files.paths())
        with DockerSandbox(files.archive(), image=image(profile), run_id=f"loads-{path}") as sandbox:
            assert run_check(checks[0], sandbox, 60).passed is passes
            assert sandbox.changes() == {}


def test_where_there_is_no_code_nothing_can_be_checked(make_repo: RepoFactory) -> None:
    assert loads(work(make_repo, {"notes.txt": "x"}), "mend it") == ()


def test_an_unproven_result_waits_for_a_person(make_repo: RepoFactory) -> None:
    """A function is written and can be read, but nothing shows that it is right: exit code 4."""

    def script(asked: Asked) -> str:
        assert asked.messages, "nothing is to be filled in"
        return "```python\ndef double(x):\n    return 2 * x\n```"

    repo = make_repo({"solution.py": "def double(x):\n    pass\n"})
    with open_local(repo, script, Unattended(accept=True), settings={"without": ()}) as session:
        outcome = session.run("Write the function `double` in solution.py: twice its argument.")
        assert (outcome.stop, outcome.exit_code) == (Stop.PENDING, 4)
        assert "a person must look" in session.store.trajectory(outcome.run_id).evaluation.detail  # type: ignore[union-attr]
        assert session.store.pending(str(repo))
    assert (repo / "solution.py").read_text() == "def double(x):\n    pass\n"


def test_an_example_alone_proves_a_function(make_repo: RepoFactory) -> None:
    def script(_: Asked) -> str:
        return "    return x + x\n```\n"

    repo = make_repo({"solution.py": STUB.replace("8\n", "8\n    >>> double(0)\n    0\n")})
    with open_local(repo, script, Unattended(accept=True), settings={"without": ()}) as session:
        outcome = session.run("Complete the function `double` in solution.py.")
    assert (outcome.stop, outcome.exit_code) == (Stop.ACCEPTED, 0)
    assert "return x + x" in (repo / "solution.py").read_text()


def test_examples_can_be_switched_off(make_repo: RepoFactory) -> None:
    repo = make_repo({"solution.py": STUB})
    off = {"without": tuple(Mechanism)}
    with open_local(repo, lambda _: "", Unattended(accept=True), settings=off) as session:
        outcome = session.run("Complete the function `double` in solution.py.")
        (check,) = session.store.trajectory(outcome.run_id).task.checks
    assert (check.name, outcome.stop) == ("loads", Stop.FAILED)


def test_of_a_quoted_report_the_model_reads_the_tests(make_repo: RepoFactory) -> None:
    files = {"calc.py": CALC}
    prompt = QUOTED.replace("it right", "calc.py right")
    checks = derived(work(make_repo, files), prompt)
    with open_run(make_repo(files), lambda _: "", checks=checks, prompt=prompt) as run:
        assert "E       assert -1 == 5" in run.statement
        assert run.question.strip().splitlines() == [
            "Make calc.py right.", "", "def test_add_1(self):", "    assert add(2, 3) == 5"
        ]  # fmt: skip
    with open_run(make_repo(files), lambda _: "", prompt=prompt) as run:
        assert run.question == run.statement  # no check tells it again
