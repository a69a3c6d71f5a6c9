"""Drafts of whole files: greedy, samples, a repair, more samples; agreement where nothing decides."""

import itertools
import math

import pytest

from agent.drafts import LONGER, MORE_TOKENS, STAGES, draft, new_paths, wanted
from agent.loop import gather
from agent.run import Run
from agent.unwritten import lead
from feedback.examples import check_of_examples, find_examples
from memory.records import ActionStarted, Check, CheckResult, Failure, Frame, PlanStep, Searched, Status
from model.errors import PromptTooLong
from model.scripted import Asked
from tests.agent_kit import PYTHON, open_run, payloads
from tests.conftest import RepoFactory

ZERO = "    >>> double(0)\n    0\n"
TWO = f'def double(x):\n    """Twice x.\n\n    >>> double(4)\n    8\n{ZERO}    """\n    pass\n'
ONE = TWO.replace(ZERO, "")
TASK = "Complete the function `double` in solution.py, as its docstring says."


def answer(body: str) -> str:
    """The rest of an answer whose beginning was given to the model."""
    return f"    return {body}\n```\n"


def examples(text: str) -> Check:
    check = check_of_examples(find_examples(text, "py", entry="double"), "solution.py", "py")
    assert check is not None
    return check


def drafted(run: Run, check: Check) -> bool:
    gather(run)
    step = PlanStep(goal="write it", files=("solution.py",), check=check.name)
    return draft(run, step, check, run.baseline[0], math.inf)


@pytest.mark.sample(2)
@pytest.mark.parametrize(
    ("stub", "greedy", "samples", "repaired", "kept", "stages"),
    [
        (TWO, "x * 2", [], "", "return x * 2", ["draft"]),
        (TWO, "x + 4", ["x - 1", "x + x", "3 * x"], "", "return x + x", ["draft", "sample drafts"]),
        (TWO, "x + 4", ["1", "2"], "x * 2", "return x * 2", ["draft", "sample drafts", "repair draft"]),
        # One example does not tell x + 4 from the right ones: what two of three do is taken.
        (ONE, "x + 4", ["x * 2", "x + x", "1"], "", "return x * 2", ["draft", "sample drafts"]),
        # So is a text that comes again, and one that passes an example which another one fails.
        (ONE, "x + 4", ["1"], "", "return x + 4", ["draft", "sample drafts"]),
        (ONE, "x + 4", ["x + 4"], "", "return x + 4", ["draft", "sample drafts"]),
        (TWO, "1", ["2"], "3", "return 1", [stage.name for stage in STAGES]),
    ],
)
def test_stages_until_one_is_to_be_kept(
    make_repo: RepoFactory,
    stub: str,
    greedy: str,
    samples: list[str],
    repaired: str,
    kept: str,
    stages: list[str],
) -> None:
    told = itertools.cycle(samples)

    def script(asked: Asked) -> str | list[str]:
        assert asked.messages[-1].content.endswith(stub.removesuffix("    pass\n"))
        if "It was run, and this fails" in asked.messages[0].content:
            return answer(repaired)
        if asked.sampling.temperature == 0:
            assert "self-contained Python script" in asked.messages[0].content
            assert "pass" not in asked.messages[0].content.partition("```")[2]
            return answer(greedy)
        return [answer(next(told)) for _ in range(asked.sampling.n)]

    check = examples(stub)
    with open_run(make_repo({"solution.py": stub}), script, checks=[check], prompt=TASK) as run:
        assert drafted(run, check) is (len(stages) < len(STAGES))
        text = run.files.read("solution.py").decode()
        assert kept in text
        assert text.startswith('def double(x):\n    """Twice x.')
        assert list(dict.fromkeys(told.strategy for told in payloads(run, Searched))) == list(
            dict.fromkeys(stages)
        )


def test_the_first_draft_is_kept_where_nothing_could_tell_two_apart(make_repo: RepoFactory) -> None:
    stub = 'def double(x):\n    """Twice x."""\n    pass\n'
    asked: list[Asked] = []

    def script(question: Asked) -> str:
        asked.append(question)
        return answer("x * 2")

    check = Check(name="loads", command="python3 -c 'import solution'", origin="written")
    with open_run(make_repo({"solution.py": stub}), script, checks=[check], prompt=TASK) as run:
        assert drafted(run, check)
        assert b"return x * 2" in run.files.read("solution.py")
    assert len(asked) == 1


def test_a_go_body_ends_before_its_demonstration_and_gets_its_imports(make_repo: RepoFactory) -> None:
    stub = 'package p\n\n// Sorts l in place.\nfunc order(l []int) []int {\n    panic("not implemented")\n}\n'
    asked: list[Asked] = []

    def script(question: Asked) -> str:
        asked.append(question)
        return "\tsort.Ints(l)\n\treturn l\n}"

    task = "Complete the function `order` in solution.go, as its comment says."
    check = Check(name="built", command="grep -q '^import \"sort\"' solution.go")
    with open_run(make_repo({"solution.go": stub}), script, checks=[check], prompt=task) as run:
        gather(run)
        step = PlanStep(goal="write it", files=("solution.go",), check=check.name)
        assert draft(run, step, check, run.baseline[0], math.inf)
        assert run.files.read("solution.go").decode() == (
            'package p\n\nimport "sort"\n\n// Sorts l in place.\n'
            "func order(l []int) []int {\n\tsort.Ints(l)\n\treturn l\n}\n"
        )
        said, supplied = (started.action.arguments["body"] for started in payloads(run, ActionStarted))
        assert 'import "sort"' in str(supplied)
        assert "import" not in str(said)
    (only,) = asked
    assert only.messages[-1].content.endswith("func order(l []int) []int {\n")
    assert {"\nfunc main(", "\nfunc Test", "\n// Test"} <= set(only.sampling.stop)


def test_a_draft_much_longer_than_those_that_ended_is_cut_off(make_repo: RepoFactory) -> None:
    rooms: list[tuple[float, int]] = []

    def script(asked: Asked) -> str:
        rooms.append((asked.sampling.temperature, asked.sampling.max_tokens))
        return answer("9")

    check = examples(TWO)
    with open_run(make_repo({"solution.py": TWO}), script, checks=[check], prompt=TASK) as run:
        assert not drafted(run, check)
        most = LONGER * run.count_text(answer("9")) + MORE_TOKENS
    assert rooms[0][1] > most
    assert rooms[1:]
    assert all(room == most for _heat, room in rooms[1:])


def test_a_draft_that_lets_no_test_run_is_not_the_one_to_repair(make_repo: RepoFactory) -> None:
    """What cannot be loaded fails once, whatever the number of the tests."""
    shown: list[str] = []

    def script(asked: Asked) -> str | list[str]:
        said = asked.messages[0].content
        if "It was run, and this fails" in said:
            shown.append(said)
            return answer("x * 2")
        wrong = ["7"] * asked.sampling.n
        return (
            answer("7\n\nunknown()") if asked.sampling.temperature == 0 else [answer(text) for text in wrong]
        )

    tests = "from solution import double\n\n\n" + "".join(
        f"def test_{n}():\n    assert double({n}) == {2 * n}\n\n\n" for n in (1, 2, 3)
    )
    check = Check(
        name="pytest", command=f"{PYTHON} -m pytest -q", kind="pytest", files={"test_solution.py": tests}
    )
    with open_run(make_repo({"solution.py": TWO}), script, checks=[check], prompt=TASK) as run:
        assert drafted(run, check)
    assert "return 7" in shown[0]
    assert "unknown" not in shown[0]


@pytest.mark.parametrize(
    ("message", "paths"),
    [("'int' object has no attribute 'lower'", []), ("module 'f' has no attribute 'g'", ["f.py"])],
)
def test_a_test_that_only_a_report_names_is_not_written(
    make_repo: RepoFactory, message: str, paths: list[str]
) -> None:
    report = "It fails.\n=== FAILURES ===\n___ test_a ___\ntest_f.py:3: AssertionError\n=== 1 failed ==="
    failure = Failure(test="t", error="AttributeError", message=message)
    failing = CheckResult(check="calc", passed=False, status=Status.NONZERO, failures=(failure,))
    step = PlanStep(goal="mend it", files=("f.py",), check="calc")
    with open_run(make_repo({"f.py": "def f():\n    return 0\n"}), lambda _: "", prompt=report) as run:
        assert wanted(run, step, failing) == paths


@pytest.mark.parametrize(
    ("name", "raised_in", "paths"),
    [("totl", "f.py", []), ("scale", "f.py", ["f.py"]), ("totl", "test_f.py", ["f.py"])],
)
def test_a_name_that_the_program_itself_uses_is_written_only_where_the_task_speaks_of_it(
    make_repo: RepoFactory, name: str, raised_in: str, paths: list[str]
) -> None:
    """A mistyped variable is mended where it is; a helper that is asked for is written."""
    message = f"name '{name}' is not defined"
    frames = tuple(Frame(path=path, line=1) for path in ("test_f.py", raised_in))
    failure = Failure(test="t", error="NameError", message=message, frames=frames)
    failing = CheckResult(check="calc", passed=False, status=Status.NONZERO, failures=(failure,))
    step = PlanStep(goal="mend it", files=("f.py",), check="calc")
    prompt = f"f raises NameError: {message}. It needs a function scale."
    with open_run(make_repo({"f.py": "def f():\n    return 0\n"}), lambda _: "", prompt=prompt) as run:
        assert wanted(run, step, failing) == paths


@pytest.mark.parametrize(
    ("prompt", "paths"),
    [
        ("Write b.py and docs/use.md, then b.py again.", ["b.py", "docs/use.md"]),
        ("Mend a.py and x/a.py.", []),
        ("A name (e.g. Do-yun), i.e. one of example.com, as of version 1.2.x or Node.js", []),
        ("It ends here.Then it goes on with `config.toml`.", ["config.toml"]),
        ("The key `a.c` has a header. After it, a.c.z is lost, and a.rs.", []),
        ("Write the loop in `a.c` and as src/b.rs.", ["a.c", "src/b.rs"]),
    ],
)
def test_paths_that_a_task_names_and_the_repository_lacks(prompt: str, paths: list[str]) -> None:
    assert new_paths(prompt, ["x/a.py"]) == paths


TWO_STUBS = "def a(x):\n    pass\n\n\ndef b(x):\n    pass\n"


@pytest.mark.parametrize(
    ("path", "text", "task", "line"),
    [
        ("a.py", TWO, "write it", 9),
        (
            "a.py",
            "import re\n\n\ndef f(x):\n    raise NotImplementedError('later')\n\n\ndef g(x):\n    return 1\n",
            "f",
            5,
        ),
        ("a.py", "class A:\n    def f(self):\n        ...\n", "write it", 3),
        ("a.py", "def f(x): pass\n", "write it", None),
        ("a.py", TWO_STUBS, "write it", None),
        ("a.py", "def f(x):\n    return x\n", "write f", None),
        ("a.py", "", "write it", None),
        ("a.js", '// Twice.\nfunction f(x) {\n    throw new Error("not yet");\n}\n', "write it", 3),
        ("a.js", "function f(x) {}\n", "write it", None),
        (
            "A.java",
            "class A {\n    // Twice.\n    static int f(int x) {\n        throw new Error();\n    }\n}\n",
            "it",
            4,
        ),
        ("a.cpp", "#include <cmath>\nint f(int x) {\n    abort();\n}\n", "write it", 3),
        ("a.rs", "fn f(x: i32) -> i32 {\n    todo!()\n}\n", "write it", 2),
        ("a.go", 'package a\n\nfunc f(x int) int {\n\tpanic("later")\n}\n', "write it", 4),
        ("a.php", '<?php\nfunction f($x) {\n    throw new Exception("later");\n}\n', "write it", 3),
    ],
)
def test_lead_ends_where_the_only_open_body_begins(path: str, text: str, task: str, line: int | None) -> None:
    assert lead(path, text, task) == ("".join(text.splitlines(keepends=True)[: line - 1]) if line else "")


def test_a_prompt_that_does_not_fit_is_no_end_of_the_run(make_repo: RepoFactory) -> None:
    check = examples(TWO)
    too_long = PromptTooLong(9_000, 8_192)
    with open_run(make_repo({"solution.py": TWO}), lambda _: too_long, checks=[check], prompt=TASK) as run:
        assert not drafted(run, check)
        assert run.files.changed() == {}
