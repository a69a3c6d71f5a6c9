"""Lessons as text that other agents read: AGENTS.md, and a skill in a folder of its own.

AGENTS.md is plain Markdown (agents.md); a skill is `SKILL.md` with a name of lower-case letters, digits and
hyphens that its folder bears too, and a description of at most 1,024 characters (agentskills.io).
"""

import re
from collections.abc import Iterable, Sequence
from pathlib import PurePath
from typing import Final

from memory.lesson import Lesson

MOST: Final = 40
"""Lessons of one kind that are written."""
_HEADINGS: Final = {
    "check": "Commands",
    "preference": "Conventions",
    "fact": "Good to know",
    "fix": "What mended errors before",
}


def agents_text(lessons: Sequence[Lesson]) -> str:
    """Sections for an AGENTS.md: how tests are run, what is wanted, what is known."""
    return "\n".join(_sections(lessons, ("check", "preference", "fact")))


def skill_text(lessons: Sequence[Lesson]) -> tuple[str, str]:
    """Name and text of a skill: everything that is known of a repository, fixes too."""
    place = next((PurePath(item.place).name for item in lessons if item.place), "")
    name = (
        re.sub(r"[^a-z0-9]+", "-", f"working-on-{place or 'this-repository'}".lower())
        .strip("-")[:64]
        .rstrip("-")
    )
    about = "How tests run here, what the maintainers want, what mended errors before. For any change here."
    head = f"---\nname: {name}\ndescription: {about}\n---\n"
    return name, "\n".join([head, *_sections(lessons, ("check", "preference", "fact", "fix"))])


def _sections(lessons: Sequence[Lesson], kinds: Iterable[str]) -> list[str]:
    parts = []
    for kind in kinds:
        chosen = [item for item in lessons if item.kind == kind and item.status != "retired"]
        ranked = sorted(chosen, key=lambda item: (not item.pinned, -item.supported, item.id))[:MOST]
        if ranked:
            lines = [f"- {_plain(item.claim)}{_backing(item)}" for item in ranked]
            parts.append("\n".join([f"## {_HEADINGS[kind]}", "", *lines, ""]))
    return parts


def _backing(item: Lesson) -> str:
    runs = item.supported
    return f" ({runs} runs)" if runs > 1 else ""


def _plain(text: str) -> str:
    """One line that opens no heading, list or comment of its own."""
    return " ".join(text.replace("<!--", "<! --").split())
