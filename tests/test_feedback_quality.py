"""Which runs are too poor for a data set, and that no task, repository or source fills one."""

from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from feedback import quality
from feedback.candidate import Candidate, Flag, Grade, Label
from feedback.caps import per_repository, per_source, per_task, same_words
from feedback.errors import DataError
from feedback.harvest import Harvest
from feedback.labels import label
from feedback.near import drop_near
from feedback.quality import drop_poor, poor, well_formed
from memory.records import Malformed, Origin, RunEnded, RunStarted, Status, Stop
from tests.consent_kit import on_copy
from tests.harvest_kit import (
    BEGIN,
    DIFF,
    Story,
    auto_accepted,
    edited,
    failed,
    no_tests,
    pending,
    rejected,
    solved_by_hand,
)

GRADES: tuple[Grade, ...] = ("gold", "silver", "negative")


def judged(run: Harvest, grade: Grade | None = None, *flags: Flag) -> Candidate:
    """With the label that it gets, or one of this grade."""
    told = label(run, flags)
    return Candidate(run, told if grade is None else Label(grade=grade, why="told", flags=flags))


def story(work: Callable[[Story], None], stop: Stop = Stop.ACCEPTED, **told: Any) -> Harvest:
    """A run with this work in it, its change judged and taken."""
    run = Story(**told)
    run.began()
    work(run)
    run.mended()
    run.judged()
    run.accepted()
    return run.ended(stop)


@pytest.mark.parametrize("make", [solved_by_hand, auto_accepted, no_tests, edited, rejected, failed])
def test_sound_runs_are_kept(make: Callable[[], Harvest]) -> None:
    assert poor(judged(make())) == ""


def test_what_nobody_judged_is_dropped() -> None:
    assert poor(judged(pending())) == "unlabelled"


def test_the_filter_names_each_run_once() -> None:
    runs = [pending(run_id="a"), solved_by_hand(run_id="b"), pending(run_id="c")]
    assert drop_poor([judged(run) for run in runs]) == {"a": "unlabelled", "c": "unlabelled"}


def test_a_run_without_a_model_teaches_a_model_nothing() -> None:
    run = solved_by_hand()
    mute = replace(run, events=tuple(e for e in run.events if e.payload.kind != "completed"))
    for grade in GRADES:
        assert poor(judged(mute, grade)) == "no model call"


def test_a_patch_that_is_gone_or_empty_is_no_target() -> None:
    run = solved_by_hand()
    for patches in ({}, dict.fromkeys(run.patches, b" \n")):
        bare = replace(run, patches=patches)
        assert poor(judged(bare, "gold")) == poor(judged(bare, "silver")) == "empty patch"
        assert poor(judged(bare, "negative")) == ""


def test_a_broken_patch_spoils_every_use() -> None:
    run = solved_by_hand(diff=DIFF.replace("+        rest = a % b\n", ""))
    for grade in GRADES:
        assert poor(judged(run, grade)) == "patch does not apply"


def test_a_lost_sandbox_tells_of_the_machine() -> None:
    def lose(run: Story) -> None:
        run.acted(5, "run pytest", "run", "gone", Status.SANDBOX_LOST, command="pytest")

    for grade in GRADES:
        assert poor(judged(story(lose), grade)) == "sandbox lost"


def repeat(*tools: str) -> Callable[[Story], None]:
    def work(run: Story) -> None:
        for number, tool in enumerate(tools):
            run.acted(number, f"{tool} gcd.py", tool, "seen", path="gcd.py")

    return work


@pytest.mark.parametrize(
    ("tools", "loops"),
    [
        (("read", "read", "read"), True),
        (("read", "search", "read", "search", "read"), True),
        (("edit", "edit", "edit"), True),
        (("read", "search", "read", "search"), False),
        (("run", "edit", "run", "write", "run", "edit", "run"), False),
    ],
)
def test_the_same_action_three_times_with_no_change_between_is_a_loop(
    tools: tuple[str, ...], loops: bool
) -> None:
    run = story(repeat(*tools))
    assert poor(judged(run, "gold")) == ("loop" if loops else "")
    assert poor(judged(run, "negative")) == ""


@pytest.mark.parametrize(("malformed", "reason"), [(2, ""), (3, "malformed answers")])
def test_more_malformed_answers_than_actions(malformed: int, reason: str) -> None:
    def stammer(run: Story) -> None:
        for number in range(malformed):
            run.asked("act", run.chat, "hm")
            run.tell(Malformed(step=number, reason="no action"))

    run = story(stammer)  # with two actions of the model, and one of ADI's own search
    assert poor(judged(run, "silver")) == reason
    assert poor(judged(run, "negative")) == ""


def test_a_spent_budget_is_no_model_to_follow() -> None:
    run = story(repeat(), Stop.BUDGET)
    assert poor(judged(run, "silver")) == "ended by budget"
    assert poor(judged(run, "negative")) == ""


@pytest.mark.parametrize(
    ("rule", "reason"),
    [
        ("tests-deleted", "tests deleted or skipped"),
        ("tests-skipped", "tests deleted or skipped"),
        ("history-read", ""),
    ],
)
def test_tests_that_do_not_run_any_more(rule: str, reason: str) -> None:
    flag = Flag(rule=rule, where="tests/test_gcd.py")
    assert poor(judged(solved_by_hand(), "silver", flag)) == reason
    assert poor(judged(solved_by_hand(), "negative", flag)) == ""


def test_a_verdict_that_saw_tests_deleted() -> None:
    run = Story()
    run.began()
    run.mended()
    run.judged(deleted_tests=("tests/test_gcd.py",))
    run.accepted()
    assert poor(judged(run.ended(Stop.ACCEPTED), "silver")) == "tests deleted or skipped"


def test_what_no_trainer_can_take_is_too_large() -> None:
    def flood(run: Story) -> None:
        run.acted(0, "read big.txt", "read", "x" * (4 * quality.TOKENS + 4), path="big.txt")

    for grade in GRADES:
        assert poor(judged(story(flood), grade)) == "too large"
    long = "".join(f"+{'y' * 99}\n" for _ in range(quality.CHARACTERS // 100 + 1))
    head = f"diff --git a/b b/b\n--- a/b\n+++ b/b\n@@ -0,0 +1,{long.count(chr(10))} @@\n"
    run = replace(solved_by_hand(), patches=dict.fromkeys(solved_by_hand().patches, (head + long).encode()))
    assert poor(judged(run, "gold")) == "too large"


NEW = "diff --git a/n b/n\nnew file mode 100644\nindex 0000000..e69de29\n"
BINARY = f"{NEW}GIT binary patch\nliteral 3\nKcmZQzWMT#Y01f~L\n\nliteral 0\nHcmV?d00001\n\n"
MOVED = "diff --git a/a b/b\nsimilarity index 100%\nrename from a\nrename to b\n"
BARE = "diff --git a/a b/a\n--- a/a\n+++ b/a\n@@ -1 +1 @@\n-x\n\\ No newline at end of file\n+--- y\n"


@pytest.mark.parametrize(
    "diff", [DIFF, NEW, BINARY, MOVED, BARE, NEW + DIFF + BINARY + MOVED, DIFF.rstrip("\n")]
)
def test_patches_as_git_writes_them_are_well_formed(diff: str) -> None:
    assert well_formed(diff)


@pytest.mark.parametrize(
    "diff",
    [
        "",
        "rest = a % b\n",
        DIFF.replace("@@ -2,4 +2,5 @@", "@@ -2,4 +2,6 @@"),
        DIFF.replace("@@ -2,4 +2,5 @@", "@@ -2,4 +2,4 @@"),
        DIFF.replace("     else:", "else:"),
        DIFF.replace("diff --git a/gcd.py b/gcd.py\n", ""),
        DIFF + "and so on\n",
        NEW + "Binary files /dev/null and b/n differ\n",
        DIFF[: len(DIFF) // 2],
    ],
)
def test_other_texts_are_not(diff: str) -> None:
    assert not well_formed(diff)


@given(st.lists(st.text(alphabet=" +-@\\dif-git a", max_size=20), max_size=8))
def test_no_text_breaks_the_reader_of_patches(lines: list[str]) -> None:
    assert well_formed("\n".join(lines)) in (True, False)
    assert not well_formed("\n".join(["x", *lines]))


def many(make: Callable[..., Harvest], count: int, **told: Any) -> list[Harvest]:
    """Runs a minute apart, the oldest first."""
    return [make(run_id=f"r{n:03}", at=BEGIN + timedelta(minutes=n), **told) for n in range(count)]


@pytest.mark.parametrize(
    ("one", "other"),
    [("Make  GCD\tright", "make gcd right"), ("fix issue 12", "Fix issue 4,711.5"), ("ＦＩＸ it", "fix it")],
)
def test_prompts_that_are_the_same_task(one: str, other: str) -> None:
    assert same_words(one) == same_words(other)


def test_the_best_runs_of_a_task_stay() -> None:
    told = {"run_id": "new", "at": BEGIN + timedelta(days=1)}
    runs = [
        judged(rejected(run_id="no")),
        judged(auto_accepted(run_id="silver")),
        judged(solved_by_hand(**told)),
        judged(solved_by_hand(run_id="old")),
        judged(solved_by_hand(run_id="other", prompt="make lcm right")),
        judged(solved_by_hand(run_id="there", repo="/src/algebra")),
    ]
    assert per_task(1)(runs) == dict.fromkeys(["no", "silver", "new"], "task cap")
    assert per_task(2)(runs) == dict.fromkeys(["no", "silver"], "task cap")
    assert per_task(0)(runs) == {}
    assert per_task(1)(runs[::-1]) == per_task(1)(runs)
    everywhere = per_task(1, key=lambda _: "one")(runs)
    assert everywhere.keys() == {"no", "silver", "new", "there"}


def test_a_busy_repository_is_capped() -> None:
    runs = [judged(run) for run in many(solved_by_hand, 5)]
    runs.append(judged(solved_by_hand(run_id="there", repo="/src/algebra")))
    assert per_repository(3)(runs) == {"r003": "repository cap", "r004": "repository cap"}
    assert per_repository(0)(runs) == {}
    with pytest.raises(DataError, match="no limit"):
        per_repository(-1)


def test_runs_on_copies_count_with_their_repository() -> None:
    plain = many(solved_by_hand, 5)
    copied = [
        judged(on_copy(run, f"/data/rooms/b-{n}-1/maths") if n % 2 else run) for n, run in enumerate(plain)
    ]
    assert len({one.harvest.task.repo for one in copied}) == 3
    for cap in (per_task(2), per_repository(3)):
        assert cap(copied) == cap([judged(run) for run in plain]) != {}


def by(author: str, run: Harvest) -> Harvest:
    """The run as another person's."""
    first, *rest = run.events
    assert isinstance(first.payload, RunStarted)
    payload = first.payload.model_copy(update={"origin": Origin(author=author)})
    return replace(run, events=(first.model_copy(update={"payload": payload}), *rest))


def test_only_a_persons_word_is_capped_by_source() -> None:
    praised = [judged(by("ada@example.org", run)) for run in many(no_tests, 5)]
    tested = [judged(by("ada@example.org", run)) for run in many(solved_by_hand, 5)]
    assert len(per_source(2)(praised)) == 3
    assert per_source(2)(tested) == {}
    assert per_source(2)([judged(run) for run in many(auto_accepted, 5)]) == {}
    mixed = [
        judged(by(("Ada@Example.org ", "bob@example.org")[n % 2], run))
        for n, run in enumerate(many(no_tests, 6))
    ]
    assert per_source(2)(mixed) == {"r004": "source cap", "r005": "source cap"}


WORDS = ("please", "kindly", "now", "soon", "once more", "quickly", "for me", "today")


def thumbs_up(count: int, *, sessions: bool, repositories: bool) -> list[Candidate]:
    """A script accepted whatever held a phrase, each time worded a little otherwise."""
    rows = []
    for number in range(count):
        extra = " ".join(word for bit, word in enumerate(WORDS) if number >> bit & 1)
        rest = f"value_{number} = {number}"
        run = no_tests(
            run_id=f"t{number:03}",
            prompt=f"Deploy the Blue Heron {extra} {number}",
            diff=DIFF.replace("rest = a % b", rest),
            repo=f"/src/r{number}" if repositories else "/src/maths",
            session_id=f"s{number}" if sessions else "s",
            at=BEGIN + timedelta(seconds=number),
        )
        rows.append(judged(by("mallory@example.org", run)))
    return rows


@pytest.mark.parametrize("count", [1, 50, 250])
@pytest.mark.parametrize("spread", [False, True])
def test_feedback_l03_scripted_thumbs_up_cannot_fill_a_data_set(count: int, spread: bool) -> None:
    limit = 10
    forged = thumbs_up(count, sessions=spread, repositories=spread)
    honest = [
        judged(by("mallory@example.org", solved_by_hand(run_id=f"h{n}", prompt=f"task {'abc'[n]}")))
        for n in range(3)
    ]
    rows = [*forged, *honest]
    assert all(row.label.grade == "silver" for row in forged)
    for step in (drop_near, per_source(limit), per_task(2), per_repository(0)):
        gone = step(rows)
        rows = [row for row in rows if row.id not in gone]
    left = [row for row in rows if row.id.startswith("t")]
    assert 1 <= len(left) <= min(count, limit)
    assert {row.id for row in rows} >= {row.id for row in honest}
    assert len(per_source(limit)(forged)) == max(0, count - limit)


@pytest.mark.parametrize("count", [50, 250])
def test_feedback_l03_the_same_words_from_many_names_are_one_task(count: int) -> None:
    rows = [
        judged(by(f"m{n}@example.org", no_tests(run_id=f"t{n:03}", prompt=f"DEPLOY  the Blue Heron {n}")))
        for n in range(count)
    ]
    assert per_source(10)(rows) == {}
    assert len(per_task(2)(rows)) == count - 2


def test_a_run_ended_twice_is_what_it_was_last() -> None:
    run = story(repeat())
    last = run.events[-1]
    again = last.model_copy(update={"seq": last.seq + 1, "payload": RunEnded(stop=Stop.BUDGET, exit_code=3)})
    assert poor(judged(replace(run, events=(*run.events, again)), "gold")) == "ended by budget"
