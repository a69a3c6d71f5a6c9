"""The dialect of ADI's own server (model/front.py), whichever engine is behind it.

The server makes token ids of texts itself, so that no text of a message or a file is a control token; nothing
is made inert here, gaps travel as texts, and counts are exact.
"""

from collections.abc import Sequence

from memory.records import Completion, Message, Usage
from model.client import MIN_P, TOP_K
from model.errors import Unsupported
from model.http import Json, check_answered
from model.openai import Answer, UrlModel
from model.protocol import Capabilities, Sampling

STOPS = 16
"""Stop texts that the server takes."""


class OwnModel(UrlModel):
    """A model behind ADI's server. Implements model.protocol.Model."""

    _stops = STOPS

    @property
    def capabilities(self) -> Capabilities:
        return Capabilities(
            n_ctx=self._probe.n_ctx,
            grammar=True,
            infill=self._probe.infill,
            tokenize=True,
            token_ids=True,
            cached_tokens=True,
            model=self._probe.model,
        )

    def infill(self, prefix: str, suffix: str, sampling: Sampling, *, context: str = "") -> list[Completion]:
        """See Model.infill."""
        if not self._probe.infill:
            raise Unsupported("fill-in-the-middle", "the model has no tokens for it")
        gap: Json = {"prompt": prefix, "suffix": suffix} | ({"context": context} if context else {})
        text = prefix + suffix + context
        return self._sample("/v1/completions", gap, self._count(gap), text, sampling, None)

    def _turns(self, messages: Sequence[Message]) -> list[Json]:
        return [{"role": message.role, "content": message.content} for message in messages]

    def _fields(self, sampling: Sampling, stops: tuple[str, ...]) -> Json:
        own = {"top_k": TOP_K, "min_p": MIN_P, "return_token_ids": True}
        return super()._fields(sampling, stops) | own

    def _form(self, grammar: str) -> Json:
        return {"grammar": grammar}

    def _completion(self, answer: Answer, body: Json, index: int) -> Completion:
        """The times of a request, whose answers run side by side, stand with its first answer."""
        done = super()._completion(answer, body, index)
        if self._probe.adapted:
            check_answered(done.model, self._probe.model)
        told, usage = answer.timings, done.usage
        if not told:
            return done
        rate = float(told.get("tok_s") or 0)
        written = max(0, usage.completion_tokens - 1)
        return done.model_copy(
            update={
                "usage": Usage(
                    prompt_tokens=usage.prompt_tokens,
                    cached_tokens=usage.cached_tokens,
                    completion_tokens=usage.completion_tokens,
                    prompt_ms=max(0.0, float(told.get("ttft_ms") or 0) - float(told.get("queue_ms") or 0)),
                    decode_ms=1000 * written / rate if rate else 0.0,
                )
            }
        )
