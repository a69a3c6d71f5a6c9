"""`adi review` at a terminal and by flags: what waits is decided once, and what cannot be decided waits."""

import contextlib
import json
import os
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pexpect
import pytest

from agent.cli import error_lines, invoke
from agent.errors import exit_code_of
from agent.person import Decision
from agent.review_queue import decide, look, waiting
from agent.settings import directories
from memory.records import Stop, UserActed
from memory.store import Store
from tests.agent_kit import BUGGY, CALC, MENDED
from tests.conftest import RepoFactory
from tests.review_kit import deciding, left, pending

ADI = [sys.executable, "-P", "-c", "from agent.cli import main; main()"]


@pytest.fixture
def store() -> Iterator[Store]:
    with Store.open(directories().database) as opened:
        yield opened


@dataclass(frozen=True)
class Done:
    """What a command gave back."""

    returncode: int
    stdout: str
    stderr: str


Adi = Callable[..., Done]


@pytest.fixture
def adi(capsys: pytest.CaptureFixture[str]) -> Adi:
    """`adi review` in this process, where no terminal is."""

    def run(repo: Path, *arguments: str) -> Done:
        capsys.readouterr()
        try:
            code = invoke(["review", "--repo", str(repo), *arguments])
        except Exception as error:  # noqa: BLE001 - as agent/cli.py does
            sys.stderr.write("\n".join(error_lines(error)))
            code = getattr(error, "exit_code", None) or exit_code_of(error)
        return Done(code, *capsys.readouterr())

    return run


@contextlib.contextmanager
def terminal(repo: Path, *arguments: str, editor: str = "") -> Iterator["pexpect.spawn[str]"]:
    """A real `adi review` on a pty."""
    environ = {**os.environ, "TERM": "xterm", "EDITOR": editor, "VISUAL": "", "PAGER": "cat"}
    child: pexpect.spawn[str] = pexpect.spawn(
        ADI[0], [*ADI[1:], "review", *arguments], env=environ, cwd=str(repo), encoding="utf-8", timeout=30,
        dimensions=(50, 200),
    )  # fmt: skip
    try:
        yield child
    finally:
        child.close(force=True)


def code_of(child: "pexpect.spawn[str]") -> int | None:
    child.expect(pexpect.EOF)
    child.wait()
    return child.exitstatus


def test_one_after_another_with_a_counter(make_repo: RepoFactory, store: Store) -> None:
    repo = make_repo(BUGGY)
    first, second, third = pending(repo, "mend it\x1b[2J", "mend it again", "once more")
    with terminal(repo) as child:
        child.expect_exact(f"1 of 3 · run {third}")
        child.expect_exact("task: once more")
        child.expect_exact("PASS")
        child.expect_exact("+    return a + b")
        child.expect_exact("1 of 3: y accept")
        child.sendline("s")
        child.expect_exact("2 of 3: y accept")
        child.sendline("n")
        child.expect_exact("Why not?")
        child.sendline("Too clever, keep `add`")
        child.expect_exact(r"task: mend it\x1b[2J")
        child.expect_exact("3 of 3: y accept")
        child.sendline("?")
        child.expect_exact("y applies the change")
        child.expect_exact("3 of 3: y accept")
        child.sendline("y")
        child.expect_exact("2 of 3 decided.")
        assert code_of(child) == 4
    assert (repo / "calc.py").read_text() == MENDED
    assert left(repo) == [third]
    assert store.run(first).applied
    assert store.run(second).stop is Stop.REJECTED
    said = [event.payload for event in store.events(second) if isinstance(event.payload, UserActed)]
    assert (said[-1].action, said[-1].detail) == ("reject", "Too clever, keep `add`")
    assert said[-1].seconds > 0


@pytest.mark.parametrize("way", ["quit", "ctrl-c"])
def test_what_was_decided_stays_decided_however_it_ends(make_repo: RepoFactory, way: str) -> None:
    repo = make_repo(BUGGY)
    first, second = pending(repo, "one", "two")
    with terminal(repo) as child:
        child.expect_exact("1 of 2:")
        child.sendline("n")
        child.expect_exact("Why not?")
        child.sendline("")
        child.expect_exact("2 of 2:")
        before = Store.open(directories().database)
        with before:
            events = before.events(first)
        child.sendintr() if way == "ctrl-c" else child.sendline("q")
        assert code_of(child) == (130 if way == "ctrl-c" else 3)
    assert left(repo) == [first]
    with Store.open(directories().database) as store:
        assert store.run(second).stop is Stop.REJECTED
        assert store.events(first) == events, "looking leaves no trace"


def test_an_edit_that_does_not_fit_is_kept_and_asked_again(make_repo: RepoFactory, tmp_path: Path) -> None:
    repo = make_repo(BUGGY)
    (run,) = pending(repo, "mend it")
    script = tmp_path / "editor.py"
    script.write_text("import pathlib, sys\npathlib.Path(sys.argv[-1]).write_text('no diff at all\\n')\n")
    with terminal(repo, editor=f"{sys.executable} {script}") as child:
        child.expect_exact("1 of 1:")
        child.sendline("e")
        child.expect_exact("The edited diff cannot be used")
        child.expect_exact("Your edit is kept in")
        child.expect_exact("1 of 1:")
        child.sendline("y")
        assert code_of(child) == 0
    assert (directories().patches / f"{run}.edited.patch").read_text() == "no diff at all\n"
    assert (repo / "calc.py").read_text() == MENDED


def test_without_a_terminal_nothing_is_asked(adi: Adi, make_repo: RepoFactory) -> None:
    repo = make_repo(BUGGY)
    assert adi(repo).returncode == 0
    (run,) = pending(repo, "mend it")
    done = adi(repo)
    assert done.returncode == 4
    assert f"{run}  " in done.stderr
    assert left(repo) == [run]


def test_the_list_for_people_and_programs(adi: Adi, make_repo: RepoFactory) -> None:
    repo, other = make_repo(BUGGY), make_repo(BUGGY, "other")
    empty = adi(repo, "--list")
    assert (empty.returncode, empty.stdout) == (0, "")
    assert "Nothing waits" in empty.stderr
    (here,), (there,) = pending(repo, "mend\tit"), pending(other, "mend that")
    assert [line.split("\t")[0] for line in adi(repo, "--list").stdout.splitlines()] == ["id", here]
    told = json.loads(adi(repo, "--list", "--json").stdout)
    assert [(run["id"], run["prompt"], run["state"]) for run in told["runs"]] == [
        (here, "mend\tit", "pending")
    ]
    everywhere = json.loads(adi(repo.parent, "--list", "--json", "--all").stdout)
    assert {run["id"] for run in everywhere["runs"]} == {here, there}


def test_flags_decide_without_a_question(adi: Adi, make_repo: RepoFactory) -> None:
    repo, other = make_repo(BUGGY), make_repo(BUGGY, "other")
    first, second = pending(repo, "one", "two")
    (third,) = pending(other, "three")
    done = adi(repo, second, "--reject", "  not like this ")
    assert (done.returncode, done.stdout) == (3, f"run {second}: rejected. not like this\n")
    done = adi(repo, first, "--accept")
    assert done.returncode == 0
    assert f"run {first}: accepted." in done.stdout
    assert (repo / "calc.py").read_text() == MENDED
    assert "worked on another repository" in adi(repo, third, "--accept").stderr
    assert adi(repo, third, "--accept", "--all").returncode == 0
    assert (other / "calc.py").read_text() == MENDED
    for run, says in (
        (first, "was accepted: its change is in your tree"),
        (second, "was rejected: not like"),
    ):
        for flags in (["--accept"], ["--reject", "no"], ["--accept", "--force"]):
            again = adi(repo, run, *flags)
            assert again.returncode == 2
            assert says in again.stderr


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["--accept"], "--accept needs a run"),
        (["--reject", "no"], "--reject needs a run"),
        (["x", "--accept", "--reject", "no"], "--accept and --reject do not go together"),
        (["--web", "--list"], "--list and --web do not go together"),
        (["x", "--web"], "--web is about all that wait"),
        (["--json"], "--json belongs to --list"),
        (["x", "--reject", "no", "--force"], "--force belongs to --accept"),
        (["nosuchrun", "--accept"], "no run 'nosuchrun'"),
        (["--web", "--port", "70000"], "less than or equal to 65535"),
    ],
)
def test_wrong_use_says_what_helps(adi: Adi, make_repo: RepoFactory, arguments: list[str], says: str) -> None:
    done = adi(make_repo(BUGGY), *arguments)
    assert done.returncode == 2
    assert says in done.stderr
    assert "hint: " in done.stderr


def test_a_tree_that_changed_meanwhile_is_a_conflict_and_nothing_is_lost(
    adi: Adi, make_repo: RepoFactory
) -> None:
    repo = make_repo(BUGGY)
    (run,) = pending(repo, "mend it")
    mine = CALC + "\n# mine\n"
    (repo / "calc.py").write_text(mine)
    done = adi(repo, run, "--accept")
    assert done.returncode == 4
    assert "nothing was applied" in done.stdout
    assert (repo / "calc.py").read_text() == mine
    assert left(repo) == [run]
    (repo / "calc.py").write_text(CALC)
    assert adi(repo, run, "--accept").returncode == 0
    assert (repo / "calc.py").read_text() == MENDED


@pytest.mark.slow
def test_an_edit_that_fails_its_checks_needs_force(adi: Adi, make_repo: RepoFactory, store: Store) -> None:
    repo = make_repo(BUGGY)
    (run,) = pending(repo, "mend it")
    broken = look(store, run).diff.replace(b"+    return a + b", b"+    return a * b")
    with deciding() as sessions:
        decide(sessions.of(str(repo)), look(store, run), Decision("edit", patch=broken))
    done = adi(repo, run, "--accept")
    assert done.returncode == 2
    assert "does not hold" in done.stderr
    assert left(repo) == [run]
    assert adi(repo, run, "--accept", "--force").returncode == 0
    assert "a * b" in (repo / "calc.py").read_text()


def test_all_repositories_one_of_them_gone(make_repo: RepoFactory, store: Store) -> None:
    repo, gone = make_repo(BUGGY), make_repo(BUGGY, "gone")
    (here,), (there,) = pending(repo, "mend it"), pending(gone, "mend that")
    gone.rename(gone.with_name("moved"))
    assert {run.id for run in waiting(store)} == {here, there}
    assert [run.id for run in waiting(store, str(repo))] == [here]
    with terminal(repo.parent, "--all") as child:
        child.expect_exact("error: not a directory")
        child.expect_exact(f"2 of 2 · run {here}")
        child.expect_exact("2 of 2:")
        child.sendline("y")
        child.expect_exact("1 of 2 decided.")
        assert code_of(child) == 4
    assert (repo / "calc.py").read_text() == MENDED
