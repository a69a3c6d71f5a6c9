"""From a choice in the settings to a connected model."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

from model.adapter_store import AdapterStore, Base, base_of
from model.catalogue import Catalogue, load
from model.client import LlamaModel
from model.errors import ModelError
from model.http import CALL_S, Endpoint, Transport
from model.machine import has_gpu, lacking
from model.openai import UrlModel
from model.own import OwnModel
from model.probe import HINT, probe
from model.protocol import Model
from model.server import ensure
from model.serving import Quantize, ServeChoice
from model.state import ServerState
from model.store import CONVERTED, Found, Store

DEFAULT = "qwen2.5-coder-1.5b"
ADAPTERS = "adapters"
"""Below the data directory."""
CURRENT = "current"
"""Stands for the adapter that was promoted for the model, if any."""


@dataclass(frozen=True, slots=True)
class ModelChoice:
    """Which model to talk to."""

    data_dir: Path
    """ADI's data directory: models/ and server/ lie in it."""
    engine: Literal["auto", "llama", "torch", "url"] = "llama"
    """`auto` is `url` with a URL, else `torch` where a GPU holds the model, else `llama`."""
    name: str = DEFAULT
    """Catalogue name or path of a GGUF file, for engine `torch` also of a folder of safetensors. With engine
    `url` the served id; the default or empty means the only one that is served."""
    url: str = ""
    api_key: str = ""
    threads: int = 0
    """0 means the physical cores."""
    n_ctx: int = 8192
    idle_s: float = 900.0
    """Seconds after which an idle server leaves; 0 means never."""
    device: str = ""
    dtype: str = ""
    quantize: Quantize = ""
    """For engine `torch`, as in ServeChoice."""
    adapter: str = CURRENT
    """With a local engine: an adapter's name, `current` for the one that was promoted, empty for none."""
    call_s: float = CALL_S
    """Seconds of one call; 0 means CALL_S."""
    user_catalogue: Path | None = None

    @property
    def remote(self) -> bool:
        """True when somebody else serves the model."""
        return self.engine == "url" or (self.engine == "auto" and bool(self.url))

    @property
    def adapters(self) -> AdapterStore:
        return AdapterStore(self.data_dir / ADAPTERS)

    def base(self) -> Base:
        """The weights that adapters must be made for. Raises UnknownModel or ModelMissing."""
        catalogue = load(self.user_catalogue)
        found = found_model(self.name, Store(self.data_dir / "models", catalogue))
        known = catalogue.models.get(found.name)
        family = known.family if known and known.family else catalogue.family_of(found.name)
        cache = self.data_dir / CONVERTED
        return base_of(found.name, found.path, cache, sha256=found.sha256, family=family)

    def serve(self) -> ServeChoice:
        """What the local server should serve, its adapter included.

        Raises UnknownModel, ModelMissing, UnknownAdapter, AdapterRefused or AdapterDamaged.
        """
        choice = self._base_choice()
        adapter = self._adapter()
        return replace(choice, adapters=((adapter, str(self.adapters.path(adapter))),)) if adapter else choice

    def _adapter(self) -> str:
        """Name of the adapter; weights are only hashed where there is one."""
        if not self.adapter or (self.adapter == CURRENT and not self.adapters.history()):
            return ""
        base = self.base()
        name = self.adapters.current(base.sha256) if self.adapter == CURRENT else self.adapter
        return self.adapters.fitting(name, base).name if name else ""

    def _base_choice(self) -> ServeChoice:
        found = found_model(self.name, Store(self.data_dir / "models", load(self.user_catalogue)))
        folder = found.path.is_dir()
        maybe = self.engine == "auto" and not folder  # llama.cpp reads no folder: nothing to fall back to
        torch = self.engine == "torch" or (self.engine == "auto" and (folder or _torch_may_run()))
        choice = ServeChoice(
            model=found.path,
            name=found.name,
            sha256=found.sha256,
            n_ctx=self.n_ctx,
            threads=self.threads,
            idle_s=self.idle_s,
        )
        if not torch:
            return choice
        return replace(
            choice,
            engine="torch",
            device=self.device,
            dtype=self.dtype,
            quantize=self.quantize,
            fallback=maybe,
        )


def found_model(name: str, store: Store) -> Found:
    """A model on this disk by its name or path; for engine `torch` the path may be a folder of safetensors.

    Raises UnknownModel, or ModelMissing when it is not here.
    """
    folder = Path(name).expanduser()
    if "/" in name and folder.is_dir():
        return Found(folder.resolve().name, folder.resolve())
    return store.find(name)


def _torch_may_run() -> bool:
    """Whether it is worth a try: nothing of torch is imported to find out."""
    return has_gpu() and not lacking()


def connect(choice: ModelChoice, progress: Callable[[str], None] = lambda _: None) -> Model:
    """The model, ready to answer. Nothing is downloaded: that is `adi model pull`.

    With a local engine a running server is used, or one is started; should it die later, the next call
    starts it again.
    """
    catalogue = load(choice.user_catalogue)
    if choice.remote:
        served = "" if choice.name == DEFAULT else choice.name
        return connect_url(choice.url, choice.api_key, served, catalogue, call_s=choice.call_s)
    serve = choice.serve()
    folder = choice.data_dir / "server"
    engine = ensure(serve, folder, progress).engine
    served = ":".join((serve.name, *(name for name, _ in serve.adapters)))
    if engine != serve.engine:  # the one that took its place is what a restart must bring back
        serve = replace(serve, engine="llama", fallback=False)
    find = _finder(serve, folder, progress)
    family = catalogue.models[serve.name].family if serve.name in catalogue.models else ""
    fim = catalogue.fim(family or catalogue.family_of(serve.name))
    transport = Transport(find, attempts=3, call_s=choice.call_s, hint="adi serve --status")
    if engine == "llama":
        return LlamaModel(transport, name=served, fim=fim, exact=bool(serve.adapters))
    return _probed(transport, served, catalogue)


def running(choice: ModelChoice, progress: Callable[[str], None] = lambda _: None) -> ServerState:
    """The local server of the choice, started where need be, whatever model.url says."""
    return ensure(choice.serve(), choice.data_dir / "server", progress)


def finder(choice: ModelChoice, progress: Callable[[str], None] = lambda _: None) -> Callable[[], Endpoint]:
    """What tells where the chosen server answers now; the local one is started where need be.

    Raises UnknownModel or ModelMissing, and the function it gives ServerFailed.
    """
    if choice.remote:
        return lambda: Endpoint(_base(choice.url), choice.api_key)
    return _finder(choice.serve(), choice.data_dir / "server", progress)


def _finder(serve: ServeChoice, folder: Path, progress: Callable[[str], None]) -> Callable[[], Endpoint]:
    def find() -> Endpoint:
        state = ensure(serve, folder, progress)
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
    return _probed(transport, name, catalogue)


def _probed(transport: Transport, name: str, catalogue: Catalogue) -> Model:
    """The client that speaks the server's dialect; a failure leaves no connection."""
    try:
        found = probe(transport, name)
        fim = catalogue.fim(catalogue.family_of(found.model))
        if found.server == "llama.cpp":
            return LlamaModel(transport, name=found.model, fim=fim, exact=found.adapted)
        if found.server == "adi":
            return OwnModel(transport, found)
        return UrlModel(transport, found, fim)
    except BaseException:
        transport.close()
        raise
