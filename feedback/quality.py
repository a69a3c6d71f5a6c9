"""Which runs are too poor for a data set, and why.

Some reasons spoil a run for every use: nothing in it is the model's, its sandbox was lost, its patch is
broken, it is too large, nobody judged it. The others spoil it only as something to imitate, so they drop
gold and silver; a negative run that loops or ends without a patch shows just what it is kept to show.
"""

import json
import re
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final

from feedback.candidate import Candidate
from feedback.harvest import Harvest
from memory.records import ActionEnded, ActionStarted, CheckRan, Malformed, Status, Stop

REPEATS: Final = 3
"""The same action so often, with no change of a file in between, is a loop."""
MALFORMED: Final = 0.5
"""Highest share of answers in the action loop that may be no action."""
TOKENS: Final = 32_768
"""Of the largest call, prompt and answer, as its server counted."""
CHARACTERS: Final = 4 * TOKENS
"""Of the largest call, where its server does not count, and of the patch."""
UNTESTED: Final = frozenset({"tests-deleted", "tests-skipped"})
"""Rules of feedback/cheating.py that tell of tests which do not run any more."""
SEARCHED: Final = "search-"
"""What the ids of actions begin with that a search of ADI's own took over; no answer asked for them."""

_CHANGES: Final = frozenset({"edit", "write"})
_HEAD: Final = re.compile(r"@@ -\d+(?:,(\d+))? \+\d+(?:,(\d+))? @@")
_EXTENDED: Final = re.compile(
    r"(?:index|old mode|new mode|new file mode|deleted file mode|similarity index|dissimilarity index"
    r"|rename from|rename to|copy from|copy to) |--- |\+\+\+ |\\ |$"
)
_BINARY: Final = re.compile(r"(?:literal|delta) \d+$|[A-Za-z][!-~]{5,}$|$")


@dataclass(frozen=True, slots=True)
class Rule:
    """A reason to drop a run; `targets_only` where it does not spoil a negative."""

    reason: str
    holds: Callable[[Candidate], bool]
    targets_only: bool = False


def drop_poor(candidates: Sequence[Candidate]) -> dict[str, str]:
    """A filter: run id -> the first reason that holds, in the order of RULES."""
    told = ((candidate.id, poor(candidate)) for candidate in candidates)
    return {run_id: reason for run_id, reason in told if reason}


def poor(candidate: Candidate) -> str:
    """Why a run is dropped; empty where it is kept."""
    target = candidate.label.grade in ("gold", "silver")
    rules = (rule for rule in RULES if target or not rule.targets_only)
    return next((rule.reason for rule in rules if rule.holds(candidate)), "")


def well_formed(diff: str) -> bool:
    """Whether git could read it: every line has its place, and every hunk the lines that its head tells."""
    return Reader().reads(diff)


@dataclass(slots=True)
class Reader:
    """Where a reader of a diff is."""

    old: int = 0
    new: int = 0
    """Lines of the hunk that are still to come, of both texts."""
    named: bool = False
    """A file has begun."""
    binary: bool = False

    def reads(self, diff: str) -> bool:
        """True when the whole text is a diff of one file at least."""
        return all(map(self._takes, diff.removesuffix("\n").split("\n"))) and self.named and not self._inside

    @property
    def _inside(self) -> bool:
        return self.old > 0 or self.new > 0

    def _takes(self, line: str) -> bool:
        if self._inside:
            sign = line[:1] or " "  # mail programs take the blank off an empty line
            self.old -= sign in " -"
            self.new -= sign in " +"
            return sign in " -+\\" and self.old >= 0 and self.new >= 0
        if line.startswith("diff --git "):
            self.named, self.binary = True, False
            return True
        if head := _HEAD.match(line):
            self.old, self.new = int(head[1] or 1), int(head[2] or 1)
            return self.named
        if line == "GIT binary patch":
            self.binary = True
            return self.named
        return self.named and bool((_BINARY if self.binary else _EXTENDED).match(line))


def _silent(candidate: Candidate) -> bool:
    return not any(call.completion.text.strip() for call in candidate.harvest.calls)


def _lost(candidate: Candidate) -> bool:
    """Evidence of a sandbox that vanished tells of the machine."""
    found = candidate.harvest.evaluation
    statuses = [result.status for result in found.results] if found else []
    for event in candidate.harvest.events:
        if isinstance(event.payload, ActionEnded):
            statuses.append(event.payload.observation.status)
        elif isinstance(event.payload, CheckRan) and event.payload.purpose != "candidate":
            statuses.append(event.payload.result.status)
    return Status.SANDBOX_LOST in statuses


def _large(candidate: Candidate) -> bool:
    run = candidate.harvest
    if len(run.diff) > CHARACTERS:
        return True
    for call in run.calls:
        usage = call.completion.usage
        counted = usage.prompt_tokens + usage.completion_tokens
        size = len(call.prompt) + sum(len(message.content) for message in call.messages)
        if counted > TOKENS or (not usage.prompt_tokens and size + len(call.completion.text) > CHARACTERS):
            return True
    return False


def _broken(candidate: Candidate) -> bool:
    diff = candidate.harvest.diff
    return bool(diff.strip()) and not well_formed(diff)


def _loops(candidate: Candidate) -> bool:
    """The model did the same thing again and again, while no file changed."""
    tried, tool, last = Counter[str](), "", ""
    for payload in (event.payload for event in candidate.harvest.events):
        if isinstance(payload, ActionStarted):
            tool = payload.action.tool
            last = json.dumps([tool, payload.action.arguments], sort_keys=True)
            tried[last] += 1
            if tried[last] >= REPEATS:
                return True
        elif (
            isinstance(payload, ActionEnded) and tool in _CHANGES and payload.observation.status == Status.OK
        ):
            tried = Counter({last: tried[last]})
    return False


def _garbled(candidate: Candidate) -> bool:
    payloads = [event.payload for event in candidate.harvest.events]
    malformed = sum(isinstance(payload, Malformed) for payload in payloads)
    actions = sum(isinstance(p, ActionStarted) and not p.action.id.startswith(SEARCHED) for p in payloads)
    return malformed > MALFORMED * (malformed + actions)


def _untested(candidate: Candidate) -> bool:
    found = candidate.harvest.evaluation
    deleted = bool(found and found.deleted_tests)
    return deleted or any(flag.rule in UNTESTED for flag in candidate.label.flags)


def _stopped(run: Harvest) -> bool:
    return run.stop == Stop.BUDGET


RULES: Final = (
    Rule("no model call", _silent),
    Rule("sandbox lost", _lost),
    Rule("patch does not apply", _broken),
    Rule("too large", _large),
    Rule("unlabelled", lambda candidate: candidate.label.grade == "none"),
    Rule("empty patch", lambda candidate: not candidate.harvest.diff.strip(), targets_only=True),
    Rule("tests deleted or skipped", _untested, targets_only=True),
    Rule("loop", _loops, targets_only=True),
    Rule("malformed answers", _garbled, targets_only=True),
    Rule("ended by budget", lambda candidate: _stopped(candidate.harvest), targets_only=True),
)
