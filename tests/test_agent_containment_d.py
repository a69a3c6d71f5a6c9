"""Group D through a whole session: protected paths need a person's word, and no link is written through."""

import stat
from pathlib import Path

import pytest

from agent.person import Decision, Unattended
from agent.run import Desk
from memory.records import ActionEnded, Event, Status, Stop, Verdict
from memory.store import Store
from tests.agent_kit import BUGGY, CHECK, MENDED, WRITE, Script, Someone, open_local
from tests.conftest import RepoFactory
from tests.containment_kit import Contained

pytestmark = [pytest.mark.containment, pytest.mark.usefixtures("scripted")]

PROTECTED = [
    ".github/workflows/ci.yml", ".gitmodules", ".gitattributes", "sub/.gitattributes", ".envrc",
    ".vscode/tasks.json", ".idea/workspace.xml", "AGENTS.md", "CLAUDE.md", ".mcp.json", ".cursor/rules",
    ".adi/config.toml", ".pre-commit-config.yaml", ".gitlab-ci.yml", ".devcontainer/devcontainer.json",
    ".husky/pre-commit", ".npmrc", ".GitHub/Workflows/x.yml", "GITMOD~1",
]  # fmt: skip


def planted(path: str) -> str:
    """A text that is no syntax error where a file of this name is checked for one."""
    return {".json": "{}", ".toml": "x = 1", ".yaml": "x: 1", ".yml": "x: 1"}.get(
        Path(path).suffix, "planted"
    )


def writes(path: str) -> str:
    return f"write {path}\n```\n{planted(path)}\n```\n"


@pytest.mark.parametrize("path", PROTECTED)
def test_agent_d08_a_protected_path_needs_a_person(make_repo: RepoFactory, adi_home: Path, path: str) -> None:
    repo = make_repo(BUGGY)
    script = Script(acts=[writes(path), "read calc.py", WRITE])
    with open_local(repo, script, Unattended(accept=True), settings={"sampling": False}) as session:
        outcome = session.run("make the check pass", (CHECK.command,))
        assert (outcome.stop, outcome.exit_code) == (Stop.PENDING, 4)
        assert path in outcome.detail
        verdict = next(
            e.payload for e in session.store.events(outcome.run_id) if isinstance(e.payload, Verdict)
        )
        assert verdict.evaluation.protected == (path,)
        assert not (repo / path).exists()
        assert (repo / "calc.py").read_text() == BUGGY["calc.py"]
        # the separate approval: a person sees it named, and says yes
        session.person = Someone(Decision("accept"))
        assert session.review(outcome.run_id).stop is Stop.ACCEPTED
        assert session.person.shown[0][1].protected == (path,)
    assert (repo / path).read_text() == f"{planted(path)}\n"
    assert (repo / "calc.py").read_text() == MENDED
    assert adi_home.exists()


@pytest.mark.parametrize(
    "path", [".git/hooks/pre-commit", ".GIT/config", "git~1/config", "../out", "/tmp/out"]
)
def test_agent_d08_d12_git_and_outside_are_refused_to_the_model(make_repo: RepoFactory, path: str) -> None:
    repo = make_repo(BUGGY)
    before = sorted(str(name) for name in repo.rglob("*"))
    script = Script(acts=[writes(path), "read calc.py", WRITE])
    with open_local(repo, script, Unattended(accept=True), settings={"sampling": False}) as session:
        outcome = session.run("make the check pass", (CHECK.command,))
        events = session.store.events(outcome.run_id)
    first = next(
        e.payload for e in events if isinstance(e.payload, ActionEnded) or e.payload.kind == "malformed"
    )
    if isinstance(first, ActionEnded):
        assert first.observation.status == Status.REFUSED
    assert outcome.stop is Stop.ACCEPTED
    assert sorted(str(name) for name in repo.rglob("*")) == before


def test_agent_d03_a_patch_is_never_written_through_a_link(tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    outside.write_text("canary-5d03")
    patches = tmp_path / "patches"
    patches.mkdir()
    (patches / "run.patch").symlink_to(outside)
    kept: list[bytes] = []

    def keep(data: bytes) -> str:
        kept.append(data)
        return "sha"

    desk = Desk(lambda _: None, keep, tmp_path, tmp_path / "journal", patches / "run.patch")
    assert desk.publish(b"the patch\n") == "sha"
    assert outside.read_text() == "canary-5d03"
    assert not desk.patch_file.is_symlink()
    assert desk.patch_file.read_bytes() == b"the patch\n"
    assert stat.S_IMODE(desk.patch_file.stat().st_mode) == 0o600
    desk.publish(b"again\n")
    assert [path.name for path in patches.iterdir()] == ["run.patch"]
    assert kept == [b"the patch\n", b"again\n"]


def test_agent_d03_nothing_predictable_lies_in_the_temporary_directory(
    contained: Contained, make_repo: RepoFactory
) -> None:
    """Two runs: whatever they make there is a private folder, and its name does not come again."""
    repo = make_repo(BUGGY)
    runs: list[dict[str, int]] = []

    def look(_event: Event) -> None:
        runs[-1].update({path.name: stat.S_IMODE(path.lstat().st_mode) for path in contained.tmp.iterdir()})

    for _ in range(2):
        runs.append({})
        script = Script(lines={"calc.py line 2": "return a + b"})
        with open_local(repo, script, Unattended(accept=False), listeners=[look]) as session:
            assert session.run("make the check pass", (CHECK.command,)).stop is Stop.PENDING
    first, second = runs
    assert first
    assert first.keys().isdisjoint(second.keys())
    assert {*first.values(), *second.values()} == {0o700}


def test_agent_d11_the_users_edit_meanwhile_wins_and_the_patch_is_kept(
    make_repo: RepoFactory, adi_home: Path
) -> None:
    repo = make_repo(BUGGY)

    class Editing(Unattended):
        def decide(self, diff: bytes, evaluation):  # type: ignore[no-untyped-def]
            (repo / "calc.py").write_text("# the user's own\n")
            return super().decide(diff, evaluation)

    script = Script(lines={"calc.py line 2": "return a + b"})
    with open_local(repo, script, Editing(accept=True)) as session:
        outcome = session.run("make the check pass", (CHECK.command,))
    assert (outcome.stop, outcome.exit_code) == (Stop.CONFLICT, 4)
    assert "calc.py" in outcome.detail
    assert (repo / "calc.py").read_text() == "# the user's own\n"
    (patch,) = (adi_home / "patches").iterdir()
    assert b"+    return a + b" in patch.read_bytes()
    with Store.open(adi_home / "adi.db") as store:
        assert store.pending(str(repo))[0].id == outcome.run_id
