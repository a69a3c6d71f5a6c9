"""Adapters on this disk: immutable, named by their content, and one pointer to the one that is served.

    adapters/<family>-<12 hex>/adapter_config.json, adapter_model.safetensors   as PEFT reads them
                               adapter.gguf                                     the same for llama.cpp
                               manifest.json                                    what it is and came from
    adapters/state.json                                                         what was promoted, and why

The pointer is a file here and no row of the memory: weights belong to a machine, the memory may be a team's
Postgres, and every connection to the model reads the pointer. It is derived from the history, so that both
are changed in one step: a new file, brought to the disk, takes the old one's place under a lock.

Nothing here imports torch. How an adapter comes in is in model/adapter_add.py.
"""

import fcntl
import hashlib
import json
import os
import shutil
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Final, Literal

from pydantic import Field, JsonValue, ValidationError

from memory.checks import Record
from model.catalogue import check_name
from model.errors import AdapterDamaged, AdapterRefused, ModelError, ModelMissing, UnknownAdapter
from model.store import content_hash, file_sha256

WEIGHTS: Final = "adapter_model.safetensors"
CONFIG: Final = "adapter_config.json"
GGUF: Final = "adapter.gguf"
MANIFEST: Final = "manifest.json"
STATE: Final = "state.json"
PROMOTE: Final = "PROMOTE"
"""The gate's verdict that lets an adapter be served (model/gate_verdict.py)."""
LIST: Final = "adi model adapters"


class Base(Record):
    """The weights that an adapter was made for."""

    name: str
    """As the catalogue calls it, or the stem of its file."""
    sha256: str = Field(pattern=r"^[0-9a-f]{64}$")
    """Of the GGUF file, or over the hashes of a folder's safetensors (model.store.content_hash)."""
    family: str = ""


def base_of(name: str, path: Path, cache: Path, *, sha256: str = "", family: str = "") -> Base:
    """What the weights at a path are, as a base. `sha256` of the catalogue spares reading them."""
    files = sorted(path.glob("*.safetensors")) if path.is_dir() else [path]
    if not files:
        raise ModelMissing(f"{path} holds no safetensors", "adi model list")
    return Base(name=name, sha256=sha256 or content_hash(files, cache), family=family)


class Facts(Record):
    """Where an adapter comes from, as whoever trained it tells."""

    rows: tuple[str, ...] = ()
    """Ids of the rows it was trained on; who forgets a row finds the adapters by them."""
    dataset_sha256: str = ""
    """Of the data set's manifest."""
    settings: dict[str, JsonValue] = Field(default_factory=dict)
    parent: str = ""
    """Name of the adapter that training went on from; empty for the base alone."""
    training: dict[str, JsonValue] = Field(default_factory=dict)


class Manifest(Facts):
    """What an adapter is. Never changed."""

    schema_version: Literal[1] = 1
    name: str
    base: Base
    files: dict[str, str]
    """File name -> sha256 of all files beside this one."""
    rank: int
    """The largest of its layers."""
    created: str
    """UTC, ISO 8601."""
    adi: str
    """Version of ADI that wrote it."""


class Judged(Record):
    """One verdict of the gate on an adapter."""

    adapter: str
    verdict: str
    at: str
    report: str = ""
    """Path of the report, or id of the look at the held-out tasks."""
    report_sha256: str = ""


class Change(Record):
    """One change of what is served."""

    at: str
    action: Literal["promote", "rollback", "retire"]
    base: str
    """sha256 of the base it holds for."""
    adapter: str
    """What is served from then on, empty for the base alone; for `retire` what is gone."""
    before: str
    reason: str = ""
    verdict: str = ""
    """The gate's last word at that time; empty when it had none."""
    forced: bool = False


class _State(Record):
    schema_version: Literal[1] = 1
    history: tuple[Change, ...] = ()
    judged: tuple[Judged, ...] = ()

    def served(self, base: str) -> list[str]:
        """Adapters of a base that are promoted, the current one last; what was rolled back is not there."""
        stack: list[str] = []
        for change in self.history:
            if change.base != base:
                continue
            if change.action == "promote":
                stack.append(change.adapter)
            elif change.action == "rollback" and stack:
                stack.pop()
            elif change.action == "retire":
                stack = [name for name in stack if name != change.adapter]
        return stack

    def verdict(self, name: str) -> Judged | None:
        return next((one for one in reversed(self.judged) if one.adapter == name), None)


class AdapterStore:
    """The folder of adapters of one data directory. Nothing is created by asking."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def names(self) -> list[str]:
        """Sorted."""
        found = self.folder.glob(f"*/{MANIFEST}")
        return sorted(path.parent.name for path in found if not path.parent.name.startswith("."))

    def path(self, name: str) -> Path:
        """An adapter's folder. Raises UnknownAdapter, also for what is no name."""
        try:
            folder = self.folder / check_name(name)
        except ModelError as error:
            raise UnknownAdapter(f"{name!r} is no adapter's name", LIST) from error
        if not (folder / MANIFEST).is_file():
            known = ", ".join(self.names()) or "none"
            raise UnknownAdapter(f"there is no adapter {name} (there are: {known})", LIST)
        return folder

    def get(self, name: str) -> Manifest:
        """Raises UnknownAdapter, and AdapterDamaged for a manifest that cannot be read or is another's."""
        file = self.path(name) / MANIFEST
        try:
            found = Manifest.model_validate_json(file.read_bytes())
        except (OSError, ValidationError) as error:
            raise _damaged(name, f"{file.name} cannot be read") from error
        if found.name != name:
            raise _damaged(name, f"its manifest says {found.name!r}")
        return found

    def size(self, name: str) -> int:
        """Bytes."""
        return sum(file.stat().st_size for file in self.path(name).iterdir())

    def check(self, name: str) -> Manifest:
        """Reads all bytes and compares them with the name and the manifest. Raises AdapterDamaged."""
        found, folder = self.get(name), self.path(name)
        there = {file.name for file in folder.iterdir()} - {MANIFEST}
        if there != set(found.files):
            raise _damaged(name, f"its files are {', '.join(sorted(there)) or 'none'}")
        for file, sha256 in found.files.items():
            if (folder / file).is_symlink() or file_sha256(folder / file) != sha256:
                raise _damaged(name, f"{file} is not the one that was added")
        if not name.endswith(content_name("", found.base, found.files)):
            raise _damaged(name, "its name belongs to other files")
        return found

    def fitting(self, name: str, base: Base) -> Manifest:
        """An adapter for this base. Raises AdapterRefused for one that was made for another."""
        found = self.get(name)
        if found.base.sha256 != base.sha256:
            raise AdapterRefused(
                f"the adapter {name} was made for {found.base.name} ({found.base.sha256[:12]}), "
                f"not for {base.name} ({base.sha256[:12]})",
                f"adi model adapters, or serve {found.base.name}",
            )
        return found

    def current(self, base_sha256: str) -> str:
        """The adapter that is served with a base; empty for the base alone. Raises AdapterDamaged."""
        return (self._read().served(base_sha256) or [""])[-1]

    def verdict(self, name: str) -> Judged | None:
        """The gate's last word on an adapter."""
        return self._read().verdict(name)

    def history(self) -> tuple[Change, ...]:
        """All changes, the oldest first."""
        return self._read().history

    def judge(self, name: str, verdict: str, report: str = "", report_sha256: str = "") -> Judged:
        """Write down what the gate said. Raises UnknownAdapter."""
        self.path(name)
        word = Judged(adapter=name, verdict=verdict, at=_now(), report=report, report_sha256=report_sha256)
        with self._changing() as change:
            change(lambda old: old.model_copy(update={"judged": (*old.judged, word)}))
        return word

    def promote(
        self, name: str, *, reason: str = "", force: bool = False, ready: Callable[[], None] = lambda: None
    ) -> Change:
        """Serve an adapter from now on; what is served already stays, and nothing is written.

        `ready` is called before the pointer moves, and what it raises leaves the pointer where it was. Raises
        UnknownAdapter, AdapterDamaged, and AdapterRefused without the gate's PROMOTE, unless forced with a
        reason.
        """
        found = self.check(name)
        if force and not reason.strip():
            raise AdapterRefused(f"forcing {name} needs a reason, which is written down", "--force REASON")
        with self._changing() as change:
            state = self._read()
            word = state.verdict(name)
            said = word.verdict if word else ""
            if said != PROMOTE and not force:
                told = f"the gate said {said}" if said else "the gate has not judged it"
                raise AdapterRefused(
                    f"the adapter {name} is not promoted: {told}",
                    f"adi learn gate {name}, or adi model promote {name} --force REASON",
                )
            base = found.base.sha256
            before = (state.served(base) or [""])[-1]
            made = Change(
                at=_now(), action="promote", base=base, adapter=name, before=before, reason=reason,
                verdict=said, forced=force and said != PROMOTE,
            )  # fmt: skip
            if before == name:
                return next(one for one in reversed(state.history) if one.adapter == name)
            ready()
            change(lambda old: old.model_copy(update={"history": (*old.history, made)}))
        return made

    def rollback(
        self,
        base_sha256: str,
        *,
        of: str = "",
        reason: str = "",
        ready: Callable[[str], None] = lambda _name: None,
    ) -> Change:
        """Serve what was served before, at last the base alone. Raises AdapterRefused when it is.

        `of` names the adapter that must still be the one that is served, so that two who saw the same go back
        one step and not two. `ready` is called with the name, as with `promote`.
        """
        with self._changing() as change:
            stack = self._read().served(base_sha256)
            if not stack:
                raise AdapterRefused("the base is served alone: there is nothing to roll back", LIST)
            if of and stack[-1] != of:
                raise AdapterRefused(f"{of} is not served any more, {stack[-1]} is", LIST)
            back = stack[-2] if len(stack) > 1 else ""
            if back:
                self.check(back)
            ready(back)
            made = Change(
                at=_now(), action="rollback", base=base_sha256, adapter=back, before=stack[-1], reason=reason
            )
            change(lambda old: old.model_copy(update={"history": (*old.history, made)}))
        return made

    def holding(self, rows: Collection[str]) -> list[str]:
        """Adapters that were trained on one of these rows: those to retire when the rows are forgotten."""
        wanted = set(rows)
        return [name for name in self.names() if not wanted.isdisjoint(self.get(name).rows)]

    def retire(self, name: str, reason: str) -> Change:
        """Remove an adapter for good; what was served before it is served again if it was the current one.

        Nothing else ever removes one: all that were promoted can be rolled back to.
        """
        folder, base = self.path(name), self._base_of(name)
        with self._changing() as change:
            before = (self._read().served(base) or [""])[-1]
            made = Change(at=_now(), action="retire", base=base, adapter=name, before=before, reason=reason)
            change(lambda old: old.model_copy(update={"history": (*old.history, made)}))
            gone = folder.with_name(f".gone-{os.getpid()}-{name}")
            folder.replace(gone)
            shutil.rmtree(gone)
        return made

    def _base_of(self, name: str) -> str:
        """sha256 of an adapter's base, of a damaged one as its promotion told it."""
        try:
            return self.get(name).base.sha256
        except AdapterDamaged:
            return next((one.base for one in self._read().history if one.adapter == name), "")

    def _read(self) -> _State:
        file = self.folder / STATE
        try:
            return _State.model_validate_json(file.read_bytes())
        except FileNotFoundError:
            return _State()
        except (OSError, ValidationError) as error:
            raise AdapterDamaged(
                f"{file} cannot be read, so that nobody knows which adapter is served",
                f"restore it from a backup, or remove it to serve the base alone: rm {file}",
            ) from error

    @contextmanager
    def making(self) -> "Iterator[Path]":
        """A folder to write an adapter in, gone afterwards unless it got a name.

        What processes left that were killed is removed first: whoever writes holds a lock on the folder.
        """
        with self._changing():
            for left in filter(_unused, (*self.folder.glob(".gone-*"), *self.folder.glob(".new-*"))):
                shutil.rmtree(left, ignore_errors=True)
            part = self.folder / f".new-{os.getpid()}-{os.urandom(4).hex()}"
            part.mkdir()
            handle = os.open(part, os.O_RDONLY)
            fcntl.flock(handle, fcntl.LOCK_EX)
        try:
            yield part
        finally:
            os.close(handle)
            shutil.rmtree(part, ignore_errors=True)

    @contextmanager
    def _changing(self) -> "Iterator[Callable[[Callable[[_State], _State]], None]]":
        """One change at a time, over all processes; the function writes the new state in one step."""
        self.folder.mkdir(parents=True, exist_ok=True)
        with (self.folder / ".lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            yield lambda new: _replace(self.folder / STATE, new(self._read()).model_dump(mode="json"))


def content_name(family: str, base: Base, files: dict[str, str]) -> str:
    """The name that the content gives: `<family>-<12 hex>` of the base, the weights and their settings."""
    told = "\n".join((base.sha256, files[WEIGHTS], files[CONFIG]))
    return f"{family}-{hashlib.sha256(told.encode()).hexdigest()[:12]}"


def _unused(folder: Path) -> bool:
    """True when no process holds the folder's lock."""
    handle = os.open(folder, os.O_RDONLY)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    finally:
        os.close(handle)
    return True


def sync(path: Path) -> None:
    """Bring a file, or the names in a folder, to the disk."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def _replace(file: Path, told: object) -> None:
    new = file.with_name(f".{file.name}.{os.getpid()}")
    try:
        new.write_text(json.dumps(told, indent=1), "utf-8")
        sync(new)
        new.replace(file)
    finally:
        new.unlink(missing_ok=True)
    sync(file.parent)


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")


def _damaged(name: str, why: str) -> AdapterDamaged:
    return AdapterDamaged(
        f"the adapter {name} is damaged: {why}", f"adi model retire {name}, then train it again"
    )
