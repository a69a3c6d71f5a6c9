"""Group E with everything real: the command, Docker and a model server, in a repository full of bait."""

import json
import os
import subprocess
from collections.abc import Mapping
from pathlib import Path

import pexpect
import pytest

from tests.adi_kit import ADI, FILES, mends
from tests.agent_kit import CALC, MENDED
from tests.conftest import RepoFactory, git
from tests.openai_server import serve
from tests.planted_git import ATTRIBUTES, CARELESS, DRIVERS, HOOKS, Bait, plain_git, plant

pytestmark = [pytest.mark.containment, pytest.mark.container, pytest.mark.usefixtures("scripted")]


def hooks(root: Path, bait: Bait, home: Path) -> dict[str, str]:
    """All hooks in the repository and in a nested one, in the tree, and in the user's own folder."""
    for repository in (root, root / "nested"):
        bait.hooks(repository / ".git/hooks")
    keys = {"core.hooksPath": str(bait.hooks(root / ".githooks"))}
    return plant(root, {**keys, "core.fsmonitor": str(bait.program("core.fsmonitor"))}, "home", home)


def drivers(root: Path, bait: Bait, home: Path) -> dict[str, str]:
    """All drivers and filters, named by attributes in the tree, in git's folder and of the user."""
    keys = {key: value for key, value in bait.keys().items() if key in DRIVERS or key.endswith("required")}
    environ: dict[str, str] = {}
    for place in ("config", "home"):
        environ |= plant(root, keys, place, home)
    (root / ".git/info").mkdir(exist_ok=True)
    (root / ".git/info/attributes").write_text(ATTRIBUTES)
    return environ


def helpers(root: Path, bait: Bait, home: Path) -> dict[str, str]:
    """Everything that configuration and variables can name, in every place at once."""
    environ: dict[str, str] = {}
    for place in ("config", "config.worktree", "include", "includeIf", "home", "environment"):
        environ |= plant(root, bait.keys(), place, home)
    names = ("GIT_EXTERNAL_DIFF", "GIT_SSH_COMMAND", "GIT_PAGER", "GIT_ASKPASS", "GIT_PROXY_COMMAND")
    return {**environ, **{name: str(bait.program(name)) for name in names}}


def whole_way(root: Path, environ: Mapping[str, str], bait: Bait) -> None:
    """Everything a person does with ADI, and after each step a look at the marks."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("GIT_CONFIG_")}
    kept |= {**environ, "GIT_DIR": str(root / ".git"), "TERM": "xterm-256color", "CI": ""}

    def adi(*arguments: str) -> "subprocess.CompletedProcess[str]":
        done = subprocess.run(
            [*ADI, *arguments], cwd=root, env=kept, stdin=subprocess.DEVNULL, capture_output=True, text=True,
            check=False, timeout=120,
        )  # fmt: skip
        assert bait.ran() == set(), arguments
        return done

    before = (root / ".git/index").read_bytes()
    with serve(mends()) as url:
        task = ("run", "make the test pass", "--yes", "--url", url)
        assert adi("log").returncode == 0
        assert "git version" in adi("doctor").stdout
        done = adi(*task)
        assert done.returncode == 0, done.stderr
        assert (root / "calc.py").read_text() == MENDED
        assert "git's filter 'x' is not run" in done.stderr
        assert "'calc.py' was written as it is; git's filter 'x' runs when you add it" in done.stderr
        assert adi("undo").returncode == 0
        done = adi(*task, "--output-format", "json")
        assert json.loads(done.stdout)["subtype"] == "success", done.stderr
        interactive(root, kept)
    assert bait.ran() == set()
    assert (root / "calc.py").read_text() == CALC
    assert (root / ".git/index").read_bytes() == before


def interactive(root: Path, environ: Mapping[str, str]) -> None:
    """The prompt: its banner, an undo, the log."""
    quiet = {**environ, "PROMPT_TOOLKIT_NO_CPR": "1"}  # nobody answers here where the cursor is
    child = pexpect.spawn(
        ADI[0], ADI[1:], cwd=str(root), env=quiet, encoding="utf-8", timeout=60, dimensions=(50, 160)
    )
    try:
        for line, answer in (
            ("/undo", "are as they were"),
            ("/log", "make the"),
            ("/quit", pexpect.EOF),
        ):
            child.expect_exact("adi>")
            child.send(f"{line}\r")
            child.expect(answer)
    finally:
        child.close(force=True)


@pytest.fixture
def root(make_repo: RepoFactory) -> Path:
    root = make_repo(FILES)
    nested = make_repo({"n.py": "n = 1\n"}, "repo/nested")
    git(root, "add", "nested")
    git(root, "remote", "add", "local", str(make_repo({"r": "r"}, "remote")))
    (root / ".gitattributes").write_text(ATTRIBUTES)
    (nested / "n.py").write_text("n = 2\n")
    (root / "notes.txt").write_text("n\n")
    return root


@pytest.mark.slow
def test_agent_e01_hooks_through_a_whole_run(root: Path, tmp_path: Path) -> None:
    bait = Bait(tmp_path / "bait")
    environ = hooks(root, bait, tmp_path / "home")
    whole_way(root, environ, bait)
    plain_git(root, {}, CARELESS)
    assert {"pre-commit", "reference-transaction", "post-index-change"} < bait.ran() <= set(HOOKS)
    plain_git(root, {**environ, "GIT_CONFIG_GLOBAL": str(tmp_path / "home/.gitconfig")}, ["status"])
    assert "core.fsmonitor" in bait.ran()


@pytest.mark.slow
def test_agent_e02_drivers_through_a_whole_run(root: Path, tmp_path: Path) -> None:
    bait = Bait(tmp_path / "bait")
    whole_way(root, drivers(root, bait, tmp_path / "home"), bait)
    plain_git(root, {}, CARELESS)
    assert {"filter.x.clean", "filter.y.process", "diff.external"} <= bait.ran() <= set(DRIVERS)


@pytest.mark.slow
def test_agent_e03_helpers_through_a_whole_run(root: Path, tmp_path: Path) -> None:
    bait = Bait(tmp_path / "bait")
    whole_way(root, helpers(root, bait, tmp_path / "home"), bait)
    plain_git(root, {}, CARELESS)
    assert bait.ran() >= {"core.fsmonitor", "core.sshCommand", "filter.x.clean", "alias.evil", "gpg.program"}
