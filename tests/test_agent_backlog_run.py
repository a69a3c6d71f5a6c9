"""The workers of a backlog: copies of their own, deaths, and what becomes of the items meanwhile."""

import os
import shutil
import signal
import subprocess
import threading
import time
from pathlib import Path

import pytest

from agent.backlog_child import rooms
from agent.backlog_copy import room, sweep
from agent.backlog_intake import take_in
from agent.backlog_report import gathered
from agent.backlog_results import exit_code
from agent.backlog_run import Orders, Signals, Supervisor
from agent.backlog_worker import is_dead, worker_name
from agent.settings import directories
from memory.backlog import Backlog
from memory.backlog_records import BacklogLimits, Outcome, State
from memory.store import Store
from tests.agent_kit import BUGGY, CALC, MENDED
from tests.backlog_run_kit import COMMAND, QUICK, begun, go, issue, opened_backlog, states, supervise
from tests.conftest import RepoFactory
from tests.queue_kit import took, until


def git(repo: Path, *arguments: str) -> str:
    done = subprocess.run(["git", *arguments], cwd=repo, capture_output=True, text=True, check=True)
    return done.stdout.strip()


def test_solved_only_by_evidence_and_the_users_tree_is_untouched(make_repo: RepoFactory) -> None:
    repo = make_repo(BUGGY)
    (repo / "calc.py").write_text("# mine\n")
    before = (git(repo, "status", "--porcelain"), git(repo, "rev-parse", "HEAD"), git(repo, "branch"))
    with opened_backlog() as (store, backlog):
        take_in(backlog, "s", [issue("good", repo), issue("wrong", repo)])
        supervise(backlog)
        assert states(backlog) == {"good": "solved", "wrong": "unsolved"}
        told = gathered(store, backlog)
        good, wrong = sorted(told.results, key=lambda result: result.key)
        assert good.accepted
        assert b"+    return a + b" in (good.patch or b"")
        assert not wrong.accepted
        assert exit_code(told.results, told.head) == 3
    assert (git(repo, "status", "--porcelain"), git(repo, "rev-parse", "HEAD"), git(repo, "branch")) == before
    assert (repo / "calc.py").read_text() == "# mine\n"
    assert list(rooms().iterdir()) == []


def test_a_change_without_a_check_that_failed_before_needs_a_human(make_repo: RepoFactory) -> None:
    repo = make_repo({**BUGGY, "calc.py": MENDED})
    with opened_backlog() as (store, backlog):
        take_in(backlog, "s", [issue("unproven", repo)])
        supervise(backlog)
        (item,) = backlog.each()
        assert item.state == State.NEEDS_HUMAN, item.detail
        assert "no check failed before" in item.detail
        told = gathered(store, backlog)
        assert told.results[0].patch
        assert exit_code(told.results, told.head) == 4


def test_branches_are_made_beside_what_is_checked_out(make_repo: RepoFactory) -> None:
    repo = make_repo(BUGGY)
    head = git(repo, "rev-parse", "HEAD")
    git(repo, "branch", "adi/backlog/b-1", "HEAD")
    with opened_backlog() as (store, backlog):
        take_in(backlog, "s", [issue("a/b#1", repo)])
        supervise(backlog, branches=True)
        (result,) = gathered(store, backlog).results
    assert result.branch == "adi/backlog/a-b-1"
    assert git(repo, "rev-parse", f"{result.branch}^") == head == git(repo, "rev-parse", "HEAD")
    assert "return a + b" in git(repo, "show", f"{result.branch}:calc.py")
    assert git(repo, "status", "--porcelain") == ""
    assert git(repo, "rev-parse", "adi/backlog/b-1") == head


def test_an_item_begins_at_its_base_commit(make_repo: RepoFactory, tmp_path: Path) -> None:
    repo = make_repo(BUGGY)
    base = git(repo, "rev-parse", "HEAD")
    git(repo, "tag", "-a", "v1", "-m", "one")
    (repo / "later.py").write_text("x = 1\n")
    git(repo, "add", "later.py")
    git(repo, "commit", "-q", "-m", "later")
    for name in (base, base[:10], "v1"):
        with room(tmp_path / "rooms", "one", repo, name) as own:
            assert own.base == base
            assert not (own.repo / "later.py").exists()
            assert (own.repo / "calc.py").read_text() == CALC
    with room(tmp_path / "rooms", "one", repo, "") as own:
        assert (own.repo / "later.py").exists()


def test_j05_two_agents_on_one_repository_have_a_copy_each(make_repo: RepoFactory) -> None:
    repo = make_repo(BUGGY)
    with opened_backlog() as (_, backlog):
        take_in(backlog, "s", [issue("wait-1", repo), issue("wait-2", repo)])
        told: list[dict[str, object]] = []
        supervisor = Supervisor(backlog, Orders(jobs=2, command=COMMAND), directories().logs, told.append)
        thread = threading.Thread(target=supervisor.run, args=(Signals(),))
        thread.start()
        until(lambda: len(begun()) == 2)
        copies = list(rooms().glob("*/*/calc.py"))
        go().touch()
        thread.join(30)
        assert len(copies) == 2
        assert states(backlog) == {"wait-1": "solved", "wait-2": "solved"}


def test_one_item_of_a_repository_at_a_time(make_repo: RepoFactory) -> None:
    repo = make_repo(BUGGY)
    with opened_backlog() as (_, backlog):
        take_in(backlog, "s", [issue(f"k{n}", repo) for n in range(3)])
        _, told = supervise(backlog, jobs=2, one_per_repo=True)
        assert set(states(backlog).values()) == {"solved"}
    running, most = 0, 0
    for event in told:
        running += {"claimed": 1, "settled": -1}.get(str(event["kind"]), 0)
        most = max(most, running)
    assert most == 1


def test_j06_an_item_that_kills_its_worker_is_parked_with_its_trace(make_repo: RepoFactory) -> None:
    repo = make_repo(BUGGY)
    with opened_backlog() as (store, backlog):
        take_in(backlog, "s", [issue("crash", repo), issue("good", repo), issue("other", repo)])
        _, told = supervise(backlog, jobs=2)
        assert states(backlog) == {"crash": "parked", "good": "solved", "other": "solved"}
        assert begun().count("crash") == 2
        detail = backlog.item("crash").detail
        assert "died of SIGKILL" in detail
        assert "fell silent" in detail
        assert [event["key"] for event in told if event["kind"] == "died"] == ["crash", "crash"]
        heads = gathered(store, backlog)
        assert exit_code(heads.results, heads.head) == 6
        for copy in rooms().glob("*/*/.git"):
            shutil.rmtree(copy.parent)  # as where a worker dies while it leaves
        assert store.runs(unended=True)
        sweep(rooms(), store)
        assert not any(run.alive or not run.ended for run in store.runs())
    assert list(rooms().iterdir()) == []


@pytest.mark.parametrize(("writes", "first"), [(3, ["one"]), (6, [])])
def test_a_room_that_is_still_written_to_is_not_forgotten(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, writes: int, first: list[str]
) -> None:
    """As where the worker was killed and its `git` was not."""
    folder, left, remove = tmp_path / "rooms" / "one", [writes], shutil.rmtree
    folder.mkdir(parents=True)
    folder.with_suffix(".lock").touch()

    def written_again(path: Path, *, ignore_errors: bool) -> None:
        remove(path, ignore_errors=ignore_errors)
        if left[0]:
            left[0] -= 1
            path.mkdir()

    monkeypatch.setattr("agent.backlog_copy.shutil.rmtree", written_again)
    monkeypatch.setattr("agent.backlog_copy.TRIES", 5)
    monkeypatch.setattr("agent.backlog_copy.PAUSE_S", 0.0)
    with Store.open(directories().database) as store:
        assert sweep(folder.parent, store) == first
        assert folder.exists() == folder.with_suffix(".lock").exists() == (not first)
        sweep(folder.parent, store)
    assert not list(folder.parent.iterdir())


def test_infra_errors_are_tried_again_and_end_as_such(make_repo: RepoFactory) -> None:
    repo = make_repo(BUGGY)
    with opened_backlog() as (_, backlog):
        take_in(backlog, "s", [issue("lost", repo), issue("good", repo)])
        _, told = supervise(backlog)
        assert states(backlog) == {"lost": "infra-error", "good": "solved"}
        ended = [event for event in told if event["kind"] == "settled" and event["key"] == "lost"]
        assert [event["state"] for event in ended] == ["queued", "infra-error"]


def test_a_missing_repository_needs_a_human_and_the_rest_runs(make_repo: RepoFactory, tmp_path: Path) -> None:
    repo = make_repo(BUGGY)
    gone = issue("gone", tmp_path / "nowhere")
    with opened_backlog() as (_, backlog):
        take_in(backlog, "s", [gone, issue("base", repo, base="nope"), issue("good", repo)])
        supervise(backlog)
        assert states(backlog) == {"gone": "needs-human", "base": "needs-human", "good": "solved"}
        assert "not a directory" in backlog.item("gone").detail
        assert "'nope'" in backlog.item("base").detail


def test_j02_a_worker_killed_from_outside_is_replaced_and_its_item_done(make_repo: RepoFactory) -> None:
    repo = make_repo(BUGGY)
    with opened_backlog() as (_, backlog):
        take_in(backlog, "s", [issue("wait", repo)])
        told: list[dict[str, object]] = []
        supervisor = Supervisor(backlog, Orders(command=COMMAND), directories().logs, told.append)
        thread = threading.Thread(target=supervisor.run, args=(Signals(),))
        thread.start()
        until(lambda: begun() == ["wait"])
        os.kill(int(next(event["pid"] for event in told if event["kind"] == "ready")), signal.SIGKILL)  # type: ignore[call-overload]
        go().touch()
        thread.join(30)
        item = backlog.item("wait")
        assert (item.state, item.attempts) == (State.SOLVED, 2)


def test_the_dead_are_told_from_the_living() -> None:
    assert not is_dead(worker_name())
    host, mark, _, _ = worker_name().split(":")
    assert is_dead(f"{host}:{mark}:{os.getpid()}:1")
    assert not is_dead(f"elsewhere:{mark}:1:1")


def test_workers_that_cannot_start_are_given_up(make_repo: RepoFactory) -> None:
    with opened_backlog() as (_, backlog):
        take_in(backlog, "s", [issue("good", make_repo(BUGGY))])
        orders = Orders(command=("/bin/sh", "-c", "exit 3"))
        supervisor = Supervisor(backlog, orders, directories().logs, lambda _: None)
        supervisor.run(Signals())
        assert "exit code 3" in supervisor.given_up
        assert states(backlog) == {"good": "queued"}


def test_budget_of_the_whole_ends_it_and_the_rest_waits(make_repo: RepoFactory) -> None:
    repo = make_repo(BUGGY)
    with opened_backlog(QUICK.model_copy(update={"seconds": 0.2})) as (store, backlog):
        take_in(backlog, "s", [issue(f"k{n}", repo) for n in range(4)])
        supervise(backlog)
        told = gathered(store, backlog)
        assert told.head.waiting > 0
        assert "seconds of the backlog are spent" in told.head.budget_spent
        assert exit_code(told.results, told.head) == 5


@pytest.mark.parametrize("word", ["cancel", "edit"])
def test_an_item_that_nobody_wants_any_more_is_broken_off(make_repo: RepoFactory, word: str) -> None:
    repo = make_repo(BUGGY)
    with opened_backlog() as (_, backlog):
        take_in(backlog, "s", [issue("wait", repo)])
        orders = Orders(command=COMMAND, lease_s=0.6)
        supervisor = Supervisor(backlog, orders, directories().logs, lambda _: None)
        thread = threading.Thread(target=supervisor.run, args=(Signals(),))
        thread.start()
        until(lambda: begun() == ["wait"])
        if word == "cancel":
            backlog.cancel()
        else:
            take_in(backlog, "s", [issue("wait", repo).model_copy(update={"title": "Another"})])
            until(lambda: len(begun()) == 2)
            go().touch()
        thread.join(30)
        found = [str(item.state) for item in backlog.each()]
    assert found == (["cancelled"] if word == "cancel" else ["superseded", "solved"])


def test_a_lease_that_ran_out_elsewhere_is_not_repeated_when_solved(make_repo: RepoFactory) -> None:
    repo = make_repo(BUGGY)
    with opened_backlog(BacklogLimits()) as (_, backlog):
        take_in(backlog, "s", [issue("good", repo), issue("other", repo)])
        backlog.settle(took(backlog.claim("elsewhere:1:2:3", 60.0)), Outcome(state="solved"))
        supervise(backlog)
        assert begun() == ["other"]


def test_a_drain_finishes_what_runs_and_a_stop_gives_it_back(make_repo: RepoFactory) -> None:
    repo = make_repo(BUGGY)
    with Store.open(directories().database) as store:
        for number, expected in ((1, "solved"), (2, "queued")):
            backlog = Backlog.create(store, f"b{number}", limits=QUICK)
            take_in(backlog, "s", [issue(f"wait-{number}", repo), issue("rest", repo)])
            supervisor = Supervisor(backlog, Orders(command=COMMAND), directories().logs, lambda _: None)
            signals = Signals()
            thread = threading.Thread(target=supervisor.run, args=(signals,))
            thread.start()
            until(lambda: f"wait-{number}" in begun())  # noqa: B023
            signals.count = number
            if number == 1:
                time.sleep(0.3)
                go().touch()
            thread.join(30)
            go().unlink(missing_ok=True)
            assert states(backlog) == {f"wait-{number}": expected, "rest": "queued"}
            assert backlog.item(f"wait-{number}").attempts == (1 if number == 1 else 0)
