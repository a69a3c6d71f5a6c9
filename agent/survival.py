"""What became of accepted lines in the user's tree, looked at when ADI is started there again."""

import contextlib
from collections import Counter
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

from feedback.hunks import regions
from memory.lesson import Evidence, Survival
from memory.lessons import Lessons, now
from memory.store import Store
from memory.survivals import due, record
from sandbox.errors import SandboxError
from sandbox.tree import Tree

LARGEST: Final = 2_000_000
"""Bytes of a file that is looked at."""


def revisit(store: Store, repo: Path, at: datetime | None = None) -> list[Survival]:
    """Record what became of every change whose time has come.

    A change that was taken back speaks against the lessons that it supported.
    """
    found = []
    for run_id, sha256, days in due(store, str(repo), at or datetime.now(UTC)):
        kept, edited, reverted = survived(repo, store.artifact(sha256).decode("utf-8", "replace"))
        survival = Survival(run_id=run_id, days=days, kept=kept, edited=edited, reverted=reverted, at=now())
        record(store, survival)
        found.append(survival)
        if reverted > kept + edited:
            _contradict(Lessons(store), str(repo), survival)
    return found


def survived(repo: Path, diff: str) -> tuple[int, int, int]:
    """Accepted lines that are kept, edited and reverted in the tree as it is now; blank lines do not count.

    A line is kept while its file holds it as often as was accepted. One that is gone was reverted where the
    lines that it replaced stand again, or where its file or the place around it went; else it was edited.
    """
    totals = [0, 0, 0]
    texts: dict[str, list[str]] = {}
    for region in regions(diff):
        lines = texts.setdefault(region.path, _lines(repo, region.path))
        there = Counter(line.strip() for line in lines)
        wanted = [line.strip() for line in region.come if line.strip()]
        missing = list((Counter(wanted) - there).elements())
        before = [line.strip() for line in region.gone if line.strip()]
        back = not lines or (bool(before) and not Counter(before) - there)
        totals[0] += len(wanted) - len(missing)
        totals[2 if back or not before else 1] += len(missing)
    return totals[0], totals[1], totals[2]


def _lines(repo: Path, path: str) -> list[str]:
    """The file's lines; none where it is gone, no regular file, or too large."""
    with contextlib.suppress(SandboxError, OSError), Tree(repo) as tree:
        found = tree.read(path, LARGEST)
        if found is not None:
            return found.data.decode("utf-8", "replace").splitlines()
    return []


def _contradict(lessons: Lessons, repo: str, survival: Survival) -> None:
    why = f"most of the change was taken back within {survival.days} day(s)"
    for lesson in lessons.all({("repository", repo)}, kinds=("fix",), retired=False):
        if any(item.run_id == survival.run_id and item.stance == "for" for item in lesson.evidence):
            lessons.testify(lesson.id, Evidence(run_id=survival.run_id, stance="against", why=why))
