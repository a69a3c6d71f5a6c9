"""Keeps evaluation suites out of training data: what a run shares with a held-out task, and with which.

Compared are names of tasks, commits, hunks of patches, canaries, and runs of words: 13 of prose, 10 of code.
Case, spacing, Markdown and comments make no difference. Paraphrases are not found. Runs of words do not count
that many tasks of one suite share, that are licence text or an import, or that are little but numbers.
"""

import json
import re
from collections.abc import Hashable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from hashlib import blake2b
from itertools import pairwise
from pathlib import Path
from typing import Final, TypeVar

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import NDArray

from feedback.candidate import Candidate, Filter
from feedback.harvest import Harvest
from feedback.heldout_read import GUID, Item, Source, read_sources
from feedback.hunks import Region, regions
from feedback.shingles import Hashes, code, grams, hashed, plain, prose, tokens, words
from memory.records import ActionEnded, ActionStarted, CheckRan

PROSE_WORDS: Final = 13
CODE_WORDS: Final = 10
SHORT: Final = 8
"""Words of the shortest text that counts as a whole."""
HUNK: Final = 10
"""Words and signs of the smallest hunk that says where it is from."""
COMMON, COMMON_SHARE = 5, 0.01
"""Runs of words in more tasks of one file than this, and than this share of them, are boilerplate."""
TASK, COMMIT, PATCH, CANARY, TEXT = (
    "held-out task", "held-out repository and commit", "held-out patch", "held-out canary", "held-out text",
)  # fmt: skip
_LEGAL: Final = frozenset(
    """
    applicable compliance conditions contributors copies copyright damages disclaimer granted hereby holders
    law liability liable licence license licensed licenses limitation merchantability noninfringement
    obtaining permission permitted redistribution redistributions reserved restriction rights software
    sublicense warranties warranty
    """.split()  # noqa: SIM905
)
_GENERIC: Final = frozenset(
    """
    case data dev example eval id instance instances item problem prompt python question row sample split task
    test tests train validation
    """.split()  # noqa: SIM905
)
_PARAGRAPH: Final = re.compile(r"\n\s*\n")
_NAME: Final = re.compile(r"[^\W_][\w./-]*")
_CANARY: Final = re.compile(rf"canary\s+guid:?\s+{GUID.pattern}", re.I)

KeyT = TypeVar("KeyT", bound=Hashable)
Table = tuple[Hashes, NDArray[np.int64]]
"""Runs of words in ascending order, and the number of the item that each is from."""


@dataclass(frozen=True, slots=True)
class Match:
    """What a run shares with a suite."""

    reason: str
    item: str
    """Name of the held-out task; empty for a canary that no suite told of."""


@dataclass(frozen=True)
class HeldOut:
    """An index of evaluation suites."""

    sources: tuple[Source, ...]
    items: tuple[Item, ...]
    ids: Mapping[str, int]
    commits: Mapping[str, int]
    hunks: Mapping[bytes, int]
    canaries: Mapping[str, int]
    prose: Mapping[int, Table]
    """By the number of words in a run."""
    code: Mapping[int, Table]
    patched: Mapping[int, Table]
    """Of the lines that patches add."""

    @classmethod
    def read(
        cls, paths: Sequence[Path], *, prose_words: int = PROSE_WORDS, code_words: int = CODE_WORDS
    ) -> "HeldOut":
        """The suites in these files and folders; of no path an empty one, which still knows canaries.

        Raises DataError for what cannot be read.
        """
        sources = tuple(read_sources(paths))
        items = tuple(item for source in sources for item in source.items)
        return cls(
            sources,
            items,
            ids=_first((normal(name), row) for row, item in enumerate(items) for name in item.ids),
            commits=_first((sha[:12].lower(), row) for row, item in enumerate(items) for sha in item.commits),
            hunks=_first(pair for row, item in enumerate(items) for pair in _hunks(item.patches, row)),
            canaries=_first((text, row) for row, item in enumerate(items) for text in item.canaries),
            prose=_tables(
                sources, [[_own(prose(text)) for text in item.prose] for item in items], prose_words, SHORT
            ),
            code=_tables(sources, [[_own(code(text)) for text in item.code] for item in items], code_words),
            patched=_tables(sources, [_added(item.patches) for item in items], code_words),
        )

    @property
    def sizes(self) -> dict[str, int]:
        """Rows of each file, by its folder and name."""
        sizes = dict[str, int]()
        for source in self.sources:
            sizes[source.name] = sizes.get(source.name, 0) + len(source.items)
        return sizes

    def overlap(self, candidate: Candidate) -> str:
        """Why a run may not be trained on; empty where it shares nothing with a suite."""
        match = self.match(candidate.harvest)
        return match.reason if match else ""

    def match(self, run: Harvest) -> Match | None:
        """The first thing that a run shares with a suite, the plainest first; None where there is none."""
        if (row := self._named(run)) is not None:
            return Match(TASK, self.items[row].name)
        if (row := self.commits.get(run.task.base_commit[:12].lower())) is not None:
            return Match(COMMIT, self.items[row].name)
        patches = [data.decode("utf-8", "replace") for data in run.patches.values()]
        for key, _ in _hunks(patches, 0):
            if (row := self.hunks.get(key)) is not None:
                return Match(PATCH, self.items[row].name)
        texts = [*dict.fromkeys(_texts(run)), *(side for patch in patches for side in _sides(patch))]
        return self._canary(texts) or self._shared(texts)

    def text(self, text: str) -> str:
        """What a text shares with the suites, a canary or a run of words: the reason, or an empty text."""
        match = self._canary([text]) or self._shared([text])
        return match.reason if match else ""

    def _named(self, run: Harvest) -> int | None:
        """The task that a run is of by its id, or that its request or folder names unmistakably."""
        for name in (run.task.id, run.started.origin.task):
            if name and (row := self.ids.get(normal(name))) is not None:
                return row
        found = {normal(name) for name in _names(f"{run.task.prompt}\n{run.repository}")}
        return min((self.ids[name] for name in found & self.ids.keys() if _unmistakable(name)), default=None)

    def _canary(self, texts: Sequence[str]) -> Match | None:
        for text in texts:
            folded = text.casefold()
            known = min((row for canary, row in self.canaries.items() if canary in folded), default=None)
            if known is not None:
                return Match(CANARY, self.items[known].name)
            if "canary" in folded and _CANARY.search(folded):
                return Match(CANARY, "")
        return None

    def _shared(self, texts: Sequence[str]) -> Match | None:
        if not (self.prose or self.code or self.patched):
            return None
        told = hashed(words("\n\n".join(map(prose, texts))))
        bare = hashed(words("\n\n".join(map(code, texts))))
        whole = hashed(words("\n\n".join(map(plain, texts))))
        for reason, tables, streams in (
            (PATCH, self.patched, (bare, whole)),
            (TEXT, self.prose, (told,)),
            (TEXT, self.code, (bare, whole)),
        ):
            for n, table in tables.items():
                for stream in streams:
                    if (row := _lookup(table, grams(stream, n))) is not None:
                        return Match(reason, self.items[row].name)
        return None


def drop_held_out(held: HeldOut) -> Filter:
    """The filter that drops every run that shares something with these suites."""

    def dropped(candidates: Sequence[Candidate]) -> dict[str, str]:
        return {one.id: reason for one in candidates if (reason := held.overlap(one))}

    return dropped


def normal(name: str) -> str:
    """An id however it is written: `HumanEval/0` and `humaneval_0` are the same."""
    return re.sub(r"[\W_]+", "_", name.casefold()).strip("_")


def _unmistakable(name: str) -> bool:
    """True for an id that no one writes by chance: `humaneval_0`, not `anagram` nor `task_1`."""
    parts = name.split("_")
    return (
        len(name) >= 8
        and any(part.isdigit() or re.search(r"\d", part) for part in parts[1:])
        and any(len(part) > 3 and part.isalpha() and part not in _GENERIC for part in parts)
    )


def _names(text: str) -> Iterator[str]:
    """Everything in a text that an id may be: words with dots, dashes and slashes, whole and in parts."""
    for found in _NAME.findall(text):
        yield found
        parts = found.split("/")
        yield from parts
        yield from map("/".join, pairwise(parts))


def _texts(run: Harvest) -> Iterator[str]:
    """Everything that a row of any format could hold of a run."""
    yield run.task.prompt
    for check in run.task.checks:
        yield from check.files.values()
    for call in run.calls:
        yield from (message.content for message in call.messages)
        yield from (call.prompt, call.completion.text)
    for payload in (event.payload for event in run.events):
        match payload:
            case ActionStarted(action=action):
                yield from (value for value in action.arguments.values() if isinstance(value, str))
            case ActionEnded(observation=observation):
                yield observation.output
            case CheckRan(result=result):
                yield result.output
    yield run.comment


def _sides(patch: str) -> Iterator[str]:
    """What a patch shows of the files before and after it."""
    for sign in "-+":
        yield "\n".join(line[1:] for line in patch.splitlines() if line[:1] in (" ", sign))


def _hunks(patches: Iterable[str], row: int) -> Iterator[tuple[bytes, int]]:
    """A key for each changed place that is large enough to tell where it is from."""
    for patch in patches:
        for region in regions(patch):
            gone, come = _bare(region.gone), _bare(region.come)
            if len(gone) + len(come) >= HUNK:
                yield blake2b(json.dumps([gone, come]).encode(), digest_size=16).digest(), row


def _bare(lines: Sequence[str]) -> list[str]:
    return tokens(code("\n".join(lines)).casefold())


def _added(patches: Iterable[str]) -> list[list[str]]:
    places: Iterator[Region] = (region for patch in patches for region in regions(patch))
    return [_own(code("\n".join(region.come))) for region in places]


def _first(pairs: Iterable[tuple[KeyT, int]]) -> dict[KeyT, int]:
    found: dict[KeyT, int] = {}
    for key, row in pairs:
        found.setdefault(key, row)
    return found


def _tables(
    sources: Sequence[Source], texts: Sequence[Sequence[list[str]]], n: int, short: int = 0
) -> dict[int, Table]:
    """The runs of n words of the texts of each item; texts of `short` words or more, below n, count whole."""
    sizes = range(short or n, n + 1)
    tables, start = dict[int, Table](), 0
    files = dict[int, list[tuple[Hashes, NDArray[np.int64], int]]]()
    for source in sources:
        for size in sizes:
            runs = [
                (row, np.unique(np.concatenate([_runs(found, size) for found in fitting])))
                for row, own in enumerate(texts[start : start + len(source.items)], start)
                if (fitting := [found for found in own if min(len(found), n) == size])
            ]
            if runs:
                keys = np.concatenate([keys for _, keys in runs])
                owners = np.repeat([row for row, _ in runs], [len(keys) for _, keys in runs])
                files.setdefault(size, []).append((keys, owners, len(source.items)))
        start += len(source.items)
    for size, parts in sorted(files.items(), reverse=True):
        tables[size] = _table(parts)
    return tables


def _table(files: Sequence[tuple[Hashes, NDArray[np.int64], int]]) -> Table:
    """Of each file the runs, each once an item, the item of each, and how many items the file has."""
    common = list[Hashes]()
    for keys, _, items in files:
        different, counts = np.unique(keys, return_counts=True)
        common.append(different[counts > max(COMMON, items * COMMON_SHARE)])
    keys, owners = (np.concatenate([file[part] for file in files]) for part in (0, 1))
    telling = ~np.isin(keys, np.concatenate(common))
    different, first = np.unique(keys[telling], return_index=True)
    return different, owners[telling][first]


def _own(text: str) -> list[str]:
    """The words of a text without its paragraphs of licence."""
    return [
        word for part in _PARAGRAPH.split(text) if not _is_licence(found := words(part)) for word in found
    ]


def _is_licence(found: Sequence[str]) -> bool:
    legal = [word for word in found if word in _LEGAL]
    return len(set(legal)) >= 3 and 10 * len(legal) >= len(found)


def _runs(found: list[str], n: int) -> Hashes:
    """The runs of n words that say something: three in five differ, and two are no numbers."""
    of = hashed(found)
    ordered = np.sort(sliding_window_view(of, n), axis=1)
    different = 1 + (ordered[:, 1:] != ordered[:, :-1]).sum(axis=1)
    named = _within([len(word) > 2 and not word.isdigit() for word in found], n)
    kept: Hashes = grams(of, n)[(5 * different >= 3 * n) & (named >= 2)]
    return kept


def _within(marks: Sequence[bool], n: int) -> NDArray[np.int64]:
    """How many of each n successive ones are marked."""
    total = np.concatenate(([0], np.cumsum(marks, dtype=np.int64)))
    return total[n:] - total[:-n]


def _lookup(table: Table, runs: Hashes) -> int | None:
    """The item of the first run that the table has."""
    keys, owners = table
    if not len(keys) or not len(runs):
        return None
    at = np.minimum(np.searchsorted(keys, runs), len(keys) - 1)
    found = keys[at] == runs
    return int(owners[at[found.argmax()]]) if found.any() else None
