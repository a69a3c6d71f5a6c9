"""LoRA adapters of a served model: loaded, replaced, chosen and unloaded while it serves.

PEFT builds the layers; which ones are in the model is decided here. While the base is in use the model holds
its own layers and nothing else, so that its answers are bit for bit those of a model that never saw an
adapter; choosing one puts its layers in their places. Only tensors and numbers are taken from an adapter's
folder: no pickles, no code, no expressions. Used by one thread, the one that computes.
"""

import json
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import torch
from safetensors.torch import load_file
from torch import nn

from model.backend import Adapter
from model.catalogue import check_name
from model.errors import ModelError, RequestRefused
from model.store import file_sha256
from model.torch_files import names_in, quiet
from model.torch_weights import plain_name

with quiet():  # of torchao, which comes with PEFT
    from peft import LoraConfig, inject_adapter_in_model, set_peft_model_state_dict
    from peft.tuners.tuners_utils import BaseTunerLayer

LARGEST: Final = 1024
"""Ranks above are refused: no LoRA needs them, and the memory is the server's."""
_KEY: Final = re.compile(r"base_model\.model\.(?P<module>[\w.]+)\.lora_(?P<part>[AB])\.weight")
_WORD: Final = re.compile(r"[\w.]+")
_USED: Final = ("r", "lora_alpha", "alpha_pattern", "use_rslora", "rank_pattern")
_TRAINING: Final = (
    "peft_type",
    "task_type",
    "auto_mapping",
    "peft_version",
    "base_model_name_or_path",
    "revision",
    "inference_mode",
    "target_modules",
    "exclude_modules",
    "lora_dropout",
    "init_lora_weights",
    "layers_to_transform",
    "layers_pattern",
    "megatron_core",
    "qalora_group_size",
    "ensure_weight_tying",
)
"""Fields of adapter_config.json that the finished weights no longer depend on."""
_HARMLESS_STARTS: Final = (True, False, None, "gaussian", "eva", "orthogonal")
"""Ways to begin training that leave the base as it is."""


@dataclass(frozen=True, slots=True)
class _Spot:
    """One place in the model."""

    place: dict[str, nn.Module | None]
    """The modules of the one above it: a store here takes a tenth of the time that add_module takes."""
    child: str
    base: nn.Module
    adapted: nn.Module


@dataclass(frozen=True, slots=True)
class _Held:
    """A loaded adapter."""

    about: Adapter
    serial: int
    spots: tuple[_Spot, ...]


class Adapters:
    """The adapters of one model."""

    def __init__(self, model: Any, names: Sequence[str] = ()) -> None:
        """`names`: what the model is called; an adapter that says it is for another one is refused.

        Without names only shapes are compared.
        """
        self._model = model
        self._names = tuple(names)
        self._held: dict[str, _Held] = {}
        self._serials = 0
        self.used = ""
        """The adapter in use, empty for the base."""

    def list(self) -> tuple[Adapter, ...]:
        """By name."""
        return tuple(self._held[name].about for name in sorted(self._held))

    def serial(self, name: str) -> int:
        """A number that no other load has had, 0 for the base: what was captured or cached belongs to it."""
        return self._held[name].serial if name else 0

    def load(self, name: str, path: Path) -> Adapter:
        """Load a folder that PEFT wrote; one of the same name is replaced, unless this one is refused.

        The base is in use afterwards. Raises RequestRefused.
        """
        self.use("")
        try:
            check_name(name)
            plan = read(path, self._model, self._names)
            spots = _built(self._model, plan)
        except ModelError as error:
            raise RequestRefused(error.message, error.hint) from error
        except torch.OutOfMemoryError as error:
            raise RequestRefused(f"the adapter {name} does not fit the memory of the device") from error
        self._serials += 1
        about = Adapter(name, str(path), plan.sha256, plan.rank)
        self._held[name] = _Held(about, self._serials, spots)
        return about

    def unload(self, name: str) -> None:
        """Give its memory back. Raises RequestRefused when it is not loaded."""
        self._known(name)
        if self.used == name:
            self.use("")
        del self._held[name]

    def use(self, name: str) -> None:
        """Compute with an adapter, or with the base alone (""). Raises RequestRefused for one not loaded."""
        if name == self.used:
            return
        held = self._known(name) if name else None
        if self.used:
            for spot in self._held[self.used].spots:
                spot.place[spot.child] = spot.base
        if held:
            for spot in held.spots:
                spot.place[spot.child] = spot.adapted
        self.used = name

    def _known(self, name: str) -> _Held:
        if name not in self._held:
            loaded = ", ".join(sorted(self._held)) or "none"
            raise RequestRefused(f"no adapter {name!r} is loaded (loaded: {loaded})")
        return self._held[name]


@dataclass(frozen=True, slots=True)
class Plan:
    """What a folder asks for, found to fit."""

    config: LoraConfig
    tensors: dict[str, torch.Tensor]
    sha256: str
    rank: int
    """The largest of its layers."""


def read(path: Path, model: Any, names: Sequence[str]) -> Plan:
    """What a folder of PEFT's holds. Raises ModelError for what is no LoRA adapter of this model."""
    told = _told(path)
    file = path / "adapter_model.safetensors"
    if not file.is_file():
        if (path / "adapter_model.bin").is_file():
            raise ModelError(
                f"{path}/adapter_model.bin is a pickle, which can run code when it is read",
                "save the adapter as safetensors (save_pretrained does)",
            )
        raise ModelError(f"{path} holds no adapter_model.safetensors", "name the folder that PEFT wrote")
    served = names[0] if names else type(model).__name__
    _same_base(told.get("base_model_name_or_path"), names)
    ranks = _ranks(names_in(file), model, str(told.get("base_model_name_or_path") or "another model"), served)
    config = LoraConfig(
        r=max(ranks.values()),
        lora_alpha=_number(told, "lora_alpha", 8),
        use_rslora=told.get("use_rslora") is True,
        target_modules=list(ranks),
        rank_pattern=ranks if len(set(ranks.values())) > 1 else {},
        alpha_pattern=_alphas(told, ranks),
        init_lora_weights=False,
        lora_dropout=0.0,
        inference_mode=True,
    )
    return Plan(config, load_file(file), file_sha256(file), max(ranks.values()))


def _told(path: Path) -> dict[str, Any]:
    """adapter_config.json. Raises ModelError for anything but plain LoRA."""
    place = path / "adapter_config.json"
    try:
        told = json.loads(place.read_text("utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise ModelError(f"{place} cannot be read: {error}", "name the folder that PEFT wrote") from error
    if not isinstance(told, dict) or told.get("peft_type") != "LORA":
        kind = told.get("peft_type") if isinstance(told, dict) else None
        raise ModelError(f"{path} holds an adapter of kind {kind!r}; only LORA is served")
    if code := sorted(file.name for file in path.glob("*.py")):
        raise ModelError(f"{path} brings code of its own ({code[0]}), which is never run", "remove it")
    nothing: tuple[object, ...] = (None, False, 0, "", "none", [], {})
    asks = [key for key, value in told.items() if key not in (*_USED, *_TRAINING) and value not in nothing]
    asks = [key for key in asks if not (key == "runtime_config" and not any(told[key].values()))]
    start = told.get("init_lora_weights")
    if not any(start is way or (isinstance(way, str) and start == way) for way in _HARMLESS_STARTS):
        asks.append("init_lora_weights")
    if asks:
        raise ModelError(f"the adapter {path} asks for {', '.join(sorted(asks))}, which is not served")
    return told


def _same_base(base: object, names: Sequence[str]) -> None:
    if not names or not isinstance(base, str) or not base:
        return
    if plain_name(base) not in {plain_name(name) for name in names}:
        raise ModelError(
            f"the adapter was made for {base}, but {names[0]} is served",
            "serve its own base, or train it on this one",
        )


def _ranks(shapes: dict[str, tuple[int, ...]], model: Any, base: str, served: str) -> dict[str, int]:
    """Rank by module. Raises ModelError unless each module is there in the right shape, with both parts."""
    parts: dict[str, dict[str, tuple[int, ...]]] = {}
    for key, shape in shapes.items():
        found = _KEY.fullmatch(key)
        if not found or len(shape) != 2:
            raise ModelError(f"the adapter has a tensor {key}, which is no part of a plain LoRA")
        parts.setdefault(found["module"], {})[found["part"]] = shape
    if not parts:
        raise ModelError("the adapter has no tensors")
    linear = {name: module for name, module in model.named_modules() if hasattr(module, "in_features")}
    ranks = {}
    for module, pair in parts.items():
        if module not in linear:
            raise ModelError(
                f"the adapter changes {module}, which {served} does not have: it was made for {base}"
            )
        wide, tall = linear[module].in_features, linear[module].out_features
        rank, there = pair.get("A", (0, 0))
        if (there, pair.get("B")) != (wide, (tall, rank)) or not 0 < rank <= LARGEST:
            told = " and ".join(f"lora_{part} {shape}" for part, shape in sorted(pair.items()))
            raise ModelError(
                f"the adapter was made for {base}, not for {served}: {module} is ({tall}, {wide}) here, "
                f"and the adapter's is {told}"
            )
        ranks[module] = rank
    return ranks


def _number(told: dict[str, Any], key: str, default: int) -> Any:
    value = told.get(key, default)
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise ModelError(f"the adapter's {key} is no number")
    return value


def _alphas(told: dict[str, Any], ranks: dict[str, int]) -> dict[str, Any]:
    """alpha by module, where the adapter has more than one. Raises ModelError for expressions."""
    pattern = told.get("alpha_pattern") or {}
    if not isinstance(pattern, dict) or not all(_WORD.fullmatch(key) for key in pattern):
        raise ModelError("the adapter's alpha_pattern is no table of module names")
    found = {}
    for module in ranks:
        for key in pattern:
            if module == key or module.endswith(f".{key}"):
                found[module] = _number(pattern, key, 0)
                break
    return found


def _built(model: Any, plan: Plan) -> tuple[_Spot, ...]:
    """The adapter's layers, the model left as it was."""
    with quiet():
        try:
            inject_adapter_in_model(plan.config, model, "only")
            told: Any = set_peft_model_state_dict(model, plan.tensors, "only")
        finally:
            spots = _harvest(model)
    assert not told.unexpected_keys, told.unexpected_keys
    return spots


def _harvest(model: Any) -> tuple[_Spot, ...]:
    """Take PEFT's layers out again, and its notes on the model."""
    names = [name for name, module in model.named_modules() if isinstance(module, BaseTunerLayer)]
    spots = []
    for name in names:
        above, _, child = name.rpartition(".")
        place, adapted = model.get_submodule(above)._modules, model.get_submodule(name)
        adapted.requires_grad_(False).eval()
        spots.append(_Spot(place, child, adapted.get_base_layer(), adapted))
    for spot in spots:
        spot.place[spot.child] = spot.base
    if hasattr(model, "peft_config"):
        del model.peft_config
    return tuple(spots)
