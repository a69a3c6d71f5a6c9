"""The process that trains: `python -P -m model.train_host WORK`, started by model/train.py.

Events go to standard output, a JSON object a line, from the first process alone; all else goes to standard
error. It stops with a checkpoint when standard input ends, so that it does not outlive who started it.
"""

import errno
import os
import sys
import threading
import traceback
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

from model.errors import ModelError, NoSpace
from model.train_errors import OutOfMemory, TrainingFailed
from model.train_job import Event, Failed, Job
from model.train_rows import read

JOB, ROWS = "job.json", "rows.sha256"
"""Files of a work folder: what to do, and the hash of the rows beside it."""
_NO_MEMORY = ("out of memory", "can't allocate memory", "cannot allocate memory", "bad_alloc")
_NO_SPACE = ("no space left", "os error 28", "disk quota")
_SHORT = "fewer rows at once (micro_rows), shorter ones (max_length), checkpointing, or a smaller model"


def failure(error: BaseException) -> ModelError:
    """What a person is told of what was raised."""
    if isinstance(error, ModelError):
        return error
    chain = [*_chain(error)]
    told = " ".join(f"{type(one).__name__} {one}" for one in chain).lower()
    full = any(isinstance(one, OSError) and one.errno in (errno.ENOSPC, errno.EDQUOT) for one in chain)
    if full or any(word in told for word in _NO_SPACE):
        return NoSpace(
            "the disk is full: nothing of this training is kept but whole checkpoints", "free some space"
        )
    if isinstance(error, MemoryError) or any(word in told for word in _NO_MEMORY):
        return OutOfMemory("training needs more memory than there is", _SHORT)
    return TrainingFailed(
        f"training failed: {type(error).__name__}: {error}", "the log is in the work folder"
    )


def _chain(error: BaseException | None) -> Iterator[BaseException]:
    while error is not None:
        yield error
        error = error.__cause__ or error.__context__


def main(work: Path) -> int:
    """Exit code 0 with an adapter, 1 without."""
    tell, asked = _channel(), threading.Event()
    threading.Thread(target=_until_end, args=(asked,), daemon=True).start()
    try:
        from model.train_run import run

        job = Job.model_validate_json((work / JOB).read_text("utf-8"))
        rows_sha256 = (work / ROWS).read_text("ascii").strip()
        run(job, read(work), tell, asked.is_set, rows_sha256=rows_sha256)
    except Exception as error:  # noqa: BLE001 - of every library on the way; told to who started this
        found = failure(error)
        tell(Failed(error=type(found).__name__, message=found.message, hint=found.hint))
        with suppress(OSError):  # the log's disk may be full
            traceback.print_exc()
        return 1
    return 0


def _channel() -> Callable[[Event], None]:
    """Events to what standard output was; prints of libraries go to the log from now on."""
    channel = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)
    silent = os.environ.get("RANK", "0") != "0"

    def tell(event: Event) -> None:
        if not silent:
            channel.write(event.model_dump_json() + "\n")
            channel.flush()

    return tell


def _until_end(asked: threading.Event) -> None:
    """Waits until whoever started this closes the pipe, or is gone."""
    while os.read(0, 4096):
        pass
    asked.set()


if __name__ == "__main__":
    code = main(Path(sys.argv[1]))
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(
        code
    )  # the reading thread, and other processes that wait for one that failed, are not waited for
