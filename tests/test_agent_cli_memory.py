"""`adi memory` as a person uses it."""

import json
from pathlib import Path

import pytest

from agent.settings import directories
from agent.written import agents_text, skill_text
from memory.lesson import Draft, Evidence, Lesson
from memory.lessons import Lessons
from memory.records import RunEnded, Stop, Task
from memory.store import Store
from tests.adi_kit import adi
from tests.conftest import RepoFactory


@pytest.fixture
def repo(make_repo: RepoFactory) -> Path:
    return make_repo({"a.py": "x = 1\n"})


def learn(repo: Path, claim: str, kind: str = "preference", *runs: str) -> Lesson:
    with Store.open(directories().database) as store:
        for run in runs or ("r1",):
            draft = Draft.model_validate({"kind": kind, "place": str(repo), "claim": claim})
            lesson, _ = Lessons(store).learn(draft, Evidence(run_id=run, stance="for", why="it was said"))
    return lesson


def test_lessons_are_listed_shown_and_found(repo: Path) -> None:
    first = learn(repo, "never print\x1b[31m", "preference", "r1", "r2")
    learn(repo.parent, "of another place")
    done = adi(repo, "memory", "list")
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout == f"{first.id}  preference  active    +2 -0    never print\\x1b[31m\n"
    assert "of another place" in adi(repo, "memory", "list", "--all").stdout
    shown = adi(repo, "memory", "show", first.id[:7]).stdout
    assert "for     " in shown
    assert "r2  it was said" in shown
    assert first.id in adi(repo, "memory", "search", "print").stdout
    found = json.loads(adi(repo, "memory", "list", "--json").stdout)
    assert [item["claim"] for item in found["lessons"]] == ["never print\x1b[31m"]


def test_lessons_are_corrected_pinned_and_forgotten(repo: Path) -> None:
    lesson = learn(repo, "never print")
    assert "use the log" in adi(repo, "memory", "edit", lesson.id, "use the log").stdout
    assert "active*" in adi(repo, "memory", "pin", lesson.id).stdout
    assert "active*" not in adi(repo, "memory", "pin", lesson.id, "--off").stdout
    gone = adi(repo, "memory", "forget", lesson.id, "--reason", "wrong")
    assert gone.stdout == f"{lesson.id} is forgotten: 1 lesson, 1 evidence\n"
    assert "backups" in gone.stderr
    nothing = adi(repo, "memory", "list")
    assert (nothing.returncode, nothing.stdout) == (0, "")
    assert json.loads(adi(repo, "memory", "stats", "--json").stdout)["forgotten"] == 1


def test_a_run_is_forgotten_with_its_patch_file(repo: Path) -> None:
    with Store.open(directories().database) as store:
        run_id = store.start_run(Task(id="t", prompt="p", repo=str(repo)))
        store.append(run_id, RunEnded(stop=Stop.FAILED, exit_code=3))
    patch = directories().patches / f"{run_id}.patch"
    patch.parent.mkdir(parents=True)
    patch.write_text("+secret\n")
    assert adi(repo, "memory", "forget", run_id).stdout == f"{run_id} is forgotten: 2 event\n"
    assert not patch.exists()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("show", "l-nothing"), "error: no lesson 'l-nothing'"),
        (("forget", "nothing"), "error: no run 'nothing'"),
        (("edit", "l-x", " "), "error: a lesson needs words"),
        (("export", "--format", "yaml"), "error: no format 'yaml'"),
    ],
)
def test_what_is_wrong_is_one_sentence_and_a_hint(
    repo: Path, arguments: tuple[str, ...], message: str
) -> None:
    done = adi(repo, "memory", *arguments)
    assert done.returncode in (1, 2)
    assert done.stderr.splitlines()[0].startswith(message)
    assert done.stderr.splitlines()[1].startswith("hint: ")
    assert "Traceback" not in done.stderr


def test_lessons_are_written_for_other_agents(repo: Path) -> None:
    learn(repo, "Tests are run with `make test`", "check", "r1", "r2")
    learn(repo, "never print\n# A heading", "preference")
    learn(repo, "KeyError: `a` became `b`", "fix")
    text = adi(repo, "memory", "export", "--format", "agents").stdout
    assert text.splitlines() == [
        "## Commands",
        "",
        "- Tests are run with `make test` (2 runs)",
        "",
        "## Conventions",
        "",
        "- never print # A heading",
    ]
    assert adi(repo, "memory", "export", "--format", "skills", "--to", "skills").returncode == 0
    skill = (repo / "skills" / "working-on-repo" / "SKILL.md").read_text()
    assert skill.startswith("---\nname: working-on-repo\ndescription: ")
    assert "- KeyError: `a` became `b`" in skill
    again = adi(repo, "memory", "export", "--format", "skills", "--to", "skills")
    assert again.returncode == 2
    assert "--force" in again.stderr
    rows = [json.loads(line) for line in adi(repo, "memory", "export").stdout.splitlines()]
    assert {row["kind"] for row in rows} == {"check", "preference", "fix"}


def test_a_skill_has_a_name_and_a_description_that_fit() -> None:
    odd = Lesson(id="l-1", kind="check", place="/src/My  Répo!!" + "x" * 90, claim="c")
    name, text = skill_text([odd])
    assert len(name) <= 64
    assert not name.endswith("-")
    assert "--" not in name
    assert all(char.islower() or char.isdigit() or char == "-" for char in name)
    assert len(text.splitlines()[2]) <= 1024
    assert agents_text([odd.model_copy(update={"status": "retired"})]) == ""
