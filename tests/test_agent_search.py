"""Candidate search: compiling, then running, chooses; what is not part of the hole stays as it was."""

import math
from collections.abc import Mapping, Sequence

import pytest

from agent.answers import function_in
from agent.holes import Hole
from agent.localize import suspects
from agent.loop import gather
from agent.mechanisms import Mechanism
from agent.run import BudgetSpent, Run
from agent.search import search
from feedback.checks import run_check
from memory.records import ActionStarted, Check, CheckRan, Limits, PlanStep, Prompted, Searched
from model.errors import Unsupported
from model.protocol import Model
from model.scripted import Asked
from sandbox.docker import DockerSandbox
from sandbox.images import recipe
from tests.agent_kit import BUGGY, CALC, CHECK, MENDED, PYTHON, UNSCRIPTED, Script, open_run, payloads
from tests.conftest import RepoFactory

STEP = PlanStep(goal="mend it", files=("calc.py",), check=CHECK.name)
PYTEST = Check(name="pytest", command=f"{PYTHON} -m pytest -q", kind="pytest")
TWO = {
    "calc.py": "def add(a, b):\n    return a - b\n\n\ndef double(a):\n    return a * 3\n",
    "test_calc.py": (
        "from calc import add, double\n\n\ndef test_add():\n    assert add(2, 3) == 5\n\n\n"
        "def test_double():\n    assert double(2) == 4\n"
    ),
}


def searched(run: Run, check: Check = CHECK, until_s: float = math.inf) -> bool:
    gather(run)
    return search(run, STEP, check, run.baseline[run.task.checks.index(check)], until_s)


def executed(run: Run) -> int:
    return sum(ran.purpose == "candidate" for ran in payloads(run, CheckRan))


def test_a_failing_pytest_repository_is_repaired_by_a_line(make_repo: RepoFactory) -> None:
    files = {**TWO, "calc.py": TWO["calc.py"].replace("* 3", "* 2")}
    script = Script(lines={"calc.py line 2": "return a + b`"})
    with open_run(make_repo(files), script, checks=[PYTEST]) as run:
        assert searched(run, PYTEST)
        assert run.files.read("calc.py").decode() == files["calc.py"].replace("a - b", "a + b")
        assert list(run.files.changed()) == ["calc.py"]
        (adopted,) = payloads(run, ActionStarted)
        assert adopted.action.arguments == {
            "path": "calc.py",
            "first": 2,
            "last": 2,
            "body": "    return a + b",
        }
        assert payloads(run, Searched)[-1].passed == 1
        assert run.spent.steps == 1


def test_a_whole_function_is_tried_where_no_line_helps(make_repo: RepoFactory) -> None:
    answer = "Here:\n```python\n@cached\ndef add(a, b):\n    return a + b\n```\nDone."
    with open_run(make_repo(BUGGY), Script(functions={"add": answer})) as run:
        assert searched(run)
        assert run.files.read("calc.py").decode() == MENDED
        assert payloads(run, Searched)[-1].strategy == "rewrite function"


def test_a_missing_import_is_supplied_without_the_model(make_repo: RepoFactory) -> None:
    files = {**BUGGY, "calc.py": "def add(a, b):\n    return math.trunc(a + b)\n"}
    with open_run(make_repo(files), Script(), without=()) as run:
        assert searched(run)
        assert run.files.read("calc.py").decode() == f"import math\n\n{files['calc.py']}"
        assert [told.strategy for told in payloads(run, Searched)] == ["supply imports"]


def test_a_line_brings_the_import_that_it_needs(make_repo: RepoFactory) -> None:
    files = {**BUGGY, "calc.py": "# Sums.\ndef add(a, b):\n    return [a, b]\n"}
    mended = "import math\n\n# Sums.\ndef add(a, b):\n    return math.fsum([a, b])\n"
    with open_run(make_repo(files), Script(lines={"calc.py line 3": "return math.fsum([a, b])"})) as run:
        assert searched(run)
        assert run.files.read("calc.py").decode() == mended
        line, head = (started.action.arguments for started in payloads(run, ActionStarted))
        # What the model said stands by itself, where it was asked for: else it is no target of training.
        assert line == {"path": "calc.py", "first": 3, "last": 3, "body": "    return math.fsum([a, b])"}
        assert head == {"path": "calc.py", "first": 1, "last": 3, "body": mended}


def test_a_whole_small_file_is_tried_where_two_places_are_wrong(make_repo: RepoFactory) -> None:
    files = {
        **TWO,
        "test_calc.py": "from calc import add, double\n\n\n"
        "def test_both():\n    assert add(2, double(3)) == 8\n",
    }
    mended = TWO["calc.py"].replace("-", "+").replace("* 3", "* 2")
    with open_run(make_repo(files), Script(files=f"```python\n{mended}```\n"), checks=[PYTEST]) as run:
        assert searched(run, PYTEST)
        assert run.files.read("calc.py").decode() == mended
        assert payloads(run, Searched)[-1].strategy == "rewrite file"


REPORT_TEST = "def test_add(self):\n    assert add(2, 3) == 5\n"
REPORT = (
    "Write add in calc.py. It fails:\n=== FAILURES ===\n___ test_add ___\n\n    def test_add():\n"
    ">       assert add(2, 3) == 5\nE       assert -1 == 5\n=== 1 failed ===\n"
)


@pytest.mark.parametrize(("name", "mended"), [("quoted tests", True), ("mine", False)])
def test_an_attempt_is_written_anew_without_being_shown(
    make_repo: RepoFactory, name: str, mended: bool
) -> None:
    def script(asked: Asked) -> str:
        if not asked.messages or "self-contained" not in asked.messages[0].content:
            return ""
        assert "a - b" not in asked.messages[0].content
        assert "assert add(2, 3) == 5" in asked.messages[0].content
        return "def add(a, b):\n    return b + a\n```\n"

    checks = [CHECK, Check(name=name, command=CHECK.command, files={"t.py": REPORT_TEST})]
    with open_run(make_repo(BUGGY), script, checks=checks, prompt=REPORT) as run:
        assert searched(run) is mended
        assert (b"b + a" in run.files.read("calc.py")) is mended


@pytest.mark.parametrize(("name", "mended"), [("quoted tests", False), ("calc2", True)])
def test_no_blind_change_where_only_failing_tests_are_known(
    make_repo: RepoFactory, name: str, mended: bool
) -> None:
    checks = [CHECK, Check(name=name, command=CHECK.command, files={"t.py": REPORT_TEST})]
    without = [each for each in UNSCRIPTED if each is not Mechanism.MUTATIONS]
    with open_run(make_repo(BUGGY), lambda _: "", checks=checks, without=without) as run:
        assert searched(run) is mended


@pytest.mark.parametrize(("drafted", "asked"), [(set(), 3), ({"calc.py"}, 1)])
def test_functions_of_a_drafted_file_are_not_sampled(
    make_repo: RepoFactory, drafted: set[str], asked: int
) -> None:
    with open_run(make_repo(BUGGY), Script(functions={"add": "none"})) as run:
        run.drafted |= drafted
        assert not searched(run)
        prompts = [told.messages for told in payloads(run, Prompted) if told.messages]
        assert sum("function `add`" in messages[-1].content for messages in prompts) == asked


def test_a_missing_line_is_filled_in(make_repo: RepoFactory) -> None:
    files = {**BUGGY, "calc.py": "def add(a, b):\n    return a\n"}
    script = Script(fill=lambda asked: "    a += b  " if asked.suffix == "\n    return a\n" else "")
    with open_run(make_repo(files), script) as run:
        assert searched(run)
        assert run.files.read("calc.py") == b"def add(a, b):\n    a += b\n    return a\n"
        assert payloads(run, Searched)[-1].strategy == "fill in missing line"


def test_what_does_not_compile_or_is_known_is_never_run(make_repo: RepoFactory) -> None:
    lines = ["return a +", "return a - b", "return a * b", "return a * b"]
    with open_run(make_repo(BUGGY), Script(lines={"calc.py line 2": lines})) as run:
        assert not searched(run)
        assert executed(run) == 1
        assert run.files.changed() == {}
        assert run.sandbox.run("cat calc.py", timeout_s=5).output.decode() != MENDED


def test_a_candidate_that_breaks_another_check_is_refused(make_repo: RepoFactory) -> None:
    keeps = Check(name="keeps", command="! grep -q hack calc.py")
    lines = ["return 5  # hack", "return a + b", "return 5  # hack", "return 5  # hack"]
    with open_run(make_repo(BUGGY), Script(lines={"calc.py line 2": lines}), checks=[keeps, CHECK]) as run:
        assert searched(run)
        assert run.files.read("calc.py").decode() == MENDED


def test_two_defects_are_repaired_one_after_the_other(make_repo: RepoFactory) -> None:
    script = Script(lines={"calc.py line 2": "return a + b", "calc.py line 6": "return a * 2"})
    with open_run(make_repo(TWO), script, checks=[PYTEST]) as run:
        assert searched(run, PYTEST)
        assert run.files.read("calc.py").decode() == TWO["calc.py"].replace("a - b", "a + b").replace(
            "3", "2"
        )
        assert len(payloads(run, ActionStarted)) == 2


def test_a_partial_repair_that_breaks_a_passing_test_is_not_kept(make_repo: RepoFactory) -> None:
    broken = "import calc\n\n\ndef test_ok():\n    assert calc.add(2, 1) == 1\n"
    files = {**TWO, "test_old.py": broken}
    with open_run(make_repo(files), Script(lines={"calc.py line 2": "return a + b"}), checks=[PYTEST]) as run:
        assert not searched(run, PYTEST)
        assert run.files.changed() == {}


def test_a_partial_repair_that_breaks_another_check_is_not_kept(make_repo: RepoFactory) -> None:
    keeps = Check(name="keeps", command="! grep -q hack calc.py")
    script = Script(lines={"calc.py line 2": "return a + b  # hack"})
    with open_run(make_repo(TWO), script, checks=[keeps, PYTEST]) as run:
        assert not searched(run, PYTEST)
        assert run.files.changed() == {}


F = "def f():\n    return 1"
EDGES = {
    "crlf": (CALC.replace("\n", "\r\n").encode(), MENDED.replace("\n", "\r\n").encode()),
    "no final newline": (CALC.rstrip().encode(), MENDED.rstrip().encode()),
    "bom": (b"\xef\xbb\xbf" + CALC.encode(), b"\xef\xbb\xbf" + MENDED.encode()),
    "latin-1": tuple(
        b"# -*- coding: latin-1 -*-\n" + text.encode() + b"name = 'Zo\xeb'\n" for text in (CALC, MENDED)
    ),
    "form feed": tuple(b"\x0c# page\n" + text.encode() + b"\x0c\n" for text in (CALC, MENDED)),
    "mixed": (CALC.encode() + b"x = 1\r\ny = 2\n", MENDED.encode() + b"x = 1\r\ny = 2\n"),
    "tabs": (CALC.replace("    ", "\t").encode(), MENDED.replace("    ", "\t").encode()),
    "trailing space": (CALC.encode() + b"x = 1  \n\n\n", MENDED.encode() + b"x = 1  \n\n\n"),
}


@pytest.mark.parametrize(("before", "after"), EDGES.values(), ids=EDGES)
def test_bytes_outside_the_hole_stay(make_repo: RepoFactory, before: bytes, after: bytes) -> None:
    line = next(n for n, text in enumerate(before.splitlines(), 1) if b"return" in text)
    script = Script(lines={f"calc.py line {line}": "return a + b"})
    with open_run(make_repo({**BUGGY, "calc.py": before}), script) as run:
        assert searched(run)
        assert run.files.read("calc.py") == after


@pytest.mark.parametrize("limits", [Limits(completion_tokens=9), Limits(wall_s=0.001), Limits(steps=3)])
def test_the_budget_ends_it(make_repo: RepoFactory, limits: Limits) -> None:
    script = Script(lines={"calc.py line 2": "return a * b * b * b * b * b * b * b * b * b"})
    with open_run(make_repo(BUGGY), script, limits=limits) as run:
        run.spent.steps = 3
        with pytest.raises(BudgetSpent):
            searched(run)
        assert run.files.changed() == {}


def test_its_share_of_the_time_ends_it(make_repo: RepoFactory) -> None:
    with open_run(make_repo(BUGGY), Script()) as run:
        assert not searched(run, until_s=0.0)
        assert payloads(run, Prompted) == payloads(run, CheckRan)[1:] == []


def test_a_candidate_that_never_ends_does_not_hold_the_search(make_repo: RepoFactory) -> None:
    lines = ["while True: pass", "return a + b", "", ""]
    with open_run(make_repo(BUGGY), Script(lines={"calc.py line 2": lines})) as run:
        assert searched(run)
        assert run.spent.seconds < 15


@pytest.mark.parametrize(
    ("answer", "found"),
    [
        (F, F),
        (
            "Text\n```python\nimport os\n\ndef f():\n    return 1\n```\nmore\n```\ndef f(): 2\n```",
            "def f():\n    return 1",
        ),
        ("```\nclass A:\n    def f(self):\n        return 1\n```", "def f(self):\n    return 1"),
        ("```\n    async def f():\n        return 1\n```", "async def f():\n    return 1"),
        ("```\ndef g():\n    return 1\n```", ""),
        ("```\ndef f(:\n```", ""),
        ("no code", ""),
        ("```", ""),
        ("def f(): '\ud800'", ""),
    ],
)
def test_the_named_function_is_read_out_of_an_answer(answer: str, found: str) -> None:
    assert function_in(answer, "f") == found


@pytest.mark.parametrize(
    ("text", "span", "new", "result"),
    [
        ("a\nb\nc\n", (2, 2), "B", "a\nB\nc\n"),
        ("a\nb\nc\n", (2, 1), "X", "a\nX\nb\nc\n"),
        ("a\nb", (2, 2), "B\nC", "a\nB\nC"),
        ("a\r\nb\r\n", (1, 1), "A\nAA", "A\r\nAA\r\nb\r\n"),
        ("a\nb\n", (2, 2), "", "a\n"),
        ("a\r\nb\nc\r\n", (1, 3), "a\nB\nb\nc", "a\r\nB\r\nb\nc\r\n"),
        ("\ufeffa\nb\n", (1, 2), "A\nb", "\ufeffA\nb\n"),
        ("\ufeffa\n", (1, 0), "x", "\ufeffx\na\n"),
        ("a\nb", (1, 2), "", ""),
    ],
)
def test_a_hole_is_filled_exactly(
    make_repo: RepoFactory, text: str, span: tuple[int, int], new: str, result: str
) -> None:
    with open_run(make_repo({"a.py": text}), Script()) as run:
        (suspect,) = suspects(run.files, [], "a.py")
    assert Hole(suspect, *span).filled(new) == result


def test_text_that_cannot_be_written_is_no_candidate(make_repo: RepoFactory) -> None:
    """A lone surrogate can come out of a server's JSON; it is no text of any file."""
    lines: Mapping[str, Sequence[str]] = {
        "calc.py line 2": ["return '\ud83d'", "return a + b", "\udc80", "\0"]
    }
    with open_run(make_repo(BUGGY), Script(lines=lines)) as run:
        assert searched(run)
        assert run.files.read("calc.py").decode() == MENDED


def test_bytes_that_the_model_cannot_see_are_never_written_again(make_repo: RepoFactory) -> None:
    """A whole function would come back with its latin-1 text replaced."""
    name = b"# -*- coding: latin-1 -*-\ndef add(a, b):\n    name = 'Zo\xeb'\n    return a - b\n"
    answer = "```\ndef add(a, b):\n    name = 'Zo?'\n    return a + b\n```"
    with open_run(make_repo({**BUGGY, "calc.py": name}), Script(functions={"add": answer})) as run:
        assert not searched(run)
        assert run.files.changed() == {}


@pytest.mark.slow
def test_candidates_of_one_size_are_told_apart_and_start_fast(make_repo: RepoFactory) -> None:
    """No stale bytecode, and yet what the test runner needs is not compiled anew each time."""
    lines = ["return a * b", "return a / b", "return b - a", "return a + b"]
    with open_run(make_repo(TWO), Script(lines={"calc.py line 2": lines}), checks=[PYTEST]) as run:
        searched(run, PYTEST)
        told = [ran.result for ran in payloads(run, CheckRan) if ran.purpose == "candidate"]
        assert [result.tests_failed for result in told][:4] == [2, 2, 2, 1]
        probe = "python3 -B -c 'import pytest, sys; print(sys.pycache_prefix)'"
        seen = Check(name="probe", command=probe.replace("python3", PYTHON))
        assert run_check(seen, run.sandbox, 20).output.strip() == "None"


class Uncounting:
    """A model behind a server that cannot count tokens."""

    def __init__(self, model: Model) -> None:
        self.model = model

    def __getattr__(self, name: str) -> object:
        return getattr(self.model, name)

    def count(self, _: object) -> int:
        raise Unsupported("counting tokens")

    count_text = count


def test_a_server_that_cannot_count_is_asked_for_functions_too(make_repo: RepoFactory) -> None:
    """And what does not fit, counted in bytes, is not sent."""
    files = {**BUGGY, "long.py": "def long(a):\n    return a\n\n\n" * 300}
    script = Script(functions={"add": f"```\n{MENDED}```"})
    with open_run(make_repo(files), script, prompt="mend calc.py, not long.py", n_ctx=5000) as run:
        run.model = Uncounting(run.model)  # type: ignore[assignment]
        assert searched(run)
        assert run.files.read("calc.py").decode() == MENDED
        shown = [prompt.messages[1].content for prompt in payloads(run, Prompted) if prompt.messages]
        assert all("File calc.py" in text and "File long.py" not in text for text in shown)


def test_another_seed_gives_other_samples(make_repo: RepoFactory) -> None:
    """The seeds of two runs never meet; the same seed asks for the same again."""
    asked: dict[int, list[int]] = {}
    for seed in (0, 1):
        seen = asked.setdefault(seed, [])

        def script(question: Asked, seen: list[int] = seen) -> str:
            seen.append(question.sampling.seed)
            return ""

        with open_run(make_repo(BUGGY, name=f"repo{seed}"), script) as run:
            run.seed = seed
            assert not searched(run)
    assert len(asked[0]) == len(asked[1]) > 3
    assert not set(asked[0]) & set(asked[1])


@pytest.mark.container
def test_one_of_two_defects_is_mended_before_the_other_is_looked_for(make_repo: RepoFactory) -> None:
    """No test that still fails ran the changed line, so the rounds begin anew, on the other function only."""
    check = Check(name="pytest", command="python3 -m pytest -q", kind="pytest")
    script = Script(lines={"calc.py line 2": "return a + b`", "calc.py line 6": "return a * 2`"})
    without = {*UNSCRIPTED, Mechanism.INFILL} - {Mechanism.COVERAGE}
    with (
        open_run(make_repo(TWO), script, checks=[check], without=without) as run,
        DockerSandbox(run.files.archive(), image=recipe("python").tag, run_id="two") as box,
    ):
        run.sandbox = box
        assert searched(run, check)
        assert [(told.place, told.passed) for told in payloads(run, Searched)] == [
            ("calc.py:2", 1),
            ("calc.py:6", 1),
        ]
        assert len(payloads(run, ActionStarted)) == 2
        assert run.evidence is not None
        assert run.evidence.covered(run.evidence.failing[0], "calc.py") == {6}
