"""What a run's events add up to: the summary columns of its row, and its trajectory."""

from collections.abc import Iterable

from memory.records import (
    ActionEnded,
    ActionStarted,
    Applied,
    CheckRan,
    Completed,
    Completion,
    Event,
    Malformed,
    Observation,
    Payload,
    PlanMade,
    RunEnded,
    RunStarted,
    RunSummary,
    Status,
    Step,
    Stop,
    Trajectory,
    Verdict,
)
from memory.signature import signature
from memory.tables import FailureRow, RunRow

FAILURES = 20
"""Failures of one check that are kept for search."""

_NO_COMPLETION = Completion(text="", finish_reason="stop")
"""Stands where a rule, not the model, chose the action."""


def add_to_row(row: RunRow, payload: Payload, at: str) -> None:
    """Bring the summary columns up to date with one more event."""
    match payload:
        case Completed(completion=Completion(usage=usage)):
            row.prompt_tokens += usage.prompt_tokens
            row.cached_tokens += usage.cached_tokens
            row.completion_tokens += usage.completion_tokens
        case Verdict():
            row.diff_sha256 = payload.diff_sha256
            row.diffstat = payload.diffstat
        case Applied():
            row.diff_sha256 = payload.diff_sha256
            row.applied_at = "" if payload.undone else at
        case RunEnded():
            row.ended, row.stop, row.seconds = at, payload.stop.value, payload.seconds


def failure_rows(run_id: str, seq: int, payload: Payload) -> list[FailureRow]:
    """What search needs of the failures that a check showed; those of candidates are left out."""
    if not isinstance(payload, CheckRan) or payload.purpose == "candidate" or payload.result.passed:
        return []
    return [
        FailureRow(
            run_id=run_id, seq=seq, position=number, signature=signature(failure), test=failure.test[:500]
        )
        for number, failure in enumerate(payload.result.failures[:FAILURES])
    ]


def summary(row: RunRow, *, alive: bool) -> RunSummary:
    """The row as `adi log` shows it; `alive` tells whether its process still is."""
    return RunSummary(
        id=row.id,
        repo=row.repo,
        prompt=row.prompt,
        started=row.started,
        ended=row.ended,
        stop=Stop(row.stop) if row.stop else None,
        alive=alive and not row.ended,
        model=row.model,
        diff_sha256=row.diff_sha256,
        diffstat=row.diffstat,
        applied=bool(row.applied_at),
        prompt_tokens=row.prompt_tokens,
        cached_tokens=row.cached_tokens,
        completion_tokens=row.completion_tokens,
        seconds=row.seconds,
    )


def trajectory(events: Iterable[Event]) -> Trajectory:
    """The attempt that the events tell of; an action without an end is left out."""
    found: dict[str, object] = {}
    steps: list[Step] = []
    completion = _NO_COMPLETION
    started: ActionStarted | None = None
    for payload in (event.payload for event in events):
        match payload:
            case RunStarted():
                found["task"] = payload.task
            case PlanMade():
                found["plan"] = payload.plan
            case Completed(purpose="act"):
                completion = payload.completion
            case ActionStarted():
                started = payload
            case ActionEnded() if started is not None:
                steps.append(
                    Step(
                        index=payload.step,
                        completion=completion,
                        action=started.action,
                        observation=payload.observation,
                    )
                )
                completion, started = _NO_COMPLETION, None
            case Malformed():
                refusal = Observation(action_id="", status=Status.REFUSED, output=payload.reason)
                steps.append(Step(index=payload.step, completion=completion, observation=refusal))
                completion = _NO_COMPLETION
            case Verdict():
                found.update(evaluation=payload.evaluation, diff_sha256=payload.diff_sha256)
            case Applied(undone=False):
                found["diff_sha256"] = payload.diff_sha256
            case RunEnded():
                found["stop"] = payload.stop
    return Trajectory.model_validate({**found, "steps": tuple(steps)})
