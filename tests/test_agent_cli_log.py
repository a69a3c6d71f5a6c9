"""`adi log`, `adi show` and `adi replay` print back what the memory holds."""

import json
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pexpect
import pytest
from typer.testing import CliRunner, Result

from agent.cli import app
from agent.display_log import replay
from agent.settings import directories
from memory.records import (
    Action,
    ActionEnded,
    ActionStarted,
    Applied,
    Check,
    CheckRan,
    CheckResult,
    Completed,
    Completion,
    Evaluation,
    Event,
    Noted,
    Observation,
    Origin,
    Plan,
    PlanMade,
    PlanStep,
    RunEnded,
    RunStarted,
    Status,
    Stop,
    Task,
    Usage,
    UserActed,
    Verdict,
)
from memory.store import Store
from tests.story_kit import stuck

DIFF = b"""diff --git a/gcd.py b/gcd.py
--- a/gcd.py
+++ b/gcd.py
@@ -1,2 +1,2 @@
 def gcd(a, b):
-    return gcd(a % b, b)
+    return gcd(b, a % b)  # \xff
"""
EVIL = "fix\x1b]0;title\x07 it\u202e now"
ROOT = Path(__file__).parent.parent

MakeRepo = Callable[[dict[str, str]], Path]


def remember(repo: Path, prompt: str = "make gcd right", stop: Stop | None = Stop.ACCEPTED) -> str:
    """A whole run in the store of this test's ADI_HOME. Returns its id."""
    task = Task(id="t", prompt=prompt, repo=str(repo), checks=(Check(name="pytest", command="pytest"),))
    failed = CheckResult(check="pytest", status=Status.NONZERO, exit_code=1, passed=False, tests_failed=1)
    passed = CheckResult(check="pytest", status=Status.OK, exit_code=0, passed=True, tests_passed=1)
    with Store.open(directories().database) as store:
        run_id = store.start_run(task, "qwen", "0.1.0")
        sha256 = store.put_artifact(DIFF)
        usage = Usage(prompt_tokens=1200, cached_tokens=1000, completion_tokens=42)
        verdict = Evaluation(results=(passed,), reward=1.0, accepted=True, detail="all checks pass")
        for payload in (
            CheckRan(purpose="gather", result=failed),
            PlanMade(plan=Plan(steps=(PlanStep(goal="swap the arguments", check="pytest"),))),
            Completed(purpose="act", completion=Completion(text="edit", finish_reason="stop", usage=usage)),
            ActionStarted(step=1, action=Action(id="a", tool="edit", arguments={"path": "gcd.py"})),
            ActionEnded(step=1, observation=Observation(action_id="a", status=Status.OK, summary="2-2")),
            Noted(level="warning", text=f"said {EVIL}"),
            Verdict(evaluation=verdict, diff_sha256=sha256, diffstat=" gcd.py | 2 +-\n 1 file changed"),
        ):
            store.append(run_id, payload)
        if stop is Stop.ACCEPTED:
            store.append(run_id, UserActed(action="accept", detail="looks right"))
            store.append(run_id, Applied(paths=("gcd.py",), diff_sha256=sha256))
        if stop is not None:
            store.append(run_id, RunEnded(stop=stop, exit_code=0, seconds=12.5))
    return run_id


def keep(repo: Path, story: list[Event], diff: bytes = b"") -> str:
    """A recorded run in the store of this test's ADI_HOME. Returns its id."""
    first, *others = [event.payload for event in story]
    assert isinstance(first, RunStarted)
    with Store.open(directories().database) as store:
        task = first.task.model_copy(update={"repo": str(repo)})
        run_id = store.start_run(task, first.model, first.adi_version)
        sha256 = store.put_artifact(diff)
        for payload in others:
            known = isinstance(payload, Verdict | Applied) and payload.diff_sha256
            store.append(run_id, payload.model_copy(update={"diff_sha256": sha256}) if known else payload)
    return run_id


def adi(*arguments: str, color: bool = False) -> Result:
    environ = {"CLICOLOR_FORCE": "1", "COLUMNS": "120"} if color else {}
    return CliRunner(env=environ).invoke(app, list(arguments), catch_exceptions=False)


def test_log_holds_the_runs_on_copies_of_the_repository(make_repo: MakeRepo, tmp_path: Path) -> None:
    here = make_repo({"a.py": ""})
    own = remember(here, "mine")
    with Store.open(directories().database) as store:
        task = Task(id="t", prompt="of a backlog", repo=str(tmp_path / "rooms" / "b-1-1" / "repo"))
        copied = store.start_run(task, origin=Origin(copy_of=str(here)))
    done = adi("log", "--repo", str(here), "--json")
    assert [run["id"] for run in json.loads(done.stdout)["runs"]] == [copied, own]
    done = adi("log", "--repo", str(here), "--json", "--limit", "1")
    assert [run["id"] for run in json.loads(done.stdout)["runs"]] == [copied]


def test_log_is_of_this_repository_or_of_all(
    make_repo: MakeRepo, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    here = make_repo({"sub/a.py": ""})
    mine, other = remember(here, EVIL), remember(Path("/elsewhere"), stop=Stop.PENDING)
    monkeypatch.chdir(here / "sub")
    header, line = adi("log").output.splitlines()
    row = dict(zip(header.split("\t"), line.split("\t"), strict=True))
    assert (row["id"], row["repo"], row["state"]) == (mine, str(here), "accepted")
    assert (row["prompt_tokens"], row["cached_tokens"], row["seconds"]) == ("1200", "1000", "12.5")
    assert (row["task"], row["changes"]) == (r"fix\x1b]0;title\x07 it\u202e now", "1 file changed")
    assert len(adi("log", "--all").output.splitlines()) == 3
    monkeypatch.chdir(tmp_path)
    assert [line.split("\t")[0] for line in adi("log").output.splitlines()] == ["id", other, mine]
    assert len(adi("log", "--limit", "1").output.splitlines()) == 2
    assert adi("log", "--repo", str(here)).output.splitlines()[1].startswith(mine)


def test_log_for_a_terminal_and_for_a_program(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert adi("log", color=True).output == "no runs yet\n"
    run_id = remember(Path("/src/maths"), EVIL)
    table = adi("log", color=True).output
    assert all(part in table for part in (run_id, "accepted", "/src/maths", "1,200 in / 42 out"))
    assert "\x1b]" not in table
    assert "\u202e" not in table
    document = json.loads(adi("log", "--json").output)
    assert document["schema_version"] == 1
    (run,) = document["runs"]
    assert (run["id"], run["state"], run["prompt"], run["applied"]) == (run_id, "accepted", EVIL, True)


def test_log_says_how_each_run_ended(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    running, undone = remember(tmp_path, stop=None), remember(tmp_path)
    with Store.open(directories().database) as store:
        patch = store.run(undone).diff_sha256
        store.append(undone, Applied(undone=True, paths=("gcd.py",), diff_sha256=patch))
    script = (
        "from tests.test_agent_cli_log import *\n"
        "print(remember(Path('/r'), stop=None), flush=True)\n"
        "signal.pause()"
    )
    with subprocess.Popen(
        [sys.executable, "-c", script], cwd=ROOT, stdout=subprocess.PIPE, text=True
    ) as child:
        assert child.stdout is not None
        killed = child.stdout.readline().strip()
        assert states()[killed] == "running"
        child.send_signal(signal.SIGKILL)
    assert states() == {running: "running", undone: "undone", killed: "killed"}


def states() -> dict[str, str]:
    return {run["id"]: run["state"] for run in json.loads(adi("log", "--all", "--json").output)["runs"]}


def test_show_tells_the_whole_story(tmp_path: Path) -> None:
    run_id = remember(tmp_path)
    told = adi("show", run_id[:-1]).output
    order = [
        f"run {run_id}  accepted", "ADI 0.1.0 with qwen", "1,200 tokens in (1,000 cached), 42 out",
        "Where the time and the tokens went", "200 tokens in, 1,000 cached, 42 out", "Task make gcd right",
        "✗ Ran pytest 0 passed, 1 failed", "swap the arguments", "model (act): 42 tokens", "✓ Edited gcd.py",
        r"said fix\x1b]0;title\x07 it\u202e now", "Verdict", "You accepted the change: looks right",
        "Applied 1 file: gcd.py", "Done:", "-    return gcd(a % b, b)", "+    return gcd(b, a % b)",
    ]  # fmt: skip
    places = [told.find(part) for part in order]
    assert places == sorted(places), dict(zip(order, places, strict=True))
    assert -1 not in places
    assert "\x1b" not in told


def test_show_for_a_program_holds_everything(tmp_path: Path) -> None:
    run_id = remember(tmp_path)
    output = adi("show", run_id, "--json").output
    assert output.isascii()
    document = json.loads(output)
    assert (document["schema_version"], document["type"], document["run"]["id"]) == (1, "run", run_id)
    assert document["diff"].encode("utf-8", "surrogateescape") == DIFF
    events = [Event.model_validate(event) for event in document["events"]]
    assert [event.seq for event in events] == list(range(1, 12))
    assert document["trajectory"]["steps"][0]["action"]["arguments"] == {"path": "gcd.py"}
    assert document["trajectory"]["stop"] == "accepted"
    assert document["story"]["solved"] is True
    assert document["story"]["phases"][-1]["written_tokens"] in (0, 42)


def test_show_and_replay_tell_lessons_and_where_an_unsolved_run_went_wrong(tmp_path: Path) -> None:
    run_id = keep(tmp_path, stuck())
    told, drawn = adi("show", run_id).output, adi("replay", run_id).output
    order = [
        "Where it went wrong",
        "pytest came furthest at",
        "A stop rule ended it",
        "Recalled: Swap",
        "Task ",
    ]
    places = [told.find(part) for part in order]
    assert -1 not in places
    assert places == sorted(places)
    for text in (told, drawn):
        assert "• Watched pytest: 1 failing test of 2" in text
        assert "• Recalled 1 lesson: Swap the arguments of gcd (same error signature)" in text
        assert "• Learned: Swapping alone does not help" in text
    assert json.loads(adi("show", run_id, "--json").output)["story"]["wrong"][-1].startswith("A stop rule")


def test_a_killed_run_can_be_shown(tmp_path: Path) -> None:
    run_id = remember(tmp_path, stop=None)
    assert "Verdict" in adi("show", run_id).output
    assert "Verdict" in adi("replay", run_id).output


def test_replay_draws_the_events_again(tmp_path: Path) -> None:
    run_id = remember(tmp_path)
    drawn = adi("replay", run_id, "--speed", "1000").output
    order = ["Task make gcd right", "Plan", "Edited gcd.py", "Verdict", "Done:"]
    places = [drawn.find(part) for part in order]
    assert -1 not in places
    assert places == sorted(places)


def test_replay_waits_as_long_as_it_took_divided_by_speed() -> None:
    events = [
        Event(run_id="r", seq=seq, at=f"2026-11-23T03:00:{second:02}.500Z", payload=Noted(text="x"))
        for seq, second in ((1, 10), (2, 20), (3, 15), (4, 16))
    ]
    waits: list[float] = []
    drawn: list[Event] = []
    replay(events, drawn.append, waits.append, speed=10)
    assert waits == [0.0, 1.0, 0.0, 0.1]  # a clock that was set back waits for nothing
    replay(events, drawn.append, waits.append, speed=0)
    assert len(waits) == 4
    assert drawn == events + events


def test_replay_by_steps_needs_a_terminal_and_waits_at_one(tmp_path: Path) -> None:
    from agent.errors import UsageError

    run_id = remember(tmp_path)
    with pytest.raises(UsageError, match="needs a terminal"):
        adi("replay", run_id, "--step")
    program = "from agent.cli import main; main()"
    child = pexpect.spawn(
        sys.executable,
        ["-c", program, "replay", run_id, "--step"],
        cwd=str(ROOT),
        encoding="utf-8",
        timeout=30,
    )
    try:
        child.expect("Task make gcd right")
        child.sendline()
        child.expect("Ran pytest")
        assert not child.terminated
        child.sendeof()
        child.expect(pexpect.EOF)
        assert "Verdict" not in child.before
    finally:
        child.close()
    assert child.exitstatus == 0
