"""Which llama.cpp server answers: one at a time; those it took the place of finish what they have begun.

Adapters have an order, which is llama.cpp's id of them. A request must name the scale of each: one that names
none gets the scales of the start over keys and values of whoever had the slot before (seen with the packaged
version; issue 26207 of llama.cpp is its kin). So whoever asks a lane with adapters asks with `loras`, and the
cache of prefixes pushed out of the slots, which knows no adapters, is off there (model/llama.py).
"""

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, Protocol

from model.backend import Adapter
from model.errors import ModelError, RequestRefused
from model.store import file_sha256

GGUF: Final = "adapter.gguf"
"""Of an adapter's folder (model/adapter_store.py), what llama.cpp reads."""
MOST: Final = 8
"""Adapters that are loaded at once; the one that was loaded first makes room."""
POLL_S: Final = 0.25
QUIET: Final = 4
"""Times in a row that a server which clients reach by themselves must be without work before it leaves."""
FINISH_S: Final = 1800.0
"""Longest wait for answers under way, in seconds: no call lasts longer (model/http.py)."""


class Server(Protocol):
    """A running llama.cpp server."""

    url: str

    def alive(self) -> bool: ...

    def close(self) -> None: ...


@dataclass(eq=False, slots=True)
class Lane:
    """A server with the adapters that it has loaded."""

    server: Server
    loaded: tuple[Adapter, ...] = ()
    """In the order of llama.cpp's ids."""
    direct: bool = False
    """ADI's own clients speak to it without the front, which then cannot count their requests."""
    gone: set[str] = field(default_factory=set)
    """Names of adapters that are not to be asked for any more."""
    running: int = 0
    """Requests that came through the front and have no end yet."""

    @property
    def url(self) -> str:
        return self.server.url

    @property
    def adapters(self) -> tuple[Adapter, ...]:
        return tuple(one for one in self.loaded if one.name not in self.gone)

    def loras(self, name: str) -> list[dict[str, Any]]:
        """The field `lora` of a request for an adapter, or for the base alone (""): all of them, by id."""
        return [
            {"id": number, "scale": 1.0 if one.name == name else 0.0}
            for number, one in enumerate(self.loaded)
        ]


class Lanes:
    """The one that answers, and those that finish. From any thread."""

    def __init__(
        self,
        first: Lane,
        grow: Callable[[tuple[Adapter, ...]], Lane],
        busy: Callable[[str], bool],
        moved: Callable[[], None] = lambda: None,
    ) -> None:
        """`grow` starts a server with adapters, `busy` tells whether the one at an address has work.

        `moved` is called before a lane that clients reach by themselves is left to finish.
        """
        self._grow, self._busy, self._moved = grow, busy, moved
        self._current = first
        self._finishing: list[Lane] = []
        self._lock = threading.Lock()
        self._growing = threading.Lock()
        self._closing = threading.Event()
        self._threads: list[threading.Thread] = []

    @property
    def current(self) -> Lane:
        return self._current

    @property
    def finishing(self) -> int:
        """Lanes that still have work."""
        return len(self._finishing)

    def enter(self) -> Lane:
        """The lane for a new request, which must be left at its end."""
        with self._lock:
            self._current.running += 1
            return self._current

    def leave(self, lane: Lane) -> None:
        with self._lock:
            lane.running -= 1

    def load(self, name: str, path: str) -> Adapter:
        """Make an adapter ready, then let it answer; whatever is being answered goes on.

        Raises RequestRefused; the servers are as before then.
        """
        with self._growing:
            wanted = _adapter(name, path)
            if wanted in self._current.adapters:
                return wanted
            kept = tuple(one for one in self._current.adapters if one.name != name)
            try:
                lane = self._grow((*kept[1 - MOST :], wanted))
            except ModelError as error:
                raise RequestRefused(
                    f"the adapter {name} is not served: {error.message}", error.hint
                ) from error
            self._switch(lane)
        return wanted

    def unload(self, name: str) -> None:
        """No request may ask for it any more; its memory is free after the next load."""
        with self._lock:
            self._current.gone.add(name)

    def close(self) -> None:
        """End all of them, whatever they do."""
        self._closing.set()
        for thread in self._threads:
            thread.join()
        for lane in (*self._finishing, self._current):
            lane.server.close()

    def _switch(self, lane: Lane) -> None:
        with self._lock:
            old, self._current = self._current, lane
            self._finishing.append(old)
        if old.direct:
            self._moved()
        thread = threading.Thread(target=self._finish, args=(old,), name="finish", daemon=True)
        self._threads.append(thread)
        thread.start()

    def _finish(self, lane: Lane) -> None:
        until, quiet = time.monotonic() + FINISH_S, 0
        while not self._closing.wait(POLL_S):
            idle = not lane.running and not (lane.direct and lane.server.alive() and self._busy(lane.url))
            quiet = quiet + 1 if idle else 0
            if quiet >= (QUIET if lane.direct else 1) or time.monotonic() > until:
                lane.server.close()
                with self._lock:
                    self._finishing.remove(lane)
                return


def read_adapters(adapters: tuple[tuple[str, str], ...]) -> tuple[Adapter, ...]:
    """Adapters by (name, path). Raises RequestRefused for what llama.cpp cannot read."""
    return tuple(_adapter(name, path) for name, path in adapters)


def _adapter(name: str, path: str) -> Adapter:
    place = Path(path)
    file = place / GGUF if place.is_dir() else place
    try:
        with file.open("rb") as stream:
            whole = stream.read(4) == b"GGUF"
        sha256 = file_sha256(file)
    except OSError as error:
        raise RequestRefused(
            f"cannot read the adapter {file}: {error.strerror}",
            "engine llama takes an adapter as a GGUF file",
        ) from error
    if not whole:
        raise RequestRefused(f"{file} is not a GGUF file", "engine llama takes an adapter as a GGUF file")
    return Adapter(name, str(place), sha256, 0)
