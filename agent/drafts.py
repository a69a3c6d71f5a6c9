"""Drafts: whole small files written again, for what no change of a line can do.

A new function, a missing name, a new file: here a small model does best when it writes the whole file
(Aider's edit benchmark: 0.5B to 14B models all answer well-formed in its `whole` format). The guards of the
write tool hold here too: nothing may be lost on the way, and no "rest unchanged".
"""

import re
from collections.abc import Iterable
from dataclasses import dataclass

from agent import context
from agent.holes import Hole
from agent.localize import Suspect, decoded, lines_of, unshown
from agent.merge import merged
from agent.proposers import Proposer, block
from agent.run import Run
from agent.search import Search, adopt
from memory.records import Check, CheckResult, PlanStep
from model.protocol import Sampling
from tools import guard

FILE_LINES = 150
"""A longer file is not written whole."""
SHRINK_LINES = 20
SHRINK_SHARE = 0.6
NEW_FILE_TOKENS = 900

_PATH = re.compile(r"(?<![\w/.-])[\w-]+(?:/[\w.-]+)*\.[A-Za-z]{1,5}\b")


@dataclass(frozen=True, slots=True)
class RewriteFile:
    """Ask in chat for a whole file with one change made."""

    goal: str
    temperature: float = 0.0
    n: int = 1
    name: str = "rewrite file"

    def holes(self, suspect: Suspect) -> Iterable[Hole]:
        count = len(lines_of(suspect.text))
        return [Hole(suspect, 1, count)] if count <= FILE_LINES else []

    def propose(self, run: Run, about: str, hole: Hole) -> list[str]:
        """Whole texts that parse, keep every definition, and leave nothing to the reader."""
        old = hole.suspect.text
        size = run.count_text(context.shown(old)) if old else NEW_FILE_TOKENS // 2
        sampling = Sampling(
            max_tokens=64 + 2 * size, temperature=self.temperature, n=self.n, seed=1, stop=("\n```\n",)
        )
        messages = context.file_messages(about, hole.suspect.path, self.goal)
        answers = run.chat("rewrite", messages, sampling)
        texts = [block(answer.text) for answer in answers if answer.finish_reason == "stop"]
        if hole.suspect.path.endswith(".py") and old:
            texts = [merged(old, text) if text else "" for text in texts]
        return [text for text in dict.fromkeys(texts) if text and is_whole(hole.suspect.path, old, text)]


def is_whole(path: str, old: str, new: str) -> bool:
    """True when the new text could replace the old one: see tools/guard.py."""
    before, after = lines_of(old), lines_of(new)
    return not (
        guard.placeholder(after, before)
        or guard.shrinks(before, after, SHRINK_LINES, SHRINK_SHARE)
        or guard.syntax_error(path, new)
        or guard.lost_names(path, old, new)
    )


def draft(run: Run, step: PlanStep, check: Check, before: CheckResult, until_s: float) -> bool:
    """Write the step's files whole, one after the other; True when each has changed and the check passes.

    Where the check did not fail before, passing only shows that nothing broke: the verdict says so.
    Raises what Run.chat raises.
    """
    files = (*step.files, *new_paths(run.task.prompt, run.files.paths()))
    where = [
        Suspect(path, decoded(run.files.read(path)) if run.files.exists(path) else "", ())
        for path in dict.fromkeys(files)
        if not run.files.exists(path) or not unshown(run.files, path)
    ]
    rounds: tuple[Proposer, ...] = (RewriteFile(step.goal), RewriteFile(step.goal, 0.7, 3))
    if not where:
        return False
    failing = [] if before.passed else [before]
    about, shown = context.fitting(run.leaves_room, run.statement, run.files.paths(), failing, where)
    for suspect in shown:
        found = Search(run, check, before, about, until_s, rounds).find([suspect])
        if found is None or not found.result.passed:
            return False
        adopt(run, found)
    return bool(shown)


def new_paths(prompt: str, known: Iterable[str]) -> list[str]:
    """Paths that the task names and the repository does not have yet."""
    existing = set(known)
    names = {path.rpartition("/")[2] for path in existing}
    return [path for path in _PATH.findall(prompt) if path not in existing and path not in names]
