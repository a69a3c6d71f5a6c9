"""Runs a Python check once more, watched: which lines failing tests run that passing tests do not.

The watching happens in the sandbox (feedback/witness.py and its hooks, written there for this one run and
removed after it); what it tells is read here as what it is, text of a stranger.
"""

import json
import re
import time
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field, TypeAdapter, ValidationError

from feedback.checks import execute
from memory.records import Check, Record
from memory.runtime import Cover, ObservedTest, Outcome, Raised, RuntimeEvidence, Text
from sandbox.protocol import Sandbox

FOLDER = ".adi/witness"
"""Where the watching code lies in the sandbox; what is below it is never part of a change."""
JOURNAL = f"{FOLDER}/journal"
MAX_BYTES = 1 << 20
"""A longer journal is refused."""
MAX_LINES = 2_000_000
"""Lines of all files together; a journal that tells of more is refused."""
READ_S = 10.0
_SHIPPED = {"adi_values.py": "witness_values.py", "adi_witness.py": "witness.py"}
_HOOKS = {"pytest": ("adi_pytest.py", "witness_pytest.py")}
_PROGRAM = ("sitecustomize.py", "witness_program.py")
_PYTHON = re.compile(r"(?:^|[\s;&|/])python(?:3(?:\.\d+)?)?\s")
_OWN_PATH = re.compile(r"\bPYTHONPATH=")


class _Begin(Record):
    kind: Literal["begin"]
    traced: bool


class _Cover(Record):
    kind: Literal["cover"]
    path: Text
    ranges: Annotated[str, Field(pattern=r"^\d{1,6}-\d{1,6}(,\d{1,6}-\d{1,6})*$")]


class _Imported(Record):
    kind: Literal["imported"]
    covers: tuple[int, ...]


class _Start(Record):
    kind: Literal["start"]
    test: Text


class _End(Record):
    kind: Literal["end"]
    test: Text
    outcome: Outcome | Literal["ended"]
    covers: tuple[int, ...]
    raised: Raised | None


class _Done(Record):
    kind: Literal["done"]


_Fact = _Begin | _Cover | _Imported | _Start | _End | _Done
_FACT: TypeAdapter[_Fact] = TypeAdapter(Annotated[_Fact, Field(discriminator="kind")])


def observe(
    check: Check, sandbox: Sandbox, timeout_s: float, sources: Sequence[str]
) -> RuntimeEvidence | None:
    """Run a Python check again and watch it; None where it is no Python check or tells nothing sound.

    `sources` are the repository's files, by path: what ran elsewhere is left out. A test that takes a
    quarter of the time left is ended, so that the others run. Raises SandboxError when the sandbox fails,
    never for what the program does.
    """
    if not observable(check):
        return None
    hooks = _HOOKS.get(check.kind, _PROGRAM)
    folder = Path(__file__).parent
    shipped = {
        f"{FOLDER}/{name}": (folder / own).read_bytes()
        for name, own in {**_SHIPPED, hooks[0]: hooks[1]}.items()
    }
    sandbox.write({**shipped, JOURNAL: None})
    began = time.monotonic()
    try:
        ended = execute(
            _found_by(check), sandbox, timeout_s,
            pytest_options=" -p adi_pytest" if check.kind == "pytest" else "",
            environment={"ADI_WITNESS_S": f"{timeout_s:g}", "ADI_WITNESS": FOLDER},
        )  # fmt: skip
        duration_s = time.monotonic() - began
        journal = _read(sandbox)
    finally:
        sandbox.write(dict.fromkeys([*shipped, JOURNAL]))
    if journal is None or ended.status == "sandbox-lost":
        return None
    return understood(journal, check.name, frozenset(sources), ended.exit_code == 0, duration_s)


def observable(check: Check) -> bool:
    """Whether the check starts Python in a way that can be watched."""
    return check.kind in ("pytest", "unittest") or (
        check.kind == "command" and bool(_PYTHON.search(check.command))
    )


def _found_by(check: Check) -> Check:
    """The check, finding the watching code on its Python path, where it sets that itself too."""
    own = _OWN_PATH.sub('PYTHONPATH="$ADI_WITNESS":', check.command)
    path = 'ADI_WITNESS="$PWD/$ADI_WITNESS"; export PYTHONPATH="$ADI_WITNESS${PYTHONPATH:+:$PYTHONPATH}"'
    return check.model_copy(update={"command": f"{path}; {own}"})


def _read(sandbox: Sandbox) -> bytes | None:
    """The journal; None when there is none, or it is too long."""
    found = bytearray()
    command = f"[ -f {JOURNAL} ] && [ ! -L {JOURNAL} ] && head -c {MAX_BYTES + 1} -- {JOURNAL}"

    def take(chunk: bytes) -> None:
        found.extend(chunk[: max(0, MAX_BYTES + 1 - len(found))])

    ended = sandbox.run(command, timeout_s=READ_S, on_output=take)
    return bytes(found) if ended.status == "ok" and 0 < len(found) <= MAX_BYTES else None


def understood(
    journal: bytes, check: str, sources: frozenset[str], passed: bool, duration_s: float
) -> RuntimeEvidence | None:
    """The evidence that a journal holds; None when it is not sound.

    `passed` tells how the command ended, which decides for a program without tests.
    """
    try:
        lines = journal.decode("ascii").splitlines()
        if lines and not journal.endswith(b"\n"):
            lines.pop()  # the process died while it wrote
        reading = _Reading(sources, passed)
        for line in lines:
            reading.take(_FACT.validate_json(_whole(line)))
        return reading.evidence(check, duration_s)
    except (ValidationError, ValueError, IndexError, RecursionError):
        return None


def _whole(line: str) -> bytes:
    """The line without halves of characters: a test may print one, and would be rid of its evidence."""
    return json.dumps(json.loads(line), ensure_ascii=False).encode("utf-8", "replace")


class _Reading:
    """The facts of a journal, put together. One journal may hold several processes, one after the other."""

    def __init__(self, sources: frozenset[str], passed: bool) -> None:
        self.sources, self.passed = sources, passed
        self.covers: list[Cover] = []
        self.numbers: list[int | None] = []
        """Of each cover of this process: its place in `covers`; None for files that are no sources."""
        self.last: dict[str, int] = {}
        """Last line told of each file."""
        self.tests: list[ObservedTest] = []
        self.imported: list[int] = []
        self.open = ""
        self.traced = self.done = False

    def take(self, fact: _Fact) -> None:
        """Raises ValueError or IndexError for what does not fit."""
        match fact:
            case _Begin(traced=traced):
                self._lost()
                self.numbers, self.done, self.traced = [], False, traced or self.traced
            case _Cover(path=path, ranges=ranges):
                self._cover(path, ranges)
            case _Imported(covers=covers):
                self.imported += self._numbered(covers)
            case _Start(test=test):
                self._lost()
                self.open = test
            case _End():
                self._end(fact)
            case _Done():
                self.done = True

    def _cover(self, path: str, ranges: str) -> None:
        if path not in self.sources:
            self.numbers.append(None)
            return
        pairs = (pair.split("-") for pair in ranges.split(","))
        kept = tuple((int(first), int(last)) for first, last in pairs)
        self.last[path] = max(self.last.get(path, 0), kept[-1][1])
        if sum(self.last.values()) > MAX_LINES:
            raise ValueError("more lines than a repository has")
        self.numbers.append(len(self.covers))
        self.covers.append(Cover(path=path, ranges=kept))

    def _numbered(self, covers: Iterable[int]) -> tuple[int, ...]:
        if any(number < 0 for number in covers):
            raise ValueError("a cover's number is below zero")
        found = (self.numbers[number] for number in covers)
        return tuple(number for number in found if number is not None)

    def _end(self, fact: _End) -> None:
        self.open = ""
        outcome = fact.outcome
        if outcome == "ended":
            outcome = "passed" if self.passed and fact.raised is None else "failed"
        raised = fact.raised and fact.raised.model_copy(
            update={"frames": tuple(frame for frame in fact.raised.frames if frame.path in self.sources)}
        )
        covers = self._numbered(fact.covers)
        self.tests.append(ObservedTest(test=fact.test, outcome=outcome, covers=covers, raised=raised))

    def _lost(self) -> None:
        """A test that started and never ended took the process with it."""
        if self.open:
            self.tests.append(ObservedTest(test=self.open, outcome="crashed"))
        self.open = ""

    def evidence(self, check: str, duration_s: float) -> RuntimeEvidence | None:
        self._lost()
        if not self.tests:
            return None
        return RuntimeEvidence(
            check=check,
            tests=tuple(self.tests),
            covers=tuple(self.covers),
            imported=tuple(self.imported),
            complete=self.done,
            traced=self.traced,
            duration_s=duration_s,
        )
