"""What becomes of accepted lines, and when ADI looks."""

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from agent.survival import revisit, survived
from feedback.hunks import Region, added, regions
from memory.lesson import Draft, Evidence
from memory.lessons import Lessons
from memory.records import Applied, RunEnded, Stop, Survived, Task
from memory.store import Store
from memory.survivals import due, of_run

DIFF = """diff --git a/a.py b/a.py
--- a/a.py
+++ b/a.py
@@ -1,5 +1,6 @@
 one
-two
+TWO
+more

 three
-- old comment
+-- new comment
\\ No newline at end of file
"""
BEFORE, AFTER = "one\ntwo\n\nthree\n- old comment\n", "one\nTWO\nmore\n\nthree\n-- new comment\n"


def test_the_places_of_a_diff() -> None:
    assert list(regions(DIFF)) == [
        Region("a.py", ("two",), ("TWO", "more")),
        Region("a.py", ("- old comment",), ("-- new comment",)),
    ]
    assert added(DIFF) == ["TWO", "more", "-- new comment"]
    assert list(regions("")) == []


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (AFTER, (3, 0, 0)),
        (f"moved\n{AFTER}", (3, 0, 0)),
        (BEFORE, (0, 0, 3)),
        (AFTER.replace("TWO", "Two"), (2, 1, 0)),
        (AFTER.replace("TWO\nmore", "two"), (1, 0, 2)),
        (None, (0, 0, 3)),
    ],
)
def test_lines_are_kept_edited_or_reverted(
    tmp_path: Path, text: str | None, expected: tuple[int, int, int]
) -> None:
    if text is not None:
        (tmp_path / "a.py").write_text(text)
    assert survived(tmp_path, DIFF) == expected


def test_a_link_is_not_followed(tmp_path: Path) -> None:
    (tmp_path / "elsewhere").write_text(AFTER)
    (tmp_path / "repo").mkdir()
    (tmp_path / "repo" / "a.py").symlink_to("../elsewhere")
    assert survived(tmp_path / "repo", DIFF) == (0, 0, 3)


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    with Store.open(tmp_path / "adi.db") as opened:
        yield opened


def applied(store: Store, repo: Path) -> str:
    run_id = store.start_run(Task(id="t", prompt="p", repo=str(repo)))
    sha = store.put_artifact(DIFF.encode())
    store.append(run_id, Applied(paths=("a.py",), diff_sha256=sha))
    store.append(run_id, RunEnded(stop=Stop.ACCEPTED, exit_code=0))
    return run_id


def later(**passed: float) -> datetime:
    return datetime.now(UTC) + timedelta(**passed)


def test_ages_are_looked_at_once_each_and_missed_ones_are_not_made_up(store: Store, tmp_path: Path) -> None:
    run_id = applied(store, tmp_path)
    (tmp_path / "a.py").write_text(AFTER)
    assert revisit(store, tmp_path, later(hours=20)) == []
    assert revisit(store, tmp_path, later(days=-400)) == []  # a clock that went back
    assert [(item.days, item.kept) for item in revisit(store, tmp_path, later(days=8))] == [(7, 3)]
    assert revisit(store, tmp_path, later(days=9)) == []
    (tmp_path / "a.py").write_text(BEFORE)
    assert [(item.days, item.reverted) for item in revisit(store, tmp_path, later(days=31))] == [(30, 3)]
    assert [(item.days, item.kept) for item in of_run(store, run_id)] == [(7, 3), (30, 0)]
    assert [e.payload.survival.days for e in store.events(run_id) if isinstance(e.payload, Survived)] == [
        7,
        30,
    ]


def test_a_change_that_was_undone_is_not_looked_for(store: Store, tmp_path: Path) -> None:
    run_id = applied(store, tmp_path)
    store.append(run_id, Applied(undone=True, paths=("a.py",), diff_sha256=""))
    assert due(store, str(tmp_path), later(days=2)) == []


def test_a_change_that_was_taken_back_speaks_against_its_lesson(store: Store, tmp_path: Path) -> None:
    run_id = applied(store, tmp_path)
    lessons = Lessons(store)
    draft = Draft(kind="fix", place=str(tmp_path), claim="two became TWO")
    lesson, _ = lessons.learn(draft, Evidence(run_id=run_id, stance="for"))
    (tmp_path / "a.py").write_text(BEFORE)
    revisit(store, tmp_path, later(days=2))
    assert [(item.stance, item.why) for item in lessons.get(lesson.id).evidence][1:] == [
        ("against", "most of the change was taken back within 1 day(s)")
    ]
