"""What a run knows of its origin: licence, author and `.adi/no-train`; finding out never fails a run."""

import os
from collections.abc import Mapping
from pathlib import Path

import pytest

from agent.origin import author_of, origin_of
from agent.person import Unattended
from memory.records import Origin, RunStarted
from tests.agent_kit import BUGGY, CHECK, Script, open_local
from tests.conftest import RepoFactory, git

PACKAGE = '{"name": "x", "license": "MIT"}'


@pytest.fixture
def home(tmp_path: Path) -> Path:
    """A home directory whose git configuration names somebody."""
    folder = tmp_path / "home"
    folder.mkdir()
    (folder / ".gitconfig").write_text("[user]\n\temail = ada@example.org\n")
    return folder


def environ(home: Path, **more: str) -> dict[str, str]:
    return {"HOME": str(home), "GIT_CONFIG_NOSYSTEM": "1", **more}


def test_every_run_carries_its_origin(make_repo: RepoFactory) -> None:
    repo = make_repo({**BUGGY, "package.json": PACKAGE, ".adi/no-train": ""})
    script = Script(lines={"calc.py line 2": "return a + b"})
    with open_local(repo, script, Unattended(accept=True)) as session:
        outcome = session.run("mend it", (CHECK.command,))
        started = session.store.events(outcome.run_id)[0].payload
    assert isinstance(started, RunStarted)
    told = Origin(licence="MIT", licence_source="manifest", author="ada@example.org", no_train=True)
    assert started.origin == told


def test_what_is_not_known_stays_empty(tmp_path: Path) -> None:
    assert origin_of(tmp_path, {"GIT_CONFIG_NOSYSTEM": "1"}) == Origin()
    assert origin_of(tmp_path / "nowhere", {"GIT_CONFIG_NOSYSTEM": "1"}) == Origin()


@pytest.mark.parametrize(
    ("more", "expected"),
    [
        ({}, "ada@example.org"),
        ({"GIT_AUTHOR_EMAIL": "work@example.org"}, "work@example.org"),
        ({"GIT_AUTHOR_EMAIL": "  "}, "ada@example.org"),
        ({"GIT_CONFIG_GLOBAL": os.devnull}, ""),
        ({"GIT_CONFIG_GLOBAL": os.devnull, "EMAIL": "mail@example.org"}, "mail@example.org"),
        ({"GIT_AUTHOR_EMAIL": "no address"}, ""),
        ({"GIT_AUTHOR_EMAIL": "a@b\x1b[31m"}, ""),
        ({"GIT_AUTHOR_EMAIL": "a@" + "b" * 300}, ""),
        ({"GIT_AUTHOR_EMAIL": "a\udcff@b"}, ""),
    ],
)
def test_the_author_is_whom_git_was_told(home: Path, more: Mapping[str, str], expected: str) -> None:
    assert author_of(environ(home, **more)) == expected


def test_other_places_of_configuration(home: Path, tmp_path: Path) -> None:
    (home / ".gitconfig").unlink()
    (home / ".config" / "git").mkdir(parents=True)
    (home / ".config" / "git" / "config").write_text("[user]\n\temail = xdg@example.org\n")
    assert author_of(environ(home)) == "xdg@example.org"
    system = tmp_path / "system"
    system.write_text("[user]\n\temail = all@example.org\n")
    assert author_of({"GIT_CONFIG_SYSTEM": str(system)}) == "all@example.org"
    assert author_of({"GIT_CONFIG_SYSTEM": str(system), "GIT_CONFIG_NOSYSTEM": "1"}) == ""


def test_a_repository_cannot_say_who_its_user_is(make_repo: RepoFactory, home: Path) -> None:
    """An archive of a stranger could name somebody who allowed the use of their runs."""
    repo = make_repo({"a.py": "x = 1\n"})
    git(repo, "config", "user.email", "mallory@example.org")
    assert origin_of(repo, environ(home)).author == "ada@example.org"
    assert origin_of(repo, {"GIT_CONFIG_NOSYSTEM": "1"}).author == ""


def test_a_configuration_runs_nothing_and_includes_nothing(home: Path, tmp_path: Path) -> None:
    ran = tmp_path / "ran"
    (tmp_path / "more").write_text("[user]\n\temail = included@example.org\n")
    (home / ".gitconfig").write_text(
        f"[core]\n\tfsmonitor = touch {ran}\n\tpager = touch {ran}\n[alias]\n\tconfig = !touch {ran}\n"
        f"[include]\n\tpath = {tmp_path / 'more'}\n"
    )
    assert author_of(environ(home)) == ""
    assert not ran.exists()


@pytest.mark.parametrize("kind", ["file", "folder", "dangling link"])
def test_no_train_of_any_kind_is_a_no(tmp_path: Path, kind: str) -> None:
    (tmp_path / ".adi").mkdir()
    place = tmp_path / ".adi" / "no-train"
    if kind == "file":
        place.write_text("no-train: false\n")  # what stands in it means nothing
    elif kind == "folder":
        place.mkdir()
    else:
        place.symlink_to("gone")
    assert origin_of(tmp_path, {}).no_train


def test_hostile_files_do_not_keep_a_run_from_starting(tmp_path: Path, home: Path) -> None:
    (tmp_path / ".adi").write_text("a file where a folder is looked for")
    (tmp_path / "pyproject.toml").write_text("[" * 200_000)
    (tmp_path / "package.json").write_text('{"license":' + "[" * 200_000)
    (tmp_path / "pom.xml").write_text("<a>" * 50_000)
    (tmp_path / "LICENSE").write_bytes(b"\0\xff" * 300_000)
    os.mkfifo(tmp_path / "COPYING")
    found = origin_of(tmp_path, environ(home))
    assert found == Origin(licence_source="file", author="ada@example.org")


def test_a_git_that_is_missing_costs_the_author_only(home: Path, tmp_path: Path) -> None:
    (tmp_path / "package.json").write_text(PACKAGE)
    (home / ".gitconfig").write_text("[user\n")
    assert origin_of(tmp_path, environ(home)) == Origin(licence="MIT", licence_source="manifest")
