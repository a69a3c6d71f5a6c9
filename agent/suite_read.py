"""Reads the evaluation suites: rows of their data files become tasks, broken rows become sentences."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from agent.errors import UsageError
from agent.suite_data import Part, SuiteRow, find_file, part_of, read_rows
from agent.suite_read_exercism import ExercismRow
from agent.suite_read_functions import HumanEvalRow, MbppRow
from agent.suite_read_multipl_e import LANGUAGES, MultiplERow
from agent.suite_read_quixbugs import QuixBugsJavaRow, QuixBugsRow
from agent.suite_read_repobugs import RepoBugsRow
from agent.suite_task import SuiteTask


@dataclass(frozen=True, slots=True)
class Suite:
    """Where a suite's rows are and what they hold."""

    folder: str
    files: Mapping[str, str]
    """Language to file name."""
    row: type[SuiteRow]


SUITES: Mapping[str, Suite] = {
    "humaneval": Suite("humaneval", {"py": "humaneval.jsonl"}, HumanEvalRow),
    "mbpp": Suite("mbpp", {"py": "mbpp_sanitized.jsonl"}, MbppRow),
    "quixbugs": Suite("quixbugs", {"py": "quixbugs.jsonl"}, QuixBugsRow),
    "quixbugs_java": Suite("quixbugs", {"java": "quixbugs_java.jsonl"}, QuixBugsJavaRow),
    "exercism": Suite("exercism", {"py": "exercism.jsonl"}, ExercismRow),
    "multipl_e": Suite("multipl_e", {code: f"{code}.jsonl" for code in LANGUAGES}, MultiplERow),
    "repobugs": Suite("repobugs", {"py": "instances.jsonl"}, RepoBugsRow),
}


def read_suite(
    name: str, data: Path, *, languages: Sequence[str] = (), part: Part = "all"
) -> tuple[list[SuiteTask], list[str]]:
    """The tasks of a suite in the order of its files, and one sentence for each row that is none.

    `data` is the folder with all suites, the suite's own, or its file; no `languages` means all that it has;
    `part_of` says which tasks are of which part. Raises UsageError when there is no task to read.
    """
    suite = SUITES.get(name)
    if suite is None:
        raise UsageError(f"no suite {name!r}", f"choose one of: {', '.join(SUITES)}")
    problems: list[str] = []
    tasks: dict[str, tuple[SuiteTask, str]] = {}
    for file in _files(name, suite, data, languages):
        for number, row in read_rows(file, suite.row, problems):
            try:
                task = row.task()
            except ValueError as error:
                problems.append(f"{file.name} line {number}: {error}, skipped")
                continue
            if task.name in tasks:
                problems.append(f"{file.name} line {number}: a second task {task.name}, skipped")
            else:
                tasks[task.name] = task, row.part
    if not tasks:
        first = f": {problems[0]}" if problems else ""
        raise UsageError(f"no task of {name} can be read in {data}{first}", "--data PATH of the suites")
    wanted = [task for task, own in tasks.values() if part in ("all", part_of(name, task.name, tasks, own))]
    return wanted, problems


def _files(name: str, suite: Suite, data: Path, languages: Iterable[str]) -> Iterator[Path]:
    """The data files of the languages. Raises UsageError."""
    if data.is_file():
        yield data
        return
    for language in languages or suite.files:
        if language not in suite.files:
            raise UsageError(f"{name} has no {language!r}", f"choose of: {', '.join(suite.files)}")
        yield find_file(data, suite.folder, suite.files[language])


__all__ = ["SUITES", "Part", "Suite", "read_suite"]
