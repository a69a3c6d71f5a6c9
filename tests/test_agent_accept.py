"""From a finished work copy to the user's tree and back: every decision, and what it leaves alone."""

import contextlib
from collections.abc import Iterator
from pathlib import Path

import pytest

from agent.accept import Ending, decide, diffstat, settle, take_back
from agent.person import Decision, Person, Unattended
from agent.run import Run
from feedback.verdict import judge
from memory.records import Applied, Evaluation, Stop, UserActed, Verdict
from sandbox.local import LocalSandbox
from sandbox.workcopy import WorkCopy
from tests.agent_kit import BUGGY, CALC, CHECK, MENDED, Script, Someone, open_run, payloads
from tests.conftest import RepoFactory, git

ACCEPT, DEFER = Decision("accept"), Decision("defer", reason="later")


def verdict(files: WorkCopy) -> Evaluation:
    original = WorkCopy(files.snapshot)
    return judge(original, files, [CHECK], lambda clean: LocalSandbox(clean.archive()), timeout_s=20)


@contextlib.contextmanager
def mended(repo: Path, data: bytes = MENDED.encode()) -> Iterator[Run]:
    """A run whose work copy holds a change."""
    with open_run(repo, Script()) as run:
        run.files.write("calc.py", data)
        yield run


def decided(run: Run, person: Person, ended: Ending | None = None) -> Ending:
    return settle(run, person, verdict, ended)


def acted(run: Run) -> list[str]:
    return [item.action for item in payloads(run, UserActed)]


def test_an_accepted_change_is_in_the_tree_and_nothing_else_is_touched(make_repo: RepoFactory) -> None:
    repo = make_repo({**BUGGY, "other.txt": "mine\n"})
    (repo / "other.txt").write_text("edited, not committed\n")
    (repo / "untracked").write_text("new\n")
    head, index = git(repo, "rev-parse", "HEAD"), (repo / ".git/index").read_bytes()
    with mended(repo) as run:
        assert decided(run, Someone(ACCEPT)) == Ending(Stop.ACCEPTED, "1 of 1 checks pass")
        assert acted(run) == ["accept"]
        (applied,) = payloads(run, Applied)
        assert applied.paths == ("calc.py",)
        assert b"+    return a + b" in run.recorder.store.artifact(applied.diff_sha256)
        assert run.desk.patch_file.read_bytes() == run.files.diff()
    assert (repo / "calc.py").read_text() == MENDED
    assert (repo / "other.txt").read_text() == "edited, not committed\n"
    assert git(repo, "rev-parse", "HEAD") == head
    assert (repo / ".git/index").read_bytes() == index
    assert sorted(path.name for path in repo.iterdir()) == sorted(
        [".git", "calc.py", "other.txt", "test_calc.py", "untracked"]
    )


def test_a_rejection_keeps_the_reason_and_touches_nothing(make_repo: RepoFactory) -> None:
    repo = make_repo(BUGGY)
    with mended(repo) as run:
        ending = decided(run, Someone(Decision("reject", reason="too clever", viewed=True)))
        assert ending == Ending(Stop.REJECTED, "too clever")
        assert ending.exit_code == 3
        assert acted(run) == ["view-diff", "reject"]
        assert payloads(run, UserActed)[-1].detail == "too clever"
    assert (repo / "calc.py").read_text() == CALC


def test_a_deferred_result_waits(make_repo: RepoFactory) -> None:
    with mended(make_repo(BUGGY)) as run:
        ending = decided(run, Someone(DEFER))
        assert (ending.stop, ending.exit_code) == (Stop.PENDING, 4)
        assert acted(run) == ["defer"]
        assert run.recorder.store.artifact(payloads(run, Verdict)[0].diff_sha256) == run.files.diff()


def test_an_edited_diff_is_judged_again(make_repo: RepoFactory) -> None:
    repo = make_repo(BUGGY)
    with mended(repo) as run:
        patch = run.files.diff().replace(b"a + b", b"b + a  # better")
        person = Someone(Decision("edit", patch=patch), ACCEPT)
        assert decided(run, person).stop is Stop.ACCEPTED
        assert acted(run) == ["edit-diff", "accept"]
        first, second = payloads(run, Verdict)
        assert first.diff_sha256 != second.diff_sha256 == payloads(run, Applied)[0].diff_sha256
        assert person.shown[1][0] != person.shown[0][0]
    assert "b + a  # better" in (repo / "calc.py").read_text()


def test_an_edit_that_breaks_the_checks_is_told_and_not_accepted_unattended(make_repo: RepoFactory) -> None:
    with mended(make_repo(BUGGY)) as run:
        patch = run.files.diff().replace(b"a + b", b"a * b")
        person = Someone(Decision("edit", patch=patch), DEFER)
        decided(run, person)
        assert [evaluation.accepted for _, evaluation in person.shown] == [True, False]


def test_a_diff_that_does_not_apply_is_told_and_asked_again(make_repo: RepoFactory) -> None:
    with mended(make_repo(BUGGY)) as run:
        person = Someone(Decision("edit", patch=b"--- a/x\n+++ b/x\n@@ nonsense\n"), ACCEPT)
        assert decided(run, person).stop is Stop.ACCEPTED
        assert person.told[0].startswith("The edited diff cannot be used: ")
        assert person.shown[0] == person.shown[1]


def test_a_change_of_the_same_file_meanwhile_keeps_both(make_repo: RepoFactory) -> None:
    repo = make_repo(BUGGY)
    with mended(repo) as run:
        (repo / "calc.py").write_text("# the user's own edit\n")
        ending = decided(run, Someone(ACCEPT))
        assert (ending.stop, ending.exit_code) == (Stop.CONFLICT, 4)
        assert "calc.py" in ending.detail
        assert payloads(run, Applied) == []
        assert run.desk.patch_file.read_bytes() == run.files.diff()
    assert (repo / "calc.py").read_text() == "# the user's own edit\n"


@pytest.mark.parametrize(
    ("accept", "data", "stop"),
    [
        (True, MENDED, Stop.ACCEPTED),
        (False, MENDED, Stop.PENDING),
        (True, CALC + "x = 1\n", Stop.FAILED),
        (False, CALC + "x = 1\n", Stop.FAILED),
    ],
)
def test_nobody_there_accepts_only_what_the_verdict_accepts(
    make_repo: RepoFactory, accept: bool, data: str, stop: Stop
) -> None:
    repo = make_repo(BUGGY)
    with mended(repo, data.encode()) as run:
        assert decided(run, Unattended(accept)).stop is stop
    assert ((repo / "calc.py").read_text() == MENDED) == (stop is Stop.ACCEPTED)


def test_a_change_of_the_tests_is_not_accepted_unattended(make_repo: RepoFactory) -> None:
    repo = make_repo(BUGGY)
    with mended(repo) as run:
        run.files.write("test_calc.py", b"assert True\n")
        assert decided(run, Unattended(accept=True)).stop is Stop.PENDING
        assert payloads(run, Verdict)[0].evaluation.changed_tests == ("test_calc.py",)
    assert (repo / "calc.py").read_text() == CALC


def test_early_ends_are_kept_unless_the_work_holds(make_repo: RepoFactory) -> None:
    budget = Ending(Stop.BUDGET, "10 actions")
    repo = make_repo(BUGGY)
    with open_run(repo, Script()) as run:
        assert settle(run, Someone(), verdict, budget) == budget
        assert settle(run, Someone(), verdict, None).stop is Stop.NOTHING_TO_DO
    with mended(repo, CALC.encode() + b"x = 1\n") as run:
        assert decided(run, Unattended(accept=True), budget) == budget
    with mended(repo) as run:
        assert decided(run, Unattended(accept=True), budget).stop is Stop.ACCEPTED


def test_undo_gives_every_file_back_and_touches_nothing_else(make_repo: RepoFactory) -> None:
    repo = make_repo({**BUGGY, "run.sh": "#!/bin/sh\n", "gone.sh": "#!/bin/sh\n"})
    for name in ("run.sh", "gone.sh"):
        (repo / name).chmod(0o755)
    git(repo, "commit", "-qam", "executable")
    with mended(repo) as run:
        run.files.write("new/file.txt", b"new\n")
        run.files.delete("gone.sh")
        _, ending = decide(run.desk, Someone(ACCEPT), verdict, run.files)
        assert ending.stop is Stop.ACCEPTED
        assert not (repo / "gone.sh").exists()
        (repo / "later.txt").write_text("written after acceptance\n")
        ending = take_back(run.desk, run.files, payloads(run, Applied)[0].diff_sha256)
        assert ending.stop is Stop.ACCEPTED
        assert [item.undone for item in payloads(run, Applied)] == [False, True]
    assert (repo / "calc.py").read_text() == CALC
    assert not (repo / "new/file.txt").exists()
    assert (repo / "gone.sh").stat().st_mode & 0o777 == 0o755
    assert (repo / "later.txt").read_text() == "written after acceptance\n"
    assert git(repo, "status", "--porcelain") == "?? later.txt"


def test_undo_refuses_when_a_file_changed_since(make_repo: RepoFactory) -> None:
    repo = make_repo(BUGGY)
    with mended(repo) as run:
        run.files.write("new.txt", b"new\n")
        decide(run.desk, Someone(ACCEPT), verdict, run.files)
        (repo / "calc.py").write_text(MENDED + "# more work\n")
        ending = take_back(run.desk, run.files, "")
        assert (ending.stop, ending.exit_code) == (Stop.CONFLICT, 4)
        assert "nothing was taken back" in ending.detail
        assert len(payloads(run, Applied)) == 1
    assert (repo / "calc.py").read_text() == MENDED + "# more work\n"
    assert (repo / "new.txt").read_text() == "new\n"


def test_a_patched_copy_of_an_executable_keeps_its_mode(make_repo: RepoFactory) -> None:
    """What `adi review` applies is made from the stored patch."""
    repo = make_repo(BUGGY)
    patch = b"diff --git a/go.sh b/go.sh\nnew file mode 100755\n"
    patch += b"--- /dev/null\n+++ b/go.sh\n@@ -0,0 +1 @@\n+#!/bin/sh\n"
    with mended(repo) as run:
        files = run.files.patched(run.files.diff() + patch)
        decide(run.desk, Someone(ACCEPT), verdict, files)
    assert (repo / "go.sh").stat().st_mode & 0o777 == 0o755


def test_the_diffstat_counts_lines(make_repo: RepoFactory) -> None:
    with mended(make_repo(BUGGY)) as run:
        run.files.write("b.bin", b"\0\1")
        assert diffstat(run.files) == "b.bin +1 -0\ncalc.py +1 -1"
