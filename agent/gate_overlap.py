"""Held-out tasks that the new model was trained on are no held-out tasks: what training rows share with them.

Compared are ids, repositories, whole requests (near-duplicates) and runs of words in requests, answers and
tests, as an export compares runs with public suites (feedback/heldout.py). Nothing is left out in silence:
a held-out set that shares anything is refused, with what it shares.
"""

import json
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Literal

from agent.errors import UsageError
from agent.suite_task import SuiteTask
from feedback.harvest import Harvest
from feedback.heldout import HeldOut, normal
from feedback.near import THRESHOLD, WORDS
from feedback.shingles import Hashes, jaccard, shingles, words

Apart = Literal["repository", "task"]
"""How far held-out tasks are from training rows: in other repositories, or only other tasks of the same."""
SHOWN: Final = 5
FEWEST: Final = 20
"""Words of the shortest request that near-duplicates are looked for of: shorter ones resemble each other."""


@dataclass(frozen=True, slots=True)
class Trained:
    """One row that the new model was trained on."""

    id: str
    repository: str
    """As the held-out tasks name theirs; empty where it is not known."""
    task: str = ""
    """Id of its task."""
    prompt: str = ""
    texts: tuple[str, ...] = ()
    """Everything else that the model has seen of it."""


@dataclass(frozen=True, slots=True)
class Overlap:
    """What a held-out task and a training row share."""

    task: str
    row: str
    why: str


class HeldOutOverlaps(UsageError):
    """Held-out tasks share something with the training rows; `found` says what."""

    def __init__(self, found: Sequence[Overlap], tasks: int) -> None:
        shared = len({one.task for one in found})
        lines = [f"{one.task} and training row {one.row}: {one.why}" for one in found[:SHOWN]]
        super().__init__(
            f"{shared} of {tasks} held-out tasks overlap the training rows: {'; '.join(lines)}"
            + ("; ..." if len(found) > SHOWN else ""),
            "hold out tasks of other repositories, or train without these rows: docs/gate.md",
        )
        self.found = tuple(found)


def trained(run: Harvest, repository: str) -> Trained:
    """A recorded run as a training row of a repository, with all that a row of any format could hold."""
    return Trained(
        id=run.run_id,
        repository=repository,
        task=run.started.origin.task or run.task.id,
        prompt=run.task.prompt,
        texts=(run.diff, *(call.completion.text for call in run.calls)),
    )


def check_apart(
    tasks: Sequence[SuiteTask],
    repositories: Mapping[str, str],
    rows: Sequence[Trained],
    apart: Apart = "repository",
) -> None:
    """Raises HeldOutOverlaps unless the tasks share nothing with the rows. `repositories` is by task name."""
    found = [*overlaps(tasks, repositories, rows, apart)]
    if found:
        raise HeldOutOverlaps(found, len(tasks))


def overlaps(
    tasks: Sequence[SuiteTask],
    repositories: Mapping[str, str],
    rows: Sequence[Trained],
    apart: Apart = "repository",
) -> Iterator[Overlap]:
    """For each row the first thing that it shares, the plainest first."""
    held = index(tasks, apart)
    names = {normal(task.name): task.name for task in tasks}
    places = {repositories.get(task.name, ""): task.name for task in reversed(tasks)}
    asked = [(task, shingles(words(task.prompt), WORDS)) for task in tasks]
    for row in rows:
        if row.task and (name := names.get(normal(row.task))):
            yield Overlap(name, row.id, "the same task")
        elif apart == "repository" and row.repository and (name := places.get(row.repository)):
            yield Overlap(name, row.id, f"the same repository, {row.repository}")
        elif twin := _twin(row, asked):
            yield Overlap(twin, row.id, "the same request, or nearly")
        elif why := held.text("\n\n".join((row.prompt, *row.texts))):
            yield Overlap(_which(tasks, row, apart), row.id, why)


def index(tasks: Sequence[SuiteTask], apart: Apart = "repository") -> HeldOut:
    """The tasks as a suite that exports keep out of training data.

    Tasks of a repository that is trained on too share its files and tests with the rows: only their requests
    are compared then.
    """
    with tempfile.TemporaryDirectory(prefix="adi-gate-") as folder:
        file = Path(folder) / "held-out.jsonl"
        file.write_text("".join(f"{json.dumps(_row(task, apart))}\n" for task in tasks), encoding="utf-8")
        return HeldOut.read([file])


def _row(task: SuiteTask, apart: Apart) -> dict[str, object]:
    if apart == "task":
        return {"id": task.name, "prompt": task.prompt}
    return {
        "id": task.name,
        "prompt": task.prompt,
        "files": [_text(task.files[path]) for path in task.answers if path in task.files],
        "tests": [_text(data) for data in task.grader.files.values()],
    }


def _text(data: bytes) -> str:
    return "" if b"\0" in data else data.decode("utf-8", "replace")


def _twin(row: Trained, asked: Sequence[tuple[SuiteTask, Hashes]]) -> str:
    """The task whose request is that of the row, or nearly; empty where there is none."""
    own = words(row.prompt)
    if not own:
        return ""
    same = next((task.name for task, _ in asked if words(task.prompt) == own), "")
    if same or len(own) < FEWEST:
        return same
    mine = shingles(own, WORDS)
    return next((task.name for task, theirs in asked if jaccard(mine, theirs) >= THRESHOLD), "")


def _which(tasks: Sequence[SuiteTask], row: Trained, apart: Apart) -> str:
    """The task that a row shares a text with."""
    text = "\n\n".join((row.prompt, *row.texts))
    return next((task.name for task in tasks if index([task], apart).text(text)), "several tasks")
