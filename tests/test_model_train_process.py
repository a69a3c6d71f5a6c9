"""Training as a process: killed, stopped, started again, refused; what is left each time."""

import fcntl
import os
import signal
import sys
from pathlib import Path
from typing import Any

import psutil
import pytest

from model.errors import ModelMissing
from model.train import command, train
from model.train_errors import OutOfMemory, RowsRefused, TrainingFailed, TrainingStopped
from model.train_job import Began, Event, Progressed, Saved
from model.train_rows import Rows
from tests.train_kit import answers, job, row, same, tiny_base, trained


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_base(tmp_path_factory.mktemp("base"))


def children() -> list[psutil.Process]:
    """The processes that train, of this one."""
    alive = [one for one in psutil.Process().children() if one.status() != psutil.STATUS_ZOMBIE]
    return [one for one in alive if "model.train_host" in one.cmdline()]


def test_a_killed_training_goes_on_to_the_same_end(base: Path, tmp_path: Path) -> None:
    one = job(base, tmp_path / "killed", epochs=20, save_every=4)

    def kill(event: Event) -> None:
        if isinstance(event, Saved):
            for process in children():
                os.kill(process.pid, signal.SIGKILL)

    with pytest.raises(OutOfMemory, match="was killed"):
        train(one, answers(), kill)
    assert not one.out.exists()
    told = list[Any]()
    facts = train(one, answers(), told.append)
    assert facts.resumed == 1
    assert isinstance(told[0], Began)
    assert told[0].step >= 4
    assert not one.work.exists()
    trained(base, tmp_path / "whole", answers(), epochs=20, save_every=4)
    assert same(tmp_path / "killed", tmp_path / "whole", atol=1e-6)


def test_ctrl_c_ends_it_after_a_step_with_a_checkpoint(base: Path, tmp_path: Path) -> None:
    one = job(base, tmp_path, epochs=200, save_every=1000)

    def interrupt(event: Event) -> None:
        if isinstance(event, Progressed) and event.step == 3:
            raise KeyboardInterrupt

    with pytest.raises(TrainingStopped, match="of 400 of stage sft"):
        train(one, answers(), interrupt)
    assert not one.out.exists()
    assert len([*one.work.glob("sft/checkpoint-*/whole")]) == 1
    assert children() == []


def test_what_the_process_refuses_is_raised_here(base: Path, tmp_path: Path) -> None:
    with pytest.raises(RowsRefused, match="more than 64 tokens"):
        train(job(base, tmp_path / "one"), Rows(answers=[row(1, prompt=99)]))
    with pytest.raises(ModelMissing):
        train(job(tmp_path / "no base", tmp_path / "two"), answers())


def test_one_training_at_a_time(base: Path, tmp_path: Path) -> None:
    one = job(base, tmp_path)
    one.work.mkdir()
    with (one.work / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        with pytest.raises(TrainingFailed, match="another training runs"):
            train(one, answers())


def test_several_processes_are_started_by_a_launcher(base: Path, tmp_path: Path) -> None:
    told = [*command(job(base, tmp_path, processes=2))]
    assert told[:4] == [sys.executable, "-P", "-m", "torch.distributed.run"]
    assert told[-5:] == ["--nproc-per-node", "2", "-m", "model.train_host", str(tmp_path / "work")]
    with pytest.raises(TrainingFailed, match="1 processes were started, not 2"):
        trained(base, tmp_path, answers(), processes=2)


@pytest.mark.slow
def test_two_processes_make_the_step_that_one_makes(base: Path, tmp_path: Path) -> None:
    rows = Rows(answers=[row(1, answer=3), row(2, answer=9), row(3, answer=5), row(4, answer=12)])
    told = list[Any]()
    facts = train(job(base, tmp_path / "two", processes=2, batch_rows=4, micro_rows=1), rows, told.append)
    assert facts.processes == 2
    assert [event.step for event in told if isinstance(event, Progressed)] == [1, 2]
    trained(base, tmp_path / "one", rows, batch_rows=4, micro_rows=1)
    assert same(tmp_path / "two", tmp_path / "one", atol=2e-4)


@pytest.mark.slow
def test_two_processes_stop_together(base: Path, tmp_path: Path) -> None:
    one = job(base, tmp_path, processes=2, batch_rows=2, micro_rows=1, epochs=300, save_every=1000)

    def interrupt(event: Event) -> None:
        if isinstance(event, Progressed) and event.step == 3:
            raise KeyboardInterrupt

    with pytest.raises(TrainingStopped, match="of 600 of stage sft"):
        train(one, answers(), interrupt)
    [point] = one.work.glob("sft/checkpoint-*")
    assert {"whole", "rng_state_0.pth", "rng_state_1.pth"} <= {path.name for path in point.iterdir()}
