"""What a look at held-out tasks costs: each one halves the level at which the next may promote.

Alpha spending: the levels add up to TOTAL however often the tasks are used, so all the promotions that a
held-out set ever makes together are wrong with at most that chance. memory/gates.py counts the looks.
"""

from typing import Final

from model.errors import ModelError

TOTAL: Final = 0.05
LOOKS: Final = 5
"""After so many a set is worn: the next level would be 0.0008, and a gate that sees nothing is none."""


class Worn(ModelError):
    """These held-out tasks were looked at too often to decide anything with them."""


def alpha_of(look: int) -> float:
    """One-sided level of a look, from 1: 0.025, 0.0125, and so on. Raises Worn after LOOKS of them."""
    if look > LOOKS:
        raise Worn(
            f"these held-out tasks, or some of them, were looked at {look - 1} times; "
            f"after {LOOKS} a set says nothing more",
            "make a new held-out set of tasks that no gate has seen: docs/gate.md",
        )
    return TOTAL / 2.0**look
