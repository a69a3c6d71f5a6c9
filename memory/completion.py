"""What a model is asked and answers; part of the vocabulary of memory/records.py."""

from typing import Literal

from memory.checks import Record


class Message(Record):
    """One turn of the chat that a model sees."""

    role: Literal["system", "user", "assistant"]
    content: str


class Usage(Record):
    """Cost of one model call, in tokens and milliseconds, as the server counted it."""

    prompt_tokens: int = 0
    """All prompt tokens, cached ones included."""
    cached_tokens: int = 0
    """Prompt tokens served from the prefix cache."""
    completion_tokens: int = 0
    """Estimated at four bytes each where the server does not tell."""
    prompt_ms: float = 0.0
    decode_ms: float = 0.0


class Completion(Record):
    """What a model answered."""

    text: str
    token_ids: tuple[int, ...] = ()
    """Empty when the server does not tell them."""
    finish_reason: Literal["stop", "length", "cancelled", "error"]
    usage: Usage = Usage()
    model: str = ""
    """Id of the model that answered, as its server says it in this very answer."""
    weights: str = ""
    """What the server says of the weights and settings behind the id; empty when it tells nothing."""
    temperature: float = 0.0
    seed: int = 0
