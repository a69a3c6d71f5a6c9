"""The board of a backlog: one line for each running item at a terminal, plain lines elsewhere."""

import io
import re
import time

from agent.display import make_console
from agent.display_board import Board, clock, line_of
from tests.terminal_kit import ATTACKS, SPOOF, Pty, foul, spoofed


def told(kind: str, **more: object) -> dict[str, object]:
    return {"kind": kind, "worker": 1, "key": "k", "attempt": 1, "seconds": 2.0, "state": "solved", **more}


def test_a_line_for_each_running_item_and_the_totals() -> None:
    terminal = Pty()
    console = make_console(terminal.stream, environ={"TERM": "xterm"})
    with Board(console, lambda: {"queued": 3, "running": 2, "solved": 0}) as board:
        board.on_event(told("claimed", key="first"))
        board.on_event(told("claimed", key="second", worker=2, attempt=2))
        board.on_event(told("step", step="trying lines", tests="tests 3/4"))
        board.tick()
        time.sleep(0.6)
        board.on_event(told("settled", key="first", detail="1 of 1 checks pass"))
    shown = re.sub(r"\x1b\[[\d;]*m", "", terminal.close())
    assert "first  trying lines  tests 3/4  0:00" in shown
    assert "second (try 2)" in shown
    assert "3 queued · 2 running · 0:00 · Ctrl-C drains" in shown
    assert "first solved: 1 of 1 checks pass" in shown


def test_plain_lines_and_a_sign_of_life_without_a_terminal() -> None:
    stream = io.StringIO()
    with Board(make_console(stream), lambda: {"running": 1}, heartbeat_s=0.05) as board:
        board.on_event(told("claimed"))
        board.on_event(told("step", step="planning", tests=""))
        time.sleep(0.06)
        board.tick()
        board.on_event(told("settled", state="queued", outcome="infra-error", detail="lost"))
    assert stream.getvalue().splitlines() == [
        "• k begins on worker 1",
        "… 1 running · 0:00: k planning",
        "! k to be tried again: infra-error: lost  2.0 s",
    ]


def test_no_text_of_strangers_steers_the_terminal() -> None:
    terminal = Pty()
    with Board(make_console(terminal.stream, environ={"TERM": "xterm"}), dict) as board:
        for attack in ATTACKS:
            hostile = attack.encode("utf-8", "replace").decode()
            board.on_event(told("claimed", key=hostile))
            board.on_event(told("step", step=hostile, tests=hostile))
            for kind in ("settled", "released", "lost", "died", "store-away"):
                board.on_event(told(kind, key=hostile, detail=hostile, log=hostile, tests=hostile))
    shown = terminal.close()
    assert foul(shown) == []
    assert SPOOF in shown
    assert spoofed(shown) == []


def test_events_that_only_move_the_board_are_no_lines() -> None:
    assert [line_of({"kind": kind}) for kind in ("ready", "idle", "left", "run")] == [None] * 4
    assert (clock(5), clock(65), clock(3671)) == ("0:05", "1:05", "1:01:11")
