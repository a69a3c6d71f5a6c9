"""Adapters of the tiny model with random weights, and a store that holds them."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from peft import LoraConfig, get_peft_model

from model.adapter_add import add
from model.adapter_store import AdapterStore, Base, Facts, Manifest, base_of
from model.tiny import write_tiny
from model.torch_files import quiet
from model.torch_weights import load

torch.set_num_threads(1)
NAME = "qwen2.5-coder-tiny"
FAMILY = "qwen2.5-coder"


class Home:
    """A data directory with the tiny model beside it, as a GGUF file that both engines serve."""

    def __init__(self, root: Path, *, seed: int = 0) -> None:
        self.data = root / "data"
        self.data.mkdir(parents=True)
        self.weights = write_tiny(root / f"{NAME}.gguf", seed=seed)
        self.cache = self.data / "models" / "torch"
        self.cache.mkdir(parents=True)
        self.store = AdapterStore(self.data / "adapters")
        self._root = root

    @property
    def base(self) -> Base:
        return base_of(NAME, self.weights, self.cache, family=FAMILY)

    def trained(self, seed: int = 1, std: float = 0.3, **more: Any) -> Path:
        """A folder as PEFT writes it, whose weights change answers."""
        torch.manual_seed(seed)
        asked = {"r": 4, "lora_alpha": 8, "target_modules": "all-linear", **more}
        with self.model() as model, quiet():
            peft = get_peft_model(model, LoraConfig(task_type="CAUSAL_LM", **asked))
            for key, weight in peft.named_parameters():
                if "lora_" in key:
                    torch.nn.init.normal_(weight, std=std)
            folder = self._root / f"trained-{seed}-{len([*self._root.iterdir()])}"
            peft.save_pretrained(folder)
        return folder

    @contextmanager
    def model(self) -> Iterator[Any]:
        """The base as torch has it."""
        yield load(self.weights, device="cpu", cache=self.cache).model

    def add(self, folder: Path, **facts: Any) -> Manifest:
        return add(self.store, folder, self.base, self.weights, Facts(**facts), cache=self.cache)
