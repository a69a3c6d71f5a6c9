"""Tiny trainings: a tiny base, rows for it, and a training in this process or in its own."""

import random
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import torch
from peft import LoraConfig, get_peft_model
from safetensors.torch import load_file

from model.tiny_torch import write_tiny_torch
from model.torch_files import quiet
from model.torch_text import Text
from model.torch_weights import Loaded, load
from model.train_job import Began, Corpus, Event, Facts, Job, Preference, Settings
from model.train_rows import IGNORED, Judged, Pair, Row, Rows
from model.train_run import run
from model.train_sft import trainer
from model.train_watch import Watch, Watched

torch.set_num_threads(1)

FAST: dict[str, Any] = {
    "rank": 4,
    "alpha": 8,
    "lr": 1e-2,
    "epochs": 2,
    "batch_rows": 2,
    "micro_rows": 2,
    "max_length": 64,
    "save_every": 2,
    "device": "cpu",
    "threads": 1,
    "corpus": Corpus(block=64, lr=1e-2),
    "kto": Preference(lr=1e-3),
    "dpo": Preference(lr=1e-3),
}
"""Settings with which a tiny model learns in moments."""


def tiny_base(folder: Path, **more: Any) -> Path:
    return write_tiny_torch(folder / "tiny", n_ctx=512, **more)


def loaded(base: Path, cache: Path) -> Loaded:
    return load(base, device="cpu", cache=cache)


def text_of(base: Loaded, fim: Any = None) -> Text:
    return Text(base.tokenizer, fim, ends=frozenset(base.ends))


def row(seed: int, prompt: int = 6, answer: int = 8, prompt_seed: int | None = None, **more: Any) -> Row:
    """Ordinary tokens, the last ones learned."""
    context = random.Random(prompt_seed if prompt_seed is not None else seed).choices(range(200), k=prompt)
    learned = random.Random(f"{seed}:answer").choices(range(200), k=answer)
    return Row((*context, *learned), (*[IGNORED] * prompt, *learned), **more)


def answers(count: int = 4) -> Rows:
    return Rows(answers=[row(seed) for seed in range(count)])


def judged(count: int = 4) -> Rows:
    return Rows(judged=[Judged(row(seed), seed % 2 == 0) for seed in range(count)])


def pairs(count: int = 4) -> Rows:
    return Rows(
        pairs=[Pair(row(seed, prompt_seed=seed), row(seed + 100, prompt_seed=seed)) for seed in range(count)]
    )


def job(base: Path, folder: Path, **settings: Any) -> Job:
    return Job(
        base=base,
        out=folder / "out",
        work=folder / "work",
        cache=folder / "cache",
        settings=Settings(**(FAST | settings)),
    )


def trained(
    base: Path,
    folder: Path,
    rows: Rows,
    tell: Callable[[Event], None] = lambda _: None,
    stop: Callable[[], bool] = lambda: False,
    **settings: Any,
) -> Facts:
    """Train in this process; what it writes is in `folder / "out"`."""
    (folder / "work").mkdir(parents=True, exist_ok=True)
    return run(job(base, folder, **settings), rows, tell, stop)


def logits(model: Any, ids: tuple[int, ...] = (10, 20, 30, 40)) -> torch.Tensor:
    with torch.inference_mode():
        found: torch.Tensor = model(torch.tensor([ids])).logits
    return found


def weights(folder: Path) -> dict[str, torch.Tensor]:
    """Of the adapter that was made."""
    return load_file(folder / "out" / "adapter" / "adapter_model.safetensors")


def same(one: Path, other: Path, **tolerance: float) -> bool:
    first, second = weights(one), weights(other)
    return first.keys() == second.keys() and all(
        torch.allclose(first[name], second[name], **tolerance) for name in first
    )


def stop_after(steps: int) -> Callable[[], bool]:
    """Wants a training to stop once it has been asked so often."""
    asked: Iterator[bool] = iter([False] * (steps - 1))
    return lambda: next(asked, True)


def watched(folder: Path, stage: Any = "sft", **settings: Any) -> Watched:
    asked = Settings(**(FAST | settings))
    return Watched(stage, folder, lambda _: None, lambda: False, asked, torch.device("cpu"), torch.float32)


def with_adapter(base: Path, cache: Path) -> tuple[Any, Any]:
    """A tiny base with an adapter to train, and its tokenizer."""
    found = loaded(base, cache)
    with quiet():
        model = get_peft_model(
            found.model, LoraConfig(task_type="CAUSAL_LM", r=4, target_modules="all-linear")
        )
    return model, found.tokenizer


def began(stage: Any = "sft") -> Began:
    return Began(stage=stage, step=0, of=0, rows=0, left_out=0, tokens=0, trained=0)


def sft_trainer(base: Path, folder: Path, rows: Sequence[Row]) -> tuple[Any, Any]:
    """A trainer that has not begun, and its model."""
    on = watched(folder / "sft")
    model, tokenizer = with_adapter(base, folder)
    with quiet():
        return trainer(on, Watch(on, began()), model, tokenizer, rows), model
