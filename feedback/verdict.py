"""The verdict: the checks run on a clean copy with the change applied and the original tests in place.

Guaranteed: the copy is the snapshot plus the patch, nothing that a command left behind; existing tests
and their configuration have their original text; what the change plants to bend them is left out. Not
guaranteed: that the code under test is honest while it runs, as it shares a process with its tests.
"""

from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import dataclass

from feedback.checks import run_check
from feedback.disputed import disputed
from feedback.evidence import bends_tests, is_test_path, named_by, shadows, started_by
from memory.records import Check, CheckResult, Evaluation, Status
from sandbox.paths import protected
from sandbox.protocol import Sandbox
from sandbox.workcopy import WorkCopy

__all__ = ["Evidence", "examine", "is_test_path", "judge", "no_worse"]


OWN = "; no check but ADI's own shows it, a person must look"


@dataclass(frozen=True, slots=True)
class Evidence:
    """What a change does to the files that prove it; sorted paths."""

    changed: tuple[str, ...] = ()
    """Existing tests and test configuration with another text."""
    deleted: tuple[str, ...] = ()
    planted: tuple[str, ...] = ()
    """New files that change how tests run, or hide another module."""
    added: tuple[str, ...] = ()
    """New test files; they run, and are no reason to ask a person."""


def examine(original: WorkCopy, changed: WorkCopy, commands: Iterable[str] = ()) -> Evidence:
    """Sort the change's paths by what they mean for the proof that the commands give."""
    existing = frozenset(original.paths())
    named = named_by(commands, existing)
    edited: list[str] = []
    deleted: list[str] = []
    planted: list[str] = []
    added: list[str] = []
    for path, (before, after) in changed.changed().items():
        proof = is_test_path(path) or path in named
        if before is None:
            if bends_tests(path, None, after) or shadows(path, existing):
                planted.append(path)
            elif proof:
                added.append(path)
        elif proof or bends_tests(path, before, after):
            (deleted if after is None else edited).append(path)
    return Evidence(tuple(edited), tuple(deleted), tuple(planted), tuple(added))


def judge(
    original: WorkCopy,
    changed: WorkCopy,
    checks: Sequence[Check],
    make_sandbox: Callable[[WorkCopy], Sandbox],
    *,
    timeout_s: float,
    on_result: Callable[[CheckResult], object] | None = None,
    baseline: Sequence[CheckResult] = (),
) -> Evaluation:
    """Run every check, each in a fresh sandbox. Raises SandboxError, PatchError when the change is none.

    Accepted means: all checks pass, one of them at least is not ADI's own, and the change touches no
    existing test, plants nothing and needs nobody's approval. A change that passes but touches one is not
    accepted; its `detail` says that a person must look.

    `baseline` (results of the same checks before the change) relaxes one thing, for repositories with
    unrelated failing tests: where another check went from failing to passing, one that was found in the
    repository and still fails holds when it is no worse than before. Where it is worse only by tests that
    assert what the task calls wrong, the change is not accepted, and a person must look.
    """
    evidence = examine(original, changed, [check.command for check in checks])
    clean = _clean_copy(original, changed, evidence)
    results = tuple(_run(check, clean, make_sandbox, timeout_s, on_result) for check in checks)
    before = {result.check: result for result in baseline}
    proof = any(result.passed and _failed(before.get(result.check)) for result in results)
    against = {result.check: disputed(baseline, result) for result in results} if proof else {}
    holds = [
        result.passed
        or (
            proof
            and check.origin == "found"
            and no_worse(before.get(check.name), result, against[check.name])
        )
        for check, result in zip(checks, results, strict=True)
    ]
    contested = tuple(test for tests in against.values() for test in tests) if all(holds) else ()
    scripts = started_by((check.command for check in checks), original.paths()) & changed.changed().keys()
    guarded = tuple(sorted({*protected(changed.changed(), changed.paths()), *evidence.planted, *scripts}))
    asks = bool(evidence.changed or evidence.deleted or guarded or contested)
    proven = any(check.origin != "written" for check in checks)
    return Evaluation(
        results=results,
        reward=sum(result.passed for result in results) / len(results) if results else 0.0,
        accepted=proven and all(holds) and not asks,
        changed_tests=evidence.changed,
        deleted_tests=evidence.deleted,
        protected=guarded,
        disputed_tests=contested,
        detail=_detail(results, holds, evidence, guarded, contested) + ("" if proven else OWN),
    )


def _clean_copy(original: WorkCopy, changed: WorkCopy, evidence: Evidence) -> WorkCopy:
    """The snapshot with the patch applied, the proof restored and what was planted removed."""
    clean = original.patched(changed.diff())
    for path in (*evidence.changed, *evidence.deleted):
        clean.write(path, original.read(path))
    for path in evidence.planted:
        clean.delete(path)
    return clean


def _run(
    check: Check,
    clean: WorkCopy,
    make_sandbox: Callable[[WorkCopy], Sandbox],
    timeout_s: float,
    on_result: Callable[[CheckResult], object] | None,
) -> CheckResult:
    """One check in a sandbox of its own; a lost sandbox is replaced once."""
    for _ in range(2):
        sandbox = make_sandbox(clean)
        try:
            result = run_check(check, sandbox, timeout_s)
        finally:
            sandbox.close()
        if on_result is not None:
            on_result(result)
        if result.status != Status.SANDBOX_LOST:
            break
    return result


def no_worse(before: CheckResult | None, now: CheckResult, excused: Collection[str] = ()) -> bool:
    """True when it passes, or fails as before: no test that passed fails now or is missing.

    The tests in `excused` may fail.
    """
    if now.passed:
        return True
    if before is None:
        return False
    failed = [failure.test for failure in now.failures]
    let_off = sum(test in excused for test in failed)
    only = 0 < let_off == now.tests_failed  # else a check that passed, or ended otherwise, is worse
    if not only and (before.passed or now.status != before.status):
        return False
    known = {*excused, *(failure.test for failure in before.failures)}
    return (
        known.issuperset(failed)
        and now.tests_failed - let_off <= before.tests_failed
        and now.tests_passed + let_off >= before.tests_passed
    )


def _failed(before: CheckResult | None) -> bool:
    return before is not None and not before.passed


def _detail(
    results: Sequence[CheckResult],
    holds: Sequence[bool],
    evidence: Evidence,
    guarded: Sequence[str],
    contested: Sequence[str],
) -> str:
    """One sentence for a person."""
    if not results:
        return "no check was run, so nothing is proven"
    failing = [result.check for result, held in zip(results, holds, strict=True) if not held]
    tolerated = [
        result.check for result, held in zip(results, holds, strict=True) if held and not result.passed
    ]
    parts = [
        f"{', '.join(failing)} does not pass" if failing else f"{len(results)} of {len(results)} checks pass"
    ]
    if tolerated and not failing:
        no_other = "" if contested else "nothing fails that did not fail before, and "
        parts = [f"{no_other}what the task is about passes"]
    if evidence.changed:
        parts.append(f"changed tests, judged by their original text: {', '.join(evidence.changed)}")
    if evidence.deleted:
        parts.append(f"deleted tests, judged with them: {', '.join(evidence.deleted)}")
    if evidence.planted:
        parts.append(f"left out because they change how tests run: {', '.join(evidence.planted)}")
    others = [path for path in guarded if path not in evidence.planted]
    if others:
        parts.append(f"needs approval: {', '.join(others)}")
    if contested:
        parts.append(f"tests assert what the task calls wrong: {', '.join(contested)}")
    if evidence.added:
        parts.append(f"new tests: {', '.join(evidence.added)}")
    asks = evidence.changed or evidence.deleted or guarded or contested
    return "; ".join([*parts, "a person must look"] if asks else parts)
