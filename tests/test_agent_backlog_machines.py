"""A backlog on a real Postgres server, worked off by several `adi worker` through procrastinate."""

import json
import os
import signal
import subprocess
import time
from pathlib import Path
from typing import Any

import pytest

from agent.backlog_dispatch import application, prepare
from agent.backlog_intake import take_in
from memory.backlog import Backlog
from memory.backlog_records import BacklogLimits, State
from memory.store import Store
from tests.adi_kit import adi
from tests.agent_kit import BUGGY
from tests.backlog_run_kit import CREW, begun, go, issue, states
from tests.conftest import RepoFactory
from tests.postgres_kit import Server
from tests.queue_kit import idle, took, until

pytestmark = pytest.mark.postgres
LIMITS = BacklogLimits(item_tries=3, retry_s=0.05, retry_max_s=0.1)


def crew(address: str, jobs: int = 1, one: str = "many") -> "subprocess.Popen[str]":
    return subprocess.Popen(
        [*CREW, address, str(jobs), one], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, text=True,
        env={**os.environ, "ADI_MEMORY__URL": address}, start_new_session=True,
    )  # fmt: skip


def ended(worker: "subprocess.Popen[str]", seconds: float = 90) -> tuple[int, list[dict[str, Any]]]:
    told, _ = worker.communicate(timeout=seconds)
    return worker.returncode, [json.loads(line) for line in told.splitlines()]


def test_only_the_item_that_was_named_is_claimed(postgres: str) -> None:
    with Store.open(postgres) as store:
        backlog = Backlog.create(store, "b")
        take_in(backlog, "s", [issue("a", Path("/r")), issue("b", Path("/r"))])
        lease = took(backlog.claim("w", only="b"))
        assert lease.item.key == "b"
        assert idle(backlog.claim("w", only="b")).reason != "done"


def test_two_machines_share_a_backlog_and_one_of_them_is_killed(
    make_repo: RepoFactory, postgres: str
) -> None:
    repo = make_repo(BUGGY)
    keys = [f"slow-{number}" for number in range(4)]
    with Store.open(postgres) as store:
        backlog = Backlog.create(store, "b", limits=LIMITS)
        take_in(backlog, "s", [issue("wait", repo), *(issue(key, repo) for key in keys)])
        first = crew(postgres)
        until(lambda: "wait" in begun(), 60)
        second = crew(postgres)
        until(lambda: backlog.status().counts[State.SOLVED] >= 1, 60)
        first.kill()
        first.communicate()
        go().touch()
        code, told = ended(second)
        assert code == 0
        assert states(backlog) == dict.fromkeys(["wait", *keys], "solved")
        for key in keys:
            kinds = [event.kind for event in backlog.events(key=key)]
            assert kinds.count("settled") == 1
        assert any(event["kind"] == "settled" and event["key"] == "wait" for event in told)


@pytest.mark.slow
def test_one_item_of_a_repository_runs_at_a_time_on_all_machines(
    make_repo: RepoFactory, postgres: str
) -> None:
    repo = make_repo(BUGGY)
    with Store.open(postgres) as store:
        backlog = Backlog.create(store, "b", limits=LIMITS)
        take_in(backlog, "s", [issue(f"k{number}", repo) for number in range(3)])
        workers = [crew(postgres, one="one") for _ in range(2)]
        assert [ended(worker)[0] for worker in workers] == [0, 0]
        assert set(states(backlog).values()) == {"solved"}
        running, most = 0, 0
        for event in backlog.events():
            running += {"claimed": 1, "settled": -1}.get(event.kind, 0)
            most = max(most, running)
        assert most == 1


def test_a_worker_drains_at_sigterm(make_repo: RepoFactory, postgres: str) -> None:
    with Store.open(postgres) as store:
        backlog = Backlog.create(store, "b", limits=LIMITS)
        take_in(backlog, "s", [issue(key, make_repo(BUGGY)) for key in ("slow", "wait")])
        worker = crew(postgres)
        until(lambda: begun() == ["slow"], 60)
        worker.send_signal(signal.SIGTERM)
        assert ended(worker)[0] == 143
        assert states(backlog) == {"slow": "solved", "wait": "queued"}


@pytest.mark.slow
def test_a_server_that_goes_away_midway_costs_nothing(
    make_repo: RepoFactory, postgres: str, postgres_server: Server
) -> None:
    with Store.open(postgres) as store:
        backlog = Backlog.create(store, "b", limits=LIMITS)
        take_in(backlog, "s", [issue(key, make_repo(BUGGY)) for key in ("wait", "good")])
    worker = crew(postgres)
    until(lambda: begun() == ["wait"], 60)
    postgres_server.stop()
    time.sleep(1.0)
    go().touch()
    time.sleep(1.0)
    postgres_server.start()
    assert ended(worker)[0] == 0
    with Store.open(postgres) as store:
        assert set(states(Backlog.find(store, "b")).values()) == {"solved"}


def test_the_queues_tables_are_made_once_and_apart(postgres: str) -> None:
    Store.open(postgres).close()
    prepare(postgres)
    prepare(postgres)
    with application(postgres).open() as app:
        assert list(app.job_manager.list_jobs()) == []
    Store.open(postgres).close()


def test_a_worker_without_a_shared_store_says_what_helps(tmp_path: Path) -> None:
    told = adi(tmp_path, "worker")
    assert told.returncode == 2
    assert "ADI_MEMORY__URL=postgresql://" in told.stderr
