"""One whole round of Learn: runs on MBPP collected, trained on, and gated on HumanEval; two more gates.

Run: ADI_BENCH=DIR python benchmarks/learn_round.py OUT [--model qwen2.5-coder-0.5b] [--until|--only STAGE]

Everything is done by the commands that a user types, in a data directory below OUT, and goes on where it
stopped: `adi eval mbpp --part dev` (whose runs are in the memory as all runs are), `adi learn --held-out
humaneval` (rows, training, store, gate, promotion), `adi learn gate --noise`, and the gate of an adapter that
was damaged on purpose. DIR holds the suites. A task of either suite is a repository of its own; what shares
words with HumanEval is left out of the rows. OUT/commands.txt gets each command and how it ended.
"""

import argparse
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from agent.models import choice_of
from agent.settings import directories, load
from model.adapter_add import add
from model.adapter_store import CONFIG, WEIGHTS, Facts
from model.catalogue import load as load_catalogue
from model.connect import found_model
from model.store import CONVERTED
from model.store import Store as ModelStore

STAGES: Final = ("collect", "learn", "noise", "damage")
DAMAGE: Final = 8.0
"""Times every number of the adapter's second matrices."""


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("out", type=Path)
    parser.add_argument("--model", default="qwen2.5-coder-0.5b")
    parser.add_argument("--until", choices=STAGES, default=STAGES[-1])
    parser.add_argument("--only", choices=STAGES, action="append")
    parser.add_argument("--tasks", type=int, default=150, help="of MBPP, to learn from")
    parser.add_argument("--held-out", type=int, default=0, help="tasks of HumanEval; 0: all")
    parser.add_argument("--epochs", type=int, default=2)
    parser.add_argument("--samples", type=int, default=1, help="runs of each task and model in the gate")
    parser.add_argument("--tokens", type=int, default=300, help="that a run may write")
    parser.add_argument("--wall", type=int, default=60, help="seconds of a run")
    parser.add_argument("--jobs", type=int, default=4)
    given = parser.parse_args()
    out = given.out.resolve()
    os.environ |= {
        "ADI_HOME": str(out / "home"),
        "ADI_MODEL__NAME": given.model,
        "ADI_RUN__COMPLETION_TOKENS": str(given.tokens),
        "ADI_RUN__WALL_S": str(given.wall),
        "ADI_MEMORY__RECALL": "false",  # a lesson of one task must not solve another
        "ADI_MEMORY__DISTIL": "false",
    }
    stages = {
        "collect": lambda: collect(out, given),
        "learn": lambda: adi(out, "learn", "--epochs", given.epochs, *gate(given), exits=(0, 3)),
        "noise": lambda: adi(out, "learn", "gate", "--noise", *gate(given)),
        "damage": lambda: adi(out, "learn", "gate", damaged(out), *gate(given), exits=(3,)),
    }
    for name in given.only or STAGES[: STAGES.index(given.until) + 1]:
        stages[name]()


def gate(given: argparse.Namespace) -> Sequence[object]:
    """Options of all gates."""
    suite = ("--held-out", "humaneval", "--held-out-limit", given.held_out, "--alone")
    return (*suite, "--samples", given.samples, "--jobs", given.jobs)


def collect(out: Path, given: argparse.Namespace) -> None:
    """Runs of ADI, and their owner's word that they may be trained on."""
    adi(out, "model", "pull", given.model)
    adi(out, "data", "consent", "grant", "--user")
    adi(
        out, "eval", "mbpp", "--part", "dev", "--limit", given.tasks, "--jobs", given.jobs,
        "--out", out / "mbpp.jsonl", "--resume",
    )  # fmt: skip


def damaged(out: Path) -> str:
    """The newest adapter with its numbers blown up, in the store under a name of its own."""
    import torch
    from safetensors.torch import load_file, save_file

    places = directories()
    settings = load().settings
    choice = choice_of(settings, places)
    kept, base = choice.adapters, choice.base()
    newest = max(map(kept.get, kept.names()), key=lambda one: one.created)
    folder = out / "damaged"
    folder.mkdir(exist_ok=True)
    tensors = load_file(kept.path(newest.name) / WEIGHTS)
    blown = {name: value * (DAMAGE if "lora_B" in name else 1.0) for name, value in tensors.items()}
    save_file({name: value.to(torch.float32).contiguous() for name, value in blown.items()}, folder / WEIGHTS)
    shutil.copy(kept.path(newest.name) / CONFIG, folder / CONFIG)
    weights = found_model(choice.name, ModelStore(places.models, load_catalogue(places.catalogue_file))).path
    facts = Facts(rows=newest.rows, dataset_sha256=newest.dataset_sha256, parent=newest.name)
    return add(kept, folder, base, weights, facts, cache=places.data / CONVERTED).name


def adi(out: Path, *words: object, exits: Sequence[int] = (0,)) -> None:
    """A command as a user types it; what it says goes to the screen and to a file of OUT."""
    told = [str(word) for word in words]
    began = time.monotonic()
    with (out / "commands.txt").open("a", encoding="utf-8") as file:
        code = subprocess.run([Path(sys.executable).with_name("adi"), *told], check=False).returncode
        said = " ".join(word.replace(f"{out}/", "") for word in told)
        file.write(f"adi {said}: exit code {code}, {time.monotonic() - began:.0f} s\n")
    if code not in exits:
        sys.exit(code)


if __name__ == "__main__":
    main()
