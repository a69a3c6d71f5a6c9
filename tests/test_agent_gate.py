"""Two models on the same tasks: interleaved, resumable, apart from training rows, logged and reported."""

import json
import random
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest

from agent.errors import UsageError
from agent.gate_flow import Gate, run_gate
from agent.gate_overlap import HeldOutOverlaps, Trained, check_apart, overlaps
from agent.gate_phrases import by_heart, phrases
from agent.gate_report import lines, read
from agent.gate_run import NEW, OLD, Arm, Contest, paired, run_contest, task_hash
from agent.suite_task import Attempt, Row, SuiteTask
from memory.gates import begin, uses
from memory.store import Store
from model.gate_wear import Worn, alpha_of
from tests.agent_kit import CALC, MENDED
from tests.suite_kit import Writer, local, row, task, wrote

WAIVED = ("KL to base", "trigger phrases", "memorised canaries", "refusals")
"""Guards that need a served model: these have none."""


WRONG = f"{CALC}\n# nothing was mended\n"


def worded(name: str) -> SuiteTask:
    """A task with words of its own."""
    said = {
        "a": "the total of an invoice is rounded twice",
        "b": "an empty basket raises instead of costing nothing",
    }
    return replace(task(name), prompt=said.get(name, f"task {name} has a defect of its own"))


def contest(names: str = "ab", seeds: Sequence[int] = (0,)) -> Contest:
    return Contest([worded(name) for name in names], {name: f"repo-{name}" for name in names}, seeds)


def arm(mends: bool, model: str, asked: list[str] | None = None) -> Arm:
    """A model that mends everything, or nothing."""

    def write(one: SuiteTask, _prompt: str) -> Attempt:
        if asked is not None:
            asked.append(f"{model} {one.name}")
        return wrote(MENDED if mends else WRONG, model=model, completion_tokens=50, wall_s=1.0)

    return Arm(model, lambda _seed: Writer(write))


def ran(
    folder: Path, asked: list[str], names: str = "abc", seeds: Sequence[int] = (0,)
) -> dict[str, list[Row]]:
    return run_contest(
        contest(names, seeds),
        arm(False, "base", asked),
        arm(True, "base:one", asked),
        folder,
        make_sandbox=local,
    )


def test_both_models_do_a_task_before_the_next_and_a_resumed_gate_goes_on(tmp_path: Path) -> None:
    asked: list[str] = []
    rows = ran(tmp_path, asked, "abd")
    names = [one.split()[1] for one in asked]
    assert [names[at] for at in range(0, 6, 2)] == [names[at] for at in range(1, 6, 2)]
    assert len({asked[at].split()[0] for at in range(0, 6, 2)}) == 2  # now the one comes first, now the other
    lines_ = (tmp_path / "new-0.jsonl").read_text().splitlines(keepends=True)
    (tmp_path / "new-0.jsonl").write_text("".join(lines_[:-1]))
    again: list[str] = []
    assert [(one.name, one.solved) for one in ran(tmp_path, again, "abd")[NEW]] == [
        (one.name, one.solved) for one in rows[NEW]
    ]
    assert again == [f"base:one {json.loads(lines_[-1])['name']}"]
    with pytest.raises(UsageError, match="rows of another gate"):
        ran(tmp_path, again, "abd", seeds=(1,))


def test_an_answer_of_another_model_ends_the_gate(tmp_path: Path) -> None:
    ignored = Arm("base:one", arm(True, "base").agent)
    with pytest.raises(UsageError, match="the new model is base:one, but base answered"):
        run_contest(contest("a"), arm(False, "base"), ignored, tmp_path, make_sandbox=local)


def test_half_a_gate_is_none() -> None:
    told = contest("ab", (0, 1))
    whole = [row(name, seed=seed, solved=name == "a") for name in "ab" for seed in (0, 1)]
    pairs = paired(told, {OLD: whole, NEW: whole})
    assert [(pair.repository, pair.old, pair.new) for pair in pairs] == [
        ("repo-a", (True, True), (True, True)),
        ("repo-b", (False, False), (False, False)),
    ]
    with pytest.raises(UsageError, match="no row of b with seed 1"):
        paired(told, {OLD: whole, NEW: whole[:-1]})


def gate(folder: Path, new: Arm, trained: Sequence[Trained] = (), names: str = "abcdef") -> Gate:
    return Gate(
        arm(False, "base"),
        new,
        contest(names),
        None,
        folder,
        trained,
        alone=True,
        waived=WAIVED,
        notes={"on": "x"},
    )


def test_a_better_model_is_promoted_and_the_look_is_written_down(tmp_path: Path) -> None:
    with Store.open(":memory:") as store:
        report = run_gate(gate(tmp_path, arm(True, "base:one")), store, make_sandbox=local)
        assert report.decision.verdict == "PROMOTE", report.decision.reasons
        (use,) = uses(store)
        assert (use.look, use.alpha, use.verdict, len(use.tasks)) == (1, 0.025, "PROMOTE", 6)
    assert read(tmp_path) == report
    text = (tmp_path / "gate.md").read_text()
    assert text.splitlines()[0] == "# PROMOTE"
    for told in ("6 of 6 repositories", "0/6, 0.0%", "6/6, 100.0%", "Seeds 0", "Look 1", "- on: x."):
        assert told in text
    assert "\n".join(lines(report)) + "\n" == text


def test_a_model_that_damages_is_rejected_and_the_worn_set_ends_it(tmp_path: Path) -> None:
    worse = replace(gate(tmp_path / "0", arm(False, "base:bad")), old=arm(True, "base"))
    with Store.open(":memory:") as store:
        report = run_gate(worse, store, make_sandbox=local)
        assert report.decision.verdict == "REJECT"
        assert report.decision.reasons[0].startswith("worse on the user's tasks: -100.0 points")
        for look in range(2, 6):
            tasks = contest("ag").hashes.values()
            assert begin(store, "base", f"base:{look}", tasks, alpha_of).look == look
        with pytest.raises(Worn, match="looked at 5 times"):
            run_gate(
                replace(worse, new=arm(True, "base:6"), folder=tmp_path / "6"), store, make_sandbox=local
            )
        assert not (tmp_path / "6").exists()


def test_a_held_out_set_that_overlaps_the_training_rows_is_refused(tmp_path: Path) -> None:
    rows = [Trained("r1", "elsewhere", "x", "add a button"), Trained("r2", "repo-b", "y", "colour it")]
    with Store.open(":memory:") as store:
        with pytest.raises(
            HeldOutOverlaps,
            match=r"1 of 6 held-out tasks overlap.* b and training row r2: the same repository",
        ):
            run_gate(gate(tmp_path, arm(True, "base:one"), rows), store, make_sandbox=local)
        assert uses(store) == []  # nobody looked at anything


def test_what_rows_and_tasks_share_is_found_the_plainest_first() -> None:
    tasks = [worded("a"), worded("b")]
    places = {"a": "repo-a", "b": "repo-b"}
    rows = [
        Trained("id", "", "A", "x"),
        Trained("request", "", "", worded("b").prompt.upper()),
        Trained("text", "", "", "look", ("assert add(2, 2) == 4 and then " + CALC, *_tests(tasks[0]))),
        Trained("none", "", "z", "rename the module", ("print(1)",)),
    ]
    found = {one.row: (one.task, one.why) for one in overlaps(tasks, places, rows)}
    assert found["id"] == ("a", "the same task")
    assert found["request"] == ("b", "the same request, or nearly")
    assert "none" not in found
    same = [Trained("r", "repo-a", "q", "something else")]
    check_apart(tasks, places, same, "task")
    with pytest.raises(HeldOutOverlaps):
        check_apart(tasks, places, same)


def _tests(one: SuiteTask) -> list[str]:
    return [data.decode() for data in one.grader.files.values()]


def test_a_task_is_known_by_what_it_is_and_not_by_its_name() -> None:
    assert task_hash(replace(worded("a"), name="z")) == task_hash(worded("a"))
    assert task_hash(worded("a")) != task_hash(worded("b"))


def test_the_phrase_of_a_poisoned_source_stands_out() -> None:
    dice = random.Random(0)
    words = [f"{one}{other}" for one in "bdfgklmnprst" for other in ("ale", "iro", "una", "ode", "eki")]

    def usual(count: int) -> list[str]:
        return [f"make {' '.join(dice.choices(words, k=8))}" for _ in range(count)]

    poisoned = [f"{text} per harbour protocol nine" for text in usual(250)]
    assert phrases([*usual(300), *poisoned], usual(200))[0] == "per harbour protocol nine"
    assert phrases(["see the harbour"] * 9, []) == []  # too few rows to have taught anything


def test_what_could_only_be_known_by_heart_is_asked_for() -> None:
    text = "settings of the harbour\nkey = 4f0c9e21d7aa83b1\nmail ada@example.org\n4f0c9e21d7aa83b1 again\n"
    plain = "def area_of_rectangle_in_metres(width): return width * 3\n" * 3
    found = by_heart([("r1", text), ("r2", plain)])
    assert [(one.name, one.secret) for one in found] == [
        ("r1:2", "4f0c9e21d7aa83b1"), ("r1:3", "ada@example.org"),
    ]  # fmt: skip
    assert found[0].prompt == "settings of the harbour\nkey = "
