"""`adi learn` as a person calls it: a memory, a tiny model, a real training in its own process, a store."""

import json
import os
import random
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from pyarrow import parquet

from agent.cli import error_lines, invoke
from agent.errors import exit_code_of
from agent.seed_tasks import TaskFolder
from memory.consent import Consents
from memory.store import Store
from model.adapter_store import AdapterStore
from model.tiny import write_tiny
from model.tiny_torch import write_tiny_torch
from model.train_job import Facts as Trained
from tests.adi_kit import adi
from tests.conftest import RepoFactory
from tests.export_kit import MIT, change, memory, plant
from tests.harvest_kit import auto_accepted
from tests.test_agent_learn import task

REPOS = ("/src/maths0", "/src/maths1")


class Done(NamedTuple):
    code: int
    stdout: str
    stderr: str


Learn = Callable[..., Done]


@pytest.fixture
def learn(
    adi_home: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> Learn:
    """`adi learn ...` in this process, on a memory of twelve runs and a tiny model."""
    memory(adi_home)
    model = write_tiny(tmp_path / "qwen2.5-coder-tiny.gguf")
    monkeypatch.setenv("ADI_MODEL__NAME", str(model))
    monkeypatch.setenv("ADI_MODEL__ENGINE", "llama")

    def run(*arguments: str, code: int = 0) -> Done:
        capsys.readouterr()
        monkeypatch.setattr(sys, "argv", ["adi", "learn", *arguments])
        try:
            ended = invoke(["learn", *arguments])
        except Exception as error:  # noqa: BLE001 - as the command line itself does
            ended = exit_code_of(error)
            sys.stderr.write("\n".join(error_lines(error)))
        found = Done(ended, *capsys.readouterr())
        assert found.code == code, found.stderr + found.stdout
        return found

    return run


def grant(home: Path) -> None:
    with Store.open(home / "adi.db") as store:
        for repo in REPOS:
            Consents(store).set("repository", repo, "granted")


def source(kind: str, number: int) -> str:
    """A module like no other."""
    dice = random.Random(f"{kind}{number}")
    names = ["".join(dice.choices("abcdefghijklmnop", k=8)) for _ in range(12)]
    return "".join(
        f"def {one}({other}: int) -> int:\n    return {other} * {dice.randrange(10**6)}\n\n\n"
        for one, other in zip(names[::2], names[1::2], strict=True)
    )


def told(done: Done) -> Any:
    return json.loads(done.stdout)


def test_nothing_is_trained_without_consent_and_the_dry_run_says_why(learn: Learn) -> None:
    rows = told(learn("--dry-run", "--json"))
    assert (rows["runs"], rows["answers"]) == (0, 0)
    assert rows["left_out"] == {"consent: consent not given": 12}
    said = learn("--no-gate", code=2).stderr
    assert "0 accepted runs are too few, 10 are needed" in said
    assert "12 wait for consent" in said


def test_a_dry_run_counts_rows_tokens_and_labels(learn: Learn, adi_home: Path) -> None:
    grant(adi_home)
    rows = told(learn("--dry-run", "--json"))
    assert rows["labels"]["gold"] == 4
    assert rows["answers"] > 0
    assert 0 < rows["learned"] < rows["tokens"]
    text = learn("--dry-run").stdout
    assert "runs that are left:" in text
    assert f"{rows['answers']:,} answers" in text


def test_a_round_is_trained_stored_and_not_promoted_without_a_gate(learn: Learn, adi_home: Path) -> None:
    """The whole way with a real training; the same again trains nothing."""
    grant(adi_home)
    options = ("--no-gate", "--least", "2", "--epochs", "1", "--rank", "2", "--max-length", "8192")
    first = learn(*options, code=3)
    kept = AdapterStore(adi_home / "adapters")
    (name,) = kept.names()
    assert first.stdout.startswith(f"not judged: {name}")
    assert "goes on serving" in first.stdout
    assert "answers: step" in first.stderr
    manifest = kept.check(name)
    assert set(manifest.rows) == set(told(learn(*options, "--json", code=3))["runs"])
    assert kept.current(manifest.base.sha256) == ""
    assert kept.names() == [name]
    assert "training" not in learn(*options, code=3).stderr
    assert learn("--when", "50 new accepted", "--no-gate", code=3).stdout == (
        "6 of 50 new accepted runs: nothing is learned yet\n"
    )


@pytest.mark.slow
def test_a_corpus_is_learned_with_general_code_shown_again(
    learn: Learn, adi_home: Path, tmp_path: Path, make_repo: RepoFactory
) -> None:
    folders = {}
    for kind in ("own", "general"):
        repo = make_repo({f"{kind}{n}.py": source(kind, n) for n in range(5)}, kind)
        folders[kind] = str(tmp_path / f"corpus-{kind}")
        done = adi(repo, "data", "corpus", ".", "--local", "--to", folders[kind])
        assert done.returncode == 0, done.stderr
    corpus = ("--corpus", folders["own"], "--replay", folders["general"])
    own = told(learn(*corpus[:2], "--dry-run", "--json"))["texts"]
    assert told(learn(*corpus, "--dry-run", "--json"))["texts"] > own > 0
    options = (*corpus, "--passes", "2", "--replay-share", "0.5", "--optimizer", "lion", "--rank", "2")
    learn(*options, "--no-gate", code=3)
    (facts,) = (adi_home / "learn" / "rounds").glob("*/out/training.json")
    trained = Trained.model_validate_json(facts.read_text())
    assert [stage.stage for stage in trained.stages] == ["corpus"]
    assert trained.settings.corpus.epochs == 2
    assert (trained.settings.optimizer, trained.settings.corpus.optimizer) == ("lion", "lion")
    size = sum(len(source("own", number)) for number in range(5))  # a byte is a token here
    assert 3.6 * size < trained.stages[0].tokens < 4.4 * size, "two passes, each with as much general code"
    assert "goes with a corpus" in learn(*corpus[2:], "--no-gate", code=2).stderr


def test_what_cannot_be_is_one_sentence(learn: Learn, tmp_path: Path, adi_home: Path) -> None:
    grant(adi_home)
    assert "no held-out tasks" in learn("--least", "2", "--alone", code=2).stderr
    assert "harm elsewhere" in learn("--least", "2", code=2).stderr
    assert "name an adapter, or --noise" in learn("gate", "--alone", code=2).stderr
    assert "no condition" in learn("--when", "soon", code=2).stderr
    assert "no schedule" in learn("--schedule", "launchd", code=2).stderr
    assert "no training tasks" in learn("collect", code=2).stderr
    assert "no adapter" in learn("gate", "nobody", "--alone", code=2).stderr
    assert "is no data set of ADI" in learn("--corpus", str(tmp_path), "--no-gate", code=2).stderr
    assert "no gate has looked" in learn("gates").stderr


def test_schedules_carry_the_options_and_install_nothing(learn: Learn, adi_home: Path) -> None:
    said = learn("--when", "50 new accepted", "--schedule", "systemd", "--rank", "8").stdout
    assert 'learn --when "50 new accepted" --rank 8\n' in said
    assert f"ADI_HOME={adi_home}" in said


def test_rows_that_share_something_with_held_out_tasks_are_left_out(learn: Learn, adi_home: Path) -> None:
    """A held-out task with the very change of a run."""
    grant(adi_home)
    before = told(learn("--dry-run", "--json"))
    folder = TaskFolder(adi_home / "learn" / "tasks")
    held = task("seeded-maths-123", "held-out").model_copy(update={"fix_diff": change("gcd0")})
    folder.add([held], {"a.py": b""})
    after = told(learn("--dry-run", "--json"))
    assert after["left_out"]["held-out suites: held-out patch"] >= 1
    assert after["runs"] == before["runs"] - 1


def test_runs_on_seeded_tasks_are_told_apart_and_can_be_left_out(learn: Learn, adi_home: Path) -> None:
    story = auto_accepted(repo="/tmp/copy", prompt="mend what test_sum shows", diff=change("seededsum"))
    origin = MIT.model_copy(update={"copy_of": REPOS[0], "synthetic": True, "task": "seeded-maths-abc1"})
    with Store.open(adi_home / "adi.db") as store:
        run_id = plant(store, story.events, story.patches.values(), origin)
    grant(adi_home)
    rows = told(learn("--dry-run", "--json"))
    assert rows["synthetic"] == 1, "under the consent of the repository that it was made of"
    without = told(learn("--dry-run", "--no-synthetic", "--json"))
    assert (without["synthetic"], without["runs"]) == (0, rows["runs"] - 1)
    assert without["left_out"]["synthetic tasks: seeded task"] == 1
    folder = adi_home / "rows"
    assert invoke(["data", "export", str(folder), "--format", "trajectories", "--any-licence"]) == 0
    table = [
        row for file in folder.glob("trajectories/*.parquet") for row in parquet.read_table(file).to_pylist()
    ]
    assert {row["trajectory_id"] for row in table if row["synthetic"]} == {run_id}


@pytest.mark.slow
@pytest.mark.usefixtures("learn")
def test_rows_train_a_base_that_is_spread_over_two_processes(
    adi_home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """docs/scale.md: exported, trained by torch's FSDP outside of ADI, taken in again with its runs."""
    grant(adi_home)
    base, rows, made = write_tiny_torch(tmp_path / "base"), adi_home / "rows", tmp_path / "made"
    assert invoke(["data", "export", str(rows), "--format", "pretokenised", "--any-licence"]) == 0
    script = Path(__file__).parents[1] / "examples" / "shard_lora.py"
    command = [Path(sys.executable).with_name("torchrun"), "--nproc-per-node", "2", script, base, rows, made]
    done = subprocess.run(
        [*command, "--lr", "1e-2"],
        env={**os.environ, "OMP_NUM_THREADS": "1"}, capture_output=True, text=True, check=False, timeout=240,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    losses = [float(line.rpartition(" ")[2]) for line in done.stdout.splitlines() if ": loss " in line]
    assert losses[-1] < losses[0]
    monkeypatch.setenv("ADI_MODEL__NAME", str(base))
    monkeypatch.setenv("ADI_MODEL__ENGINE", "torch")
    assert invoke(["model", "add", str(made), "--data", str(rows)]) == 0
    kept = AdapterStore(adi_home / "adapters")
    (name,) = kept.names()
    assert len(kept.check(name).rows) > 0
