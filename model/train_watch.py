"""What every stage of training has in common: its arguments, its checkpoints, and somebody who watches.

Checkpoints are the trainer's, in a folder of the stage. One counts only once it is marked whole, after all of
it is on the disk: what a kill in the middle left is passed over and removed.
"""

import math
import os
import shutil
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import torch
from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments

from model.train_errors import NotFinite
from model.train_job import Began, Event, Progressed, Saved, Settings, Stage

Tell = Callable[[Event], None]
_WHOLE: Final = "whole"


@dataclass(slots=True)
class Watched:
    """One stage while it runs."""

    stage: Stage
    folder: Path
    """Of its checkpoints."""
    tell: Tell
    stop: Callable[[], bool]
    """Whether somebody wants it to stop; asked after each step, by the first process."""
    settings: Settings
    device: torch.device
    dtype: torch.dtype
    first: bool = True
    """This process is the first of those that train, the only one that tells."""
    processes: int = 1
    tokens: int = 0
    """That this process has computed since it began, context included."""
    stopped: bool = False
    began: float = field(default_factory=time.monotonic)

    def check(self, loss: torch.Tensor) -> None:
        """Before the gradient of a loss is taken. Raises NotFinite."""
        if not torch.isfinite(loss.detach()).all():
            raise _not_finite(self.stage, "loss", float(loss.detach().float().mean()))


def _not_finite(stage: Stage, what: str, value: float) -> NotFinite:
    return NotFinite(
        f"the {what} of stage {stage} became {value}", "a lower learning rate, or float32 for the weights"
    )


class Watch(TrainerCallback):
    """Tells each step, stops between two steps when asked to, marks checkpoints that are whole."""

    def __init__(self, watched: Watched, began: Began) -> None:
        self._on, self._began, self._from = watched, began, 0

    def on_train_begin(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **more: Any
    ) -> None:
        del args, control, more
        self._on.began, self._on.tokens, self._from = time.monotonic(), 0, state.global_step
        self._tell(self._began.model_copy(update={"step": state.global_step, "of": state.max_steps}))

    def on_step_end(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **more: Any
    ) -> None:
        del args, more
        if self._asked() and state.global_step < state.max_steps:
            self._on.stopped = control.should_save = control.should_training_stop = True

    def _asked(self) -> bool:
        """The first process is asked, and all do what it says: one alone would wait for the others."""
        asked = torch.tensor(int(self._on.first and self._on.stop()), device=self._on.device)
        if self._on.processes > 1:
            torch.distributed.broadcast(asked, 0)
        return bool(asked)

    def on_log(
        self,
        args: TrainingArguments,
        state: TrainerState,
        control: TrainerControl,
        logs: dict[str, float] | None = None,
        **more: Any,
    ) -> None:
        del args, control, more
        if not logs or "loss" not in logs:
            return
        for name in ("loss", "grad_norm"):
            if not math.isfinite(value := float(logs.get(name, 0.0))):
                raise _not_finite(self._on.stage, {"loss": "loss", "grad_norm": "gradient"}[name], value)
        seconds = max(time.monotonic() - self._on.began, 1e-9)
        left = (state.max_steps - state.global_step) / max(1, state.global_step - self._from)
        self._tell(
            Progressed(
                stage=self._on.stage,
                step=state.global_step,
                of=state.max_steps,
                loss=logs["loss"],
                rate=logs.get("learning_rate", 0.0),
                tokens_s=self._on.tokens * self._on.processes / seconds,
                eta_s=seconds * left,
            )
        )

    def on_save(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **more: Any
    ) -> None:
        del args, control, more
        if self._on.processes > 1:  # each writes a file of its own into the checkpoint
            torch.distributed.barrier()
        if self._on.first:
            mark_whole(self._on.folder / f"checkpoint-{state.global_step}")
            self._tell(Saved(stage=self._on.stage, step=state.global_step))

    def _tell(self, event: Event) -> None:
        if self._on.first:
            self._on.tell(event)


def mark_whole(folder: Path) -> None:
    """All files of a folder are brought to the disk before it is marked."""
    for path in folder.rglob("*"):
        if path.is_file():
            handle = os.open(path, os.O_RDONLY)
            os.fsync(handle)
            os.close(handle)
    (folder / _WHOLE).touch()


def last_checkpoint(folder: Path) -> Path | None:
    """The newest one that is whole; those that are not are removed."""
    whole = list[Path]()
    for path in folder.glob("checkpoint-*"):
        if (path / _WHOLE).is_file():
            whole.append(path)
        else:
            drop(path)
    return max(whole, key=lambda path: int(path.name.rpartition("-")[2]), default=None)


def arguments(on: Watched, rows: int, epochs: int, rate: float, micro: int) -> dict[str, Any]:
    """What all trainers are told.

    The rate begins at 0 where it rises at all, so that the first of few steps would be lost: a share of less
    than one step is none.
    """
    asked = on.settings
    whole = asked.checkpointing
    together = max(1, asked.batch_rows // (micro * on.processes))
    steps = epochs * math.ceil(rows / (micro * on.processes * together))
    return {
        "output_dir": str(on.folder),
        "per_device_train_batch_size": micro,
        "gradient_accumulation_steps": together,
        "num_train_epochs": epochs,
        "learning_rate": rate,
        "lr_scheduler_type": "cosine",
        "warmup_steps": int(asked.warmup * steps),
        "weight_decay": asked.weight_decay,
        "logging_steps": 1,
        "logging_nan_inf_filter": False,  # on, it shows the last loss that was a number
        "save_strategy": "steps",
        "save_steps": asked.save_every,
        "save_total_limit": 2,  # the one before is whole while the next is written
        "report_to": "none",
        "disable_tqdm": True,
        "seed": asked.seed,
        "use_cpu": on.device.type == "cpu",
        "bf16": on.device.type == "cuda" and on.dtype == torch.bfloat16,
        "gradient_checkpointing": whole,
        "activation_checkpointing": whole,
        "gradient_checkpointing_kwargs": {"use_reentrant": False} if whole else None,
        "dataloader_pin_memory": on.device.type == "cuda",
        "remove_unused_columns": False,
        "ddp_find_unused_parameters": False if on.processes > 1 else None,
    }


def drop(folder: Path) -> None:
    """Removes a folder, if it is there."""
    with suppress(FileNotFoundError):
        shutil.rmtree(folder)
