"""What the rest of ADI may ask of a model, whatever serves it."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

from memory.records import Completion, Message


@dataclass(frozen=True, slots=True)
class Sampling:
    """How tokens are drawn; temperature 0 is greedy."""

    max_tokens: int = 512
    temperature: float = 0.0
    top_p: float = 0.95
    seed: int = 0
    stop: tuple[str, ...] = ()
    n: int = 1
    """Completions drawn from one prefill."""
    grammar: str = ""
    """GBNF; empty means free text."""
    until: float = math.inf
    """When the answers must be whole, on the clock of time.monotonic(); later is StreamBroken."""


@dataclass(frozen=True, slots=True)
class Capabilities:
    """What a server can do, found by asking it."""

    n_ctx: int
    """Tokens of one request, prompt and answer together; 0 when unknown."""
    grammar: bool
    infill: bool
    tokenize: bool
    token_ids: bool
    cached_tokens: bool
    model: str


class Model(Protocol):
    """A connected model. All calls raise ModelError (model/errors.py) when the boundary fails."""

    @property
    def capabilities(self) -> Capabilities: ...

    def chat(
        self,
        messages: Sequence[Message],
        sampling: Sampling,
        on_text: Callable[[str], None] | None = None,
    ) -> list[Completion]:
        """Answer a chat, `sampling.n` times. Raises PromptTooLong before sending what cannot fit.

        A stream that breaks raises StreamBroken; nothing of it is used.
        """
        ...

    def infill(self, prefix: str, suffix: str, sampling: Sampling, *, context: str = "") -> list[Completion]:
        """Fill the gap between prefix and suffix; `context` is text of the repository before them.

        Raises Unsupported when the model has no fill-in-the-middle tokens.
        """
        ...

    def count(self, messages: Sequence[Message]) -> int:
        """Exact tokens of a chat prompt, template included. Raises Unsupported when it cannot know."""
        ...

    def count_text(self, text: str) -> int:
        """Exact tokens of a text."""
        ...

    def close(self) -> None:
        """Close the connections; the server itself lives on."""
        ...
