"""`adi model`: a user's own file and address, what is listed, and what is refused."""

import hashlib
import json
from pathlib import Path

import pytest

from agent.cli import invoke
from agent.errors import UsageError
from model.errors import HashMismatch, ModelMissing, UnknownModel

BYTES = b"GGUF" + bytes(1000)


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "My Model-q4.gguf"
    path.write_bytes(BYTES)
    return path


def listed(capsys: pytest.CaptureFixture[str]) -> dict[str, dict[str, object]]:
    capsys.readouterr()
    assert invoke(["model", "list", "--json"]) == 0
    document = json.loads(capsys.readouterr().out)
    assert document["schema_version"] == 1
    return {row["name"]: row for row in document["models"]}


def test_a_file_of_ones_own_becomes_a_model(file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert listed(capsys)["qwen2.5-coder-1.5b"]["path"] == ""
    invoke(["model", "pull", str(file), "--name", "mine"])
    invoke(["model", "pull", str(file), "--name", "mine"])  # again is no error
    row = listed(capsys)["mine"]
    assert (row["path"], row["size"]) == (str(file), len(BYTES))
    assert row["sha256"] == hashlib.sha256(BYTES).hexdigest()
    invoke(["model", "path", "mine"])
    assert capsys.readouterr().out == f"{file}\n"
    invoke(["model", "verify", "mine"])
    assert "as the catalogue promises" in capsys.readouterr().out
    file.write_bytes(BYTES[::-1])
    with pytest.raises(HashMismatch):
        invoke(["model", "verify", "mine"])


def test_a_plain_list_says_what_is_missing(capsys: pytest.CaptureFixture[str]) -> None:
    invoke(["model", "list"])
    assert "not here: adi model pull qwen2.5-coder-0.5b" in capsys.readouterr().out


def test_offline_fetches_nothing() -> None:
    with pytest.raises(ModelMissing) as caught:
        invoke(["model", "pull", "qwen2.5-coder-0.5b", "--offline"])
    assert caught.value.hint == "adi model pull qwen2.5-coder-0.5b"


@pytest.mark.parametrize(
    ("arguments", "why"),
    [
        (["https://host.example/m.gguf"], "needs --sha256"),
        (["https://host.example/m.gguf", "--sha256", "abc"], "64 hexadecimal"),
        (["/no/such/file.gguf"], "there is no file"),
        (["qwen2.5-coder-0.5b", "--sha256", "0" * 64], "belong to a path"),
    ],
)
def test_what_pull_refuses(arguments: list[str], why: str) -> None:
    with pytest.raises(UsageError, match=why):
        invoke(["model", "pull", *arguments])


def test_a_known_name_is_not_taken_over(file: Path) -> None:
    with pytest.raises(UsageError, match="already"):
        invoke(["model", "pull", str(file), "--name", "qwen2.5-coder-1.5b"])
    with pytest.raises(UnknownModel):
        invoke(["model", "pull", str(file), "--name", "../up"])


def test_serve_says_when_nothing_runs(capsys: pytest.CaptureFixture[str]) -> None:
    invoke(["serve", "--status"])
    assert capsys.readouterr().out.startswith("no server runs")
    invoke(["serve", "--stop"])
    assert capsys.readouterr().err == "no server was running\n"
