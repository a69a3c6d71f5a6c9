"""How good a run was, from what its tests, the person and the tree say: gold, silver, negative or none.

Gold needs all of: a check that runs tests passes in the last verdict and failed before the change (or, where
none failed before, ran tests and passes), a person accepted the change, it is in the tree, most of it was
not taken back since, and nothing flags it. Silver: a person accepted it and no test shows it, or its tests
pass and evidence alone accepted it. Negative: a person rejected it or took it back, its checks fail in the
last verdict, more than half of its lines are gone at the latest age, or it was accepted and is flagged.
Everything else is `none`: nobody and nothing has judged it, or not yet.
"""

from dataclasses import dataclass
from functools import cached_property
from typing import Final

from feedback.candidate import Flag, Grade, Label
from feedback.harvest import Harvest
from memory.records import CheckAdded, CheckRan, CheckResult, Status, Stop, UserActed

WEIGHTS: Final = {"tests": 1.0, "human": 2.0, "survival": 1.0}
"""Of the components in the reward; those of a source that said nothing are left out."""
HUMAN: Final = {"accepted": 1.0, "edited": 0.5, "rejected": -1.0, "undone": -1.0}
_NO_EVIDENCE: Final = frozenset({Status.SANDBOX_LOST, Status.DISK_FULL})
"""Ends of a check that tell of the machine and not of the change."""
_BROKEN_OFF: Final = frozenset(
    {Stop.PENDING, Stop.ENVIRONMENT, Stop.INTERRUPTED, Stop.KILLED, Stop.ERROR, None}
)
"""Runs that nobody has finished: a failing check is not their last word."""


def label(harvest: Harvest, flags: tuple[Flag, ...]) -> Label:
    """The label of a run; `flags` are what `feedback.cheating.scan` found.

    The reward is the weighted mean of the components, `tests` and `survival` stretched to -1 to 1. It is at
    most 0 where the run is flagged or negative.
    """
    proof = Proof(harvest)
    grade, why = _graded(harvest, proof, flags)
    components = _components(harvest, proof)
    reward = _reward(components)
    if reward is not None and (flags or grade == "negative"):
        reward = min(0.0, reward)
    return Label(grade=grade, why=why, flags=flags, reward=reward, components=components)


@dataclass(frozen=True)
class Proof:
    """What the checks say. Tests that ADI's model wrote itself prove nothing and are left out."""

    harvest: Harvest

    @cached_property
    def before(self) -> dict[str, CheckResult]:
        """How each check ended before anything was changed."""
        gathered = (e.payload for e in self.harvest.events if isinstance(e.payload, CheckRan))
        return {ran.result.check: ran.result for ran in gathered if ran.purpose == "gather"}

    @cached_property
    def after(self) -> tuple[CheckResult, ...]:
        """How the checks ended in the last verdict."""
        added = (e.payload.check for e in self.harvest.events if isinstance(e.payload, CheckAdded))
        own = {check.name for check in (*self.harvest.task.checks, *added) if check.origin == "written"}
        found = self.harvest.evaluation
        return tuple(result for result in (found.results if found else ()) if result.check not in own)

    @property
    def holds(self) -> bool:
        """The checks pass, but for failures that were there before or that the task calls wrong."""
        found = self.harvest.evaluation
        if found is None or not self.after:
            return False
        return found.accepted or bool(found.disputed_tests) or all(result.passed for result in self.after)

    @property
    def fails(self) -> bool:
        """A check fails by what it found, not by what happened to the machine."""
        told = any(not result.passed and result.status not in _NO_EVIDENCE for result in self.after)
        return told and not self.holds

    @property
    def tested(self) -> bool:
        """The tests show it: one that failed passes, or where none failed, they ran and pass."""
        ran = [result for result in self.after if result.passed and result.tests_passed]
        mended = [result for result in ran if self._failed(result.check)]
        testing = {result.check for result in self.after if result.tests_passed + result.tests_failed}
        return self.holds and bool(mended or (ran and not any(map(self._failed, testing))))

    @property
    def share(self) -> float | None:
        """Mean over the checks that failed before of what passes of them now; over all, where none failed.

        Of a check that still fails, the share of its failing tests that pass now. 0 where a check that passed
        before fails now; None without a verdict that tells anything.
        """
        told = [result for result in self.after if result.status not in _NO_EVIDENCE]
        if not told:
            return None
        known = [result for result in told if result.check in self.before]
        if not self.holds and any(not item.passed and not self._failed(item.check) for item in known):
            return 0.0
        goals = [result for result in told if self._failed(result.check)] or told
        return sum(self._mended(result) for result in goals) / len(goals)

    def _mended(self, now: CheckResult) -> float:
        """Share of a check's failing tests that pass now; a run that lost tests has mended none."""
        before = self.before.get(now.check)
        if now.passed or before is None or not before.tests_failed or not now.tests_failed:
            return float(now.passed)
        lost = now.tests_passed + now.tests_failed < before.tests_passed + before.tests_failed
        return 0.0 if lost else max(0.0, 1 - now.tests_failed / before.tests_failed)

    def _failed(self, check: str) -> bool:
        return check in self.before and not self.before[check].passed


def _graded(harvest: Harvest, proof: Proof, flags: tuple[Flag, ...]) -> tuple[Grade, str]:
    """The grade and its reason."""
    by_person = harvest.human in ("accepted", "edited")
    taken = harvest.applied and (by_person or _automatic(harvest))
    if taken and flags:
        rules = ", ".join(dict.fromkeys(flag.rule for flag in flags))
        return "negative", f"It was accepted, and it is flagged: {rules}."
    if harvest.human in ("rejected", "undone"):
        return (
            "negative",
            "A person rejected it." if harvest.human == "rejected" else "A person took it back.",
        )
    if proof.fails and (taken or harvest.stop not in _BROKEN_OFF):
        return "negative", "Its checks fail in the last verdict."
    if taken and _gone(harvest):
        return "negative", f"More than half of its lines were gone after {harvest.survivals[-1].days} day(s)."
    if not taken:
        return "none", _open(harvest)
    if not by_person:
        silver = proof.tested
        whose = "the tests of a seeded task alone" if harvest.synthetic else "evidence alone"
        return (
            ("silver", f"Its tests pass, and {whose} accepted it.")
            if silver
            else ("none", "Evidence alone accepted it, and no test shows it.")
        )
    edits = " after an edit" if harvest.human == "edited" else ""
    if proof.tested:
        return "gold", f"Its tests pass, and a person accepted it{edits}."
    return "silver", f"A person accepted it{edits}, and no test shows it."


def _automatic(harvest: Harvest) -> bool:
    return any(isinstance(e.payload, UserActed) and e.payload.action == "auto-accept" for e in harvest.events)


def _gone(harvest: Harvest) -> bool:
    """More than half of the lines were reverted at the latest age."""
    if not harvest.survivals:
        return False
    last = harvest.survivals[-1]
    return 2 * last.reverted > last.kept + last.edited + last.reverted


def _open(harvest: Harvest) -> str:
    """Why nothing is known of a run's worth."""
    if not harvest.verdicts:
        return "There is no change to judge."
    if harvest.stop == Stop.PENDING:
        return "It waits for a person."
    if harvest.human in ("accepted", "edited") or _automatic(harvest):
        return "It was accepted and never reached the tree."
    return f"It ended as {harvest.stop.value if harvest.stop else 'nothing'}, and nobody has judged it."


def _components(harvest: Harvest, proof: Proof) -> dict[str, float]:
    found = dict[str, float]()
    if (share := proof.share) is not None:
        found["tests"] = share
    if harvest.human in HUMAN:
        found["human"] = HUMAN[harvest.human]
    if harvest.survivals:
        last = harvest.survivals[-1]
        if total := last.kept + last.edited + last.reverted:
            found["survival"] = last.kept / total
    return found


def _reward(components: dict[str, float]) -> float | None:
    """Weighted mean, -1 to 1; None where no source said anything."""
    if not components:
        return None
    stretched = {name: value if name == "human" else 2 * value - 1 for name, value in components.items()}
    weight = sum(WEIGHTS[name] for name in stretched)
    return sum(WEIGHTS[name] * value for name, value in stretched.items()) / weight
