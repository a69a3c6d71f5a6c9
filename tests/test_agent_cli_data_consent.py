"""`adi data consent`, `opt-out` and `forget` as a person uses them."""

import json
import os
import sys
from pathlib import Path

import pexpect
import pytest
import typer
from typer.testing import CliRunner, Result

from agent import cli_data_consent
from agent.errors import NEEDS_PERSON, USAGE, UsageError, exit_code_of
from agent.settings import directories
from feedback.harvest import session_of
from memory.consent import Consents
from memory.exports import record_export
from memory.forget import tombstones
from memory.hidden import hidden
from memory.origin import Origin
from memory.records import RunEnded, Stop
from memory.store import Store
from tests.conftest import RepoFactory, git
from tests.consent_kit import begin

ADA = "ada@example.org"
KEPT = "backups made before still hold it; delete those too if it must be gone"
ROOT = Path(__file__).parent.parent
COMMANDS = """
import typer
from agent import cli_data_consent
app = typer.Typer(pretty_exceptions_enable=False)
app.command("consent")(cli_data_consent.consent)
app.command("opt-out")(cli_data_consent.opt_out)
app.command("forget")(cli_data_consent.forget)
"""


def adi_data(*arguments: str) -> Result:
    app = typer.Typer()
    for name in ("consent", "opt_out", "forget"):
        app.command(name.replace("_", "-"))(getattr(cli_data_consent, name))
    return CliRunner().invoke(app, arguments)


def said(*arguments: str) -> str:
    done = adi_data(*arguments)
    assert done.exit_code == 0, done.output
    return done.output


@pytest.fixture
def repo(make_repo: RepoFactory) -> Path:
    root = make_repo({"a.py": "x = 1\n"})
    git(root, "remote", "add", "origin", "https://git.example.org/team/maths.git")
    return root


@pytest.fixture
def runs(repo: Path) -> list[str]:
    """Two runs of one session, and one of another in a place that is gone."""
    with Store.open(directories().database) as store:
        found = [ended(store, str(repo), pid) for pid in (7, 7)]
        return [*found, ended(store, "/src/gone", 8)]


def ended(store: Store, repo: str, pid: int, copy_of: str = "") -> str:
    run_id = begin(store, repo, Origin(author=ADA, copy_of=copy_of), pid)
    store.append(run_id, RunEnded(stop=Stop.FAILED, exit_code=3))
    return run_id


def test_nothing_is_allowed_until_somebody_allows_it(repo: Path, runs: list[str]) -> None:
    assert said("consent") == "nobody has decided: nothing becomes training data\n"
    assert said("consent", "show", "--record", runs[0].partition("-")[2]).endswith(
        "data sets: consent not given\n"
    )
    granted = said("consent", "grant", "--repo", str(repo), "--licence", "mit")
    assert granted.startswith(f"granted  repository {repo}  MIT  2")
    assert said("consent", "show", "--record", runs[0]) == "this run may be used\n"
    assert "MIT" in said("consent", "grant", "--repo", str(repo))  # what was declared stays
    assert "MIT" not in said("consent", "grant", "--repo", str(repo), "--licence", "")
    said("consent", "refuse", "--session", runs[1])
    assert said("consent", "show", "--record", runs[0]).endswith("data sets: consent refused\n")
    assert said("consent", "grant", "--user").startswith("granted  every run  2")
    assert said("consent", "grant", "--author", "Ada <ADA@example.org>").startswith(f"granted  user {ADA}  2")
    listed = json.loads(said("consent", "--json"))
    assert (listed["schema_version"], listed["type"]) == (1, "consent")
    assert {(one["scope"], one["key"], one["status"]) for one in listed["decisions"]} == {
        ("repository", str(repo), "granted"),
        ("session", session_of(7, "boot:1"), "refused"),
        ("user", "", "granted"),
        ("user", ADA, "granted"),
    }
    assert said("consent", "show", "--repo", str(repo)).count("granted") == 3
    told = json.loads(said("consent", "show", "--record", runs[0], "--json"))
    assert (told["may_be_used"], told["reason"]) == (False, "consent refused")


def test_runs_on_copies_are_decided_on_and_forgotten_with_their_repository(
    repo: Path, runs: list[str]
) -> None:
    with Store.open(directories().database) as store:
        copied = ended(store, "/data/rooms/b-1-1/repo", 9, str(repo))
        lost = ended(store, "/data/rooms/b-1-2/lost", 9, "/src/lost")
    said("consent", "grant", "--repo", str(repo))
    assert said("consent", "show", "--record", copied) == "this run may be used\n"
    said("consent", "refuse", "--repo", "/src/lost")  # no other run knows this place
    assert said("consent", "show", "--record", lost).endswith("consent refused\n")
    said("forget", "--repo", str(repo), "--yes")
    with Store.open(directories().database) as store:
        assert {run.id for run in store.runs()} == {runs[2], lost}


def test_a_grant_against_the_file_is_told(repo: Path) -> None:
    (repo / ".adi").mkdir()
    (repo / ".adi" / "no-train").touch()
    assert ".adi/no-train in the repository still says no" in said("consent", "grant", "--repo", str(repo))
    assert "no-train" not in said("consent", "refuse", "--repo", str(repo))


def test_a_repository_that_is_gone_is_known_by_its_runs(runs: list[str]) -> None:
    assert said("consent", "refuse", "--repo", "/src/gone").startswith("refused  repository /src/gone")
    assert said("consent", "show", "--record", runs[2]).endswith("consent refused\n")
    assert exit_code_of(failed("consent", "grant", "--repo", "/src/never")) == USAGE


def failed(*arguments: str) -> BaseException:
    done = adi_data(*arguments)
    assert done.exception is not None, done.output
    return done.exception


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("consent", "allow"), "no action 'allow'"),
        (("consent", "grant"), "say for which runs"),
        (("consent", "grant", "--user", "--record", "x"), "one scope at a time"),
        (("consent", "grant", "--user", "--licence", "MIT"), "a licence is declared for a repository"),
        (("consent", "show", "--licence", "MIT"), "a licence is declared for a repository"),
        (("opt-out", "--author", "a", "--session", "b"), "one of them at a time"),
        (("opt-out", "--off"), "say who"),
        (("forget",), "say what to forget, in one way"),
        (("forget", "x", "--author", "a"), "say what to forget, in one way"),
        (("forget", "--author", " "), "say what to forget, in one way"),
    ],
)
def test_what_is_wrong_is_one_sentence_and_a_hint(arguments: tuple[str, ...], message: str) -> None:
    error = failed(*arguments)
    assert isinstance(error, UsageError)
    assert str(error).startswith(message)
    assert error.hint


@pytest.mark.parametrize(
    "arguments",
    [
        ("consent", "grant", "--record", "nothing"),
        ("consent", "grant", "--session", "nothing"),
        ("opt-out", "--session", "nothing"),
        ("forget", "nothing", "--yes"),
        ("forget", "--session", "nothing", "--yes"),
        ("forget", "--repo", "/src/never", "--yes"),
    ],
)
def test_what_is_not_there_is_a_usage_error_with_a_hint(arguments: tuple[str, ...], runs: list[str]) -> None:
    error = failed(*arguments)
    assert exit_code_of(error) == USAGE
    assert getattr(error, "hint", "")
    with Store.open(directories().database) as store:
        assert (len(store.runs()), tombstones(store), Consents(store).all()) == (len(runs), [], [])


def test_an_unknown_licence_is_refused(repo: Path) -> None:
    error = failed("consent", "grant", "--repo", str(repo), "--licence", "mine")
    assert (exit_code_of(error), str(error)) == (USAGE, "'mine' is no licence that SPDX knows")
    assert said("consent").startswith("nobody has decided")


@pytest.mark.postgres
def test_in_a_shared_memory_nobody_decides_for_all(postgres: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ADI_MEMORY__URL", postgres)
    error = failed("consent", "grant", "--user")
    assert str(error) == "the memory is shared: nobody decides for everybody in it"
    assert getattr(error, "hint", "") == "name yourself: --author EMAIL"
    assert said("consent", "grant", "--author", ADA).startswith(f"granted  user {ADA}  2")
    assert said("forget", "--author", ADA, "--yes").splitlines() == [
        "the author is forgotten: 1 consent",
        KEPT,
    ]


def test_who_opts_out_is_on_a_list_of_hashes(repo: Path, runs: list[str]) -> None:
    assert said("opt-out") == "nobody has opted out\n"
    said("consent", "grant", "--user")
    assert said("opt-out", "--author", f"Ada <{ADA}>").endswith("is in no data set from now on\n")
    assert said("consent", "show", "--record", runs[2]).endswith("data sets: opted out\n")
    assert said("opt-out").startswith(f"author     {hidden('author', ADA)}  2")
    assert said("opt-out", "--author", ADA, "--off").endswith("is off the list\n")
    assert said("opt-out", "--author", ADA, "--off").endswith("was not on the list\n")
    assert said("consent", "show", "--record", runs[2]) == "this run may be used\n"
    told = said("opt-out", "--repo", "git.example.org/Team/maths")
    assert told.splitlines() == [
        "https://git.example.org/Team/maths is in no data set from now on",
        f"{repo} is in no data set from now on",  # also when its remote is renamed or it is gone
    ]
    git(repo, "remote", "remove", "origin")
    assert said("consent", "show", "--record", runs[0]).endswith("data sets: opted out\n")
    said("opt-out", "--session", runs[2])
    assert said("consent", "show", "--record", runs[2]).endswith("data sets: opted out\n")
    listed = json.loads(said("opt-out", "--json"))["opt_outs"]
    assert sorted(item["kind"] for item in listed) == ["repository", "repository", "session"]
    assert "maths" not in json.dumps(listed)


def test_a_repository_opts_out_by_its_path_too(repo: Path) -> None:
    assert said("opt-out", "--repo", str(repo)).splitlines() == [
        f"{repo} is in no data set from now on",
        "https://git.example.org/team/maths.git is in no data set from now on",
    ]
    assert said("opt-out", "--repo", str(repo), "--off").count("is off the list") == 2


def test_without_a_terminal_forgetting_needs_yes(runs: list[str]) -> None:
    error = failed("forget", runs[0])
    assert (exit_code_of(error), getattr(error, "hint", "")) == (NEEDS_PERSON, "add --yes")
    with Store.open(directories().database) as store:
        assert len(store.runs()) == 3


def test_a_session_is_forgotten_with_its_patches_and_data_sets_are_named(
    runs: list[str], tmp_path: Path
) -> None:
    patch, copy = directories().patches / f"{runs[0]}.patch", directories().data / "adi.db.schema2-1.bak"
    patch.parent.mkdir(parents=True)
    patch.touch()
    copy.touch()
    (tmp_path / "here").mkdir()
    with Store.open(directories().database) as store:
        record_export(store, tmp_path / "here", "a" * 64, runs, "adi data export here --format sft")
        record_export(store, tmp_path / "moved", "a" * 64, [runs[1]])
        record_export(store, tmp_path / "other", "a" * 64, [runs[2]])
    done = adi_data("forget", "--session", session_of(7, "boot:1")[:6], "--yes", "--reason", "she asked")
    lines = done.stdout.splitlines()
    assert lines[:3] == [
        f"{runs[0]} is forgotten: 2 event",
        f"{runs[1]} is forgotten: 2 event",
        f"{session_of(7, 'boot:1')} is forgotten: 2 run, 4 event",
    ]
    assert sorted(lines[3:]) == sorted(
        [
            f"the data set {tmp_path / 'here'} still holds 2 of them: adi data export here --format sft",
            f"a data set with 1 of them was written to {tmp_path / 'moved'} and is not there now",
        ]
    )
    assert done.stderr.splitlines() == [KEPT, f"  may hold it: {copy}"]
    assert not patch.exists()
    with Store.open(directories().database) as store:
        assert [run.id for run in store.runs()] == [runs[2]]
        assert {stone.reason for stone in tombstones(store)} == {"she asked"}


def test_forgetting_is_told_to_programs(runs: list[str], tmp_path: Path) -> None:
    with Store.open(directories().database) as store:
        record_export(store, tmp_path, "a" * 64, runs)
    told = json.loads(said("forget", "--author", ADA, "--yes", "--json"))
    assert [stone["kind"] for stone in told["tombstones"]] == ["run", "run", "run", "author"]
    assert told["data_sets"] == [
        {"path": str(tmp_path), "present": True, "runs": sorted(runs),
         "command": f"adi data export {tmp_path} --force"}
    ]  # fmt: skip
    assert ADA not in json.dumps(told)


def test_runs_and_repositories_are_forgotten(repo: Path, runs: list[str]) -> None:
    assert said("forget", runs[0], runs[0], "--yes").splitlines()[0] == f"{runs[0]} is forgotten: 2 event"
    told = said("forget", "--repo", str(repo), "--yes").splitlines()
    assert told[:2] == [f"{runs[1]} is forgotten: 2 event", "the repository is forgotten: 1 run, 2 event"]
    assert (
        said("forget", "--repo", "/src/gone", "--yes").splitlines()[0] == f"{runs[2]} is forgotten: 2 event"
    )
    assert said("forget", "--author", ADA, "--yes").splitlines()[0] == "the author is forgotten: nothing else"


@pytest.mark.parametrize(("answer", "code", "left"), [("y", 0, 1), ("", NEEDS_PERSON, 3)])
def test_at_a_terminal_a_person_is_asked_with_the_number_of_runs(
    repo: Path, runs: list[str], answer: str, code: int, left: int
) -> None:
    script = (
        f"{COMMANDS}\nimport sys\nfrom agent.errors import exit_code_of\n"
        "try: app(sys.argv[1:])\n"
        "except Exception as error: print(error); sys.exit(exit_code_of(error))"
    )
    child = pexpect.spawn(
        sys.executable, ["-c", script, "forget", "--repo", str(repo)], cwd=str(ROOT), env={**os.environ},
        encoding="utf-8", timeout=60, dimensions=(50, 300),
    )  # fmt: skip
    try:
        child.expect_exact(f"Forget 2 runs of repository {repo}, with events, patches and lessons?")
        child.sendline(answer)
        child.expect(pexpect.EOF)
        child.wait()
        assert child.exitstatus == code
    finally:
        child.close(force=True)
    with Store.open(directories().database) as store:
        assert len(store.runs()) == left
    assert len(runs) == 3
