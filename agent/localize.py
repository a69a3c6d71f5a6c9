"""Where the defect probably is: files and lines ranked by what the failures say.

Evidence, strongest first: lines that failing tests run and others do not, frames of the failures, files that
failing tests import, names in the task.
Tests themselves are never suspects. Only ranks, never decides: the checks decide.
"""

import itertools
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import PurePosixPath

from agent.executed import by_execution
from agent.source import Span, decoded, lines_of, parsed
from agent.symbols import IN_CODE, Mention, mentioned
from agent.syntax import code_lines, functions
from feedback.suspicion import IMPORTED, suspiciousness
from feedback.verdict import is_test_path
from memory.records import CheckResult, Failure
from memory.runtime import RuntimeEvidence
from sandbox.workcopy import WorkCopy
from tools.arguments import spelled
from tools.text import NotText, load_file

__all__ = [
    "FILES",
    "Span",
    "Suspect",
    "code_lines",
    "decoded",
    "functions",
    "lines_of",
    "parsed",
    "suspects",
    "unshown",
    "withheld",
]

FILES = 3
"""Suspect files looked into."""
RAN = 3.0
"""Weight of the most suspicious line that failing tests ran, beside frames (4) and the task's words (8)."""
MEANT = 2.5
"""What words and frames must say more than of a file that no failing test ran, to make it a suspect."""
TOLD = 0.3
"""What a task that names a function adds to the suspicion of its lines, which is at most 1."""
NAMED = 6.0
"""Most that definitions which the task names add to a file."""
MAX_BYTES = 200_000
"""A larger source file is no suspect: it is data or generated."""

SOURCE = frozenset(
    f".{ending}"
    for ending in ("py", "js", "mjs", "cjs", "ts", "jsx", "tsx", "go", "rs", "java", "rb", "c", "cc", "cpp")
) | {".h", ".hpp", ".sh", ".pl", ".lua", ".php", ".cs"}
IMPORTED_BY = 2.0
"""Most that the tests' imports say for a file."""
_WORD = re.compile(r"[A-Za-z_][A-Za-z0-9_]{2,}")


@dataclass(frozen=True, slots=True)
class Suspect:
    """A source file and its lines, most suspicious first."""

    path: str
    text: str
    lines: tuple[int, ...]
    """1-based numbers of lines that hold code."""
    functions: tuple[Span, ...] = ()
    """Functions that hold suspicious lines, most suspicious first."""
    rank: int = 0
    """Number of files that are more suspicious."""

    def share(self, most: int) -> int:
        """How many of `most` tries or characters this file gets: half as many as the file before it."""
        return most >> self.rank


def suspects(
    files: WorkCopy, results: Sequence[CheckResult], prompt: str, evidence: RuntimeEvidence | None = None
) -> list[Suspect]:
    """At most FILES suspects for failing checks, most suspicious first.

    With `evidence`, files that no failing test ran must be named, and of the others lines that none ran are
    left out: they cannot make it fail.
    """
    failures = [failure for result in results for failure in result.failures]
    tests = _homes(failures)
    sources = [path for path in files.paths() if path not in tests and _is_source(files, path)]
    words = _said(failures, prompt)
    ran = suspiciousness(evidence) if evidence else {}
    executed = {path: _executed(files, path, values, words) for path, values in ran.items()}
    scores = {
        path: _file_score(path, failures, prompt) + RAN * max(executed.get(path, {}).values(), default=0.0)
        for path in sources
    }
    if not executed:
        _add_imports(scores, files, failures, results)
    named = _mentions(files, prompt)
    for path in scores.keys() & named.keys():
        weights = [item.weight for item in named[path]]
        scores[path] += min(NAMED, max(weights)) + 0.1 * min(NAMED, sum(weights) - max(weights))
    least = MEANT if executed else 0.0
    held = [path for path in sources if scores[path] > least or path in executed]
    ranked = sorted(held, key=lambda path: (-scores[path], path))
    if not ranked and len(sources) <= FILES:
        ranked = sources
    shown = itertools.islice((path for path in ranked if not unshown(files, path)), FILES)
    return [
        _suspect(files, path, failures, words, executed.get(path, {}), named.get(path, ()), rank)
        for rank, path in enumerate(shown)
    ]


def _said(failures: Iterable[Failure], prompt: str) -> set[str]:
    """Words of the task and of what failed."""
    said = " ".join(f"{item.test} {item.source} {item.message}" for item in failures)
    return set(_WORD.findall(f"{prompt} {said}"))


def _executed(
    files: WorkCopy, path: str, values: Mapping[int, float], words: set[str]
) -> Mapping[int, float]:
    """The values fitted to the file's text, where it is Python's."""
    return by_execution(values, parsed(decoded(files.read(path))), words) if path.endswith(".py") else values


def _mentions(files: WorkCopy, prompt: str) -> dict[str, list[Mention]]:
    """Definitions that the task names, by their files."""
    found: dict[str, list[Mention]] = {}
    for item in mentioned(files, prompt):
        found.setdefault(item.path, []).append(item)
    return found


def unshown(files: WorkCopy, path: str) -> str:
    """Why no model is shown this file, with its kind and size; empty when it can be shown."""
    try:
        load_file(files, path)
    except NotText as error:
        return str(error)
    return ""


def withheld(files: WorkCopy, prompt: str) -> tuple[str, ...]:
    """A sentence for each file that the task names and that no model is shown."""
    named = (path for path in files.paths() if path in prompt or _has_name(prompt, PurePosixPath(path).name))
    reasons = ((path, unshown(files, path)) for path in itertools.islice(named, 4 * FILES))
    return tuple(f"{spelled(path)} is not shown: {why}" for path, why in reasons if why)[:FILES]


def _has_name(prompt: str, name: str) -> bool:
    return len(name) > 2 and name in prompt


def _homes(failures: Iterable[Failure]) -> set[str]:
    """Files that hold the failing tests themselves, whatever they are called."""
    outer = [(failure.test, failure.frames[0]) for failure in failures if failure.frames]
    return {frame.path for test, frame in outer if frame.function and frame.function in test}


def _is_source(files: WorkCopy, path: str) -> bool:
    return (
        PurePosixPath(path).suffix in SOURCE and not is_test_path(path) and 0 < files.size(path) <= MAX_BYTES
    )


def _file_score(path: str, failures: Iterable[Failure], prompt: str) -> float:
    score = 0.0
    for failure in failures:
        inside = [frame for frame in failure.frames if frame.path == path]
        score += 4.0 if inside and inside[-1] is failure.frames[-1] else 2.0 if inside else 0.0
    if path in prompt or PurePosixPath(path).name in prompt:
        score += 8.0
    elif PurePosixPath(path).stem in set(_WORD.findall(prompt)):
        score += 1.0
    return score


def _add_imports(
    scores: dict[str, float], files: WorkCopy, failures: Iterable[Failure], results: Iterable[CheckResult]
) -> None:
    """Files whose module names a failing test file mentions; where none is known, any of the tests.

    A package that every test imports is no more in question than a module that a few do.
    """
    tests = {frame.path for failure in failures for frame in failure.frames if is_test_path(frame.path)}
    tests |= {failure.test.split("::")[0] for failure in failures}
    known = [path for path in files.paths() if is_test_path(path)]
    named = {path for path in known for result in results if path in result.output}
    read = sorted((tests | named) & set(known)) or known[:20]
    words = [set(_WORD.findall(decoded(files.read(test)))) for test in read]
    for path in scores:
        stem = PurePosixPath(path).stem
        name = stem if stem != "__init__" else PurePosixPath(path).parent.name
        scores[path] += min(IMPORTED_BY, sum(name in each for each in words))


def _suspect(
    files: WorkCopy,
    path: str,
    failures: Sequence[Failure],
    words: set[str],
    ran: Mapping[int, float],
    named: Sequence[Mention],
    rank: int,
) -> Suspect:
    text = decoded(files.read(path))
    spans = functions(path, text)
    # A class that is named says little about which of its lines is meant.
    told = [
        (item.span.first, item.span.last, item.weight * (1.0 if item.symbol.is_function else 0.1))
        for item in named
    ]
    in_frames = {frame.line for item in failures for frame in item.frames if frame.path == path}

    def score(line: int) -> tuple[float, float]:
        around = [span for span in spans if span.first <= line <= span.last]
        meant = max((weight for first, last, weight in told if first <= line <= last), default=0.0)
        value = 2.0 * any(span.first <= hit <= span.last for span in around for hit in in_frames)
        value += 1.0 * any(span.name in words for span in around) + meant
        executed = ran.get(line, 0.0)
        if executed > IMPORTED:
            executed += TOLD * min(1.0, meant / IN_CODE)
        return -executed, -value - 1.0 * (line in in_frames)

    able = [line for line in code_lines(path, text) if not ran or ran.get(line)]
    lines = sorted(able, key=lambda line: (score(line), line))
    held = sorted(
        (span for span in spans if any(span.first <= line <= span.last for line in lines)),
        key=lambda span: (min(score(line) for line in lines if span.first <= line <= span.last), span.first),
    )
    return Suspect(path, text, tuple(lines), tuple(held), rank)
