"""Tasks that a program made: defects seeded into a person's own tested repositories, kept and split.

A task's repository is a fresh one without history, so that no earlier version of the changed line is in it.
Everything about a seeded task says that it is synthetic: its record, the runs that work on it (`synthetic`
of their origin, memory/origin.py), and every row that comes of those. Which part a task is of, training or
held out, is decided by a hash of its repository, file or function, once, and never changes.
"""

import hashlib
import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Final, Literal

from pydantic import ValidationError

from agent.errors import UsageError
from agent.learn_place import replace_text
from agent.suite_task import Grader, SuiteTask
from feedback.evidence import bends_tests, is_test_path
from memory.records import Record
from sandbox.archive import ArchiveCaps, read_archive
from sandbox.packing import pack

SUITE: Final = "seeded"
HELD_OUT_SHARE: Final = 0.25
"""Of the repositories, files or functions."""
CAPS: Final = ArchiveCaps()
"""Of one repository's files; more is not kept."""
Part = Literal["train", "held-out"]
By = Literal["repository", "file", "function"]


class SeededTask(Record):
    """One defect in one repository.

    As rows of a held-out suite (feedback/heldout_read.py) `instance_id`, `fix_diff` and `code` are compared;
    `told` and `mutated` are not: tasks share the words of the one, files the lines of the other.
    """

    instance_id: str
    synthetic: Literal[True] = True
    repo: str
    """Absolute path of the root of the repository that it was made of."""
    tree: str
    """SHA-256 of the archive of that repository's files, as they were."""
    path: str
    function: str
    """Qualified name, such as `Shelf.add`."""
    kind: str
    """Of change, such as `missing statement`."""
    part: Part
    told: str
    """What an agent is told."""
    command: str
    """Shell command of the tests."""
    image: str
    """Profile of the sandbox image."""
    check_s: float
    failing: tuple[str, ...]
    """Tests that the defect breaks, as their runner names them."""
    mutated: str
    """Text of the file with the defect."""
    fix_diff: str
    """From the defect to the original."""
    code: str
    """The function as it was, for what keeps held-out tasks out of training rows."""


class TaskFolder:
    """The seeded tasks of one data directory."""

    def __init__(self, root: Path) -> None:
        self.root = root

    def file(self, part: Part) -> Path:
        """JSON lines of a part's tasks; what `adi data export --held-out` reads too."""
        return self.root / f"{part}.jsonl"

    def tasks(self, part: Part) -> list[SeededTask]:
        """By id. Raises UsageError for a file that was damaged."""
        file = self.file(part)
        if not file.exists():
            return []
        lines = file.read_text(encoding="utf-8").split("\n")
        try:
            found = [SeededTask.model_validate_json(line) for line in lines if line]
        except ValidationError as error:
            raise UsageError(f"{file} is damaged", "remove it, and run adi learn seed again") from error
        return sorted(found, key=lambda task: task.instance_id)

    def add(self, made: Iterable[SeededTask], files: Mapping[str, bytes]) -> int:
        """Keep tasks of one tree; the number of those that are new. A task that is there stays as it is."""
        archive = pack(files)
        place = self._archive(hashlib.sha256(archive).hexdigest())
        place.parent.mkdir(parents=True, exist_ok=True)
        if not place.exists():
            half = place.with_suffix(".part")
            half.write_bytes(archive)
            half.replace(place)
        known = {task.instance_id: task for part in PARTS for task in self.tasks(part)}
        fresh = [task for task in made if task.instance_id not in known]
        for part in PARTS:
            own = [task for task in (*known.values(), *fresh) if task.part == part]
            rows = sorted(own, key=lambda task: task.instance_id)
            replace_text(self.file(part), "".join(f"{task.model_dump_json()}\n" for task in rows))
        return len(fresh)

    def suite_task(self, task: SeededTask) -> SuiteTask:
        """The task for an agent and its grader. Raises UsageError where its files are gone."""
        place = self._archive(task.tree)
        try:
            files = read_archive([place.read_bytes()], CAPS).files
        except FileNotFoundError as error:
            raise UsageError(
                f"the files of task {task.instance_id} are gone", "adi learn seed REPO"
            ) from error
        tests = {path: data for path, data in files.items() if is_evidence(path, data)}
        return SuiteTask(
            suite=SUITE,
            name=task.instance_id,
            language="py",
            prompt=task.told,
            files={**files, task.path: task.mutated.encode()},
            answers=(),
            grader=Grader(task.command, tests, image=task.image, timeout_s=task.check_s),
            checks=(task.command,),
            group=task.kind,
        )

    def split(self, found: Sequence[tuple[str, str, str]], by: By) -> Callable[[str, str, str], Part]:
        """From repository, path and function to the part, for these and all that were split before.

        What is decided here is written down before a task with it is, and holds for ever.
        """
        file = self.root / "splits.json"
        table: dict[str, Part] = json.loads(file.read_text(encoding="utf-8")) if file.exists() else {}
        known = {name for unit in found for name in _names(*unit) if name in table}
        fresh = {_names(*unit)[_DEPTH[by]] for unit in found if known.isdisjoint(_names(*unit))}
        table |= _drawn(sorted(fresh), table)
        replace_text(file, json.dumps(table, indent=1, sort_keys=True))

        def part(repo: str, path: str, function: str) -> Part:
            return next(table[name] for name in _names(repo, path, function) if name in table)

        return part

    def _archive(self, digest: str) -> Path:
        return self.root / "trees" / f"{digest}.tar"


PARTS: Final[tuple[Part, ...]] = ("train", "held-out")
_DEPTH: Final[dict[By, int]] = {"repository": 0, "file": 1, "function": 2}


def is_evidence(path: str, data: bytes) -> bool:
    """A test, or what decides how tests run: no defect is seeded there, and no answer counts there."""
    return is_test_path(path) or bends_tests(path, None, data)


def tree_of(files: Mapping[str, bytes]) -> str:
    """Name of the archive of these files."""
    return hashlib.sha256(pack(files)).hexdigest()


def _names(repo: str, path: str, function: str) -> tuple[str, str, str]:
    """What a task may be split by, the widest first."""
    return repo, f"{repo}::{path}", f"{repo}::{path}::{function}"


def _drawn(names: Sequence[str], table: Mapping[str, Part]) -> dict[str, Part]:
    """By hash; the smallest one is held out where else nothing were, and the largest trains."""
    digests = sorted((_digest(name), name) for name in names)
    limit = int(HELD_OUT_SHARE * 16**8)
    drawn: dict[str, Part] = {
        name: "held-out" if int(digest[:8], 16) < limit else "train" for digest, name in digests
    }
    if len(digests) + len(table) > 1 and digests:
        parts = {*drawn.values(), *table.values()}
        if "held-out" not in parts:
            drawn[digests[0][1]] = "held-out"
        elif "train" not in parts:
            drawn[digests[-1][1]] = "train"
    return drawn


def _digest(name: str) -> str:
    """Of what is left of a name without the folder that holds the repository: the same on every machine."""
    repo, _, rest = name.partition("::")
    return hashlib.sha256(f"{Path(repo).name}::{rest}".encode()).hexdigest()
