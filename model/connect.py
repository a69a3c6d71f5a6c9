"""From a choice in the settings to a connected model."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from model.catalogue import Catalogue, load
from model.client import LlamaModel
from model.errors import ModelError
from model.http import CALL_S, Endpoint, Transport
from model.llama import ServeChoice
from model.openai import UrlModel
from model.probe import HINT, probe
from model.protocol import Model
from model.server import ensure
from model.store import Store

DEFAULT = "qwen2.5-coder-1.5b"


@dataclass(frozen=True, slots=True)
class ModelChoice:
    """Which model to talk to."""

    data_dir: Path
    """ADI's data directory: models/ and server/ lie in it."""
    engine: Literal["llama", "url"] = "llama"
    name: str = DEFAULT
    """Catalogue name or path of a GGUF file. With engine `url` the served id; the default or empty
    means the only one that is served."""
    url: str = ""
    api_key: str = ""
    threads: int = 0
    """0 means the physical cores."""
    n_ctx: int = 8192
    idle_s: float = 900.0
    """Seconds after which an idle server leaves; 0 means never."""
    call_s: float = CALL_S
    """Seconds of one call; 0 means CALL_S."""
    user_catalogue: Path | None = None

    def serve(self) -> ServeChoice:
        """What the local server should serve. Raises UnknownModel or ModelMissing."""
        store = Store(self.data_dir / "models", load(self.user_catalogue))
        found = store.find(self.name)
        return ServeChoice(
            model=found.path,
            name=found.name,
            sha256=found.sha256,
            n_ctx=self.n_ctx,
            threads=self.threads,
            idle_s=self.idle_s,
        )


def connect(choice: ModelChoice, progress: Callable[[str], None] = lambda _: None) -> Model:
    """The model, ready to answer. Nothing is downloaded: that is `adi model pull`.

    With engine `llama` a running server is used, or one is started; should it die later, the next call
    starts it again.
    """
    catalogue = load(choice.user_catalogue)
    if choice.engine == "url":
        served = "" if choice.name == DEFAULT else choice.name
        return connect_url(choice.url, choice.api_key, served, catalogue, call_s=choice.call_s)
    serve = choice.serve()
    find = finder(choice, progress)
    family = catalogue.models[serve.name].family if serve.name in catalogue.models else ""
    fim = catalogue.fim(family or catalogue.family_of(serve.name))
    transport = Transport(find, attempts=3, call_s=choice.call_s, hint="adi serve --status")
    return LlamaModel(transport, name=serve.name, fim=fim)


def finder(choice: ModelChoice, progress: Callable[[str], None] = lambda _: None) -> Callable[[], Endpoint]:
    """What tells where the chosen server answers now; the local one is started where need be.

    Raises UnknownModel or ModelMissing, and the function it gives ServerFailed.
    """
    if choice.engine == "url":
        return lambda: Endpoint(_base(choice.url), choice.api_key)
    serve = choice.serve()

    def find() -> Endpoint:
        state = ensure(serve, choice.data_dir / "server", progress)
        return Endpoint(state.url, state.token)

    return find


def _base(url: str) -> str:
    """The address without `/v1`."""
    return url.rstrip("/").removesuffix("/v1")


def connect_url(
    url: str, api_key: str, name: str, catalogue: Catalogue, *, attempts: int = 5, call_s: float = CALL_S
) -> Model:
    """The model behind a URL, with or without `/v1` at its end. Raises Unreachable or UnknownModel."""
    if not url.startswith(("http://", "https://")):
        raise ModelError(f"{url!r} is no address of a model server", "set model.url to http://HOST:PORT")
    base = _base(url)
    transport = Transport(lambda: Endpoint(base, api_key), attempts=attempts, call_s=call_s, hint=HINT)
    try:
        found = probe(transport, name)
        fim = catalogue.fim(catalogue.family_of(found.model))
        if found.server == "llama.cpp":
            return LlamaModel(transport, name=found.model, fim=fim)
        return UrlModel(transport, found, fim)
    except BaseException:
        transport.close()
        raise
