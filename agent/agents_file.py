"""AGENTS.md as data: the rules that a repository writes down for agents, as far as they fit a few tokens.

Plain Markdown without a schema (agents.md). It is a stranger's text: rules are shown to the model among what
is known of the repository; commands in it are tried only as test commands are (agent/discover.py); nothing in
it changes what a run may do.
"""

import re
from collections.abc import Callable, Iterator
from typing import Final

from agent.context import RULES
from agent.inert import inert_line
from feedback.files import text_of
from sandbox.workcopy import WorkCopy

NAMES: Final = ("AGENTS.override.md", "AGENTS.md", "CLAUDE.md")
"""The first that is there at a folder counts."""
BYTES: Final = 32_768
"""Text that is read, as other agents cap it."""
TOKENS: Final = 120
RULE: Final = 200
"""Characters of one rule."""
_ITEM: Final = re.compile(r"^\s{0,3}(?:[-*+]|\d+[.)])\s+(?P<text>\S.*)$")
_SAYS: Final = re.compile(
    r"\b(?:always|never|must|do not|don't|avoid|prefer|use|only|instead of|no|not|keep|write)\b", re.I
)


def rules(files: WorkCopy) -> Iterator[str]:
    """List items that say what to do or to leave, in their order."""
    name = next((name for name in NAMES if files.exists(name)), "")
    for line in text_of(files, name)[:BYTES].splitlines() if name else ():
        item = _ITEM.match(line)
        if item and _SAYS.search(item["text"]):
            text = inert_line(re.sub(r"\s+", " ", item["text"]))
            yield text if len(text) <= RULE else f"{text[: RULE - 1]}…"


def told(files: WorkCopy, count: Callable[[str], int], tokens: int = TOKENS) -> str:
    """The rules as lines for a prompt, at most `tokens`; empty where there are none."""
    lines = [RULES]
    left = tokens - count(lines[0])
    for rule in rules(files):
        left -= count(f"- {rule}") + 1
        if left < 0:
            break
        lines.append(f"- {rule}")
    return "\n".join(lines) if len(lines) > 1 else ""
