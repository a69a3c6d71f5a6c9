"""Runs of a backlog on private copies: they learn with their repository, and never touch or hold it."""

import contextlib
import json
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import pytest

from agent.backlog_attempt import Bench, attempt
from agent.backlog_child import rooms
from agent.backlog_intake import take_in
from agent.backlog_item import Item
from agent.backlog_watch import Watch
from agent.errors import UsageError
from agent.origin import origin_of
from agent.percolate import Listener
from agent.person import Person
from agent.review_queue import look, waiting
from agent.session import Session
from agent.settings import directories
from memory.backlog import Backlog
from memory.backlog_records import Lease, Outcome, State
from memory.copies import runs_of
from memory.origin import Origin
from memory.records import (
    Evaluation,
    Event,
    Recalled,
    RunEnded,
    RunStarted,
    Searched,
    Stop,
    Task,
    UserActed,
    Verdict,
)
from memory.store import Store
from model.scripted import Asked
from tests.agent_kit import Reply, open_local
from tests.conftest import RepoFactory, git
from tests.percolate_kit import COMMAND, FILES, MENDS_TAX, TEST_TIP, YES, known, silent, told

Answers = Callable[[Asked], Reply | Sequence[str]]


def on_copy(
    repo: Path, script: Answers, title: str, *checks: str, heard: Listener = lambda _: None
) -> Outcome:
    """One item of a backlog of its own, worked on in this process."""

    @contextlib.contextmanager
    def opened(at: Path, person: Person, listeners: Sequence[Listener], lease: Lease) -> Iterator[Session]:
        assert lease.item.title == title
        assert at != repo
        with open_local(at, script, person, listeners=[*listeners, heard]) as session:
            yield session

    with Store.open(directories().database) as store:
        backlog = Backlog.create(store, title.replace(" ", "-"))
        take_in(backlog, "s", [Item(key=title, title=title, repo=str(repo), checks=checks)])
        lease = backlog.claim("w")
        assert isinstance(lease, Lease)
        return attempt(Bench(rooms(), opened), lease, Watch())


def by_hand(repo: Path, script: Answers, prompt: str, *checks: str) -> str:
    with open_local(repo, script, YES) as session:
        outcome = session.run(prompt, checks)
    assert outcome.stop is Stop.ACCEPTED
    return outcome.run_id


def tip_too(repo: Path) -> None:
    (repo / "test_shop.py").write_text(TEST_TIP)
    git(repo, "add", "-A")
    git(repo, "commit", "-qm", "tip")


def learned(run_id: str) -> list[str]:
    """Ids of the lessons whose change passed."""
    return [each.lesson for each in told(run_id, Searched) if isinstance(each, Searched) and each.passed]


def test_a_run_on_a_copy_is_given_the_lessons_of_the_repository(make_repo: RepoFactory) -> None:
    repo = make_repo(FILES)
    by_hand(repo, MENDS_TAX, "the tax is wrong", COMMAND)
    tip_too(repo)
    done = on_copy(repo, silent, "the tip is wrong")  # its check is remembered, its change was learned
    assert (done.state, done.tokens) == (State.SOLVED, 0), done.detail
    (recalled,) = told(done.run_id, Recalled)
    assert isinstance(recalled, Recalled)
    assert [item.kind for item in recalled.lessons[:2]] == ["check", "fix"]
    (fix,) = [item for item in known("fix") if item.id in learned(done.run_id)]
    assert (fix.place, fix.supported, fix.status) == (str(repo), 2, "active")


def test_what_it_learns_helps_the_next_run_in_the_repository(make_repo: RepoFactory) -> None:
    repo = make_repo(FILES)
    done = on_copy(repo, MENDS_TAX, "the tax is wrong", COMMAND)
    assert done.state == State.SOLVED, done.detail
    (fix,) = known("fix")
    assert fix.place == str(repo)
    assert known("check") == []  # whoever wrote the issue gave it, not the person
    tip_too(repo)
    (repo / "shop.py").write_text((repo / "shop.py").read_text().replace("amount * 0.075", "amount * 0.08"))
    run_id = by_hand(repo, silent, "the tip is wrong", COMMAND)
    assert learned(run_id) == [fix.id]


def test_another_repository_is_given_nothing_of_it(make_repo: RepoFactory) -> None:
    assert on_copy(make_repo(FILES), MENDS_TAX, "the tax is wrong", COMMAND).state == State.SOLVED
    other = on_copy(make_repo(FILES, "other"), silent, "the tax is wrong there", COMMAND)
    assert other.state == State.UNSOLVED
    assert told(other.run_id, Recalled) == []


def test_its_origin_is_that_of_the_repository(make_repo: RepoFactory) -> None:
    """Also where that says something else now than it did at the item's base."""
    repo = make_repo({**FILES, "package.json": json.dumps({"license": "MIT"})})
    (repo / "package.json").write_text(json.dumps({"license": "Apache-2.0"}))
    heard: list[Event] = []
    on_copy(repo, MENDS_TAX, "the tax is wrong", COMMAND, heard=heard.append)
    started = heard[0].payload
    assert isinstance(started, RunStarted)
    own = origin_of(repo)
    assert own.licence == "Apache-2.0"
    assert started.origin == own.model_copy(update={"copy_of": str(repo)})
    assert started.repository == str(repo)
    assert started.task.repo.startswith(str(rooms()))


def test_its_change_is_never_offered_for_undo_in_the_repository(make_repo: RepoFactory) -> None:
    repo = make_repo(FILES)
    mine = by_hand(repo, MENDS_TAX, "the tax is wrong", COMMAND)
    done = on_copy(repo, MENDS_TAX, "the tax is still wrong", COMMAND)
    assert done.state == State.SOLVED, done.detail
    with open_local(repo, silent, YES) as session:
        assert session.store.run(done.run_id).applied  # to its copy
        assert session.undo(None).run_id == mine
        with pytest.raises(UsageError, match="nothing was applied here"):
            session.undo(None)
        with pytest.raises(UsageError, match="worked on another repository"):
            session.undo(done.run_id)
    assert git(repo, "status", "--porcelain") == ""


def test_its_result_is_never_reviewed_in_the_repository(make_repo: RepoFactory) -> None:
    repo = make_repo(FILES)
    with open_local(repo, silent, YES) as session:
        store = session.store
        run_id = store.start_run(
            Task(id="t", prompt="p", repo=str(rooms() / "1" / "repo")), origin=Origin(copy_of=str(repo))
        )
        sha256 = store.put_artifact(b"diff --git a/x b/x\n")
        store.append(run_id, Verdict(evaluation=Evaluation(accepted=True), diff_sha256=sha256))
        store.append(run_id, RunEnded(stop=Stop.PENDING, exit_code=4))
        assert [run.id for run in runs_of(store, str(repo))] == [run_id]
        assert waiting(store) == waiting(store, str(repo)) == store.pending(str(repo)) == []
        for at in (None, str(repo)):
            with pytest.raises(UsageError, match="worked on a copy of"):
                look(store, run_id, at)
        with pytest.raises(UsageError, match="nothing waits for a decision"):
            session.review(None)
        with pytest.raises(UsageError, match="worked on another repository"):
            session.review(run_id)


def test_it_neither_needs_the_repository_for_itself_nor_speaks_of_what_was_typed(
    make_repo: RepoFactory,
) -> None:
    repo = make_repo(FILES)
    mine = by_hand(repo, MENDS_TAX, "the tax is wrong", COMMAND)
    with Store.open(directories().database) as store:
        working = store.start_run(Task(id="t", prompt="p", repo=str(repo)))
        store.claim_repo(str(repo), working)
        done = on_copy(repo, MENDS_TAX, "the tax is still wrong", COMMAND)
        assert done.state == State.SOLVED, done.detail
        assert [run.id for run in store.runs(str(repo))] == [working, mine]
    assert not any(isinstance(act, UserActed) and act.action == "next" for act in told(mine, UserActed))
