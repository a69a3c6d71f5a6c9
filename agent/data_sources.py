"""What an export of data sets reads besides runs: the person's key, the tools, the model's vocabulary."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

from agent.errors import EnvironmentMissing
from agent.settings import Directories, Settings

if TYPE_CHECKING:
    from feedback.export import Sources
    from feedback.formats import Context
    from feedback.scrub import Scrubber
    from memory.store import Store


def needs_data() -> None:
    """Raises EnvironmentMissing where what data sets are written and read with is not installed."""
    lacking = [name for name in ("pyarrow", "datasets", "datasketch") if not _is_there(name)]
    if lacking:
        raise EnvironmentMissing(
            f"data sets need what is not installed: {', '.join(lacking)}", "pip install 'adi-agent[data]'"
        )


def _is_there(name: str) -> bool:
    try:
        return find_spec(name) is not None
    except ValueError:  # it was taken out of the interpreter's modules
        return False


def scrubber(places: Directories) -> "Scrubber":
    """With this user's key and the names of this machine."""
    from feedback.personal import Machine, Pseudonyms, load_key
    from feedback.scrub import Scrubber

    here = Machine.here(places.data, places.state, places.cache, places.config)
    return Scrubber(Pseudonyms(load_key(places.data)), here)


@contextmanager
def context(settings: Settings, places: Directories) -> "Iterator[Context]":
    """What formats need. Without the model's file here there are no token ids, and the export says so."""
    from agent.models import choice_of
    from feedback.columns import facts
    from feedback.formats import Context
    from model.catalogue import load
    from model.errors import ModelMissing
    from model.store import Store as ModelStore
    from model.vocabulary import Vocabulary
    from tools.registry import schemas

    choice, catalogue = choice_of(settings, places), load(places.catalogue_file)
    try:
        file = ModelStore(places.models, catalogue).find(choice.name)
    except ModelMissing:
        yield Context(tools=schemas(), models=facts(catalogue))
        return
    known = catalogue.models.get(choice.name)
    fim = catalogue.fim(known.family if known and known.family else catalogue.family_of(choice.name))
    with Vocabulary(file.path, choice.name, fim) as tokens:
        yield Context(tools=schemas(), models=facts(catalogue), tokens=tokens)


@contextmanager
def sources(
    settings: Settings,
    places: Directories,
    stores: "Sequence[Store]",
    held_out: Sequence[Path] = (),
    frozen: Mapping[str, str] | None = None,
) -> "Iterator[Sources]":
    """Everything that an export reads besides the runs; where it needs a model's vocabulary, that too.

    The first store's decisions count, and every no of the others. `frozen` are splits of an earlier data set.
    """
    from feedback.export import Sources, today
    from feedback.heldout import HeldOut
    from feedback.permission import declared_by, judge_by
    from feedback.personal import Pseudonyms, load_key
    from memory.consent import Consents

    consents = [Consents(store) for store in stores]
    with context(settings, places) as found:
        yield Sources(
            permission=judge_by(*consents),
            declared=declared_by(consents[0]),
            scrubber=scrubber(places),
            pseudonyms=Pseudonyms(load_key(places.data)),
            held_out=HeldOut.read(held_out),
            context=found,
            now=today(),
            frozen=frozen or {},
            version=version("adi-agent"),
        )
