"""The live line on a pty: redrawn in place, inert, and gone with the cursor back after an interruption."""

import re
import sys
from pathlib import Path

import pexpect

SCRIPT = """
import sys, time
sys.path.insert(0, sys.argv[1])
from test_agent_display import HOSTILE, recorded
from agent.display import Display, make_console

events = recorded(HOSTILE)
try:
    with Display(make_console(sys.stderr)) as display:
        for event in events[:9]:
            display.on_event(event)
        for _ in range(20):
            display.on_output(HOSTILE.encode() + b"\\n")
            display.on_text("x")
            time.sleep(0.05)
        display.on_event(events[9])
        print("READY", flush=True)
        display.on_event(events[2])
        time.sleep(60)
except KeyboardInterrupt:
    print("LEFT", flush=True)
"""

OWN = re.compile(r"\x1b\[(\?25[lh]|\d*[AKGJ]|[0-9;]*m)|\r")
"""Cursor off and on, up, erase, and colours: all that the live line needs."""


def test_the_live_line_is_inert_and_leaves_nothing_behind(tmp_path: Path) -> None:
    script = tmp_path / "live.py"
    script.write_text(SCRIPT)
    environ = {"PATH": "/usr/bin:/bin", "TERM": "xterm-256color", "LANG": "C.UTF-8"}
    child: pexpect.spawn[str] = pexpect.spawn(
        sys.executable, [str(script), str(Path(__file__).parent)], env=environ, encoding="utf-8",
        timeout=30, dimensions=(24, 80),
    )  # fmt: skip
    try:
        child.expect_exact("READY")
        first = child.before or ""
        child.expect_exact("Planning")
        child.sendintr()
        child.expect_exact("LEFT")
        last = child.before or ""
        child.expect(pexpect.EOF)
    finally:
        child.close(force=True)

    assert re.search(r" · \d+ tokens · \d+ tok/s · ", first)
    assert "Ctrl-C interrupts" in first
    assert "\x1b[1A\x1b[2K" in first, "the region is redrawn in place"
    assert "\x1b[?1049h" not in first, "no alternate screen"
    rest = OWN.sub("", first + last).replace("^C", "")
    assert [c for c in rest if c != "\n" and (ord(c) < 32 or 127 <= ord(c) < 160)] == []
    assert not {"\u202e", "\u200b", "\U000e0041"} & set(rest)
    assert last.rindex("\x1b[?25h") > last.rfind("\x1b[?25l"), "the cursor is back"
