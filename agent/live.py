"""After a promotion: where real work with the new adapter is worse than before it, it is rolled back.

Looked at when a run begins, so that the run is done with what is served from then on. Only for weights that
ADI serves itself, with the adapter that was promoted: who names one, or a server of their own, decides alone.
"""

from agent.models import choice_of
from agent.settings import Directories, Settings
from memory.store import Store
from model.adapter_store import Change
from model.connect import CURRENT
from model.errors import AdapterRefused


def settle(settings: Settings, places: Directories, store: Store) -> list[str]:
    """Roll back what live results speak against; what a person must know of it, mostly nothing.

    Raises AdapterDamaged where nobody can tell which adapter is served.
    """
    if settings.model.url or settings.model.adapter != CURRENT:
        return []
    choice = choice_of(settings, places)
    kept = choice.adapters
    if not kept.history():
        return []
    base = choice.base()
    name = kept.current(base.sha256)
    last = next((one for one in reversed(kept.history()) if _began(one, base.sha256, name)), None)
    if last is None:
        return []
    try:
        from agent.gate_live import watched  # scipy is of the extra `learn`, and slow to import

        told = watched(store, _served(base.name, last.before), _served(base.name, name), last.at)
    except ModuleNotFoundError as missing:
        return [
            f"results with the adapter {name} are not watched: pip install 'adi-agent[learn]' ({missing})"
        ]
    if told.advice != "ROLL BACK":
        return []
    try:
        back = kept.rollback(base.sha256, of=name, reason=f"live results: {told.reason}")
    except AdapterRefused:  # another run was quicker
        return []
    return [
        f"the adapter {name} is rolled back, {back.adapter or 'the base alone'} is served again: "
        f"of real work with it {told.reason} (adi model current)"
    ]


def _began(change: Change, base: str, name: str) -> bool:
    return change.action == "promote" and change.base == base and change.adapter == name


def _served(base: str, adapter: str) -> str:
    """A model's name as ADI's own servers tell it."""
    return f"{base}:{adapter}" if adapter else base
