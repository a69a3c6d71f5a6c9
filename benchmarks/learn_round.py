"""One whole round of Learn on released libraries: tasks seeded, runs collected, trained, gated on others.

Run: python benchmarks/learn_round.py OUT [--model qwen2.5-coder-0.5b] [--until STAGE] [--only STAGE]

Everything is done by the commands that a user types, in a data directory below OUT, and goes on where it
stopped: `adi learn seed`, `adi learn collect`, `adi learn` (train, store, gate, promote), `adi learn
gate --noise`, and at last the gate of an adapter that was damaged on purpose. The libraries are source
distributions that pip downloads in the versions named here; the hash of a library's name decides whether it
trains or is held out, so no held-out task is of a library that was trained on. OUT/commands.txt gets each
command and how it ended.
"""

import argparse
import os
import shutil
import subprocess
import sys
import tarfile
import time
from collections.abc import Mapping, Sequence
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

TRAINING: Final = (
    "cachetools==8.0.2", "isodate==0.7.2", "mistune==3.4.0", "parse==1.22.4", "rfc3986==2.0.0",
    "schema==0.7.8", "semver==3.1.2", "shortuuid==1.0.13", "voluptuous==0.16.0", "webcolors==25.10.0",
    "xmltodict==1.0.4",
)  # fmt: skip
HELD_OUT: Final = (
    "first==2.0.2", "iniconfig==2.3.1", "itsdangerous==2.2.0", "markupsafe==3.0.4", "ordered-set==4.1.0",
    "toolz==1.2.0", "w3lib==2.5.0",
)  # fmt: skip
"""MIT, BSD or Apache licensed, with tests in the distribution that pass in the sandbox; taken for that alone.
The hash of its name decides for which part a library is (agent/seed_tasks.py); these are what it decided."""
STAGES: Final = ("seed", "collect", "learn", "noise", "damage")
DAMAGE: Final = 8.0
"""Times every number of the adapter's second matrices."""


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("out", type=Path)
    parser.add_argument("--model", default="qwen2.5-coder-0.5b")
    parser.add_argument("--until", choices=STAGES, default=STAGES[-1])
    parser.add_argument("--only", choices=STAGES, action="append")
    parser.add_argument("--tasks", type=int, default=8, help="of each library to learn from")
    parser.add_argument("--held-out", type=int, default=16, help="of each of the others")
    parser.add_argument(
        "--samples", type=int, default=1, help="runs of each task: collected, and in the gate"
    )
    parser.add_argument("--general", type=int, default=40, help="tasks of HumanEval's dev part; 0: none")
    parser.add_argument("--tokens", type=int, default=1_000, help="that a run may write")
    parser.add_argument("--wall", type=int, default=240, help="seconds of a run")
    parser.add_argument("--jobs", type=int, default=2)
    given = parser.parse_args()
    out = given.out.resolve()
    os.environ |= {
        "ADI_HOME": str(out / "home"),
        "ADI_MODEL__NAME": given.model,
        "ADI_RUN__COMPLETION_TOKENS": str(given.tokens),
        "ADI_RUN__WALL_S": str(given.wall),
    }
    training, held_out = ([unpacked(name, out) for name in names] for names in (TRAINING, HELD_OUT))
    stages = {
        "seed": lambda: seed(out, {given.tasks: training, given.held_out: held_out}),
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


def unpacked(requirement: str, out: Path) -> Path:
    """A library's source distribution as a git repository."""
    name = requirement.partition("==")[0]
    repo, sdists = out / "repos" / name, out / "sdists"
    if repo.exists():
        return repo
    sdists.mkdir(parents=True, exist_ok=True)
    pattern = f"{name.replace('-', '[-_]')}-*.tar.gz"
    if not [*sdists.glob(pattern)]:
        pip = [sys.executable, "-m", "pip", "download", "-q", "--no-deps", "--no-binary", ":all:"]
        subprocess.run([*pip, requirement], cwd=sdists, check=True)
    (file,) = sdists.glob(pattern)
    half = repo.with_name(f".{name}")
    shutil.rmtree(half, ignore_errors=True)
    with tarfile.open(file) as archive:
        archive.extractall(half, filter="data")
    (top,) = half.iterdir()
    git = ["git", "-c", "user.name=ADI", "-c", "user.email=adi@example.org"]
    for command in (["init", "-q"], ["add", "-A", "-f"], ["commit", "-q", "-m", requirement]):
        subprocess.run([*git, *command], cwd=top, check=True)
    top.rename(repo)
    half.rmdir()
    return repo


def seed(out: Path, repos: Mapping[int, Sequence[Path]]) -> None:
    """So many tasks of each, and the owner's word that they may be trained on."""
    adi(out, "model", "pull", os.environ["ADI_MODEL__NAME"])
    for number, some in repos.items():
        for repo in some:
            adi(out, "learn", "seed", repo, "--limit", number, "--split-by", "repository")
            adi(out, "data", "consent", "grant", "--repo", repo)


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
