"""From the bytes of a body to a checked request.

Every field is served or refused by its name; none is dropped. A field with the value null is a field that
was not given. Fields that this server does not serve pass with the one value that changes nothing.
"""

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, Final, TypeVar

from pydantic import BaseModel, ConfigDict, ValidationError
from pydantic_core import from_json

from model.front_refusal import Json, Refusal

NEUTRAL: Final[dict[str, tuple[Any, ...]]] = {
    "audio": (),
    "best_of": (1,),
    "echo": (False,),
    "frequency_penalty": (0,),
    "function_call": ("none", "auto"),
    "functions": ([],),
    "ignore_eos": (False,),
    "include_stop_str_in_output": (False,),
    "logit_bias": ({},),
    "metadata": ({},),
    "min_tokens": (0,),
    "modalities": (["text"],),
    "parallel_tool_calls": (),
    "prediction": (),
    "presence_penalty": (0,),
    "prompt_cache_key": (),
    "reasoning_effort": ("none",),
    "repetition_penalty": (1,),
    "safety_identifier": (),
    "service_tier": ("auto", "default"),
    "store": (False,),
    "tool_choice": ("none", "auto"),
    "tools": ([],),
    "use_beam_search": (False,),
    "verbosity": (),
    "web_search_options": (),
}
"""Known fields that are not served -> the values beside null that ask for nothing."""


class Fields(BaseModel):
    """A request, or a part of one."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)

    neutral: ClassVar[Mapping[str, Sequence[Any]]] = {}
    """Fields that are known and not served, as in NEUTRAL."""


Kind = TypeVar("Kind", bound=Fields)


def parse(kind: type[Kind], body: bytes) -> Kind:
    """A request from the bytes of its body. Raises Refusal, naming the field."""
    try:
        return kind.model_validate(_without_neutral(kind, read_json(body)))
    except ValidationError as error:
        raise _blame(error) from None


def read_json(body: bytes) -> Json:
    """A JSON object without NaN, half characters or absurd depth. Raises Refusal."""
    try:
        data = from_json(body, allow_inf_nan=False)
    except ValueError as error:
        raise Refusal(400, f"The body is not JSON that can be read: {error}.") from None
    if not isinstance(data, dict):
        raise Refusal(400, "The body must be a JSON object.")
    return data


def _without_neutral(kind: type[Fields], data: Json) -> Json:
    known = {info.alias or name for name, info in kind.model_fields.items()}
    kept = {}
    for name, value in data.items():
        if name in known:
            if value is not None:
                kept[name] = value
        elif name not in kind.neutral:
            raise Refusal(400, f"Unknown field: {name!r:.100}.", param=name[:100], code="unknown_field")
        elif value is not None and not _one_of(value, kind.neutral[name]):
            raise Refusal(
                400, f"This server does not serve {name!r}: leave it out.", param=name, code="unsupported"
            )
    return kept


def _one_of(value: object, neutral: Sequence[object]) -> bool:
    return any(value == other and isinstance(value, bool) == isinstance(other, bool) for other in neutral)


def _blame(error: ValidationError) -> Refusal:
    """The first thing that is wrong, and the field it stands in."""
    first = error.errors(include_url=False, include_context=False, include_input=False)[0]
    where = [str(part) for part in first["loc"]]
    said = first["msg"].removeprefix("Value error, ")
    name = ".".join(where)[:200]
    return Refusal(400, f"{name}: {said}." if name else f"{said}.", param=where[0] if where else None)
