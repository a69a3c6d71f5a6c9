"""`adi eval`: what was asked for wrongly is told, reports of finished results, one real measurement."""

import json
from dataclasses import asdict
from pathlib import Path

import pytest

from agent.cli import invoke
from agent.errors import UsageError
from agent.settings import load
from agent.suite_measure import full_name, put_aside
from agent.suite_results import read_rows
from agent.suite_task import Row
from model.errors import UnknownModel
from tests.openai_server import Said, serve
from tests.suite_kit import row


def given(folder: Path) -> Path:
    """A folder of suites with three small tasks in the format of HumanEval."""
    rows = [
        {
            "task_id": f"HumanEval/{number}",
            "prompt": f'def add(a, b):\n    """The sum and {number}."""\n',
            "entry_point": "add",
            "canonical_solution": f"    return a + b + {number}\n",
            "test": f"def check(candidate):\n    assert candidate(1, 2) == {3 + number}\n",
        }
        for number in range(3)
    ]
    file = folder / "humaneval" / "humaneval.jsonl"
    file.parent.mkdir()
    file.write_text("".join(f"{json.dumps(each)}\n" for each in rows) + "not json\n")
    return folder


def results(path: Path, *rows: Row) -> str:
    path.write_text("".join(f"{json.dumps(asdict(each))}\n" for each in rows))
    return str(path)


@pytest.mark.parametrize(
    ("arguments", "told", "hint"),
    [
        (("humanevl", "--data", "D"), "no suite 'humanevl'", "did you mean adi eval humaneval?"),
        (("humaneval",), "where is the suite's data?", "ADI_BENCH"),
        (
            ("humaneval", "--data", "D", "--part", "all of it"),
            "no part 'all of it'",
            "--part all, dev, unseen",
        ),
        (
            ("humaneval", "--data", "D", "--only", "HumanEval_01"),
            "no task 'HumanEval_01'",
            "did you mean HumanEval_",
        ),
        (("humaneval", "--data", "D/nothing"), "nothing", "--data"),
        (("report", "D/none.jsonl"), "there are no results in", "--out"),
        (("humaneval", "--data", "D", "--compare", "D/none.jsonl"), "there are no results in", "--out"),
    ],
)
def test_what_was_asked_for_wrongly_is_told(
    tmp_path: Path, arguments: tuple[str, ...], told: str, hint: str
) -> None:
    folder = str(given(tmp_path))
    with pytest.raises(UsageError, match=told) as caught:
        invoke(["eval", *(word.replace("D", folder) if word[:1] == "D" else word for word in arguments)])
    assert hint in caught.value.hint


def test_a_report_compares_every_pair_and_runs_nothing(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    names = "abcdefghij"
    first = results(tmp_path / "1", *(row(name, name != "a") for name in names))
    second = results(tmp_path / "2", *(row(name, name == "a", agent="oneshot") for name in names))
    third = results(tmp_path / "3", *(row(name, agent="mini") for name in names[:4]))
    table = tmp_path / "table.md"
    assert invoke(["eval", "report", first, second, third, "--table", str(table)]) == 0
    text = capsys.readouterr().out
    assert "| adi, seed 0 | oneshot, seed 0 | 10 | 0 | 9 | 1 | 0 | 0.02148 |" in text
    assert "| oneshot, seed 0 | mini, seed 0 | 4 |" in text
    assert "9/10, 90.0% (59.6 to 98.2)" in text
    assert table.read_text() == text
    assert invoke(["eval", "report", first, second, "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert [each["solved"] for each in told["measured"]] == [9, 1]
    assert told["mcnemar"][0]["p"] == pytest.approx(0.02148, abs=1e-5)


def test_damaged_lines_of_results_are_told(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "1"
    file.write_text("torn\n" + Path(results(tmp_path / "2", row("a"))).read_text())
    assert invoke(["eval", "report", str(file)]) == 0
    said = capsys.readouterr()
    assert "1 damaged line(s)" in said.err
    assert "1/1" in said.out


def test_earlier_results_get_a_number(tmp_path: Path) -> None:
    file = tmp_path / "out.jsonl"
    put_aside(file)
    for text in ("first", "second"):
        file.write_text(text)
        put_aside(file)
    assert {path.name: path.read_text() for path in tmp_path.iterdir()} == {
        "out.1.jsonl": "first",
        "out.2.jsonl": "second",
    }


ANSWER = "def add(a, b):\n    return a + b + 1\n```\n"
"""How a model goes on after an opened code block."""


@pytest.mark.container
def test_a_real_measurement_with_docker_graders(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """One answer of a model, right for one task of three; then only what is missing is measured."""
    out = tmp_path / "out.jsonl"
    words = ["eval", "humaneval", "--data", str(given(tmp_path)), "--agent", "oneshot", "--out", str(out)]
    with serve(lambda _: Said(ANSWER, "m", tokens=9)) as url:
        monkeypatch.setenv("ADI_MODEL__URL", url)
        assert invoke([*words, "--limit", "2", "--jobs", "2"]) == 0
        said = capsys.readouterr()
        assert "| solved, share (95% Wilson interval) | 1/2, 50.0%" in said.out
        assert "[2/2] HumanEval_" in said.err
        assert "line 4" in said.err
        assert invoke([*words, "--json"]) == 0
        said = capsys.readouterr()
        assert "[3/3] HumanEval_2: not solved (answered)" in said.err
        assert "HumanEval_0" not in said.err
        with pytest.raises(UsageError, match="holds results of suite humaneval, agent oneshot, seed 0"):
            invoke([*words, "--seed", "1"])
        assert invoke([*words, "--no-resume", "--only", "HumanEval_1", "--seed", "1"]) == 0
    told = json.loads(said.out)["measured"][0]
    assert (told["solved"], told["rows"], told["model"], told["written_tokens"]) == (1, 3, ["m"], 27)
    assert [each.solved for each in read_rows(out)[0]] == [True]
    assert len(read_rows(tmp_path / "out.1.jsonl")[0]) == 3


def test_a_model_that_is_not_to_be_had_ends_it_before_the_first_task(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "out.jsonl"
    words = ["eval", "humaneval", "--data", str(given(tmp_path)), "--agent", "oneshot", "--out", str(out)]
    with serve(lambda _: Said(ANSWER, "m", tokens=9)) as url:
        monkeypatch.setenv("ADI_MODEL__URL", url)
        monkeypatch.setenv("ADI_MODEL__NAME", "other")
        with pytest.raises(UnknownModel, match="does not serve 'other'"):
            invoke(words)
    assert not out.exists()


def test_adi_without_a_mechanism_is_another_agent() -> None:
    off = load(None, {"run": {"without": ["repair", "coverage"]}}, {}).settings
    assert full_name("adi", off) == "adi-without-coverage-repair"
    assert full_name("oneshot", off) == "oneshot"
    assert full_name("adi", load(None, {}, {}).settings) == "adi"
