"""Whose work a run begins with: what an export has to know long after."""

from typing import Literal

from memory.checks import Record


class Origin(Record):
    """Whose work a run begins with, as it was at that moment: what an export has to know later."""

    licence: str = ""
    """SPDX expression of the repository's licence; empty when it is not known."""
    licence_source: Literal["manifest", "file", "header", "declared", "unknown"] = "unknown"
    author: str = ""
    """E-mail address of the person, as git is told it; empty when git knows none."""
    no_train: bool = False
    """The repository had a file `.adi/no-train`."""
