"""Percolate: what happens in a run is kept before the next thing happens."""

from collections.abc import Callable, Sequence

from memory.records import Event, Payload
from memory.store import Store

Listener = Callable[[Event], None]
"""Something that draws or forwards events; it sees an event only after the store has it."""


class Recorder:
    """The one way an event of a run comes into being."""

    def __init__(self, store: Store, run_id: str, listeners: Sequence[Listener] = ()) -> None:
        self.store = store
        self.run_id = run_id
        self._listeners = tuple(listeners)

    def emit(self, payload: Payload) -> Event:
        """Store the event, then tell it to the listeners. Raises StoreError."""
        event = self.store.append(self.run_id, payload)
        self.tell(event)
        return event

    def tell(self, event: Event) -> None:
        """Pass on an event that the store has already."""
        for listener in self._listeners:
            listener(event)

    def keep(self, content: bytes) -> str:
        """Store bytes, such as a patch. Returns their SHA-256."""
        return self.store.put_artifact(content)
