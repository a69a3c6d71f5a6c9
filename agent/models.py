"""From the settings to a choice of model."""

import contextlib
import os
from collections.abc import Callable

from agent.errors import UsageError
from agent.settings import Directories, Settings
from model.connect import DEFAULT, ModelChoice, connect
from model.protocol import Model

N_CTX = 8192
"""Default window in tokens: small models lose their way in longer ones (see the Aider edit benchmark)."""


def choice_of(settings: Settings, places: Directories) -> ModelChoice:
    """What `connect` needs. Raises UsageError when the key is not set."""
    model = settings.model
    if model.api_key_env and model.api_key_env not in os.environ:
        raise UsageError(f"model.api_key_env names {model.api_key_env}, which is not set", "export it first")
    return ModelChoice(
        data_dir=places.data,
        engine=model.engine,
        device=model.device,
        dtype=model.dtype,
        quantize=model.quantize,
        name=model.name or DEFAULT,
        adapter=model.adapter,
        url=model.url,
        api_key=os.environ.get(model.api_key_env, "") if model.api_key_env else "",
        threads=model.threads,
        n_ctx=model.n_ctx or N_CTX,
        idle_s=model.idle_s,
        call_s=settings.run.wall_s,
        user_catalogue=places.catalogue_file,
    )


def named(settings: Settings) -> str:
    """The model's name as a run's record carries it."""
    return settings.model.name or (settings.model.url if settings.model.url else DEFAULT)


class Connected:
    """Connects to the model at the first call."""

    def __init__(self, settings: Settings, places: Directories, stack: contextlib.ExitStack) -> None:
        self._settings = settings
        self._places = places
        self._stack = stack
        self._model: Model | None = None

    def __call__(self, progress: Callable[[str], None]) -> Model:
        if self._model is None:
            self._model = connect(choice_of(self._settings, self._places), progress)
            self._stack.callback(self._model.close)
        return self._model
