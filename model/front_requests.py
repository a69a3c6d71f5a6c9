"""What a client may ask, in OpenAI's dialect and vLLM's and llama.cpp's additions to it."""

import json
import secrets
from collections.abc import Sequence
from typing import Annotated, Any, Final, Literal

from pydantic import AfterValidator, BeforeValidator, Field, model_validator

from memory.records import Message
from model.backend import Draw, Grammar
from model.front_json import NEUTRAL, Fields
from model.front_refusal import Refusal, unknown_model

MOST_ANSWERS: Final = 128
MOST_STOPS: Final = 16
MOST_ALTERNATIVES: Final = 20
LARGEST_SEED: Final = 2**63 - 1 - MOST_ANSWERS


def _no_bool(value: object) -> object:
    if isinstance(value, bool):
        raise ValueError("a number is needed, not a truth value")
    return value


def _stops(value: object) -> object:
    return [value] if isinstance(value, str) else value


def _text_of(value: object) -> object:
    """The text of a message: a string, or parts of type text, each on a line of its own.

    So do vLLM and llama.cpp join them.
    """
    if not isinstance(value, list):
        return value
    texts = []
    for part in value:
        if not isinstance(part, dict) or part.get("type") != "text" or set(part) != {"type", "text"}:
            raise ValueError('only text is served: a string, or parts {"type": "text", "text": ...}')
        if not isinstance(part["text"], str):
            raise ValueError("the text of a part must be a string")
        texts.append(part["text"])
    return "\n".join(texts)


def _prompt(value: object) -> object:
    if isinstance(value, list) and any(isinstance(part, (str, list)) for part in value):
        raise ValueError("several prompts in one request are not served: send one string or one list of ids")
    if isinstance(value, list) and any(type(part) is not int or part < 0 for part in value):
        raise ValueError("token ids are whole numbers from 0")
    if not isinstance(value, (str, list)):
        raise ValueError("a string or a list of token ids is needed")
    return value


def _no_nul(path: str) -> str:
    if "\0" in path:
        raise ValueError("a path holds no NUL")
    return path


Number = Annotated[float, BeforeValidator(_no_bool), Field(allow_inf_nan=False)]
Stops = Annotated[
    list[Annotated[str, Field(min_length=1, max_length=1000)]],
    BeforeValidator(_stops),
    Field(max_length=MOST_STOPS),
]


Empty = Annotated[list[Any], Field(max_length=0)]


class Turn(Fields):
    """A message. Answers of earlier turns may come back as the client got them."""

    role: Literal["system", "developer", "user", "assistant"]
    content: Annotated[str, BeforeValidator(_text_of)]
    refusal: None = None
    annotations: Empty | None = None
    audio: None = None
    function_call: None = None
    tool_calls: Empty | None = None
    name: None = None

    @property
    def message(self) -> Message:
        role: Literal["system", "user", "assistant"] = "system" if self.role == "developer" else self.role
        return Message(role=role, content=self.content)


class StreamOptions(Fields):
    """Of a streamed answer."""

    include_usage: bool = False
    include_obfuscation: Literal[False] = False


class JsonSchema(Fields):
    """A schema that the answer follows; it is followed strictly whatever `strict` says."""

    name: str = ""
    description: str | None = None
    schema_: dict[str, Any] | bool = Field(True, alias="schema")
    strict: bool | None = None


class ResponseFormat(Fields):
    """OpenAI's way to name a form."""

    type: Literal["text", "json_object", "json_schema"]
    json_schema: JsonSchema | None = None

    @model_validator(mode="after")
    def _whole(self) -> "ResponseFormat":
        if (self.type == "json_schema") != (self.json_schema is not None):
            raise Refusal(
                400,
                "json_schema belongs to the type json_schema, and is needed there.",
                param="response_format",
            )
        return self

    @property
    def grammar(self) -> Grammar | None:
        if self.json_schema is not None:
            return Grammar("json_schema", schema_text(self.json_schema.schema_))
        return Grammar("json_object") if self.type == "json_object" else None


class StructuredOutputs(Fields):
    """vLLM's way; one of them."""

    json_: dict[str, Any] | bool | str | None = Field(None, alias="json")
    json_object: Literal[True] | None = None
    regex: str | None = Field(None, min_length=1)
    grammar: str | None = Field(None, min_length=1)
    """GBNF."""

    @property
    def grammars(self) -> list[Grammar]:
        found = [Grammar("json_schema", schema_text(self.json_))] if self.json_ is not None else []
        found += [Grammar("json_object")] if self.json_object else []
        found += [Grammar("regex", self.regex)] if self.regex is not None else []
        return found + ([Grammar("gbnf", self.grammar)] if self.grammar is not None else [])


class Asked(Fields):
    """What chats and completions have in common."""

    neutral = NEUTRAL

    model: str = ""
    """The served model, or MODEL:ADAPTER; empty means the served one."""
    adapter: str = ""
    max_tokens: int | None = Field(None, ge=1)
    """None is what the prompt leaves of the window."""
    max_completion_tokens: int | None = Field(None, ge=1)
    """A newer name for the same."""
    temperature: Number = Field(1.0, ge=0, le=2)
    top_p: Number = Field(1.0, gt=0, le=1)
    top_k: int = Field(0, ge=-1)
    min_p: Number = Field(0.0, ge=0, le=1)
    seed: int | None = Field(None, ge=0, le=LARGEST_SEED)
    stop: Stops = Field([], validate_default=False)
    stop_token_ids: list[Annotated[int, Field(ge=0)]] = Field([], max_length=MOST_STOPS)
    n: int = Field(1, ge=1, le=MOST_ANSWERS)
    stream: bool = False
    stream_options: StreamOptions | None = None
    response_format: ResponseFormat | None = None
    structured_outputs: StructuredOutputs | None = None
    grammar: str | None = Field(None, min_length=1)
    """GBNF, as llama.cpp's server has it."""
    return_token_ids: bool = False
    user: str = Field("", max_length=256)
    """Whose turn it is; each connection is a client of its own where it is empty."""

    @property
    def alternatives(self) -> int | None:
        """For Draw.logprobs."""
        raise NotImplementedError

    @property
    def limit(self) -> int | None:
        return self.max_completion_tokens or self.max_tokens

    @property
    def form(self) -> tuple[Grammar | None, str | None]:
        """The one grammar of the request, and the field it stands in. Raises Refusal for more than one."""
        found = [(Grammar("gbnf", self.grammar), "grammar")] if self.grammar is not None else []
        if self.structured_outputs:
            found += [(grammar, "structured_outputs") for grammar in self.structured_outputs.grammars]
        if self.response_format and self.response_format.grammar:
            found.append((self.response_format.grammar, "response_format"))
        if len(found) > 1:
            raise Refusal(400, "Only one form can be asked for.", param=found[1][1])
        return found[0] if found else (None, None)

    def draw(self, room: int) -> Draw:
        """`room` is what is left of the window, in tokens."""
        seed = self.seed
        if seed is None:
            seed = secrets.randbits(31) if self.temperature else 0
        return Draw(
            max_tokens=self.limit or room,
            temperature=self.temperature,
            top_p=self.top_p,
            top_k=max(0, self.top_k),
            min_p=self.min_p,
            seed=seed,
            logprobs=self.alternatives,
        )

    @model_validator(mode="after")
    def _together(self) -> "Asked":
        if self.stream_options is not None and not self.stream:
            raise Refusal(400, "stream_options belong to stream: true.", param="stream_options")
        if self.max_tokens and self.max_completion_tokens not in (None, self.max_tokens):
            raise Refusal(
                400, "max_tokens and max_completion_tokens differ; give one of them.", param="max_tokens"
            )
        return self


class ChatAsked(Asked):
    """`POST /v1/chat/completions`."""

    messages: list[Turn] = Field(min_length=1)
    logprobs: bool = False
    top_logprobs: int | None = Field(None, ge=0, le=MOST_ALTERNATIVES)

    @property
    def alternatives(self) -> int | None:
        return (self.top_logprobs or 0) if self.logprobs else None

    @model_validator(mode="after")
    def _agreeing(self) -> "ChatAsked":
        if self.top_logprobs is not None and not self.logprobs:
            raise Refusal(400, "top_logprobs needs logprobs: true.", param="top_logprobs")
        return self


class TextAsked(Asked):
    """`POST /v1/completions`."""

    prompt: Annotated[str | list[int], BeforeValidator(_prompt)]
    suffix: str | None = None
    """Text after the gap; an empty one is a gap at the end of a file."""
    context: str | None = None
    """Text of the repository before the gap."""
    logprobs: int | None = Field(None, ge=0, le=MOST_ALTERNATIVES)

    @property
    def alternatives(self) -> int | None:
        return self.logprobs

    @model_validator(mode="after")
    def _agreeing(self) -> "TextAsked":
        check_gap(self.prompt, self.suffix, self.context)
        return self


def check_gap(prompt: object, suffix: str | None, context: str | None) -> None:
    """Raises Refusal for fields of a gap that do not go together."""
    if suffix is not None and not isinstance(prompt, str):
        raise Refusal(400, "suffix needs a prompt that is text.", param="suffix")
    if context is not None and suffix is None:
        raise Refusal(400, "context belongs to a gap: give suffix too.", param="context")


def chosen(model: str, adapter: str, served: str, loaded: Sequence[str]) -> str:
    """The adapter that a request asks for, empty for the base. Raises Refusal for what is not served."""
    named = model.removeprefix(f"{served}:") if model.startswith(f"{served}:") else ""
    if model not in ("", served) and not named:
        raise unknown_model(model, served)
    if named and adapter and named != adapter:
        raise Refusal(400, "model and adapter name different adapters.", param="adapter")
    if named or adapter:
        check_loaded(named or adapter, loaded, "model" if named else "adapter")
    return named or adapter


def check_loaded(name: str, loaded: Sequence[str], param: str) -> None:
    """Raises Refusal for an adapter that is not there."""
    if name not in loaded:
        said = f"No adapter is called {name!r:.120}; loaded: {', '.join(loaded) or 'none'}."
        raise Refusal(404, said, param=param, code="model_not_found")


class CountAsked(Fields):
    """`POST /tokenize`: a chat, a text, or a gap."""

    model: str = ""
    messages: list[Turn] | None = Field(None, min_length=1)
    prompt: str | None = None
    suffix: str | None = None
    context: str | None = None
    add_generation_prompt: Literal[True] = True
    add_special_tokens: bool = True
    """False leaves out the beginning-of-text token of a text."""

    @model_validator(mode="after")
    def _one(self) -> "CountAsked":
        if (self.messages is None) == (self.prompt is None):
            raise Refusal(400, "messages or prompt is needed, and only one of them.", param="prompt")
        check_gap(self.prompt, self.suffix, self.context)
        return self


class TextOfAsked(Fields):
    """`POST /detokenize`."""

    model: str = ""
    tokens: list[Annotated[int, Field(ge=0)]]


class AdapterAsked(Fields):
    """`POST /v1/adapters`."""

    name: Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,99}$")]
    path: Annotated[str, Field(min_length=1, max_length=4096), AfterValidator(_no_nul)]


def schema_text(schema: object) -> str:
    """A schema as JSON; one that is JSON already is left as it is. Raises Refusal for infinities."""
    if isinstance(schema, str):
        return schema
    try:
        return json.dumps(schema, ensure_ascii=False, allow_nan=False)
    except ValueError:
        raise Refusal(400, "The schema holds a number that JSON has not.", param="response_format") from None
