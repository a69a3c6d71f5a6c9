"""Proposers: ways to ask a model for the text of a hole, and the holes worth asking for."""

import textwrap
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Protocol

from agent import context
from agent.answers import block, finished, function_in, whole
from agent.distil import REMEMBERED
from agent.guards import raised_in, raising, returning, wanted_errors
from agent.holes import Hole
from agent.learned import applied, inserted, parameters, renamed
from agent.localize import Suspect, lines_of
from agent.mechanisms import Mechanism
from agent.mutations import PER_LINE, mutants
from agent.run import Run
from agent.supply import supplied
from model.protocol import Sampling

LINES = 60
"""Lines of the first file that are tried; of each further one, half as many as of the one before."""
FIRST = 12
"""Most suspicious lines of the first file that are tried in every way before the others are."""
FUNCTIONS = 4
"""Functions of the first file that are rewritten whole; fewer of the next ones, as for lines."""
FUNCTION_LINES = 60
"""A longer function is not rewritten whole."""
FILE_LINES = 150
"""A longer file is not written whole."""
NEW_FILE_TOKENS = 900
"""Room of an answer beyond twice the old text: a body that is written for the first time is long."""
LINE_TOKENS = 64
FILL_CHARS, AFTER_CHARS = 3_000, 800
"""Text of a long file before a gap and after it, which no server has cached: it moves with every gap."""
FILL_STEP = 1_000
AROUND = 6
"""Lines shown around the function of a gap."""


class Proposer(Protocol):
    """One way to fill holes."""

    @property
    def name(self) -> str: ...

    @property
    def mechanisms(self) -> tuple[Mechanism, ...]:
        """What must be switched on for it."""
        ...

    def holes(self, suspect: Suspect) -> Iterable[Hole]:
        """Where to try, most promising first."""
        ...

    def propose(self, run: Run, about: str, hole: Hole) -> list[str]:
        """Texts for the hole, best first. Raises what Run.chat raises."""
        ...


@dataclass(frozen=True, slots=True)
class Mutate:
    """Standard small changes of a line, without any model."""

    lines: int
    """Most suspicious lines of a file that are changed."""
    most: int
    """Mutants of one line."""
    name: str = "mutate"
    mechanisms: tuple[Mechanism, ...] = (Mechanism.MUTATIONS,)

    def holes(self, suspect: Suspect) -> Iterable[Hole]:
        if not suspect.path.endswith(".py"):
            return ()
        return (Hole(suspect, line, line) for line in suspect.lines[: suspect.share(self.lines)])

    def propose(self, run: Run, about: str, hole: Hole) -> list[str]:  # noqa: ARG002
        if run.reported:
            return []  # blind changes soon pass the few tests of a report, and break those that passed
        said = [run.question, *(failure.message for result in run.goals for failure in result.failures)]
        return mutants(hole.suspect.text, hole.first, " ".join(said))[: self.most]


@dataclass(frozen=True, slots=True)
class Remember:
    """Changes that mended like errors in this repository before, without any model."""

    name: str = REMEMBERED
    mechanisms: tuple[Mechanism, ...] = ()
    lines: int = 40
    """Most suspicious lines of a file that they are tried on."""

    def holes(self, suspect: Suspect) -> Iterable[Hole]:
        for number, line in enumerate(suspect.lines[: suspect.share(self.lines)]):
            yield Hole(suspect, line, line)
            if number < suspect.share(FIRST):  # lines that are only added fit everywhere
                yield Hole(suspect, line, line - 1)

    def propose(self, run: Run, about: str, hole: Hole) -> list[str]:  # noqa: ARG002
        if run.reported:
            return []  # as for mutations
        line = lines_of(hole.suspect.text)[hole.first - 1]
        indent = line[: len(line) - len(line.lstrip())]
        texts: list[str] = []
        for lesson, change in run.memory.changes():
            inserting = hole.last < hole.first
            new = inserted(change, indent) if inserting else ""
            named = renamed(new, self._names(hole)) if new else []
            for text in [new, *named] if inserting else applied(change, line):
                if text:
                    run.memory.sources.setdefault(text, lesson)
                    texts.append(text)
        return list(dict.fromkeys(texts))

    def _names(self, hole: Hole) -> list[str]:
        """Parameters of the function around a hole."""
        spans = [span for span in hole.suspect.functions if span.first <= hole.first <= span.last]
        inner = max(spans, key=lambda span: span.first, default=None)
        return parameters(lines_of(hole.suspect.text)[inner.first - 1]) if inner else []


@dataclass(frozen=True, slots=True)
class Supply:
    """Imports of the standard library that a file lacks, and nothing else; without any model."""

    name: str = "supply imports"
    mechanisms: tuple[Mechanism, ...] = (Mechanism.MUTATIONS,)

    def holes(self, suspect: Suspect) -> Iterable[Hole]:
        if supplied(suspect.path, suspect.text) != suspect.text:
            yield Hole(suspect, 1, 0)

    def propose(self, run: Run, about: str, hole: Hole) -> list[str]:  # noqa: ARG002
        return [""]  # each candidate is supplied before it is run


@dataclass(frozen=True, slots=True)
class Guard:
    """An early return, or an error that is wanted, for an argument that a function cannot take.

    In functions that a failing test sees raise, and in those that raise nothing where an example wants it.
    """

    name: str = "guard"
    mechanisms: tuple[Mechanism, ...] = (Mechanism.MUTATIONS,)

    def holes(self, suspect: Suspect) -> Iterable[Hole]:
        if not suspect.path.endswith(".py"):
            return
        for span in suspect.functions[: suspect.share(FUNCTIONS)]:
            if found := returning(suspect.text, span.first):
                yield Hole(suspect, found.line, found.line - 1, span.name)

    def propose(self, run: Run, about: str, hole: Hole) -> list[str]:  # noqa: ARG002
        if run.reported:
            return []
        around_it = (item for item in hole.suspect.functions if item.first <= hole.first <= item.last)
        span = max(around_it, key=lambda item: item.first)
        failures = [failure for result in run.goals for failure in result.failures]
        found = [
            raising(hole.suspect.text, span.first, error)
            for error in wanted_errors(run.question, span.name, failures)
        ]
        if any(raised_in(failure, hole.suspect.path, span) for failure in failures):
            found.append(returning(hole.suspect.text, span.first))
        return [text for each in found if each for text in each.texts]


@dataclass(frozen=True, slots=True)
class RewriteLine:
    """Ask in chat for the corrected text of a named line: almost all of the prompt is cached."""

    temperature: float = 0.0
    n: int = 1
    name: str = "rewrite line"
    mechanisms: tuple[Mechanism, ...] = (Mechanism.LINES,)
    skip: int = 0
    """So many of the most suspicious lines are left to another round."""
    most: int = LINES
    """Lines tried, those left out counted."""

    def holes(self, suspect: Suspect) -> Iterable[Hole]:
        return (
            Hole(suspect, line, line)
            for line in suspect.lines[suspect.share(self.skip) : suspect.share(self.most)]
        )

    def propose(self, run: Run, about: str, hole: Hole) -> list[str]:
        original = lines_of(hole.suspect.text)[hole.first - 1]
        indent = original[: len(original) - len(original.lstrip())]
        python = hole.suspect.path.endswith(".py")
        messages = context.line_messages(about, hole.suspect, hole.first)
        sampling = Sampling(
            max_tokens=LINE_TOKENS,
            temperature=self.temperature,
            n=self.n,
            seed=hole.first,
            stop=("`", "\n") if python else ("`\n", "\n"),
        )
        answers = run.chat("rewrite", messages, sampling)
        return [indent + text.removesuffix("`").strip() for text in finished(answers) if text.strip("` \t")]


@dataclass(frozen=True, slots=True)
class FillLine:
    """Leave a line out, or open a gap before it, and let the model fill in from both sides."""

    temperature: float = 0.0
    n: int = 1
    insert: bool = False
    name: str = "fill in line"
    mechanisms: tuple[Mechanism, ...] = (Mechanism.INFILL,)
    skip: int = 0
    """So many of the most suspicious lines are left to another round."""
    most: int = LINES
    """Lines tried, those left out counted."""

    def holes(self, suspect: Suspect) -> Iterable[Hole]:
        for line in suspect.lines[suspect.share(self.skip) : suspect.share(self.most)]:
            yield Hole(suspect, line + 1 if self.insert else line, line)

    def propose(self, run: Run, about: str, hole: Hole) -> list[str]:  # noqa: ARG002
        prefix, suffix = around(hole)
        sampling = Sampling(
            max_tokens=LINE_TOKENS,
            temperature=self.temperature,
            n=self.n,
            seed=hole.first,
            stop=("\n",),
        )
        before = context.infill_context(run.question, hole.suspect, run.goals)
        answers = run.fill(prefix, f"\n{suffix}", before, sampling)
        return [text.rstrip() for text in finished(answers) if text.strip()]


def around(hole: Hole) -> tuple[str, str]:
    """The text before and after a hole: of a long file the function around it and a few lines more.

    The beginning is the same for every hole of a function, and moves in large steps where the function is
    longer than what is shown, so a server has most of it cached.
    """
    lines = lines_of(context.shown(hole.suspect.text), keepends=True)
    first, last, after = 1, len(lines), FILL_CHARS
    if sum(map(len, lines)) > FILL_CHARS:
        after = AFTER_CHARS
        spans = [span for span in hole.suspect.functions if span.first <= hole.first <= span.last]
        inner = max(spans, key=lambda span: span.first, default=None)
        first = max(1, (inner.first if inner else hole.first) - AROUND)
        last = min(len(lines), (inner.last if inner else hole.last) + AROUND)
    prefix, suffix = "".join(lines[first - 1 : hole.first - 1]), "".join(lines[hole.last : last])
    too_much = max(0, len(prefix) - FILL_CHARS)
    return prefix[-(-too_much // FILL_STEP) * FILL_STEP :], suffix[:after]


@dataclass(frozen=True, slots=True)
class RewriteFunction:
    """Ask in chat for a whole function: for defects that are not on one line."""

    temperature: float = 0.7
    n: int = 4
    name: str = "rewrite function"
    mechanisms: tuple[Mechanism, ...] = (Mechanism.FUNCTIONS,)
    most: int = FUNCTIONS

    def holes(self, suspect: Suspect) -> Iterable[Hole]:
        for span in suspect.functions[: suspect.share(self.most)]:
            if span.last - span.first < FUNCTION_LINES:
                yield Hole(suspect, span.first, span.last, span.name)

    def propose(self, run: Run, about: str, hole: Hole) -> list[str]:
        original = "\n".join(lines_of(hole.suspect.text)[hole.first - 1 : hole.last])
        room = 64 + 2 * run.count_text(context.shown(original))
        sampling = Sampling(
            max_tokens=room, temperature=self.temperature, n=self.n, seed=hole.first, stop=("\n```\n",)
        )
        answers = run.chat("rewrite", context.function_messages(about, hole.name), sampling)
        indent = original[: len(original) - len(original.lstrip())]
        found = [function_in(text, hole.name) for text in finished(answers)]
        return [textwrap.indent(text, indent) for text in found if text]


@dataclass(frozen=True, slots=True)
class RewriteFile:
    """Ask in chat for a whole small file: for defects in several places, and what an import needs."""

    temperature: float = 0.0
    n: int = 1
    name: str = "rewrite file"
    mechanisms: tuple[Mechanism, ...] = (Mechanism.DRAFTS,)

    def holes(self, suspect: Suspect) -> Iterable[Hole]:
        last = len(lines_of(suspect.text))
        single = len(suspect.functions) == 1 and self.n == 1  # it was asked for as a function
        if last <= FILE_LINES and not single:
            yield Hole(suspect, 1, last)

    def propose(self, run: Run, about: str, hole: Hole) -> list[str]:
        path, old = hole.suspect.path, hole.suspect.text
        sampling = Sampling(
            max_tokens=128 + 2 * run.count_text(context.shown(old)),
            temperature=self.temperature,
            n=self.n,
            seed=1,
            stop=("\n```\n",),
        )
        answers = run.chat("rewrite", context.mended_file_messages(about, path), sampling)
        texts = [whole(path, old, block(text)) for text in finished(answers)]
        return [text for text in texts if text]


@dataclass(frozen=True, slots=True)
class WriteAnew:
    """Let a small file be written without showing what is there: an attempt leads to its own mistakes again.

    Only where the task is to write this file and quotes the tests that the attempt fails.
    """

    temperature: float = 0.8
    n: int = 4
    name: str = "write anew"
    mechanisms: tuple[Mechanism, ...] = (Mechanism.DRAFTS, Mechanism.SAMPLES)

    def holes(self, suspect: Suspect) -> Iterable[Hole]:
        last = len(lines_of(suspect.text))
        if last <= FILE_LINES:
            yield Hole(suspect, 1, last)

    def propose(self, run: Run, about: str, hole: Hole) -> list[str]:  # noqa: ARG002
        path, old = hole.suspect.path, hole.suspect.text
        if not run.reported or path not in run.question:
            return []
        ending = path.rpartition(".")[2]
        messages = context.oneshot_messages(run.question, {path: ""}, complete=ending)
        sampling = Sampling(
            max_tokens=NEW_FILE_TOKENS,
            temperature=self.temperature,
            n=self.n,
            seed=1,
            stop=context.COMPLETE_STOPS,
        )
        answers = run.chat("rewrite", messages, sampling)
        texts = [whole(path, old, block(messages[-1].content + text)) for text in finished(answers)]
        return [text for text in texts if text]


SAMPLED = Mechanism.SAMPLES
ROUNDS: tuple[Proposer, ...] = (
    Remember(),
    Supply(),
    WriteAnew(),
    Mutate(lines=6, most=8),
    FillLine(most=FIRST),
    Guard(),
    RewriteLine(most=FIRST),
    Mutate(lines=LINES, most=PER_LINE, name="mutate more"),
    RewriteFunction(0.0, 1),
    RewriteFunction(0.7, 4, "sample functions", (Mechanism.FUNCTIONS, SAMPLED), most=2),
    FillLine(insert=True, name="fill in missing line", most=FIRST),
    FillLine(skip=FIRST, name="fill in more lines"),
    RewriteLine(skip=FIRST, name="rewrite more lines"),
    RewriteFile(),
    FillLine(insert=True, name="fill in missing line", skip=FIRST),
    RewriteFile(0.8, 4, "sample files", (Mechanism.DRAFTS, SAMPLED)),
    FillLine(0.8, 4, name="sample fills", mechanisms=(Mechanism.INFILL, SAMPLED)),
    RewriteLine(0.8, 4, "sample lines", (Mechanism.LINES, SAMPLED)),
    RewriteFunction(1.0, 8, "sample functions", (Mechanism.FUNCTIONS, SAMPLED)),
)
"""What mends most for its cost first: a call costs mostly its uncached prompt, then its written tokens."""
