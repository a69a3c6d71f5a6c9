"""`adi backlog` as a process and as a command: killed, interrupted, without room, without a terminal."""

import json
import os
import signal
import subprocess
from collections import Counter
from pathlib import Path
from typing import Any

import pexpect
import pytest

from agent.backlog_intake import take_in
from agent.backlog_item import Bad
from agent.backlog_report import gathered, post_all
from agent.cli import invoke
from agent.settings import directories
from memory.backlog import Backlog
from memory.backlog_records import Outcome
from memory.store import Store
from tests.adi_kit import FILES, adi, code_of, mends
from tests.agent_kit import BUGGY
from tests.backlog_kit import fake_gh
from tests.backlog_kit import issue as gh_issue
from tests.backlog_run_kit import DRIVE, begun, issue, opened_backlog, states
from tests.conftest import RepoFactory
from tests.openai_server import serve
from tests.queue_kit import took, until


def filled(repo: Path, *keys: str, bad: tuple[Bad, ...] = ()) -> None:
    with opened_backlog() as (_, backlog):
        take_in(backlog, "s", [*bad, *(issue(key, repo) for key in keys)])


def now() -> dict[str, str]:
    with Store.open(directories().database) as store:
        return states(Backlog.find(store, "b"))


def solved() -> int:
    return Counter(now().values())["solved"]


def drive(out: Path, *, jobs: int = 1, form: str = "text") -> "subprocess.CompletedProcess[str]":
    command = [*DRIVE, "b", str(jobs), form, str(out)]
    return subprocess.run(
        command, capture_output=True, text=True, check=False, timeout=120, stdin=subprocess.DEVNULL
    )


def workers() -> list[int]:
    """Processes of workers of this test's ADI_HOME."""
    found = []
    for file in Path("/proc").glob("[0-9]*/environ"):
        try:
            mine = f"ADI_HOME={directories().data}\0".encode() in file.read_bytes()
            if mine and b"import child" in (file.parent / "cmdline").read_bytes():
                found.append(int(file.parent.name))
        except OSError:
            continue
    return found


def test_j02_killed_twice_and_resumed_nothing_is_repeated_or_skipped(
    make_repo: RepoFactory, tmp_path: Path
) -> None:
    keys = [f"slow-{number}" for number in range(5)]
    filled(make_repo(BUGGY), *keys, "lost")
    for count in (1, 2):
        driver = subprocess.Popen(
            [*DRIVE, "b", "2", "text", str(tmp_path / "out")],
            stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
        )  # fmt: skip
        until(lambda: solved() >= count, 120)  # noqa: B023
        for pid in workers() if count == 2 else []:
            os.kill(pid, signal.SIGKILL)
        driver.kill()
        driver.wait()
        until(lambda: not workers(), 20)
    ended = drive(tmp_path / "out", jobs=2)
    assert ended.returncode == 6, ended.stderr
    assert now() == dict.fromkeys(keys, "solved") | {"lost": "infra-error"}
    with Store.open(directories().database) as store:
        backlog = Backlog.find(store, "b")
        for key in keys:
            kinds = [event.kind for event in backlog.events(key=key)]
            told = [
                event.content.get("state") for event in backlog.events(key=key) if event.kind == "settled"
            ]
            assert told.count("solved") == 1
            assert kinds[-1] == "settled"
        assert not any(run.alive or not run.ended for run in store.runs())
    assert not list((directories().data / "backlog" / "rooms").iterdir())


@pytest.mark.sample(2)
@pytest.mark.parametrize(
    ("signals", "code", "state"),
    [
        ((signal.SIGINT,), 130, "solved"),
        ((signal.SIGINT, signal.SIGINT), 130, "queued"),
        ((signal.SIGTERM,), 143, "solved"),
    ],
)
def test_interrupts_drain_and_a_second_one_stops(
    make_repo: RepoFactory, tmp_path: Path, signals: tuple[int, ...], code: int, state: str
) -> None:
    filled(make_repo(BUGGY), "slow-1" if state == "solved" else "wait-1", "rest")
    child = pexpect.spawn(
        DRIVE[0], [*DRIVE[1:], "b", "1", "text", str(tmp_path / "out")], encoding="utf-8", timeout=60,
        env={**os.environ, "TERM": "xterm-256color"}, dimensions=(40, 120),
    )  # fmt: skip
    try:
        until(lambda: len(begun()) == 1, 120)
        for number, word in zip(signals, ("Draining", "Stopping"), strict=False):
            if number == signal.SIGINT:
                child.sendintr()  # as a terminal does: to all of the group in the foreground
            else:
                child.kill(number)
            child.expect(word)
        assert code_of(child) == code
    finally:
        child.close(force=True)
    assert now()["rest"] == "queued"
    assert now()[begun()[0]] == state
    assert json.loads((tmp_path / "out" / "report.json").read_text())["complete"] is False


def test_plain_lines_and_exit_code_without_a_terminal(make_repo: RepoFactory, tmp_path: Path) -> None:
    filled(make_repo(BUGGY), "good")
    ended = drive(tmp_path / "out")
    assert ended.returncode == 0, ended.stderr
    assert "• good begins on worker 1" in ended.stderr
    assert "✓ good solved" in ended.stderr
    assert "\x1b" not in ended.stderr + ended.stdout
    assert ended.stdout.startswith("b: 1 solved\n")


def test_stream_json_tells_every_event_and_ends_with_the_report(
    make_repo: RepoFactory, tmp_path: Path
) -> None:
    bad = Bad(where="row 7", why="is no JSON")
    filled(make_repo(BUGGY), "good", bad=(bad,))
    ended = drive(tmp_path / "out", form="stream-json")
    lines: list[dict[str, Any]] = [json.loads(line) for line in ended.stdout.splitlines()]
    assert ended.returncode == 3
    assert all(line["schema_version"] for line in lines)
    kinds = [line["kind"] for line in lines[:-1]]
    assert kinds[0] == "ready"
    assert {"claimed", "step", "run", "settled", "left"} <= set(kinds)
    assert lines[-1]["type"] == "backlog-report"
    assert lines[-1]["bad"] == [bad.model_dump()]
    assert [item["state"] for item in lines[-1]["items"]] == ["solved"]


def test_results_that_find_no_room_cost_no_work(make_repo: RepoFactory, tmp_path: Path) -> None:
    filled(make_repo(BUGGY), "good")
    (tmp_path / "out").write_text("a file where a folder should be")
    ended = drive(tmp_path / "out")
    assert "cannot be written" in ended.stderr
    assert now() == {"good": "solved"}
    assert invoke(["backlog", "report", "b", "--out", str(tmp_path / "other")]) == 0
    assert (tmp_path / "other" / "patches" / "good.patch").read_bytes()


@pytest.mark.skipif(os.geteuid() != 0, reason="only root may mount a small disk")
def test_a_full_disk_for_the_results_is_the_environments(make_repo: RepoFactory, tmp_path: Path) -> None:
    filled(make_repo(BUGGY), "good")
    disk = tmp_path / "disk"
    disk.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=8k", "adi-test", str(disk)], check=False, capture_output=True
    )
    if mounted.returncode:
        pytest.skip("no small disk can be mounted here")
    try:
        assert drive(disk / "out").returncode != 0
        assert now() == {"good": "solved"}
        told = adi(tmp_path, "backlog", "report", "b", "--out", str(disk / "out"))
        assert told.returncode == 6
        assert "No space left" in told.stderr
    finally:
        subprocess.run(["umount", str(disk)], check=True)


def test_j07_a_comment_is_posted_once_whatever_crashes(
    make_repo: RepoFactory, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    gh = fake_gh(tmp_path / "gh", monkeypatch)
    url = "https://github.com/shop/till/issues/1"
    with opened_backlog() as (store, backlog):
        take_in(backlog, "s", [issue("shop/till#1", make_repo(BUGGY), url=url)])
        backlog.settle(took(backlog.claim("w")), Outcome(state="unsolved", run_id="261123-abc"))
        gh.write(crash_after=True)
        assert len(post_all(backlog, gathered(store, backlog), print)) == 1
        for _ in range(2):
            assert post_all(backlog, gathered(store, backlog), print) == []
        assert len(gh.read()["comments"]) == 1
        assert backlog.begin_effect("comment shop/till#1 261123-abc").state == "done"


def test_commands_add_list_cancel_and_resume(
    make_repo: RepoFactory, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    repo = make_repo(BUGGY)
    rows = json.dumps([gh_issue(1), {"title": 3}, gh_issue(2)])
    (tmp_path / "issues.json").write_text(rows)
    add = ["backlog", "add", str(tmp_path / "issues.json"), "--repo", str(repo)]
    assert invoke(add) == 0
    told = capsys.readouterr()
    assert "2 added" in told.err
    assert "issues.json" in told.err
    assert told.out == "issues\n"
    assert invoke(add) == 0
    assert "2 same" in capsys.readouterr().err
    assert invoke(["backlog", "list"]) == 0
    assert "2 queued" in capsys.readouterr().out
    assert invoke(["backlog", "cancel"]) == 0
    assert invoke(["backlog", "status", "--items", "--json"]) == 0
    found = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert {item["state"] for item in found["items"]} == {"cancelled"}
    assert invoke(["backlog", "report", "--out", str(tmp_path / "out")]) == 3


def test_an_empty_backlog_is_no_failure(
    make_repo: RepoFactory, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "none.json").write_text("[]")
    repo = make_repo(BUGGY)
    code = invoke(
        ["backlog", "run", str(tmp_path / "none.json"), "--repo", str(repo), "--out", str(tmp_path / "o")]
    )
    assert code == 0
    assert "nothing to do" in capsys.readouterr().out


def test_without_docker_nothing_is_tried_and_the_exit_code_says_so(
    make_repo: RepoFactory, tmp_path: Path
) -> None:
    repo = make_repo(BUGGY)
    (tmp_path / "a.md").write_text("# Sums are wrong\n")
    ended = adi(
        repo, "backlog", "run", str(tmp_path / "a.md"), "--out", str(tmp_path / "out"),
        DOCKER_HOST="tcp://127.0.0.1:1",
    )  # fmt: skip
    assert ended.returncode == 6, ended.stderr
    assert "Docker" in ended.stderr
    told = json.loads((tmp_path / "out" / "report.json").read_text())
    assert "Docker" in told["environment_missing"]
    assert told["complete"] is False


@pytest.mark.container
@pytest.mark.usefixtures("scripted")
def test_a_backlog_in_real_containers_without_a_home_directory(
    make_repo: RepoFactory, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    repo = make_repo(FILES)
    (tmp_path / "issues").mkdir()
    for name in ("one", "two"):
        (tmp_path / "issues" / f"{name}.md").write_text(f"# Sums are wrong ({name})\n\nadd(2, 3) gives -1\n")
    monkeypatch.delenv("HOME", raising=False)
    with serve(mends()) as url:
        ended = adi(
            repo, "backlog", "run", str(tmp_path / "issues"), "--url", url, "--jobs", "2", "--branches",
            "--out", str(tmp_path / "out"), "--output-format", "json",
        )  # fmt: skip
    assert ended.returncode == 0, ended.stderr
    told = json.loads(ended.stdout)
    assert [item["branch"] for item in told["items"]] == ["adi/backlog/one", "adi/backlog/two"]
    assert sorted(path.name for path in (tmp_path / "out" / "patches").iterdir()) == [
        "one.patch",
        "two.patch",
    ]
    assert (repo / "calc.py").read_text() == FILES["calc.py"]
