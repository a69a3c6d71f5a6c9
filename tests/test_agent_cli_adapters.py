"""`adi model adapters | add | promote | rollback | current | retire`: listed, moved, read back."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from agent.cli import invoke
from agent.errors import UsageError, exit_code_of
from agent.models import choice_of
from agent.settings import directories, load
from feedback.errors import DataError
from model.connect import connect
from model.errors import AdapterRefused, UnknownAdapter
from model.server import find, stop
from tests.adapter_kit import FAMILY, NAME, Home


@pytest.fixture
def home(adi_home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Home]:
    """Two adapters of the tiny model, which the settings name."""
    made = Home(tmp_path / "made")
    made.store.folder = directories().data / "adapters"
    for seed, verdict in ((1, "PROMOTE"), (2, "CANNOT TELL")):
        name = made.add(made.trained(seed=seed), rows=(f"r-{seed}", "r-0")).name
        made.store.judge(name, verdict, report=f"g-{seed}")
    monkeypatch.setenv("ADI_MODEL__NAME", str(made.weights))
    monkeypatch.setenv("ADI_MODEL__ENGINE", "llama")
    yield made
    stop(adi_home / "server")


def told(capsys: pytest.CaptureFixture[str], *arguments: str) -> dict[str, Any]:
    capsys.readouterr()
    assert invoke(["model", *arguments, "--json"]) == 0
    found: dict[str, Any] = json.loads(capsys.readouterr().out)
    assert found["schema_version"] == 1
    return found


def named(home: Home, verdict: str) -> str:
    words = [home.store.verdict(name) for name in home.store.names()]
    return next(word.adapter for word in words if word and word.verdict == verdict)


def test_the_list_tells_what_there_is(home: Home, capsys: pytest.CaptureFixture[str]) -> None:
    good = named(home, "PROMOTE")
    invoke(["model", "promote", good])
    rows = {row["name"]: row for row in told(capsys, "adapters")["adapters"]}
    assert sorted(rows) == home.store.names()
    row = rows[good]
    assert (row["base"], row["rows"], row["verdict"], row["current"]) == (NAME, 2, "PROMOTE", True)
    assert row["size"] > 10_000
    invoke(["model", "adapters"])
    lines = capsys.readouterr().out.splitlines()
    assert [line[0] for line in lines] == ["*" if row["current"] else " " for row in rows.values()]
    assert all(line[2:].startswith(f"{FAMILY}-") for line in lines)


def test_an_empty_list_says_so(capsys: pytest.CaptureFixture[str]) -> None:
    invoke(["model", "adapters"])
    assert "there are no adapters" in capsys.readouterr().out


def test_the_gates_word_decides_and_force_is_written_down(
    home: Home, capsys: pytest.CaptureFixture[str]
) -> None:
    good, other = named(home, "PROMOTE"), named(home, "CANNOT TELL")
    with pytest.raises(AdapterRefused, match="the gate said CANNOT TELL") as caught:
        invoke(["model", "promote", other])
    assert exit_code_of(caught.value) == 2
    assert f"adi model promote {other} --force REASON" in caught.value.hint
    assert told(capsys, "current")["adapter"] == ""
    made = told(capsys, "promote", good, "--reason", "it won")
    assert (made["adapter"], made["before"], made["forced"], made["served"]) == (good, "", False, None)
    made = told(capsys, "promote", other, "--force", "I know better")
    assert (made["forced"], made["reason"], made["verdict"]) == (True, "I know better", "CANNOT TELL")
    assert not told(capsys, "promote", other, "--force", "again")["changed"]
    invoke(["model", "current"])
    out = capsys.readouterr().out
    assert f"{NAME} is served with {other}" in out
    assert "(forced): I know better" in out
    assert told(capsys, "rollback", "--reason", "it was worse")["adapter"] == good
    assert told(capsys, "rollback")["adapter"] == ""
    with pytest.raises(AdapterRefused, match="nothing to roll back"):
        invoke(["model", "rollback"])
    with pytest.raises(UnknownAdapter) as unknown:
        invoke(["model", "promote", "../../etc"])
    assert exit_code_of(unknown.value) == 2


def test_one_that_was_trained_elsewhere_comes_in_and_names_its_rows(
    home: Home, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    trained = home.trained(seed=5)
    made = told(capsys, "add", str(trained))
    assert home.store.get(made["adapter"]).rows == ()
    data = tmp_path / "rows"
    data.mkdir()
    (data / "meta").mkdir()
    (data / "meta" / "manifest.json").write_text(json.dumps({"schema_version": 1, "runs": ["r-9", "r-3"]}))
    other = home.trained(seed=6)
    invoke(["model", "add", str(other), "--data", str(data)])
    out = capsys.readouterr()
    assert home.store.get(out.out.strip()).rows == ("r-3", "r-9")
    assert f"adi learn gate {out.out.strip()}" in out.err
    with pytest.raises(AdapterRefused, match="the gate has not judged it"):
        invoke(["model", "promote", made["adapter"]])
    (other / "extra.py").write_text("import os")
    with pytest.raises(AdapterRefused):
        invoke(["model", "add", str(other)])
    with pytest.raises(DataError, match="no data set of ADI"):
        invoke(["model", "add", str(trained), "--data", str(tmp_path)])


def test_retiring_needs_a_reason(home: Home, capsys: pytest.CaptureFixture[str]) -> None:
    good = named(home, "PROMOTE")
    with pytest.raises(UsageError, match="needs a reason"):
        invoke(["model", "retire", good, "--reason", " "])
    invoke(["model", "promote", good])
    assert told(capsys, "retire", good, "--reason", "a row was forgotten")["action"] == "retire"
    assert told(capsys, "current")["adapter"] == ""
    assert good not in home.store.names()


@pytest.mark.engine
def test_a_running_server_takes_it_and_is_read_back(home: Home, capsys: pytest.CaptureFixture[str]) -> None:
    connect(choice_of(load(None).settings, directories())).close()
    before = find(directories().server)
    good = named(home, "PROMOTE")
    made = told(capsys, "promote", good)
    assert made["served"]["name"] == good
    assert made["served"]["differing"] > 0
    assert told(capsys, "current")["loaded"] == [good]
    after = find(directories().server)
    assert before is not None
    assert after is not None
    assert (after.pid, after.openai, after.token) == (before.pid, before.openai, before.token)
    still = home.add(home.trained(seed=9, std=1e-6)).name
    invoke(["model", "rollback"])
    with pytest.raises(Exception, match="answers as the base"):
        invoke(["model", "promote", still, "--force", "a try"])
    assert told(capsys, "current")["adapter"] == ""
