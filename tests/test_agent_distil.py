"""What a run's events teach, and what they say about the lessons that it was given."""

from collections.abc import Sequence

from agent.distil import Past, Told, distil, witness
from memory.records import (
    Applied,
    Check,
    CheckAdded,
    CheckRan,
    CheckResult,
    Evaluation,
    Failure,
    Payload,
    Recall,
    Recalled,
    RunEnded,
    RunStarted,
    Searched,
    Status,
    Stop,
    Task,
    UserActed,
    Verdict,
)

REPO = "/src/ledger"
PYTEST = Check(name="pytest", command="APP=1 pytest -q", kind="pytest", origin="given")
GONE, COME = "return round(x, 2)", "return money.quantize(x)"


def diff(gone: str, come: str, path: str = "ledger/tax.py") -> str:
    return f"--- a/{path}\n+++ b/{path}\n@@ -1,2 +1,2 @@\n def f(x):\n-    {gone}\n+    {come}\n"


def started(*checks: Check, prompt: str = "mend the tax of an invoice", tree: str = "t1") -> RunStarted:
    return RunStarted(task=Task(id="t", prompt=prompt, repo=REPO, tree=tree, checks=checks), adi_version="1")


def gathered(
    failed: int = 1, passed: int = 3, seconds: float = 1.0, test: str = "tests/test_tax.py::test_a"
) -> CheckRan:
    failure = Failure(test=test, error="AssertionError", message="assert 1.1 == 1.2")
    result = CheckResult(
        check="pytest",
        status=Status.NONZERO if failed else Status.OK,
        passed=not failed,
        tests_passed=passed,
        tests_failed=failed,
        failures=(failure,) * failed,
        duration_s=seconds,
    )
    return CheckRan(purpose="gather", result=result)


def judged(sha: str, accepted: bool = True) -> Verdict:
    return Verdict(evaluation=Evaluation(accepted=accepted), diff_sha256=sha)


def applied(sha: str) -> Applied:
    return Applied(paths=("ledger/tax.py",), diff_sha256=sha)


def past(*events: Payload, stop: Stop = Stop.ACCEPTED, run_id: str = "r1", **patches: str) -> Past:
    return Past(run_id, [*events, RunEnded(stop=stop, exit_code=0)], patches)


def claims(told: Sequence[Told], kind: str) -> list[str]:
    return [item.draft.claim for item in told if item.draft.kind == kind]


def test_a_command_that_the_person_gave_and_that_ran_tests_is_remembered() -> None:
    (told,) = distil(past(started(PYTEST), gathered(failed=0), stop=Stop.NOTHING_TO_DO))
    assert (told.draft.kind, told.draft.place, told.draft.claim) == (
        "check", REPO, "Tests are run with `APP=1 pytest -q`",
    )  # fmt: skip
    assert told.evidence.why == "the person gave it, and it ran tests"
    assert not list(distil(past(started(PYTEST), gathered(failed=0, passed=0))))
    detected = PYTEST.model_copy(update={"origin": "found"})
    assert not list(distil(past(started(detected), gathered(failed=0))))


def test_a_command_that_was_looked_for_is_remembered() -> None:
    detected = Check(name="pytest", command="pytest", kind="pytest")
    looked = CheckAdded(check=detected.model_copy(update={"command": "make test"}), replaces="pytest")
    told = list(distil(past(started(detected), gathered(), looked)))
    assert claims(told, "check") == ["Tests are run with `make test`"]


def test_what_mended_an_error_is_kept_as_a_template() -> None:
    told = list(distil(past(started(), gathered(), judged("a"), applied("a"), a=diff(GONE, COME))))
    (fix,) = [item.draft for item in told if item.draft.kind == "fix"]
    assert fix.claim == f"AssertionError: <comparison>: `{GONE}` became `{COME}`"
    assert fix.subject == "AssertionError: <comparison>"
    assert (fix.content["before"], fix.content["after"]) == ([GONE], [COME])
    assert claims(told, "fact") == ["`tests/test_tax.py` tests `ledger/tax.py`"]


def test_nothing_is_kept_of_a_change_that_was_not_accepted_or_is_large() -> None:
    large = "".join(diff(f"a{n}", f"b{n}", f"x{n}.py") for n in range(5))
    untested = past(started(), gathered(), judged("a", accepted=False), applied("a"), a=diff(GONE, COME))
    undone = Applied(paths=(), diff_sha256="a", undone=True)
    for run in (
        past(started(), gathered(), judged("a"), stop=Stop.REJECTED, a=diff(GONE, COME)),
        past(started(), gathered(), judged("a"), applied("a"), undone, a=diff(GONE, COME)),
        past(started(), gathered(), judged("a"), applied("a"), a=large),
        past(started(), gathered(), judged("a"), applied("a"), a=diff(GONE, COME, "tests/test_tax.py")),
        untested,
    ):
        assert claims(list(distil(run)), "fix") == []


def test_a_rejection_with_a_reason_is_a_preference_and_its_words_are_avoided() -> None:
    no = UserActed(action="reject", detail="use money.quantize, never round")
    run = past(started(), gathered(), judged("a"), no, stop=Stop.REJECTED, a=diff("return x", GONE))
    (told,) = [item for item in distil(run) if item.draft.kind == "preference"]
    assert told.draft.claim == "use money.quantize, never round"
    assert told.draft.content == {"avoid": ["round"]}
    silent = past(started(), gathered(), judged("a"), no.model_copy(update={"detail": ""}), a=diff("x", GONE))
    assert claims(list(distil(silent)), "preference") == []


def test_what_came_instead_of_a_rejected_diff_is_learned_from_the_next_run() -> None:
    no = UserActed(action="reject", detail="never `round`")
    refused = past(started(), gathered(), judged("a"), no, stop=Stop.REJECTED, a=diff("return x", GONE))
    again = started(prompt="mend the tax of an invoice, never round")
    taken = past(again, gathered(), judged("b"), applied("b"), run_id="r2", b=diff("return x", COME))
    (told,) = [item for item in distil(taken, refused) if item.draft.kind == "preference"]
    assert told.draft.claim == "never `round`"
    assert told.draft.content == {"avoid": ["round"], "before": [GONE], "after": [COME]}
    assert told.evidence.run_id == "r2"
    other = past(
        started(prompt="something else entirely"), judged("b"), applied("b"), b=diff("return x", COME)
    )
    assert claims(list(distil(other, refused)), "preference") == []


def test_an_edit_before_acceptance_says_what_is_wanted() -> None:
    edit = UserActed(action="edit-diff")
    run = past(
        started(), gathered(), judged("a"), edit, judged("b"), applied("b"),
        a=diff("return x", GONE), b=diff("return x", COME),
    )  # fmt: skip
    assert claims(list(distil(run)), "preference") == [f"Rather `{COME}` than `{GONE}`"]


def test_what_was_tried_in_vain_is_remembered_with_how_much() -> None:
    tried = [
        Searched(strategy="mutate", place="ledger/tax.py:3", candidates=9, executed=8, passed=0),
        Searched(strategy="mutate", place="ledger/tax.py:4", candidates=14, executed=12, passed=0),
        Searched(strategy="fill in line", place="ledger/tax.py:3", candidates=16, executed=14, passed=0),
    ]
    told = list(distil(past(started(), gathered(), *tried, stop=Stop.BUDGET)))
    assert claims(told, "pitfall") == [
        "AssertionError: <comparison>: 14 candidates in ledger/tax.py did not mend it"
    ]
    assert claims(list(distil(past(started(), gathered(), *tried))), "pitfall") == []


def test_slow_and_flaky_checks_are_facts() -> None:
    slow = list(distil(past(started(), gathered(seconds=45))))
    assert claims(slow, "fact") == ["The check `pytest` is slow: more than 30 s"]
    before = past(started(), gathered(test="tests/t.py::test_b"), run_id="r0")
    told = list(distil(past(started(), gathered(failed=0)), before))
    assert claims(told, "fact") == ["The test `tests/t.py::test_b` fails only sometimes"]
    changed = past(started(tree="t2"), gathered(failed=0))
    assert claims(list(distil(changed, before)), "fact") == []


def given(kind: str, claim: str) -> Recalled:
    recall = Recall.model_validate({"lesson_id": "l-1", "kind": kind, "claim": claim, "why": "same error"})
    return Recalled(lessons=(recall,))


def test_a_run_speaks_for_and_against_what_it_was_given() -> None:
    check = given("check", "Tests are run with `APP=1 pytest -q`")
    ((name, evidence),) = witness(past(started(PYTEST), gathered(), check))
    assert (name, evidence.stance) == ("l-1", "for")
    ((_, evidence),) = witness(past(started(PYTEST), gathered(failed=0, passed=0), check))
    assert (evidence.stance, evidence.why) == ("against", "it ran no tests")
    fix = given("fix", "x became y")
    won = Searched(strategy="remembered", place="a:1", candidates=1, executed=1, passed=1, lesson="l-1")
    ((_, evidence),) = witness(past(started(), fix, won, judged("a"), applied("a")))
    assert evidence.stance == "for"
    no = UserActed(action="reject", detail="no")
    ((_, evidence),) = witness(past(started(), fix, won, judged("a"), no, stop=Stop.REJECTED, a="d"))
    assert evidence.stance == "against"
    assert list(witness(past(started(), fix))) == []
