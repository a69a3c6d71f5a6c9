"""An adapter that was trained comes into the store: checked, converted, named, whole or not at all.

Taken are two files, the tensors and the numbers that go with them. A pickle or a file of code beside them is
refused even though nobody would read it: who put it there expects somebody to.
"""

import errno
import json
import math
import shutil
from collections.abc import Callable
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any, Final

import torch

from model.adapter_gguf import ARCHITECTURES, Lora, write_gguf
from model.adapter_store import (
    CONFIG,
    GGUF,
    MANIFEST,
    WEIGHTS,
    AdapterStore,
    Base,
    Facts,
    Manifest,
    content_name,
    sync,
)
from model.errors import AdapterRefused, ModelError, NoSpace
from model.store import content_hash, file_sha256
from model.torch_adapters import Plan, read
from model.torch_files import PICKLES
from model.torch_weights import skeleton

SPARE: Final = 64 << 20
"""Bytes that must stay free besides what is written."""
_DROPPED: Final = ("auto_mapping", "peft_version", "revision")
"""Fields of adapter_config.json that tell of the machine it was made on."""


def free_bytes(folder: Path) -> int:
    return shutil.disk_usage(folder).free


def add(
    store: AdapterStore,
    source: Path,
    base: Base,
    weights: Path,
    facts: Facts | None = None,
    *,
    cache: Path,
    free: Callable[[Path], int] = free_bytes,
) -> Manifest:
    """Take in the folder that PEFT wrote; the same bytes again are the adapter that is there.

    `weights` are the base's file or folder, `cache` is where its converted form and hashes are kept. Raises
    AdapterRefused for what is no plain LoRA of this base, NoSpace, and AdapterDamaged when the one that is
    there is not what was added.
    """
    _check_folder(source)
    files = sorted(weights.glob("*.safetensors")) if weights.is_dir() else [weights]
    if (found := content_hash(files, cache)) != base.sha256:
        raise AdapterRefused(
            f"{weights} is not the base {base.name}: its hash is {found[:12]}, not {base.sha256[:12]}"
        )
    model, names = skeleton(weights, cache)
    try:
        plan = read(source, model, (*names, base.name))
    except ModelError as error:
        raise AdapterRefused(error.message, error.hint) from error
    _check_numbers(source, plan)
    store.folder.mkdir(parents=True, exist_ok=True)
    size = (source / WEIGHTS).stat().st_size
    if (room := free(store.folder)) < 3 * size + SPARE:  # fp32 of 16 bits is twice as much
        raise NoSpace(
            f"the disk has {room / 1e6:.0f} MB free, the adapter takes {(3 * size + SPARE) / 1e6:.0f}",
            "free some space, such as by: adi model retire NAME",
        )
    try:
        with store.making() as part:
            return _written(
                store, part, source, plan, model.config, base.model_copy(), facts or Facts(), names[0]
            )
    except OSError as error:
        if error.errno not in (errno.ENOSPC, errno.EDQUOT):
            raise
        raise NoSpace(
            "the disk is full, the adapter does not fit", "free some space, and add it again"
        ) from error


def _written(
    store: AdapterStore,
    part: Path,
    source: Path,
    plan: Plan,
    config: Any,
    base: Base,
    facts: Facts,
    called: str,
) -> Manifest:
    """Writes all files of the adapter into `part`, and gives that its name."""
    shutil.copyfile(source / WEIGHTS, part / WEIGHTS)
    (part / CONFIG).write_text(json.dumps(_config(source, called), indent=1, sort_keys=True) + "\n", "utf-8")
    if config.model_type in ARCHITECTURES:
        write_gguf(lora(plan), config, part / GGUF)
    files = {file.name: file_sha256(file) for file in sorted(part.iterdir())}
    name = content_name(base.family or "adapter", base, files)
    target = store.folder / name
    if target.exists():
        return store.check(name)
    made = Manifest(
        **facts.model_dump(),
        name=name,
        base=base,
        files=files,
        rank=plan.rank,
        created=datetime.now(UTC).isoformat(timespec="seconds"),
        adi=version("adi-agent"),
    )
    (part / MANIFEST).write_text(made.model_dump_json(indent=1) + "\n", "utf-8")
    for file in part.iterdir():
        file.chmod(0o444)
        sync(file)
    try:
        part.rename(target)
    except OSError as error:  # another process added the same one in the meantime
        if error.errno not in (errno.EEXIST, errno.ENOTEMPTY):
            raise
        return store.check(name)
    sync(store.folder)
    return made


def lora(plan: Plan) -> Lora:
    """The adapter as llama.cpp needs it told."""
    told = plan.config
    prefix = "base_model.model."
    tensors = {key.removeprefix(prefix): tensor for key, tensor in plan.tensors.items()}
    modules = sorted({key.rpartition(".lora_")[0] for key in tensors})
    scales = {}
    for module in modules:
        rank = int(tensors[f"{module}.lora_A.weight"].shape[0])
        alpha = float((told.alpha_pattern or {}).get(module, told.lora_alpha))
        scales[module] = alpha / (math.sqrt(rank) if told.use_rslora else rank)
    return Lora(tensors, float(told.lora_alpha), scales)


def _check_folder(source: Path) -> None:
    """Raises AdapterRefused for what holds more than tensors and numbers."""
    if not source.is_dir():
        raise AdapterRefused(f"{source} is no folder", "name the folder that PEFT wrote")
    for file in sorted(source.rglob("*")):
        if file.suffix.lower() in PICKLES:
            raise AdapterRefused(
                f"{file} is a pickle, which can run code when it is read",
                "save the adapter as safetensors (save_pretrained does), and remove it",
            )
        if file.suffix.lower() in (".py", ".so"):
            raise AdapterRefused(f"{file} is code, which is never run", "remove it")
    for name in (WEIGHTS, CONFIG):
        if (source / name).is_symlink():
            raise AdapterRefused(f"{source / name} is a link", "put the file itself there")


def _check_numbers(source: Path, plan: Plan) -> None:
    """Raises AdapterRefused for what a broken training leaves."""
    if not all(bool(torch.isfinite(tensor).all()) for tensor in plan.tensors.values()):
        raise AdapterRefused(f"{source} holds numbers that are not finite", "train it again")
    if not any(bool(tensor.any()) for key, tensor in plan.tensors.items() if ".lora_B." in key):
        raise AdapterRefused(f"{source} changes nothing: all its lora_B are zero", "train it")
    if not plan.config.lora_alpha > 0:
        raise AdapterRefused(f"{source} changes nothing: its lora_alpha is {plan.config.lora_alpha}")


def _config(source: Path, called: str) -> dict[str, Any]:
    """adapter_config.json for another machine: the base by its name, lists in order."""
    told: dict[str, Any] = json.loads((source / CONFIG).read_text("utf-8"))
    kept = {key: value for key, value in told.items() if key not in _DROPPED}
    kept |= {"base_model_name_or_path": called, "inference_mode": True}
    return {
        key: sorted(value) if isinstance(value, list) and all(isinstance(v, str) for v in value) else value
        for key, value in kept.items()
    }
