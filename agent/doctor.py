"""Whether this machine has what ADI needs: read-only checks, bounded in time, each with its mending."""

import importlib.util
import os
import platform
import shutil
import sqlite3
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final, Literal

from agent.errors import expected, sentence
from agent.settings import Directories, Settings

if TYPE_CHECKING:
    from model.catalogue import Entry

GIB: Final = 1024**3
DISK_NEEDED: Final = 1 * GIB
DISK_WANTED: Final = 5 * GIB
SERVER_OVERHEAD: Final = 1.3
"""Memory of a served model as a multiple of its file: weights, cache and buffers."""
LIMIT_S: Final = 20.0
"""Longest wait for all checks together; verifying a model's hash waits longer."""

Status = Literal["pass", "warn", "fail"]


@dataclass(frozen=True, slots=True)
class Finding:
    """What one check saw."""

    name: str
    status: Status
    detail: str
    fix: str = ""
    """The one command that mends it; empty when nothing needs mending."""


@dataclass(frozen=True, slots=True)
class Subject:
    """What is examined."""

    settings: Settings
    places: Directories
    verify: bool = False
    """Read every byte of the model and compare its hash."""
    profiles: tuple[str, ...] = ("python",)
    """Sandbox images that must be there, unless the settings name another."""

    @property
    def model_name(self) -> str:
        from model.connect import DEFAULT

        return self.settings.model.name or DEFAULT

    @property
    def remote(self) -> bool:
        """True when somebody else serves the model."""
        model = self.settings.model
        return model.engine == "url" or (model.engine == "auto" and bool(model.url))


def check_python(_: Subject) -> Finding:
    return Finding("python", "pass", f"{platform.python_version()} at {sys.executable}")


def check_git(_: Subject) -> Finding:
    from sandbox.errors import RepositoryState
    from sandbox.shadow import check_git_version

    try:
        return Finding("git", "pass", check_git_version())
    except RepositoryState as error:
        return Finding("git", "fail", error.message, "sudo apt-get install git")


def check_docker(_: Subject) -> Finding:
    from sandbox.client import connect
    from sandbox.errors import DockerMissing

    try:
        client = connect()
    except DockerMissing as error:
        return Finding("docker", "fail", str(error), _command(error.hint) or "adi doctor --fix")
    try:
        version = client.version()
    finally:
        client.close()
    return Finding("docker", "pass", f"engine {version.get('Version', '?')}, API {client.api_version}")


def check_isolation(subject: Subject) -> Finding:
    from sandbox.advisories import describe, known_escapes
    from sandbox.client import connect
    from sandbox.errors import DockerMissing, IsolationMissing, WeakerThanAsked
    from sandbox.isolation import Engine, choose

    try:
        client = connect()
    except DockerMissing:
        return Finding("isolation", "fail", "unknown without Docker", "adi doctor --fix")
    with closing(client):
        engine = Engine.ask(client)
    wanted = subject.settings.sandbox
    try:
        found = choose(engine, wanted.isolation, wanted.runtime)
    except (IsolationMissing, WeakerThanAsked) as error:
        return Finding("isolation", "fail", error.message, error.hint)
    doubts = [describe(*known_escapes(found))] + ["swap is not limited"] * (not engine.limits["swap"])
    if not any(doubts):
        return Finding("isolation", "pass", str(found))
    fix = "sudo apt-get install --only-upgrade runc  # or use gVisor: docs/isolation.md"
    return Finding("isolation", "warn", "; ".join(filter(None, [str(found), *doubts])), fix)


def check_image(subject: Subject) -> Finding:
    from sandbox.client import connect
    from sandbox.errors import DockerMissing
    from sandbox.images import is_present, recipe

    given = subject.settings.sandbox.image
    tags = [given] if given else [recipe(name).tag for name in subject.profiles]
    try:
        client = connect()
    except DockerMissing:
        return Finding("image", "fail", f"{', '.join(tags)}: unknown without Docker", "adi doctor --fix")
    try:
        missing = [tag for tag in tags if not is_present(tag, client)]
    finally:
        client.close()
    if missing:
        detail = f"not there: {', '.join(missing)}; making one takes a minute or two"
        return Finding("image", "fail", detail, "adi doctor --fix")
    return Finding("image", "pass", ", ".join(tags))


def check_gpu(_: Subject) -> Finding:
    query = "--query-gpu=name,memory.total,driver_version"
    found = _output(["nvidia-smi", query, "--format=csv,noheader"])
    if not found:
        return Finding("gpu", "pass", "none found; models run on the CPU")
    first = found.splitlines()[0]
    from model.machine import lacking

    if lacking():
        return Finding("gpu", "warn", f"{first}; nothing that could use it", "pip install 'adi-agent[torch]'")
    return Finding("gpu", "pass", first)


def check_model(subject: Subject) -> Finding:
    if subject.remote:
        return Finding("model", "pass", f"served at {subject.settings.model.url}")
    from model.catalogue import load
    from model.connect import found_model
    from model.errors import ModelMissing
    from model.store import Store, is_right

    name, catalogue = subject.model_name, load(subject.places.catalogue_file)
    pull = f"adi model pull {name}"
    entry = catalogue.models.get(name)
    try:
        found = found_model(name, Store(subject.places.models, catalogue))
    except ModelMissing as error:
        size = f", {entry.size / 1e9:.2f} GB to fetch" if entry else ""
        return Finding("model", "fail", f"{error}{size}", pull)
    detail = f"{found.name}, {_bytes(found.path) / 1e9:.2f} GB at {found.path}"
    if subject.verify and entry is not None:
        if not is_right(found.path, entry):
            return Finding("model", "fail", f"{detail}: its hash is wrong", pull)
        detail += ", hash verified"
    return Finding("model", "pass", detail)


def check_server(subject: Subject) -> Finding:
    if subject.remote:
        return Finding("server", "pass", "not needed, the model has a URL")
    wanted = subject.settings.model.engine
    if wanted != "torch" and importlib.util.find_spec("xllamacpp") is None:
        return Finding(
            "server", "fail", "xllamacpp is not installed", "pip install --force-reinstall adi-agent"
        )
    from model.errors import ModelError
    from model.serving import check_extra
    from model.state import read_state

    try:
        if wanted == "torch":
            check_extra()
    except ModelError as error:
        return Finding("server", "fail", error.message, error.hint)
    state = read_state(subject.places.server)
    if state is None or not state.alive():
        when = (
            "not running; it starts with the first"
            if state is None
            else "ended; it starts again with the next"
        )
        return Finding("server", "pass", f"engine {wanted}, {when} task")
    return Finding("server", "pass", f"{state.name} at {state.url}, {state.how}, process {state.pid}")


def check_disk(subject: Subject) -> Finding:
    place = next(p for p in (subject.places.data, *subject.places.data.parents) if p.exists())
    free = shutil.disk_usage(place).free
    detail = f"{free / GIB:.1f} GiB free at {place}"
    if free < DISK_NEEDED:
        return Finding("disk", "fail", detail, "adi model list  # shows what could be removed")
    if free < DISK_WANTED:
        return Finding("disk", "warn", detail, "adi model list  # shows what could be removed")
    return Finding("disk", "pass", detail)


def check_memory(subject: Subject) -> Finding:
    import psutil

    memory = psutil.virtual_memory()
    detail = f"{memory.available / GIB:.1f} of {memory.total / GIB:.1f} GiB available"
    entry = None if subject.remote else _entry(subject)
    needed = int(entry.size * SERVER_OVERHEAD) if entry else 0
    needed += subject.settings.sandbox.memory_mb * 1024**2
    if memory.total < needed:
        smaller = "adi run --model qwen2.5-coder-0.5b"
        return Finding("memory", "warn", f"{detail}; model and sandbox may take {needed / GIB:.1f}", smaller)
    return Finding("memory", "pass", detail)


def check_sqlite(_: Subject) -> Finding:
    from memory.engine import wal_is_safe

    with sqlite3.connect(":memory:") as connection:
        options = {row[0] for row in connection.execute("PRAGMA compile_options")}
    connection.close()
    search = "full-text search" if "ENABLE_FTS5" in options else "no full-text search"
    journal = (
        "WAL" if wal_is_safe(sqlite3.sqlite_version_info) else "rollback journal (this build's WAL has a bug)"
    )
    return Finding("sqlite", "pass", f"{sqlite3.sqlite_version}, {search}, {journal}")


def check_store(subject: Subject) -> Finding:
    from memory import filesystem

    database = subject.places.database
    place = next(p for p in (database, *database.parents) if p.exists())
    if not os.access(place, os.W_OK):
        return Finding("store", "fail", f"{place} cannot be written", f'sudo chown -R "$USER" {place}')
    if not database.exists():
        return Finding("store", "pass", f"{database} is made by the first run")
    connection = sqlite3.connect(f"file:{database}?mode=ro", uri=True, timeout=2.0)
    try:
        runs = connection.execute("SELECT count(*) FROM run").fetchone()[0]
    except sqlite3.Error as error:
        return Finding("store", "fail", f"{database}: {error}", "adi memory salvage")
    finally:
        connection.close()
    if warning := filesystem.warning(database):
        return Finding("store", "warn", warning, "export ADI_HOME=DIRECTORY")
    return Finding("store", "pass", f"{database}, {runs} runs")


CHECKS: Final[tuple[Callable[[Subject], Finding], ...]] = (
    check_python,
    check_git,
    check_docker,
    check_isolation,
    check_image,
    check_gpu,
    check_model,
    check_server,
    check_disk,
    check_memory,
    check_sqlite,
    check_store,
)


def examine(subject: Subject, limit_s: float = LIMIT_S) -> Iterator[Finding]:
    """All findings in a fixed order; a check that hangs or breaks is a finding too."""
    results: list[list[Finding]] = [[] for _ in CHECKS]
    threads = [
        threading.Thread(target=_guarded, args=(check, subject, found), daemon=True)
        for check, found in zip(CHECKS, results, strict=True)
    ]
    for thread in threads:
        thread.start()
    end = time.monotonic() + (600.0 if subject.verify else limit_s)
    for check, thread, found in zip(CHECKS, threads, results, strict=True):
        thread.join(max(end - time.monotonic(), 0.0))
        name = check.__name__.removeprefix("check_")
        yield found[0] if found else Finding(name, "fail", f"no answer within {limit_s:.0f} s", "adi doctor")


def _guarded(check: Callable[[Subject], Finding], subject: Subject, found: list[Finding]) -> None:
    try:
        found.append(check(subject))
    except Exception as error:  # noqa: BLE001 - a check that breaks is itself a finding
        fix = getattr(error, "hint", "") if expected(error) else "adi doctor --debug"
        found.append(Finding(check.__name__.removeprefix("check_"), "fail", sentence(error), fix))


def docker_state() -> str:
    """Where code runs, in one line."""
    found = check_docker(Subject(Settings(), Directories(Path(), Path(), Path(), Path())))
    if found.status == "pass":
        return f"Docker {found.detail.split(',')[0]}, network off"
    return f"not available: {found.detail} ({found.fix})"


def model_state(settings: Settings, places: Directories) -> str:
    """Which model answers, in one line."""
    subject = Subject(settings, places)
    if subject.remote:
        return f"{subject.settings.model.name or 'default'} at {subject.settings.model.url}"
    found = check_model(subject)
    return subject.model_name if found.status == "pass" else f"{found.detail} ({found.fix})"


def _bytes(place: Path) -> int:
    """Size of a model's file, or of the weights in its folder."""
    files = place.glob("*.safetensors") if place.is_dir() else [place]
    return sum(file.stat().st_size for file in files)


def _entry(subject: Subject) -> "Entry | None":
    from model.catalogue import load

    return load(subject.places.catalogue_file).models.get(subject.model_name)


def _command(hint: str) -> str:
    """The first command of a hint such as `install it: adi doctor --fix, or: ...`."""
    return hint.partition(": ")[2].partition(", or:")[0] or hint


def _output(argv: list[str]) -> str:
    """First words of a program; empty when it is missing, fails or hangs."""
    try:
        done = subprocess.run(argv, capture_output=True, text=True, timeout=5.0, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return done.stdout.strip() if done.returncode == 0 else ""
