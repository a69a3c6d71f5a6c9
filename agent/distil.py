"""Distillation: from the events of a run that ended to lessons, each with the run as its evidence.

In code alone: how the checks were run, what mended an error, what the person rejected or edited and what came
instead, what was tried in vain, which checks are slow or flaky. What the model claims is no evidence here.
"""

import re
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

from pydantic import JsonValue

from agent.learned import KEYWORDS, Change, changes_in, difference
from feedback.evidence import is_test_path
from feedback.hunks import added
from memory.recall import kind_of_error
from memory.records import (
    Applied,
    Check,
    CheckAdded,
    CheckRan,
    CheckResult,
    Completed,
    Draft,
    Evidence,
    Payload,
    Recalled,
    RunEnded,
    RunStarted,
    Searched,
    Stop,
    Task,
    UserActed,
    Verdict,
)
from memory.signature import signature

SMALL: Final = 3
"""Small changes of a run that are kept as templates; a larger change is no pattern."""
SLOW_S: Final = 30.0
"""Seconds after which a check is worth calling slow."""
REASON: Final = 240
"""Characters kept of a person's words."""
REMEMBERED: Final = "remembered"
"""Name of the search round that tries learned changes."""
VAIN: Final = frozenset({Stop.FAILED, Stop.STUCK, Stop.BUDGET})
_WORD: Final = re.compile(r"[A-Za-z_][\w.]*")


@dataclass(frozen=True, slots=True)
class Told:
    """A lesson, new or known, and what this run says about it."""

    draft: Draft
    evidence: Evidence


@dataclass(frozen=True, slots=True)
class Past:
    """One run that ended, as the store holds it."""

    run_id: str
    events: Sequence[Payload]
    patches: Mapping[str, str] = field(default_factory=dict)
    """Diffs of its verdicts by their SHA-256."""

    @property
    def started(self) -> RunStarted:
        return next(event for event in self.events if isinstance(event, RunStarted))

    @property
    def task(self) -> Task:
        return self.started.task

    @property
    def repository(self) -> str:
        """Where its lessons hold: a copy's are those of the repository that it stands for."""
        return self.started.repository

    @property
    def stop(self) -> Stop | None:
        return next((event.stop for event in reversed(self.events) if isinstance(event, RunEnded)), None)

    @property
    def written(self) -> int:
        """Tokens the model wrote."""
        return sum(e.completion.usage.completion_tokens for e in self.events if isinstance(e, Completed))

    @property
    def accepted(self) -> str:
        """The diff that is in the user's tree and passed its checks; empty when there is none."""
        applied = next((event for event in reversed(self.events) if isinstance(event, Applied)), None)
        good = any(isinstance(event, Verdict) and event.evaluation.accepted for event in self.events)
        return self.patches.get(applied.diff_sha256, "") if applied and not applied.undone and good else ""

    @property
    def rejected(self) -> tuple[str, str]:
        """The last diff that a person said no to, and why; empty where there was none."""
        sha, found = "", ("", "")
        for event in self.events:
            if isinstance(event, Verdict):
                sha = event.diff_sha256
            elif isinstance(event, UserActed) and event.action == "reject" and sha:
                found = (self.patches.get(sha, ""), event.detail.strip())
        return found

    def before(self) -> list[CheckResult]:
        """How the checks stood before anything was changed, by the command that ran them last."""
        gathered = (e.result for e in self.events if isinstance(e, CheckRan) and e.purpose == "gather")
        return list({result.check: result for result in gathered}.values())

    def signatures(self) -> list[str]:
        """Error signatures of what failed at the beginning, each once."""
        failing = (failure for result in self.before() if not result.passed for failure in result.failures)
        return list(dict.fromkeys(signature(failure) for failure in failing))


def distil(past: Past, previous: Past | None = None) -> Iterator[Told]:
    """What one run teaches; `previous` is the run before it in the same repository."""
    yield from _checks(past)
    yield from _fixes(past)
    yield from _preferences(past, previous)
    yield from _vain(past)
    yield from _facts(past, previous)


def _checks(past: Past) -> Iterator[Told]:
    """Commands that ran tests here, where a person gave them or they had to be looked for.

    Those that a run on a copy was given may be a stranger's, as its task is: they teach nothing.
    """
    ran = {result.check for result in past.before() if result.tests_passed + result.tests_failed}
    own = not past.started.origin.copy_of
    given = [(check, "the person gave it") for check in past.task.checks if check.origin == "given" and own]
    looked_for = [
        (event.check, "it was found in the repository's own files")
        for event in past.events
        if isinstance(event, CheckAdded) and event.replaces
    ]
    for check, why in (*given, *looked_for):
        if check.name in ran and check.kind != "command":
            yield _told(past, check_lesson(past.repository, check), f"{why}, and it ran tests")


def check_lesson(repository: str, check: Check) -> Draft:
    """The lesson that a command runs a repository's tests."""
    return Draft(
        kind="check",
        place=repository,
        claim=f"Tests are run with `{check.command}`",
        subject=f"check:{check.kind}",
        content={"name": check.name, "command": check.command, "kind": check.kind},
    )


def _fixes(past: Past) -> Iterator[Told]:
    """What mended an error, where it was small enough to mend another like it."""
    found = [(path, change) for path, change in changes_in(past.accepted) if not is_test_path(path)]
    signatures = past.signatures()
    if not signatures or not 0 < len(found) <= SMALL:
        return
    for path, change in found:
        yield _told(
            past, _fix(past, signatures, path, change), "the checks passed with it, and it was accepted"
        )


def by_hand(past: Past, failing: Collection[str], diff: str) -> Iterator[Told]:
    """What the person changed after a run had come to nothing, where its failing tests pass since.

    `failing` are the tests that fail now, `diff` what changed between the files of that run and now.
    """
    tests, signatures = _failing(past), past.signatures()
    if past.stop not in {*VAIN, Stop.REJECTED} or not tests or tests & {*failing}:
        return
    found = [(path, change) for path, change in changes_in(diff) if not is_test_path(path)]
    if 0 < len(found) <= SMALL:
        for path, change in found:
            yield _told(past, _fix(past, signatures, path, change), "the person mended it so by hand")


def _fix(past: Past, signatures: Sequence[str], path: str, change: Change) -> Draft:
    kind = kind_of_error(signatures[0])
    gone, come = " / ".join(change.before), " / ".join(change.after)
    done = f"`{gone}` became `{come}`" if gone else f"`{come}` was added"
    return Draft(
        kind="fix",
        place=past.repository,
        claim=f"{kind}: {done}",
        subject=kind,
        words=f"{path} {' '.join(signatures[:3])} {past.task.prompt[:400]}",
        content={
            "before": list(change.before),
            "after": list(change.after),
            "path": path,
            "signature": signatures[0],
            "written": past.written,
        },
    )


def _preferences(past: Past, previous: Past | None) -> Iterator[Told]:
    """What the person wants, from what they refused or rewrote, and what they took instead."""
    refused, reason = past.rejected
    if refused and reason:
        avoid = [word for word in _said(reason) if word in _added(refused)]
        yield _told(
            past, _preference(past.repository, reason, avoid, None), "a diff was rejected with these words"
        )
    for was, now in _edited(past):
        for change in difference(was, now)[:SMALL]:
            gone, come = " / ".join(change.before), " / ".join(change.after)
            claim = f"Rather `{come}` than `{gone}`"
            yield _told(
                past, _preference(past.repository, claim, [], change), "the person edited the diff so"
            )
    if previous is None or not past.accepted or not _again(previous.task, past.task):
        return
    refused, reason = previous.rejected
    if refused and reason:
        instead = difference(refused, past.accepted)
        left_out = _added(refused) - _added(past.accepted)
        avoid = [word for word in _said(reason) if word in left_out]
        rewrite = instead[0] if len(instead) == 1 else None
        yield _told(
            past,
            _preference(past.repository, reason, avoid, rewrite),
            "the next diff without it was accepted",
        )


def _preference(repository: str, claim: str, avoid: Sequence[str], change: Change | None) -> Draft:
    content: dict[str, JsonValue] = {}
    if avoid:
        content["avoid"] = list(avoid)
    if change:
        content |= {"before": list(change.before), "after": list(change.after)}
    words = " ".join(claim.split())[:REASON]
    return Draft(kind="preference", place=repository, claim=words, content=content)


def _vain(past: Past) -> Iterator[Told]:
    """What a run tried without coming to anything, so that the next one does not do the same again."""
    searched = [event for event in past.events if isinstance(event, Searched)]
    signatures = past.signatures()
    if past.stop not in VAIN or not signatures or not searched:
        return
    tried = max(event.executed for event in searched)
    places = list(dict.fromkeys(event.place.partition(":")[0] for event in searched))[:3]
    draft = Draft(
        kind="pitfall",
        place=past.repository,
        claim=f"{kind_of_error(signatures[0])}: {tried} candidates in {', '.join(places)} did not mend it",
        subject=kind_of_error(signatures[0]),
        words=" ".join(signatures[:3]),
        content={"signature": signatures[0], "tree": past.task.tree},
    )
    yield _told(past, draft, f"the run ended as {past.stop.value}")


def _facts(past: Past, previous: Past | None) -> Iterator[Told]:
    """Slow checks, tests that fail only sometimes, and which file a test is about."""
    for result in past.before():
        if result.duration_s >= SLOW_S:
            yield _told(
                past,
                _fact(past.repository, f"The check `{result.check}` is slow: more than {SLOW_S:.0f} s"),
                "",
            )
    if previous is not None and previous.task.tree == past.task.tree:
        for test in sorted(_failing(past) ^ _failing(previous)):
            claim = f"The test `{test}` fails only sometimes"
            yield _told(
                past, _fact(past.repository, claim, subject=test), "the same files gave another result"
            )
    files = {path for path, _ in changes_in(past.accepted) if not is_test_path(path)}
    tests = list(dict.fromkeys(test.partition("::")[0] for test in sorted(_failing(past)) if "::" in test))
    if len(files) == 1 and len(tests) == 1:
        (path,) = files
        yield _told(
            past,
            _fact(past.repository, f"`{tests[0]}` tests `{path}`", subject=tests[0]),
            "its failure was mended there",
        )


def _fact(repository: str, claim: str, subject: str = "") -> Draft:
    return Draft(kind="fact", place=repository, claim=claim, subject=subject)


def _failing(past: Past) -> set[str]:
    return {failure.test for result in past.before() for failure in result.failures}


def witness(past: Past) -> Iterator[tuple[str, Evidence]]:
    """What the run says about the lessons that it was given: id of the lesson, and the evidence."""
    recalled = [lesson for event in past.events if isinstance(event, Recalled) for lesson in event.lessons]
    helped = {event.lesson for event in past.events if isinstance(event, Searched) and event.passed}
    ran = {result.check: result for result in past.before()}
    for lesson in recalled:
        if lesson.kind == "check":
            used = next((c for c in past.task.checks if f"`{c.command}`" in lesson.claim), None)
            result = ran.get(used.name) if used else None
            if result is not None:
                counted = result.tests_passed + result.tests_failed > 0
                why = "it ran tests" if counted else "it ran no tests"
                yield lesson.lesson_id, _evidence(past, counted, why)
        elif lesson.kind == "fix" and lesson.lesson_id in helped:
            refused, _ = past.rejected
            why = "the change it led to was rejected" if refused else "the change it led to passed the checks"
            yield lesson.lesson_id, _evidence(past, not refused, why)


def _evidence(past: Past, speaks_for: bool, why: str) -> Evidence:
    return Evidence(run_id=past.run_id, stance="for" if speaks_for else "against", why=why)


def _told(past: Past, draft: Draft, why: str) -> Told:
    return Told(draft, Evidence(run_id=past.run_id, stance="for", why=why))


def _edited(past: Past) -> Iterator[tuple[str, str]]:
    """Diffs before and after each edit by the person, where the last one was accepted."""
    if not past.accepted:
        return
    shas, edited = list[str](), False
    for event in past.events:
        if isinstance(event, Verdict):
            shas.append(event.diff_sha256)
            if edited and len(shas) > 1 and shas[-1] != shas[-2]:
                yield past.patches.get(shas[-2], ""), past.patches.get(shas[-1], "")
            edited = False
        elif isinstance(event, UserActed) and event.action == "edit-diff":
            edited = True


def _added(diff: str) -> set[str]:
    """Words of the lines that a diff adds."""
    return {word for line in added(diff) for name in _WORD.findall(line) for word in (name, *name.split("."))}


def _said(reason: str) -> list[str]:
    """Words of a reason that may be code, in their order: those in backticks where there are any."""
    quoted = " ".join(re.findall(r"`([^`]+)`", reason)) or reason
    words = (word for name in _WORD.findall(quoted) for word in (name, *name.split(".")))
    return [word for word in dict.fromkeys(words) if len(word) > 2 and word not in KEYWORDS]


def _again(first: Task, second: Task) -> bool:
    """True when the second task says most of what the first one said."""
    before, after = ({*_WORD.findall(task.prompt.lower())} for task in (first, second))
    return bool(before) and len(before & after) >= 0.6 * len(before)
