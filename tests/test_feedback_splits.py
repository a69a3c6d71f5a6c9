"""Splits: a repository lies in one, never moves, and nothing leaks from one into another."""

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from feedback.candidate import Candidate, Label
from feedback.caps import task_of
from feedback.errors import DataError
from feedback.harvest import Harvest
from feedback.splits import SPLITS, assign, leaks
from memory.records import RunStarted, Task
from tests.consent_kit import on_copy
from tests.harvest_kit import BEGIN, DIFF, harvest_of

GOLD = Label(grade="gold", why="told")


def run(number: int, repo: str, prompt: str = "make it right", minutes: int | None = None) -> Candidate:
    at = BEGIN + timedelta(minutes=number if minutes is None else minutes)
    started = RunStarted(task=Task(id="t", prompt=prompt, repo=repo), adi_version="1")
    return Candidate(harvest_of([started], run_id=f"r{number:04}", at=at), GOLD)


REPOS = st.lists(st.tuples(st.integers(0, 12), st.integers(0, 4)), max_size=40).map(
    lambda pairs: [run(n, f"/src/r{repo}", f"task {'abcde'[task]}") for n, (repo, task) in enumerate(pairs)]
)


@given(REPOS, st.integers(0, 5), st.integers(0, 40))
def test_a_repository_lies_in_one_split_and_never_moves(
    runs: list[Candidate], seed: int, others: int
) -> None:
    found, table = assign(runs, seed=seed)
    assert found.keys() == {one.id for one in runs}
    places = {(one.harvest.task.repo, found[one.id]) for one in runs}
    assert len(places) == len({repo for repo, _ in places})
    assert dict(places) == table
    fewer, _ = assign(runs[:others], seed=seed)
    assert fewer.items() <= found.items()
    assert assign(runs[::-1], seed=seed) == (found, table)


@given(REPOS, st.integers(0, 5))
def test_runs_on_copies_lie_where_their_repository_does(runs: list[Candidate], seed: int) -> None:
    copied = [
        replace(one, harvest=on_copy(one.harvest, f"/data/rooms/b-{n}-1/r")) if n % 2 else one
        for n, one in enumerate(runs)
    ]
    for by in ("repository", "time"):
        assert assign(copied, seed=seed, by=by) == assign(runs, seed=seed, by=by)


@given(REPOS, st.dictionaries(st.sampled_from([f"/src/r{n}" for n in range(20)]), st.sampled_from(SPLITS)))
def test_what_was_frozen_always_wins(runs: list[Candidate], frozen: dict[str, str]) -> None:
    for by in ("repository", "time"):
        found, table = assign(runs, seed=1, frozen=frozen, by=by)
        for one in runs:
            repo = one.harvest.task.repo
            if repo in frozen:
                assert found[one.id] == frozen[repo]
        assert frozen.items() <= table.items()
        assert assign(runs, seed=2, frozen=table, by=by) == (found, table)


@settings(max_examples=50)
@given(REPOS, st.lists(st.integers(0, 6), min_size=40, max_size=40))
def test_by_time_tasks_and_groups_stay_together(runs: list[Candidate], drawn: list[int]) -> None:
    groups = {one.id: group for one, group in zip(runs, drawn, strict=False) if group < 4}
    found, _ = assign(runs, seed=0, by="time", shares=(0.6, 0.2, 0.2), groups=groups)
    assert found.keys() == {one.id for one in runs}
    for name in {task_of(one) for one in runs}:
        assert len({found[one.id] for one in runs if task_of(one) == name}) == 1
    for group in set(groups.values()):
        assert len({found[name] for name, of in groups.items() if of == group}) == 1
    for split in ("test", "validation"):
        assert sum(place == split for place in found.values()) <= round(0.2 * len(runs))


def test_by_hash_the_shares_are_kept_and_the_seed_counts() -> None:
    runs = [run(n, f"/src/r{n}") for n in range(4000)]
    found, _ = assign(runs, seed=0, shares=(0.8, 0.1, 0.1))
    counts = Counter(found.values())
    assert 3100 < counts["train"] < 3300
    assert 320 < counts["test"] < 480
    assert 320 < counts["validation"] < 480
    assert assign(runs, seed=1, shares=(0.8, 0.1, 0.1))[0] != found
    assert {*assign(runs, seed=1, shares=(0, 0, 1))[0].values()} == {"test"}


def test_another_key_names_the_repository() -> None:
    runs = [run(n, f"/clone{n}/maths") for n in range(50)]
    found, table = assign(runs, seed=3, key=lambda one: one.harvest.task.repo.rpartition("/")[2])
    assert len({*found.values()}) == 1
    assert [*table] == ["maths"]


def test_the_newest_are_for_the_test() -> None:
    runs = [run(n, "/src/maths", f"task {chr(97 + n)}") for n in range(20)]
    found, table = assign(runs, seed=0, by="time", shares=(0.8, 0.1, 0.1))
    assert [found[one.id] for one in runs] == ["train"] * 16 + ["validation"] * 2 + ["test"] * 2
    later = [*runs, *(run(n, "/src/maths", f"task {chr(97 + n)}") for n in range(20, 24))]
    again, _ = assign(later, seed=0, by="time", shares=(0.8, 0.1, 0.1), frozen=table)
    assert found.items() <= again.items()
    assert {again["r0018"], again["r0019"]} == {"test"}


def test_runs_of_one_task_follow_the_newest_and_a_large_task_trains() -> None:
    old = [run(n, "/src/maths", f"Fix issue {n}", minutes=n) for n in (0, 1)]
    rest = [run(n, "/src/maths", f"task {chr(90 + n)}") for n in range(2, 20)]
    newest = run(30, "/src/maths", "fix  ISSUE 7")
    found, _ = assign([*old, *rest, newest], seed=0, by="time", shares=(0.7, 0.15, 0.15))
    assert {found[one.id] for one in (*old, newest)} == {"test"}
    found, _ = assign([*old, *rest, newest], seed=0, by="time", shares=(0.8, 0.1, 0.1))
    assert {found[one.id] for one in (*old, newest)} == {"train"}
    assert found["r0019"] == found["r0018"] == "test"


def test_a_frozen_task_takes_its_near_duplicates_along() -> None:
    runs = [run(n, "/src/maths", f"task {chr(97 + n)}") for n in range(10)]
    _, table = assign(runs[:1], seed=0, by="time", shares=(0, 0, 1))
    assert [*table.values()] == ["test"]
    found, _ = assign(runs, seed=0, by="time", frozen=table, groups={"r0000": "g", "r0003": "g"})
    assert found["r0000"] == found["r0003"] == "test"


@pytest.mark.parametrize("shares", [(0.9, 0.05, 0.06), (1.1, -0.1, 0.0), (1.0, 0.0)])
def test_shares_that_are_none_are_refused(shares: Any) -> None:
    with pytest.raises(DataError, match="shares"):
        assign([], seed=0, shares=shares)


def test_a_table_that_is_none_is_refused() -> None:
    with pytest.raises(DataError, match="'dev'"):
        assign([], seed=0, frozen={"/src/maths": "dev"})


LONG = (
    "the parser of dates in the calendar module loses the time zone of every entry that was written in the "
    "summer months, so meetings begin an hour late; keep the offset that the text names"
)


def row(name: str, split: str, *, repo: str = "", prompt: str = LONG, patch: str = DIFF) -> dict[str, Any]:
    """As in a data set."""
    told = {"trajectory_id": name, "split": split, "repo": repo or f"repo-{name}", "final_patch": patch}
    event = {"kind": "run-started", "task": {"prompt": prompt}}
    return told | {"events": json.dumps({"seq": 1, "payload": event}) + "\n{}\n"}


OTHER = {
    "prompt": "another task altogether, of printing",
    "patch": DIFF.replace("rest", "printed_page_number"),
}


def test_clean_splits_have_no_leaks() -> None:
    rows = [row("a", "train"), row("a", "train"), row("b", "test", **OTHER)]
    assert leaks(rows) == []
    assert leaks([]) == []


@pytest.mark.parametrize(
    ("rows", "told"),
    [
        ([row("a", "train"), row("a", "test")], "run a is in test and train"),
        (
            [row("a", "train", repo="r"), row("b", "test", repo="r", **OTHER)],
            "repository r is in test and train",
        ),
        (
            [
                row("a", "train", repo="r", prompt="Fix 1", patch=""),
                row("b", "test", repo="r", prompt="fix 2", patch=""),
            ],
            "task r: fix # is in test and train",
        ),
        (
            [row("a", "train"), row("b", "validation", prompt=LONG.replace("hour", "day"))],
            "runs a and b are near-duplicates in train and validation",
        ),
    ],
)
def test_leaks_are_told(rows: list[dict[str, Any]], told: str) -> None:
    assert told in leaks(rows)


def test_by_time_a_repository_may_lie_in_two_splits_and_a_task_may_not() -> None:
    rows = [row("a", "train", repo="r"), row("b", "test", repo="r", **OTHER)]
    assert leaks(rows, by_time=True) == []
    same = [row("a", "train", repo="r"), row("b", "test", repo="r", patch=OTHER["patch"] * 9)]
    assert any(problem.startswith("task ") for problem in leaks(same, by_time=True))


def test_near_duplicates_within_a_split_are_no_leak() -> None:
    assert leaks([row("a", "train"), row("b", "train")]) == []


def test_rows_without_the_task_are_compared_by_their_patch() -> None:
    rows: Sequence[Mapping[str, Any]] = [
        {"trajectory_id": name, "split": split, "repo": name, "final_patch": DIFF, "events": events}
        for name, split, events in (("a", "train", None), ("b", "test", "no document"))
    ]
    assert leaks(rows) == ["runs a and b are near-duplicates in test and train"]
    stated = [
        {**one, "problem_statement": text} for one, text in zip(rows, (LONG, OTHER["prompt"]), strict=True)
    ]
    assert leaks(stated) == []


@settings(max_examples=60)
@given(st.lists(st.tuples(st.lists(st.integers(0, 5), max_size=14), st.sampled_from(SPLITS)), max_size=12))
def test_near_duplicates_are_those_that_brute_force_finds(drawn: list[tuple[list[int], str]]) -> None:
    rows = [
        row(f"x{n}", split, prompt=" ".join(f"w{word}" for word in words), patch="")
        for n, (words, split) in enumerate(drawn)
    ]

    def grams(words: list[int]) -> set[tuple[int, ...]]:
        size = min(5, len(words))
        return {tuple(words[at : at + size]) for at in range(len(words) - size + 1)} if words else set()

    expected = set()
    for second, (words, split) in enumerate(drawn):
        for first, (others, apart) in enumerate(drawn[:second]):
            mine, theirs = grams(words), grams(others)
            if mine and split != apart and len(mine & theirs) >= 0.8 * len(mine | theirs):
                expected.add((f"x{first}", f"x{second}"))
    told = [problem.split() for problem in leaks(rows) if problem.startswith("runs ")]
    assert {(words[1], words[3]) for words in told} == expected


def test_what_assign_makes_has_no_leaks() -> None:
    runs: list[Harvest] = [
        run(n, f"/src/r{n % 7}", f"{LONG} {'abcdefghijk'[n % 11] * 9}").harvest for n in range(60)
    ]
    for by in ("repository", "time"):
        found, _ = assign([Candidate(one, GOLD) for one in runs], seed=5, by=by, shares=(0.5, 0.25, 0.25))
        assert len({*found.values()}) > 1
        rows = [
            row(one.run_id, found[one.run_id], repo=one.task.repo, prompt=one.task.prompt, patch="")
            for one in runs
        ]
        told = [problem for problem in leaks(rows, by_time=by == "time") if not problem.startswith("runs ")]
        assert told == []
