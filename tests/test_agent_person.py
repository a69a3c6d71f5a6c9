"""Questions at a real terminal (a pty), and the answers when nobody is there."""

import io
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pexpect
import pytest

from agent.display import Display, make_console
from agent.person import Decision, TerminalPerson, Unattended
from memory.records import CheckResult, Evaluation, Plan, PlanStep, Status

DIFF = b"diff --git a/f.py b/f.py\n--- a/f.py\n+++ b/f.py\n@@ -1 +1 @@\n-old\n+new\x1b[2J\n"
PASSING = Evaluation(
    results=(CheckResult(check="pytest", status=Status.OK, exit_code=0, passed=True),), accepted=True
)
PLAN = Plan(steps=(PlanStep(goal="Fix it", check="pytest"),))

SCRIPT = """
import sys
from agent.display import Display, make_console
from agent.person import TerminalPerson
from memory.records import Check, Evaluation, Plan, PlanStep
from tests_data import DIFF, PLAN

def show(value):
    print("GOT", repr(value).replace("\\n", " "), flush=True)

with Display(make_console(sys.stderr)) as display:
    person = TerminalPerson(display, sys.stdin)
    try:
        if sys.argv[1] == "plan":
            answer = person.review_plan(PLAN, [Check(name="pytest", command="pytest -q")])
            show((answer.plan, answer.seconds > 0))
        else:
            show(person.decide(DIFF, Evaluation(accepted=sys.argv[1] == "good")))
    except KeyboardInterrupt:
        show("interrupted")
"""


class Terminal:
    """A child process on a pty that asks one question."""

    def __init__(self, folder: Path, question: str, editor: str = "") -> None:
        (folder / "tests_data.py").write_text(
            f"from memory.records import Plan\nDIFF = {DIFF!r}\n"
            f"PLAN = Plan.model_validate_json({PLAN.model_dump_json()!r})\n"
        )
        script = folder / "ask.py"
        script.write_text(SCRIPT)
        environ = {
            "PATH": "/usr/bin:/bin",
            "TERM": "xterm",
            "EDITOR": editor,
            "LANG": "C.UTF-8",
            "PAGER": "cat",
        }
        self.child: pexpect.spawn[str] = pexpect.spawn(
            sys.executable, [str(script), question], env=environ | {"EDITOR": editor}, encoding="utf-8",
            timeout=30, dimensions=(40, 150),
        )  # fmt: skip

    def answer(self, prompt: str, line: str) -> None:
        self.child.expect_exact(prompt)
        self.child.sendline(line)

    def got(self) -> str:
        self.child.expect(r"GOT (.*)\r\n")
        found = self.child.match[1]
        self.child.expect(pexpect.EOF)
        return str(found)


Start = Callable[..., Terminal]


@pytest.fixture
def terminal(tmp_path: Path) -> Iterator[Start]:
    opened: list[Terminal] = []

    def start(question: str, editor: str = "") -> Terminal:
        opened.append(Terminal(tmp_path, question, editor))
        return opened[-1]

    yield start
    for one in opened:
        one.child.close(force=True)


def editor_script(folder: Path, body: str) -> str:
    """A fake $EDITOR: a Python program, in a path with a space, that rewrites the file it is given."""
    path = folder / "my editor.py"
    path.write_text(
        f"import pathlib, sys\npath = pathlib.Path(sys.argv[-1])\ntext = path.read_text()\n{body}"
    )
    return f"{sys.executable} '{path}' --wait"


def test_yes_applies(terminal: Start) -> None:
    t = terminal("good")
    t.child.expect_exact("+new\\x1b[2J")
    t.child.expect_exact("The checks pass.")
    t.answer("? help > ", "?")
    t.child.expect_exact("y applies the change")
    t.answer("? help > ", "d")
    t.child.expect_exact("+new\\x1b[2J")
    t.answer("? help > ", "y")
    got = t.got()
    assert "action='accept'" in got
    assert "viewed=True" in got
    assert "automatic=False" in got


def test_a_verdict_that_does_not_hold_wants_yes_in_full(terminal: Start) -> None:
    t = terminal("bad")
    t.child.expect_exact("does NOT hold")
    t.answer("? help > ", "y")
    t.child.expect_exact("Type yes in full")
    t.answer("? help > ", "yes")
    assert "action='accept'" in t.got()


def test_no_asks_for_the_reason(terminal: Start) -> None:
    t = terminal("good")
    t.answer("? help > ", "N")
    t.answer("none) > ", "Wrong File, keep the API")
    assert "Decision(action='reject', reason='Wrong File, keep the API'" in t.got()


def test_the_diff_can_be_edited(terminal: Start, tmp_path: Path) -> None:
    t = terminal("good", editor_script(tmp_path, "path.write_text(text.replace('+new', '+newer'))"))
    t.answer("? help > ", "e")
    got = t.got()
    assert "action='edit'" in got
    assert "+newer" in got


def test_a_plan_is_edited_again_after_a_mistake(terminal: Start, tmp_path: Path) -> None:
    body = (
        "import os\nseen = path.parent.stat().st_mode & 0o077\nassert seen == 0\n"
        "broken = 'gaol' in text\n"
        "path.write_text(text.replace('gaol', 'goal').replace('Fix it', 'Fix all of it') "
        "if broken else text.replace('goal =', 'gaol ='))"
    )
    t = terminal("plan", editor_script(tmp_path, body))
    t.answer("cancel > ", "e")
    t.child.expect_exact("did you mean goal?")
    t.answer("cancel > ", "e")
    got = t.got()
    assert "goal='Fix all of it'" in got
    assert "revision=2, author='user'), True)" in got


@pytest.mark.parametrize(("line", "expected"), [("", "goal='Fix it'"), ("q", "(None, True)")])
def test_a_plan_is_taken_or_cancelled(terminal: Start, line: str, expected: str) -> None:
    t = terminal("plan", "no-such-editor-anywhere")
    t.answer("cancel > ", "e")
    t.child.expect_exact("does not start")
    t.answer("cancel > ", line)
    assert expected in t.got()


def test_ctrl_c_interrupts_and_the_end_of_input_defers(terminal: Start) -> None:
    for question in ("plan", "good"):
        t = terminal(question)
        t.child.expect_exact("> ")
        t.child.sendintr()
        assert t.got() == "'interrupted'"
    t = terminal("good")
    t.child.expect_exact("? help > ")
    t.child.sendeof()
    assert "action='defer'" in t.got()


def test_keys_pressed_before_the_question_do_not_answer_it(terminal: Start) -> None:
    t = terminal("good")
    t.child.sendline("y")
    t.child.expect_exact("? help > ")
    with pytest.raises(pexpect.TIMEOUT):
        t.child.expect("GOT", timeout=0.7)
    t.child.sendline("q")
    assert "action='defer'" in t.got()


def test_nobody_is_there() -> None:
    absent, accepting = Unattended(accept=False), Unattended(accept=True)
    assert absent.review_plan(PLAN, []).plan is PLAN
    assert absent.decide(DIFF, PASSING) == Decision(
        "defer", reason="no person was there to decide", automatic=True
    )
    assert accepting.decide(DIFF, PASSING) == Decision("accept", automatic=True)
    for change in ({"accepted": False}, {"protected": (".github/ci.yml",)}):
        decision = accepting.decide(DIFF, PASSING.model_copy(update=change))
        assert (decision.action, decision.automatic) == ("defer", True)
        assert decision.reason


def test_unattended_still_shows_the_diff() -> None:
    stream = io.StringIO()
    with Display(make_console(stream, "auto", {}), heartbeat_s=0) as display:
        Unattended(True, display).decide(DIFF, PASSING)
        assert TerminalPerson(display, io.StringIO(""), review_plans=False).review_plan(PLAN, []).plan is PLAN
    assert "+new\\x1b[2J" in stream.getvalue()
