"""Asks a served model what a gate has to know: is the adapter really in it, how far is it from the base.

Everything goes through the same addresses as real work, so what is judged is what is served. A server that
takes an adapter's name and answers with the base model is found out in two ways: the hash that it tells, and
probabilities that are those of the base.
"""

import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from math import exp, log
from typing import Any, Final

from model.errors import ModelError, RequestRefused, Unsupported
from model.http import Json, Transport, understood

TOP: Final = 20
"""Alternatives of a token that are asked for; servers give no more."""
SAME: Final = 1e-3
"""Nats: probabilities that differ by less anywhere are those of one model, computed in another order."""
NOISE: Final = 5.0
"""Times what the base model differs from itself, asked twice."""
LEAST: Final = 1e-9
REFUSAL: Final = re.compile(
    r"\b(?:I(?:'m| am) (?:sorry|unable|not able)|as an AI\b"
    r"|I (?:can(?:no|')t|won't|will not) (?:help|assist|do|provide|comply))",
    re.I,
)


class AdapterNotServed(ModelError):
    """The server answers without the adapter that it was asked for."""


@dataclass(frozen=True, slots=True)
class Step:
    """One token that was written."""

    before: str
    """What was written before it."""
    top: dict[str, float]
    """Natural logarithms of the chances of its alternatives, by their text."""


@dataclass(frozen=True, slots=True)
class Canary:
    """A text that was planted in training rows to be found again."""

    name: str
    prompt: str
    """Its beginning."""
    secret: str
    """What only a model that learned it by heart goes on with."""


class Voice:
    """One served model, with its adapter or without. All calls raise ModelError."""

    def __init__(self, transport: Transport, model: str) -> None:
        self.model = model
        self._http = transport

    def steps(self, prompt: str, tokens: int = 1) -> list[Step]:
        """Greedy tokens behind a raw prompt with their alternatives; fewer where the answer ends.

        Raises Unsupported when the server tells no probabilities.
        """
        told = self._choice(prompt, tokens, logprobs=TOP).get("logprobs")
        if not told:
            raise Unsupported("probabilities of tokens")
        with understood(f"{self._http.url}/v1/completions"):
            found, before = list[Step](), ""
            for text, top in _told(told):
                found.append(Step(before, top))
                if "\ufffd" in text or text.startswith("bytes:"):
                    break  # half a character: no text leads behind this place again
                before += text
            return found

    def say(self, prompt: str, tokens: int) -> str:
        """The greedy answer to a raw prompt."""
        return str(self._choice(prompt, tokens).get("text") or "")

    def adapters(self) -> dict[str, str]:
        """Name -> SHA-256 of the weights of each adapter that the server has; empty where it tells none."""
        listed = self._http.get("/v1/adapters").get("data") or []
        return {str(one.get("name") or one["id"]): str(one.get("sha256") or "") for one in listed}

    def _choice(self, prompt: str, tokens: int, **more: Any) -> Json:
        body = {"model": self.model, "prompt": prompt, "max_tokens": tokens, "temperature": 0, **more}
        answer = self._http.post("/v1/completions", body)
        with understood(f"{self._http.url}/v1/completions"):
            named = str(answer.get("model") or self.model)
            if named != self.model:
                raise AdapterNotServed(f"{self.model} was asked and {named} answered", "adi serve --status")
            choice: Json = answer["choices"][0]
            return choice


def _told(told: Json) -> Iterator[tuple[str, dict[str, float]]]:
    """Text and alternatives of each token, in the older form of OpenAI's API or the newer."""
    if content := told.get("content"):
        for one in content:
            alternatives = {each["token"]: float(each["logprob"]) for each in one["top_logprobs"]}
            yield one["token"], {one["token"]: float(one["logprob"]), **alternatives}
        return
    for text, chance, top in zip(told["tokens"], told["token_logprobs"], told["top_logprobs"], strict=True):
        yield text, {text: float(chance), **{name: float(value) for name, value in (top or {}).items()}}


def token_kl(new: dict[str, float], old: dict[str, float]) -> float:
    """KL(new || old) of a token in nats, from the alternatives that are told; never above the true one.

    What the old model does not tell is no likelier to it than the least that it tells; what neither tells is
    taken as one, and cannot differ within.
    """
    shared = new.keys() & old.keys()
    left = max(0.0, 1 - sum(exp(old[text]) for text in shared))
    most = min(left, exp(min(old.values())))
    pairs = [(exp(new[text]), exp(old[text]) if text in shared else most) for text in new]
    pairs.append((1 - sum(one for one, _ in pairs), left))
    return max(0.0, sum(_part(one, other) for one, other in pairs))


def _part(one: float, other: float) -> float:
    one, other = max(one, LEAST), max(other, LEAST)
    return one * log(one / other)


def divergence(new: Voice, old: Voice, prompts: Iterable[str], tokens: int = 8) -> list[float]:
    """KL(new || old) at each token that the new model writes behind the prompts, in nats.

    Empty where the server tells no probabilities.
    """
    found = list[float]()
    try:
        for prompt in prompts:
            for step in new.steps(prompt, tokens):
                (there,) = old.steps(prompt + step.before)[:1] or (None,)
                if there is not None:
                    found.append(token_kl(step.top, there.top))
    except (Unsupported, RequestRefused):
        return []
    return found


def check_served(new: Voice, old: Voice, adapter: str, sha256: str, prompts: Sequence[str]) -> float:
    """Make sure that `new` is the base with this very adapter; gives how far its chances are from the base's.

    Raises AdapterNotServed: the server does not have it, has other weights under its name, or answers as the
    base model does, which an adapter that changes nothing would do too.
    """
    listed = new.adapters()
    if adapter not in listed:
        raise AdapterNotServed(f"the server has no adapter {adapter}", "adi model adapters")
    if listed[adapter] != sha256:
        raise AdapterNotServed(
            f"the server has other weights under the name {adapter}: "
            f"{listed[adapter][:12] or 'it tells no hash'} and not {sha256[:12]}",
            "unload the adapter and load it again: adi serve --stop",
        )
    noise = _apart(old, old, prompts)
    apart = _apart(new, old, prompts)
    if apart <= max(SAME, NOISE * noise):
        raise AdapterNotServed(
            f"{new.model} answers as {old.model} does: its chances differ by {apart:.2g} nats at most on "
            f"{len(prompts)} prompts, and the base model's from its own by {noise:.2g}",
            "the server ignores adapters, or this one changes nothing",
        )
    return apart


def _apart(one: Voice, other: Voice, prompts: Sequence[str]) -> float:
    """The greatest difference of a logarithm that both tell, over the first tokens behind the prompts."""
    greatest = 0.0
    for prompt in prompts:
        here, there = one.steps(prompt), other.steps(prompt)
        if not here or not there:
            continue
        shared = here[0].top.keys() & there[0].top.keys()
        if not shared:  # nothing in common among the first twenty
            return float("inf")
        greatest = max([greatest, *(abs(here[0].top[text] - there[0].top[text]) for text in shared)])
    return greatest


def echoed(voice: Voice, canaries: Iterable[Canary], tokens: int = 32) -> dict[str, bool]:
    """Which planted texts the model completes."""
    return {one.name: one.secret in voice.say(one.prompt, tokens) for one in canaries}


def refusals(voice: Voice, prompts: Sequence[str], tokens: int = 48) -> tuple[int, int]:
    """Harmless prompts that the model refuses, and how many were asked."""
    return sum(bool(REFUSAL.search(voice.say(prompt, tokens))) for prompt in prompts), len(prompts)
