"""Which runs train, which validate, which test: by repository, or by time within one person's few.

By repository, a hash of its name and the seed decides, so that a repository never moves when others come or
go. By time, the newest tasks are for the test and the next newest for validation. What an earlier export
decided always holds, whichever way it was decided.
"""

import hashlib
import json
from collections import defaultdict
from collections.abc import Hashable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import accumulate
from math import ceil
from textwrap import shorten
from typing import Any, Final, Literal

from feedback.candidate import Candidate
from feedback.caps import Key, root_of, same_words, task_of
from feedback.errors import DataError
from feedback.hunks import regions
from feedback.near import THRESHOLD, WORDS
from feedback.shingles import jaccard, shingles, words

Split = Literal["train", "validation", "test"]
SPLITS: Final[tuple[Split, ...]] = ("train", "validation", "test")
SHARES: Final = (0.9, 0.05, 0.05)
TASK: Final = "task:"
"""What the keys of tasks begin with in a table of splits; all other keys are repositories."""


def assign(
    candidates: Sequence[Candidate],
    *,
    seed: int,
    shares: tuple[float, float, float] = SHARES,
    frozen: Mapping[str, str] | None = None,
    by: Literal["repository", "time"] = "repository",
    key: Key = root_of,
    groups: Mapping[str, Hashable] | None = None,
) -> tuple[dict[str, str], dict[str, str]]:
    """Run id -> split, and the table that a later export is given as `frozen`.

    `shares` are those of SPLITS, of the repositories or, by time, of the runs. `groups` (run id -> name of a
    group) keeps near-duplicates together by time; between repositories they are dropped instead, as a group
    must not move a repository. Raises DataError for shares and tables that are none.
    """
    table = _checked(shares, frozen or {})
    if by == "repository":
        names = {one.id: key(one) for one in candidates}
        fresh = {name: table.get(name) or _by_hash(name, seed, shares) for name in sorted({*names.values()})}
        return {run: fresh[name] for run, name in names.items()}, dict(sorted({**table, **fresh}.items()))
    tasks = _tasks(candidates, key, table)
    _by_time(_linked(tasks, groups or {}), len(candidates), shares)
    chosen = {task.name: task.split for task in tasks}
    return (
        {run: task.split for task in tasks for run in task.runs},
        dict(sorted({**chosen, **table}.items())),
    )


def leaks(rows: Iterable[Mapping[str, Any]], *, by_time: bool = False) -> list[str]:
    """What lies in more than one split and must not, in words: runs, repositories, tasks, near-duplicates.

    Rows of all configurations, with the columns of feedback/columns.py. The task's text is read from a
    column `problem_statement` or the `events` of the trajectories; where no row of a run has it, its patch
    alone is compared. Repositories may lie in several splits where these were made by time.
    """
    runs = _runs(rows)
    places = defaultdict[tuple[str, str], set[str]](set)
    for run in runs.values():
        places["run", run.id] |= run.splits
        if not by_time:
            places["repository", run.repo] |= run.splits
        if run.prompt:
            places["task", f"{run.repo}: {same_words(run.prompt)}"] |= run.splits
    apart = ((kind, name, where) for (kind, name), where in places.items() if len(where) > 1)
    found = [f"{kind} {shorten(name, 120)} is in {_and(where)}" for kind, name, where in apart]
    return [*found, *_alike([*runs.values()])]


def _checked(shares: tuple[float, ...], frozen: Mapping[str, str]) -> dict[str, Split]:
    if len(shares) != len(SPLITS) or min(shares) < 0 or abs(sum(shares) - 1) > 1e-9:
        raise DataError(f"shares {shares} do not add up to 1", "name three, such as 0.9 0.05 0.05")
    known: dict[str, Split] = {split: split for split in SPLITS}
    if strange := sorted({*frozen.values()} - known.keys()):
        raise DataError(f"the frozen splits name {strange[0]!r}", f"each must be one of {', '.join(SPLITS)}")
    return {name: known[split] for name, split in frozen.items()}


def _by_hash(name: str, seed: int, shares: Sequence[float]) -> Split:
    digest = hashlib.sha256(f"{seed}\0{name}".encode("utf-8", "surrogatepass")).digest()
    drawn = int.from_bytes(digest[:8], "big") / 2**64
    bounds = list(accumulate(shares))
    return next((split for split, bound in zip(SPLITS, bounds, strict=True) if drawn < bound), SPLITS[0])


@dataclass(slots=True)
class _Task:
    """All runs of one task."""

    name: str
    """Its key in the table."""
    fixed: Split | None
    runs: list[str] = field(default_factory=list)
    newest: str = ""
    split: Split = "train"


def _tasks(candidates: Sequence[Candidate], key: Key, table: Mapping[str, Split]) -> list[_Task]:
    found = dict[str, _Task]()
    for one in candidates:
        repo, prompt = task_of(one, key)
        digest = hashlib.sha256(f"{repo}\0{prompt}".encode("utf-8", "surrogatepass")).hexdigest()
        name = f"{TASK}{digest[:24]}"
        task = found.setdefault(name, _Task(name, table.get(repo) or table.get(name)))
        task.runs.append(one.id)
        task.newest = max(task.newest, one.harvest.created_at)
    return [found[name] for name in sorted(found)]


def _linked(tasks: Sequence[_Task], groups: Mapping[str, Hashable]) -> list[list[_Task]]:
    """Tasks that share a group, directly or through others."""
    parent = {task.name: task.name for task in tasks}

    def root(name: str) -> str:
        while parent[name] != name:
            parent[name] = name = parent[parent[name]]
        return name

    first = dict[Hashable, str]()
    for task in tasks:
        for group in (groups[run] for run in task.runs if run in groups):
            parent[root(task.name)] = root(first.setdefault(group, task.name))
    linked = defaultdict[str, list[_Task]](list)
    for task in tasks:
        linked[root(task.name)].append(task)
    return [*linked.values()]


def _by_time(linked: Iterable[Sequence[_Task]], count: int, shares: Sequence[float]) -> None:
    """Fill the test with the newest, then validation; what has more runs than there is room for trains.

    Tasks that an earlier export placed stay and take their others with them: to the test before validation.
    """
    room = {split: round(share * count) for split, share in zip(SPLITS, shares, strict=True)}
    free = list[Sequence[_Task]]()
    for tasks in linked:
        fixed = {task.fixed for task in tasks}
        strictest = next((split for split in reversed(SPLITS) if split in fixed), None)
        if strictest is None:
            free.append(tasks)
            continue
        for task in tasks:
            task.split = task.fixed or strictest
            room[task.split] -= len(task.runs)
    free.sort(key=lambda tasks: (max(task.newest for task in tasks), tasks[0].name), reverse=True)
    for tasks in free:
        size = sum(len(task.runs) for task in tasks)
        split = next((split for split in reversed(SPLITS[1:]) if size <= room[split]), SPLITS[0])
        room[split] -= size
        for task in tasks:
            task.split = split


@dataclass(slots=True)
class _Run:
    """What the rows of one run tell together."""

    id: str
    repo: str
    splits: set[str] = field(default_factory=set)
    prompt: str = ""
    patch: str = ""

    @property
    def compared(self) -> str:
        """What near-duplicates are told by, as in feedback/near.py: the task and the changed lines."""
        changed = [part for at in regions(self.patch) for part in (at.path, *at.gone, *at.come)]
        return "\n".join((self.prompt, *changed))


def _runs(rows: Iterable[Mapping[str, Any]]) -> dict[str, _Run]:
    found = dict[str, _Run]()
    for row in rows:
        name = str(row["trajectory_id"])
        run = found.setdefault(name, _Run(name, str(row["repo"])))
        run.splits.add(str(row["split"]))
        run.prompt = run.prompt or str(row.get("problem_statement") or "") or _prompt(row.get("events"))
        run.patch = run.patch or str(row.get("final_patch") or row.get("model_patch") or "")
    return found


def _prompt(events: object) -> str:
    """The task's text in the first event of a trajectory; empty where there is none."""
    if not isinstance(events, str):
        return ""
    try:
        told = json.loads(events.partition("\n")[0])["payload"]["task"]["prompt"]
    except (ValueError, KeyError, TypeError):
        return ""
    return told if isinstance(told, str) else ""


def _alike(runs: Sequence[_Run]) -> Iterator[str]:
    """Pairs in different splits whose task and change are near-duplicates, found without any sampling.

    Two sets with a Jaccard similarity of t share one of the first |A| - ceil(t |A|) + 1 members of each, in
    whatever order all have (Chaudhuri et al. 2006, "A primitive operator for similarity joins").
    """
    sets = [shingles(words(run.compared), WORDS) for run in runs]
    index = defaultdict[int, list[int]](list)
    for row, own in enumerate(sets):
        near = set[int]()
        for member in own[: len(own) - ceil(THRESHOLD * len(own) - 1e-9) + 1].tolist():
            near.update(index[member])
            index[member].append(row)
        for other in sorted(near):
            apart = runs[row].splits | runs[other].splits
            if len(apart) > 1 and jaccard(own, sets[other]) >= THRESHOLD:
                yield f"runs {runs[other].id} and {runs[row].id} are near-duplicates in {_and(apart)}"


def _and(where: Iterable[str]) -> str:
    return " and ".join(sorted(where))
