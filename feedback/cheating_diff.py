"""A git patch taken apart for the scan: files, what became of them, and the lines around what was added."""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import Final

from feedback.candidate import Flag
from feedback.hunks import Region, regions

EVIDENCE: Final = 200
"""Characters of a line that is shown."""
LONGEST: Final = 300
"""Characters of a line that are looked at."""
MOST: Final = 3_000
"""Lines of a file, gone or come, that are looked at: what is longer is no code that anybody reads."""
_HUNK: Final = re.compile(r"@@ -\d+(?:,\d+)? \+\d+(?:,\d+)? @@ ?(.*)")
_OCTAL: Final = re.compile(rb'\\([0-7]{3}|[abfnrtv"\\])')
_ESCAPES: Final = {b"a": 7, b"b": 8, b"t": 9, b"n": 10, b"v": 11, b"f": 12, b"r": 13, b'"': 34, b"\\": 92}


@dataclass(frozen=True)
class File:
    """One file of a change."""

    path: str
    """As it is called afterwards, or was called where it is deleted."""
    before: str
    """As it was called before; empty where it is new."""
    deleted: bool
    text: str
    """Its part of the patch."""

    @property
    def new(self) -> bool:
        return not self.before

    @cached_property
    def regions(self) -> tuple[Region, ...]:
        """The changed places; of a line no more than its beginning."""
        return tuple(Region(item.path, _cut(item.gone), _cut(item.come)) for item in regions(self.text))

    @cached_property
    def gone(self) -> list[str]:
        return [line for region in self.regions for line in region.gone][:MOST]

    @cached_property
    def come(self) -> list[str]:
        return [line for region in self.regions for line in region.come][:MOST]

    @cached_property
    def hunks(self) -> list[list[tuple[str, str]]]:
        """Per hunk its lines afterwards, each with its mark: `+`, a blank, or `@` for the heading."""
        found = list[list[tuple[str, str]]]()
        for line in self.text.split("\n"):
            if head := _HUNK.match(line):
                found.append([("@", head[1])])
            elif found and line[:1] in ("+", " "):
                found[-1].append((line[0], line[1:LONGEST]))
        return [hunk[:MOST] for hunk in found]

    def flag(self, rule: str, line: str = "") -> Flag:
        """A sign found in this file."""
        return Flag(rule=rule, where=self.path, evidence=line.strip()[:EVIDENCE])


def _cut(lines: tuple[str, ...]) -> tuple[str, ...]:
    return tuple(line[:LONGEST] for line in lines[:MOST])


def files(diff: str) -> Iterator[File]:
    """The files of a patch, in its order."""
    parts = re.split(r"^(?=diff --git )", diff, flags=re.MULTILINE)
    return (_file(part) for part in parts if part.startswith("diff --git "))


def _file(part: str) -> File:
    head = part.partition("\n@@ ")[0].split("\n")
    said = {name: _value(head, name) for name in ("--- ", "+++ ", "rename from ", "rename to ")}
    deleted = any(line.startswith("deleted file mode") for line in head) or said["+++ "] == "/dev/null"
    new = any(line.startswith("new file mode") for line in head) or said["--- "] == "/dev/null"
    before = said["rename from "] or _name(said["--- "]) or _headed(head[0])
    after = said["rename to "] or _name(said["+++ "]) or _headed(head[0])
    return File(before if deleted else after, "" if new else before, deleted, part)


def _value(head: list[str], name: str) -> str:
    found = next((line.removeprefix(name) for line in head if line.startswith(name)), "")
    return unquoted(found.rstrip("\t\r"))


def _name(told: str) -> str:
    return "" if told == "/dev/null" else re.sub(r"^[ab]/", "", told)


def _headed(line: str) -> str:
    """The path of `diff --git a/x b/x`; of a file that is binary or empty nothing else tells it."""
    words = line.removeprefix("diff --git ").strip()
    if words.startswith('"'):
        return _name(unquoted(words[: words.find('" ') + 1] or words))
    return words[2 : (len(words) - 1) // 2] if words.startswith("a/") else ""


def unquoted(name: str) -> str:
    """A path as git quotes it, with its bytes in place."""
    if len(name) < 2 or not (name.startswith('"') and name.endswith('"')):
        return name

    def byte(match: re.Match[bytes]) -> bytes:
        told = match[1]
        return bytes([int(told, 8) & 255 if told.isdigit() else _ESCAPES[told]])

    return _OCTAL.sub(byte, name[1:-1].encode()).decode("utf-8", "replace")
