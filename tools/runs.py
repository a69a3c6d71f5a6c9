"""Which lines two texts share, in time that no text can make long.

SequenceMatcher is quadratic and worse: a file of a million equal lines keeps it busy for hours. So what is
large is compared by the lines that each side has once (patience diff), which costs n log n.
"""

from bisect import bisect_left
from collections import Counter
from collections.abc import Iterator, Sequence
from difflib import SequenceMatcher

SMALL = 2_000
"""Lines that are compared pair by pair."""
Line = str | bytes
Run = tuple[int, int, int]
"""Place in the old text, place in the new one, and length."""


def equal_runs(old: Sequence[Line], new: Sequence[Line]) -> Iterator[Run]:
    """Runs of equal lines in order: where both texts begin and end alike, and what they share between."""
    head = _alike(old, new, 0, 0, 1, min(len(old), len(new)))
    tail = _alike(old, new, len(old) - 1, len(new) - 1, -1, min(len(old), len(new)) - head)
    first, second = old[head : len(old) - tail], new[head : len(new) - tail]
    times = Counter(second)
    small = max(len(first), len(second)) <= SMALL and sum(times[line] for line in first) <= 100 * SMALL
    yield 0, 0, head
    if small:
        for run in SequenceMatcher(a=first, b=second, autojunk=False).get_matching_blocks():
            yield head + run.a, head + run.b, run.size
    else:
        for before, after, length in _anchored(first, second):
            yield head + before, head + after, length
    yield len(old) - tail, len(new) - tail, tail


def _alike(old: Sequence[Line], new: Sequence[Line], i: int, j: int, step: int, room: int) -> int:
    """How many lines agree from two places on, at most `room`, forward (step 1) or backward (-1)."""
    different = (n for n in range(room) if old[i + step * n] != new[j + step * n])
    return next(different, room)


def _anchored(old: Sequence[Line], new: Sequence[Line]) -> Iterator[Run]:
    """Runs around lines that both sides have once and in one order."""
    i = j = 0
    for before, after in _chain(_pairs(old, new)):
        if before < i or after < j:
            continue  # the run before it reaches this far
        back = _alike(old, new, before - 1, after - 1, -1, min(before - i, after - j))
        ahead = _alike(old, new, before, after, 1, min(len(old) - before, len(new) - after))
        yield before - back, after - back, back + ahead
        i, j = before + ahead, after + ahead


def _pairs(old: Sequence[Line], new: Sequence[Line]) -> list[tuple[int, int]]:
    """Places of the lines that each side has once, by their place in the old text."""
    in_old, in_new = Counter(old), Counter(new)
    places = {line: place for place, line in enumerate(new) if in_new[line] == in_old[line] == 1}
    return [(place, places[line]) for place, line in enumerate(old) if line in places]


def _chain(pairs: Sequence[tuple[int, int]]) -> list[tuple[int, int]]:
    """The longest part of the pairs in which the second places increase too (patience sorting)."""
    ends: list[int] = []  # smallest second place at the end of a chain of each length
    holders: list[int] = []  # the pair that has it
    before: list[int] = []  # for each pair the one before it in its chain, or -1
    for number, (_, place) in enumerate(pairs):
        length = bisect_left(ends, place)
        ends[length : length + 1] = [place]
        holders[length : length + 1] = [number]
        before.append(holders[length - 1] if length else -1)
    chain = []
    number = holders[-1] if holders else -1
    while number >= 0:
        chain.append(pairs[number])
        number = before[number]
    return chain[::-1]
