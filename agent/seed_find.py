"""Finds defects that a repository's own tests catch: changes are made one by one and the tests are run.

Kept is a change after which some tests fail and some still pass, the same ones in a second run in a sandbox
of its own. Changes lie in lines that tests run (where the sandbox can watch that), and never in tests. The
order is drawn by a hash of seed, repository and file, so that the same seed on the same files gives the same
tasks; a number of runs and a time bound the search.
"""

import hashlib
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing
from dataclasses import dataclass, field
from itertools import zip_longest
from math import ceil
from pathlib import Path
from typing import Final

from agent.seed_changes import Change, drawn, functions
from agent.seed_tasks import CAPS, is_evidence
from agent.suite_grade import MakeSandbox
from feedback.checks import check_of, detect, image_profile, run_check
from feedback.coverage import observe
from feedback.permission import has_no_train
from memory.records import Check, CheckResult
from sandbox.protocol import Sandbox
from sandbox.workcopy import WorkCopy, snapshot

PER_FUNCTION: Final = 3
"""Defects of one function at most."""
TRIES: Final = 10
"""Changes that are run for each task that is wanted."""
MAX_BYTES: Final = 64_000
"""Larger files are left alone: no small model mends them."""
SLOW_S: Final = 120.0
"""Tests that take longer are too slow to be run for every change."""


@dataclass(frozen=True, slots=True)
class Wish:
    """What is looked for in one repository."""

    limit: int = 20
    """Tasks."""
    seed: int = 0
    budget_s: float = 600.0
    checks: tuple[str, ...] = ()
    """Commands of the person's; empty: the repository's own are found."""


@dataclass(frozen=True, slots=True)
class Defect:
    """A change that the tests catch."""

    path: str
    function: str
    change: Change
    result: CheckResult


@dataclass(slots=True)
class Found:
    """What came of one repository."""

    repo: str
    defects: list[Defect] = field(default_factory=list)
    tried: int = 0
    missed: int = 0
    """Changes that no test noticed."""
    unsure: int = 0
    """Changes whose second run ended otherwise."""
    why: str = ""
    """Why nothing was looked for; empty where it was."""
    ended: str = ""
    """What ended the search: `limit`, `time`, `tries` or `all tried`."""
    files: Mapping[str, bytes] = field(default_factory=dict)
    check: Check | None = None
    image: str = ""
    check_s: float = 0.0


def find(
    repo: Path,
    place: Path,
    wish: Wish,
    make_sandbox: MakeSandbox,
    say: Callable[[str], None] = lambda _: None,
) -> Found:
    """Look for defects in one repository; `place` is where its snapshot's objects lie.

    Raises what the snapshot and the sandbox raise.
    """
    work = WorkCopy(snapshot(repo, place))
    found = Found(str(work.snapshot.repo))
    found.files = {path: work.read(path) for path in work.paths()}
    checks = [check_of(command) for command in wish.checks] or [
        check for check in detect(work) if check.kind in ("pytest", "unittest")
    ]
    if has_no_train(found.repo):
        found.why = "its .adi/no-train keeps it out"
    elif not checks:
        found.why = "it has no Python tests that are found; name their command with --check"
    elif sum(map(len, found.files.values())) > CAPS.total_bytes or len(found.files) > CAPS.entries:
        found.why = "it is too large to be kept as a task"
    else:
        found.check, found.image = checks[0], image_profile((checks[0],), work.paths())
        found.why = _baseline(work, found, make_sandbox)
    if not found.why:
        _search(work, found, wish, make_sandbox, say)
    return found


def _baseline(work: WorkCopy, found: Found, make_sandbox: MakeSandbox) -> str:
    """Why the repository as it is cannot be used: its tests must pass, and end the same twice."""
    assert found.check is not None
    counts = set[int]()
    for _ in range(2):
        with closing(make_sandbox(work.fork(), found.image)) as sandbox:
            result = run_check(found.check, sandbox, SLOW_S)
        if not result.passed:
            first = result.failures[0].test if result.failures else result.detail or result.status.value
            return f"its tests fail as it is ({first}): mend them first"
        counts.add(result.tests_passed)
        found.check_s = max(found.check_s, 5.0 * ceil(2 + result.duration_s))  # a mutant may be slow, or hang
    return "" if len(counts) == 1 else "its tests do not end the same twice"


def _search(
    work: WorkCopy,
    found: Found,
    wish: Wish,
    make_sandbox: MakeSandbox,
    say: Callable[[str], None],
) -> None:
    """Try changes until there are enough, or time or tries are spent."""
    deadline, began = time.monotonic() + wish.budget_s, time.monotonic()
    kept = dict[tuple[str, str], int]()
    with Screen(work, found, make_sandbox) as screen:
        for path, function, change in candidates(found, wish.seed, screen.covered()):
            if len(found.defects) >= wish.limit:
                found.ended = "limit"
                return
            if time.monotonic() > deadline or found.tried >= TRIES * wish.limit:
                found.ended = "time" if time.monotonic() > deadline else "tries"
                return
            if kept.get((path, function), 0) >= PER_FUNCTION:
                continue
            if (result := screen.caught(path, change)) is not None:
                found.defects.append(Defect(path, function, change, result))
                kept[path, function] = kept.get((path, function), 0) + 1
            say(
                f"{Path(found.repo).name}: {len(found.defects)} of {wish.limit} tasks, "
                f"{found.tried} changes tried, {time.monotonic() - began:.0f} s"
            )
    found.ended = "limit" if len(found.defects) >= wish.limit else "all tried"


class Screen:
    """Runs the tests on changed files: all in one sandbox first, what looks good again in one of its own."""

    def __init__(self, work: WorkCopy, found: Found, make_sandbox: MakeSandbox) -> None:
        self._work, self._found, self._make = work, found, make_sandbox
        self._shared: Sandbox | None = None

    def __enter__(self) -> "Screen":
        return self

    def __exit__(self, *_: object) -> None:
        self._drop()

    def covered(self) -> Mapping[str, set[int]] | None:
        """Lines of each file that tests run; None where that cannot be watched."""
        assert self._found.check is not None
        with closing(self._make(self._work.fork(), self._found.image)) as sandbox:
            told = observe(self._found.check, sandbox, 4 * self._found.check_s, self._work.paths())
        if told is None or not told.traced:
            return None
        lines = dict[str, set[int]]()
        for test in told.tests:
            for cover in (told.covers[number] for number in test.covers):
                lines.setdefault(cover.path, set()).update(cover.lines())
        return lines or None

    def caught(self, path: str, change: Change) -> CheckResult | None:
        """How the tests end with the change, where some fail and some pass, twice the same."""
        found = self._found
        assert found.check is not None
        found.tried += 1
        source = found.files[path]
        data = change.made(source.decode()).encode()
        if not _parses(data):
            return None
        sandbox = self._shared = self._shared or self._make(self._work.fork(), found.image)
        sandbox.write({path: data})
        first = run_check(found.check, sandbox, found.check_s)
        if first.status not in ("ok", "nonzero") or set(sandbox.changes()) - {path}:
            self._drop()  # what the tests left behind must not decide about the next change
        else:
            sandbox.write({path: source})
        if not _telling(first):
            found.missed += first.passed
            return None
        changed = self._work.fork()
        changed.write(path, data)
        with closing(self._make(changed, found.image)) as fresh:
            second = run_check(found.check, fresh, found.check_s)
        if not _telling(second) or failing(first) != failing(second):
            found.unsure += 1
            return None
        return second

    def _drop(self) -> None:
        if self._shared is not None:
            self._shared.close()
            self._shared = None


def candidates(
    found: Found, seed: int, covered: Mapping[str, set[int]] | None
) -> Iterator[tuple[str, str, Change]]:
    """Path, function and change, in the order of hashes; every function has its turn before one has two."""
    by_function = dict[tuple[str, str], list[Change]]()
    name = Path(found.repo).name
    copies = _copies(found.files)
    for path, data in sorted(found.files.items()):
        source = _source(path, data)
        if source is None or data in copies:
            continue
        spans = functions(source)
        lines = None if covered is None else covered.get(path, set())
        for change in drawn(source, f"{seed} {name} {path}"):
            first, last = change.first[0] + 1, change.end[0] + 1
            own = next((of for begin, end, of in spans if begin <= first <= end), "")
            if own and (lines is None or not lines.isdisjoint(range(first, last + 1))):
                by_function.setdefault((path, own), []).append(change)
    order = sorted(by_function, key=lambda of: hashlib.sha256(f"{seed} {name} {of}".encode()).hexdigest())
    for turn in zip_longest(*(by_function[of] for of in order)):
        yield from ((*of, change) for of, change in zip(order, turn, strict=True) if change is not None)


def _copies(files: Mapping[str, bytes]) -> set[bytes]:
    """Contents that several files have: a defect in one of them stands mended in another."""
    seen, twice = set[bytes](), set[bytes]()
    for data in files.values():
        (twice if data in seen else seen).add(data)
    return twice


def _source(path: str, data: bytes) -> str | None:
    """The text of a file in which defects may be seeded."""
    if not path.endswith(".py") or len(data) > MAX_BYTES or is_evidence(path, data) or not _parses(data):
        return None
    try:
        return data.decode()
    except UnicodeDecodeError:
        return None


def _parses(data: bytes) -> bool:
    try:
        compile(data, "<changed>", "exec", dont_inherit=True)
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return False
    return True


def _telling(result: CheckResult) -> bool:
    return bool(result.tests_failed and result.tests_passed and not result.passed and result.failures)


def failing(result: CheckResult) -> set[str]:
    """Names of the tests that failed."""
    return {failure.test for failure in result.failures}
