"""The loop: gather evidence, Reflect, Evaluate, judge, let a person decide. Percolate keeps all of it."""

from collections.abc import Callable

from agent.accept import Ending, settle
from agent.context import fitting
from agent.discover import discover
from agent.drafts import unwritten_files
from agent.environment import require
from agent.evaluate import evaluate
from agent.localize import suspects, withheld
from agent.mechanisms import Mechanism
from agent.observing import observed
from agent.percolate import remember
from agent.person import Person
from agent.reflect import located_plan, make_plan
from agent.reproduce import reproduce
from agent.run import BudgetSpent, Run
from memory.records import Evaluation, Observed, Plan, PlanMade, Stop, UserActed
from memory.runtime import bounded
from sandbox.workcopy import WorkCopy

Judge = Callable[[WorkCopy], Evaluation]
"""Runs the checks on a second, clean copy with the change applied."""


def run_task(run: Run, person: Person, judge: Judge) -> Ending:
    """One task from its evidence to a decision. Raises ModelError, SandboxError, StoreError."""
    gather(run)
    plan = approved(run, reflect(run), person)
    if plan is None:
        return Ending(Stop.REJECTED, "the plan was cancelled; nothing was run")
    return settle(run, person, judge, carry_out(run, plan))


def gather(run: Run) -> None:
    """See how the checks stand before anything is changed."""
    run.withheld = withheld(run.files, run.task.prompt)
    for sentence in run.withheld:
        run.note("info", sentence)
    run.baseline = tuple(run.check(check, "gather") for check in run.task.checks)
    discover(run)
    require(run)
    remember(run)
    if not run.failing and run.uses(Mechanism.OWN_TESTS) and not unwritten_files(run):
        own = reproduce(run)
        if own is not None:
            run.add_check(*own)
    if run.failing and run.uses(Mechanism.COVERAGE):
        run.evidence = observed(run, run.named(run.goals[0].check))
        if run.evidence is not None:
            run.recorder.emit(Observed(evidence=bounded(run.evidence)))


def reflect(run: Run) -> Plan:
    """The plan: by the evidence, by the model, or by rule when the budget does not allow asking."""
    found = suspects(run.files, run.goals, run.task.prompt, run.evidence)
    about, where = fitting(run.leaves_room, run.question, run.listing, run.goals, found, run.told)
    unwritten = unwritten_files(run)
    located = unwritten or ([suspect.path for suspect in where] if run.failing else [])
    if located and run.uses(Mechanism.LOCATED_PLAN):
        plan = located_plan(run.task.prompt, run.goals or run.baseline, located)
    else:
        plan = make_plan(run, about, [suspect.path for suspect in where] or run.files.paths()[:20])
    run.recorder.emit(PlanMade(plan=plan))
    return plan


def approved(run: Run, plan: Plan, person: Person) -> Plan | None:
    """The plan as the person wants it; None when it was cancelled."""
    answer = person.review_plan(plan, run.task.checks)
    run.spent.paused_s += answer.seconds
    if answer.plan is None:
        run.recorder.emit(UserActed(action="reject", detail="plan", seconds=answer.seconds))
    elif answer.plan != plan:
        run.recorder.emit(UserActed(action="edit-plan", seconds=answer.seconds))
        run.recorder.emit(PlanMade(plan=answer.plan))
    return answer.plan


def carry_out(run: Run, plan: Plan) -> Ending | None:
    """None when every step's check holds, otherwise how the work ended."""
    try:
        stop = evaluate(run, plan)
    except BudgetSpent as spent:
        return Ending(Stop.BUDGET, f"the run's limit of {spent} is reached")
    return None if stop is None else Ending(stop, REASONS[stop])


REASONS = {
    Stop.FAILED: "no change that was tried makes the checks pass",
    Stop.STUCK: "the model repeated itself or wrote nothing that is an action",
}
