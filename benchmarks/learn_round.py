"""One whole round of Learn on small repositories: tasks seeded, runs collected, trained, gated on others.

Run: ADI_BENCH=DIR python benchmarks/learn_round.py OUT [--model qwen2.5-coder-0.5b] [--until|--only STAGE]

Everything is done by the commands that a user types, in a data directory below OUT, and goes on where it
stopped: `adi learn seed`, `adi learn collect`, `adi learn` (train, store, gate, promote), `adi learn gate
--noise`, and at last the gate of an adapter that was damaged on purpose. DIR holds `exercism/exercism.jsonl`,
Exercism's Python track (MIT): the reference solution of an exercise and its tests are a repository of their
own. The hash of its name decides whether a repository trains or is held out, so no held-out task is of a
repository that was trained on. OUT/commands.txt gets each command and how it ended.
"""

import argparse
import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
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
from sandbox.fresh import make_repository

STAGES: Final = ("seed", "collect", "learn", "noise", "damage")
DAMAGE: Final = 8.0
"""Times every number of the adapter's second matrices."""


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("out", type=Path)
    parser.add_argument("--model", default="qwen2.5-coder-0.5b")
    parser.add_argument("--until", choices=STAGES, default=STAGES[-1])
    parser.add_argument("--only", choices=STAGES, action="append")
    parser.add_argument("--repos", type=int, default=0, help="the first so many exercises; 0: all")
    parser.add_argument("--tasks", type=int, default=4, help="of each repository")
    parser.add_argument(
        "--samples", type=int, default=1, help="runs of each task: collected, and in the gate"
    )
    parser.add_argument("--general", type=int, default=40, help="tasks of HumanEval's dev part; 0: none")
    parser.add_argument("--tokens", type=int, default=400, help="that a run may write")
    parser.add_argument("--wall", type=int, default=120, help="seconds of a run")
    parser.add_argument("--jobs", type=int, default=2)
    given = parser.parse_args()
    out = given.out.resolve()
    os.environ |= {
        "ADI_HOME": str(out / "home"),
        "ADI_MODEL__NAME": given.model,
        "ADI_RUN__COMPLETION_TOKENS": str(given.tokens),
        "ADI_RUN__WALL_S": str(given.wall),
    }
    repos = [*repositories(out, given.repos)]
    stages = {
        "seed": lambda: seed(out, repos, given.tasks),
        "collect": lambda: adi(out, "learn", "collect", "--samples", given.samples, "--jobs", given.jobs),
        "learn": lambda: adi(out, "learn", *gate(given), exits=(0, 3)),
        "noise": lambda: adi(out, "learn", "gate", "--noise", *gate(given)),
        "damage": lambda: adi(out, "learn", "gate", damaged(out), *gate(given), exits=(3,)),
    }
    for name in given.only or STAGES[: STAGES.index(given.until) + 1]:
        stages[name]()


def gate(given: argparse.Namespace) -> Sequence[object]:
    """Options of the gate: what the models do by themselves, without ADI's small standard changes."""
    general = ("--general", "humaneval", "--general-limit", given.general) if given.general else ("--alone",)
    return ("--samples", given.samples, "--jobs", given.jobs, "--without", "mutations", *general)


def repositories(out: Path, most: int) -> Iterator[Path]:
    """Exercises as git repositories, in the order of the file."""
    file = Path(os.environ["ADI_BENCH"]) / "exercism" / "exercism.jsonl"
    rows = [json.loads(line) for line in file.read_text(encoding="utf-8").splitlines()]
    whole = [row for row in rows if len(row["reference"]) == 1]
    for row in whole[: most or None]:
        repo = out / "repos" / row["slug"]
        if not repo.exists():
            half = repo.with_name(f".{row['slug']}")
            shutil.rmtree(half, ignore_errors=True)
            half.mkdir(parents=True)
            files = {**row["files"], **row["test_files"], **row["reference"]}
            make_repository(half, {path: text.encode() for path, text in files.items()})
            half.rename(repo)
        yield repo


def seed(out: Path, repos: Sequence[Path], tasks: int) -> None:
    """Tasks, and the owner's word that they may be trained on."""
    adi(out, "model", "pull", os.environ["ADI_MODEL__NAME"])
    adi(out, "learn", "seed", *repos, "--limit", tasks, "--split-by", "repository")
    adi(out, "data", "consent", "grant", "--user")


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
