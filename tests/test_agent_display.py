"""What the display prints for a recorded run, at a terminal and elsewhere, and what it never lets through."""

import io
import json
import re
import time
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import pytest

from agent.display import Display, make_console
from agent.display_diff import diff_lines, parse
from agent.inert import inert, inert_line
from agent.output import Output
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
    Failure,
    Malformed,
    Noted,
    Observation,
    Payload,
    Plan,
    PlanMade,
    PlanStep,
    Prompted,
    RunEnded,
    RunStarted,
    Searched,
    Status,
    Stop,
    Task,
    Usage,
    UserActed,
    Verdict,
)

HOSTILE = (
    "x\x1b]52;c;ZXZpbA==\x07\x1b[2A\x1b[31mred\x1b[0m\rover\x08\u202etxt.exe\u200b\x9b1m"
    "\x1b]8;;http://evil\x1b\\link\x1b\\\x1bP+q\x1b\\[bold]markup[/bold]\U000e0041\x00"
)
OWN_STYLE = re.compile(r"\x1b\[[0-9;]*m")
OWN_CURSOR = re.compile(r"\x1b\[(\?25[lh]|[0-9]*[AKGJ]|2K|1A)|\r")
PATCH = b"""diff --git a/gcd.py b/gcd.py
index 1111111..2222222 100644
--- a/gcd.py
+++ b/gcd.py
@@ -2,4 +2,4 @@ def gcd(a, b):
     if b == 0:
         return a
     else:
-        return gcd(a % b, b)
+        return gcd(b, a % b)
"""


Told = Callable[[str], str]
"""Gives the text that a stranger chose, instead of a normal one."""


def results(t: Told) -> tuple[CheckResult, CheckResult, CheckResult]:
    """A failing check, a passing one, and one that took too long."""
    failure = Failure(test=t("tests/test_gcd.py::test_gcd"), error=t("RecursionError"), message=t("too deep"))
    failing = CheckResult(
        check=t("pytest"), status=Status.NONZERO, exit_code=1, passed=False, tests_passed=3, tests_failed=1,
        failures=(failure,), output=t("out"), duration_s=0.8,
    )  # fmt: skip
    passing = CheckResult(
        check=t("pytest"), status=Status.OK, exit_code=0, passed=True, tests_passed=4, duration_s=0.5
    )
    return failing, passing, CheckResult(check=t("slow"), status=Status.TIMEOUT, passed=False, duration_s=75)


def beginning(t: Told) -> list[Payload]:
    """The run until its plan is known."""
    failing, _, _ = results(t)
    plan = Plan(
        steps=(PlanStep(goal=t("Fix gcd"), files=(t("gcd.py"),), check=t("pytest")),),
        revision=2,
        author="user",
    )
    usage = Usage(prompt_tokens=1200, cached_tokens=960, completion_tokens=46, decode_ms=2000)
    task = Task(
        id="t", prompt=t("make the test pass"), repo=t("/home/u/gcd"), image=t("img"), dirty=True,
        checks=(Check(name=t("pytest"), command=t("pytest -q")),),
    )  # fmt: skip
    return [
        RunStarted(task=task, adi_version="0.1.0", model=t("qwen")),
        CheckRan(purpose="gather", result=failing),
        Prompted(purpose="plan", tokens=1200),
        Completed(purpose="plan", completion=Completion(text=t("p"), finish_reason="stop", usage=usage)),
        PlanMade(plan=plan),
    ]


def work(t: Told) -> list[Payload]:
    """The search and the actions."""
    failing, _, _ = results(t)
    return [
        Searched(strategy=t("infill"), place=t("gcd.py:4"), candidates=3, executed=2, passed=0),
        CheckRan(purpose="candidate", result=failing),
        Searched(strategy=t("infill"), place=t("gcd.py:5"), candidates=7, executed=6, passed=1),
        ActionStarted(step=1, action=Action(id="a", tool="edit", arguments={"path": t("gcd.py")})),
        ActionEnded(
            step=1,
            observation=Observation(
                action_id="a", status=Status.OK, summary=t("gcd.py 1 line"), duration_s=0.01
            ),
        ),
        ActionStarted(step=2, action=Action(id="b", tool="run", arguments={"command": t("make")})),
        ActionEnded(
            step=2,
            observation=Observation(
                action_id="b", status=Status.TIMEOUT, truncated=True, summary=t(""), duration_s=60
            ),
        ),
        Malformed(step=3, reason=t("no tool was called")),
    ]


def ending(t: Told) -> list[Payload]:
    """From the first check that passes to the end."""
    _, passing, slow = results(t)
    verdict = Evaluation(
        results=(passing, slow), reward=0.5, accepted=False, changed_tests=(t("tests/test_gcd.py"),),
        protected=(t(".github/ci.yml"),), detail=t("1 of 2 checks passes"),
    )  # fmt: skip
    return [
        CheckRan(purpose="step", result=passing),
        Noted(level="warning", text=t("the sandbox was replaced"), hint=t("adi doctor")),
        Verdict(evaluation=verdict, diff_sha256="d", diffstat=t(" gcd.py | 2 +-")),
        UserActed(action="reject", detail=t("not readable")),
        Applied(paths=(t("gcd.py"),), diff_sha256="d"),
        RunEnded(stop=Stop.PENDING, exit_code=4, detail=t("Two checks ran."), seconds=92.4),
    ]


def recorded(text: str = "") -> list[Event]:
    """A whole run; with `text` every string that a stranger can choose is that text."""

    def t(normal: str) -> str:
        return text or normal

    return [
        Event(run_id="01-run", seq=seq, at="2026-11-23T00:00:00.000Z", payload=payload)
        for seq, payload in enumerate([*beginning(t), *work(t), *ending(t)], start=1)
    ]


def drawn(events: list[Event], *, color: str = "auto", verbosity: int = 0) -> str:
    stream = io.StringIO()
    console = make_console(stream, "always" if color == "always" else "auto", {})
    with Display(console, verbosity=verbosity, heartbeat_s=0) as display:
        for event in events:
            display.on_event(event)
        display.show_diff(PATCH)
    return stream.getvalue()


def test_a_recorded_run_in_plain_text() -> None:
    assert (
        drawn(recorded())
        == """\
Task make the test pass
  qwen · /home/u/gcd · uncommitted changes included · sandbox img, network off
✗ Ran pytest 3 passed, 1 failed  0.80 s
    tests/test_gcd.py::test_gcd  RecursionError: too deep
Plan (revision 2, edited by you)
  [ ] 1. Fix gcd  gcd.py  check: pytest
✓ Searched infill gcd.py:5 · 7 candidates, 6 run, 1 passed
✓ Edited gcd.py 1 line  0.01 s
✗ Ran make timeout (output cut)  1m00s
! No valid action, nothing was run: no tool was called
✓ Checked pytest 4 passed, 0 failed  0.50 s
  [x] 1. Fix gcd
! the sandbox was replaced
  hint: adi doctor
Verdict on a clean copy with the diff applied
  check   result  passed  failed     time
  pytest  PASS         4       0   0.50 s
  slow    FAIL         0       0    1m15s  timeout
! The change changes tests or what rules checks (the verdict ran their original text): tests/test_gcd.py
! The change touches files that need your approval: .github/ci.yml
✗ 1 of 2 checks passes
   gcd.py | 2 +-
• You rejected the change: not readable
✓ Applied 1 file: gcd.py
The result waits for a decision; your files are untouched. Two checks ran.
  run 01-run · 1,200 in (80% cached) / 46 out · 23 tok/s · 1m32s
  adi review 01-run shows it and asks
gcd.py (+1 -1)
@@ -2,4 +2,4 @@ def gcd(a, b):
     if b == 0:
         return a
     else:
-        return gcd(a % b, b)
+        return gcd(b, a % b)
"""
    )


@pytest.mark.parametrize("color", ["auto", "always"])
@pytest.mark.parametrize("verbosity", [-1, 0, 1])
def test_only_our_own_styling_reaches_the_terminal(color: str, verbosity: int) -> None:
    text = drawn(recorded(HOSTILE), color=color, verbosity=verbosity)
    if color == "always":
        assert OWN_STYLE.search(text)
        text = OWN_STYLE.sub("", text)
    assert [c for c in text if c != "\n" and (ord(c) < 32 or 127 <= ord(c) < 160)] == []
    assert not {"\u202e", "\u200b", "\U000e0041"} & set(text)
    assert "\\x1b]52;c;ZXZpbA==\\x07" in text.replace("\n", "")
    assert "[bold]markup[/bold]" in text.replace("\n", "")


def test_quiet_tells_only_warnings_verdict_and_end() -> None:
    text = drawn(recorded(), verbosity=-1)
    assert "Verdict" in text
    assert "waits for a decision" in text
    assert "the sandbox was replaced" in text
    assert "Edited" not in text
    assert "Plan" not in text


def test_a_hostile_diff_stays_in_its_lines_and_files() -> None:
    patch = (
        b"diff --git a/a.sh b/a.sh\nnew file mode 100755\n--- /dev/null\n+++ b/a.sh\n@@ -0,0 +1,4 @@\n"
        b"++++ b/innocent.txt\n+\x1b[8mhidden\x1b[0m\r\n+@@ -1 +1 @@\n+diff --git a/x b/x\n"
        b"\\ No newline at end of file\n"
        b"diff --git a/b.bin b/b.bin\nGIT binary patch\nliteral 3\nKcmZ+x\n\n"
        b"diff --git a/old.py b/new.py\nrename from old.py\nrename to new.py\n"
        b"diff --git a/gone.py b/gone.py\ndeleted file mode 100644\n--- a/gone.py\n+++ /dev/null\n"
        b"@@ -1 +0,0 @@\n--- a/x\n"
    )
    files = parse(patch)
    assert [(f.path, f.added, f.removed) for f in files] == [
        ("a.sh", 4, 0), ("b.bin", 0, 0), ("new.py", 0, 0), ("gone.py", 0, 1),
    ]  # fmt: skip
    shown = [line.plain for line in diff_lines(patch)]
    assert shown[0] == "a.sh (+4 -0) new"
    assert "+\\x1b[8mhidden\\x1b[0m␍" in shown
    assert "b.bin (+0 -0) binary" in shown
    assert "new.py (+0 -0) rename from old.py, rename to new.py" in shown
    assert shown[-3:] == ["gone.py (+0 -1) deleted", "@@ -1 +0,0 @@", "--- a/x"]


def test_long_hunks_are_folded_on_screen_and_whole_in_the_pager() -> None:
    body = b"".join(b"+line %d\n" % n for n in range(200))
    patch = b"diff --git a/f b/f\nnew file mode 100644\n--- /dev/null\n+++ b/f\n@@ -0,0 +1,200 @@\n" + body
    assert len(diff_lines(patch)) < 60
    assert any("150 lines folded (+150 -0)" in line.plain for line in diff_lines(patch))
    with Display(make_console(io.StringIO(), "auto", {}), heartbeat_s=0) as display:
        assert "line 120\n" in display.whole_diff(patch)


def test_the_heartbeat_says_what_is_going_on() -> None:
    stream = io.StringIO()
    with Display(make_console(stream, "auto", {}), heartbeat_s=0.05) as display:
        display.on_event(recorded()[2])
        display.on_event(recorded()[0])
        display.on_event(recorded()[2])
        for _ in range(3):
            display.on_text("x")
        end = time.monotonic() + 10
        while "… Planning" not in stream.getvalue() and time.monotonic() < end:
            time.sleep(0.02)
    assert "… Planning · 1,200 tokens to read · 3 tokens · " in stream.getvalue()
    after = stream.getvalue()
    time.sleep(0.15)
    assert stream.getvalue() == after


def test_a_reader_that_left_does_not_end_the_run() -> None:
    class Gone(io.StringIO):
        def write(self, _: str) -> int:
            raise BrokenPipeError

    with Display(make_console(Gone(), "auto", {}), heartbeat_s=0) as display:
        for event in recorded():
            display.on_event(event)
    output = Output("stream-json", Gone(), Path("/nowhere"))
    for event in recorded():
        output.on_event(event)


@pytest.mark.parametrize(("form", "count"), [("json", 1), ("stream-json", 20)])
def test_json_output_is_one_result_after_the_events(tmp_path: Path, form: str, count: int) -> None:
    stream = io.StringIO()
    (tmp_path / "01-run.patch").write_bytes(PATCH)
    output = Output("json" if form == "json" else "stream-json", stream, tmp_path)
    for event in recorded(HOSTILE):
        output.on_event(event)
    output.finish(SimpleNamespace(run_id="01-run", stop=Stop.PENDING, exit_code=4, detail="Two checks ran."))

    text = stream.getvalue()
    assert text.isascii()
    assert "\x1b" not in text
    lines = [json.loads(line) for line in text.splitlines()]
    assert len(lines) == count
    result = lines[-1]
    assert (result["type"], result["subtype"], result["is_error"]) == ("result", "pending", True)
    assert result["schema_version"] == 1
    assert result["session_id"] == result["run_id"] == "01-run"
    assert result["exit_code"] == 4
    assert result["evaluation"]["passed"] == 1
    assert result["evaluation"]["failed"] == 1
    assert result["usage"]["cached_tokens"] == 960
    assert result["num_turns"] == 2
    assert result["duration_ms"] == 92400
    assert result["patch_path"] == str(tmp_path / "01-run.patch")
    if form == "stream-json":
        again = [Event.model_validate({k: v for k, v in x.items() if k not in {"type", "schema_version"}})
                 for x in lines[:-1]]  # fmt: skip
        assert again == recorded(HOSTILE)


def test_inert_shows_what_hides() -> None:
    assert inert("plain\ttext\n") == "plain\ttext\n"
    assert inert("a\r\nb\rc") == "a\nb\\x0dc"
    assert inert("\u202e\u2066\ufeff\u00ad\U000e0041\ud800") == "\\u202e\\u2066\\ufeff\\xad\\U000e0041\\ud800"
    assert inert("héllo 漢字 🎉") == "héllo 漢字 🎉"
    assert inert_line("a\nb\tc") == "a\\nb\\tc"
