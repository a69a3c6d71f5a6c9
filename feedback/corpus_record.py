"""What a corpus of source files is asked to be, what helps to choose, and what was chosen."""

import hashlib
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Literal

from feedback.candidate import Licence
from feedback.corpus_infill import Spans
from feedback.steps import Count
from memory.checks import Record

SPLITS: Final = ("train", "validation", "test")
JACCARD: Final = 0.85
"""Likeness of two files of which one goes; The Stack's."""


class Wish(Record):
    """What a corpus is asked to be. The same wish over the same commits gives the same bytes."""

    licence: str = ""
    """SPDX expression that the owner declares for all of the repositories."""
    local: bool = False
    """Keep what is not permissive or not known: for training on this machine, not for others."""
    names: bool = False
    """Call repositories by the names of their folders instead of by pseudonyms."""
    split_by: Literal["repository", "folder"] = "repository"
    seed: int = 0
    threshold: float = JACCARD
    family: str = ""
    """Of models, whose tokens mark the gaps; empty leaves every text whole."""
    infill: float = 0.5
    """Share of files that are cut for filling in the middle."""
    suffix_first: float = 0.5
    """Share of those whose suffix comes first."""
    spans: Spans = "both"
    pack: int = 0
    """Characters of a row that holds several files of one repository; 0 makes no such rows."""


@dataclass(frozen=True)
class Helpers:
    """What decides about a file besides the rules of this corpus."""

    detect: Callable[[Mapping[str, str]], Licence]
    """Texts of licence files, manifests or the first lines of a source, by path -> the licence they tell."""
    named: Callable[[str], Licence]
    """An SPDX expression -> the licence; unknown for what SPDX does not know."""
    scrub: Callable[[str], tuple[str, Counter[str]]]
    """A text -> the same without secrets and personal data, and what was replaced, by kind."""
    duplicates: Callable[[Sequence[str]], Mapping[int, int]]
    """Texts -> index of each that is like an earlier one -> index of that one."""
    pseudonym: Callable[[str], str]
    """Name of a repository -> the name that stands for it."""
    overlaps: Callable[[str], str] | None = None
    """A text -> why it may not be trained on; None where no suite is held out."""
    refused: Callable[[Path], str] = lambda _: ""
    """Root of a repository -> why its owner keeps it out; empty where they do not."""
    declared: Callable[[Path], str] = lambda _: ""
    """Root of a repository -> the SPDX expression that its owner declared earlier."""


@dataclass(frozen=True, slots=True)
class Document:
    """One file on its way into a corpus."""

    root: Path
    path: str
    language: str
    licence: Licence
    text: str
    commit: str
    repo: str = ""
    """Name or pseudonym."""
    split: str = ""

    @property
    def sha256(self) -> str:
        return hashlib.sha256(self.text.encode("utf-8")).hexdigest()


@dataclass(slots=True)
class Repository:
    """What became of one repository."""

    root: Path
    name: str
    commit: str
    licence: Licence
    seen: int = 0
    """Entries that were looked at."""
    kept: int = 0
    label: str = ""
    why: str = ""
    """Why all of it was left out; empty where it was not."""


@dataclass(slots=True)
class Corpus:
    """A corpus before it is written."""

    wish: Wish
    documents: list[Document]
    repositories: list[Repository]
    steps: list[Count]
    redacted: dict[str, int]
    """Kind of secret or personal data -> times it was replaced, in files that were kept until that step."""
    notes: list[str]
    unknown: dict[str, int]
    """Extensions of the files without a language, the most frequent first."""
    split_by: Literal["repository", "folder"] = "repository"
