"""Seeded tasks: defects that tests catch, drawn alike by the same seed, split for ever, never in tests."""

import json
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path

import pytest

from agent.errors import UsageError
from agent.learn_collect import collect, synthetic
from agent.learn_place import LearnBusy, LearnPlace
from agent.seed_changes import changes, drawn, functions
from agent.seed_find import Defect, Found, Wish, candidates, find
from agent.seed_made import keep, told
from agent.seed_tasks import SeededTask, TaskFolder
from agent.settings import Settings, directories
from agent.suite_agents import OpenSession
from agent.suite_run import run_one
from feedback.harvest import harvests
from feedback.heldout import HeldOut
from feedback.labels import label
from memory.origin import Origin
from memory.records import Check, CheckResult, Failure, Status
from memory.store import Store
from tests.agent_kit import PYTHON, Script
from tests.seed_kit import LIBRARY, PRICES, SHELF, library
from tests.suite_kit import Writer, local, sessions, wrote

UNITTEST = f"{PYTHON} -m unittest"


def found_in(folder: Path, wish: Wish, files: Mapping[str, str] = LIBRARY) -> Found:
    return find(library(folder / "lib", files), folder / "shadow", wish, local)


@pytest.fixture(scope="module")
def found(tmp_path_factory: pytest.TempPathFactory) -> Found:
    return found_in(tmp_path_factory.mktemp("seed"), Wish(limit=4))


@pytest.fixture
def place(tmp_path: Path) -> LearnPlace:
    return LearnPlace(tmp_path / "learn")


def test_tests_catch_what_is_kept_and_the_files_are_the_users_own(found: Found) -> None:
    assert (found.why, found.ended, len(found.defects)) == ("", "limit", 4)
    for defect in found.defects:
        assert defect.result.tests_failed
        assert defect.result.tests_passed
        assert not defect.path.startswith("test_")
        assert found.files[defect.path].decode() in (SHELF, PRICES)
    assert len({(defect.path, defect.function) for defect in found.defects}) == 4, "each has its turn"


def test_the_same_seed_draws_the_same_changes_and_another_one_others(found: Found) -> None:
    first, again, other = ([*candidates(found, seed, None)] for seed in (0, 0, 1))
    assert first == again
    assert first != other
    assert [defect.change for defect in found.defects] == [change for _, _, change in first][:4]


def test_a_task_holds_no_trace_of_the_fix_and_says_what_it_is(found: Found, place: LearnPlace) -> None:
    made, fresh = keep(place, [found], "file")
    assert fresh == len(made) == 4
    assert keep(place, [found], "file")[1] == 0, "they are there"
    for task in made:
        suite = TaskFolder(place.tasks).suite_task(task)
        assert task.synthetic
        assert suite.files[task.path] == task.mutated.encode() != found.files[task.path]
        assert not any(path.startswith(".git/") for path in suite.files)
        assert set(suite.grader.files) == {"test_shelf.py", "test_prices.py"}
        assert all(test in task.told for test in task.failing) or "behaves wrongly" in task.told
        assert "+++ b/" in task.fix_diff


def test_the_grader_knows_the_fix_and_the_defect(found: Found, place: LearnPlace) -> None:
    task = keep(place, [found], "file")[0][0]
    suite = TaskFolder(place.tasks).suite_task(task)
    suite = replace(suite, files={**suite.files, "calc.py": b""})  # which the kit's agent looks at
    for data, solved in ((found.files[task.path], True), (task.mutated.encode(), False)):
        agent = Writer(lambda *_, data=data: wrote(answer={task.path: data}))
        assert run_one(suite, agent, 0, local).solved == solved


def test_parts_are_drawn_once_and_never_move(found: Found, place: LearnPlace) -> None:
    made, _ = keep(place, [found], "file")
    parts = {task.path: task.part for task in made}
    assert set(parts.values()) == {"train", "held-out"}, "each part has one of two files"
    folder = TaskFolder(place.tasks)
    more = [(found.repo, "shelf.py", "Shelf.add"), *(("/elsewhere", f"{n}.py", "f") for n in range(40))]
    part = folder.split(more, "function")
    assert part(found.repo, "shelf.py", "Shelf.add") == parts["shelf.py"], "its file was drawn before"
    share = sum(part("/elsewhere", f"{n}.py", "f") == "held-out" for n in range(40))
    assert 3 <= share <= 20
    assert json.loads((folder.root / "splits.json").read_text())


def test_held_out_tasks_are_a_suite_that_keeps_their_fix_out_of_training(
    found: Found, place: LearnPlace
) -> None:
    made, _ = keep(place, [found], "file")
    held = HeldOut.read([TaskFolder(place.tasks).file("held-out")])
    own = [task for task in made if task.part == "held-out"]
    assert len(held.items) == len(own)
    assert held.text(own[0].code), "the function as it was"
    assert not held.text("\n".join(task.told for task in made)), "words that all tasks share are no leak"
    trains = next(task for task in made if task.part == "train")
    assert not held.text(trains.code)


BROKEN = {**LIBRARY, "prices.py": PRICES.replace("net + tax", "net - tax")}
UNTESTED = {"prices.py": PRICES}
UNSEEN = {
    "prices.py": PRICES,
    "test_x.py": "import unittest\nclass T(unittest.TestCase):\n    def test_a(self): pass\n",
}
FLAKY = {
    "prices.py": PRICES,
    "test_x.py": "import os, unittest\nclass T(unittest.TestCase): pass\n"
    "for n in range(1 + os.getpid() % 97):\n    setattr(T, f'test_{n}', lambda self: None)\n",
}


@pytest.mark.parametrize(
    ("files", "why"),
    [
        (UNTESTED, "no Python tests"),
        (BROKEN, "its tests fail as it is (test_prices.PricesTest.test_tax)"),
        (FLAKY, "do not end the same twice"),
        ({**LIBRARY, ".adi/no-train": ""}, "no-train"),
    ],
)
def test_a_repository_that_cannot_be_used_says_why(
    tmp_path: Path, files: Mapping[str, str], why: str
) -> None:
    found = found_in(tmp_path, Wish(limit=1), files)
    assert why in found.why
    assert not found.defects


def test_changes_that_no_test_notices_are_no_tasks_and_the_search_ends(tmp_path: Path) -> None:
    found = found_in(tmp_path, Wish(limit=1, checks=(UNITTEST,)), UNSEEN)
    assert (found.why, found.defects) == ("", [])
    assert found.ended in ("tries", "all tried")
    assert found.missed == found.tried <= 10


def test_time_bounds_the_search(tmp_path: Path) -> None:
    found = found_in(tmp_path, Wish(limit=4, budget_s=0.0))
    assert (found.ended, found.tried) == ("time", 0)


def test_functions_are_the_outermost_ones_and_methods() -> None:
    text = "class A:\n    def f(self):\n        def g(): return 1\n        return g\ndef h():\n    pass\n"
    assert functions(text) == [(2, 4, "A.f"), (5, 6, "h")]


def test_a_form_feed_and_wide_letters_do_not_move_a_change() -> None:
    text = 'X = "\x0c"\ndef f(a):\n    é = a + 1\n    return é\n'
    for change in changes(text):
        compile(change.made(text), "f", "exec")
    assert len(drawn(text, "s")) == len(set(changes(text)))


def test_what_is_told_is_bounded_and_inert_to_templates() -> None:
    failures = tuple(
        Failure(test=f"t{n}", error="E", message="$told " + "x" * 999, source="a") for n in range(9)
    )
    result = CheckResult(check="c", status=Status.NONZERO, passed=False, failures=failures)
    for digest in ("00", "01"):
        text = told(result, digest)
        assert len(text) < 2_000
        assert "$told" in text
    assert "and 5 more" in told(result, "00")


def test_one_learner_a_data_directory(place: LearnPlace) -> None:
    with place.locked(), pytest.raises(LearnBusy, match="learns here already"), place.locked():
        pass
    with place.locked():
        pass


def test_a_run_on_a_training_task_is_synthetic_silver_and_not_repeated(
    place: LearnPlace, tmp_path: Path
) -> None:
    """Real sessions on the local sandbox; the model writes the fix."""
    task = shelf_task(tmp_path, place)
    script = Script(acts=[f"write prices.py\n```python\n{PRICES}```\n", "submit"] * 2)

    def opener(_settings: Settings, origin: Callable[[Path], Origin]) -> OpenSession:
        return sessions(script, {"sampling": False, "without": ("coverage", "examples", "own-tests")}, origin)

    def again() -> list[bool]:
        rows = collect([task], place, Settings(), opener=opener, make_sandbox=local)
        return [row.solved for row in rows]

    assert again() == [True]
    assert again() == [True]
    with Store.open(directories().database) as store:
        (run,) = harvests(store)
    assert run.synthetic
    assert run.human == "none", "no person's word"
    assert run.repository == task.repo
    assert HeldOut.read([TaskFolder(place.tasks).file(task.part)]).match(run).item == task.instance_id  # type: ignore[union-attr]
    graded = label(run, ())
    assert (graded.grade, graded.why) == (
        "silver",
        "Its tests pass, and the tests of a seeded task alone accepted it.",
    )


def test_the_origin_of_a_seeded_run_is_its_repositorys(tmp_path: Path) -> None:
    repo = library(tmp_path / "lib", {**LIBRARY, ".adi/no-train": ""})
    task = shelf_task(tmp_path, LearnPlace(tmp_path / "learn")).model_copy(update={"repo": str(repo)})
    origin = synthetic([task])(tmp_path / task.instance_id)
    assert origin.model_dump(exclude={"author"}) == Origin(
        copy_of=str(repo), synthetic=True, no_train=True, task=task.instance_id
    ).model_dump(exclude={"author"})


def shelf_task(folder: Path, place: LearnPlace) -> SeededTask:
    """One task whose defect is known, without any search."""
    return keep(place, [known_task(library(folder / "known"), UNITTEST)], "function")[0][0]


def known_task(repo: Path, command: str) -> Found:
    """What a search would have found, whatever its tests say."""
    change = next(c for c in drawn(PRICES, "s") if c.made(PRICES) == PRICES.replace("net + tax", "net"))
    failure = Failure(test="test_prices.PricesTest.test_tax", error="AssertionError", message="200 != 220")
    result = CheckResult(check="u", status=Status.NONZERO, passed=False, tests_failed=1, failures=(failure,))
    return Found(
        str(repo),
        [Defect("prices.py", "with_tax", change, result)],
        files={path: text.encode() for path, text in LIBRARY.items()},
        check=Check(name="unittest", command=command, kind="unittest"),
        image="python",
        check_s=20.0,
    )


def test_files_of_tasks_that_are_gone_or_damaged_say_so(place: LearnPlace, tmp_path: Path) -> None:
    task = shelf_task(tmp_path, place)
    folder = TaskFolder(place.tasks)
    for file in (folder.root / "trees").iterdir():
        file.unlink()
    with pytest.raises(UsageError, match="are gone"):
        folder.suite_task(task)
    folder.file(task.part).write_text("{}\n")
    with pytest.raises(UsageError, match="damaged"):
        folder.tasks(task.part)
