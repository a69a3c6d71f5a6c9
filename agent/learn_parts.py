"""The real parts of a round: training, the store of adapters, the gate on the served model, promotion."""

from collections.abc import Callable
from pathlib import Path

from agent.errors import UsageError
from agent.gate_run import OnRow
from agent.learn import Judged, Parts, Wish
from agent.learn_data import Prepared
from agent.learn_exam import exam_of
from agent.learn_gate import GateWish, judge
from agent.models import choice_of
from agent.settings import Directories, Settings
from memory.store import Store
from model import train
from model.adapter_store import Facts
from model.catalogue import load as load_catalogue
from model.connect import found_model
from model.machine import has_gpu
from model.store import CONVERTED
from model.store import Store as ModelStore
from model.train_job import Facts as Trained
from model.train_job import Settings as Training


def wish_of(settings: Settings, places: Directories, training: Training, wall_s: float) -> Wish:
    """For the model of the settings, which ADI must serve itself. Raises UsageError, ModelError."""
    choice = choice_of(settings, places)
    if choice.remote:
        raise UsageError(
            "a model behind a URL cannot be trained here",
            "adi data export writes rows for who trains it: docs/scale.md",
        )
    catalogue = load_catalogue(places.catalogue_file)
    found = found_model(choice.name, ModelStore(places.models, catalogue))
    device = choice.device or ("auto" if has_gpu() else "cpu")
    return Wish(
        choice.base(),
        found.path,
        places.data / CONVERTED,
        training.model_copy(update={"device": device}),
        wall_s,
    )


def check(gate: GateWish | None, places: Directories) -> None:
    """What must be there before anything begins. Raises TrainingFailed and UsageError."""
    train.check_installed()
    if gate is not None:
        exam_of(places, gate.held_out)


def parts_of(
    settings: Settings,
    places: Directories,
    store: Store,
    wish: Wish,
    gate: GateWish | None,
    *,
    on_row: OnRow,
    say: Callable[[str], None],
) -> Parts:
    """Everything that a round needs."""
    kept = choice_of(settings, places).adapters

    def add(folder: Path, prepared: Prepared, trained: Trained) -> str:
        from model.adapter_add import add as take

        say("the adapter is taken into the store")
        facts = Facts(
            rows=prepared.runs,
            dataset_sha256=trained.rows_sha256,
            settings=trained.settings.model_dump(mode="json"),
            training=trained.model_dump(mode="json", exclude={"settings"}),
        )
        return take(kept, folder, wish.base, wish.weights, facts, cache=wish.cache).name

    def judged(name: str, folder: Path) -> Judged:
        assert gate is not None
        return judge(name, folder, gate, settings, places, store, on_row=on_row, say=say)

    def promote(name: str, reason: str) -> None:
        kept.promote(name, reason=reason)

    return Parts(train=train.train, add=add, gate=judged if gate is not None else None, promote=promote)
