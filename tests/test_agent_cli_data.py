"""Tests of `adi data export | validate | diff | stats`, as a person or a program calls them."""

import json
import shutil
import subprocess
import sys
from collections import Counter
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from pyarrow import parquet

from agent.cli import error_lines, invoke
from agent.errors import exit_code_of
from memory.consent import Consents
from memory.store import Store
from tests.consent_kit import on_copy
from tests.export_kit import MIT, change, memory, plant
from tests.harvest_kit import BEGIN, solved_by_hand

REPOS = ("/src/maths0", "/src/maths1")
DAMAGES = {
    "a byte changed": "hashes",
    "a pickle beside": "files",
    "a link": "files",
    "a file gone": "files",
}
"""What was done to a data set -> the check that finds it."""


class Done(NamedTuple):
    """What one command said."""

    code: int
    stdout: str
    stderr: str


Data = Callable[..., Done]


@pytest.fixture
def filled(adi_home: Path, tmp_path: Path) -> Path:
    """A memory with runs of two repositories; a folder to work in."""
    memory(adi_home)
    return tmp_path


@pytest.fixture
def data(filled: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Data:
    """`adi data ...` in this process, in the folder."""
    monkeypatch.chdir(filled)

    def run(*arguments: str, code: int = 0) -> Done:
        capsys.readouterr()
        monkeypatch.setattr(sys, "argv", ["adi", "data", *arguments])  # an export remembers how it was asked
        try:
            ended = invoke(["data", *arguments])
        except Exception as error:  # noqa: BLE001 - as the command line itself does
            ended = exit_code_of(error)
            sys.stderr.write("\n".join(error_lines(error)))
        found = Done(ended, *capsys.readouterr())
        assert found.code == code, found.stderr
        return found

    return run


def told(data: Data, *arguments: str, code: int = 0) -> Any:
    return json.loads(data(*arguments, "--json", code=code).stdout)


def everything(folder: Path) -> dict[str, bytes]:
    return {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


def rows(folder: Path, config: str) -> list[dict[str, Any]]:
    return [
        row
        for path in sorted((folder / config).glob("*.parquet"))
        for row in parquet.read_table(path).to_pylist()
    ]


def test_nothing_is_exported_that_nobody_allowed(data: Data, filled: Path) -> None:
    done = data("export", "out", code=2)
    assert "consent not given: 12" in done.stdout + data("export", "--preview").stdout
    assert "no row is left to export" in done.stderr
    assert "hint: adi data export --preview" in done.stderr
    assert [path.name for path in filled.iterdir() if "out" in path.name] == []


def test_what_was_allowed_is_exported_checked_and_the_same_again(data: Data, filled: Path) -> None:
    data("consent", "grant", "--user")
    counts = told(data, "export", "out")
    assert counts["steps"][0] == {"name": "consent", "in": 12, "out": 12, "dropped": {}}
    assert counts["rows"]["trajectories"] == 12
    assert sum(step["in"] - step["out"] for step in counts["steps"]) == 0
    labels = Counter((row["human_action"], row["label"]) for row in rows(filled / "out", "trajectories"))
    assert labels == {
        ("accepted", "gold"): 2, ("edited", "gold"): 2, ("none", "silver"): 2,
        ("rejected", "negative"): 2, ("undone", "negative"): 2, ("none", "negative"): 2,
    }  # fmt: skip
    pairs = [row for row in rows(filled / "out", "preference") if row["preference_source"] == "human"]
    assert len(pairs) == 2
    assert all("8 of" in row["chosen"][0]["content"] for row in pairs)
    assert all("eighth of" in row["rejected"][0]["content"] for row in pairs)
    assert {row["repo"] for row in rows(filled / "out", "trajectories")}.isdisjoint(REPOS)
    valid = told(data, "validate", "out")
    assert valid["valid"], valid
    assert {check["name"] for check in valid["checks"]} >= {"hashes", "loads by name", "secrets", "splits"}
    told(data, "export", "again")
    assert everything(filled / "again") == everything(filled / "out")
    difference = told(data, "diff", "out", "again")
    assert difference["query"] == {}
    assert all(
        one["same"] and not one["added"] + one["removed"] + one["moved"]
        for one in difference["configurations"]
    )
    assert told(data, "stats", "out")["configurations"]["trajectories"]["label"] == {
        "gold": 4, "negative": 6, "silver": 2,
    }  # fmt: skip


def test_runs_on_copies_are_those_of_their_repository(data: Data, filled: Path, adi_home: Path) -> None:
    room = "/data/rooms/b-1-1/maths0"
    told_of = {"prompt": "make the cube root right", "diff": change("cube"), "at": BEGIN + timedelta(days=1)}
    story = on_copy(solved_by_hand(repo="/src/maths0", **told_of), room)
    with Store.open(adi_home / "adi.db") as store:
        origin = MIT.model_copy(update={"copy_of": "/src/maths0"})
        copied = plant(store, story.events, story.patches.values(), origin)
        Consents(store).set("repository", "/src/maths0", "granted")
    assert told(data, "export", "out")["rows"]["trajectories"] == 7
    found = rows(filled / "out", "trajectories")
    assert copied in {row["trajectory_id"] for row in found}
    assert len({row["repo"] for row in found}) == len({row["split"] for row in found}) == 1
    assert not any("rooms" in str(row) for row in found)
    assert told(data, "validate", "out")["valid"]
    assert told(data, "export", "few", "--per-repository", "3")["rows"]["trajectories"] == 3
    with Store.open(adi_home / "adi.db") as store:
        Consents(store).set("repository", "/src/maths0", "refused")
    assert told(data, "export", "--preview")["steps"][0]["out"] == 0


def test_the_difference_tells_what_a_narrower_query_left_out(data: Data, filled: Path) -> None:
    data("consent", "grant", "--user")
    told(data, "export", "before")
    told(data, "export", "after", "--grade", "gold", "--min-reward", "0.5")
    found = {one["config"]: one for one in told(data, "diff", "before", "after")["configurations"]}
    assert len(found["trajectories"]["removed"]) == 8
    assert found["trajectories"]["same"] == 4
    assert found["trajectories"]["added"] == []
    assert {row["label"] for row in rows(filled / "after", "trajectories")} == {"gold"}


def test_feedback_l06_what_could_run_or_was_changed_is_refused(data: Data, filled: Path) -> None:
    """Nothing of a data set is executed: pickles and links are findings, and then nothing is read."""
    data("consent", "grant", "--user")
    data("export", "out", "--format", "trajectories")
    for damage, check in DAMAGES.items():
        hurt = Path(shutil.copytree(filled / "out", filled / damage))
        table = next((hurt / "trajectories").glob("*.parquet"))
        match damage:
            case "a byte changed":
                table.write_bytes(table.read_bytes()[:-1] + b"?")
            case "a pickle beside":
                (hurt / "data.pkl").write_bytes(b"cos\nsystem\n(S'touch ran'\ntR.")
            case "a link":
                shutil.move(table, filled / "elsewhere.parquet")
                table.symlink_to(filled / "elsewhere.parquet")
            case "a file gone":
                table.unlink()
        found = told(data, "validate", damage, code=3)["checks"]
        assert [one["name"] for one in found if one["problems"]] == [check]
        assert [one["name"] for one in found] == ["files", "hashes"], "what is not as written is not read"
    assert not (filled / "ran").exists()


def test_a_place_that_is_taken_and_wrong_words_are_told(data: Data, filled: Path) -> None:
    data("consent", "grant", "--user")
    (filled / "photos").mkdir()
    assert "is no data set" in data("export", "photos", "--force", code=2).stderr
    data("export", "out")
    assert "add --force" in data("export", "out", code=2).stderr
    data("export", "out", "--force")
    assert "no format 'sftt'" in data("export", "x", "--format", "sftt", code=2).stderr
    assert "use repository or time" in data("export", "x", "--split-by", "row", code=2).stderr
    assert "no time 'soon'" in data("export", "x", "--since", "soon", code=2).stderr
    assert "a data set needs a folder" in data("export", code=2).stderr
    assert "no store at" in data("export", "x", "--store", "nowhere.db", code=2).stderr
    assert "is no data set of ADI" in data("validate", "photos", code=2).stderr


def test_who_forgets_is_told_where_it_still_lies_and_what_makes_it_again(data: Data, filled: Path) -> None:
    """Case L07: a run that was forgotten is not in the next data set."""
    data("consent", "grant", "--user")
    data("export", "out", "--seed", "3")
    gone = rows(filled / "out", "trajectories")[0]["trajectory_id"]
    done = data("forget", gone, "--yes")
    words = done.stdout + done.stderr
    assert str(filled / "out") in words
    assert "adi data export out --seed 3 --force" in words
    data("export", "out", "--seed", "3", "--force")
    left = {row["trajectory_id"] for row in rows(filled / "out", "trajectories")}
    assert len(left) == 11
    assert gone not in left


def test_without_what_data_sets_are_written_with_one_sentence_helps(filled: Path) -> None:
    """As in an install without the extra `data`; a process of its own, whose imports are then others."""
    lacks = "import sys; sys.modules.update(dict.fromkeys(('pyarrow', 'datasets', 'datasketch', 'numpy')))\n"
    for words in (["export", "out"], ["validate", "out"], ["diff", "a", "b"], ["corpus", ".", "--preview"]):
        code = f"{lacks}sys.argv = ['adi', 'data', *{words!r}]\nfrom agent.cli import main\nmain()"
        done = subprocess.run(
            [sys.executable, "-P", "-c", code], cwd=filled, capture_output=True, text=True, check=False
        )
        assert done.returncode == 6, done.stderr
        assert "data sets need what is not installed: pyarrow, datasets, datasketch" in done.stderr
        assert "hint: pip install 'adi-agent[data]'" in done.stderr
