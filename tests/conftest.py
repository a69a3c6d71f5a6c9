"""What all tests share: an ADI_HOME of their own, small git repositories, and the layers that may be missing.

A test marked `container`, `engine`, `weights`, `postgres` or `browser` is skipped, with the reason, where its
layer is missing.
Where a layer must be there (CI), name it in ADI_REQUIRE_LAYERS, comma separated: then a skip is a failure.
"""

import gc
import json
import os
import signal
import sqlite3
import subprocess
import tempfile
import threading
from collections import defaultdict
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from contextlib import closing
from functools import cache
from importlib.util import find_spec
from pathlib import Path

import pytest
from sqlalchemy import Engine

import memory.sqlite
from agent.settings import directories
from model.catalogue import load as load_catalogue
from model.connect import DEFAULT
from model.errors import ModelMissing
from model.store import Store as ModelStore
from sandbox.client import connect
from tests import containment_report
from tests.agent_kit import UNSCRIPTED
from tests.browser_kit import missing_browser
from tests.containment_kit import Contained, alive
from tests.postgres_kit import Server, missing_postgres

# A shell or nohup may have had these ignored: the children of tests would inherit that.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)
if signal.getsignal(signal.SIGHUP) is signal.SIG_IGN:
    signal.signal(signal.SIGHUP, signal.SIG_DFL)

# A training in the tests' own process would tell its library's makers; that of `adi learn` is told not to.
os.environ.setdefault("HF_HUB_DISABLE_TELEMETRY", "1")

USER_MODELS = directories().models
"""Where the person who runs the tests keeps the weights, read before ADI_HOME is moved."""
REQUIRED = frozenset(filter(None, os.environ.get("ADI_REQUIRE_LAYERS", "").split(",")))

RepoFactory = Callable[[Mapping[str, str | bytes]], Path]


@cache
def missing_container() -> str:
    """Why the container layer cannot run; empty when it can."""
    from sandbox.client import connect
    from sandbox.errors import SandboxError
    from sandbox.images import is_present, recipe

    try:
        with closing(connect()) as client:
            tag = recipe("python").tag
            return "" if is_present(tag, client) else f"no sandbox image {tag} (try: adi doctor --fix)"
    except SandboxError as error:
        return f"no Docker engine: {error} (try: adi doctor --fix)"


@cache
def missing_engine() -> str:
    """Why no model server can be started; empty when one can."""
    absent = [name for name in ("xllamacpp", "gguf") if find_spec(name) is None]
    return f"not installed: {', '.join(absent)}" if absent else ""


@cache
def missing_weights() -> str:
    """Why no real model can answer; empty when the default model is on this disk."""
    try:
        ModelStore(USER_MODELS, load_catalogue()).find(DEFAULT)
    except ModelMissing as error:
        return f"{error} (try: adi model pull)"
    return missing_engine()


BEYOND = frozenset({"languages", "network"})
"""Marks of tests that need more than their layer: an image or a registry that is not everywhere."""
LAYERS = {
    "container": missing_container,
    "engine": missing_engine,
    "weights": missing_weights,
    "postgres": missing_postgres,
    "browser": missing_browser,
}


@pytest.hookimpl(tryfirst=True)  # before tests are chosen by their marks
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """With `--dist loadgroup`, tests with real weights share one worker: two would fight for the cores.

    Of a test marked `sample(n)`, which takes seconds a time, all but n of its parameters are slow.
    """
    sampled = defaultdict[str, list[pytest.Item]](list)
    for item in items:
        if item.get_closest_marker("weights"):
            item.add_marker(pytest.mark.xdist_group("weights"))
        if item.get_closest_marker("sample"):
            sampled[item.nodeid.partition("[")[0]].append(item)
    for group in sampled.values():
        for item in spared(group):
            item.add_marker(pytest.mark.slow)


def spared(group: Sequence[pytest.Item]) -> list[pytest.Item]:
    """What of a sampled test `make test` leaves to `make test-slow`; the kept ones are spread evenly."""
    marker = group[0].get_closest_marker("sample")
    assert marker is not None
    (count,) = marker.args
    kept = {number * (len(group) - 1) // max(1, count - 1) for number in range(count)}
    return [item for number, item in enumerate(group) if number not in kept]


def pytest_collection_finish() -> None:
    """What importing and collecting made stays until the end: no later collection looks through it."""
    gc.collect()
    gc.freeze()


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    """With `-m containment`: how many cases of each group were tried, and how they ended."""
    if "containment" not in str(config.option.markexpr):
        return
    outcomes = [
        (report.nodeid, outcome)
        for outcome in ("passed", "failed", "error", "skipped")
        for report in terminalreporter.stats.get(outcome, [])
    ]
    terminalreporter.section("containment cases")
    for line in containment_report.counts(outcomes):
        terminalreporter.write_line(line)


def pytest_runtest_setup(item: pytest.Item) -> None:
    for layer, missing in LAYERS.items():
        if item.get_closest_marker(layer) and (reason := missing()):
            pytest.skip(f"layer {layer}: {reason}")


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item,
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    report = yield
    marks = {mark.name for mark in item.iter_markers()}
    layers = sorted(REQUIRED & (marks & BEYOND or marks))
    if report.skipped and layers:
        report.outcome = "failed"
        report.longrepr = f"{', '.join(layers)} must run here (ADI_REQUIRE_LAYERS): {report.longrepr}"
    return report


@pytest.fixture(autouse=True, scope="session")
def quick_stores() -> Iterator[None]:
    """New stores of this process are copied from the first one: the scripts that make one take 0.2 s.

    Tests of these scripts call them by themselves, or in processes of their own.
    """
    first = sqlite3.connect(":memory:", check_same_thread=False)
    lock, real = threading.Lock(), memory.sqlite.migrate

    def migrate(connection: sqlite3.Connection, made: Engine, path: Path | None) -> None:
        with lock:
            if connection.execute("SELECT 1 FROM sqlite_schema").fetchone():
                real(connection, made, path)
            elif first.execute("SELECT 1 FROM sqlite_schema").fetchone():
                first.backup(connection)
            else:
                real(connection, made, path)
                connection.backup(first)

    with pytest.MonkeyPatch.context() as patch, closing(first):
        patch.setattr(memory.sqlite, "migrate", migrate)
        yield


@pytest.fixture(autouse=True)
def adi_home(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty ADI_HOME for each test, and no environment of the user or of CI."""
    home = tmp_path_factory.mktemp("adi-home")
    for name in [name for name in os.environ if name.startswith(("ADI_", "GIT_"))]:
        monkeypatch.delenv(name)
    monkeypatch.delenv("CI", raising=False)  # with it ADI asks nothing, and some tests are about questions
    monkeypatch.setenv("ADI_HOME", str(home))
    monkeypatch.setenv("GIT_CONFIG_GLOBAL", os.devnull)
    monkeypatch.setenv("GIT_CONFIG_NOSYSTEM", "1")
    for role in ("AUTHOR", "COMMITTER"):
        monkeypatch.setenv(f"GIT_{role}_NAME", "Ada Tester")
        monkeypatch.setenv(f"GIT_{role}_EMAIL", "ada@example.org")
        monkeypatch.setenv(f"GIT_{role}_DATE", "2026-01-02T03:04:05Z")
    return home


@pytest.fixture
def scripted(adi_home: Path, monkeypatch: pytest.MonkeyPatch) -> None:  # noqa: ARG001 - cleared first
    """For a real `adi` whose model is a script: what would mend the little programs without it is off."""
    monkeypatch.setenv("ADI_RUN__WITHOUT", json.dumps(UNSCRIPTED))


@pytest.fixture(autouse=True)
def contained(
    request: pytest.FixtureRequest, adi_home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Contained | None]:
    """The case that a test marked `containment` is; nothing of it may be left when the test is over."""
    if request.node.get_closest_marker("containment") is None:
        yield None
        return
    # short, because Unix sockets in it have at most 107 bytes of name
    with tempfile.TemporaryDirectory(prefix="case-", dir=tmp_path.anchor + "tmp") as folder:
        monkeypatch.setenv("TMPDIR", folder)
        monkeypatch.setattr(tempfile, "tempdir", folder)
        if request.node.get_closest_marker("postgres"):
            request.getfixturevalue("postgres_server")  # a child of all tests, not of this case
        client = connect() if request.node.get_closest_marker("container") else None
        case = Contained(Path(folder), adi_home, client)
        case.begin()
        yield case
        assert alive(tmp_path)
        left = case.leftovers()
        fails = case.next_task_fails()
        if case.client is not None:
            case.client.close()
        assert not left, f"the case left {left}"
        assert not fails, f"after the case no sandbox runs: {fails}"


@pytest.fixture
def weights(adi_home: Path) -> Path:
    """The file of the default model, also seen by an `adi` that runs with the test's ADI_HOME."""
    (adi_home / "models").symlink_to(USER_MODELS, target_is_directory=True)
    return ModelStore(adi_home / "models", load_catalogue()).find(DEFAULT).path


@pytest.fixture(scope="session")
def postgres_server() -> Iterator[Server]:
    """A Postgres server of these tests' own; one that a test stopped it starts again."""
    server = Server()
    server.start()
    yield server
    server.remove()


@pytest.fixture
def postgres(postgres_server: Server) -> str:
    """Address of an empty database."""
    return postgres_server.new_database()


@pytest.fixture(params=["sqlite", pytest.param("postgres", marks=pytest.mark.postgres)])
def place(request: pytest.FixtureRequest, tmp_path: Path) -> Path | str:
    """Where a store can be opened: a file, and a database of a server."""
    if request.param == "sqlite":
        return tmp_path / "adi.db"
    return str(request.getfixturevalue("postgres"))


@pytest.fixture
def make_repo(tmp_path: Path) -> RepoFactory:
    """Makes a git repository with one commit: `make_repo({"a.py": "x = 1\\n"})` gives its root."""

    def make(files: Mapping[str, str | bytes], name: str = "repo") -> Path:
        root = tmp_path / name
        for path, content in files.items():
            target = root / path
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_bytes(content.encode() if isinstance(content, str) else content)
        root.mkdir(exist_ok=True)
        git(root, "init", "--quiet", "--initial-branch=main")
        git(root, "add", "--all")
        git(root, "commit", "--quiet", "--allow-empty", "--message=first")
        return root

    return make


def git(root: Path, *arguments: str) -> str:
    """Run git in a test's own repository; its standard output without the final newline."""
    done = subprocess.run(["git", *arguments], cwd=root, check=True, capture_output=True, text=True)
    return done.stdout.removesuffix("\n")
