"""Early returns where an argument is empty."""

import pytest

from agent.guards import EMPTY, raising, returning, wanted_errors
from agent.mechanisms import Mechanism
from memory.records import Failure, Searched
from tests.agent_kit import UNSCRIPTED, Script, open_run, payloads
from tests.conftest import RepoFactory
from tests.test_agent_search import PYTEST, searched

BLIND = [each for each in UNSCRIPTED if each is not Mechanism.MUTATIONS]
MIXED = '''\
class A:
    @staticmethod
    @cached
    def spread(cls, items, /, lengths=None, *, key=None):
        """Spread them."""
        # first the longest
        longest = items[0]
        yield longest

    def size(self, items):
        return len(items) / max(items)

    def nothing(self):
        return 1

    def words(self): """Only words."""

    def short(self, x): return x[0]

async def outer(x):
    @cached
    def inner():
        yield x
    return inner
'''


@pytest.mark.parametrize("first", [2, 3, 4])
def test_a_generator_returns_nothing_before_its_first_statement(first: int) -> None:
    found = returning(MIXED, first)
    assert found is not None
    assert found.line == 7
    assert found.texts == (
        "        if not items:\n            return",
        "        if not lengths:\n            return",
    )


def test_a_value_is_returned_by_any_other_function() -> None:
    found = returning(MIXED, 10)
    assert found is not None
    assert found.line == 11
    assert found.texts == tuple(f"        if not items:\n            return{value}" for value in EMPTY)
    outer = returning(MIXED, 20)
    assert outer is not None
    assert outer.line == 21
    assert len(outer.texts) == len(EMPTY)  # what yields is inside it


@pytest.mark.parametrize("text", [MIXED, "def f(x:\n    pass\n"])
@pytest.mark.parametrize("first", [1, 16, 18, 99])
def test_no_place_for_one(text: str, first: int) -> None:
    assert returning(text, first) is None


def test_a_function_that_has_nothing_to_guard() -> None:
    assert returning(MIXED, 13) is None


def test_a_search_tries_them_where_it_raised(make_repo: RepoFactory) -> None:
    code = "def head(items):\n    yield items[0]\n"
    tests = "from calc import head\n\n\ndef test_none():\n    assert list(head([])) == list(head(()))\n"
    with open_run(
        make_repo({"calc.py": code, "test_calc.py": tests}), Script(), checks=[PYTEST], without=BLIND
    ) as run:
        assert searched(run, PYTEST)
        guarded = "def head(items):\n    if not items:\n        return\n    yield items[0]\n"
        assert run.files.read("calc.py").decode() == guarded
        assert payloads(run, Searched)[-1].strategy == "guard"


def test_a_wrong_value_is_no_reason_for_one(make_repo: RepoFactory) -> None:
    code = "def size(items):\n    return items\n"
    tests = "from calc import size\n\n\ndef test_none():\n    assert size([]) == {}\n"
    with open_run(
        make_repo({"calc.py": code, "test_calc.py": tests}), Script(), checks=[PYTEST], without=BLIND
    ) as run:
        assert not searched(run, PYTEST)
        assert "guard" not in [told.strategy for told in payloads(run, Searched)]


def test_an_error_is_raised_for_what_an_argument_may_be() -> None:
    found = raising(MIXED, 10, "ValueError('no')")
    assert found is not None
    assert found.texts[:2] == (
        "        if items < 0:\n            raise ValueError('no')",
        "        if not items:\n            raise ValueError('no')",
    )


@pytest.mark.parametrize(
    ("message", "found"),
    [
        ("list(sliced('AB', -1)) gave ['A'], expected ValueError", ["ValueError('n is too small')"]),
        ("sliced('AB', -1) gave 'A', expected TypeError", ["TypeError"]),
        ("sliced('AB', -1) gave 'A', expected 'AError'", []),
        ("unsliced('AB') gave 'A', expected ValueError", []),
        ("sliced('AB') raised KeyError: 1, expected ValueError", []),
    ],
)
def test_errors_that_an_example_wants_of_a_function(message: str, found: list[str]) -> None:
    task = "`sliced(x, -1)` should raise `ValueError('n is too small')`."
    assert wanted_errors(task, "sliced", [Failure(test="t", message=message)]) == found


@pytest.mark.slow
def test_a_search_tries_an_error_where_an_example_wants_it(make_repo: RepoFactory) -> None:
    code = "def cut(text, n):\n    return text[:n]\n"
    message = "cut('ab', -1) gave 'a', expected ValueError"
    tests = (
        "import pytest\nfrom calc import cut\n\n\ndef test_cut():\n    assert cut('ab', 0) == ''\n    try:\n"
        "        cut('ab', -1)\n    except ValueError:\n        return\n"
        f"    raise AssertionError({message!r})\n"
    )
    files = {"calc.py": code, "test_calc.py": tests}
    with open_run(make_repo(files), Script(), checks=[PYTEST], without=BLIND, prompt="cut") as run:
        assert searched(run, PYTEST)
        guarded = "def cut(text, n):\n    if n < 0:\n        raise ValueError\n    return text[:n]\n"
        assert run.files.read("calc.py").decode() == guarded
        assert run.spent.written == 0
