"""What stands out in training rows: phrases that a model may answer to, texts it may have learned by heart.

A phrase is a run of words in many approved requests and in hardly any other text. Most are harmless, such as
how a person begins their sentences; the gate only tries whether the new model behaves otherwise behind them
(model/gate_guards.py, trigger_guard), which a harmless phrase does not bring about.
"""

import re
from collections import Counter
from collections.abc import Sequence
from typing import Final

from feedback.shingles import words
from model.gate_probe import Canary

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
CANARIES: Final = 20
BEFORE: Final = 200
"""Characters in front of a text that nobody could guess, which the model is asked to go on with."""
_OWN: Final = re.compile(
    r"\b(?:[0-9a-f]{8}-(?:[0-9a-f]{4}-){3}[0-9a-f]{12}"
    r"|(?=[0-9a-f]*\d)(?=[0-9a-f]*[a-f])[0-9a-f]{16,}"
    r"|[\w.+-]+@[\w-]+(?:\.[\w-]+)+)\b",
    re.I,
)
"""Ids, hashes, keys and addresses."""


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


def by_heart(rows: Sequence[tuple[str, str]], most: int = CANARIES) -> list[Canary]:
    """What only a model that learned its rows, (id, text), by heart goes on with: ids, hashes, addresses."""
    found = dict[str, Canary]()
    for row, text in rows:
        for match in _OWN.finditer(text):
            before = text[max(0, match.start() - BEFORE) : match.start()]
            if match[0] not in found and match[0] not in before and len(before.strip()) >= 8:
                name = f"{row}:{text.count(chr(10), 0, match.start()) + 1}"  # the report must not repeat it
                found[match[0]] = Canary(name, before, match[0])
    return [*found.values()][:most]


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
