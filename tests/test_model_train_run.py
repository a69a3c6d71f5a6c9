"""Training a tiny base in this process: what is learned, what is written, what ends it, how it goes on."""

import json
import math
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from peft import PeftModel
from safetensors.torch import save_file

from memory.records import Message
from model.errors import NoSpace, RequestRefused
from model.torch_adapters import Adapters
from model.torch_files import quiet
from model.train_errors import (
    NotFinite,
    NothingLearned,
    OutOfMemory,
    OutputExists,
    RowsRefused,
    TrainingStopped,
)
from model.train_host import failure
from model.train_job import Began, Event, Facts, Finished, Progressed, Saved, StageDone
from model.train_rows import IGNORED, Row, Rows
from model.train_run import trainable
from tests.train_kit import (
    answers,
    job,
    loaded,
    logits,
    row,
    same,
    sft_trainer,
    stop_after,
    text_of,
    tiny_base,
    trained,
    weights,
)


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_base(tmp_path_factory.mktemp("base"))


@pytest.fixture(scope="module")
def made(base: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Facts, list[Event]]:
    """A training of a set that can be learned by heart: folder, facts, events."""
    folder, told = tmp_path_factory.mktemp("made"), list[Event]()
    facts = trained(base, folder, answers(), told.append, epochs=15, save_every=7, checkpointing=True)
    return folder, facts, told


def test_a_set_that_can_be_learned_by_heart_is(made: tuple[Path, Facts, list[Event]]) -> None:
    _, facts, _ = made
    [stage] = facts.stages
    assert (stage.stage, stage.rows, stage.steps, stage.trained) == ("sft", 4, 30, 32)
    assert stage.last_loss < stage.first_loss / 3
    assert facts.parameters > 0
    assert facts.base == "tiny"


def test_events_tell_each_step(made: tuple[Path, Facts, list[Event]]) -> None:
    _, _, told = made
    assert isinstance(told[0], Began)
    assert (told[0].of, told[0].rows) == (30, 4)
    steps = [event for event in told if isinstance(event, Progressed)]
    assert [event.step for event in steps] == [*range(1, 31)]
    assert all(event.tokens_s > 0 and event.eta_s >= 0 for event in steps)
    assert [event.step for event in told if isinstance(event, Saved)] == [7, 14, 21, 28, 30]
    assert isinstance(told[-2], StageDone)
    assert isinstance(told[-1], Finished)
    rates = [event.rate for event in steps]
    assert max(rates) == pytest.approx(1e-2)
    assert rates[0] < rates[1] > rates[15] > rates[-1]


def test_the_output_is_an_adapter_without_pickles(made: tuple[Path, Facts, list[Event]]) -> None:
    folder, facts, _ = made
    names = sorted(str(path.relative_to(folder / "out")) for path in (folder / "out").rglob("*.*"))
    assert names == [
        "adapter/adapter_config.json", "adapter/adapter_model.safetensors", "curves.json", "curves.png",
        "training.json",
    ]  # fmt: skip
    assert [*(folder / "work").iterdir()] == []
    assert Facts.model_validate_json((folder / "out" / "training.json").read_text()) == facts
    assert len(json.loads((folder / "out" / "curves.json").read_text())["sft"]) == 30
    assert (folder / "out" / "curves.png").read_bytes().startswith(b"\x89PNG")
    assert str(folder) not in (folder / "out" / "adapter" / "adapter_config.json").read_text()


def test_the_adapter_is_served_and_changes_answers(
    base: Path, made: tuple[Path, Facts, list[Event]], tmp_path: Path
) -> None:
    folder, facts, _ = made
    served = loaded(base, tmp_path)
    before = logits(served.model)
    adapters = Adapters(served.model, served.names)
    about = adapters.load("one", folder / "out" / "adapter")
    assert (about.sha256, about.rank) == (facts.adapter_sha256, 4)
    adapters.use("one")
    assert not torch.allclose(logits(served.model), before, atol=0.1)
    learned = answers().answers[0]
    said = served.model.generate(torch.tensor([learned.prompt]), max_new_tokens=8, do_sample=False)
    assert said[0, 6:].tolist() == list(learned.ids[6:])

    nothing = tmp_path / "nothing"
    nothing.mkdir()
    (nothing / "adapter_config.json").write_bytes((folder / "out/adapter/adapter_config.json").read_bytes())
    zeros = {n: w * 0 if "lora_B" in n else w for n, w in weights(folder).items()}
    save_file(zeros, nothing / "adapter_model.safetensors")
    adapters.load("nothing", nothing)
    adapters.use("nothing")
    assert torch.equal(logits(served.model), before)


def test_an_adapter_of_another_base_is_refused(
    made: tuple[Path, Facts, list[Event]], base: Path, tmp_path: Path
) -> None:
    served = loaded(base, tmp_path)
    with pytest.raises(RequestRefused, match="made for tiny"):
        Adapters(served.model, ("another",)).load("one", made[0] / "out" / "adapter")


def test_a_stopped_training_goes_on_to_the_same_end(base: Path, tmp_path: Path) -> None:
    trained(base, tmp_path / "whole", answers(), epochs=3)
    folder, told = tmp_path / "parts", list[Event]()
    for _ in range(2):
        with pytest.raises(TrainingStopped, match="of 6 of stage sft"):
            trained(base, folder, answers(), stop=stop_after(2), epochs=3)
        assert not (folder / "out").exists()
    torn = folder / "work" / "sft" / "checkpoint-5"
    torn.mkdir()
    (torn / "adapter_model.safetensors").write_bytes(b"torn")
    facts = trained(base, folder, answers(), told.append, epochs=3)
    assert (facts.resumed, isinstance(told[0], Began) and told[0].step) == (1, 4)
    assert not torn.exists()
    assert same(folder, tmp_path / "whole", atol=1e-6)
    curve = json.loads((folder / "out" / "curves.json").read_text())["sft"]
    assert [point["step"] for point in curve] == [1, 2, 3, 4, 5, 6]


def test_a_loss_that_is_no_number_ends_it(base: Path, tmp_path: Path) -> None:
    with pytest.raises(NotFinite, match=r"stage sft became (nan|inf)") as raised:
        trained(base, tmp_path, answers(), lr=1e30, epochs=10, save_every=100)
    assert "learning rate" in raised.value.hint
    assert not (tmp_path / "out").exists()
    assert [*(tmp_path / "work" / "sft").glob("checkpoint-*")] == []


def test_what_learns_nothing_is_an_error(
    base: Path, made: tuple[Path, Facts, list[Event]], tmp_path: Path
) -> None:
    with pytest.raises(NothingLearned, match="the very weights"):
        trained(base, tmp_path, Rows(answers=[row(1, weight=1e-45)]), epochs=1)
    with quiet():
        frozen = PeftModel.from_pretrained(loaded(base, tmp_path).model, str(made[0] / "out" / "adapter"))
    with pytest.raises(NothingLearned, match="no weight"):
        trainable(frozen)


def test_rows_that_nothing_can_be_learned_from_are_refused_before_the_base_is_read(tmp_path: Path) -> None:
    for rows in (Rows(), Rows(answers=[Row((1, 2), (IGNORED, IGNORED))]), Rows(answers=[row(1, prompt=99)])):
        with pytest.raises(RowsRefused):
            trained(tmp_path / "no base", tmp_path, rows)


def test_an_adapter_is_never_overwritten(base: Path, made: tuple[Path, Facts, list[Event]]) -> None:
    with pytest.raises(OutputExists):
        trained(base, made[0], answers())


def test_a_disk_without_room_is_told_before_training(base: Path, tmp_path: Path) -> None:
    tiny_disk(tmp_path)
    with pytest.raises(NoSpace, match="checkpoints take"):
        trained(base, tmp_path, answers(), rank=512)


def tiny_disk(folder: Path) -> None:
    """A disk of 400 kB under `work`; skips where none can be had."""
    (folder / "work").mkdir(parents=True, exist_ok=True)
    done = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=400k", "tmpfs", str(folder / "work")],
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        pytest.skip(f"no tmpfs can be mounted here: {done.stderr.strip()}")


@pytest.fixture(autouse=True)
def unmounted(tmp_path: Path) -> Iterator[None]:
    """What a test mounted is taken away after it."""
    yield
    if (tmp_path / "work").is_mount():
        subprocess.run(["umount", str(tmp_path / "work")], check=True)


def test_a_disk_that_fills_up_is_one_clear_error(base: Path, tmp_path: Path) -> None:
    tiny_disk(tmp_path)
    with pytest.raises(Exception) as raised:  # noqa: PT011 - each library has its own
        trained(base, tmp_path, answers(), epochs=4, save_every=1)
    assert isinstance(failure(raised.value), NoSpace), raised.value
    assert not (tmp_path / "out").exists()


def test_memory_that_runs_out_is_told_with_what_helps() -> None:
    with pytest.raises(RuntimeError) as raised:
        torch.empty(1 << 60, dtype=torch.uint8)
    told = failure(raised.value)
    assert isinstance(told, OutOfMemory)
    assert "checkpointing" in told.hint
    assert isinstance(failure(torch.OutOfMemoryError("CUDA out of memory")), OutOfMemory)


def chat_row(base: Path, cache: Path) -> tuple[Row, str, Any]:
    """Two answers with a tool's output between them; only the second one is learned."""
    text = text_of(loaded(base, cache))
    end = text.text_ids("")
    said = ["read x", "x = 2"]
    messages = [
        Message(role="user", content="what is x"), Message(role="assistant", content=said[0]),
        Message(role="user", content="output: x = 1"),
    ]  # fmt: skip
    prompt = text.chat_ids(messages)
    learned = [*text.text_ids(said[1])[len(end) :], max(text.ends)]
    ids = (*prompt, *learned)
    return Row(ids, (*[IGNORED] * len(prompt), *learned)), text.decode(learned), text


def test_what_is_trained_is_the_answer_that_the_labels_name(base: Path, tmp_path: Path) -> None:
    one, wanted, text = chat_row(base, tmp_path)
    trainer, model = sft_trainer(base, tmp_path, [one, row(1, weight=2.0)])
    batches = list(trainer.get_train_dataloader())
    found = {text.decode(ids[ids != IGNORED].tolist()) for batch in batches for ids in batch["labels"]}
    assert wanted in found
    assert len(found) == 2
    [batch] = batches
    model.eval()
    loss = trainer.compute_loss(model, batch)
    with torch.no_grad():
        scores = torch.log_softmax(
            model(batch["input_ids"], attention_mask=batch["attention_mask"]).logits, -1
        )
    by_hand = 0.0
    for at, labels in enumerate(batch["labels"].tolist()):
        for place, label in enumerate(labels):
            if label != IGNORED:
                by_hand -= float(scores[at, place - 1, label]) * float(batch["weight"][at])
    count = int((batch["labels"] != IGNORED).sum())
    assert float(loss.detach()) == pytest.approx(by_hand / count, rel=1e-4)
    assert math.isfinite(by_hand)


def test_rows_together_or_one_after_the_other_are_the_same_step(base: Path, tmp_path: Path) -> None:
    rows = Rows(answers=[row(1, answer=3), row(2, answer=9), row(3, answer=5), row(4, answer=12)])
    for name, micro in (("together", 4), ("apart", 1)):
        trained(base, tmp_path / name, rows, epochs=2, batch_rows=4, micro_rows=micro)
    assert same(tmp_path / "together", tmp_path / "apart", atol=2e-4)


def test_a_job_says_the_same_after_its_journey(base: Path, tmp_path: Path) -> None:
    one = job(base, tmp_path)
    assert type(one).model_validate_json(one.model_dump_json()) == one
