"""At most so many runs of one task, one repository or one source: the best stay.

The best come first: gold before silver, judged by a person before judged by nobody, fewer calls of the
model, the older one. A limit of 0 is none.

What counts as one source: a person and what they did with the result, for runs that only this person's word
speaks for (no test shows that they are right or wrong). A script that thumbs up whatever holds a phrase
fills no data set that way, however it words its tasks (case L03). Sessions do not count as sources of their
own, since each command starts a new one; where git told no address, all such runs are one person's.
"""

import re
import unicodedata
from collections import Counter
from collections.abc import Callable, Hashable, Sequence
from typing import Final

from feedback.candidate import Candidate, Filter
from feedback.errors import DataError
from feedback.labels import Proof
from feedback.near import best_first

_NUMBER: Final = re.compile(r"\d+(?:[.,]\d+)*")

Key = Callable[[Candidate], str]
"""Names the repository of a run."""


def root_of(candidate: Candidate) -> str:
    """The repository as its run knows it: the path of its root, or what stands for it."""
    return candidate.harvest.repository


def per_task(limit: int = 2, key: Key = root_of) -> Filter:
    """The same task is the same prompt, but for case, blanks and numbers, in the same repository."""
    return _capped(limit, "task cap", lambda candidate: task_of(candidate, key))


def per_repository(limit: int, key: Key = root_of) -> Filter:
    """So that one busy repository does not make a whole data set."""
    return _capped(limit, "repository cap", key)


def per_source(limit: int) -> Filter:
    """For runs that only a person's word speaks for; those that tests show are no matter of trust."""
    return _capped(limit, "source cap", source_of)


def task_of(candidate: Candidate, key: Key = root_of) -> tuple[str, str]:
    """The repository and the prompt in its normal form."""
    return key(candidate), same_words(candidate.harvest.task.prompt)


def same_words(prompt: str) -> str:
    """The text without what makes no other task of it: case, blanks, widths of letters, numbers."""
    return " ".join(_NUMBER.sub("#", unicodedata.normalize("NFKC", prompt).casefold()).split())


def source_of(candidate: Candidate) -> tuple[str, str] | None:
    """Who said what of a run that nothing else speaks for or against; None where something else does."""
    run = candidate.harvest
    proof = Proof(run)
    if run.human == "none" or proof.tested or proof.fails:
        return None
    return run.started.origin.author.strip().casefold(), run.human


def _capped(limit: int, reason: str, group: Callable[[Candidate], Hashable | None]) -> Filter:
    if limit < 0:
        raise DataError(f"a {reason} of {limit} is no limit", "use 0 for none, or a number above it")

    def drop(candidates: Sequence[Candidate]) -> dict[str, str]:
        seen, dropped = Counter[Hashable](), set[str]()
        for row in best_first(candidates) if limit else ():
            name = group(candidates[row])
            if name is not None:
                seen[name] += 1
                if seen[name] > limit:
                    dropped.add(candidates[row].id)
        return {one.id: reason for one in candidates if one.id in dropped}

    return drop
