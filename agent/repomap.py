"""A map of the repository for the prompt: its files, and the definitions that matter to a task.

Files are nodes, a name that one uses and another defines is an edge; PageRank that begins at what the task
names (Brin and Page 1998, personalised as by Haveliwala 2002; used so for repositories by Aider) ranks the
definitions. The same files and the same task give the same map to the last byte, so a prefix cache keeps it.
"""

import math
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace

from agent.symbols import Outline, Symbol, mentioned, outlines
from feedback.verdict import is_test_path
from sandbox.workcopy import WorkCopy
from tools.arguments import spelled

TOKENS = 600
DAMPING, ROUNDS = 0.85, 30
NAMED, PRIVATE = 10.0, 0.1
"""Factors of an edge by a name that the task names, and by one that is private."""
COMMON = 8
"""A name that more files define tells nothing about where it is used."""

Edges = dict[str, dict[tuple[str, str], float]]
"""File that uses a name -> (file that defines it, the name) -> weight."""


def repo_map(files: WorkCopy, prompt: str, count: Callable[[str], int], budget: int = TOKENS) -> str:
    """Paths and signatures of at most `budget` tokens, as `count` counts them; all paths where they fit.

    Make it once for a task and keep it: what the task changes later would change it. Raises GrammarMissing.
    """
    read = outlines(files)
    clear = mentioned(files, prompt)
    wanted: dict[str, float] = defaultdict(float)
    for item in clear:
        wanted[item.path] += item.weight
    wanted.update({path: wanted[path] + 5.0 for path in files.paths() if path in prompt})
    edges = _edges(read, {item.symbol.name for item in clear if item.weight >= 1})
    ranks = _ranks(list(read), edges, wanted)
    values = _values(edges, ranks)
    for item in clear:
        values[item.path, item.symbol.name] += item.weight / (1 + sum(wanted.values()))
    ordered = _ordered(read, values)
    paths = "\n".join(spelled(path) for path in files.paths())
    listed = paths if count(paths) * 2 <= budget else ""
    return _fitted(listed, ordered, count, budget)


def _edges(read: Mapping[str, Outline], named: set[str]) -> Edges:
    """Uses of names that few files define."""
    defined: dict[str, set[str]] = defaultdict(set)
    for path, found in read.items():
        for symbol in found.symbols if not is_test_path(path) else ():
            defined[symbol.name].add(path)
    edges: Edges = {}
    for path, found in read.items():
        edges[path] = {}
        for name in sorted(found.words.keys() & defined.keys()):
            places = defined[name]
            if len(places) > COMMON or len(name) < 3:
                continue
            factor = (NAMED if name in named else 1.0) * (PRIVATE if name.startswith("_") else 1.0)
            for place in sorted(places - {path}):
                weight = factor * math.sqrt(found.words[name]) / len(places)
                edges[path][place, name] = weight
    return edges


def _ranks(paths: Sequence[str], edges: Edges, wanted: Mapping[str, float]) -> dict[str, float]:
    """Personalised PageRank of the files; they sum to 1."""
    if not paths:
        return {}
    start = {path: wanted.get(path, 0.0) + 0.05 for path in paths}
    whole = sum(start.values())
    start = {path: value / whole for path, value in start.items()}
    sums = {path: sum(out.values()) for path, out in edges.items()}
    flows = {path: _by_file(out) for path, out in edges.items()}
    ranks = dict(start)
    for _ in range(ROUNDS):
        loose = sum(ranks[path] for path in paths if not sums[path])
        after = {path: (1 - DAMPING + DAMPING * loose) * start[path] for path in paths}
        for path in paths:
            share = DAMPING * ranks[path] / sums[path] if sums[path] else 0.0
            for place, weight in flows[path].items():
                after[place] += share * weight
        ranks = after
    return ranks


def _by_file(out: Mapping[tuple[str, str], float]) -> dict[str, float]:
    found: dict[str, float] = defaultdict(float)
    for (place, _), weight in out.items():
        found[place] += weight
    return found


def _values(edges: Edges, ranks: Mapping[str, float]) -> dict[tuple[str, str], float]:
    """Rank of each definition, by its file and name: the shares of the files that use it."""
    found: dict[tuple[str, str], float] = defaultdict(float)
    for path, out in edges.items():
        whole = sum(out.values())
        for key, weight in out.items():
            found[key] += ranks[path] * weight / whole
    return found


def _ordered(read: Mapping[str, Outline], values: Mapping[tuple[str, str], float]) -> list[Symbol]:
    """Definitions outside of tests, most important first."""
    known = [
        replace(symbol, path=path)
        for path, found in read.items()
        if not is_test_path(path)
        for symbol in found.symbols
    ]
    return sorted(
        known, key=lambda item: (-values.get((item.path, item.name), 0.0), item.path, item.span.first)
    )


def _fitted(listed: str, ordered: Sequence[Symbol], count: Callable[[str], int], budget: int) -> str:
    """The map with as many definitions as the budget takes, found by halving."""
    least, most = 0, min(len(ordered), budget)  # a signature costs more than one token
    best = listed
    while least < most:
        middle = (least + most + 1) // 2
        text = "\n\n".join(part for part in (listed, rendered(ordered[:middle])) if part)
        if count(text) <= budget:
            least, best = middle, text
        else:
            most = middle - 1
    return best


def rendered(symbols: Iterable[Symbol]) -> str:
    """Signatures below their files, in the order of the files' paths and lines; methods are indented."""
    by_path: dict[str, list[Symbol]] = defaultdict(list)
    for symbol in symbols:
        by_path[symbol.path].append(symbol)
    lines: list[str] = []
    for path in sorted(by_path):
        lines.append(f"{spelled(path)}:")
        owner = ""
        for symbol in sorted(by_path[path], key=lambda item: (item.span.first, item.span.name)):
            if symbol.span.owner and symbol.span.owner != owner and symbol.is_function:
                lines.append(f"  {symbol.span.owner}:")
            owner = symbol.span.owner if symbol.is_function else symbol.name
            if not symbol.is_function:
                lines.append(f"  {symbol.signature}:")
            else:
                lines.append(f"{'    ' if symbol.span.owner else '  '}{symbol.signature}")
    return "\n".join(lines)
