"""How ADI finds the command that runs a repository's tests, where the usual one runs none."""

from pathlib import Path

import pytest

from agent.discover import _texts, commands, ran_tests, with_settings
from agent.settings import directories
from memory.records import Check, CheckAdded, CheckResult, Failure, Status, Stop
from sandbox.workcopy import WorkCopy, snapshot
from tests.agent_kit import Script, open_local
from tests.conftest import RepoFactory
from tests.percolate_kit import SETTING, TEST_TAX, YES, known, silent, told

SPECS = "python3 -m unittest discover -s spec -p '*_spec.py'"


def test_a_command_is_found_in_the_repositorys_own_words(make_repo: RepoFactory) -> None:
    test = TEST_TAX.replace("shop.tax(1.0), 0.08", "shop.tax(100), 8")
    repo = make_repo(
        {
            "shop.py": SETTING,
            "test_shop.py": test,
            "README.md": "# Shop\n\nRun the tests:\n\n    SHOP_MODE=test python3 -m unittest discover\n",
        }
    )
    mends = Script(lines={"shop.py line 7": "return amount * 0.08"})
    with open_local(repo, mends, YES) as session:
        outcome = session.run("the tax is wrong")
        (added,) = told(outcome.run_id, CheckAdded)
        assert isinstance(added, CheckAdded)
        assert added.check.command == "SHOP_MODE=test python3 -m unittest discover"
        assert outcome.stop is Stop.ACCEPTED
        assert [item.claim for item in known("check")] == [f"Tests are run with `{added.check.command}`"]
        (repo / "shop.py").write_text(SETTING)
        again = session.run("the tax is wrong again")
        assert again.stop is Stop.ACCEPTED
        assert told(again.run_id, CheckAdded) == []


def files_of(repo: Path) -> WorkCopy:
    return WorkCopy(snapshot(repo, directories().shadow))


def broken(test: str = "test_a.py", error: str = "KeyError", message: str = "'SHOP_MODE'") -> CheckResult:
    failure = Failure(test=test, error=error, message=message)
    return CheckResult(
        check="pytest",
        status=Status.NONZERO,
        passed=False,
        tests_failed=1,
        failures=(failure,),
        output=f"E   {error}: {message}",
    )


@pytest.mark.parametrize(
    ("path", "text", "value", "more"),
    [
        ("README.md", "Run `SHOP_MODE=test pytest -x` first.", "test", ["SHOP_MODE=test pytest -x"]),
        ("Makefile", "test:\n\tSHOP_MODE=ci python -m pytest\n", "ci", ["SHOP_MODE=ci python3 -m pytest"]),
        ("tox.ini", "[testenv]\ncommands = pytest tests -x\n", "1", ["pytest tests -x"]),
        (".github/workflows/ci.yml", "  - run: poetry run pytest -x\n", "1", ["pytest -x"]),
        (".env.example", "SHOP_MODE=demo\n", "demo", []),
        ("README.md", "pytest || true\nrm -rf / # pytest\n$(curl x) pytest\nmake install\n", "1", []),
        ("src/notes.txt", "pytest -q elsewhere", "1", []),
    ],
)
def test_commands_worth_a_try(
    make_repo: RepoFactory, path: str, text: str, value: str, more: list[str]
) -> None:
    check = Check(name="pytest", command="pytest -q", kind="pytest")
    told = _texts(files_of(make_repo({path: text})))
    assert list(commands(told, check, broken())) == [f"SHOP_MODE={value} pytest -q", *more]


def test_what_counts_as_a_test_that_ran() -> None:
    assert ran_tests(broken("t.py::test_a", "AssertionError", "1 != 2"))
    assert ran_tests(broken("test_a.T.test_x", "KeyError", "'user'"))
    for result in (
        broken(),
        broken("pytest start", "usage", "usage: pytest"),
        broken("unittest.loader._FailedTest.test_a"),
        broken("t.py::test_a"),
        broken("t.py::test_a", "fixture", "no fixture"),
        CheckResult(check="pytest", status=Status.NONZERO, passed=False),
    ):
        assert not ran_tests(result)


def test_tests_that_no_rule_detects_are_found_where_the_documents_name_them(make_repo: RepoFactory) -> None:
    command = f"SHOP_MODE=test {SPECS}"
    files = {
        "shop.py": SETTING,
        "spec/shop_spec.py": TEST_TAX.replace("shop.tax(1.0), 0.08", "shop.tax(100), 8"),
        "CONTRIBUTING.md": f"Before a commit: `{command}`\n",
    }
    repo = make_repo(files)
    mends = Script(lines={"shop.py line 7": "return amount * 0.08"})
    with open_local(repo, mends, YES) as session:
        outcome = session.run("shop.tax is wrong")
    assert outcome.stop is Stop.ACCEPTED
    (added,) = told(outcome.run_id, CheckAdded)
    assert isinstance(added, CheckAdded)
    assert (added.check.name, added.check.command) == ("tests", command)
    (repo / "shop.py").write_text(SETTING)
    with open_local(repo, silent, YES) as session:
        again = session.run("shop.tax is wrong once more")
    assert again.stop is Stop.ACCEPTED
    assert told(again.run_id, CheckAdded) == []


def test_settings_that_a_command_lacks_are_taken_from_the_documents() -> None:
    told = ["Set `SHOP_MODE=test` and, in CI:\n  env:\n    SHOP_DB: memory\n"]
    assert with_settings("pytest", "KeyError: 'SHOP_MODE'", told) == ["SHOP_MODE=test pytest"]
    assert with_settings("SHOP_MODE=a pytest", "KeyError: 'SHOP_MODE'", told) == []
    assert with_settings("pytest", "SHOP_DB is not set", told) == ["SHOP_DB=memory pytest"]
    assert with_settings("pytest", "KeyError: 'OTHER'", told) == ["OTHER=1 pytest"]
    assert with_settings("pytest", "KeyError: 'user' in SOME_CONSTANT", told) == []


def test_a_sentence_may_give_the_value_of_a_setting() -> None:
    told = ["Tests want to know where they run: set `SHOP_COAST` to `west` (or `east`)."]
    assert with_settings("pytest", "KeyError: 'SHOP_COAST'", told) == ["SHOP_COAST=west pytest"]
    assert with_settings("pytest", "KeyError: 'SHOP_SIDE'", told) == ["SHOP_SIDE=1 pytest"]


def test_the_line_beside_the_error_tells_which_values_there_are() -> None:
    output = """  File "shop.py", line 3
    TAX = {"at": 20, "de": 19}[os.environ["SHOP_LAND"]]
          ~~~~~~~~~~~~~~~~~~~~^^^^^^^^^^^^^^^^^^^^^^^^^
KeyError: 'SHOP_LAND'
"""
    assert with_settings("pytest", output, []) == ["SHOP_LAND=at pytest", "SHOP_LAND=de pytest"]
    both = output + "KeyError: 'SHOP_MODE'\n"
    assert with_settings("pytest", both, ["SHOP_MODE=test"]) == [
        "SHOP_LAND=at SHOP_MODE=test pytest",
        "SHOP_LAND=de SHOP_MODE=test pytest",
    ]


def test_a_documented_command_that_lacks_a_documented_setting_gets_it(make_repo: RepoFactory) -> None:
    files = {
        "shop.py": SETTING,
        "spec/shop_spec.py": TEST_TAX.replace("shop.tax(1.0), 0.08", "shop.tax(100), 8"),
        "README.md": f"Tests: `{SPECS}`, with SHOP_MODE=test set.\n",
    }
    mends = Script(lines={"shop.py line 7": "return amount * 0.08"})
    with open_local(make_repo(files), mends, YES) as session:
        outcome = session.run("shop.tax is wrong")
    assert outcome.stop is Stop.ACCEPTED
    (added,) = told(outcome.run_id, CheckAdded)
    assert isinstance(added, CheckAdded)
    assert added.check.command == f"SHOP_MODE=test {SPECS}"
