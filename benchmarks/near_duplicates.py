"""Measures near-duplicate detection: precision and recall against brute force, and speed.

Run: python -m benchmarks.near_duplicates [--rows 5000] [--speed 100000] [--seed 1]

A row is a task in words and a diff. Both are made of pieces of Python's standard library: the first docstring
of a piece is what was asked, its lines are what was added. Half of the rows are copies of earlier ones with
words replaced, from none to half of them, so that similarities of every size occur, many close to the
threshold. Brute force compares every pair, and hashes nothing. Prints Markdown.
"""

import argparse
import random
import re
import resource
import sys
import sysconfig
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np

from feedback.near import THRESHOLD, WORDS, bands, duplicates
from feedback.shingles import words

LINES = (8, 40)
"""Lines of a piece, fewest and most."""
EDITS = (0, 0.005, 0.01, 0.02, 0.03, 0.05, 0.1, 0.3, 0.5)
"""Share of the words of a copy that are replaced."""
_ASKED = re.compile(r'"""(.+?)"""', re.S)


def pieces(dice: random.Random) -> Iterator[tuple[str, list[str]]]:
    """Path and lines of pieces of the standard library, without an end: files come again, cut elsewhere."""
    root = Path(sysconfig.get_paths()["stdlib"])
    files = sorted(path for path in root.rglob("*.py") if "site-packages" not in path.parts)
    while True:
        dice.shuffle(files)
        for file in files:
            lines = file.read_text(encoding="utf-8", errors="replace").splitlines()
            at = dice.randrange(LINES[1])
            while at + LINES[0] <= len(lines):
                size = dice.randint(*LINES)
                yield file.relative_to(root).as_posix(), lines[at : at + size]
                at += size


def rows(count: int, dice: random.Random) -> list[str]:
    """So many texts of a task and a diff."""
    found, source = list[str](), pieces(dice)
    while len(found) < count:
        if found and dice.random() < 0.5:
            found.append(edited(dice.choice(found), dice.choice(EDITS), dice))
            continue
        path, lines = next(source)
        asked = _ASKED.search("\n".join(lines))
        task = " ".join((asked[1] if asked else lines[0]).split())
        found.append("\n".join([f"Change {path} so that: {task}", path, *lines]))
    return found


def edited(text: str, share: float, dice: random.Random) -> str:
    """A copy with a share of its words replaced by others of it."""
    parts = re.split(r"(\W+)", text)
    for at in range(0, len(parts), 2):
        if dice.random() < share:
            parts[at] = f"{dice.choice(parts[::2])}{dice.randrange(100)}"
    return "".join(parts)


def numbered(texts: Sequence[str]) -> list[list[int]]:
    """The shingles of each text, as numbers that stand for the very words."""
    known: dict[tuple[str, ...], int] = {}
    found = list[list[int]]()
    for text in texts:
        told = words(text)
        runs = {tuple(told[at : at + WORDS]) for at in range(max(1, len(told) - WORDS + 1))}
        found.append([known.setdefault(run, len(known)) for run in runs])
    return found


def similar_pairs(sets: Sequence[Sequence[int]]) -> dict[tuple[int, int], float]:
    """Brute force: all pairs at or above the threshold, lower index first, with their similarity.

    One row at a time against all others, by counting the shared shingles of each.
    """
    numbers = np.concatenate([np.array(own) for own in sets])
    owners = np.repeat(np.arange(len(sets)), [len(own) for own in sets])
    by_shingle = np.argsort(numbers, kind="stable")
    starts = np.searchsorted(numbers[by_shingle], np.arange(numbers.max() + 2))
    sizes, at, found = np.array([len(own) for own in sets]), 0, dict[tuple[int, int], float]()
    for row, own in enumerate(sets):
        mine = numbers[at : at + len(own)]
        at += len(own)
        holders = np.concatenate([owners[by_shingle[starts[one] : starts[one + 1]]] for one in mine])
        shared = np.bincount(holders, minlength=len(sets))
        similarity = shared / (sizes[row] + sizes - shared)
        for other in np.flatnonzero(similarity >= THRESHOLD):
            if other > row:
                found[row, int(other)] = float(similarity[other])
    return found


def greedy(count: int, pairs: dict[tuple[int, int], float]) -> set[int]:
    """Rows that brute force drops: those that are like a kept earlier one."""
    earlier: dict[int, list[int]] = {}
    for first, second in pairs:
        earlier.setdefault(second, []).append(first)
    dropped: set[int] = set()
    for row in range(count):
        if any(other not in dropped for other in earlier.get(row, [])):
            dropped.add(row)
    return dropped


def judged(texts: Sequence[str]) -> list[str]:
    """Precision and recall, by rows and by pairs, as lines of a table."""
    began = time.perf_counter()
    like = duplicates(texts)
    took = time.perf_counter() - began
    pairs = similar_pairs(numbered(texts))
    brute = time.perf_counter() - began - took
    right = greedy(len(texts), pairs)
    same = len(right & like.keys())
    true = sum((kept, row) in pairs for row, kept in like.items())
    unseen = [pair for pair in pairs if not like.keys() & set(pair)]
    close = sum(similarity < 0.85 for similarity in pairs.values())
    found = f"{same:,} of {len(right):,} ({100 * same / len(right):.2f}%)"
    return [
        f"| pairs at or above {THRESHOLD}, by brute force | {len(pairs):,}, {close:,} of them below 0.85 |",
        f"| precision: drops whose kept row is that similar | {true:,} of {len(like):,} |",
        f"| recall: rows that brute force drops | {found} |",
        f"| dropped beyond brute force's choice | {len(like.keys() - right):,} |",
        f"| similar pairs left among the kept rows | {len(unseen):,} of {len(pairs):,} |",
        f"| seconds: MinHash and check / brute force | {took:.1f} / {brute:.1f} |",
    ]


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--rows", type=int, default=5_000)
    parser.add_argument("--speed", type=int, default=100_000)
    parser.add_argument("--seed", type=int, default=1)
    given = parser.parse_args()
    dice = random.Random(given.seed)
    table = [f"| {given.rows:,} rows, bands of LSH {bands(THRESHOLD)} | |", "| --- | --- |"]
    table += judged(rows(given.rows, dice))
    if given.speed:
        texts = rows(given.speed, dice)
        size = sum(len(words(text)) for text in texts[:1000]) / len(texts[:1000])
        began, worked = time.perf_counter(), time.process_time()
        like = duplicates(texts)
        took, cpu = time.perf_counter() - began, time.process_time() - worked
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6
        table.append(
            f"| {given.speed:,} rows of {size:.0f} words | {took:.0f} s ({cpu:.0f} s of processor), "
            f"{given.speed / took:,.0f} rows/s, {len(like):,} dropped, process at most {peak:.1f} GB |"
        )
    sys.stdout.write("\n".join(table) + "\n")


if __name__ == "__main__":
    main()
