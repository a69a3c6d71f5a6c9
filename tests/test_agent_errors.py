"""Every failure has an exit code and is told as error, caused by, hint."""

import errno
import importlib
import signal
from pathlib import Path

import pytest

from agent.errors import (
    BASES,
    EXIT_CODES,
    AdiError,
    EnvironmentMissing,
    Terminated,
    UsageError,
    exit_code_of,
    render,
    save_traceback,
)
from memory.errors import NotFound, RepoBusy, StoreError
from model.errors import ModelMissing, PromptTooLong
from sandbox.errors import Conflict, DockerMissing, NotARepository, PatchError


@pytest.mark.parametrize("name", [*EXIT_CODES, *BASES])
def test_every_name_in_the_table_is_a_class(name: str) -> None:
    module, _, attribute = name.rpartition(".")
    assert issubclass(getattr(importlib.import_module(module), attribute), Exception)


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (UsageError("x"), 2),
        (EnvironmentMissing("x"), 6),
        (AdiError("x", exit_code=5), 5),
        (NotARepository("x"), 2),
        (Conflict(["a"]), 4),
        (DockerMissing("x"), 6),
        (PatchError("x"), 1),
        (ModelMissing("x"), 6),
        (PromptTooLong(9, 8), 2),
        (NotFound("x"), 2),
        (RepoBusy("/r", "id", 1), 4),
        (StoreError("x"), 1),
        (ValueError("x"), 1),
        (OSError(errno.ENOSPC, "No space left on device"), 6),
        (KeyboardInterrupt(), 130),
        (Terminated(signal.SIGTERM), 143),
        (Terminated(signal.SIGHUP), 129),
        (SystemExit(), 0),
        (SystemExit("message"), 1),
    ],
)
def test_exit_codes(error: BaseException, code: int) -> None:
    assert exit_code_of(error) == code


def chained() -> BaseException:
    try:
        try:
            raise ConnectionRefusedError(errno.ECONNREFUSED, "Connection refused")
        except OSError as cause:
            raise DockerMissing("Docker does not answer\x1b[2J", "adi doctor --fix") from cause
    except DockerMissing as error:
        return error


def test_a_failure_is_told_in_three_lines_without_control_characters() -> None:
    assert render(chained()) == [
        "error: Docker does not answer\\x1b[2J",
        "caused by: ConnectionRefusedError: [Errno 111] Connection refused",
        "hint: adi doctor --fix",
    ]


def test_an_unexpected_error_names_its_class_and_where_its_traceback_is(tmp_path: Path) -> None:
    error = ZeroDivisionError("division by zero")
    log = save_traceback(error, tmp_path / "logs")
    assert log is not None
    assert "ZeroDivisionError" in log.read_text()
    lines = render(error, log)
    assert lines[0] == "error: ZeroDivisionError: division by zero"
    assert str(log) in lines[-1]
    assert save_traceback(error, Path("/dev/null/impossible")) is None


def test_a_circle_of_causes_ends() -> None:
    first, second = UsageError("first"), UsageError("second")
    first.__cause__, second.__cause__ = second, first
    assert render(first) == ["error: first", "caused by: second"]
