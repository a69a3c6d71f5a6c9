"""Drafts: whole files written again, for what no change of a line can do.

A new function, a missing name, an empty body: here a small model does best when it writes the whole file
(Aider's edit benchmark: 0.5B to 14B models all answer well-formed in its `whole` format). One greedy draft
first, then samples, then the best one again in view of how it fails, then more samples. What is already
there is kept: an answer is merged into the file. The guards of the write tool hold here too.
"""

import ast
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import PurePosixPath

from agent import agreement, context
from agent.answers import block, whole
from agent.candidates import Candidate, Trials, adopt
from agent.holes import Hole
from agent.localize import Suspect, decoded, lines_of, unshown
from agent.mechanisms import Mechanism
from agent.proposers import FILE_LINES, NEW_FILE_TOKENS
from agent.run import BudgetSpent, Run
from agent.source import parsed
from agent.syntax import functions, is_stub
from agent.unwritten import lead, unwritten
from feedback.evidence import is_test_path
from feedback.example_output import without_report
from feedback.shrink import shrink
from memory.records import Check, CheckResult, Failure, Message, PlanStep
from model.errors import PromptTooLong
from model.protocol import Sampling

MOST_TOKENS = 2_000
LONGER, MORE_TOKENS = 2, 256
"""A draft so many times, and so many tokens, longer than all that ended by themselves goes in circles: of 247
drafts of HumanEval that ended none was as long; the one that did not took four minutes to be cut off."""
DECISIVE = 2
"""Examples that must have passed for the first draft to be taken at its word."""
VOICES = 3
"""Drafts that pass before a vote decides, where no two of them behave alike."""
FAILURE_CHARS = 1_200
MISSING = frozenset(
    {"ImportError", "ModuleNotFoundError", "AttributeError", "NameError", "NotImplementedError"}
)
"""Errors that say that something is not there yet."""

_UNDEFINED = re.compile(r"name '(\w+)' is not defined")
_BUILTIN = re.compile(r"'(?:NoneType|bool|bytes|dict|float|function|int|list|set|str|tuple)' object has no ")
_SAYING = ("#", "//", "*", "/*", '"', "'")
_CODE = frozenset(context.LANGUAGES) | {"c", "cc", "h", "hpp", "jsx", "tsx"}
_ENDINGS = _CODE | {
    *(
        "cfg",
        "css",
        "csv",
        "html",
        "ini",
        "json",
        "md",
        "pyi",
        "rst",
        "sql",
        "toml",
        "txt",
        "xml",
        "yaml",
        "yml",
    )
}
"""Endings of files that may be meant to be new; `e.g` and `example.com` are none."""
_PRODUCTS = frozenset({"d3.js", "express.js", "next.js", "node.js", "react.js", "three.js", "vue.js"})
_CREATES = re.compile(r"\b(?:files?|create|add|write|named|called|save|into?)\b[^.\n]*$", re.IGNORECASE)
NEAR = 60
"""Characters before a path in which the task says that a file is meant."""
_PATH = re.compile(r"(?<![\w/.-])[\w-]+(?:/[\w.-]+)*\.[A-Za-z]{1,5}\b")


@dataclass(frozen=True, slots=True)
class Stage:
    """One way of asking for drafts."""

    name: str
    temperature: float
    n: int
    mechanism: Mechanism = Mechanism.DRAFTS


STAGES = (
    Stage("draft", 0.0, 1),
    Stage("sample drafts", 0.8, 1, Mechanism.SAMPLES),
    Stage("sample drafts", 0.8, 1, Mechanism.SAMPLES),
    Stage("sample drafts", 0.8, 2, Mechanism.SAMPLES),
    Stage("repair draft", 0.0, 1, Mechanism.REPAIR),
    Stage("sample drafts", 1.0, 4, Mechanism.SAMPLES),
    Stage("sample drafts", 1.0, 4, Mechanism.SAMPLES),
)
"""Few samples at a time: the first that is kept spares the rest, and on a CPU many at once are hardly written
faster than one after the other (benchmarks/results/serving.md)."""
MOST_SAMPLES = max(stage.n for stage in STAGES)


@dataclass(slots=True)
class Drafting:
    """Drafts of one file for one check."""

    trials: Trials
    suspect: Suspect
    about: str
    goal: str
    until_s: float
    passing: list[Candidate] = field(default_factory=list)
    failing: list[Candidate] = field(default_factory=list)
    longest: int = 0
    """Tokens of the longest answer that ended by itself."""

    @property
    def hole(self) -> Hole:
        """The whole file."""
        return Hole(self.suspect, 1, len(lines_of(self.suspect.text)))

    def find(self) -> Candidate | None:
        """The draft to keep, which may fail as long as nothing better was found; None when there is none."""
        run = self.trials.run
        self.trials.seen.add(self.suspect.text.encode("utf-8", "surrogateescape"))
        try:
            for number, stage in enumerate(STAGES):
                if not run.uses(stage.mechanism):
                    continue
                if found := self._stage(stage, seed=1 + number * MOST_SAMPLES):
                    return found
                if run.spent.seconds >= self.until_s:
                    break
        except BudgetSpent:
            if not self.passing:
                raise
        return self._decided(last=True) or self._best()

    def _stage(self, stage: Stage, seed: int) -> Candidate | None:
        """The draft that nothing more needs to be asked about, if there is one now."""
        try:
            texts = self._texts(stage, seed)
        except PromptTooLong:
            return None
        found = None
        for text in texts:
            self._try(text)
            if found := self._decided():
                break
        self.trials.tell(stage.name, self.hole.place, found is not None)
        return found

    def _try(self, text: str) -> None:
        """Run a draft, and note whether it holds; a text that passed before is a voice more for it."""
        same = next((item for item in self.passing if item.text == text), None)
        candidate = same or self.trials.execute(self.hole, text)
        if candidate is not None:
            holds = candidate is same or self.trials.holds(candidate)
            (self.passing if holds else self.failing).append(candidate)

    def _decided(self, *, last: bool = False) -> Candidate | None:
        """The draft to keep, once that is known; `last` when nothing more is asked.

        A draft that proves itself. Else, of those that pass, what two say that behave alike, or a vote.
        """
        if not self.passing or self._proves(self.passing[0].result):
            return self.passing[0] if self.passing else None
        texts = [item.text for item in self.passing]
        if again := next((item for item in self.passing if texts.count(item.text) > 1), None):
            return again
        if (last and len(texts) == 1) or not (calls := self._calls(texts[0])):
            return self.passing[0]  # nothing to compare it with, or nothing to compare it by
        if len(texts) == 1:
            return None
        behaviours = self._behaviours(calls)
        alike = len(set(behaviours)) < len(behaviours)
        if behaviours and not alike and len(texts) < VOICES and not last:
            return None
        return self.passing[agreement.vote(behaviours)]

    def _proves(self, result: CheckResult) -> bool:
        """True when the check alone decides: a person's, the repository's, or examples that tell enough.

        Two examples do, and a single one that another draft failed: it tells right from wrong.
        """
        if not self.trials.run.uses(Mechanism.AGREEMENT) or not self.suspect.path.endswith(".py"):
            return True
        match self.trials.check.origin:
            case "given" | "found":
                return True
            case "examples":
                return bool(self.failing) or result.tests_passed >= DECISIVE
            case _:
                return False

    def _texts(self, stage: Stage, seed: int) -> list[str]:
        """Whole texts that parse, keep every definition and leave nothing out. Raises PromptTooLong."""
        run, old = self.trials.run, self.suspect.text
        if stage.mechanism is Mechanism.REPAIR and self._best() is None:
            return []
        messages = self._messages(stage)
        begun = _begun(messages)
        stops: tuple[str, ...] = context.COMPLETE_STOPS if begun else ("\n```\n",)
        if block(begun).strip():  # begun up to the open body
            stops = context.body_stops(self.suspect.path)
        sampling = Sampling(
            max_tokens=self._room(),
            temperature=stage.temperature,
            n=stage.n,
            seed=seed,
            stop=stops,
        )
        answers = run.chat("rewrite", messages, sampling)
        ended = [answer for answer in answers if answer.finish_reason == "stop"]
        self.longest = max([self.longest, *(answer.usage.completion_tokens for answer in ended)])
        texts = [block(begun + answer.text) for answer in ended]
        return [text for text in (whole(self.suspect.path, old, each) for each in texts) if text]

    def _room(self) -> int:
        """Tokens that an answer may take."""
        room = NEW_FILE_TOKENS
        if self.suspect.text:
            room += 2 * self.trials.run.count_text(context.shown(self.suspect.text))
        enough = LONGER * self.longest + MORE_TOKENS if self.longest else MOST_TOKENS
        return min(MOST_TOKENS, room, enough)

    def _messages(self, stage: Stage) -> list[Message]:
        path, old = self.suspect.path, self.suspect.text
        best = self._best()
        task = self.trials.run.statement
        before = lead(path, old, task)
        if context.shown(before) != before or "```" in before:  # the answer's block must hold it as it is
            before = ""
        if stage.mechanism is Mechanism.REPAIR and best is not None:
            said = shrink(best.result, FAILURE_CHARS)
            told = self.trials.run.question
            return context.mend_messages(told, path, best.data.decode("utf-8", "replace"), said, before)
        if old and not unwritten(path, old, task):
            return context.file_messages(self.about, path, self.goal)
        ending = PurePosixPath(path).suffix.removeprefix(".")
        complete = ending if not old or documented(path, old) else ""
        if not complete:
            return context.oneshot_messages(task, {path: context.shown(old)})
        # What only makes a stub compile is no part of the problem.
        more = any(map(str.isalnum, old[len(before) :].partition("\n")[2]))
        problem = context.shown(before if before and not more else old)
        return context.oneshot_messages(task, {path: problem}, complete=complete, lead=before)

    def _best(self) -> Candidate | None:
        """The failing draft that passes most tests, or lets most of them run; the first of several."""
        counts = [(item.result.tests_passed, item.result.tests_failed) for item in self.failing]
        return self.failing[counts.index(max(counts))] if counts else None

    def _calls(self, text: str) -> list[str]:
        """Calls of the draft's functions: those of the examples, and calls near them."""
        names = [span.name for span in functions(self.suspect.path, text)]
        told = [call for each in _examples(self.trials.check) for call in agreement.calls_in(each, names)]
        return agreement.varied(list(dict.fromkeys(told)))

    def _behaviours(self, calls: Sequence[str]) -> list[agreement.Behaviour]:
        """What each draft that passes does on these calls."""
        texts = [item.data.decode("utf-8", "surrogateescape") for item in self.passing]
        return agreement.behaviours(self.trials.run.sandbox, self.suspect.path, texts, calls)


def _examples(check: Check) -> list[str]:
    """Python texts that hold the calls of the task's examples: the check's files, and what these quote."""
    trees = [parsed(text) for path, text in check.files.items() if path.endswith(".py")]
    nodes = [node for tree in trees if tree for node in ast.walk(tree)]
    quoted = [node.value for node in nodes if isinstance(node, ast.Constant) and isinstance(node.value, str)]
    return [*(ast.unparse(tree) for tree in trees if tree), *quoted]


def _begun(messages: Sequence[Message]) -> str:
    return messages[-1].content if messages[-1].role == "assistant" else ""


def documented(path: str, text: str) -> bool:
    """True when a function without a body says in words what it shall do, in a docstring or a comment."""
    lines = lines_of(text)
    last = max((span.last for span in functions(path, text) if is_stub(path, text, span)), default=0)
    return any(line.strip().startswith(_SAYING) for line in lines[:last])


def wanted(run: Run, step: PlanStep, before: CheckResult) -> list[str]:
    """Files that are better written than mended: missing, empty, or with bodies to write.

    All of the step's, where the check passed before (nothing is wrong, something is to be added) or where it
    fails because a name is missing.
    """
    paths = [
        *step.files,
        *new_paths(without_report(run.task.prompt), run.files.paths()),
        *unwritten_files(run),
    ]
    said = _UNDEFINED.sub("", without_report(run.task.prompt))
    if before.passed or any(_misses(failure, said) for failure in before.failures):
        return list(dict.fromkeys(paths))
    return [path for path in dict.fromkeys(paths) if _is_open(run, path)]


def _misses(failure: Failure, said: str) -> bool:
    """True when a name is missing that is to be written.

    A defect of what is there is none: an attribute of None or a number; a name that the program itself uses
    and the task does not speak of, such as a mistyped variable.
    """
    error = failure.error.rpartition(".")[2]
    undefined = _UNDEFINED.search(failure.message) if error == "NameError" else None
    if undefined and failure.frames and not is_test_path(failure.frames[-1].path):
        return re.search(rf"\b{undefined[1]}\b", said) is not None
    return error in MISSING and not _BUILTIN.search(failure.message)


def unwritten_files(run: Run) -> list[str]:
    """Files that the task names and that wait to be written: empty ones, and those with bodies to fill in."""
    return [path for path in run.files.paths() if path in run.task.prompt and _is_open(run, path)]


def _is_open(run: Run, path: str) -> bool:
    if not run.files.exists(path) or not run.files.size(path):
        return True
    return not unshown(run.files, path) and bool(
        unwritten(path, decoded(run.files.read(path)), run.task.prompt)
    )


def draft(run: Run, step: PlanStep, check: Check, before: CheckResult, until_s: float) -> bool:
    """Write files whole, one after the other; True when each has changed and the check passes.

    The best draft is kept even when it fails, where there was nothing before. Raises what Run.chat raises.
    """
    where = [
        Suspect(path, decoded(run.files.read(path)) if run.files.exists(path) else "", ())
        for path in wanted(run, step, before)
        if not run.files.exists(path) or not unshown(run.files, path)
    ]
    where = [suspect for suspect in where if len(lines_of(suspect.text)) <= FILE_LINES]
    if not where:
        return False
    failing = [] if before.passed else [before]
    about, shown = context.fitting(run.leaves_room, run.question, run.listing, failing, where, run.told)
    for suspect in shown:
        run.drafted.add(suspect.path)
        found = Drafting(Trials(run, check, before), suspect, about, step.goal, until_s).find()
        if found is None:
            return False
        if found.result.passed or not suspect.text or unwritten(suspect.path, suspect.text, run.task.prompt):
            adopt(run, found)
        if not found.result.passed:
            return False
    return bool(shown)


def new_paths(prompt: str, known: Iterable[str]) -> list[str]:
    """Paths that the task names and the repository does not have yet."""
    existing = set(known)
    names = {path.rpartition("/")[2] for path in existing}
    endings = {path.rpartition(".")[2] for path in existing} & _CODE
    found: dict[str, None] = {}
    for match in _PATH.finditer(prompt):
        path, ending = match[0], match[0].rpartition(".")[2]
        foreign = ending in _CODE and bool(endings) and ending not in endings
        if foreign and "/" not in path and not _CREATES.search(prompt[: match.start()][-NEAR:]):
            continue  # rather a name with a dot: `a.c` in a Python project
        if path not in existing | names and ending in _ENDINGS and path.lower() not in _PRODUCTS:
            found[path] = None
    return list(found)
