"""A hole in a file: the lines that a candidate replaces, every other byte untouched."""

from dataclasses import dataclass

from agent.localize import Suspect
from agent.source import lines_of
from tools.runs import equal_runs

BOM = "\ufeff"


@dataclass(frozen=True, slots=True)
class Hole:
    """Lines `first` to `last` of a file, 1-based; `last` = `first` - 1 is the gap before a line."""

    suspect: Suspect
    first: int
    last: int
    name: str = ""
    """Function that the hole is, if it is one."""

    @property
    def place(self) -> str:
        return f"{self.suspect.path}:{self.first}"

    @property
    def text(self) -> str:
        """What stands in the hole now."""
        return "".join(self._lines[self.first - 1 : self.last])

    @property
    def _lines(self) -> list[str]:
        return lines_of(self.suspect.text.removeprefix(BOM), keepends=True)

    def filled(self, text: str) -> str:
        """The file with the hole replaced; the BOM and the endings of lines that stay are kept."""
        lines = self._lines
        old = lines[self.first - 1 : self.last] or lines
        ending = "\r\n" if old and old[0].endswith("\r\n") else "\n"
        new = _with_endings(lines_of(text.removeprefix(BOM)), lines[self.first - 1 : self.last], ending)
        if new and self.last == len(lines) and lines and not lines[-1].endswith(("\n", "\r")):
            new[-1] = new[-1].rstrip("\r\n")
        bom = BOM if self.suspect.text.startswith(BOM) else ""
        return bom + "".join([*lines[: self.first - 1], *new, *lines[self.last :]])


def _with_endings(new: list[str], old: list[str], ending: str) -> list[str]:
    """The new lines ended; those that stood there before end as they did."""
    bare = [line.rstrip("\r\n") for line in old]
    ended = [f"{line}{ending}" for line in new]
    for before, after, length in equal_runs(bare, new):
        for step in range(length):
            kept = old[before + step]
            ended[after + step] = kept if kept != bare[before + step] else kept + ending
    return ended
