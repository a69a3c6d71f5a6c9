"""The documents of ATIF 1.7 (Agent Trajectory Interchange Format, Harbor), as far as a run of ADI has them.

Readers refuse keys that the format does not know, and so do these models: what is ADI's own is in `extra`.
"""

from datetime import datetime
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

Extra = dict[str, Any] | None
_OF_AGENTS = ("model_name", "reasoning_effort", "reasoning_content", "tool_calls", "metrics")
_OF_MODELS = ("metrics", "reasoning_content")


class _Part(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


class Agent(_Part):
    """Who acted."""

    name: str
    version: str
    model_name: str | None = None
    tool_definitions: list[dict[str, Any]] | None = None
    """In the form of OpenAI's `tools`."""
    extra: Extra = None


class ToolCall(_Part):
    """One call, its arguments an object."""

    tool_call_id: str
    function_name: str
    arguments: dict[str, Any]
    extra: Extra = None


class Result(_Part):
    """What one call gave back."""

    source_call_id: str | None = None
    """Names a call of the same step."""
    content: str | None = None
    extra: Extra = None


class Observation(_Part):
    """What the step gave back."""

    results: list[Result]


class Metrics(_Part):
    """Cost of one step, in tokens."""

    prompt_tokens: int | None = None
    """Cached ones included."""
    completion_tokens: int | None = None
    cached_tokens: int | None = None
    cost_usd: float | None = None
    completion_token_ids: list[int] | None = None
    extra: Extra = None


class FinalMetrics(_Part):
    """Cost of the run. The format has no field for a reward: it stands in `extra`."""

    total_prompt_tokens: int | None = None
    total_completion_tokens: int | None = None
    total_cached_tokens: int | None = None
    total_cost_usd: float | None = None
    total_steps: int | None = Field(default=None, ge=0)
    extra: Extra = None


class Step(_Part):
    """One turn; the result of a call stands in the step that called."""

    step_id: int = Field(ge=1)
    timestamp: str | None = None
    """ISO 8601."""
    source: Literal["system", "user", "agent"]
    message: str
    model_name: str | None = None
    reasoning_effort: str | float | None = None
    reasoning_content: str | None = None
    tool_calls: list[ToolCall] | None = None
    observation: Observation | None = None
    metrics: Metrics | None = None
    is_copied_context: bool | None = None
    llm_call_count: int | None = Field(default=None, ge=0)
    """0 for what an agent did by rule."""
    extra: Extra = None

    @field_validator("timestamp")
    @classmethod
    def _is_time(cls, value: str | None) -> str | None:
        if value is not None:
            datetime.fromisoformat(value)
        return value

    @model_validator(mode="after")
    def _fits_its_source(self) -> "Step":
        foreign = _OF_AGENTS if self.source != "agent" else _OF_MODELS if self.llm_call_count == 0 else ()
        if wrong := [name for name in foreign if getattr(self, name) is not None]:
            raise ValueError(f"step {self.step_id} cannot have {wrong[0]}")
        calls = {call.tool_call_id for call in self.tool_calls or ()}
        for result in self.observation.results if self.observation else ():
            if result.source_call_id is not None and result.source_call_id not in calls:
                raise ValueError(f"step {self.step_id} has no call {result.source_call_id!r}")
        return self


class Document(_Part):
    """One run."""

    schema_version: Literal["ATIF-v1.7"] = "ATIF-v1.7"
    session_id: str | None = None
    trajectory_id: str | None = None
    agent: Agent
    steps: list[Step] = Field(min_length=1)
    notes: str | None = None
    final_metrics: FinalMetrics | None = None
    extra: Extra = None

    @model_validator(mode="after")
    def _numbers_its_steps(self) -> "Document":
        if [step.step_id for step in self.steps] != [*range(1, len(self.steps) + 1)]:
            raise ValueError("steps are not numbered 1, 2, 3 ...")
        return self
