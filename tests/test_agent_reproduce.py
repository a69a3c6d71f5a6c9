"""A failing test of ADI's own: it counts only when it fails by what it asserts."""

from collections.abc import Callable

import pytest

from agent.loop import gather
from agent.mechanisms import Mechanism
from agent.reproduce import NAME, own_check
from memory.records import CheckRan, Noted
from model.scripted import Asked
from tests.agent_kit import CALC, CHECK, UNSCRIPTED, open_run, payloads
from tests.conftest import RepoFactory

SHOWS = "from calc import add\n\n\ndef test_add():\n    assert add(2, 3) == 5\n"
PASSES = "from calc import add\n\n\ndef test_add():\n    assert add(2, 0) == 2\n"
NAMELESS = "def test_add():\n    assert add(2, 3) == 5\n"
ELSEWHERE = "from nowhere import add\n\n\ndef test_add():\n    assert add(2, 3) == 5\n"
RAISES = (
    "import calc\nimport pytest\n\n\ndef test_add():\n"
    "    with pytest.raises(TypeError):\n        calc.add(1, 2)\n"
)
PLAIN = {"calc.py": CALC, "test_calc.py": "import calc\n"}
ON = tuple(set(UNSCRIPTED) - {Mechanism.OWN_TESTS})


def writing(*answers: str) -> Callable[[Asked], str | list[str]]:
    """A model that writes these tests: the first when it is greedy, the rest as samples."""

    def script(asked: Asked) -> str | list[str]:
        assert "test fails now" in asked.messages[-1].content
        told = [f"```python\n{answer}```" for answer in answers]
        return told[0] if asked.sampling.n == 1 else (told[1:] + [""] * 4)[: asked.sampling.n]

    return script


@pytest.mark.sample(2)
@pytest.mark.parametrize(
    ("answers", "found"),
    [
        ([SHOWS], SHOWS),
        ([RAISES], RAISES),
        ([NAMELESS, ELSEWHERE, PASSES, SHOWS], SHOWS),
        ([PASSES, "no code", "x = 1\n", "def test_f(:\n"], ""),
        ([NAMELESS, ELSEWHERE, "def test_a():\n    print(1)\n"], ""),
    ],
)
def test_only_a_test_that_fails_by_its_assertion_leads(
    make_repo: RepoFactory, answers: list[str], found: str
) -> None:
    prompt = "calc.py: add(2, 3) gives -1 instead of 5"
    with open_run(make_repo(PLAIN), writing(*answers), checks=[CHECK], prompt=prompt, without=ON) as run:
        gather(run)
        assert run.baseline[0].passed
        added = [check for check in run.task.checks if check.name == NAME]
        assert [check.files[".adi_own/test_own.py"] for check in added] == ([found] if found else [])
        assert [result.check for result in run.failing] == ([NAME] if found else [])
        assert any("shows the goal" in note.text for note in payloads(run, Noted)) is bool(found)
        assert run.files.changed() == {}
        assert len(payloads(run, CheckRan)) >= 1


def test_where_a_check_fails_no_test_is_asked_for(make_repo: RepoFactory) -> None:
    def script(_: Asked) -> str:
        raise AssertionError("nobody should ask")

    files = {**PLAIN, "test_calc.py": "from calc import add\n\nassert add(2, 3) == 5\n"}
    with open_run(make_repo(files), script, without=ON) as run:
        gather(run)
        assert [result.check for result in run.failing] == [CHECK.name]


def test_what_asserts_nothing_is_no_check() -> None:
    assert own_check("def test_a():\n    pass\n") is None
    assert own_check("assert 1 == 1\n") is None
    check = own_check(SHOWS)
    assert check is not None
    assert (check.origin, check.kind) == ("written", "pytest")
