"""The results of one measurement on disk: one JSON line a task, whole or not there.

A kill may tear the last line, a disk may damage any. Such lines are kept aside and their tasks run again.
"""

import fcntl
import json
import os
import threading
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import BinaryIO, Self

from pydantic import TypeAdapter

from agent.errors import UsageError
from agent.suite_task import Row

_ROW = TypeAdapter(Row)


def read_rows(results: Path) -> tuple[list[Row], int]:
    """The rows of a results file, and how many of its lines are none, such as one that a kill tore."""
    rows: list[Row] = []
    bad = 0
    lines = results.read_bytes().split(b"\n") if results.exists() else []
    for line in filter(None, lines):
        try:
            rows.append(_ROW.validate_json(line, strict=True))
        except ValueError:
            bad += 1
    return rows, bad


def damaged(results: Path) -> Path:
    """Where a results file with damaged lines is kept as it was."""
    return results.with_name(f"{results.name}.damaged")


def check_same(rows: Sequence[Row], results: Path, suite: str, agent: str, seed: int) -> None:
    """Raises UsageError when the results are of another suite, agent or seed."""
    for row in rows:
        there, here = (row.suite, row.agent, row.seed), (suite, agent, seed)
        if there != here:
            raise UsageError(
                f"{results} holds results of {_measured(*there)}, this is {_measured(*here)}",
                "name another file with --out, or begin anew with --no-resume",
            )


def _measured(suite: str, agent: str, seed: int) -> str:
    return f"suite {suite}, agent {agent}, seed {seed}"


class ResultsFile:
    """Rows that are there, and appending more; safe to share between threads, closed to other processes."""

    def __init__(self, path: Path) -> None:
        """Reads what is there and leaves only whole lines. Raises UsageError while another process writes."""
        self.path = path
        self._lock = threading.Lock()
        path.parent.mkdir(parents=True, exist_ok=True)
        self._fresh = not path.exists()
        self._file = self._locked(path.open("ab"))
        try:
            self.rows, self.bad = read_rows(path)
            self._keep_whole()
        except BaseException:
            self._file.close()
            raise

    def _locked(self, file: BinaryIO) -> BinaryIO:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            file.close()
            raise UsageError(
                f"another process is writing to {self.path}", "wait for it, or name another file with --out"
            ) from None
        return file

    def _keep_whole(self) -> None:
        """The next row must not be written behind a torn one."""
        content = b"".join(map(_line, self.rows))
        before = self.path.read_bytes()
        if before == content:
            return
        if self.bad:
            damaged(self.path).write_bytes(before)
        whole = self.path.with_name(f"{self.path.name}.new")
        new = self._locked(whole.open("wb"))
        new.write(content)
        new.flush()
        os.fsync(new.fileno())
        whole.replace(self.path)
        self._file.close()
        self._file = new

    def add(self, row: Row) -> int:
        """Write one row; it is on disk when this returns. Gives the number of rows that are there now.

        Raises UsageError, and writes nothing, when another model answered than in the rows before.
        """
        with self._lock:
            known = next((old.model for old in self.rows if old.model), "")
            if row.model and known and row.model != known:
                raise UsageError(
                    f"{self.path} holds results of the model {known}, but {row.model} answers now",
                    "serve that model again, or name another file with --out",
                )
            self._file.write(_line(row))
            self._file.flush()
            os.fsync(self._file.fileno())
            self.rows.append(row)
            return len(self.rows)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Let others write; a file without any row is not left behind."""
        if self._fresh and not self.rows and not self.bad:
            self.path.unlink(missing_ok=True)
        self._file.close()


def _line(row: Row) -> bytes:
    return (json.dumps(asdict(row)) + "\n").encode()
