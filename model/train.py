"""Training in a process of its own: what goes wrong there (no memory, a kill, a full disk) stays there.

The same job in the same work folder goes on from its last whole checkpoint; another job begins anew. Light to
import: torch is loaded by the other process.
"""

import fcntl
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from importlib.util import find_spec
from pathlib import Path
from typing import IO

from pydantic import ValidationError

from model import errors, train_errors, train_rows
from model.errors import ModelError
from model.machine import lacking
from model.train_errors import OutOfMemory, OutputExists, TrainingFailed, TrainingStopped
from model.train_host import JOB, ROWS
from model.train_job import EVENTS, Event, Facts, Failed, Finished, Job
from model.train_rows import Rows

EXTRA = ("trl", "datasets", "matplotlib")
LOG = "log.txt"
_OFFLINE = {
    "HF_HUB_OFFLINE": "1",
    "HF_HUB_DISABLE_TELEMETRY": "1",
    "HF_DATASETS_OFFLINE": "1",
    "TRANSFORMERS_OFFLINE": "1",
    "TOKENIZERS_PARALLELISM": "false",
    "PYTHONSAFEPATH": "1",
}
"""No library asks the network for anything, and none takes code from the directory it was started in."""


def train(job: Job, rows: Rows, tell: Callable[[Event], None] = lambda _: None) -> Facts:
    """Trains an adapter and writes `job.out`; `tell` hears how it goes, in this thread.

    Raises TrainingFailed of some kind, NoSpace, or ModelError for the base; `job.out` is not there then. At
    KeyboardInterrupt it is let finish its step and write a checkpoint, then TrainingStopped is raised; at a
    second one it is killed, and the last checkpoint stays.
    """
    check_installed()
    if job.out.exists():
        raise OutputExists(f"{job.out} is there already", "name another folder")
    try:
        job.work.mkdir(parents=True, exist_ok=True)
        job.out.parent.mkdir(parents=True, exist_ok=True)
        with _alone(job.work) as lock:
            _prepare(job, rows)
            _attend(job, lock, tell)
            facts = Facts.model_validate_json((job.out / "training.json").read_text("utf-8"))
            shutil.rmtree(job.work, ignore_errors=True)
            return facts
    except OSError as error:
        from model.train_host import failure

        raise failure(error) from error


def check_installed() -> None:
    """Raises TrainingFailed where the packages of training are not installed."""
    if absent := [*lacking(), *(name for name in EXTRA if find_spec(name) is None)]:
        raise TrainingFailed(
            f"training needs what is not installed: {', '.join(absent)}", "pip install 'adi-agent[learn]'"
        )


@contextmanager
def _alone(work: Path) -> Iterator[IO[str]]:
    """The lock of a work folder. The other process holds it, too, as long as it lives."""
    with (work / "lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise TrainingFailed(f"another training runs in {work}", "wait for it, or stop it") from error
        yield lock


def _prepare(job: Job, rows: Rows) -> None:
    """Job and rows into the work folder, which is emptied where it is of another job."""
    fresh = job.work / "fresh"
    shutil.rmtree(fresh, ignore_errors=True)
    fresh.mkdir()
    digest = train_rows.write(fresh, rows)
    told = job.model_dump_json()
    if not (_text(job.work / JOB) == told and _text(job.work / ROWS) == digest):
        for path in job.work.iterdir():
            if path.name not in ("lock", fresh.name):
                shutil.rmtree(path) if path.is_dir() else path.unlink()
    for path in fresh.iterdir():
        path.replace(job.work / path.name)
    fresh.rmdir()
    (job.work / ROWS).write_text(digest, "ascii")
    (job.work / JOB).write_text(told, "utf-8")


def _text(path: Path) -> str:
    try:
        return path.read_text("utf-8")
    except OSError:
        return ""


def _attend(job: Job, lock: IO[str], tell: Callable[[Event], None]) -> None:
    """Starts the process and listens until it ends. Raises what it told, or why it told nothing."""
    with (job.work / LOG).open("ab") as log:
        process = subprocess.Popen(
            command(job),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=log,
            env={**os.environ, **_OFFLINE, **_devices(job)},
            pass_fds=(lock.fileno(),),
            start_new_session=True,  # Ctrl-C is for this process, which passes it on
        )
    last: Event | None = None
    stopping = False
    try:
        while True:
            try:
                last = _listened(process, tell) or last
                break
            except KeyboardInterrupt:
                if stopping:
                    raise TrainingStopped(
                        "stopped at once", "the same command goes on from the last checkpoint"
                    ) from None
                stopping = True
                _close(process.stdin)
    finally:
        _close(process.stdin)
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()
        _close(process.stdout)
    if isinstance(last, Failed):
        raise _error(last)
    if not isinstance(last, Finished) or not job.out.is_dir():
        raise _silent(process.returncode, job.work / LOG)


def _listened(process: subprocess.Popen[bytes], tell: Callable[[Event], None]) -> Event | None:
    """The last word of the process, which is whole only when it has ended."""
    assert process.stdout is not None
    last: Event | None = None
    for line in iter(process.stdout.readline, b""):
        with suppress(ValidationError):  # a launcher's own words
            last = EVENTS.validate_json(line)
            tell(last)
            if isinstance(last, Finished | Failed):
                break
    process.wait()
    return last


def _close(pipe: IO[bytes] | None) -> None:
    if pipe is not None:
        with suppress(OSError):
            pipe.close()


def command(job: Job) -> Sequence[str]:
    """What is started: one process, or torch's launcher of several, which `accelerate` then finds itself in.

    `accelerate launch` starts the same one for GPUs, but on a CPU one process, however many are asked for.
    """
    asked = job.settings.processes
    module = ["-m", "model.train_host", str(job.work)]
    if asked == 1:
        return [sys.executable, "-P", *module]
    launcher = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node", str(asked or _gpus())]
    return [sys.executable, "-P", *launcher, *module]


def _gpus() -> int:
    return max(1, len([*Path("/proc/driver/nvidia/gpus").glob("*")]))


def _devices(job: Job) -> dict[str, str]:
    """One process sees one GPU: with several the trainer would spread its work in a way that TRL refuses."""
    named = os.environ.get("CUDA_VISIBLE_DEVICES")
    if job.settings.processes != 1 or named in ("", "-1"):
        return {}
    seen = (named or "").split(",")
    at = int(job.settings.device.rpartition(":")[2]) if ":" in job.settings.device else 0
    return {"CUDA_VISIBLE_DEVICES": seen[at] if named and at < len(seen) else str(at)}


def _error(told: Failed) -> ModelError:
    kind = getattr(train_errors, told.error, None) or getattr(errors, told.error, None)
    if isinstance(kind, type) and issubclass(kind, ModelError):
        with suppress(TypeError):
            return kind(told.message, told.hint)
    return TrainingFailed(told.message, told.hint)


def _silent(code: int, log: Path) -> ModelError:
    """Why a process that said nothing is gone."""
    if code == -signal.SIGKILL:
        return OutOfMemory(
            "the training process was killed, most likely because memory ran out; its checkpoints stay",
            "fewer rows at once (micro_rows), shorter ones (max_length), checkpointing, or a smaller model",
        )
    if code < 0:
        return TrainingFailed(f"the training process ended by signal {-code}", f"its log: {log}")
    lines = [line for line in _text(log).splitlines() if line.strip()]
    return TrainingFailed(
        f"the training process ended with code {code}: {lines[-1][:300] if lines else 'it said nothing'}",
        f"its log: {log}",
    )
