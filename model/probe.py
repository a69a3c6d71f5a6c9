"""What can the server behind a URL do? Asked once, when it is connected.

Known servers (vLLM, SGLang, Ollama, ADI's own) are recognised by what they answer, because grammars and token
counts have no common field. llama.cpp's own server is met in its native dialect (model/client.py), ADI's in
that of model/own.py.
"""

from contextlib import suppress
from dataclasses import dataclass
from typing import Literal

from model.errors import ModelError, RequestRefused, ServerFailed, UnknownModel, Unsupported
from model.http import Json, Transport

HINT = "check the server, and the settings model.url and model.api_key_env"

Server = Literal["llama.cpp", "adi", "vllm", "sglang", "ollama", "other"]


@dataclass(frozen=True, slots=True)
class Probe:
    """What a server told about itself."""

    server: Server
    model: str
    """Id of the served model."""
    n_ctx: int = 0
    """Tokens of one request; 0 when it does not tell."""
    counts: bool = False
    """It counts tokens at /tokenize."""
    infill: bool = False
    """It fills gaps by itself, with `suffix`; asked of ADI's own server only."""
    adapted: bool = False
    """The id is that of a model with an adapter: answers must say so."""


def probe(transport: Transport, name: str) -> Probe:
    """Asks a server. Raises UnknownModel when it does not serve `name`; empty means its only model.

    Entries with a `parent` are that model with an adapter (vLLM's field, and ADI's): taken by name alone.
    """
    entry = _choose(_served(transport), name)
    model, adapted = str(entry["id"]), bool(entry.get("parent"))
    owner = entry.get("owned_by")
    n_ctx = int(entry.get("max_model_len") or entry.get("context_length") or 0)
    if owner == "llamacpp":
        return Probe("llama.cpp", model, adapted=adapted)
    if owner == "adi":
        return Probe("adi", model, n_ctx, counts=True, infill=_fills(transport, model), adapted=adapted)
    if owner in ("vllm", "sglang"):
        return Probe(owner, model, n_ctx, _counts(transport, model))
    if _is_ollama(transport):
        return Probe("ollama", model, _ollama_window(transport, model))
    return Probe("other", model, n_ctx)


def _served(transport: Transport) -> list[Json]:
    answer = transport.get("/v1/models")
    found = answer.get("data") if isinstance(answer, dict) else None
    if not isinstance(found, list) or not all(isinstance(e, dict) and e.get("id") for e in found):
        raise ServerFailed(f"{transport.url}/v1/models does not list models", HINT)
    return found


def _choose(served: list[Json], name: str) -> Json:
    ids = [str(entry["id"]) for entry in served]
    if name in ids:
        return served[ids.index(name)]
    models = [entry for entry in served if not entry.get("parent")]
    if not name and len(models) == 1:
        return models[0]
    asked = f"does not serve {name!r}" if name else "serves more than one model, or none"
    raise UnknownModel(f"the server {asked}; it has: {', '.join(ids) or 'nothing'}", "set model.name")


def _counts(transport: Transport, model: str) -> bool:
    try:
        return "count" in transport.post("/tokenize", {"model": model, "prompt": "a"}, attempts=1)
    except (Unsupported, RequestRefused):
        return False


def _fills(transport: Transport, model: str) -> bool:
    """Whether the model has tokens for a gap: a server that has none refuses to count one."""
    try:
        return "count" in transport.post("/tokenize", {"model": model, "prompt": "a", "suffix": "b"})
    except (Unsupported, RequestRefused):
        return False


def _is_ollama(transport: Transport) -> bool:
    try:
        return transport.get("/api/version", attempts=1).get("version") is not None
    except (ModelError, AttributeError):
        return False


def _ollama_window(transport: Transport, model: str) -> int:
    """The window Ollama really runs the model with: its own setting, not what the model could do."""
    with suppress(ModelError):
        transport.post("/api/generate", {"model": model, "prompt": "", "stream": False}, attempts=1)
        running = transport.get("/api/ps", attempts=1).get("models") or []
        return next((int(m.get("context_length") or 0) for m in running if m.get("name") == model), 0)
    return 0
