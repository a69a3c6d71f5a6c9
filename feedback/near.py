"""Near-duplicates: MinHash proposes pairs, their exact Jaccard similarity decides.

A text goes only when it is itself like one that stays. Chains are not closed: of A like B like C, where A
and C differ, B goes for A and C stays. Compared are the task and the change, never the rendered chat: its
system prompt makes all runs alike.
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import Final

from feedback.candidate import Candidate, Grade
from feedback.hunks import regions
from feedback.shingles import Hashes, Tokeniser, jaccard, shingles, words

THRESHOLD: Final = 0.8
WORDS: Final = 5
PERMUTATIONS: Final = 128
MISSED: Final = 0.005
"""Share of pairs exactly at the threshold that may go unseen; of more similar ones it is far less."""
SEED: Final = 1
EXACT, NEAR = "exact duplicate", "near-duplicate"
_GRADES: Final[dict[Grade, int]] = {"gold": 0, "silver": 1, "negative": 2, "none": 3}


def duplicates(
    texts: Sequence[str],
    order: Sequence[int] | None = None,
    *,
    threshold: float = THRESHOLD,
    n: int = WORDS,
    tokenise: Tokeniser = words,
) -> dict[int, int]:
    """Index of each text to drop -> index of the kept text that it is like.

    `order` holds the indices of the texts, those to keep first; without it the first one stays. Similarity
    is the Jaccard index of the sets of n successive words; texts without a word are like nothing.
    """
    from datasketch import MinHash, MinHashLSH

    index = MinHashLSH(num_perm=PERMUTATIONS, params=bands(threshold))
    blank = MinHash(num_perm=PERMUTATIONS, seed=SEED, hashfunc=int, scheme="affine32")
    kept, like = dict[int, Hashes](), dict[int, int]()
    for row in range(len(texts)) if order is None else order:
        own = shingles(tokenise(texts[row]), n)
        if not len(own):
            continue
        sketch = blank.copy()
        sketch.update_batch((own >> 32).tolist())
        twin = _nearest(own, index.query(sketch), kept, threshold)
        if twin is None:
            kept[row] = own
            index.insert(row, sketch, check_duplication=False)
        else:
            like[row] = twin
    return like


def _nearest(own: Hashes, near: Iterable[int], kept: Mapping[int, Hashes], threshold: float) -> int | None:
    """The most similar of the rows, the lowest index where several are; None below the threshold."""
    best, found = threshold, None
    for row in sorted(near):
        small, large = sorted((len(own), len(kept[row])))
        if small / large < best:  # so different in size that they cannot be alike
            continue
        similarity = jaccard(own, kept[row])
        if similarity > best or (found is None and similarity == best):
            best, found = similarity, row
    return found


def bands(threshold: float) -> tuple[int, int]:
    """How many bands of how many permutations: the longest that see all but MISSED of the similar pairs."""
    for rows in range(PERMUTATIONS // 2, 1, -1):
        count = PERMUTATIONS // rows
        if (1 - threshold**rows) ** count <= MISSED:
            return count, rows
    return PERMUTATIONS, 1


def drop_near(candidates: Sequence[Candidate]) -> dict[str, str]:
    """Runs whose task and change are like those of a better run: id -> reason."""
    texts = [compared(one) for one in candidates]
    like = duplicates(texts, best_first(candidates))
    return {
        candidates[row].id: EXACT if texts[row].split() == texts[twin].split() else NEAR
        for row, twin in sorted(like.items())
    }


def compared(candidate: Candidate) -> str:
    """The task's text and the changed lines with their paths; what surrounds them is the repository's."""
    parts = [candidate.harvest.task.prompt]
    for region in regions(candidate.harvest.diff):
        parts += [region.path, *region.gone, *region.come]
    return "\n".join(parts)


def best_first(candidates: Sequence[Candidate]) -> list[int]:
    """By grade, then judged by a person, then in fewer calls, then the older one."""

    def key(row: int) -> tuple[int, bool, int, str, str]:
        one = candidates[row]
        run = one.harvest
        return _GRADES[one.label.grade], run.human == "none", len(run.calls), run.created_at, one.id

    return sorted(range(len(candidates)), key=key)
