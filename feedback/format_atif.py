"""ATIF 1.7, one document a run: masks are in `extra` of the steps, the reward in that of `final_metrics`."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING, Any, Final, Literal

from feedback import columns
from feedback.candidate import Candidate, Grade
from feedback.errors import DataError
from feedback.format_atif_models import (
    Agent,
    Document,
    FinalMetrics,
    Metrics,
    Observation,
    Result,
    Step,
    ToolCall,
)
from feedback.format_base import EVERY, Context, Row
from feedback.format_text import line, plain
from feedback.transcript import Transcript, Turn, transcript
from memory import records
from memory.records import Action, Completion, Plan, Stop, Usage

if TYPE_CHECKING:
    from feedback.folder import Folder

_FINAL: Final = (
    "reward", "label", "label_why", "hack_flags", "resolved", "tests_passed", "tests_failed", "human_action",
    "outcome",
)  # fmt: skip
_ROOT: Final = (
    "instance_id", "repo", "license", "license_source", "license_permissive", "model_output_license",
    "base_commit", "created_at", "consent", "final_patch", "dataset",
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Atif:
    """One JSON document a run, in a folder for each split.

    It is no configuration for `datasets`: documents have different keys, and are no rows of one table.
    """

    name: str = "atif"
    kind: Literal["json-per-run"] = "json-per-run"
    grades: frozenset[Grade] = EVERY

    def missing(self, _context: Context) -> str:
        return ""

    def rows(self, candidate: Candidate, context: Context) -> list[Row]:
        """The document, and the split that it is going to be in."""
        if candidate.label.grade not in self.grades:
            return []
        made = document(candidate, context)
        row = {**made.model_dump(exclude_none=True), "split": ""}
        return [plain(row, lambda n: context.replaced.update({self.name: n}))]

    def schema(self) -> None:
        return None

    def read(self, rows: Sequence[Row]) -> list[Transcript]:
        """The conversations. Raises DataError for what is no ATIF 1.7 of ADI."""
        return [read_document(row) for row in rows]

    def write(self, folder: "Folder", rows: Sequence[Row], split: str) -> None:
        for row in rows:
            bare = {name: value for name, value in row.items() if name != "split"}
            path = f"{self.name}/{split}/{row['trajectory_id']}.json"
            folder.text(path, line(bare) + "\n", 1, split=split)

    def pattern(self, split: str) -> str:
        return f"{self.name}/{split}/*.json"


ATIF: Final = Atif()


def document(candidate: Candidate, context: Context) -> Document:
    """The run as a document."""
    told, shared = transcript(candidate), columns.common(candidate, context)
    steps = [_step(number, turn, result) for number, (turn, result) in enumerate(_paired(told.turns), 1)]
    usage = [turn.completion.usage for turn in told.turns if turn.completion is not None]
    return Document(
        session_id=told.session_id or None,
        trajectory_id=told.run_id,
        agent=Agent(
            name="adi",
            version=told.adi_version,
            model_name=told.model or None,
            tool_definitions=[plain(tool) for tool in context.tools] or None,
        ),
        steps=steps,
        final_metrics=FinalMetrics(
            total_prompt_tokens=sum(one.prompt_tokens for one in usage),
            total_completion_tokens=sum(one.completion_tokens for one in usage),
            total_cached_tokens=sum(one.cached_tokens for one in usage),
            total_steps=len(steps),
            extra={name: shared[name] for name in _FINAL} | {"components": plain(candidate.label.components)},
        ),
        extra={name: shared[name] for name in _ROOT}
        | {"stop": told.stop, "plan": told.plan.model_dump() if told.plan else None},
    )


def _paired(turns: Sequence[Turn]) -> Iterator[tuple[Turn, Turn | None]]:
    """Each turn but a tool's, with the tool's that follows it."""
    for turn, following in pairwise([*turns, None]):
        if turn is not None and turn.role != "tool":
            yield turn, following if following is not None and following.role == "tool" else None


def _step(number: int, turn: Turn, result: Turn | None) -> Step:
    by_rule = turn.role == "assistant" and turn.completion is None
    answered = turn.completion
    call = turn.action
    return Step(
        step_id=number,
        timestamp=turn.at,
        source="agent" if turn.role == "assistant" else "system" if turn.role == "system" else "user",
        message=turn.begun + turn.content,
        model_name=answered.model or None if answered else None,
        tool_calls=[ToolCall(tool_call_id=call.id, function_name=call.tool, arguments=plain(call.arguments))]
        if call
        else None,
        observation=Observation(results=[_result(result)]) if result else None,
        metrics=_metrics(answered) if answered else None,
        is_copied_context=turn.copied or None,
        llm_call_count=0 if by_rule else 1 if answered else None,
        extra=_mask(turn) | ({"begun": len(turn.begun)} if turn.begun else {}) | _sampled(answered),
    )


def _mask(turn: Turn) -> dict[str, Any]:
    told = {"thread": turn.thread, "purpose": turn.purpose, "event": turn.seq, "trainable": turn.trainable}
    return told | ({"why_not": turn.why} if turn.why else {})


def _sampled(answered: Completion | None) -> dict[str, Any]:
    names = {"finish_reason", "weights", "temperature", "seed"}
    return answered.model_dump(include=names) if answered else {}


def _metrics(answered: Completion) -> Metrics:
    usage = answered.usage
    return Metrics(
        prompt_tokens=usage.prompt_tokens,
        completion_tokens=usage.completion_tokens,
        cached_tokens=usage.cached_tokens,
        completion_token_ids=[*answered.token_ids] or None,
        extra={"prompt_ms": usage.prompt_ms, "decode_ms": usage.decode_ms},
    )


def _result(turn: Turn) -> Result:
    seen = turn.observation
    told = seen.model_dump(mode="json", exclude={"action_id", "output"}) if seen else {}
    return Result(
        source_call_id=turn.action.id if turn.action else None,
        content=turn.content,
        extra=told | _mask(turn) | {"timestamp": turn.at},
    )


def read_document(row: Row) -> Transcript:
    """The conversation that a document of ours holds. Raises DataError."""
    try:
        told = Document.model_validate({name: value for name, value in row.items() if name != "split"})
        extra = told.extra or {}
        turns = [turn for step in told.steps for turn in _turns(step)]
        return Transcript(
            run_id=told.trajectory_id or "",
            session_id=told.session_id or "",
            adi_version=told.agent.version,
            model=told.agent.model_name or "",
            plan=Plan.model_validate(extra["plan"]) if extra.get("plan") else None,
            turns=tuple(turns),
            stop=Stop(extra["stop"]) if extra.get("stop") else None,
        )
    except (ValueError, KeyError) as error:
        raise DataError(f"no ATIF 1.7 as ADI writes it: {error}", "adi data export --format atif") from error


def _turns(step: Step) -> Iterator[Turn]:
    extra = step.extra or {}
    begun = int(extra.get("begun", 0))
    text = step.message[begun:]
    call = step.tool_calls[0] if step.tool_calls else None
    action = Action(id=call.tool_call_id, tool=call.function_name, arguments=call.arguments) if call else None
    turn = Turn(
        role="assistant" if step.source == "agent" else step.source,
        content=text,
        begun=step.message[:begun],
        at=step.timestamp or "",
        action=action,
        completion=_completion(step, text, extra) if step.metrics else None,
        copied=bool(step.is_copied_context),
        **_unmasked(extra),
    )
    yield turn
    for result in step.observation.results if step.observation else ():
        told = result.extra or {}
        seen = records.Observation(
            action_id=result.source_call_id or "",
            output=result.content or "",
            **{name: told[name] for name in ("status", "truncated", "summary", "duration_s")},
        )
        content = result.content or ""
        at = str(told["timestamp"])
        yield Turn(role="tool", content=content, at=at, action=action, observation=seen, **_unmasked(told))


def _unmasked(extra: dict[str, Any]) -> dict[str, Any]:
    return {
        "thread": extra["thread"],
        "purpose": extra["purpose"],
        "seq": extra["event"],
        "trainable": extra["trainable"],
        "why": extra.get("why_not", ""),
    }


def _completion(step: Step, text: str, extra: dict[str, Any]) -> Completion:
    cost = step.metrics or Metrics()
    times = cost.extra or {}
    return Completion(
        text=text,
        token_ids=tuple(cost.completion_token_ids or ()),
        finish_reason=extra["finish_reason"],
        usage=Usage(
            prompt_tokens=cost.prompt_tokens or 0,
            cached_tokens=cost.cached_tokens or 0,
            completion_tokens=cost.completion_tokens or 0,
            prompt_ms=times["prompt_ms"],
            decode_ms=times["decode_ms"],
        ),
        model=step.model_name or "",
        weights=extra["weights"],
        temperature=extra["temperature"],
        seed=extra["seed"],
    )
