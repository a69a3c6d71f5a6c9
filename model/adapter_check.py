"""Is the adapter that was asked for the one that answers? Asked of the running server, not of the disk.

Three questions: does the server say that it serves the very bytes; does it answer in the adapter's name; and
do its answers differ from the base's. The last one finds a server that takes the name and ignores the
adapter, and an adapter that changes nothing. It is told by the log-probabilities of the first token after
canaries, short chats of the kinds that ADI asks.
"""

import math
from collections.abc import Sequence
from typing import Any, Final

import httpx2

from memory.checks import Record
from model.adapter_store import AdapterStore
from model.errors import ServerFailed
from model.http import check_answered, understood
from model.server import adapters_of
from model.state import ServerState

CANARIES: Final = (
    "Write a Python function that adds two numbers.",
    "def read(path):\n    with open(path",
    "The test fails with IndexError: list index out of range. What is wrong?",
    "List the steps to rename a function in a repository.",
    "for i in range(len(items)",
    "Explain this diff in one sentence:\n- return a\n+ return b",
    "class Queue:\n    def __init__(self",
    "Which file should be read first?",
)
ALTERNATIVES: Final = 10
"""Likeliest tokens that are compared."""
DIFFERENT: Final = 1e-3
"""Nats between two log-probabilities that are not the same: engines repeat themselves to about 1e-5."""
CALL_S: Final = 600.0


class Served(Record):
    """What a running server does with an adapter."""

    name: str
    sha256: str
    """Of the file that the server read, as it tells."""
    canaries: int
    differing: int
    """Canaries after which the base says something else."""
    largest: float
    """Greatest difference of two log-probabilities, in nats; infinite where other tokens are likely."""


def check_served(state: ServerState, store: AdapterStore, name: str) -> Served:
    """Ask a server for an adapter that it has loaded. Raises ServerFailed unless it is served.

    Raises UnknownAdapter and AdapterDamaged for one that the store does not have whole.
    """
    files = store.check(name).files.values()
    headers = {"Authorization": f"Bearer {state.token}"}
    with httpx2.Client(headers=headers, timeout=CALL_S, trust_env=False) as client:
        told = adapters_of(client, state).get(name, "")
        if told not in files:
            raise ServerFailed(
                f"the server does not serve {name}: it tells {told[:12] or 'nothing'}", "adi serve --stop"
            )
        apart = [
            _apart(
                _first(client, state, state.name, text), _first(client, state, f"{state.name}:{name}", text)
            )
            for text in CANARIES
        ]
    differing = sum(one > DIFFERENT for one in apart)
    if not differing:
        raise ServerFailed(
            f"the server answers as the base when it is asked for {name}: it ignores adapters, or this one "
            "changes nothing",
            "adi serve --stop, then adi model promote again",
        )
    return Served(name=name, sha256=told, canaries=len(CANARIES), differing=differing, largest=max(apart))


def _first(client: httpx2.Client, state: ServerState, model: str, text: str) -> dict[str, float]:
    """Log-probabilities of the likeliest first tokens of an answer, by their bytes."""
    where = f"{state.openai}/chat/completions"
    body = {
        "model": model,
        "messages": [{"role": "user", "content": text}],
        "max_tokens": 1,
        "temperature": 0,
        "logprobs": True,
        "top_logprobs": ALTERNATIVES,
    }
    try:
        answer = client.post(where, json=body)
    except httpx2.TransportError as error:
        raise ServerFailed(f"{where} does not answer: {error}", "adi serve --status") from error
    with understood(where):
        told: dict[str, Any] = answer.json()
        if answer.status_code != 200:
            raise ServerFailed(f"{where} answered {answer.status_code}: {told['error']['message']}")
        check_answered(str(told["model"]), model)
        # llama.cpp tells none for a token that is half a character
        tokens = (told["choices"][0].get("logprobs") or {}).get("content") or []
        return {_key(one): float(one["logprob"]) for token in tokens[:1] for one in token["top_logprobs"]}


def _key(one: dict[str, Any]) -> str:
    told: Sequence[int] | None = one.get("bytes")
    return str(one["token"]) if told is None else bytes(told).hex()


def _apart(one: dict[str, float], other: dict[str, float]) -> float:
    """The likeliest of each decide; further down a near tie may put other tokens on the list."""
    if not one or not other:
        return math.inf if one or other else 0.0
    if max(one, key=one.__getitem__) not in other or max(other, key=other.__getitem__) not in one:
        return math.inf
    return max(abs(one[key] - other[key]) for key in one.keys() & other.keys())
