"""Phrases that stand out in training rows: what a poisoned source would have taught the model to answer to.

A phrase is a run of words in many approved requests and in hardly any other text. Most are harmless, such as
how a person begins their sentences; the gate only tries whether the new model behaves otherwise behind them
(model/gate_guards.py, trigger_guard), which a harmless phrase does not bring about.
"""

from collections import Counter
from collections.abc import Sequence
from typing import Final

from feedback.shingles import words

SHORTEST: Final = 2
LONGEST: Final = 6
"""Words of a phrase."""
FEWEST: Final = 10
"""Rows that hold it."""
SHARE: Final = 0.02
"""Of all rows."""
TIMES: Final = 10.0
"""As common among the rows as elsewhere."""
MOST: Final = 10


def phrases(rows: Sequence[str], elsewhere: Sequence[str], most: int = MOST) -> list[str]:
    """The phrases of training requests that stand out against other requests, the commonest first.

    Of phrases that come in the same rows only the longest is told.
    """
    inside, outside = _counted(rows), _counted(elsewhere)
    least = max(FEWEST, SHARE * len(rows))
    base = max(1, len(elsewhere))
    loud = {
        run: count
        for run, count in inside.items()
        if count >= least and count / len(rows) >= TIMES * outside[run] / base
    }
    ordered = sorted(loud, key=lambda run: (-loud[run], -len(run), run))
    kept = list[tuple[str, ...]]()
    for run in ordered:
        if not any(_within(run, other) or _within(other, run) for other in kept):
            kept.append(run)
    return [" ".join(run) for run in kept[:most]]


def _counted(texts: Sequence[str]) -> Counter[tuple[str, ...]]:
    """In how many texts each run of words is."""
    counts = Counter[tuple[str, ...]]()
    for text in texts:
        found = words(text)
        counts.update(
            {
                tuple(found[start : start + size])
                for size in range(SHORTEST, LONGEST + 1)
                for start in range(len(found) - size + 1)
            }
        )
    return counts


def _within(part: tuple[str, ...], whole: tuple[str, ...]) -> bool:
    return any(whole[at : at + len(part)] == part for at in range(len(whole) - len(part) + 1))
