"""Settings: flags > environment > the project's `.adi/config.toml` > user config > defaults.

The environment's names are `ADI_SECTION__KEY`.
A repository is written by strangers. Its own file may say how a run is checked and what it may spend
(`PROJECT_SECTIONS`), and nothing else: not which model is asked, where, with which key, or in what image.
"""

import difflib
import os
import tomllib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Literal, cast

import platformdirs
from pydantic import BaseModel, ConfigDict, Field, ValidationError
from pydantic_settings import BaseSettings, EnvSettingsSource, SettingsConfigDict, SettingsError

from agent.errors import UsageError
from agent.mechanisms import Mechanism
from memory.records import Limits
from sandbox.registries import DEFAULT as DEFAULT_REGISTRIES

PREFIX: Final = "ADI_"
PROJECT_FILE: Final = Path(".adi") / "config.toml"
PROJECT_SECTIONS: Final = frozenset({"run"})
"""What a repository's own file may set: every key of these sections."""


class Section(BaseModel):
    """Base of all sections: immutable; unknown keys were already reported and dropped."""

    model_config = ConfigDict(frozen=True, extra="ignore")


class ModelSettings(Section):
    """Which model answers, and how it is served."""

    engine: Literal["auto", "llama", "torch", "url"] = "auto"
    """`auto` is `url` with a URL, else `torch` where its packages and a GPU are, else `llama`."""
    device: str = Field("", pattern=r"^((cpu|cuda|mps|xpu)(:\d+)?)?$")
    """Where engine `torch` computes, such as `cpu` or `cuda:1`; empty takes a GPU where there is one."""
    dtype: Literal["", "bfloat16", "float16", "float32"] = ""
    """What engine `torch` computes in; empty takes what suits the device."""
    quantize: Literal["", "int8"] = ""
    """Bits of the weights of engine `torch`; empty keeps those of `dtype`."""
    name: str = ""
    """Name in the catalogue or on the server, or the path of a GGUF file or, for engine `torch`, of a
    folder of safetensors; empty means the default model."""
    adapter: str = "current"
    """Of a model that ADI serves itself: `current` is the adapter that was promoted (adi model promote),
    empty is none, else the name of one."""
    url: str = ""
    """Base URL of an OpenAI-compatible server, such as `http://localhost:8000/v1`."""
    api_key_env: str = ""
    """Name of the environment variable that holds the key; the key itself is never stored."""
    n_ctx: int = Field(0, ge=0)
    """Tokens of one request, prompt and answer together; 0 takes the catalogue's value."""
    threads: int = Field(0, ge=0)
    """Threads of the local server; 0 takes what the machine has."""
    idle_s: float = Field(900.0, ge=0)
    """The local server ends itself after this many idle seconds; 0 means never."""
    offline: bool = False
    """Never fetch anything; a missing model or image is an error."""


class RunSettings(Section):
    """What one run checks and may spend. 0 means no limit."""

    checks: tuple[str, ...] = ()
    """Commands that must pass; empty means that they are detected."""
    steps: int = Field(Limits().steps, ge=0)
    wall_s: float = Field(Limits().wall_s, ge=0)
    completion_tokens: int = Field(Limits().completion_tokens, ge=0)
    check_s: float = Field(Limits().check_s, ge=0)
    sampling: bool = True
    """Sample candidate changes and run them before the action loop."""
    seed: int = Field(0, ge=0)
    """Moves the seeds of all samples; the same seed and model give the same samples."""
    without: tuple[Mechanism, ...] = ()
    """Mechanisms that are switched off, to measure what they bring."""

    @property
    def limits(self) -> Limits:
        """The same numbers as the record that a task carries."""
        return Limits(
            steps=self.steps,
            wall_s=self.wall_s,
            completion_tokens=self.completion_tokens,
            check_s=self.check_s,
        )


class SandboxSettings(Section):
    """Resources of one container."""

    image: str = ""
    """Image to run in; empty means the one that fits the repository's language."""
    memory_mb: int = Field(2048, ge=64)
    cpus: float = Field(2.0, gt=0)
    pids: int = Field(256, ge=16)
    work_mb: int = Field(1024, ge=16)
    """Size of the work area, which counts as memory."""
    isolation: Literal["auto", "container", "userns", "gvisor"] = "auto"
    """`auto` takes the strongest that the engine has; `userns` and `gvisor` require it."""
    runtime: str = ""
    """Name of an engine's runtime, such as `runsc` or `kata`; empty leaves the choice to `isolation`."""
    registries: tuple[str, ...] = DEFAULT_REGISTRIES
    """Where `adi prepare` may install from: `pypi+URL`, `npm+URL`, URLs of other hosts. Empty: nowhere."""
    prepare_mb: int = Field(3072, ge=64)
    """Room for what `adi prepare` installs, which counts as memory while it does."""


class MemorySettings(Section):
    """What earlier runs may teach later ones."""

    recall: bool = True
    """Give a run the lessons that fit it."""
    distil: bool = True
    """Distil lessons from a run that ended."""
    url: str = ""
    """`postgresql://...` where a team shares the memory; empty means the file in ADI's own directory."""


class UiSettings(Section):
    """What the terminal shows."""

    color: Literal["auto", "always", "never"] = "auto"


class Settings(BaseSettings):
    """All settings of one process."""

    model_config = SettingsConfigDict(
        env_prefix=PREFIX, env_nested_delimiter="__", frozen=True, extra="ignore"
    )

    model: ModelSettings = ModelSettings()
    run: RunSettings = RunSettings()
    sandbox: SandboxSettings = SandboxSettings()
    memory: MemorySettings = MemorySettings()
    ui: UiSettings = UiSettings()


@dataclass(frozen=True, slots=True)
class Directories:
    """Where ADI keeps things; nothing is created by asking."""

    config: Path
    data: Path
    state: Path
    cache: Path

    @property
    def config_file(self) -> Path:
        return self.config / "config.toml"

    @property
    def catalogue_file(self) -> Path:
        """Models that the user added to the catalogue."""
        return self.config / "models.toml"

    @property
    def database(self) -> Path:
        return self.data / "adi.db"

    @property
    def models(self) -> Path:
        return self.data / "models"

    @property
    def shadow(self) -> Path:
        """Git directories of the snapshots, outside every user's tree."""
        return self.data / "shadow"

    @property
    def server(self) -> Path:
        """State file, token and log of the local model server."""
        return self.data / "server"

    @property
    def patches(self) -> Path:
        return self.data / "patches"

    @property
    def logs(self) -> Path:
        return self.data / "logs"

    @property
    def journal(self) -> Path:
        """Unfinished changes of users' trees, for recovery after a crash."""
        return self.data / "journal"

    @property
    def history(self) -> Path:
        """What was typed at the prompt."""
        return self.state / "history"


def directories(environ: Mapping[str, str] = os.environ) -> Directories:
    """The platform's directories, or all of them under `ADI_HOME`."""
    home = environ.get("ADI_HOME", "")
    if home:
        root = Path(home).expanduser().absolute()
        return Directories(config=root, data=root, state=root / "state", cache=root / "cache")
    dirs = platformdirs.PlatformDirs("adi", appauthor=False)
    return Directories(
        config=dirs.user_config_path,
        data=dirs.user_data_path,
        state=dirs.user_state_path,
        cache=dirs.user_cache_path,
    )


def store_place(settings: Settings, environ: Mapping[str, str] = os.environ) -> Path | str:
    """Where the memory is: its file, or the address of its database."""
    return settings.memory.url or directories(environ).database


@dataclass(frozen=True, slots=True)
class Loaded:
    """Settings, and what a person should know about where they came from."""

    settings: Settings
    warnings: tuple[str, ...] = ()


def load(
    repo: Path | None = None,
    flags: Mapping[str, Mapping[str, object]] | None = None,
    environ: Mapping[str, str] = os.environ,
) -> Loaded:
    """Merge all sources. `flags` is section -> key -> value, None meaning not given.

    Raises UsageError for a file that is no TOML and for a value of the wrong type.
    """
    warnings: list[str] = []
    merged: dict[str, dict[str, object]] = {}
    for origin, layer in _layers(repo, flags or {}, environ, warnings):
        for section, values in _known(layer, origin, warnings).items():
            merged.setdefault(section, {}).update(values)
    try:
        settings = Settings.model_validate(merged)
    except ValidationError as error:
        raise UsageError(_wrong_value(error), "adi --help lists the settings' flags") from None
    return Loaded(settings, tuple(warnings))


def _layers(
    repo: Path | None,
    flags: Mapping[str, Mapping[str, object]],
    environ: Mapping[str, str],
    warnings: list[str],
) -> Iterator[tuple[str, Mapping[str, Any]]]:
    """(origin, section -> key -> value), weakest first."""
    user_file = directories(environ).config_file
    yield str(user_file), _read(user_file)
    if repo is not None:
        project_file = repo / PROJECT_FILE
        yield str(project_file), _allowed(_read(project_file), project_file, user_file, warnings)
    yield "the environment", _from_environment(environ)
    given = {s: {k: v for k, v in keys.items() if v is not None} for s, keys in flags.items()}
    yield "the command line", given


def _read(path: Path) -> dict[str, Any]:
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except (FileNotFoundError, NotADirectoryError):
        if path.is_symlink():  # a policy is meant to be there
            raise UsageError(f"{path} leads nowhere", f"edit or remove {path}") from None
        return {}
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise UsageError(f"{path} is not valid TOML: {error}", f"edit or remove {path}") from None
    except OSError as error:
        raise UsageError(f"{path} cannot be read: {error.strerror}", f"edit or remove {path}") from None


def _allowed(layer: dict[str, Any], path: Path, user_file: Path, warnings: list[str]) -> dict[str, Any]:
    """Only what a repository may decide about itself; the rest is named and refused."""
    for section, values in layer.items():
        if section in PROJECT_SECTIONS:
            continue
        keys = [f"{section}.{key}" for key in values] if isinstance(values, dict) else [section]
        warnings += [
            f"{path}: {key} is refused: a repository may not set it; put it in {user_file} if you want it"
            for key in keys
        ]
    return {section: values for section, values in layer.items() if section in PROJECT_SECTIONS}


def _from_environment(environ: Mapping[str, str]) -> dict[str, Any]:
    """Section -> key -> value of every `ADI_SECTION__KEY`; lists may be JSON."""
    found: dict[str, dict[str, object]] = {}
    nested = {
        name[len(PREFIX) :].lower(): value
        for name, value in environ.items()
        if name.upper().startswith(PREFIX) and "__" in name
    }
    for name, value in nested.items():
        section, _, key = name.partition("__")
        found.setdefault(section, {})[key] = value
    try:
        parsed = EnvironmentSource(Settings, environ)()
    except SettingsError:
        problem = "a setting in the environment that takes a list holds no JSON list"
        raise UsageError(problem, """write it as ADI_RUN__CHECKS='["pytest -q"]'""") from None
    for section, values in parsed.items():
        found.setdefault(section, {}).update(values)
    return found


class EnvironmentSource(EnvSettingsSource):
    """pydantic-settings' reader of the environment, over a mapping that the caller names."""

    def __init__(self, settings_cls: type[BaseSettings], environ: Mapping[str, str]) -> None:
        self.environ = environ
        super().__init__(settings_cls)

    def _load_env_vars(self) -> Mapping[str, str | None]:
        return {name.lower(): value for name, value in self.environ.items()}


def _known(layer: Mapping[str, Any], origin: str, warnings: list[str]) -> dict[str, dict[str, object]]:
    """The layer without unknown sections and keys, each reported with its nearest match."""
    kept: dict[str, dict[str, object]] = {}
    for section, values in layer.items():
        field = Settings.model_fields.get(section)
        if field is None:
            warnings.append(_unknown(origin, section, list(Settings.model_fields)))
            continue
        if not isinstance(values, Mapping):
            raise UsageError(f"{origin}: {section} must be a table of keys", f"write [{section}]")
        keys = cast(type[BaseModel], field.annotation).model_fields
        warnings += [
            _unknown(origin, f"{section}.{key}", [f"{section}.{name}" for name in keys])
            for key in values
            if key not in keys
        ]
        kept[section] = {key: value for key, value in values.items() if key in keys}
    return kept


def _unknown(origin: str, name: str, names: list[str]) -> str:
    near = difflib.get_close_matches(name, names, n=1, cutoff=0.5)
    return f"{origin}: unknown setting {name}" + (f", did you mean {near[0]}?" if near else "")


def _wrong_value(error: ValidationError) -> str:
    first = error.errors()[0]
    where = ".".join(str(part) for part in first["loc"])
    return f"setting {where}: {first['msg']}, got {first['input']!r}"
