"""Why the HTTP front does not serve a request, in the form that clients of OpenAI's dialect read."""

import math
from typing import Any

from model.errors import ModelError, Overloaded, PromptTooLong, RequestRefused, Unreachable, Unsupported

Json = dict[str, Any]

INVALID = "invalid_request_error"
WAIT_S = 1.0
"""Seconds after which an overloaded server may be asked again, where the engine names no time."""


class Refusal(Exception):
    """A request that is not served; `status` is the HTTP status, `param` the field that is to blame."""

    def __init__(
        self,
        status: int,
        message: str,
        *,
        param: str | None = None,
        code: str | None = None,
        kind: str = INVALID,
        retry_after: float = 0.0,
        more: Json | None = None,
    ) -> None:
        """`more` are fields of the error beside OpenAI's own four."""
        super().__init__(message)
        self.status = status
        self.error: Json = {"message": message, "type": kind, "param": param, "code": code, **(more or {})}
        self.retry_after = retry_after

    @property
    def body(self) -> Json:
        return {"error": self.error}

    @property
    def headers(self) -> dict[str, str]:
        return {"Retry-After": str(math.ceil(self.retry_after))} if self.retry_after else {}


def refusal(error: ModelError) -> Refusal:
    """What an error of the engine is to a client."""
    if isinstance(error, PromptTooLong):
        return too_long(error)
    if isinstance(error, Overloaded):
        wait = error.retry_after or WAIT_S
        return Refusal(
            429, error.message, code="rate_limit_exceeded", kind="rate_limit_error", retry_after=wait
        )
    if isinstance(error, (RequestRefused, Unsupported)):
        return Refusal(400, error.message)
    if isinstance(error, Unreachable):
        return Refusal(503, error.message, kind="server_error", code="engine_gone", retry_after=WAIT_S)
    return Refusal(500, error.message, kind="server_error", code="engine_failed")


def too_long(error: PromptTooLong) -> Refusal:
    """Both numbers, in words that model/http.py and other clients look for, and as fields."""
    return Refusal(
        400,
        f"This model's maximum context length is {error.n_ctx} tokens, but the prompt has "
        f"{error.prompt_tokens} and the answer may take {error.reserved}; nothing was cut.",
        code="context_length_exceeded",
        more={"n_prompt_tokens": error.prompt_tokens, "n_ctx": error.n_ctx},
    )


def unknown_model(name: str, served: str, param: str = "model") -> Refusal:
    return Refusal(
        404, f"The model {name!r} is not served here; {served} is.", param=param, code="model_not_found"
    )
