"""From findings and guards to one of three verdicts. Who cannot tell keeps the old model.

PROMOTE needs all of: better on the user's held-out tasks at this look's level; not worse than the margin on a
general set; every guard held. REJECT: a guard broke, or the new model is worse beyond chance on either set.
CANNOT TELL is everything else, and says what would tell.
"""

from collections.abc import Sequence
from typing import Final, Literal

from memory.checks import Record
from model.gate import Finding
from model.gate_guards import Guard
from model.gate_power import Reach, reach

Verdict = Literal["PROMOTE", "REJECT", "CANNOT TELL"]
MARGIN: Final = 0.05
WORSE: Final = 0.05
"""One-sided level at which a new model counts as worse; not spent, for a rejection harms nobody."""


class Terms(Record):
    """What was agreed before anything was measured."""

    alpha: float
    """One-sided level of this look at the user's tasks (model/gate_wear.py)."""
    margin: float = MARGIN
    """Loss on the general set, as a share of its tasks, that is still borne."""
    general: bool = True
    """False: promotion without a general set; the report says so."""
    waived: tuple[str, ...] = ()
    """Names of guards that need not be measured; one that was measured counts all the same."""


class Decision(Record):
    """The verdict and everything that it rests on."""

    verdict: Verdict
    reasons: tuple[str, ...]
    """Sentences, the one that decided first."""
    terms: Terms
    user: Finding
    general: Finding | None
    reach: Reach
    """Of the user's tasks at the level of this look."""
    general_tasks: int | None
    """Tasks of the general set that would show an equal model to be no worse; None without the set."""
    guards: tuple[Guard, ...]
    naive: bool
    """Whether "at least as many solved" would have promoted."""


def decide(
    user: Finding, general: Finding | None, guards: Sequence[Guard], terms: Terms, *, stated: float = 0.05
) -> Decision:
    """The verdict. `stated` is the gain that the number of tasks still needed is told for."""
    told = reach(user, terms.alpha, stated=stated)
    verdict = verdict_of(user, general, guards, terms)
    against = [*_broken(guards), *_worse("the user's tasks", user), *_worse("the general set", general)]
    missing = [*_not_better(user, terms, told), *_unproven(general, terms), *_unclear(guards, terms)]
    return Decision(
        verdict=verdict,
        reasons=(_better(user, general, terms),) if verdict == "PROMOTE" else (*against, *missing),
        terms=terms,
        user=user,
        general=general,
        reach=told,
        general_tasks=None if general is None else _for_margin(general, terms.margin),
        guards=tuple(guards),
        naive=user.new_solved >= user.old_solved,
    )


def verdict_of(user: Finding, general: Finding | None, guards: Sequence[Guard], terms: Terms) -> Verdict:
    """The verdict without its reasons."""
    if any(guard.verdict == "broken" for guard in guards) or _is_worse(user) or _is_worse(general):
        return "REJECT"
    shown = user.p_better <= terms.alpha and _is_borne(general, terms)
    return "PROMOTE" if shown and not _open(guards, terms) else "CANNOT TELL"


def _is_worse(found: Finding | None) -> bool:
    return found is not None and found.p_worse <= WORSE


def _is_borne(general: Finding | None, terms: Terms) -> bool:
    return not terms.general if general is None else general.bound > -terms.margin


def _open(guards: Sequence[Guard], terms: Terms) -> list[Guard]:
    """Those that neither held nor broke."""
    waived = terms.waived
    return [
        guard
        for guard in guards
        if guard.verdict == "unclear" or (guard.verdict == "not measured" and guard.name not in waived)
    ]


def _broken(guards: Sequence[Guard]) -> list[str]:
    return [f"guard {guard.name} broke: {guard.detail}" for guard in guards if guard.verdict == "broken"]


def _worse(where: str, found: Finding | None) -> list[str]:
    if found is None or not _is_worse(found):
        return []
    return [f"worse on {where}: {points(found.difference)} ({_ends(found)}), p {found.p_worse:.2g}"]


def _not_better(user: Finding, terms: Terms, told: Reach) -> list[str]:
    if user.p_better <= terms.alpha:
        return []
    smallest = "no gain at all" if told.smallest is None else f"a gain of {points(told.smallest)} or more"
    seen = f"; {_count(told.for_seen)} would show a gain such as was seen" if user.difference > 0 else ""
    return [
        f"not shown to be better on the user's tasks: {points(user.difference)} ({_ends(user)}), "
        f"p {user.p_better:.2g} and not {terms.alpha:.2g}. {user.tasks} tasks would have shown {smallest} "
        f"(power 0.8); {_count(told.for_stated)} would show {points(told.stated)}{seen}"
    ]


def _unproven(general: Finding | None, terms: Terms) -> list[str]:
    if _is_borne(general, terms):
        return []
    if general is None:
        return ["no general set was run, so that harm elsewhere could not be seen"]
    wanted = _for_margin(general, terms.margin)
    return [
        f"not shown to be no worse on the general set: it may have lost {-100 * general.bound:.1f} points, "
        f"and {100 * terms.margin:.1f} are borne; {wanted} tasks would show that an equal model is no worse"
    ]


def _unclear(guards: Sequence[Guard], terms: Terms) -> list[str]:
    return [f"guard {guard.name} is {guard.verdict}: {guard.detail}" for guard in _open(guards, terms)]


def _better(user: Finding, general: Finding | None, terms: Terms) -> str:
    harm = (
        "no general set was run, as was agreed"
        if general is None
        else f"on the general set it lost no more than {max(0.0, -100 * general.bound):.1f} points, "
        f"and {100 * terms.margin:.1f} are borne"
    )
    return (
        f"better on the user's tasks: {points(user.difference)} ({_ends(user)}), p {user.p_better:.2g}, "
        f"level {terms.alpha:.2g}; {harm}; every guard held"
    )


def _for_margin(general: Finding, margin: float) -> int:
    """Tasks on which a model that is the same is shown to be no worse, with power 0.8."""
    square = (general.tasks + 2) * general.error**2
    return round(square * ((1.645 + 0.842) / margin) ** 2)


def points(share: float) -> str:
    """Such as `+5.0 points`."""
    return f"{100 * share:+.1f} points"


def _ends(found: Finding) -> str:
    return f"95% {100 * found.low:+.1f} to {100 * found.high:+.1f}"


def _count(tasks: int | None) -> str:
    return "no number of tasks" if tasks is None else f"{tasks} tasks"
