"""The scripts of benchmarks/gpu run, on a CPU with a tiny model; what they measure there means nothing."""

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from benchmarks.gpu import at_once, best_of, drafting, first_token, kit, run_all, single_stream, start

pytestmark = pytest.mark.engine
BANDWIDTH = {"copy GB/s", "read GB/s"}


@pytest.fixture(autouse=True)
def _one_thread() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    cache = tmp_path_factory.mktemp("weights")
    return ["--device", "cpu", "--tiny", "--runs", "2", "--cache", str(cache)]


@pytest.mark.parametrize(
    ("script", "title", "columns"),
    [
        (single_stream, "one stream", {"tokens/s", "share", "measured GB/s"}),
        (at_once, "many at once", {"at once", "tokens/s", "share"}),
        (drafting, "an edit with drafting", {"guessed", "held", "seconds"}),
        (best_of, "best of 8", {"answers", "seconds"}),
        (first_token, "first token with a cached prefix", {"cold ms", "next step ms", "there already"}),
    ],
)
def test_a_script_tells_what_it_measured(
    script: object, title: str, columns: set[str], small: list[str], tmp_path: Path
) -> None:
    file = tmp_path / "results.jsonl"
    script.main([*small, "--json", str(file)])  # type: ignore[attr-defined]
    told = json.loads(file.read_text("utf-8"))
    assert told["what"] == title
    assert {"device", "torch", "dtype", "model", "seed"} <= told["about"].keys()
    assert told["about"]["tiny"] is True
    for row in told["rows"]:
        assert columns <= row.keys()
        assert 0 < float(row.get("share", 0.5)) < 1


def test_drafting_writes_the_same_ids(small: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    drafting.main(small)
    told = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert told["about"]["answers"] == "identical"


def test_the_mpt_shape_is_measured_as_one_stream(
    small: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    mpt = [*small, "--random", kit.SHAPES[1]]
    single_stream.main(mpt)
    assert "replit-code-v1-3b" in capsys.readouterr().out
    with pytest.raises(SystemExit, match="measure one stream"):
        best_of.main(mpt)


@pytest.mark.slow
def test_a_start_is_measured_in_a_process_of_its_own(
    small: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    start.main([*small, "--runs", "1"])
    told = json.loads(capsys.readouterr().out.splitlines()[-1])
    (row,) = told["rows"]
    assert row["first token s"] > row["of it loading"] > 0


def test_run_all_gives_every_script_the_same_arguments() -> None:
    given = ["--model", "a", "--random=b", "--tiny", "--seed", "3", "--random", "c"]
    assert run_all.without_model(given) == ["--tiny", "--seed", "3"]
    assert len(run_all.ALL) == 6
