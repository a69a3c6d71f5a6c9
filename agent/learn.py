"""Learn: rows from the memory, an adapter trained on them, judged as it is served, promoted or not.

One round is named by what goes into it (rows, settings, base), so that the same command goes on where an
earlier one was broken off: rows are made anew and compared, training goes on from its checkpoint, the gate
from its rows. Whatever happens, the model that serves is the one that served before, until a gate says
PROMOTE. Training is a process of its own (model/train.py); this one stays light.
"""

import hashlib
import json
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Literal

from agent.errors import BUDGET, AdiError
from agent.learn_data import Prepared
from agent.learn_place import LearnPlace, replace_text
from memory.records import Record
from model.adapter_store import Base
from model.train_errors import TrainingStopped
from model.train_job import Event, Job, Settings
from model.train_job import Facts as Trained
from model.train_rows import Rows

PROMOTED: Final = 0
NOT_PROMOTED: Final = 3
STATE: Final = "round.json"
Stage = Literal["train", "store", "gate", "promote"]


class OutOfTime(AdiError):
    """The time for training is spent; its checkpoint is kept."""

    exit_code = BUDGET


class Round(Record):
    """One round, as far as it is."""

    id: str
    rows_sha256: str
    runs: tuple[str, ...]
    """Accepted runs that it was trained on."""
    synthetic: int
    adapter: str = ""
    """Its name in the store; empty before it is there."""
    verdict: str = ""
    """The gate's; empty before it, and where there was none."""
    reasons: tuple[str, ...] = ()
    report: str = ""
    """Path of the gate's report."""
    promoted: bool = False


@dataclass(frozen=True, slots=True)
class Judged:
    """What the gate said."""

    verdict: str
    reasons: tuple[str, ...]
    report: Path


@dataclass(frozen=True)
class Parts:
    """What a round is done with; each raises what means that it cannot be."""

    train: Callable[[Job, Rows, Callable[[Event], None]], Trained]
    add: Callable[[Path, Prepared, Trained], str]
    """Takes the trained folder into the store; the adapter's name."""
    gate: Callable[[str, Path], Judged] | None
    """Judges an adapter as it is served, rows and report in the folder. None: it is only stored."""
    promote: Callable[[str, str], None]
    """Serves an adapter from now on; the second is the reason."""


@dataclass(frozen=True)
class Wish:
    """What is asked of a round."""

    base: Base
    weights: Path
    """File or folder of the base."""
    cache: Path
    """Where its converted form is."""
    settings: Settings
    wall_s: float = 0.0
    """Of training; 0 is no limit."""


def learn(
    place: LearnPlace,
    prepared: Prepared,
    wish: Wish,
    parts: Parts,
    *,
    tell: Callable[[Event], None] = lambda _: None,
    began: Callable[[Stage, Round], None] = lambda _stage, _round: None,
) -> Round:
    """Do what is left of the round; what it came to. The caller holds the lock of `place`.

    Raises OutOfTime, KeyboardInterrupt and what the parts raise; the same call goes on afterwards.
    """
    digest = digest_of(prepared.rows)
    folder = place.rounds / round_id(digest, wish)
    now = read(folder) or Round(
        id=folder.name, rows_sha256=digest, runs=prepared.runs, synthetic=prepared.synthetic
    )
    keep(folder, now)
    if not now.adapter:
        trained = _trained(folder, prepared, wish, parts, tell, lambda: began("train", now))
        began("store", now)
        now = keep(folder, now, adapter=parts.add(folder / "out" / "adapter", prepared, trained))
    if not now.verdict and parts.gate is not None:
        began("gate", now)
        said = parts.gate(now.adapter, folder / "gate")
        now = keep(folder, now, verdict=said.verdict, reasons=said.reasons, report=str(said.report))
    if now.verdict == "PROMOTE" and not now.promoted:
        began("promote", now)
        parts.promote(now.adapter, f"round {now.id}: {now.report}")
        now = keep(folder, now, promoted=True)
    return now


def _trained(
    folder: Path,
    prepared: Prepared,
    wish: Wish,
    parts: Parts,
    tell: Callable[[Event], None],
    began: Callable[[], None],
) -> Trained:
    """What training told; done before, it is read."""
    job = Job(
        base=wish.weights, out=folder / "out", work=folder / "work", cache=wish.cache, settings=wish.settings
    )
    facts = job.out / "training.json"
    if facts.exists():
        return Trained.model_validate_json(facts.read_text(encoding="utf-8"))
    began()
    deadline = time.monotonic() + wish.wall_s if wish.wall_s else float("inf")
    late = [False]

    def heard(event: Event) -> None:
        tell(event)
        if time.monotonic() > deadline and not late[0]:
            late[0] = True
            raise KeyboardInterrupt  # training ends its step, writes a checkpoint, and says so

    try:
        return parts.train(job, prepared.rows, heard)
    except TrainingStopped as stopped:
        if late[0]:
            raise OutOfTime(
                f"the {wish.wall_s / 60:.0f} minutes for training are spent: {stopped}",
                "the same command goes on from its checkpoint",
            ) from stopped
        raise KeyboardInterrupt("Ctrl-C; training goes on from its checkpoint") from stopped


def keep(folder: Path, now: Round, **changed: object) -> Round:
    """Write down how far the round is."""
    new = now.model_copy(update=changed)
    replace_text(folder / STATE, new.model_dump_json(indent=1))
    return new


def read(folder: Path) -> Round | None:
    """A round as it was left; None where there is none that can be read."""
    try:
        return Round.model_validate_json((folder / STATE).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None


def rounds(place: LearnPlace) -> list[Round]:
    """All rounds, the one that was worked on last at the end."""
    found = sorted(place.rounds.glob(f"*/{STATE}"), key=lambda file: (file.stat().st_mtime_ns, file))
    return [one for file in found if (one := read(file.parent)) is not None]


def new_accepted(place: LearnPlace, runs: tuple[str, ...]) -> int:
    """Of the accepted runs those that no round which came to a verdict was trained on."""
    known = {run for one in rounds(place) if one.verdict for run in one.runs}
    return len(set(runs) - known)


def digest_of(rows: Rows) -> str:
    """SHA-256 of everything that is trained on."""
    digest = hashlib.sha256()
    for one in (*rows.documents, *rows.answers, *rows.judged, *rows.pairs):
        digest.update(repr(one).encode("utf-8", "surrogatepass"))
    return digest.hexdigest()


def round_id(rows_sha256: str, wish: Wish) -> str:
    """The folder of a round."""
    told = json.dumps([rows_sha256, wish.base.sha256, wish.settings.model_dump(mode="json")])
    return hashlib.sha256(told.encode()).hexdigest()[:12]
