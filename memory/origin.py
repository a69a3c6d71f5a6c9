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
    copy_of: str = ""
    """Root of the repository that the run's copy stands for; empty where the run worked in it, as most do."""
    synthetic: bool = False
    """A program made the task, such as a defect seeded into a copy of `copy_of` (agent/seed_tasks.py): it is
    nobody's work, and what accepts it is nobody's word."""
    task: str = ""
    """Id of that task; empty where a person asked."""

    def repository(self, repo: str) -> str:
        """Whose a run at `repo` is: the repository that its lessons, consent, caps and splits go by.

        What was claimed, applied or can be undone goes by `repo` itself: a copy's files are no user's tree.
        """
        return self.copy_of or repo
