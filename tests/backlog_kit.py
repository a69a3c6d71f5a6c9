"""Issues, and a program that stands for `gh` in tests of the backlog."""

import json
import os
import sys
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from agent.backlog_item import Bad, Item

PROGRAM = """#!{python} -ISs
import json, sys
from pathlib import Path
home = Path({home!r})
state = json.loads((home / "state.json").read_text())
state["calls"] += 1
state["seen"].append(sys.argv[1:])
arguments = sys.argv[1:]
def option(name):
    return arguments[arguments.index(name) + 1]
code = 0
if state["calls"] == state["fail_at"]:
    print("could not connect", file=sys.stderr)
    code = 1
elif arguments[:2] == ["issue", "list"]:
    since = option("--search").partition("created:>=")[2]
    found = [i for i in state["issues"] if i["createdAt"] >= since]
    found.sort(key=lambda i: i["createdAt"])
    print(json.dumps(found[: int(option("--limit"))]))
elif arguments[:2] == ["issue", "view"]:
    print(json.dumps({{"comments": state["comments"]}}))
elif arguments[:2] == ["issue", "comment"]:
    body = sys.stdin.read()
    url = arguments[2] + "#issuecomment-" + str(len(state["comments"]) + 1)
    state["comments"].append({{"body": body, "url": url, "viewerDidAuthor": True}})
    if state["crash_after"]:
        print("connection reset", file=sys.stderr)
        code = 1
    else:
        print(url)
else:
    code = 2
(home / "state.json").write_text(json.dumps(state))
sys.exit(code)
"""


@dataclass(frozen=True, slots=True)
class FakeGh:
    """What the program knows, in a file."""

    home: Path

    def write(self, **changed: Any) -> None:
        before = {"issues": [], "comments": [], "fail_at": 0, "crash_after": False}
        (self.home / "state.json").write_text(json.dumps(before | {"calls": 0, "seen": []} | changed))

    def read(self) -> dict[str, Any]:
        found: dict[str, Any] = json.loads((self.home / "state.json").read_text())
        return found


def fake_gh(home: Path, monkeypatch: pytest.MonkeyPatch) -> FakeGh:
    """Put the program on PATH."""
    home.mkdir()
    program = home / "gh"
    program.write_text(PROGRAM.format(python=sys.executable, home=str(home)))
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{home}{os.pathsep}{os.environ['PATH']}")
    made = FakeGh(home)
    made.write()
    return made


def issue(number: int, **changed: object) -> dict[str, object]:
    """An issue as `gh issue list --json` prints it; each is opened an hour after the one before."""
    opened = datetime(2026, 1, 1) + timedelta(days=6) + timedelta(hours=number - 7)
    return {
        "number": number, "title": f"T{number}", "body": f"B{number}", "labels": [{"id": "x", "name": "bug"}],
        "author": {"login": "ada", "is_bot": False}, "state": "OPEN", "stateReason": "",
        "createdAt": f"{opened.isoformat()}Z", "updatedAt": "2026-01-07T00:00:00Z",
        "url": f"https://github.com/shop/till/issues/{number}",
        "comments": [{"author": {"login": "bob"}, "body": "Me too", "createdAt": "2026-01-08T00:00:00Z"}],
    } | changed  # fmt: skip


def parted(found: Iterable[Item | Bad]) -> tuple[list[Item], list[str]]:
    """The items, and what is told of the others as `where: why`."""
    items, bad = [], []
    for each in found:
        if isinstance(each, Item):
            items.append(each)
        else:
            bad.append(f"{each.where}: {each.why}")
    return items, bad
