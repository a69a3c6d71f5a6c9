"""All stages of one training in this process: base, adapter, stages, output. Heavy to import.

Each stage begins with the adapter that the one before it left in the work folder, so that a killed job goes
on where it was. The output folder appears in one step, when all of it is on the disk.
"""

import hashlib
import json
import os
import random
import resource
import shutil
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from importlib.metadata import version
from pathlib import Path
from typing import Any, Final, get_args

import torch
from safetensors.torch import load_file, save_file
from transformers.trainer_callback import PrinterCallback

from model import train_corpus, train_curves, train_preference, train_sft
from model.errors import NoSpace
from model.machine import cores
from model.store import file_sha256
from model.torch_files import quiet
from model.torch_text import Text
from model.torch_weights import Loaded, load
from model.train_errors import NothingLearned, OutputExists, TrainingFailed, TrainingStopped
from model.train_job import Began, Facts, Finished, Job, Stage, StageDone, StageFacts
from model.train_rows import Fit, Rows, fit
from model.train_watch import Tell, Watch, Watched, drop, last_checkpoint, mark_whole

with quiet():  # of torchao, which comes with PEFT
    from peft import LoraConfig, get_peft_model, get_peft_model_state_dict, set_peft_model_state_dict

_PACKAGES: Final = ("torch", "transformers", "trl", "peft", "accelerate")
_WEIGHTS: Final = "adapter_model.safetensors"
_END: Final = "<|endoftext|>"


@dataclass(slots=True)
class _Run:
    """What all stages share."""

    job: Job
    tell: Tell
    stop: Callable[[], bool]
    loaded: Loaded
    text: Text
    model: Any
    rank: int
    processes: int
    rows_sha256: str
    resumed: int = 0
    stages: list[StageFacts] = field(default_factory=list)
    curves: dict[str, list[dict[str, float]]] = field(default_factory=dict)


def run(job: Job, rows: Rows, tell: Tell, stop: Callable[[], bool], *, rows_sha256: str = "") -> Facts:
    """Trains and writes the output folder.

    `stop` is asked after each step. Raises TrainingFailed, ModelError for the base, and what torch and the
    system raise when memory or disk run out.
    """
    if job.out.exists():
        raise OutputExists(f"{job.out} is there already", "name another folder")
    rank, processes = int(os.environ.get("RANK", "0")), int(os.environ.get("WORLD_SIZE", "1"))
    if job.settings.processes > 1 and processes != job.settings.processes:
        raise TrainingFailed(f"{processes} processes were started, not {job.settings.processes}")
    torch.set_num_threads(job.settings.threads or max(1, cores() // processes))
    stages = _fitted(job, rows)
    state = _ready(job, tell, stop, rank, processes, rows_sha256)
    _check_room(job, trainable(state.model))
    if rows.documents:
        stages = {"corpus": _corpus(state, rows), **stages}
    for stage in get_args(Stage):
        if stage in stages:
            _stage(state, stage, stages[stage])
    return _written(state)


def _fitted(job: Job, rows: Rows) -> dict[Stage, Fit[Any]]:
    """The rows by stage. Raises RowsRefused, before anything is loaded."""
    given: dict[Stage, Sequence[Any]] = {"sft": rows.answers, "kto": rows.judged, "dpo": rows.pairs}
    if not any(given.values()) and not rows.documents:
        fit((), 1, 1, "training")
    limits = job.settings.max_length, job.settings.max_left_out
    return {stage: fit(some, *limits, stage) for stage, some in given.items() if some}


def _ready(
    job: Job, tell: Tell, stop: Callable[[], bool], rank: int, processes: int, rows_sha256: str
) -> _Run:
    asked = job.settings
    device = asked.device
    if torch.cuda.is_available() and device.startswith(("auto", "cuda")):
        device = f"cuda:{os.environ.get('LOCAL_RANK', '0')}"  # of those that model/train.py lets it see
    loaded = load(job.base, device=device, dtype=asked.dtype, cache=job.cache)
    random.seed(asked.seed)
    torch.manual_seed(asked.seed)
    config = LoraConfig(
        task_type="CAUSAL_LM",
        r=asked.rank,
        lora_alpha=asked.alpha,
        lora_dropout=asked.dropout,
        target_modules="all-linear",
    )
    with quiet():
        model = get_peft_model(loaded.model, config)
    if asked.checkpointing:
        model.enable_input_require_grads()  # else nothing before the first layer has a gradient to bring back
    text = Text(loaded.tokenizer, job.fim, ends=frozenset(loaded.ends))
    return _Run(job, tell, stop, loaded, text, model, rank, processes, rows_sha256)


def _check_room(job: Job, parameters: int) -> None:
    """Raises NoSpace where two checkpoints, each with an optimizer of two numbers a weight, do not fit."""
    need, free = parameters * 4 * 3 * 2, shutil.disk_usage(job.work).free
    if free < need:
        raise NoSpace(
            f"checkpoints take {need / 1e6:.0f} MB and the disk has {free / 1e6:.0f}", "free some space"
        )


def trainable(model: Any) -> int:
    """Weights that training can change. Raises NothingLearned when there are none."""
    count = sum(int(weight.numel()) for weight in model.parameters() if weight.requires_grad)
    if not count:
        raise NothingLearned("no weight of the adapter can be trained", "train a new one from the base")
    return count


def _corpus(state: _Run, rows: Rows) -> Fit[Any]:
    """The rows of continued training, of all passes."""
    asked = state.job.settings.corpus
    end = state.loaded.tokenizer.convert_tokens_to_ids(_END)
    if end not in state.text.controls:
        end = state.loaded.tokenizer.eos_token_id
    mixed = train_corpus.mixed(rows.documents, state.text, end, asked, state.job.settings.seed)
    return fit(mixed.rows, asked.block, 0, "corpus")


def _stage(state: _Run, stage: Stage, rows: Fit[Any]) -> None:
    """One stage, or what is left of it. Raises TrainingStopped when somebody stopped it."""
    folder, done = state.job.work / stage, state.job.work / f"{stage}.done"
    if (done / "whole").is_file():
        _take(state, done)
        return
    drop(done)
    point = last_checkpoint(folder)
    state.resumed += point is not None
    watched = Watched(
        stage=stage,
        folder=folder,
        tell=state.tell,
        stop=state.stop,
        settings=state.job.settings,
        device=state.loaded.device,
        dtype=state.loaded.dtype,
        first=state.rank == 0,
        processes=state.processes,
    )
    began = Began(
        stage=stage, step=0, of=0, rows=len(rows.rows), left_out=rows.left_out, tokens=rows.tokens,
        trained=rows.trained,
    )  # fmt: skip
    with quiet():
        trainer = _trainer(state, watched, Watch(watched, began), rows)
        trainer.remove_callback(PrinterCallback)
        trainable(state.model)
        before = _print_of(state.model)
        state.model.train()
        trainer.train(resume_from_checkpoint=str(point) if point else None)
    if watched.stopped:
        raise TrainingStopped(
            f"stopped after step {trainer.state.global_step} of {trainer.state.max_steps} of stage {stage}",
            "the same command goes on from there",
        )
    if before == _print_of(state.model):
        raise NothingLearned(f"stage {stage} ended with the very weights that it began with")
    _finish(state, watched, rows, trainer)
    if "ref" in state.model.peft_config:
        state.model.delete_adapter("ref")


def _trainer(state: _Run, watched: Watched, watch: Watch, rows: Fit[Any]) -> Any:
    given = (watched, watch, state.model, state.loaded.tokenizer, rows.rows)
    match watched.stage:
        case "corpus":
            return train_sft.trainer(*given, state.job.settings.corpus)
        case "sft":
            return train_sft.trainer(*given)
        case "kto":
            return train_preference.kto(*given)
        case "dpo":
            return train_preference.dpo(*given)


def _print_of(model: Any) -> str:
    """A hash of the adapter's weights."""
    told = get_peft_model_state_dict(model, adapter_name="default")
    digest = hashlib.sha256()
    for name in sorted(told):
        digest.update(told[name].detach().float().cpu().numpy().tobytes())
    return digest.hexdigest()


def _finish(state: _Run, watched: Watched, rows: Fit[Any], trainer: Any) -> None:
    """Keeps what a stage made, then gives its checkpoints' room back."""
    curve = train_curves.points(trainer.state.log_history)
    seconds = time.monotonic() - watched.began
    facts = StageFacts(
        stage=watched.stage,
        rows=len(rows.rows),
        left_out=rows.left_out,
        lengths=rows.lengths,
        tokens=rows.tokens,
        trained=rows.trained,
        steps=trainer.state.global_step,
        first_loss=curve[0]["loss"],
        last_loss=curve[-1]["loss"],
        seconds=round(seconds, 3),
        tokens_s=round(watched.tokens * state.processes / seconds, 1),
        weights=train_preference.weights(rows.rows) if watched.stage == "kto" else (1.0, 1.0),
    )
    state.stages.append(facts)
    state.curves[watched.stage] = curve
    if state.rank == 0:
        done = state.job.work / f"{watched.stage}.done"
        done.mkdir()
        save_file(_tensors(state.model), done / _WEIGHTS)
        (done / "facts.json").write_text(facts.model_dump_json(), "utf-8")
        (done / "curve.json").write_text(json.dumps(curve), "utf-8")
        mark_whole(done)
        drop(watched.folder)
        state.tell(StageDone(stage=watched.stage, first_loss=facts.first_loss, last_loss=facts.last_loss))
    if state.processes > 1:
        torch.distributed.barrier()


def _take(state: _Run, done: Path) -> None:
    """What an earlier process made of a stage."""
    facts = StageFacts.model_validate_json((done / "facts.json").read_text("utf-8"))
    state.stages.append(facts)
    state.curves[facts.stage] = json.loads((done / "curve.json").read_text("utf-8"))
    told: Any = set_peft_model_state_dict(state.model, load_file(done / _WEIGHTS), "default")
    assert not told.unexpected_keys, told.unexpected_keys


def _tensors(model: Any) -> dict[str, torch.Tensor]:
    told = get_peft_model_state_dict(model, adapter_name="default", save_embedding_layers=False)
    return {name: weight.detach().cpu().contiguous() for name, weight in told.items()}


def _written(state: _Run) -> Facts:
    """The output folder, in one step."""
    out = state.job.out
    part = out.with_name(f".{out.name}.{os.getpid()}.part")
    adapter = part / "adapter"
    if state.rank == 0:
        for left in out.parent.glob(f".{out.name}.*.part"):
            drop(left)
        adapter.mkdir(parents=True)
        save_file(_tensors(state.model), adapter / _WEIGHTS, metadata={"format": "pt"})
        config = state.model.peft_config["default"]
        config.base_model_name_or_path = state.loaded.names[0]  # a path would tell of this machine
        config.inference_mode = True
        config.save_pretrained(adapter)
    facts = _facts(state, file_sha256(adapter / _WEIGHTS) if state.rank == 0 else "")
    if state.rank == 0:
        (part / "training.json").write_text(facts.model_dump_json(indent=1) + "\n", "utf-8")
        train_curves.write(part, state.curves)
        mark_whole(part)
        (part / "whole").unlink()
        part.rename(out)
        for stage in facts.stages:
            drop(state.job.work / f"{stage.stage}.done")
        state.tell(Finished(adapter=out / "adapter", sha256=facts.adapter_sha256))
    return facts


def _facts(state: _Run, sha256: str) -> Facts:
    loaded, asked = state.loaded, state.job.settings
    if loaded.device.type == "cuda":
        memory = torch.cuda.max_memory_allocated(loaded.device)
    else:
        memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (
            1 if sys.platform == "darwin" else 1024
        )
    return Facts(
        base=loaded.names[0],
        fingerprint=loaded.fingerprint,
        rows_sha256=state.rows_sha256,
        settings=asked,
        stages=tuple(state.stages),
        adapter_sha256=sha256,
        rank=asked.rank,
        parameters=trainable(state.model),
        device=str(loaded.device),
        dtype=str(loaded.dtype).removeprefix("torch."),
        processes=state.processes,
        resumed=state.resumed,
        memory_bytes=memory,
        versions={name: version(name) for name in _PACKAGES},
    )
